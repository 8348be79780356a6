"""One row of `evaluate sync` and `sync report`: how well a channel is followed, beside persistence and a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.realdata.metrics import below_frac, block_bootstrap_ci, coverage, cv_rmse, mape, nmbe, relative_errors, rmse

Floats = NDArray[np.float64]

BLOCK_S = 6 * 3600.0  # residuals of a site stay alike for hours; shorter blocks would make the interval too narrow


@dataclass(frozen=True)
class Forecasts:
    """What was measured and what was said beforehand, on one grid (n,), in the channel's unit; NaN = not available.

    low, high: the ends of the stated 80 % interval. persistence: the last reading, None in open loop.
    """

    measured: Floats
    twin: Floats
    baseline: Floats
    persistence: Floats | None
    low: Floats
    high: Floats


def row(
    channel: str,
    horizon_s: int,
    said: Forecasts,
    test: slice,
    *,
    step_s: float,
    seed: int,
    refused: int,
    block_s: float = BLOCK_S,
) -> dict[str, Any]:
    """Return one row in the words of contracts.md; all fractions are 0..1, what is unknown is None with a reason.

    block_s: length of the blocks the interval of the difference is drawn by; 6 h where the window has not two of them.
    """
    measured, twin, baseline = said.measured[test], said.twin[test], said.baseline[test]
    seen = np.isfinite(measured) & np.isfinite(twin) & np.isfinite(baseline)
    y, f, b = measured[seen], twin[seen], baseline[seen]
    answer: dict[str, Any] = {"channel": channel, "horizon_s": horizon_s, "n": int(seen.sum())}
    answer |= {"stale": int((~np.isfinite(measured)).sum()), "refused": refused}
    if not len(y):
        return answer | dict.fromkeys(FIGURES) | {"reason": "no reading of the test window has a forecast"}
    answer |= {
        "rmse": rmse(y, f),
        "mape": mape(y, f),
        "nmbe": nmbe(y, f),
        "cv_rmse": cv_rmse(y, f),
        "baseline_mape": mape(y, b),
        "below_10pct_frac": below_frac(y, f),
    }
    return answer | _persistence(said, test) | _coverage(said, test) | _difference(y, f, b, step_s, seed, block_s)


FIGURES = (
    "rmse", "mape", "nmbe", "cv_rmse", "baseline_mape", "below_10pct_frac",
    "persistence_rmse", "persistence_mape", "coverage80", "diff_vs_baseline_ci90",
)  # fmt: skip


def _persistence(said: Forecasts, test: slice) -> dict[str, Any]:
    if said.persistence is None:
        return {
            "persistence_rmse": None,
            "persistence_mape": None,
            "persistence_reason": "open loop: no reading is used, so there is none to persist",
        }
    y, p = said.measured[test], said.persistence[test]
    seen = np.isfinite(y) & np.isfinite(p)
    if not seen.any():
        return {"persistence_rmse": None, "persistence_mape": None, "persistence_reason": "no earlier reading"}
    return {"persistence_rmse": rmse(y[seen], p[seen]), "persistence_mape": mape(y[seen], p[seen])}


def _coverage(said: Forecasts, test: slice) -> dict[str, Any]:
    y, low, high = said.measured[test], said.low[test], said.high[test]
    seen = np.isfinite(y) & np.isfinite(low) & np.isfinite(high)
    if not seen.any():
        return {"coverage80": None, "coverage80_reason": "no interval was stated: the fit window is too short for one"}
    return {"coverage80": coverage(y[seen], low[seen], high[seen])}


def _difference(y: Floats, f: Floats, b: Floats, step_s: float, seed: int, block_s: float) -> dict[str, Any]:
    """Interval of (our MAPE - the baseline's), drawn by whole blocks."""
    difference = relative_errors(y, f) - relative_errors(y, b)
    for length_s in dict.fromkeys((block_s, BLOCK_S)):
        low, high = block_bootstrap_ci(difference, max(1, round(length_s / step_s)), seed)
        if np.isfinite(low):
            return {"diff_vs_baseline_ci90": [low, high], "diff_block_s": length_s}
    return {"diff_vs_baseline_ci90": None, "diff_reason": "the test window is shorter than two blocks of 6 h"}
