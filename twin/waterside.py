"""Chilled water and chillers over one step of the grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import cooling
from twin.derived import Derived
from twin.layout import gather_sum, segment_sum

Array = NDArray[np.float64]


def advance_water(d: Derived, coil_kw: Array, dt_s: float, outdoor_c: Array) -> Array:
    """Advance the loops; return the electric power of each loop's chillers and pumps [kW]."""
    site, s, lay = d.site, d.state, d.layout
    heat_kw = gather_sum(coil_kw, lay.loop_halls) + site.loop_pump_kw
    running = s.chiller_phase == 0
    capacity = segment_sum(np.where(running, s.chiller_capacity_kw, 0.0), lay.loop_chillers)
    capacity = capacity * cooling.flow_capacity_frac(s.loop_flow_frac)
    taken_kw = cooling.chiller_heat_kw(
        s.loop_supply_c, s.loop_setpoint_c, heat_kw, capacity, s.loop_water_kj_per_k, dt_s
    )
    s.arrays["loop_supply_c"] = s.loop_supply_c + (heat_kw - taken_kw) * dt_s / s.loop_water_kj_per_k
    s.arrays["loop_heat_kw"] = heat_kw
    np.clip(s.loop_flow_frac + s.loop_flow_per_s * dt_s, 0.0, 1.0, out=s.loop_flow_frac)
    s.heat_in_kj[...] += site.loop_pump_kw.sum() * dt_s
    s.heat_out_kj[...] += taken_kw.sum(axis=1) * dt_s
    weight = np.where(running, s.chiller_capacity_kw * s.chiller_cop, 0.0)
    cop_mean = segment_sum(weight, lay.loop_chillers) / np.maximum(
        segment_sum(np.where(running, s.chiller_capacity_kw, 0.0), lay.loop_chillers), 1e-9
    )
    outdoor_l = outdoor_c.take(lay.loop_region, axis=1)
    cop = cooling.chiller_cop(cop_mean, lay.loop_cop_per_k, outdoor_l)
    d.loop_taken_kw = taken_kw
    return np.asarray(taken_kw / cop + site.loop_pump_kw)
