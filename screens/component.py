"""One component looked at closely: its probabilities, the reasons, and its readings of the last two hours."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from plant.channels import CHANNELS
from screens import charts, words
from screens.look import Look, home, readings
from screens.risks import Fleet, Scored

WINDOW_MS = 2 * 3_600_000
MOST_CHANNELS = 4
MOST_POINTS = 400


def show(now: Look, found: Fleet) -> None:
    """Draw the chooser and, when one is chosen (here or by `?c=` in the address), what is known of it."""
    st.markdown("##### One component")
    wanted = st.query_params.get("c")
    names = sorted(one.component for one in found.scored)
    st.selectbox(
        "Component",
        names,
        index=names.index(wanted) if wanted in names else None,
        key="component",
        placeholder="Choose a component to see why it is scored as it is",
        label_visibility="collapsed",
        on_change=_choose,
    )
    if wanted is None:
        return
    one = found.of(wanted)
    if one is None:
        _unknown(wanted, found.like(wanted))
    else:
        _draw(one, now)


def _choose() -> None:
    chosen = st.session_state["component"]
    if chosen:
        st.query_params["c"] = chosen
    else:
        st.query_params.clear()


def _clear() -> None:
    st.query_params.clear()


def _unknown(wanted: str, like: Sequence[str]) -> None:
    near = f" Did you mean {words.safe(', '.join(like))}?" if like else ""
    st.warning(f"There is no component {words.safe(wanted)[:200]} on this site.{near}")
    st.button("Show the whole fleet", on_click=_clear)


def _draw(one: Scored, now: Look) -> None:
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.markdown(f"**{words.safe(one.component)}**, {words.kind(one.kind)}: {words.safe(one.status)}")
        if one.band == "unknown":
            st.warning("Unknown, not low: there are no fresh readings to judge it by.")
        else:
            st.table(_probabilities(one), width="content", border="horizontal")
        st.caption(f"Time to failure: {words.safe(one.time_to_failure)}")
        for reason in one.reasons:
            st.caption(f"· {words.safe(reason)}")
        model = one.raw.get("model") or "no model, base rate of its kind"
        tier, fresh = one.raw.get("tier", ""), words.age(one.raw.get("age_s"))
        st.caption(f"Scored by {words.safe(model)} ({words.safe(tier)}), readings {fresh}")
    with right:
        _readings(one, now)


def _probabilities(one: Scored) -> pd.DataFrame:
    pairs = sorted((int(at), p) for at, p in one.raw["p_fail"].items())
    rows = [(words.horizon(at), words.safe(words.percent(p))) for at, p in pairs]
    return pd.DataFrame(rows, columns=["Within", "P(fail)"])


def _readings(one: Scored, now: Look) -> None:
    end_ms = (now.now_ms or 0) + 1
    batch = readings(home(), one.component, end_ms - WINDOW_MS, end_ms)
    if not len(batch):
        st.caption("No readings of this component in the last two hours.")
        return
    for name in sorted(set(batch.channel))[:MOST_CHANNELS]:
        mine = batch.take(batch.channel == name)
        every = max(1, len(mine) // MOST_POINTS)
        meaning, unit, factor = _meaning(one.kind, name)
        st.caption(f"{words.safe(words.label(meaning))}{f', {unit}' if unit else ''} · UTC")
        st.echarts_chart(
            charts.trend(
                mine.time_ms[::every].tolist(), {name: (factor * mine.value[::every]).tolist()}, unit="", digits=2
            ),
            height=120,
            alt=f"{meaning} of {one.component}, last two hours",
        )


def _meaning(kind: str, name: str) -> tuple[str, str, float]:
    """(meaning, unit on screen, factor to it) of a channel; its bare name where the channel table lacks it."""
    row = next((row for row in CHANNELS if row.key == (kind, name)), None)
    if row is None:
        return name, "", 1.0
    return (
        row.meaning,
        {"fraction": "%", "flag": "", "C": "°C"}.get(row.unit, row.unit),
        100.0 if row.unit == "fraction" else 1.0,
    )
