"""What flows, advanced over one step of the grid: heat, water, electricity, work (design section 1, rule 2).

Within a step inlets, supply air and loads are held; racks are solved exactly; every kilojoule that leaves one place
enters another, so the balance closes by construction and the fluxes are tested on their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.airside import advance_air, air_parts
from twin.derived import Derived
from twin.electricity import advance_electricity
from twin.liquidside import advance_liquid
from twin.state import State
from twin.unitside import find_by_unit
from twin.waterside import advance_water

Array = NDArray[np.float64]
# Temperatures that must stand still before a longer step is allowed, and what a kelvin of theirs counts. Accelerators
# follow their load within a minute and warm nothing else: 5 K of them count as 0.1 K of air [assumed].
WATCHED = {"rack_inlet_c": 1.0, "rack_air_c": 1.0, "loop_supply_c": 1.0, "gpu_c": 0.02}


def advance(d: Derived, dt_s: float, outdoor_c: Array, carbon_kgco2_per_kwh: Array) -> None:
    """Advance all flows of d.state by dt_s; outdoor temperature and carbon intensity are given per region."""
    s = d.state
    if s.region_outdoor_k_per_s.any():
        s.region_outdoor_k[...] += s.region_outdoor_k_per_s * dt_s
    liquid_kw, cdu_kw = advance_liquid(d, dt_s) if d.site.cooling.has_liquid else (None, None)
    find_by_unit(d)
    if d.any_by_unit or d.dx_kw.any():
        d.dx_kw = np.zeros_like(d.dx_kw)
    before = {name: s.arrays[name].copy() for name in WATCHED} if s.calm_step_ms else {}
    heat_kj = np.zeros((s.members, len(d.site.hall_ids)))
    parts = air_parts(d, dt_s)
    for _ in range(parts):
        heat_kj += advance_air(d, dt_s / parts, outdoor_c, liquid_kw)
    if d.heat.present:
        d.heat.advance(dt_s)
    chiller_kw = advance_water(d, heat_kj / dt_s, cdu_kw, dt_s, outdoor_c)
    advance_electricity(d, chiller_kw, dt_s, carbon_kgco2_per_kwh)
    s.temp_moved_k[...] = 0.0
    for name, old in before.items():
        moved_k = np.abs(s.arrays[name] - old).max(axis=1, initial=0.0) * WATCHED[name]
        np.maximum(s.temp_moved_k, moved_k, out=s.temp_moved_k)


def stored_heat_kj(site_plenum_kj_per_k: Array, s: State) -> Array:
    """Return the heat held in equipment, air and water relative to 0 C (members,): the stored side of the balance."""
    racks = (s.rack_mass_kj_per_k * s.rack_mass_c + s.rack_air_kj_per_k * s.rack_air_c).sum(axis=1)
    halls = (site_plenum_kj_per_k * s.hall_hot_c).sum(axis=1)
    halls = halls + (s.hall_structure_kj_per_k * s.hall_structure_c).sum(axis=1)
    halls = halls + (s.cdu_water_kj_per_k * s.cdu_coolant_c).sum(axis=1)
    return np.asarray(racks + halls + (s.loop_water_kj_per_k * s.loop_supply_c).sum(axis=1))
