"""Chillers beyond their nameplate: part load, hot days, head pressure, when the next one is called. Pure functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Below this share of its capacity a chiller cycles: it draws in proportion to time (DOE-2 default minimum unloading).
LEAST_PART_LOAD = 0.1
LEAST_CAPACITY_FRAC = 0.3  # a derated chiller still gives this much [assumed]


def part_load_power_frac(load_frac: Array, part_load: Array) -> Array:
    """Return power over full-load power at a share of capacity: c0 + c1 x + c2 x^2, cycling below a tenth.

    part_load is (..., 3); the default in `plant/coolingfile.py` is the DOE-2 centrifugal curve, read in the data
    sets of the Modelica Buildings library ("DOE-2 Centrifugal/5.50COP"). (0, 1, 0) makes the COP independent of load.
    """
    x = np.clip(load_frac, 0.0, 1.0)
    held = np.maximum(x, LEAST_PART_LOAD)
    curve = part_load[..., 0] + held * (part_load[..., 1] + held * part_load[..., 2])
    return np.asarray(curve * np.minimum(1.0, x / LEAST_PART_LOAD))


def ambient_capacity_frac(outdoor_c: Array, design_c: Array, derate_per_k: Array) -> Array:
    """Return the share of capacity left at an outdoor temperature: less for each kelvin above the design one."""
    return np.maximum(LEAST_CAPACITY_FRAC, 1.0 - derate_per_k * np.maximum(outdoor_c - design_c, 0.0))


def warm_water_capacity_frac(above_k: Array, per_k: Array, most_frac: Array) -> Array:
    """Return capacity over nominal when it supplies water this much above its set-point: denser vapour, more heat.

    3.6 % of nominal for each kelvin around 7 C in a manufacturer's table (YORK YLCC manual, capacity correcting
    factors); its motor and the limits of its evaporator hold it at most_frac.
    """
    return np.clip(1.0 + per_k * above_k, 1.0, np.maximum(most_frac, 1.0))


def condensing_c(outdoor_c: Array, load_frac: Array, condenser_k: Array) -> Array:
    """Return the condensing temperature [C]: above the outdoor one in proportion to the load on the chiller."""
    return np.asarray(outdoor_c + condenser_k * np.clip(load_frac, 0.0, 1.0))


def wants_more(load_frac: Array, above_k: Array, up_frac: Array, up_k: Array) -> Flags:
    """Tell where one more chiller is wanted: the load nears what runs, or the water leaves its set-point."""
    return np.asarray((load_frac > up_frac) | (above_k > up_k))


def wants_fewer(load_frac: Array, running: Array, above_k: Array, down_frac: Array) -> Flags:
    """Tell where one chiller too many runs: the others would stay below down_frac and the water is at its set-point."""
    on_fewer = load_frac * running / np.maximum(running - 1.0, 1.0)
    return np.asarray((running > 1.0) & (on_fewer < down_frac) & (above_k < 0.2))
