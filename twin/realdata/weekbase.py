"""The plain regressions a twin of the real week has to beat: power against sums over the running tasks.

Ordinary least squares on the number of running tasks, their use, and a third sum that lets the curve bend (README of
the SURF week): no hosts, no placement, no sign restrictions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.realdata.week import WeekData

Floats = NDArray[np.float64]

REGRESSIONS = {"linear": (), "squares": ("squares",), "roots": ("roots",)}
CONCAVE = "squares"  # the bar named by contracts.md as "the concave regression"


def task_sums(week: WeekData, samples: int) -> dict[str, Floats]:
    """Return sums over the running tasks that have a profile, each (samples,): number, use, its squares and roots."""
    length = np.diff(week.profile_start)
    row = np.arange(len(week.profile_frac)) - np.repeat(week.profile_start[:-1], length)
    sample = np.repeat(week.start_ms // week.step_ms, length) + row
    keep = sample < samples
    at, u = sample[keep], week.profile_frac[keep]
    weights = {"number": None, "use": u, "squares": u * u, "roots": np.sqrt(u)}
    return {name: np.bincount(at, w, samples).astype(np.float64) for name, w in weights.items()}


def regression_kw(sums: dict[str, Floats], power_kw: Floats, fit: slice, name: str) -> Floats:
    """Return what the regression of that name, fitted on the fit window, says for every sample."""
    x = np.column_stack([np.ones(len(power_kw)), sums["number"], sums["use"], *(sums[s] for s in REGRESSIONS[name])])
    used = np.arange(fit.start, fit.stop)[np.isfinite(power_kw[fit])]
    weight, *_ = np.linalg.lstsq(x[used], power_kw[used], rcond=None)
    return np.asarray(x @ weight)
