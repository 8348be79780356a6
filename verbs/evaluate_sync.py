"""`foretwin evaluate sync --path DIR`: how well the twin follows a real week of jobs and power, or a day of a hall."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from twin.realdata.hall import load_hall
from twin.realdata.hallmap import is_hall
from twin.realdata.powerfit import PowerLaw, features_of
from twin.realdata.realhall import evaluate_hall
from twin.realdata.realweek import evaluate_week, fit_week, windows
from twin.realdata.week import WeekData, load_week
from twin.realdata.weekrun import run_week
from twin.realdata.weeksite import week_site, with_law
from twin.realdata.weekuse import Floats, node_util, place_first_fit

CHECK_S = 3600.0


def run(
    path: str | Path,
    fit: str | None = None,
    test: str | None = None,
    seed: int = 0,
    engine: Literal["check", "whole"] = "check",
    workers: int = 2,
) -> dict[str, Any]:
    """Return the `results` object of the verb. Raises ConfigError or TelemetryError for input that cannot be used.

    path: folder with the files of a mapping, of a week or of a hall (which needs neither engine nor workers); fit,
    test: windows as in `twin.realdata.window`, None takes the mapping's.
    engine: "whole" runs every job of the week through the engine (tens of seconds); "check" takes the direct sum of the
    same placement, and runs the first hour of the test window through the engine to show that both agree.
    """
    if is_hall(Path(path)):
        return evaluate_hall(load_hall(path), fit, test, seed)
    week = load_week(path)
    fit_window, test_window = windows(week, fit, test)
    samples = len(week.power_kw)
    if engine == "whole":
        util_frac, _ = run_week(week, week_site(week), 0, samples, seed=seed, workers=workers)
    else:
        util_frac = node_util(week, place_first_fit(week), samples)
    fitted = fit_week(week, util_frac, fit_window)
    results = evaluate_week(week, fitted, fit_window, test_window, seed)
    return results | {"engine": engine} | _engine_check(week, fitted.law, util_frac, test_window, seed)


def _engine_check(week: WeekData, law: PowerLaw, util_frac: Floats, test: slice, seed: int) -> dict[str, Any]:
    """Run the fitted twin over the start of the test window; compare its State with what the rows were made from."""
    last = min(test.stop, test.start + round(CHECK_S * 1000.0 / week.step_ms))
    there, power_kw = run_week(week, with_law(week_site(week), law), test.start, last, seed=seed)
    here = util_frac[test.start : last]
    said_kw = law.site_kw(features_of(here, week.mapping.hosts.cores))
    return {
        "engine_samples": last - test.start,
        "engine_util_max_diff_frac": float(np.abs(there.sum(axis=1) - here.sum(axis=1)).max() / there.shape[1]),
        "engine_power_max_diff_frac": float(np.abs(power_kw - said_kw).max() / said_kw.mean()),
    }
