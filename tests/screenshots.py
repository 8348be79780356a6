"""Look at a page as a person would: `python tests/screenshots.py URL OUT.png` saves it at 1440 x 1000.

`Screen` starts the app itself on a free loopback port for a state folder and stops it by its process id.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servers import free_ports

ROOT = Path(__file__).resolve().parent.parent
SIZE = {"width": 1440, "height": 1000}
READY_S = 60.0
SETTLE_MS = 2_500


def chromium() -> str | None:
    """The browser, or None where `make servers` has not put one."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def browser_page() -> Iterator[Any]:
    """A page of a headless browser, gone afterwards."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        # a browser run by root cannot use its sandbox; it only sees our own loopback page
        browser = play.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        try:
            yield browser.new_page(viewport=SIZE)
        finally:
            browser.close()


def settle(page: Any, url: str) -> None:
    """Open the address and wait until the page has drawn itself."""
    page.goto(url)
    page.wait_for_selector("h5, h3", timeout=READY_S * 1000)
    page.wait_for_timeout(SETTLE_MS)


def take(url: str, out: str | Path, *, whole: bool = False) -> Path:
    """Save a picture of the page at `url` as PNG: the window, or the whole scrolled page."""
    target = Path(out)
    target.parent.mkdir(parents=True, exist_ok=True)
    with browser_page() as page:
        settle(page, url)
        shoot(page, target, whole=whole)
    return target


def shoot(page: Any, target: Path, *, whole: bool = False) -> None:
    """Save what an open page shows. The page scrolls inside itself, so the window grows to show the whole of it."""
    if whole:
        needed = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        page.set_viewport_size({"width": SIZE["width"], "height": max(SIZE["height"], int(needed))})
        page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=str(target))
    page.set_viewport_size(SIZE)


class Screen:
    """The app as its own process on a free loopback port."""

    def __init__(self, home: Path, env: Mapping[str, str] | None = None) -> None:
        (port,) = free_ports(1)
        self.url, self.home = f"http://127.0.0.1:{port}", home
        settings = {"FORETWIN_HOME": str(home), "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false"} | dict(env or {})
        command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py")]
        options = ["--server.headless", "true", "--server.port", str(port), "--server.address", "127.0.0.1"]
        with (home / "screen.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *options], cwd=ROOT, env={**os.environ, **settings}, stdout=log, stderr=log
            )

    def __enter__(self) -> Screen:
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            assert self._process.poll() is None, (self.home / "screen.log").read_text()
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1):
                    return self
            except OSError:
                time.sleep(0.1)
        self.__exit__()
        raise AssertionError(f"the app did not answer within {READY_S} s; see {self.home / 'screen.log'}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


if __name__ == "__main__":
    print(take(sys.argv[1], sys.argv[2], whole="--whole" in sys.argv[3:]))
