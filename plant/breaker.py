"""Protection that trips on overload: an inverse-time curve as a thermal accumulator (loads and ratings in kW).

A breaker holds for ever up to `from_frac` of its rating. Above, it trips after scale / ((x / from) ** exponent - 1)
seconds at constant load x over rating, and at once from `instant_frac` on. Under a changing load the fraction of that
time which has passed is its heat, 0 cold and 1 tripped; below `from_frac` the heat decays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CONTINUOUS_FRAC = 0.8  # a load that lasts stays below this share of the rating (NEC rule, notes/incidents.md B.5)


class TripCurve(NamedTuple):
    """An inverse-time curve: load over rating from which it heats, steepness, scale [s], instant limit, cooling [s]."""

    from_frac: float
    exponent: float
    scale_s: float
    instant_frac: float
    cool_s: float


# Thermal-magnetic, C curve, through the points of notes/incidents.md B.5: never at 1.13, 1 h at 1.45, 60 s at 2.5 and
# 16 s at 3 times the rating, at once at 8 (5 to 10). Cooling of the bimetal in 20 min [assumed].
RACK_BREAKER = TripCurve(1.13, 7.2, 18076.40834625063, 8.0, 1200.0)
# Inverters of a UPS: 10 min at 125 %, 1 min at 150 % (data sheets, from memory [assumed]), at once from 200 %.
UPS_OVERLOAD = TripCurve(1.0, 12.3, 8735.646754985108, 2.0, 600.0)


def trip_s(curve: TripCurve, load_frac: Array) -> Array:
    """Return the time [s] from cold to the trip at a constant load over rating; infinite where it holds."""
    above = np.maximum(load_frac / curve.from_frac, 1.0) ** curve.exponent - 1.0
    time_s = np.where(above > 0.0, curve.scale_s / np.where(above > 0.0, above, 1.0), np.inf)
    return np.where(load_frac >= curve.instant_frac, 0.0, time_s)


def advance_heat(curve: TripCurve, heat: Array, load_frac: Array, dt_s: float) -> Array:
    """Return the heat after dt_s at a constant load over rating; it trips where the result is 1."""
    above = np.maximum(load_frac / curve.from_frac, 1.0) ** curve.exponent - 1.0
    hotter = np.where(above > 0.0, heat + above * (dt_s / curve.scale_s), heat * np.exp(-dt_s / curve.cool_s))
    return np.minimum(np.where(load_frac >= curve.instant_frac, 1.0, hotter), 1.0)
