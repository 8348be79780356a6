"""Sync: does the twin follow the site, channel by channel, now and ahead; which sensors and sources to trust."""

from __future__ import annotations

import streamlit as st

from screens import charts, frame, words
from screens.following import (
    CALM_LEVEL,
    LIMIT_LEVEL,
    Channel,
    Following,
    following,
    halls_table,
    sensors_table,
    sources_table,
    table,
)


@st.fragment(run_every=frame.REFRESH_S)
def show() -> None:
    """Draw the page; refreshes itself."""
    now = frame.now()
    if now.status is None:
        frame.first_steps()
        return
    found = following(now)
    for place, (heading, value, remark) in zip(st.columns(len(found.tiles)), found.tiles, strict=True):
        with place.container(border=True, gap=None):
            st.caption(heading)
            st.markdown(f"#### {words.safe(value)}")
            st.caption(words.safe(remark))
    if not found.told:
        st.markdown("##### No report yet")
        st.write("The worker reports once readings have met the twin's word for them, a minute or two after its start.")
        _sources(found)
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _channels(found)
        _sensors(found)
    with right:
        _ratios(found.for_plans)
        _halls(found)
        _sources(found)


def _channels(found: Following) -> None:
    st.markdown("##### How far off, by channel")
    st.table(table(found.for_plans), border="horizontal", alt="Errors by channel, now and ahead")
    st.caption(
        "Root mean square of reading less twin, in the unit beside the name. Now: against the twin's word for that "
        "instant; ahead: against forecasts that knew nothing newer. In the 80 % band: now · 10 min · 1 h, rightly "
        "80 %. MAPE, CV-RMSE and NMBE (forecast less reading) are those 10 min ahead."
    )
    if found.others:
        with st.expander(f"{words.count(len(found.others), 'channel')} more, reported but without a say in plans"):
            st.table(table(found.others), border="horizontal", alt="Errors of other channels")


def _ratios(channels: tuple[Channel, ...]) -> None:
    st.markdown("##### Against persistence")
    shown = [one for one in channels if one.ratio(600) is not None or one.ratio(3600) is not None]
    if not shown:
        st.caption("The first forecasts meet their readings ten minutes after the start.")
        return
    st.echarts_chart(
        charts.ratios([(one.label.split(",")[0], one.ratio(600), one.ratio(3600)) for one in shown]),
        height=26 * len(shown) + 44,
        alt="RMSE of the twin over that of persistence, 10 min and 1 h ahead; left of 1 the twin is better",
    )
    st.caption("RMSE over that of persistence: ● 10 min, ○ 1 h ahead. Left of the line the twin is better.")


def _halls(found: Following) -> None:
    if not found.halls:
        return
    st.markdown("##### Halls")
    st.table(halls_table(found.halls), border="horizontal", alt="Halls and how they are followed")
    st.caption(
        f"Out of sync above {words.number(LIMIT_LEVEL)} × for 3 min (20 while machines start and stop), in sync "
        f"again below {words.number(CALM_LEVEL)} × for 10 min. Plans for a hall that is out of sync are rehearsed, but "
        "not let through."
    )


def _sensors(found: Following) -> None:
    if found.shut_out:
        st.markdown("##### Sensors shut out")
        st.table(
            sensors_table(found.shut_out), border="horizontal", hide_index=True, alt="Sensors that are not believed"
        )
        if len(found.shut_out) > 8:
            st.caption(f"and {len(found.shut_out) - 8} more; `foretwin sync report --json` has all.")
    if found.refused:
        said = ", ".join(f"{words.number(n)} {reason}" for reason, n in found.refused[:4])
        st.caption(f"Readings refused so far: {words.safe(said)}.")


def _sources(found: Following) -> None:
    if found.sources:
        st.markdown("##### Sources")
        st.table(sources_table(found.sources), border="horizontal", hide_index=True, alt="Sources of telemetry")


if __name__ == "__main__":
    show()
