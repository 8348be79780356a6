"""Electricity over one step of the grid: energy, carbon, lost service, UPS, batteries, what each feed carries.

On a quiet site (`twin/supply.py`) only the losses of the UPS are computed. Corrections are added as terms that are
exactly 0 in a member to which nothing happened, so that a row has the same bits alone and in a block.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plant import power, ups
from twin.derived import Derived
from twin.layout import gather_sum, segment_sum
from twin.supply import GEN_RUNNING

Array = NDArray[np.float64]

GENERATOR_KGCO2_PER_KWH = 0.75  # diesel: 2.7 kg a litre, 3.6 kWh a litre [assumed]


class UpsFlows(NamedTuple):
    """Powers of each UPS [kW], each (M, U): input = load + loss + charge - battery."""

    load_kw: Array
    loss_kw: Array
    charge_kw: Array
    battery_kw: Array

    @property
    def input_kw(self) -> Array:
        """What it draws from its feed."""
        return self.load_kw + self.loss_kw + self.charge_kw - self.battery_kw


def advance_electricity(d: Derived, loop_kw: Array, dt_s: float, carbon_kgco2_per_kwh: Array) -> None:
    """Add up energy, carbon and lost service of the step; run UPS batteries where a feed is lost."""
    site, s, lay = d.site, d.state, d.layout
    hours = dt_s / 3600.0
    it_kw = d.hall_kw
    flows = ups_flows(d, dt_s)
    region_it = gather_sum(it_kw, lay.region_halls)
    total = region_it * (1.0 + site.other_kw_frac) + gather_sum(d.fan_kw, lay.region_halls)
    total = total + gather_sum(loop_kw, lay.region_loops) + _to_region(d, flows.loss_kw)
    extra_kw = np.zeros_like(it_kw)
    if d.any_by_unit or site.cooling.has_liquid:
        extra_kw = hall_extra_kw(d, dt_s)
        total = total + gather_sum(extra_kw, lay.region_halls)
    if site.chain.two_sided and lay.rack_lossy:
        lost = d.rack_kw * site.chain.rack_loss_frac
        total = total + gather_sum(segment_sum(lost, lay.hall_racks), lay.region_halls)
    if not d.supply.quiet:
        total = total + _to_region(d, flows.charge_kw - flows.battery_kw) - _unlit_kw(d, it_kw, loop_kw)
        if site.chain.feeds_watched:
            _advance_generators(d, flows, d.fan_kw + extra_kw, loop_kw, hours, carbon_kgco2_per_kwh)
    d.facility_kw = total
    s.energy_it_kwh[...] += it_kw.sum(axis=1) * hours
    s.energy_kwh[...] += total * hours
    s.carbon_kgco2[...] += (total * hours * carbon_kgco2_per_kwh).sum(axis=1)
    s.lost_service_s[...] += (1.0 - d.service_frac) * dt_s
    s.lost_gpu_h[...] += d.lost_gpus * hours
    s.service_frac[...] = d.service_frac


def ups_flows(d: Derived, dt_s: float) -> UpsFlows:
    """Return the powers of each UPS, its batteries advanced by dt_s."""
    site, s, chain = d.site, d.state, d.site.chain
    loads = ups_loads(d)
    d.ups_load_kw, d.ups_over = loads, bool((loads > site.ups_rated_kw).any())
    losses = site.ups_loss0, site.ups_loss1, site.ups_loss2
    if d.supply.quiet and not chain.ups_mixed:
        loss = power.ups_loss_kw(loads, site.ups_rated_kw, *losses)
        nothing = np.zeros_like(loads)
        return UpsFlows(loads, loss, nothing, nothing)
    inverting = d.supply.ups_out & ~s.ups_bypass
    ok = np.where(inverting, s.ups_modules_ok, 0).astype(np.float64)
    running = ups.modules_running(loads, chain.ups_module_kw, ok, chain.ups_spare, chain.ups_stage_frac)
    loss = ups.loss_kw(loads, chain.ups_module_kw, running, *losses)
    battery = np.where(inverting & ~d.supply.ups_in, loads + loss, 0.0)
    left = ups.discharge(s.ups_battery_kwh, battery, dt_s)
    able = d.supply.ups_in & (s.ups_modules_ok > 0)
    held, drawn = ups.recharge(left, site.ups_battery_kwh, np.where(able, chain.ups_charge_kw, 0.0), dt_s)
    s.arrays["ups_battery_kwh"] = held
    return UpsFlows(loads, loss, drawn * (3600.0 / dt_s), battery)


def ups_loads(d: Derived) -> Array:
    """Return what hangs on each UPS [kW], (M, U)."""
    if d.site.chain.two_sided:
        return np.asarray(d.source_kw[:, : len(d.site.ups_ids)])
    return gather_sum(d.hall_kw, d.layout.ups_halls)


def _to_region(d: Derived, values: Array) -> Array:
    out = np.zeros((d.state.members, len(d.site.region_ids)))
    for u, region in enumerate(d.site.chain.ups_region):
        out[:, int(region)] += values[:, u]
    return out


def hall_extra_kw(d: Derived, dt_s: float) -> Array:
    """Return the power of the compressors of CRACs and of the pumps of CDUs, by hall [kW]."""
    out = d.dx_kw / dt_s
    return out + gather_sum(d.cdu_pump_kw, d.layout.hall_cdus) if d.site.cooling.has_liquid else out


def _hall_lit(d: Derived) -> NDArray[np.bool_]:
    """Tell which halls (M, H) a live feed reaches; all where the file names no feed."""
    reach = d.site.chain.hall_feed
    lit = (d.supply.feed_live[:, None, :] & reach).any(axis=2)
    return np.asarray(lit | ~reach.any(axis=1))


def _unlit_kw(d: Derived, it_kw: Array, loop_kw: Array) -> Array:
    """Return what has no power [kW], (M, G): pumps that the file does not list, and load outside the modelled chain."""
    dark_kw = np.where(_hall_lit(d), 0.0, it_kw)
    still_kw = np.where((d.supply.loop_on < 0) & d.site.chain.loop_feed.any(axis=1), loop_kw, 0.0)
    other_kw = gather_sum(dark_kw, d.layout.region_halls) * d.site.other_kw_frac
    return other_kw + gather_sum(still_kw, d.layout.region_loops)


def feed_loads(d: Derived, flows: UpsFlows, hall_kw: Array, loop_kw: Array) -> Array:
    """Return what each feed carries [kW], (M, F): UPS, rack sides straight on it, cooling, and what else there is.

    hall_kw: cooling by hall; loop_kw: pumps and chillers by loop. The feeds together carry all power of the site,
    unless something has no live feed.
    """
    site, lay, chain, supply = d.site, d.layout, d.site.chain, d.supply
    out = np.zeros((d.state.members, len(site.feed_ids)))
    if chain.two_sided:
        out += d.source_kw[:, len(site.ups_ids) :]
    other = np.where(_hall_lit(d), d.hall_kw * site.other_kw_frac.take(site.hall_region), 0.0)
    unit_on = supply.machines["cooling_unit"]
    units = np.maximum(np.bincount(site.unit_hall, minlength=len(site.hall_ids)), 1)
    for f in range(out.shape[1]):
        out[:, f] += np.where(supply.ups_on == f, flows.input_kw, 0.0).sum(axis=1)
        share = segment_sum((unit_on == f).astype(np.float64), lay.hall_units) / units
        out[:, f] += ((hall_kw + other) * share).sum(axis=1)
        out[:, f] += np.where(supply.loop_on == f, loop_kw, 0.0).sum(axis=1)
    return out


def _advance_generators(
    d: Derived, flows: UpsFlows, hall_kw: Array, loop_kw: Array, hours: float, carbon: Array
) -> None:
    """Count what generators give, at their own carbon intensity; remember what each carries of its rating."""
    s, chain = d.state, d.site.chain
    d.feed_kw = feed_loads(d, flows, hall_kw, loop_kw)
    runs = s.generator_phase == GEN_RUNNING
    power_kw = np.where(runs, chain.generator_capacity_kw, 0.0)
    d.generator_load_frac = np.zeros_like(power_kw)
    for f in range(d.feed_kw.shape[1]):
        backing = chain.generator_feed[:, f] & runs
        have = np.where(backing, power_kw, 0.0).sum(axis=1)
        load = np.where(have > 0.0, d.feed_kw[:, f], 0.0)
        s.generator_kwh[...] += load * hours
        extra = GENERATOR_KGCO2_PER_KWH - carbon[:, int(chain.feed_region[f])]
        s.carbon_kgco2[...] += load * hours * extra
        d.generator_load_frac += np.where(backing, (load / np.maximum(have, 1e-9))[:, None], 0.0)
