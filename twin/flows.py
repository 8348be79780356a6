"""What flows, advanced over one step of the grid: heat, water, electricity, work (design section 1, rule 2).

Within a step inlets, supply air and loads are held; racks are solved exactly; every kilojoule that leaves one place
enters another, so the balance closes by construction and the fluxes are tested on their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import cooling, power, thermal
from twin.derived import Derived, gather_sum, segment_sum
from twin.state import State

Array = NDArray[np.float64]

MAX_AIR_COURANT = 0.5  # explicit hot-aisle step stays well inside its stability limit


def advance(d: Derived, dt_s: float, outdoor_c: Array, carbon_kgco2_per_kwh: Array) -> None:
    """Advance all flows of d.state by dt_s; outdoor temperature and carbon intensity are given per region."""
    s = d.state
    inlet_c, air_c, water_c = s.rack_inlet_c, s.rack_air_c, s.loop_supply_c
    heat_kj = np.zeros((s.members, len(d.site.hall_ids)))
    parts = air_parts(d, dt_s)
    for _ in range(parts):
        heat_kj += _advance_air(d, dt_s / parts, outdoor_c)
    chiller_kw = _advance_water(d, heat_kj / dt_s, dt_s, outdoor_c)
    _advance_power(d, chiller_kw, dt_s, carbon_kgco2_per_kwh)
    if s.calm_step_ms:
        moved = (s.rack_inlet_c - inlet_c, s.rack_air_c - air_c, s.loop_supply_c - water_c)
        s.temp_moved_k[...] = np.max([np.abs(change).max(axis=1) for change in moved], axis=0)


def air_parts(d: Derived, dt_s: float) -> int:
    """Return into how many parts the air side must split a step; depends on the site alone."""
    flow = np.bincount(d.site.rack_hall, d.site.rack_flow_kw_per_k, len(d.site.hall_ids)).max()
    return max(1, int(np.ceil(dt_s * flow / d.site.hall_plenum_kj_per_k.min() / MAX_AIR_COURANT)))


def _advance_air(d: Derived, dt_s: float, outdoor_c: Array) -> Array:
    """Advance racks and hot aisles; return the heat that the coils took from each hall [kJ]."""
    site, s, lay = d.site, d.state, d.layout
    water_c = s.loop_supply_c.take(site.hall_loop, axis=1)
    supply_c = cooling.supply_air_c(s.hall_hot_c, water_c, s.hall_setpoint_c, lay.hall_effectiveness)
    supply_r, hot_r = supply_c.take(site.rack_hall, axis=1), s.hall_hot_c.take(site.rack_hall, axis=1)
    inlet_c = hot_r + d.cold_frac * (supply_r - hot_r)
    mass_c, air_c = thermal.advance_rack(d.rack_coefficients(dt_s), s.rack_mass_c, s.rack_air_c, d.rack_kw, inlet_c)
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


def _advance_water(d: Derived, coil_kw: Array, dt_s: float, outdoor_c: Array) -> Array:
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


def _advance_power(d: Derived, loop_kw: Array, dt_s: float, carbon_kgco2_per_kwh: Array) -> None:
    """Add up energy, carbon and lost service of the step; run UPS batteries of halls without a feed."""
    site, s, lay = d.site, d.state, d.layout
    hours = dt_s / 3600.0
    it_kw = d.hall_kw
    loads = gather_sum(it_kw, lay.ups_halls)
    loss = power.ups_loss_kw(loads, site.ups_rated_kw, site.ups_loss0, site.ups_loss1, site.ups_loss2)
    region_it = gather_sum(it_kw, lay.region_halls)
    ups_region = _ups_to_region(d, loss)
    total = region_it * (1.0 + site.other_kw_frac) + gather_sum(d.fan_kw, lay.region_halls)
    total = total + gather_sum(loop_kw, lay.region_loops) + ups_region
    d.facility_kw = total
    s.energy_it_kwh[...] += it_kw.sum(axis=1) * hours
    s.energy_kwh[...] += total * hours
    s.carbon_kgco2[...] += (total * hours * carbon_kgco2_per_kwh).sum(axis=1)
    s.lost_service_s[...] += (1.0 - d.service_frac) * dt_s
    s.lost_gpu_h[...] += d.lost_gpus * hours
    s.service_frac[...] = d.service_frac
    if s.feed_ok.shape[1] and not s.feed_ok.any(axis=1).all():
        dead = ~s.feed_ok.any(axis=1, keepdims=True)
        drawn = np.where(dead, (loads + loss) * hours, 0.0)
        np.maximum(s.ups_battery_kwh - drawn, 0.0, out=s.ups_battery_kwh)


def _ups_to_region(d: Derived, loss_kw: Array) -> Array:
    out = np.zeros((d.state.members, len(d.site.region_ids)))
    for u, halls in enumerate(d.layout.ups_halls):
        if len(halls):
            out[:, int(d.site.hall_region[halls[0]])] += loss_kw[:, u]
    return out


def stored_heat_kj(site_plenum_kj_per_k: Array, s: State) -> Array:
    """Return the heat held in equipment, air and water relative to 0 C (members,): the stored side of the balance."""
    racks = (s.rack_mass_kj_per_k * s.rack_mass_c + s.rack_air_kj_per_k * s.rack_air_c).sum(axis=1)
    halls = (site_plenum_kj_per_k * s.hall_hot_c).sum(axis=1)
    return np.asarray(racks + halls + (s.loop_water_kj_per_k * s.loop_supply_c).sum(axis=1))
