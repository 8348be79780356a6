"""Direct-to-chip cooling: cold plates, a CDU and its heat exchanger, as pure functions over arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_PLATE_COURANT = 0.5  # the explicit plate stays well inside its stability limit


def plate_heat_kw(mass_c: Array, coolant_c: Array, plate_kw_per_k: Array, mass_kj_per_k: Array, dt_s: float) -> Array:
    """Return the heat that equipment gives the coolant [kW]; negative when the coolant is warmer."""
    conductance = np.minimum(plate_kw_per_k, MAX_PLATE_COURANT * mass_kj_per_k / dt_s)
    return np.asarray(conductance * (mass_c - coolant_c))


def exchanger_heat_kw(
    coolant_c: Array, setpoint_c: Array, heat_in_kw: Array, water_c: Array, ua_kw_per_k: Array, kj_per_k: Array,
    dt_s: float,
) -> Array:  # fmt: skip
    """Return the heat that a CDU gives its loop over a step [kW]: what brings the coolant to its set-point, if it can.

    The most it can give is the exact solution of C dT/dt = Q - UA (T - Tw) with the valve fully open.
    """
    end_c = water_c + heat_in_kw / ua_kw_per_k
    open_c = end_c + (coolant_c - end_c) * np.exp(-ua_kw_per_k * dt_s / kj_per_k)
    most_kw = heat_in_kw - kj_per_k * (open_c - coolant_c) / dt_s
    wanted_kw = heat_in_kw + kj_per_k * (coolant_c - setpoint_c) / dt_s
    return np.minimum(np.maximum(wanted_kw, 0.0), most_kw)
