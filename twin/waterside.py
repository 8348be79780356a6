"""Chilled water and chillers over one step of the grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import chillers, cooling, water
from twin.cooling_bits import CHILLER_ON, STARTING
from twin.derived import Derived, PumpView
from twin.layout import gather_sum, segment_sum

Array = NDArray[np.float64]


def advance_water(d: Derived, coil_kw: Array, cdu_kw: Array | None, dt_s: float, outdoor_c: Array) -> Array:
    """Advance the loops; return the electric power of each loop's chillers, pumps and free cooling [kW]."""
    s, lay, plant = d.state, d.layout, d.site.cooling
    pump_kw = pump_power_kw(d)
    heat_kw = gather_sum(coil_kw, lay.loop_halls) + pump_kw
    if cdu_kw is not None:
        heat_kw = heat_kw + cdu_kw
    outdoor_l = outdoor_c.take(plant.loop_region, axis=1)
    running = s.chiller_phase == CHILLER_ON
    rated = segment_sum(np.where(running, s.chiller_capacity_kw, 0.0), lay.loop_chillers)
    flow_frac = d.water_flow
    capacity = rated * cooling.flow_capacity_frac(flow_frac)
    if plant.has_control:
        capacity = capacity * chillers.ambient_capacity_frac(
            outdoor_l, plant.loop_design_outdoor_c, plant.loop_derate_per_k
        )
        above_k = s.loop_supply_c - s.loop_setpoint_c
        capacity = capacity * chillers.warm_water_capacity_frac(
            above_k, plant.loop_capacity_per_k, plant.loop_capacity_most_frac
        )
    free_kw = _free_cooling_kw(d, heat_kw, outdoor_l, flow_frac)
    taken_kw = cooling.chiller_heat_kw(
        s.loop_supply_c, s.loop_setpoint_c, heat_kw, capacity + free_kw, s.loop_water_kj_per_k, dt_s
    )
    s.arrays["loop_supply_c"] = s.loop_supply_c + (heat_kw - taken_kw) * dt_s / s.loop_water_kj_per_k
    s.arrays["loop_heat_kw"] = heat_kw
    np.clip(s.loop_flow_frac + s.loop_flow_per_s * dt_s, 0.0, 1.0, out=s.loop_flow_frac)
    s.heat_in_kj[...] += pump_kw.sum(axis=-1) * dt_s
    s.heat_out_kj[...] += taken_kw.sum(axis=1) * dt_s
    free_kw = np.minimum(free_kw, taken_kw)
    d.loop_taken_kw, d.loop_capacity_kw, d.loop_outdoor_c = taken_kw - free_kw, capacity, outdoor_l
    electric_kw = _chiller_power_kw(d, running, rated) + pump_kw
    if plant.has_free_cooling:
        share = free_kw / np.maximum(plant.free_capacity_kw, 1e-9)
        electric_kw = electric_kw + cooling.fan_power_kw(plant.free_fan_kw, share)
    return np.asarray(electric_kw)


def pump_count(d: Derived, signalled: bool = True) -> Array:
    """Return how many pumps of each loop run (M, L); without `signalled` those that would, had they the run signal."""
    s, plant = d.state, d.site.cooling
    out = segment_sum((s.pump_off == 0).astype(np.float64), d.layout.pump_loops)
    if signalled and plant.loop_follows.any():
        on = (s.chiller_phase == CHILLER_ON) | (s.chiller_phase == STARTING)
        asked = segment_sum(on.astype(np.float64), d.layout.loop_chillers)
        out = np.where(plant.loop_follows, np.minimum(out, asked), out)
    return out


def pump_flow(d: Derived, signalled: bool = True) -> Array:
    """Return the flow that the running pumps move as a share of nominal (M, L); 1 where the file lists no pumps."""
    needed = d.site.cooling.loop_pumps
    flow = water.pump_flow_frac(pump_count(d, signalled), np.maximum(needed, 1))
    return np.where(needed > 0, flow, 1.0)


def water_flow_frac(d: Derived) -> Array:
    """Return the water flow of each loop as a share of nominal: what its pumps move, less what air in it takes away."""
    s = d.state
    return s.loop_flow_frac * pump_view(d).flow if d.site.cooling.has_pumps else s.loop_flow_frac


def pump_view(d: Derived) -> PumpView:
    """Return flow and running pumps as they are now; computed again only when a pump or chiller changed."""
    s, seen = d.state, d.pump_view
    if seen is None or not (np.array_equal(seen.off, s.pump_off) and np.array_equal(seen.phase, s.chiller_phase)):
        seen = PumpView(s.pump_off.copy(), s.chiller_phase.copy(), pump_flow(d), pump_count(d))
        d.pump_view = seen
    return seen


def pump_power_kw(d: Derived) -> Array:
    """Return the power of the pumps of each loop [kW]: each running one draws its share of that of all needed ones."""
    plant, full_kw = d.site.cooling, d.site.loop_pump_kw
    if not plant.has_pumps:
        return full_kw
    share = pump_view(d).running / np.maximum(plant.loop_pumps, 1)
    return np.where(plant.loop_pumps > 0, full_kw * share, full_kw)


def _free_cooling_kw(d: Derived, heat_kw: Array, outdoor_c: Array, flow_frac: Array) -> Array:
    """Return the heat that free cooling could take from each loop [kW]."""
    plant, supply_c = d.site.cooling, d.state.loop_supply_c
    if not plant.has_free_cooling:
        return np.zeros_like(heat_kw)
    back_c = water.return_c(supply_c, heat_kw, flow_frac, plant.loop_flow_kw_per_k)
    return water.free_cooling_kw(
        back_c, outdoor_c, plant.free_capacity_kw, plant.free_approach_k, plant.free_range_k, flow_frac
    )


def _chiller_power_kw(d: Derived, running: NDArray[np.bool_], rated_kw: Array) -> Array:
    """Return the electric power of each loop's chillers [kW], by outdoor temperature and part load."""
    s, lay, plant = d.state, d.layout, d.site.cooling
    weight = np.where(running, s.chiller_capacity_kw * s.chiller_cop, 0.0)
    cop_mean = segment_sum(weight, lay.loop_chillers) / np.maximum(rated_kw, 1e-9)
    cop = cooling.chiller_cop(cop_mean, lay.loop_cop_per_k, d.loop_outdoor_c)
    plain_kw = d.loop_taken_kw / cop
    if not plant.has_control:
        return np.asarray(plain_kw)
    load = d.loop_taken_kw / np.maximum(d.loop_capacity_kw, 1e-9)
    curve_kw = d.loop_capacity_kw / cop * chillers.part_load_power_frac(load, plant.loop_part_load)
    return np.where(plant.loop_controlled, curve_kw, plain_kw)
