"""Rehearse: do nothing first, the plans beside it, the decision with its reason, and what became of it."""

from __future__ import annotations

import streamlit as st

from screens import charts, frame, words
from screens.comparison import Candidate, Comparison, comparison
from screens.decide import decide, may_approve, may_decide
from screens.identity import Identity, who
from screens.look import Look, home
from screens.progress import Outcome, outcome, progress


@st.fragment(run_every=frame.REFRESH_S)
def show() -> None:
    """Draw the page; refreshes itself."""
    now = frame.now()
    if now.status is None:
        frame.first_steps()
        return
    found = comparison(now)
    _outcome(outcome(now.outcome))
    if found.decided is not None:
        _progress(now, found.decided)
    if not found.candidates:
        st.subheader("No plan to compare")
        st.write(
            "Plans appear here when a component needs action. "
            + ("One does now, and its plans are being rehearsed." if now.alert else "No alert stands.")
        )
        return
    st.markdown("##### Plans side by side")
    with st.container(key="plans"):
        st.table(found.table, border="horizontal", alt="Rehearsed plans, a column each, do nothing first")
    left, right = st.columns([1, 1], gap="large")
    with left:
        _lost(found)
    with right:
        if found.rejectable:
            _decision(now, found)


def _lost(found: Comparison) -> None:
    st.markdown("##### Lost service")
    st.echarts_chart(
        charts.lost_service(found),
        height=28 * len(found.candidates) + 30,
        alt="Lost service minutes by plan, the same numbers as in the table",
    )
    st.caption(found.caption)


def _decision(now: Look, found: Comparison) -> None:
    st.markdown("##### Decide")
    said = st.session_state.pop("refused", None)
    if said:
        st.error("Not done: " + words.safe("; ".join(said)))
    identity = who()
    verdict = may_decide(now, identity)
    if not verdict.ok or identity is None:
        st.info("Nothing can be decided here: " + words.safe("; ".join(verdict.reasons)) + ".")
        return
    approving = may_approve(now)
    if not approving.ok:
        st.warning("Nothing can be approved now: " + words.safe("; ".join(approving.reasons)) + ".")
    _form(found, identity, found.open if approving.ok else ())


def _form(found: Comparison, identity: Identity, approvable: tuple[Candidate, ...]) -> None:
    choices = {one.row.id: one for one in found.rejectable}
    ids = list(choices)
    best = next((n for n, one in enumerate(choices.values()) if one.recommended), 0)
    # Enter must not approve: only a press of the button does
    with st.form("decision", enter_to_submit=False):
        st.radio(
            "Plan",
            ids,
            index=best,
            format_func=lambda plan_id: words.safe(_choice(choices[plan_id], approvable)),
            horizontal=True,
            key="plan",
        )
        st.text_input("Reason, kept with your name in the audit", key="reason", max_chars=500)
        marked = " (demo operator, emulated site only)" if identity.demo else ""
        st.caption(
            f"You decide as **{words.safe(identity.name)}**{marked}. The worker carries it out, this page does not."
        )
        with st.container(horizontal=True):
            if approvable:
                st.form_submit_button("Approve", type="primary", on_click=_press, args=("approve", identity))
            st.form_submit_button("Reject", on_click=_press, args=("reject", identity))


def _choice(one: Candidate, approvable: tuple[Candidate, ...]) -> str:
    if one.recommended:
        return f"{words.label(one.row.label)} (recommended)"
    return words.label(one.row.label) if one in approvable else f"{words.label(one.row.label)} (reject only)"


def _press(what: str, identity: Identity) -> None:
    wall_ms = round(st.session_state["clock"]() * 1000)
    state = st.session_state
    refused = decide(home(), wall_ms, identity, state["plan"], what, state["reason"])
    if refused:
        state["refused"] = refused


def _progress(now: Look, one: Candidate) -> None:
    found = progress(now, one)
    st.markdown(f"##### {words.safe(found.label)}: {words.safe(found.verdict)}")
    for line in found.decisions:
        st.caption(words.safe(line))
    if len(found.steps):
        st.dataframe(found.steps, hide_index=True)
    with st.expander("Calls with their receipts, and the audit of this plan"):
        if len(found.calls):
            st.dataframe(found.calls, hide_index=True)
        st.dataframe(found.history, hide_index=True)


def _outcome(found: Outcome | None) -> None:
    if found is None:
        return
    st.markdown(f"##### Outcome · {words.safe(found.verdict)}" + (" :gray-badge[SIMULATED]" if found.simulated else ""))
    figures = (
        ("Lost service", f"{words.number(found.lost_min, 1)} min", f"with {found.chosen}"),
        (
            "Lost service, had nothing been done",
            f"{words.number(found.lost_nothing_min, 1)} min",
            f"{found.saved} saved",
        ),
        ("Time to recovery", found.mttr, f"{found.mttr_nothing} had nothing been done"),
        ("First alert", found.lead, "the static 27 °C alarm"),
    )
    for place, (heading, value, remark) in zip(st.columns(len(figures)), figures, strict=True):
        with place.container(border=True, gap=None):
            st.caption(heading)
            st.markdown(f"#### {words.safe(value)}")
            st.caption(words.safe(remark))
    if not found.parts:
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.caption("The eight parts of the time to recovery, minutes")
        st.echarts_chart(
            charts.recovery_parts(found.parts), height=150, alt="Parts of the time to recovery, as in the table"
        )
    with right:
        st.table(found.table, border="horizontal")


if __name__ == "__main__":
    show()
