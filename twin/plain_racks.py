"""The kernels of racks in plain NumPy: step coefficients, and one exact step with its heat (twin/kernels.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from plant import thermal
from twin.columns import Floats, Ints


def rack_coefficients(
    rows: Ints, mass_kj_per_k: Floats, air_kj_per_k: Floats, ua_kw_per_k: Floats, flow_kw_per_k: Floats, dt_s: float,
    seen_out: Floats, step_out: thermal.RackStep,
) -> None:  # fmt: skip
    """Compute the coefficients of an exact step for racks whose parameters are not those they were computed for."""
    now = np.stack([mass_kj_per_k[rows], air_kj_per_k[rows], ua_kw_per_k[rows], flow_kw_per_k[rows]])
    row, rack = np.nonzero((seen_out[:, rows] != now).any(axis=0))
    if not len(row):
        return
    mass, air, ua, flow = (part[row, rack] for part in now)
    new = thermal.rack_step(mass, air, ua, flow, dt_s)
    for kept, part in zip(step_out, new, strict=True):
        kept[rows[row], rack] = part
    seen_out[:, rows] = now


def rack_air(
    step: thermal.RackStep, rack_hall: Any, heat_kw: Floats, inlet_c: Floats, mass_kj_per_k: Floats,
    air_kj_per_k: Floats, dt_s: float, mass_out: Floats, air_out: Floats, inlet_out: Floats, peak_out: Floats,
    carried_out: Floats,
) -> None:  # fmt: skip
    """Advance equipment and air of all racks by one step; carried_out: the heat that leaves each hall's racks [kJ]."""
    mass_c, air_c = thermal.advance_rack(step, mass_out, air_out, heat_kw, inlet_c)
    carried = heat_kw * dt_s - mass_kj_per_k * (mass_c - mass_out) - air_kj_per_k * (air_c - air_out)
    mass_out[...], air_out[...], inlet_out[...] = mass_c, air_c, inlet_c
    carried_out[...] = 0.0
    for hall in range(carried_out.shape[1]):  # a rack's hall is sorted, so this is a sum over consecutive racks
        carried_out[:, hall] = carried[:, rack_hall == hall].sum(axis=1)
    np.maximum(peak_out, inlet_c.max(axis=1), out=peak_out)
