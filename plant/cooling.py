"""Cooling units, chilled water and chillers as pure functions over arrays (C, kW, kW/K)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Below this share of nominal flow a chiller loses capacity in proportion [assumed].
FULL_CAPACITY_FLOW_FRAC = 0.7
COP_MIN = 1.5
COP_REFERENCE_OUTDOOR_C = 25.0
# Loop pressure follows flow squared on a nominal differential of 300 kPa (notes/incidents.md B.4, peer configuration).
NOMINAL_PRESSURE_KPA = 300.0


def supply_air_c(hot_c: Array, water_c: Array, setpoint_c: Array, effectiveness_frac: Array) -> Array:
    """Return the supply-air temperature: the set-point while the coil can reach it, else what the coil gives.

    Air that is colder than the set-point passes as it is: the valve is closed, and a coil does not heat.
    """
    return np.where(hot_c > setpoint_c, np.maximum(setpoint_c, hot_c - effectiveness_frac * (hot_c - water_c)), hot_c)


def cold_share_frac(available_kw_per_k: Array, wanted_kw_per_k: Array) -> Array:
    """Return the share of the racks' cold-air draw that the running units can give (1 when none is wanted)."""
    wanted = np.maximum(wanted_kw_per_k, 1e-12)
    return np.minimum(1.0, available_kw_per_k / wanted)


def flow_capacity_frac(flow_frac: Array) -> Array:
    """Return the share of chiller capacity left at a share of nominal water flow."""
    return np.clip(flow_frac / FULL_CAPACITY_FLOW_FRAC, 0.0, 1.0)


def chiller_heat_kw(
    water_c: Array, setpoint_c: Array, heat_in_kw: Array, capacity_kw: Array, water_kj_per_k: Array, dt_s: float
) -> Array:
    """Return the heat the chillers take [kW]: what brings the water to its set-point within the step, if they can."""
    wanted_kw = heat_in_kw + water_kj_per_k * (water_c - setpoint_c) / dt_s
    return np.clip(wanted_kw, 0.0, capacity_kw)


def chiller_cop(cop: Array, cop_per_k: Array, outdoor_c: Array) -> Array:
    """Return the coefficient of performance at an outdoor temperature, falling cop_per_k for each K above 25 C."""
    return np.maximum(COP_MIN, cop - cop_per_k * (outdoor_c - COP_REFERENCE_OUTDOOR_C))


def fan_power_kw(rated_kw: Array, speed_frac: Array) -> Array:
    """Return fan power by the cube law."""
    return np.asarray(rated_kw * speed_frac**3)


def loop_pressure_kpa(flow_frac: Array) -> Array:
    """Return the differential pressure of the loop, proportional to flow squared."""
    return np.asarray(NOMINAL_PRESSURE_KPA * flow_frac**2)
