"""Cooling units one by one: where a hall mixes kinds, has capacities or frozen controls, or its loop has pumps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plant import airunits, cooling, water
from twin.derived import Derived
from twin.layout import segment_sum
from twin.waterside import water_flow_frac

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


class UnitHeat(NamedTuple):
    """Heat that the units of each hall take [kW] (M, H): into water, and by compressors; what those draw [kW]."""

    where: Flags
    water_kw: Array
    dx_kw: Array
    electric_kw: Array


class Reach(NamedTuple):
    """Heat that each unit could take with its valve fully open [kW] (M, C), and its limit."""

    open_kw: Array
    limit_kw: Array


def unit_reach(d: Derived, outdoor_c: Array, flow_frac: Array) -> Reach:
    """Return what each unit could take now at a flow of each loop; a unit without air takes nothing."""
    site, s, plant = d.site, d.state, d.site.cooling
    hot_c = s.hall_hot_c.take(site.unit_hall, axis=1)
    unit_loop = site.hall_loop[site.unit_hall]
    open_kw = airunits.coil_reach_kw(
        d.unit_air, site.unit_effectiveness_frac, hot_c, s.loop_supply_c.take(unit_loop, axis=1)
    )
    if plant.has_pumps:
        open_kw = open_kw * coil_share(d, flow_frac).take(unit_loop, axis=1)
    limit_kw = np.broadcast_to(plant.unit_capacity_kw, open_kw.shape)
    if plant.unit_dx.any():
        out_c = outdoor_c.take(site.hall_region[site.unit_hall], axis=1)
        dx_kw = np.where(d.unit_air > 0.0, airunits.dx_capacity_kw(_finite(plant.unit_capacity_kw), hot_c, out_c), 0.0)
        open_kw, limit_kw = np.where(plant.unit_dx, dx_kw, open_kw), np.where(plant.unit_dx, dx_kw, limit_kw)
    return Reach(open_kw, limit_kw)


def coil_share(d: Derived, flow_frac: Array) -> Array:
    """Return the share of heat transfer that the coils of each loop have left; 1 where the file lists no pumps."""
    return np.where(d.site.cooling.loop_pumps > 0, water.coil_flow_frac(flow_frac), 1.0)


def find_by_unit(d: Derived) -> None:
    """Note this step's water flow, and in which halls units are looked at one by one: such halls, or little water."""
    d.water_flow, d.by_unit_now = water_flow_frac(d), d.hall_by_unit
    if d.site.cooling.has_pumps and d.water_flow.min() < 1.0:
        short = coil_share(d, d.water_flow) < 1.0
        d.by_unit_now = d.hall_by_unit | short.take(d.site.hall_loop, axis=1)
    d.any_by_unit = bool(d.by_unit_now.any())


def unit_heat(d: Derived, outdoor_c: Array) -> UnitHeat:
    """Return the heat that units take over the coming part of a step, for the halls where it is computed one by one."""
    site, s, lay, plant = d.site, d.state, d.layout, d.site.cooling
    reach = unit_reach(d, outdoor_c, d.water_flow)
    above = (s.hall_hot_c - s.hall_setpoint_c).take(site.unit_hall, axis=1)
    held = s.unit_held_frac >= 0.0
    taken = airunits.unit_heat_kw(reach.open_kw, reach.limit_kw, d.unit_air * above, s.unit_valve_frac, held)
    in_water = segment_sum(np.where(plant.unit_dx, 0.0, taken), lay.hall_units)
    by_dx = np.where(plant.unit_dx, taken, 0.0)
    out_c = outdoor_c.take(site.hall_region[site.unit_hall], axis=1)
    electric = by_dx / cooling.chiller_cop(plant.unit_cop, plant.unit_cop_per_k, out_c)
    return UnitHeat(d.by_unit_now, in_water, segment_sum(by_dx, lay.hall_units), segment_sum(electric, lay.hall_units))


def held_valve_frac(d: Derived, outdoor_c: Array) -> Array:
    """Return the valve position (M, C) at which each unit works now: what it takes over what it could take."""
    s, site = d.state, d.site
    reach = unit_reach(d, outdoor_c, water_flow_frac(d))
    air_k = (s.hall_hot_c - s.hall_supply_c).take(site.unit_hall, axis=1)
    works = reach.open_kw > 1e-9
    return np.where(works, np.clip(d.unit_air * air_k / np.where(works, reach.open_kw, 1.0), 0.0, 1.0), 0.0)


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, 0.0)
