"""The screen's front door: page frame and navigation, nothing else. `foretwin demo` and `foretwin run` start it.

Everything shown is read from the files under FORETWIN_HOME; the only thing ever written is a decision in the ledger.
"""

from __future__ import annotations

import time

import streamlit as st

from screens import frame


def main() -> None:
    """Draw the frame of every page, then the page that the address names."""
    st.set_page_config(page_title="Foretwin", layout="wide")
    # The only clock of the screens, read here and handed down; a test puts its own in this place.
    st.session_state.setdefault("clock", time.time)
    page = st.navigation(
        [
            st.Page("screens/fleet.py", title="Fleet", default=True),
            st.Page("screens/rehearse.py", title="Rehearse"),
            st.Page("screens/sync.py", title="Sync"),
        ],
        position="top",
    )
    frame.show(elsewhere=page.url_path != "rehearse")
    page.run()


if __name__ == "__main__":
    main()
