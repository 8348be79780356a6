"""What every test may ask for, and the two rules of the suite: named skips only, no skip at all in `make test-all`."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from pathlib import Path

import pytest

# Two workers and some fifty interpreters that tests start: each would compile the house and its tests anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

ROOT = Path(__file__).resolve().parent.parent
SHARED_ABSENT = "the shared data sets are not beside this checkout (../shared/data)"

try:
    from hypothesis import settings
except ImportError:  # a plain interpreter can still collect what needs no Hypothesis
    pass
else:
    # Same examples on every machine and no deadline, which a busy machine would break. `house`, the default run, takes
    # a third as many as `full`, which is for `make test-all`; `explore` looks for new ones.
    settings.register_profile("house", deadline=None, max_examples=30, derandomize=True, print_blob=True)
    settings.register_profile("full", deadline=None, derandomize=True, print_blob=True)
    settings.register_profile("explore", deadline=None, max_examples=1000, print_blob=True)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))


def pytest_collection(session: pytest.Session) -> None:
    """Each worker reads all tests. In a fresh checkout one begins at the end, so that each compiles half of them."""
    config = session.config
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw1" and config.args_source is config.ArgsSource.TESTPATHS:
        for path in sorted((ROOT / "tests").glob("test_*.py"), reverse=True):
            with contextlib.suppress(Exception, pytest.skip.Exception):  # told where it is collected
                importlib.import_module(path.stem)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the collector of garbage need not look through it again and again."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets; skips with the one reason that `make test-all` accepts where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(SHARED_ABSENT)
    return folder


def skips_are_refused() -> bool:
    """`make test-all` sets it: a test that cannot run there is a failure, not a footnote."""
    return os.environ.get("FORETWIN_NO_SKIPS") == "1"


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skipped report into a failed one, unless it is an expected failure or the shared data are truly absent."""
    if not (skips_are_refused() and report.skipped) or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if SHARED_ABSENT in reason and not (ROOT.parent / "shared" / "data").is_dir():
        return
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid}: skipped where no skip is allowed ({reason}); run `make servers` first"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> object:
    report = yield
    refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> object:
    report = yield
    refuse_skip(report)
    return report
