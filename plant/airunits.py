"""Cooling units one by one: coil or compressor, capacity, held controls, as pure functions over arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Sensible capacity of a CRAC: 84 kW at 24 C return air, 137 kW at 32 C, 2 to 4 % per kelvin near rating
# (notes/incidents.md B.4).
RATING_RETURN_C = 24.0
CAPACITY_PER_K = 0.03
LEAST_DX_FRAC = 0.5
# Above 35 C outdoors an air-cooled condenser loses capacity [assumed, as for chillers].
DX_DESIGN_OUTDOOR_C = 35.0
DX_DERATE_PER_K = 0.015


def controlled_speed_frac(wanted_kw_per_k: Array, held_kw_per_k: Array, free_kw_per_k: Array) -> Array:
    """Return the fan speed of the units under control: what is wanted less what held units move, shared equally."""
    rest = np.maximum(wanted_kw_per_k - held_kw_per_k, 0.0)
    return np.where(free_kw_per_k > 0.0, np.minimum(1.0, rest / np.maximum(free_kw_per_k, 1e-12)), 0.0)


def dx_capacity_kw(rated_kw: Array, hot_c: Array, outdoor_c: Array) -> Array:
    """Return the heat a CRAC can take [kW]: more from warm return air, less on a very hot day."""
    warm = np.clip(1.0 + CAPACITY_PER_K * (hot_c - RATING_RETURN_C), LEAST_DX_FRAC, 1.6)
    hot_day = np.maximum(LEAST_DX_FRAC, 1.0 - DX_DERATE_PER_K * np.maximum(outdoor_c - DX_DESIGN_OUTDOOR_C, 0.0))
    return np.asarray(rated_kw * warm * hot_day)


def coil_reach_kw(flow_kw_per_k: Array, effectiveness_frac: Array, hot_c: Array, water_c: Array) -> Array:
    """Return the heat a chilled-water coil takes with its valve fully open [kW]; negative when the water is warmer."""
    return np.asarray(flow_kw_per_k * effectiveness_frac * (hot_c - water_c))


def unit_heat_kw(reach_kw: Array, capacity_kw: Array, wanted_kw: Array, valve_frac: Array, held: Flags) -> Array:
    """Return the heat a unit takes [kW]: what brings its air to the set-point; a held valve gives its share."""
    under_control = np.where(wanted_kw > 0.0, np.minimum(wanted_kw, reach_kw), 0.0)
    return np.minimum(np.where(held, valve_frac * reach_kw, under_control), capacity_kw)
