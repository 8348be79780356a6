"""How things fail: cumulative hazards spent against a threshold, and what makes the hazard grow faster.

One law serves all: a component fails when the hazard it has accrued reaches a unit exponential threshold E, drawn once
per life (design section 1, rule 4). With H(t) = (t / scale)^shape that is a Weibull life; shape 1 is the constant
hazard. Hazards of independent components add, so the first of many fails when their summed hazard reaches E: the
minimum of n lives costs one draw, not n; which of them it was is drawn in proportion to their hazards at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gamma

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


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


@dataclass(frozen=True, eq=False)
class FaultLaws:
    """How the nodes of a site fail and come back: arrays over K kinds, C classes of acceleration, T node types.

    doublings_per_k, load_doublings (C,): log2 of the hazard per kelvin of inlet and from idle to full load.
    kind_class (K,): which class a kind belongs to. type_rate_per_s (T, K): first faults of one average node.
    stage_* (K, S): mixture of repair times, cumulative shares. needs_part (K,): a repair takes a spare part. The
    other arrays (K,) and numbers are the columns of the fault file in seconds; crews and spares are -1 where there is
    no limit.
    """

    name: str
    kinds: tuple[str, ...]
    kind_class: Ints
    doublings_per_k: Array
    load_doublings: Array
    type_rate_per_s: Array
    wear_shape: Array
    beta: Array
    struck_mean: Array
    needs_part: Flags
    warning_none_frac: Array
    lead_median_s: Array
    lead_sigma: Array
    steepness: Array
    stage_share: Array
    stage_median_s: Array
    stage_sigma: Array
    lemon_frac: float
    lemon_factor: float
    p_cure: float
    p_repair_fails: float
    return_median_s: float
    return_sigma: float
    inlet_c: float
    load_frac: float
    reference_age_s: float
    age_s: float
    crews: int
    spares: int
    standbys: int
    restock_s: float

    @property
    def wears(self) -> bool:
        """Whether any kind ages."""
        return bool((self.wear_shape != 1.0).any())


def acceleration(inlet_c: Array, load_frac: Array | float, laws: FaultLaws, at: int) -> Array:
    """Hazard of class `at` over that at reference: 2^(doublings per K x warming + load doublings x load above it)."""
    doublings = laws.doublings_per_k[at] * (inlet_c - laws.inlet_c)
    doublings = doublings + laws.load_doublings[at] * (load_frac - laws.load_frac)
    return np.asarray(np.exp2(doublings))


def wear(age_s: Array | float, laws: FaultLaws) -> Array:
    """Hazard of each kind over that at the reference age, (..., K): (age / reference)^(shape - 1)."""
    ratio = np.maximum(np.asarray(age_s, dtype=np.float64), 86_400.0) / laws.reference_age_s
    return np.asarray(ratio[..., None] ** (laws.wear_shape - 1.0))


def class_rates(rates: Array, laws: FaultLaws) -> Array:
    """Sum rates of kinds (..., K) over classes of acceleration, (..., C); added kind by kind, in one order."""
    out = np.zeros((*rates.shape[:-1], len(laws.doublings_per_k)))
    for k, c in enumerate(laws.kind_class):
        out[..., c] += rates[..., k]
    return out


def choose(rates: Array, u: Array) -> Ints:
    """Choose one kind per row of rates (n, K) in proportion to them, by uniform numbers (n,)."""
    upto = np.cumsum(rates, axis=1)
    below = (upto < (u * upto[:, -1])[:, None]).sum(axis=1)
    return np.asarray(np.minimum(below, rates.shape[1] - 1), dtype=np.int64)


def lemon_scale(laws: FaultLaws) -> tuple[float, float]:
    """Hazard of a good node and of a lemon over the average: f lemons at factor F make the average 1 + f (F - 1)."""
    average = 1.0 + laws.lemon_frac * (laws.lemon_factor - 1.0)
    return 1.0 / average, laws.lemon_factor / average


def strike_prob(laws: FaultLaws, kind: Ints, neighbours: Ints) -> Array:
    """Probability that a shared cause strikes one given neighbour: binomial failure rate (Vesely), mean struck kept."""
    return np.asarray(np.minimum(laws.struck_mean[kind] / np.maximum(neighbours, 1), 1.0))
