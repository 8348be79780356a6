"""The fleet: who needs action, every component's risk (C3O Table 5, live), where the risks stand, and small trends."""

from __future__ import annotations

import streamlit as st

from screens import charts, component, frame, words
from screens.heat import heat
from screens.look import Look
from screens.risks import MOST_ROWS, Fleet, Scored, fleet


@st.fragment(run_every=frame.REFRESH_S)
def show() -> None:
    """Draw the page; refreshes itself."""
    now = frame.now()
    if now.status is None:
        frame.first_steps()
        return
    found = fleet(now)
    _tiles(found)
    left, right = st.columns([4, 3], gap="medium")
    with left:
        _needing(found)
        _table(found)
    with right:
        _map(found)
    _trends(now)
    component.show(now, found)


def _tiles(found: Fleet) -> None:
    for place, (heading, value, remark) in zip(st.columns(len(found.tiles)), found.tiles, strict=True):
        with place.container(border=True, gap=None):
            st.caption(heading)
            st.markdown(f"#### {words.safe(value)}")
            st.caption(words.safe(remark))


def _needing(found: Fleet) -> None:
    st.markdown("##### Needs action")
    if found.why_not:
        st.warning(found.why_not)
    if not found.scored:
        st.caption("No component has been scored yet; the worker says so after its first turns.")
    elif not found.needing:
        st.caption(
            f"Nothing needs action: {words.count(len(found.scored), 'component')} scored, none above its threshold."
        )
    for one in found.needing[:3]:
        _entry(one)
    if len(found.needing) > 3:
        st.caption(f"and {len(found.needing) - 3} more, in the table below")


def _entry(one: Scored) -> None:
    with st.container(border=True, gap=None):
        st.markdown(
            f":red[■] **{words.safe(one.component)}** · {words.kind(one.kind)} · **{words.percent(one.p)}** to fail "
            f"within {words.horizon(one.horizon_s or 0)} · time to failure {words.safe(one.time_to_failure)}"
        )
        st.caption(f"Why: {words.safe('; '.join(one.reasons[:3]) or 'no reason given')}")
        st.caption(f"Next: {words.safe(one.action)} · {words.safe(one.status)}")


def _table(found: Fleet) -> None:
    st.markdown("##### Every component, by risk")
    st.dataframe(
        found.table,
        hide_index=True,
        height=310,
        column_config={
            "Component": st.column_config.TextColumn(width=128, pinned=True),
            "Kind": st.column_config.TextColumn(width=82),
            "Risk": st.column_config.ProgressColumn(
                "Risk, %",
                min_value=0,
                max_value=100,
                format="%.0f %%",
                width=96,
                help="P(fail within the time beside it)",
            ),
            "Within": st.column_config.TextColumn(width=54),
            "Time to failure": st.column_config.TextColumn(width=112, help="Median, and 10th to 90th percentile"),
            "Recommended action": st.column_config.TextColumn(width=146),
            "Status": st.column_config.TextColumn("Status, last known" if found.why_not else "Status", width=138),
        },
    )
    if len(found.scored) > MOST_ROWS:
        st.caption(f"The {MOST_ROWS} riskiest of {len(found.scored)} components; choose any other one below.")
    if found.last_action:
        st.caption(words.safe(found.last_action))


def _map(found: Fleet) -> None:
    st.markdown("##### Where the risk stands")
    laid = heat(found.scored)
    st.echarts_chart(
        charts.heat_map(laid, frozen=bool(found.why_not)),
        height=max(120, 33 * len(laid.rows) + 8),
        alt="Map of component risks by hall; the table beside it has the same numbers",
    )
    st.caption(
        "A cell a component, a rack with the worst of its parts. Darker is riskier; "
        "■ on red needs action, ▲ on orange is watched, ? is unknown."
    )


def _trends(now: Look) -> None:
    trend = now.trend or {}
    minutes = trend.get("minutes") or []
    if not minutes:
        return
    service = charts.in_percent(trend.get("service_frac") or [])
    halls, loops = trend.get("max_inlet_c") or {}, trend.get("loop_supply_c") or {}
    panels = (
        ("Service, %", charts.trend(minutes, {"service": service}, unit="%%", low=charts.floor(service), high=100)),
        ("Loop supply, °C", charts.trend(minutes, _short(loops), unit="°C", span=4)),
        (
            "Hottest inlet, °C",
            charts.trend(minutes, _short(halls), unit="°C", limit=("27 °C", charts.LIMIT_C), band=(18, charts.LIMIT_C)),
        ),
        ("IT power, kW", charts.trend(minutes, {"power": trend.get("power_kw") or []}, unit="kW", digits=0, span=200)),
    )
    for place, (heading, option) in zip(st.columns(len(panels)), panels, strict=True):
        with place:
            st.caption(f"{heading} · UTC")
            st.echarts_chart(option, height=130, alt=f"{heading} over the last hours")


def _short(lines: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name.removesuffix("/loop").rsplit("/", 1)[-1]: values for name, values in lines.items()}


if __name__ == "__main__":
    show()
