"""The frame of every page: site, its clock, where the numbers come from, how fresh they are, and the alarm."""

from __future__ import annotations

import streamlit as st

from screens import view, words
from screens.look import Look, home, look

REFRESH_S = 3
"""How often a page looks again [s of wall time]."""


def now() -> Look:
    """The look of this moment, by the clock that the front door has set."""
    return look(home(), round(st.session_state["clock"]() * 1000))


# Streamlit leaves a hand of empty space above and between everything; a control room wants one page on one screen.
STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding: 3.6rem 2.2rem 1rem; }
[data-testid="stVerticalBlock"] { gap: 0.55rem; }
[data-testid="stTable"] th, [data-testid="stTable"] td { padding: 0.16rem 0.6rem !important; vertical-align: top; }
[data-testid="stTable"] ol { margin: 0; padding-left: 1.1rem; }
[data-testid="stTable"] li, [data-testid="stTable"] p { margin: 0; }
[data-testid="stAlertContainer"] { padding: 0.5rem 0.9rem; }
[data-testid="stTable"] thead th { text-align: left; color: #262626; font-weight: 600; }
.st-key-plans table { table-layout: fixed; width: 100%; }
.st-key-plans tr > :first-child { width: 15rem; }
</style>"""


@st.fragment(run_every=REFRESH_S)
def show(elsewhere: bool) -> None:
    """Draw the strip and the banners; refreshes itself. `elsewhere`: the page below is not the one with the plans."""
    st.html(STYLE)
    strip = view.strip(now())
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**Foretwin** · {words.safe(strip.site)}", width="content")
        if strip.started:
            st.markdown(f"**{strip.at}**", width="content")
        if strip.clock:
            st.caption(words.safe(strip.clock), width="content")
        for badge in strip.badges:
            st.badge(words.safe(badge.text), color="orange" if badge.wrong else "gray")
    for banner in strip.banners:
        _banner(banner, link=elsewhere and banner.to_plans)


def first_steps() -> None:
    """What to do where nothing has ever run."""
    st.subheader("Nothing has run here yet")
    st.write("No worker has written to this folder. Start one of these in a shell, and leave this page open:")
    st.code(view.FIRST_STEPS, language="sh")
    st.caption(f"State is read from `{home()}`; FORETWIN_HOME names another folder.")


def _banner(banner: view.Banner, *, link: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        {"act": st.error, "watch": st.warning, "note": st.info}[banner.level](
            f"{banner.mark} {words.safe(banner.text)}", width="stretch"
        )
        if link:
            st.page_link("screens/rehearse.py", label="Compare the plans", icon=":material/arrow_forward:")
