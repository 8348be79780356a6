"""What shows before a fault: how long before, how strongly, and how often nothing does (notes/incidents.md B.8)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant.faults import FaultLaws

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


def lead_s(laws: FaultLaws, kind: Ints, u: Array, z: Array) -> Array:
    """Time to the fault [s], 0 where nothing warns: lognormal, by one uniform, one normal number."""
    lead = laws.lead_median_s[kind] * np.exp(laws.lead_sigma[kind] * z)
    return np.asarray(np.where(u < laws.warning_none_frac[kind], 0.0, lead))


def mean_lead_s(laws: FaultLaws) -> Array:
    """Mean lead of each kind [s], faults without warning included: how long a node of it spends degrading."""
    return np.asarray(
        (1.0 - laws.warning_none_frac) * laws.lead_median_s * np.exp(0.5 * laws.lead_sigma * laws.lead_sigma)
    )


def severity(laws: FaultLaws, kind: Ints, progress_frac: Array) -> Array:
    """Strength of the signs, 0 at onset to 1 at the fault: (e^(a p) - 1) / (e^a - 1), linear where a is 0."""
    a = laws.steepness[kind]
    p = np.clip(progress_frac, 0.0, 1.0)
    steep = np.where(a > 0.0, a, 1.0)
    return np.asarray(np.where(a > 0.0, np.expm1(steep * p) / np.expm1(steep), p))
