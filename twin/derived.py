"""What follows from `State` and is never stored in it: loads, powers, speeds, step coefficients (design rule 5).

Built new at the start of every run and whenever a happening marks it dirty, always from State alone, so that a fork
and its parent compute the same bits.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from plant import cooling, power, streams, thermal
from plant.site import Site
from twin import jobs as J
from twin.state import State

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

ON, STOPPED, FAILED, STARTING, DARK = range(5)
STANDING_FLOW_FRAC = 0.05  # natural draught through a rack whose nodes are all off [assumed]


def segment_sum(values: Array, start: Ints) -> Array:
    """Return sums over consecutive segments start[i]:start[i + 1] of the last axis; empty segments give 0."""
    out = np.zeros((values.shape[0], len(start) - 1))
    filled = np.flatnonzero(np.diff(start) > 0)
    if len(filled):
        out[:, filled] = np.add.reduceat(values, start[:-1][filled], axis=1)
    return out


def starts(group: NDArray[np.integer], count: int) -> Ints:
    """Return the segment starts (count + 1,) of a sorted group index."""
    return np.searchsorted(group, np.arange(count + 1)).astype(np.int64)


class Layout:
    """Index arrays that follow from the site alone."""

    def __init__(self, site: Site) -> None:
        """Build the index arrays."""
        halls = len(site.hall_ids)
        self.node_keys = streams.component_keys(site.node_ids)
        self.rack_nodes = starts(site.node_rack, len(site.rack_ids))
        self.nodes_per_rack = np.maximum(np.diff(self.rack_nodes), 1).astype(np.float64)
        self.hall_racks = starts(site.rack_hall, halls)
        self.hall_units = starts(site.unit_hall, halls)
        self.loop_chillers = starts(site.chiller_loop, len(site.loop_ids))
        self.node_hall = site.rack_hall[site.node_rack].astype(np.int64)
        self.hall_nodes = starts(self.node_hall, halls)
        self.loop_halls = [np.flatnonzero(site.hall_loop == i) for i in range(len(site.loop_ids))]
        self.ups_halls = [np.flatnonzero(site.hall_ups == i) for i in range(len(site.ups_ids))]
        self.region_halls = [np.flatnonzero(site.hall_region == i) for i in range(len(site.region_ids))]
        self.region_loops = [
            np.array(sorted({int(site.hall_loop[h]) for h in halls_}), dtype=np.int64) for halls_ in self.region_halls
        ]
        self.hall_effectiveness = np.array(
            [site.unit_effectiveness_frac[a:b].mean() if b > a else 0.0 for a, b in pairwise(self.hall_units)]
        )


@lru_cache(maxsize=8)
def layout_of(site: Site) -> Layout:
    """Return the layout of a site, built once."""
    return Layout(site)


def gather_sum(values: Array, groups: list[Ints]) -> Array:
    """Return sums over listed columns, one per group."""
    return np.stack([values.take(g, axis=1).sum(axis=1) for g in groups], axis=1) if groups else values[:, :0]


def _node_sum(flat: Ints, values: Array, members: int, nodes: int) -> Array:
    """Add up one value per slot on its node: (members, nodes)."""
    return np.asarray(np.bincount(flat.ravel(), values.ravel(), members * nodes), np.float64).reshape(members, nodes)


class Derived:
    """Loads, powers and coefficients of one State, refreshed when dirty."""

    def __init__(self, site: Site, state: State, layout: Layout) -> None:
        """Compute everything once."""
        self.site, self.state, self.layout = site, state, layout
        self.node_keys = layout.node_keys
        self.slot_start = state.jobs.slot_start
        self.weight = state.jobs.weight
        self.has_profiles = bool(state.jobs.profile_start[-1])
        self._air_dt_s = 0.0
        self.loop_taken_kw = np.zeros((state.members, len(site.loop_ids)))
        self.facility_kw = np.zeros((state.members, len(site.region_ids)))
        self.load_dirty = self.power_dirty = True
        self.refresh()

    def mark(self, *, load: bool = False) -> None:
        """Say that nodes (or, with load, jobs) changed."""
        self.power_dirty = True
        self.load_dirty = self.load_dirty or load

    def refresh(self) -> None:
        """Recompute what is dirty."""
        if self.load_dirty or self.has_profiles:
            self._refresh_load()
            self.power_dirty = True
        if self.power_dirty:
            self._refresh_power()
            self._air_dt_s = 0.0
        self.load_dirty = self.power_dirty = False

    def _refresh_load(self) -> None:
        s, members, nodes = self.state, self.state.members, len(self.site.node_ids)
        phase = s.job_phase
        self.live = np.flatnonzero(((phase > J.NOT_ARRIVED) & (phase < J.DONE)).any(axis=0))
        widths = s.jobs.width[self.live]
        self.live_start = np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)
        self.slots = np.repeat(self.slot_start[self.live] - self.live_start[:-1], widths) + np.arange(
            self.live_start[-1]
        )
        self.slot_job = np.repeat(np.arange(len(self.live)), widths)
        self.live_phase = phase.take(self.live, axis=1)
        node = s.slot_node.take(self.slots, axis=1)
        held = (node >= 0) & (self.live_phase > J.WAITING).take(self.slot_job, axis=1)
        self.slot_at = node
        flat = np.where(held, node, 0) + np.arange(members)[:, None] * nodes
        share = s.jobs.share_frac[self.live]
        taken = np.where(held, share[self.slot_job], 0.0)
        self.used_frac = _node_sum(flat, taken, members, nodes)
        running = self.live_phase == J.RUNNING
        activity = np.where(running, self._activity(), 0.0).take(self.slot_job, axis=1)
        active = np.where(held, activity, 0.0)
        self.util_frac = _node_sum(flat, active, members, nodes)

    def _activity(self) -> Array:
        """Return node utilisation that each live job causes while it runs (M, live)."""
        t = self.state.jobs
        flat = np.broadcast_to((t.share_frac * t.activity_frac)[self.live], self.live_phase.shape)
        if not self.has_profiles:
            return flat
        first, last = t.profile_start[:-1][self.live], t.profile_start[1:][self.live]
        age_ms = self.state.grid_ms - self.state.job_start_ms.take(self.live, axis=1)
        place = np.clip(first + age_ms // int(t.profile_step_s * 1000), first, np.maximum(last - 1, first))
        values = t.profile_frac.take(np.minimum(place, len(t.profile_frac) - 1))
        return np.where(last > first, values, flat)

    def _refresh_power(self) -> None:
        site, s = self.site, self.state
        on = s.node_phase == ON
        demand = power.node_demand_kw(self.util_frac, site.node_idle_kw, site.node_peak_kw, site.node_concave_frac)
        demand = demand * s.node_power_scale
        cap_kw = s.node_cap_frac * site.node_peak_kw
        powered = on | (s.node_phase == STARTING)
        drawn = np.where(powered, np.minimum(demand, cap_kw), 0.0)
        self.node_kw = power.psu_input_kw(drawn, site.node_psu_rated_kw, s.node_psu_ok.astype(np.float64))
        self.node_ratio = np.where(on, power.cap_speed_frac(demand, cap_kw, site.node_peak_kw, np.ones(1)), 0.0)
        self.rack_kw = segment_sum(self.node_kw, self.layout.rack_nodes)
        self.hall_kw = segment_sum(self.rack_kw, self.layout.hall_racks)
        on_frac = segment_sum(powered.astype(np.float64), self.layout.rack_nodes) / self.layout.nodes_per_rack
        self.rack_flow = s.rack_flow_kw_per_k * (STANDING_FLOW_FRAC + (1.0 - STANDING_FLOW_FRAC) * on_frac)
        self._refresh_jobs()
        self._refresh_halls()

    def _refresh_jobs(self) -> None:
        s = self.state
        if len(self.live):
            ratio = np.take_along_axis(self.node_ratio, np.maximum(self.slot_at, 0), axis=1)
            ratio = np.where(self.slot_at >= 0, ratio, 0.0)
            slowest = np.minimum.reduceat(ratio, self.live_start[:-1], axis=1)
            speed = np.where(slowest < 1.0, slowest ** s.jobs.cap_exponent[self.live], 1.0)
        else:
            speed = np.zeros((s.members, 0))
        self.speed = np.where(self.live_phase == J.RUNNING, np.where(speed > 0.0, speed, 0.0), 0.0)
        asked = (self.live_phase > J.NOT_ARRIVED) & (self.live_phase < J.DONE)
        weight = self.weight[self.live]
        self.demand = np.where(asked, weight, 0.0)
        total = self.demand.sum(axis=1)
        self.demand_total = np.where(total > 0.0, total, 1.0)
        served = (self.demand * self.speed).sum(axis=1)
        self.service_frac = np.where(total > 0.0, served / self.demand_total, 1.0)
        self.lost_gpus = (np.where(asked, s.jobs.gpus[self.live], 0.0) * (1.0 - self.speed)).sum(axis=1)

    def _refresh_halls(self) -> None:
        s, lay = self.state, self.layout
        self.cold_wanted = segment_sum(self.rack_flow * (1.0 - s.rack_recirc_frac), lay.hall_racks)
        available = segment_sum(np.where(s.unit_running, s.unit_flow_kw_per_k, 0.0), lay.hall_units)
        self.cold_share = cooling.cold_share_frac(available, self.cold_wanted)
        self.unit_flow = self.cold_share * self.cold_wanted
        share = self.cold_share.take(self.site.rack_hall, axis=1)
        self.cold_frac = share * (1.0 - s.rack_recirc_frac)
        self.fan_speed = np.where(available > 0.0, self.unit_flow / np.maximum(available, 1e-12), 0.0)
        fans = np.where(s.unit_running, self.site.unit_fan_kw, 0.0) * np.repeat(
            self.fan_speed**3, np.diff(lay.hall_units), axis=1
        )
        self.fan_kw = segment_sum(fans, lay.hall_units)

    def rack_coefficients(self, dt_s: float) -> thermal.RackStep:
        """Return the exact-step coefficients for dt_s, computed once while nothing changes."""
        if dt_s != self._air_dt_s:
            s = self.state
            self._rack_step = thermal.rack_step(
                s.rack_mass_kj_per_k, s.rack_air_kj_per_k, s.rack_ua_kw_per_k, self.rack_flow, dt_s
            )
            self._air_dt_s = dt_s
        return self._rack_step
