"""Chilled water and chillers over one step of the grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import cooling, water
from twin.cooling_bits import CHILLER_ON, COMING_UP, STARTING
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
    if len(outdoor_l) < s.members:
        outdoor_l = np.repeat(outdoor_l, s.members, axis=0)
    flow_frac = d.water_flow
    free_kw = _free_cooling_kw(d, heat_kw, outdoor_l, flow_frac)
    taken_kw, capacity, electric_kw = np.empty((3, *heat_kw.shape))
    d.kernels.loop_step(
        lay.loop_columns, dt_s, outdoor_l, heat_kw, flow_frac, s.chiller_phase,
        s.chiller_capacity_kw, s.chiller_cop, s.loop_setpoint_c, s.loop_water_kj_per_k, s.loop_supply_c, free_kw,
        taken_kw, capacity, electric_kw,
    )  # fmt: skip
    s.arrays["loop_heat_kw"] = heat_kw
    np.clip(s.loop_flow_frac + s.loop_flow_per_s * dt_s, 0.0, 1.0, out=s.loop_flow_frac)
    s.heat_in_kj[...] += pump_kw.sum(axis=-1) * dt_s
    s.heat_out_kj[...] += (taken_kw + free_kw).sum(axis=1) * dt_s
    d.loop_taken_kw, d.loop_capacity_kw, d.loop_outdoor_c = taken_kw, capacity, outdoor_l
    electric_kw += pump_kw
    if plant.has_free_cooling:
        share = free_kw / np.maximum(plant.free_capacity_kw, 1e-9)
        electric_kw += cooling.fan_power_kw(plant.free_fan_kw, share)
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
    key = s.pump_off.tobytes() + s.chiller_phase.tobytes()
    if seen is None or seen.key != key:
        able = segment_sum(((s.pump_off == 0) | (s.pump_off == COMING_UP)).astype(np.float64), d.layout.pump_loops)
        short = able < d.site.cooling.loop_pumps
        seen = PumpView(key, pump_flow(d), pump_count(d), bool(short.any()))
        d.pump_view = seen
    return seen


def pump_power_kw(d: Derived) -> Array:
    """Return the power of the pumps of each loop [kW]: each running one draws its share of that of all needed ones."""
    plant, full_kw = d.site.cooling, d.site.loop_pump_kw
    if not plant.has_pumps:
        return full_kw
    assert d.pump_view is not None  # this step's: `find_by_unit` has looked
    share = d.pump_view.running / np.maximum(plant.loop_pumps, 1)
    return np.where(plant.loop_pumps > 0, full_kw * share, full_kw)


def chiller_power_kw(d: Derived, heat_kw: Array | None = None) -> Array:
    """Return what each chiller drew in the last step (M, K) [kW]: running ones share the heat of their loop.

    heat_kw: that heat (M, L), by default what they took out of the water.
    """
    s, of = d.state, d.site.chiller_loop
    heat_kw = d.loop_taken_kw if heat_kw is None else heat_kw
    running = np.where(s.chiller_phase == CHILLER_ON, s.chiller_capacity_kw, 0.0)
    total = np.maximum(segment_sum(running, d.layout.loop_chillers), 1e-9)
    taken_kw = (heat_kw / total).take(of, axis=1) * running
    return np.asarray(taken_kw / np.maximum(s.chiller_cop, 1.0))


def _free_cooling_kw(d: Derived, heat_kw: Array, outdoor_c: Array, flow_frac: Array) -> Array:
    """Return the heat that free cooling could take from each loop [kW]."""
    plant, supply_c = d.site.cooling, d.state.loop_supply_c
    if not plant.has_free_cooling:
        return np.zeros_like(heat_kw)
    back_c = water.return_c(supply_c, heat_kw, flow_frac, plant.loop_flow_kw_per_k)
    return water.free_cooling_kw(
        back_c, outdoor_c, plant.free_capacity_kw, plant.free_approach_k, plant.free_range_k, flow_frac
    )
