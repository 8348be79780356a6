"""`foretwin evaluate sync --path DIR`: how well the twin follows a real week of jobs and power."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twin.realweek import evaluate_week, windows
from twin.week import load_week
from twin.weekuse import node_util, place_first_fit


def run(path: str | Path, fit: str | None = None, test: str | None = None, seed: int = 0) -> dict[str, Any]:
    """Return the `results` object of the verb. Raises ConfigError or TelemetryError for input that cannot be used.

    path: folder with the files of the mapping; fit, test: windows as in `twin.window`, None takes the mapping's.
    """
    week = load_week(path)
    fit_window, test_window = windows(week, fit, test)
    placement = place_first_fit(week)
    util_frac = node_util(week, placement, len(week.power_kw))
    results = evaluate_week(week, util_frac, fit_window, test_window, seed)
    return results | {"tasks_unplaced": len(placement.unplaced)}
