"""What follows from `State` and is never stored in it: loads, powers, speeds, step coefficients (design rule 5).

Built new at the start of every run and whenever a happening marks it dirty, always from State alone, so that a fork
and its parent compute the same bits.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plant import cooling, power, streams, thermal
from plant.site import Site
from twin import jobs as J
from twin.state import State

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = slice | Ints | NDArray[np.bool_]
NEVER_MS = 2**62

ON, STOPPED, FAILED, STARTING, DARK = range(5)
STANDING_FLOW_FRAC = 0.05  # natural draught through a rack whose nodes are all off [assumed]


class Segments(NamedTuple):
    """Consecutive segments of an axis: how many, which are not empty, where those begin."""

    size: int
    filled: NDArray[np.intp] | None
    begin: NDArray[np.intp]


def segments(group: NDArray[np.integer], count: int) -> Segments:
    """Return the segments of a sorted group index."""
    start = np.searchsorted(group, np.arange(count + 1))
    filled = np.flatnonzero(np.diff(start) > 0)
    return Segments(count, None if len(filled) == count else filled, start[:-1][filled].astype(np.intp))


def segment_sum(values: Array, of: Segments) -> Array:
    """Return sums over the segments of the last axis; empty segments give 0."""
    return _reduce(np.add, values, of, 0.0)


def segment_min(values: Array, of: Segments) -> Array:
    """Return minima over the segments of the last axis; empty segments give infinity."""
    return _reduce(np.minimum, values, of, np.inf)


def _reduce(how: np.ufunc, values: Array, of: Segments, empty: float) -> Array:
    if of.filled is None:
        return np.asarray(how.reduceat(values, of.begin, axis=1))
    out = np.full((values.shape[0], of.size), empty)
    if len(of.begin):
        out[:, of.filled] = how.reduceat(values, of.begin, axis=1)
    return out


class Layout:
    """Index arrays that follow from the site alone."""

    def __init__(self, site: Site) -> None:
        """Build the index arrays."""
        halls = len(site.hall_ids)
        self.node_keys = streams.component_keys(site.node_ids)
        self.rack_nodes = segments(site.node_rack, len(site.rack_ids))
        self.nodes_per_rack = np.maximum(np.diff(site.rack_start), 1).astype(np.float64)
        self.hall_racks = segments(site.rack_hall, halls)
        self.hall_units = segments(site.unit_hall, halls)
        self.loop_chillers = segments(site.chiller_loop, len(site.loop_ids))
        self.node_hall = site.rack_hall[site.node_rack].astype(np.int64)
        self.hall_nodes = segments(self.node_hall, halls)
        self.loop_halls = [np.flatnonzero(site.hall_loop == i) for i in range(len(site.loop_ids))]
        self.ups_halls = [np.flatnonzero(site.hall_ups == i) for i in range(len(site.ups_ids))]
        self.region_halls = [np.flatnonzero(site.hall_region == i) for i in range(len(site.region_ids))]
        self.region_loops = [
            np.array(sorted({int(site.hall_loop[h]) for h in halls_}), dtype=np.int64) for halls_ in self.region_halls
        ]
        units = np.maximum(np.bincount(site.unit_hall, minlength=halls), 1)
        self.hall_effectiveness = np.bincount(site.unit_hall, site.unit_effectiveness_frac, halls) / units
        loops = len(site.loop_ids)
        per_loop = np.maximum(np.bincount(site.chiller_loop, minlength=loops), 1)
        self.loop_cop_per_k = np.bincount(site.chiller_loop, site.chiller_cop_per_k, loops) / per_loop
        self.loop_region = np.array([site.hall_region[h[0]] if len(h) else 0 for h in self.loop_halls], dtype=np.int64)


@lru_cache(maxsize=8)
def layout_of(site: Site) -> Layout:
    """Return the layout of a site, built once."""
    return Layout(site)


def gather_sum(values: Array, groups: list[Ints]) -> Array:
    """Return sums over listed columns, one per group."""
    return np.stack([values.take(g, axis=1).sum(axis=1) for g in groups], axis=1) if groups else values[:, :0]


def _node_sum(flat: Ints, values: Array, nodes: int) -> Array:
    """Add up one value per slot on its node: (rows, nodes)."""
    rows = len(flat)
    return np.asarray(np.bincount(flat.ravel(), values.ravel(), rows * nodes), np.float64).reshape(rows, nodes)


class Derived:
    """Loads, powers and coefficients of one State; only member rows that are marked dirty are computed again.

    Rows are independent, so a row computed alone has the same bits as in a block: what is cached here always equals
    what a restored run computes from State.
    """

    def __init__(self, site: Site, state: State, layout: Layout) -> None:
        """Compute everything once."""
        self.site, self.state, self.layout = site, state, layout
        self.node_keys = layout.node_keys
        self.slot_start = state.jobs.slot_start
        self.weight = state.jobs.weight
        t = state.jobs
        shapes = np.stack([t.share_frac, t.gpus / np.maximum(t.width, 1)], axis=1)
        self.job_shape = np.unique(shapes, axis=0, return_inverse=True)[1].reshape(-1)
        self.has_profiles = bool(state.jobs.profile_start[-1])
        self._profile_due_ms = 0
        self._air_dt_s = 0.0
        self._allocate()
        self.refresh()

    def _allocate(self) -> None:
        m, site = self.state.members, self.site
        nodes, racks, halls = len(site.node_ids), len(site.rack_ids), len(site.hall_ids)
        self.used_frac, self.util_frac = np.zeros((m, nodes)), np.zeros((m, nodes))
        self.node_kw, self.node_ratio = np.zeros((m, nodes)), np.zeros((m, nodes))
        self.rack_kw, self.rack_flow, self.cold_frac = (np.zeros((m, racks)) for _ in range(3))
        self.stopped_in_rack, self.rack_fails_at, self.rack_stop_c = (np.zeros((m, racks)) for _ in range(3))
        self.hall_kw, self.fan_kw, self.fan_speed, self.unit_flow = (np.zeros((m, halls)) for _ in range(4))
        self.next_up_ms = np.zeros(m, dtype=np.int64)
        self.service_frac, self.lost_gpus, self.demand_total = np.ones(m), np.zeros(m), np.ones(m)
        self.loop_taken_kw = np.zeros((m, len(site.loop_ids)))
        self.facility_kw = np.zeros((m, len(site.region_ids)))
        self._rack_step = thermal.RackStep(*(np.zeros((m, racks)) for _ in range(6)))
        self._load_dirty, self._power_dirty = np.ones(m, dtype=bool), np.ones(m, dtype=bool)
        self._air_dirty = np.ones(m, dtype=bool)
        self.on_frac = np.zeros((m, racks))
        self._live_dirty, self._halls_dirty = True, False

    def mark(self, rows: Rows | None = None, *, load: bool = False, live: bool = False) -> None:
        """Say that nodes (with load: jobs) of some member rows changed; live: a job arrived or ended."""
        at = slice(None) if rows is None else rows
        self._power_dirty[at] = True
        if load:
            self._load_dirty[at] = True
        self._live_dirty = self._live_dirty or live

    def mark_air(self) -> None:
        """Say that air flows or thermal parameters of racks and halls changed, but no power."""
        self._halls_dirty = True

    def refresh_load(self) -> None:
        """Compute again where jobs are, and nothing else: enough to place them within a step."""
        if self._live_dirty:
            self._refresh_live()
        if self.has_profiles and self.state.grid_ms >= self._profile_due_ms:
            self._load_dirty[...] = True
        if self._load_dirty.any():
            self._refresh_load(_rows(self._load_dirty))

    def refresh(self) -> None:
        """Compute again what is dirty."""
        self.refresh_load()
        if self._halls_dirty:
            # rows whose power is dirty too are done again below
            self._refresh_air(slice(None))
        if self._power_dirty.any():
            self._refresh_power(_rows(self._power_dirty))

    def _refresh_live(self) -> None:
        """Find the jobs that are there in any member, and their slots."""
        s = self.state
        self.live = np.flatnonzero(((s.job_phase > J.NOT_ARRIVED) & (s.job_phase < J.DONE)).any(axis=0))
        widths = s.jobs.width[self.live]
        self.live_start = np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)
        self.slots = np.repeat(self.slot_start[self.live] - self.live_start[:-1], widths) + np.arange(
            self.live_start[-1]
        )
        self.slot_job = np.repeat(np.arange(len(self.live)), widths)
        self.live_phase = s.job_phase.take(self.live, axis=1)
        self.slot_at = s.slot_node.take(self.slots, axis=1)
        self.demand, self.speed = np.zeros(self.live_phase.shape), np.zeros(self.live_phase.shape)
        self._load_dirty[...] = True
        self._live_dirty = False

    def _refresh_load(self, rows: Rows) -> None:
        s, nodes = self.state, len(self.site.node_ids)
        phase = s.job_phase[rows].take(self.live, axis=1)
        node = s.slot_node[rows].take(self.slots, axis=1)
        self.live_phase[rows], self.slot_at[rows] = phase, node
        held = (node >= 0) & (phase > J.WAITING).take(self.slot_job, axis=1)
        flat = np.where(held, node, 0) + np.arange(len(node))[:, None] * nodes
        taken = np.where(held, s.jobs.share_frac[self.live][self.slot_job], 0.0)
        self.used_frac[rows] = _node_sum(flat, taken, nodes)
        activity = np.where(phase == J.RUNNING, self._activity(rows, len(node)), 0.0).take(self.slot_job, axis=1)
        self.util_frac[rows] = _node_sum(flat, np.where(held, activity, 0.0), nodes)
        self._load_dirty[rows] = False
        self._power_dirty[rows] = True

    def _activity(self, rows: Rows, count: int) -> Array:
        """Return node utilisation that each live job causes while it runs (rows, live)."""
        t = self.state.jobs
        flat = np.broadcast_to((t.share_frac * t.activity_frac)[self.live], (count, len(self.live)))
        if not self.has_profiles:
            return flat
        first, last = t.profile_start[:-1][self.live], t.profile_start[1:][self.live]
        step_ms = int(t.profile_step_s * 1000)
        age_ms = self.state.grid_ms - self.state.job_start_ms[rows].take(self.live, axis=1)
        self._profile_due_ms = self.state.grid_ms + int((step_ms - age_ms % step_ms).min(initial=step_ms))
        place = np.clip(first + age_ms // step_ms, first, np.maximum(last - 1, first))
        values = t.profile_frac.take(np.minimum(place, len(t.profile_frac) - 1))
        return np.where(last > first, values, flat)

    def _refresh_power(self, rows: Rows) -> None:
        site, s, lay = self.site, self.state, self.layout
        phase = s.node_phase[rows]
        on = phase == ON
        demand = power.node_demand_kw(
            self.util_frac[rows], site.node_idle_kw, site.node_peak_kw, site.node_concave_frac
        )
        demand = demand * s.node_power_scale[rows]
        # a cap of 1 means no cap: a member whose nodes draw more than the site file says is not held at its peak
        cap_frac = s.node_cap_frac[rows]
        cap_kw = np.where(cap_frac >= 1.0, np.inf, cap_frac * site.node_peak_kw)
        powered = on | (phase == STARTING)
        drawn = np.where(powered, np.minimum(demand, cap_kw), 0.0)
        node_kw = power.psu_input_kw(drawn, site.node_psu_rated_kw, s.node_psu_ok[rows].astype(np.float64))
        ratio = power.cap_speed_frac(demand, cap_kw, site.node_peak_kw, np.ones(1))
        self.node_kw[rows], self.node_ratio[rows] = node_kw, np.where(on, ratio, 0.0)
        rack_kw = segment_sum(node_kw, lay.rack_nodes)
        self.rack_kw[rows], self.hall_kw[rows] = rack_kw, segment_sum(rack_kw, lay.hall_racks)
        on_frac = segment_sum(powered.astype(np.float64), lay.rack_nodes) / lay.nodes_per_rack
        self.stopped_in_rack[rows] = segment_sum((phase == STOPPED).astype(np.float64), lay.rack_nodes)
        # the least margins in each rack: while they hold, no node of it can cross
        running = np.where(on, s.node_fails_at[rows], np.inf)
        self.rack_fails_at[rows] = segment_min(running, lay.rack_nodes)
        stop_c = np.where(powered, s.node_stop_c[rows] - site.node_inlet_offset_k, np.inf)
        self.rack_stop_c[rows] = segment_min(stop_c, lay.rack_nodes)
        ends = np.where((phase == STARTING) | (phase == FAILED), s.node_until_ms[rows], NEVER_MS)
        self.next_up_ms[rows] = ends.min(axis=1)
        self.on_frac[rows] = on_frac
        self._refresh_jobs(rows)
        self._refresh_air(rows)
        self._power_dirty[rows] = False

    def _refresh_air(self, rows: Rows) -> None:
        s = self.state
        share = STANDING_FLOW_FRAC + (1.0 - STANDING_FLOW_FRAC) * self.on_frac[rows]
        flow = s.rack_flow_kw_per_k[rows] * share
        self.rack_flow[rows] = flow
        self._refresh_halls(rows, flow)
        self._air_dirty[rows] = True
        self._halls_dirty = False

    def _refresh_jobs(self, rows: Rows) -> None:
        s, phase, at = self.state, self.live_phase[rows], self.slot_at[rows]
        if len(self.live):
            ratio = np.take_along_axis(self.node_ratio[rows], np.maximum(at, 0), axis=1)
            slowest = np.minimum.reduceat(np.where(at >= 0, ratio, 0.0), self.live_start[:-1], axis=1)
            speed = np.where(slowest < 1.0, slowest ** s.jobs.cap_exponent[self.live], 1.0)
        else:
            speed = np.zeros(phase.shape)
        speed = np.where(phase == J.RUNNING, speed, 0.0)
        # queueing is not an outage, nor is a hold in the queue: a job counts from its first start on, and while it is
        # interrupted
        begun = s.job_start_ms[rows].take(self.live, axis=1) >= 0
        in_queue = (phase == J.WAITING) | (phase == J.HELD)
        asked = (phase > J.NOT_ARRIVED) & (phase < J.DONE) & (~in_queue | begun)
        demand = np.where(asked, self.weight[self.live], 0.0)
        total = demand.sum(axis=1)
        served = (demand * speed).sum(axis=1)
        self.speed[rows], self.demand[rows] = speed, demand
        self.demand_total[rows] = np.where(total > 0.0, total, 1.0)
        self.service_frac[rows] = np.where(total > 0.0, served / np.where(total > 0.0, total, 1.0), 1.0)
        self.lost_gpus[rows] = (np.where(asked, s.jobs.gpus[self.live], 0.0) * (1.0 - speed)).sum(axis=1)

    def _refresh_halls(self, rows: Rows, flow: Array) -> None:
        s, lay = self.state, self.layout
        fresh = 1.0 - s.rack_recirc_frac[rows]
        wanted = segment_sum(flow * fresh, lay.hall_racks)
        running = s.unit_running[rows]
        available = segment_sum(np.where(running, s.unit_flow_kw_per_k[rows], 0.0), lay.hall_units)
        share = cooling.cold_share_frac(available, wanted)
        unit_flow = share * wanted
        self.unit_flow[rows] = unit_flow
        self.cold_frac[rows] = share.take(self.site.rack_hall, axis=1) * fresh
        speed = np.where(available > 0.0, unit_flow / np.maximum(available, 1e-12), 0.0)
        fans = np.where(running, self.site.unit_fan_kw, 0.0) * (speed**3).take(self.site.unit_hall, axis=1)
        self.fan_speed[rows], self.fan_kw[rows] = speed, segment_sum(fans, lay.hall_units)

    def rack_coefficients(self, dt_s: float) -> thermal.RackStep:
        """Return the exact-step coefficients for dt_s; rows in which nothing changed keep theirs."""
        if dt_s != self._air_dt_s:
            self._air_dirty[...] = True
            self._air_dt_s = dt_s
        if self._air_dirty.any():
            rows, s = _rows(self._air_dirty), self.state
            new = thermal.rack_step(
                s.rack_mass_kj_per_k[rows],
                s.rack_air_kj_per_k[rows],
                s.rack_ua_kw_per_k[rows],
                self.rack_flow[rows],
                dt_s,
            )
            for kept, part in zip(self._rack_step, new, strict=True):
                kept[rows] = part
            self._air_dirty[...] = False
        return self._rack_step


def _rows(dirty: NDArray[np.bool_]) -> Rows:
    """Return the dirty rows; all of them as a slice, which copies nothing."""
    return slice(None) if dirty.all() else np.flatnonzero(dirty)
