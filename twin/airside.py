"""Heat in racks and hall air over one step of the grid; inlets and supply air are held within a part of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import cooling, thermal
from twin.airpaths import rack_coefficients
from twin.derived import Derived
from twin.layout import segment_sum
from twin.unitside import unit_heat

Array = NDArray[np.float64]

MAX_AIR_COURANT = 0.5  # explicit hot-aisle step stays well inside its stability limit


def air_parts(d: Derived, dt_s: float) -> int:
    """Return into how many parts the air side must split a step; depends on the site alone."""
    flow = np.bincount(d.site.rack_hall, d.site.rack_flow_kw_per_k, len(d.site.hall_ids))
    fastest_per_s = float((flow / d.site.hall_plenum_kj_per_k).max())
    return max(1, int(np.ceil(dt_s * fastest_per_s / MAX_AIR_COURANT - 1e-9)))


def advance_air(d: Derived, dt_s: float, outdoor_c: Array, liquid_kw: Array | None = None) -> Array:
    """Advance racks and hot aisles; return the heat that the coils took from each hall [kJ].

    liquid_kw: heat that each rack gives its coolant over the whole step (M, R), None where no rack has one.
    """
    site, s, lay, plant = d.site, d.state, d.layout, d.site.cooling
    water_c = s.loop_supply_c.take(site.hall_loop, axis=1)
    supply_c = cooling.supply_air_c(s.hall_hot_c, water_c, s.hall_setpoint_c, lay.hall_effectiveness)
    coil_kj = d.unit_flow * (s.hall_hot_c - supply_c) * dt_s
    dx_kj: Array | float = 0.0
    if d.any_by_unit:
        supply_c, coil_kj, dx_kj = _one_by_one(d, dt_s, outdoor_c, supply_c, coil_kj)
    inlet_c = _inlets(d, supply_c)
    heat_kw = d.rack_kw if liquid_kw is None else d.rack_kw - liquid_kw
    carried_kj = np.empty_like(supply_c)
    d.kernels.rack_air(
        rack_coefficients(d, dt_s), site.rack_hall, heat_kw, inlet_c, s.rack_mass_kj_per_k, s.rack_air_kj_per_k, dt_s,
        s.rack_mass_c, s.rack_air_c, s.rack_inlet_c, s.peak_inlet_c, carried_kj,
    )  # fmt: skip
    wall_kj = site.hall_wall_kw_per_k * (s.hall_hot_c - outdoor_c.take(site.hall_region, axis=1)) * dt_s
    gain_kj = carried_kj + d.fan_kw * dt_s - coil_kj - wall_kj - dx_kj
    if plant.has_structure:
        gain_kj = gain_kj - _into_structure(d, dt_s)
    s.arrays["hall_hot_c"] = s.hall_hot_c + gain_kj / site.hall_plenum_kj_per_k
    s.arrays["hall_supply_c"] = supply_c
    s.heat_in_kj[...] += (d.hall_kw + d.fan_kw).sum(axis=1) * dt_s
    s.heat_out_kj[...] += (wall_kj + dx_kj).sum(axis=1)
    return np.asarray(coil_kj)


def unit_fan_power_kw(d: Derived) -> Array:
    """Return the power of the fans of each cooling unit (M, C) [kW]: running ones share that of their hall."""
    site = d.site
    full = np.where(d.state.unit_running, site.unit_fan_kw, 0.0)
    total = np.maximum(segment_sum(full, d.layout.hall_units), 1e-12)
    return np.asarray((d.fan_kw / total).take(site.unit_hall, axis=1) * full)


def _inlets(d: Derived, supply_c: Array) -> Array:
    """Return what the racks draw in: cold air, hot air of the hall, and what strays from their neighbours' outlets."""
    site, s, plant = d.site, d.state, d.site.cooling
    supply_r, hot_r = supply_c.take(site.rack_hall, axis=1), s.hall_hot_c.take(site.rack_hall, axis=1)
    inlet_c = hot_r + d.cold_frac * (supply_r - hot_r)
    if plant.has_recirculation:
        above_k = s.rack_air_c.take(plant.recirc_from, axis=1) - hot_r.take(plant.recirc_to, axis=1)
        racks, begin = plant.recirc_racks
        inlet_c[:, racks] += np.add.reduceat(plant.recirc_frac * above_k, begin, axis=1)
    return np.asarray(inlet_c)


def _one_by_one(
    d: Derived, dt_s: float, outdoor_c: Array, supply_c: Array, coil_kj: Array
) -> tuple[Array, Array, Array]:
    """Return (supply air [C], heat into water [kJ], heat of compressors [kJ]) with such halls' own values."""
    s, heat = d.state, unit_heat(d, outdoor_c)
    moves = d.unit_flow > 1e-9
    cooled_k = np.where(moves, (heat.water_kw + heat.dx_kw) / np.where(moves, d.unit_flow, 1.0), 0.0)
    d.dx_kw = d.dx_kw + np.where(heat.where, heat.electric_kw, 0.0) * dt_s
    return (
        np.where(heat.where, s.hall_hot_c - cooled_k, supply_c),
        np.where(heat.where, heat.water_kw * dt_s, coil_kj),
        np.where(heat.where, heat.dx_kw * dt_s, 0.0),
    )


def _into_structure(d: Derived, dt_s: float) -> Array:
    """Warm walls, floor and steel from the hot-side air; return the heat they took from each hall [kJ]."""
    s, plant = d.state, d.site.cooling
    if dt_s != d.structure_dt_s:
        d.structure_frac = thermal.structure_frac(s.hall_structure_kj_per_k, plant.hall_structure_kw_per_k, dt_s)
        d.structure_dt_s = dt_s
    frac = d.structure_frac
    heat_kj = thermal.structure_heat_kj(s.hall_hot_c, s.hall_structure_c, s.hall_structure_kj_per_k, frac)
    s.arrays["hall_structure_c"] = s.hall_structure_c + heat_kj / np.maximum(s.hall_structure_kj_per_k, 1e-9)
    return heat_kj
