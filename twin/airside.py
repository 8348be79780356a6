"""Heat in racks and hall air over one step of the grid; inlets and supply air are held within a part of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import cooling, thermal
from twin.airpaths import rack_coefficients
from twin.derived import Derived
from twin.layout import segment_sum

Array = NDArray[np.float64]

MAX_AIR_COURANT = 0.5  # explicit hot-aisle step stays well inside its stability limit


def air_parts(d: Derived, dt_s: float) -> int:
    """Return into how many parts the air side must split a step; depends on the site alone."""
    flow = np.bincount(d.site.rack_hall, d.site.rack_flow_kw_per_k, len(d.site.hall_ids)).max()
    return max(1, int(np.ceil(dt_s * flow / d.site.hall_plenum_kj_per_k.min() / MAX_AIR_COURANT)))


def advance_air(d: Derived, dt_s: float, outdoor_c: Array) -> Array:
    """Advance racks and hot aisles; return the heat that the coils took from each hall [kJ]."""
    site, s, lay = d.site, d.state, d.layout
    water_c = s.loop_supply_c.take(site.hall_loop, axis=1)
    supply_c = cooling.supply_air_c(s.hall_hot_c, water_c, s.hall_setpoint_c, lay.hall_effectiveness)
    supply_r, hot_r = supply_c.take(site.rack_hall, axis=1), s.hall_hot_c.take(site.rack_hall, axis=1)
    inlet_c = hot_r + d.cold_frac * (supply_r - hot_r)
    mass_c, air_c = thermal.advance_rack(rack_coefficients(d, dt_s), s.rack_mass_c, s.rack_air_c, d.rack_kw, inlet_c)
    carried_kj = (
        d.rack_kw * dt_s
        - s.rack_mass_kj_per_k * (mass_c - s.rack_mass_c)
        - s.rack_air_kj_per_k * (air_c - s.rack_air_c)
    )
    coil_kj = d.unit_flow * (s.hall_hot_c - supply_c) * dt_s
    wall_kj = site.hall_wall_kw_per_k * (s.hall_hot_c - outdoor_c.take(site.hall_region, axis=1)) * dt_s
    gain_kj = segment_sum(carried_kj, lay.hall_racks) + d.fan_kw * dt_s - coil_kj - wall_kj
    s.arrays["rack_mass_c"], s.arrays["rack_air_c"], s.arrays["rack_inlet_c"] = mass_c, air_c, inlet_c
    s.arrays["hall_hot_c"] = s.hall_hot_c + gain_kj / site.hall_plenum_kj_per_k
    s.arrays["hall_supply_c"] = supply_c
    s.heat_in_kj[...] += (d.hall_kw + d.fan_kw).sum(axis=1) * dt_s
    s.heat_out_kj[...] += wall_kj.sum(axis=1)
    np.maximum(s.peak_inlet_c, inlet_c.max(axis=1), out=s.peak_inlet_c)
    return coil_kj
