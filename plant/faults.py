"""How things fail: cumulative hazards spent against a threshold, and what makes the hazard grow faster.

One law serves all: a component fails when the hazard it has accrued reaches a unit exponential threshold E, drawn once
per life (design section 1, rule 4). With H(t) = (t / scale)^shape that is a Weibull life; shape 1 is the constant
hazard. Hazards of independent components add, so the first of many fails when their summed hazard reaches E: the
minimum of n lives costs one draw, not n.
"""

from __future__ import annotations

from math import gamma

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def weibull_scale_s(mean_s: float, shape: float) -> float:
    """Scale of a Weibull life with this mean [s]: mean / Gamma(1 + 1/shape)."""
    return mean_s / gamma(1.0 + 1.0 / shape)


def hazard_weight(rate_per_s: float, shape: float) -> float:
    """What one component of mean life 1/rate adds to the pooled hazard H(t) = weight x t^shape [s^-shape]."""
    return float(weibull_scale_s(1.0 / rate_per_s, shape) ** -shape) if rate_per_s > 0.0 else 0.0


def first_failure_s(threshold: Array, weight: Array, shape: float) -> Array:
    """Time until summed hazards weight x t^shape reach the threshold [s]; infinite where nothing can fail."""
    with np.errstate(divide="ignore"):
        spent = threshold / weight
    return spent if shape == 1.0 else np.asarray(spent ** (1.0 / shape))
