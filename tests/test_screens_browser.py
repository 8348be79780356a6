"""One walk through the real thing: the app as a process, a real browser, a decision pressed and pictures taken."""

from __future__ import annotations

import io
import re
import time

import numpy as np
import pytest
from PIL import Image
from screens_world import ScreenWorld
from screenshots import Screen, browser_page, chromium, settle, shoot

pytestmark = pytest.mark.servers

REASON = "zone c loses its water"
# Streamlit asks for its health and settings beside the page's own address first; those two are no faults.
HARMLESS = re.compile(r"Failed to load resource: the server responded with a status of 404")


@pytest.fixture
def story(tmp_path):
    world = ScreenWorld(tmp_path / "home", wall_s=time.time()).tell("awaiting")
    yield world
    world.close()


def test_a_person_sees_the_alarm_compares_and_approves(story, tmp_path):
    if chromium() is None:
        pytest.skip("no browser: run `make servers` (Debian's chromium)")
    faults, foreign = [], []
    with Screen(story.home, {"FORETWIN_IDENTITY__DEMO": "1"}) as screen, browser_page() as page:
        page.on(
            "console", lambda m: faults.append(m.text) if m.type == "error" and not HARMLESS.match(m.text) else None
        )
        page.on("request", lambda r: foreign.append(r.url) if not local(r.url) else None)
        settle(page, screen.url)
        assert page.get_by_text("hk/zone-c/loop (loop) needs action").first.is_visible()
        shoot(page, tmp_path / "fleet.png")
        page.get_by_text("Compare the plans").click()
        page.wait_for_url("**/rehearse")
        page.get_by_role("button", name="Approve").wait_for()
        shoot(page, tmp_path / "rehearse.png")
        page.get_by_role("textbox").fill(REASON)
        # half-typed words must outlive the page's own refresh, which comes every three seconds
        page.wait_for_timeout(7_000)
        assert page.get_by_role("textbox").input_value() == REASON
        page.get_by_role("button", name="Approve").click()
        page.get_by_text(f"Approved by demo operator, 00:49:30 UTC: {REASON}").wait_for(timeout=20_000)
        # a deep link and a reload show the same page
        settle(page, f"{screen.url}/rehearse")
        assert page.get_by_text("about to start").first.is_visible()
        assert page.get_by_text("Page not found").count() == 0
    (decision,) = story.ledger.decisions(story.plans["cap_and_migrate"])
    assert (decision.who, decision.reason) == ("demo operator", REASON)
    assert not faults, faults
    assert not foreign, foreign
    for name in ("fleet.png", "rehearse.png"):
        assert 20_000 < (tmp_path / name).stat().st_size < 300_000


def local(url: str) -> bool:
    """Ours, or no request at all."""
    return url.startswith(("http://127.0.0.1", "data:", "blob:"))


def test_a_healthy_fleet_is_grey(tmp_path):
    """Less than one pixel in a hundred has a colour when nothing is wrong (ISA-101: colour means abnormal)."""
    if chromium() is None:
        pytest.skip("no browser: run `make servers` (Debian's chromium)")
    world = ScreenWorld(tmp_path / "home", wall_s=time.time()).tell("quiet")
    with Screen(world.home) as screen, browser_page() as page:
        settle(page, screen.url)
        picture = page.screenshot(path=str(tmp_path / "quiet.png"))
    world.close()
    assert saturated_frac(picture) < 0.01


def saturated_frac(png: bytes) -> float:
    """Share of pixels whose channels differ by more than a quarter of full scale."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    return float(((pixels.max(axis=2) - pixels.min(axis=2)) > 64).mean())
