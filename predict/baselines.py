"""The tiers below the network: how often such a thing fails at all, and what its own residual says."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from predict.reference import Residual
from predict.survival import HORIZONS_S

Array = NDArray[np.float64]

HOURS_PER_YEAR = 8766.0


@dataclass(frozen=True)
class GammaRate:
    """A failure rate [1/h] with a Gamma law: `failures` seen in `hours`, pseudo-counts of the prior included."""

    failures: float
    hours: float

    @property
    def mean_per_h(self) -> float:
        """Posterior mean rate."""
        return self.failures / self.hours

    def seen(self, failures: int, hours: float) -> GammaRate:
        """Return the rate after `failures` more in `hours` more of exposure."""
        return GammaRate(self.failures + failures, self.hours + hours)

    def p_fail(self) -> Array:
        """Return P(fail within each horizon), the rate's own uncertainty integrated out, (horizons,)."""
        horizon_h = np.array(HORIZONS_S) / 3600.0
        return 1.0 - (self.hours / (self.hours + horizon_h)) ** self.failures


def _yearly(rate: float, failures: float = 1.0) -> GammaRate:
    return GammaRate(failures, failures / rate * HOURS_PER_YEAR)


# Yearly rates: facility, notes/incidents.md B.7 (from memory of IEEE 493, mid of the range, worth one failure);
# PSU and node from the stepfun trace, notes/predict.md 1.1. A loop: pump, or common cause of its chillers.
BASE_RATES: dict[str, GammaRate] = {
    "loop": _yearly(0.1),
    "chiller": _yearly(0.15),
    "cooling_unit": _yearly(0.1),
    "rack": _yearly(0.05),
    "ups": _yearly(0.05),
    "link": _yearly(0.2),
    "feed": _yearly(1.5),
    "node": _yearly(1.53, 50.0),
    "psu": _yearly(0.067, 18.0),
}

# Residual score to rate: at the base rate for a score of 0, rising by a constant factor per tolerance, so that one
# tolerance off means about one in three within the hour; capped at one failure per 3 min.
RATE_AT_TOLERANCE_PER_H = 0.4
RATE_CAP_PER_H = 20.0
# The trend is believed once the level itself is off, and its time to the limit is right within a factor of 1.8.
TREND_FROM, TREND_FULL = 0.5, 1.0
TREND_SIGMA = 0.6


def score(residual: Residual) -> Array:
    """Return how far off a component is, (rows,): root of summed squares of its harmful excesses in tolerances."""
    harm = np.maximum(np.nan_to_num(residual.excess), 0.0)
    return np.asarray(np.sqrt((harm * harm).sum(axis=1)))


def residual_p_fail(residual: Residual, base_per_h: Array) -> Array:
    """Return P(fail within each horizon) (rows, horizons) from level and trend; never falls with the horizon."""
    off = score(residual)
    rate_per_h = level_rate_per_h(off, base_per_h)
    horizon_s = np.array(HORIZONS_S, float)
    stays = np.exp(-rate_per_h[:, None] * horizon_s / 3600.0)
    return 1.0 - stays * (1.0 - trend_p_fail(residual, off, horizon_s))


def level_rate_per_h(off: Array, base_per_h: Array) -> Array:
    """Return the failure rate [1/h] at a residual score: log-linear between the base rate and the rate at tolerance."""
    log_rate = np.log(base_per_h) + off * (math.log(RATE_AT_TOLERANCE_PER_H) - np.log(base_per_h))
    return np.asarray(np.exp(np.minimum(log_rate, math.log(RATE_CAP_PER_H))))


def trend_p_fail(residual: Residual, off: Array, horizon_s: Array) -> Array:
    """Return P(the fastest channel reaches its limit within the horizon), (rows, horizons), if the trend goes on."""
    headroom = np.maximum(residual.limit - residual.excess, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach_s = np.where(residual.rate_per_s > 0, np.maximum(headroom / residual.rate_per_s, 1.0), np.inf)
    reach_s = np.where(np.isfinite(residual.excess), reach_s, np.inf).min(axis=1)
    belief = np.clip((off - TREND_FROM) / (TREND_FULL - TREND_FROM), 0.0, 1.0)
    return np.asarray(belief[:, None] * ndtr((np.log(horizon_s) - np.log(reach_s)[:, None]) / TREND_SIGMA))
