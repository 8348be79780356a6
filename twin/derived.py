"""What follows from `State` and is never stored in it: loads, powers, speeds, step coefficients (design rule 5).

Built new at the start of every run and whenever a happening marks it dirty, always from State alone, so that a fork
and its parent compute the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plant import checkpoint, thermal
from plant.site import Site
from twin.airpaths import refresh_air
from twin.columns import JobColumns, RackOut
from twin.fabric import Fabric
from twin.gpus import GpuHeat
from twin.jobs import NOT_ARRIVED
from twin.kernels import kernels
from twin.layout import Ints, Layout, Rows, some_rows
from twin.nodepower import refresh_power
from twin.occupancy import refresh_live, refresh_load
from twin.services import ServiceView
from twin.state import State
from twin.supply import any_dark, refresh_supply, supply_of


class PumpView(NamedTuple):
    """Flow and pumps running of each loop (M, L), and the phases of pumps and chillers that they follow from."""

    key: bytes
    flow: NDArray[np.float64]
    running: NDArray[np.float64]
    short: bool
    """Somewhere fewer pumps run or come up than move the nominal flow."""


class SlotView(NamedTuple):
    """The slots of the live jobs one after another: where each job begins (live + 1,), the node of each (M, slots)."""

    start: Ints
    node: Ints

    @classmethod
    def of(cls, state: State, live: Ints, slot_start: Ints) -> SlotView:
        """Return the view of a state for its live jobs."""
        widths = slot_start[live + 1] - slot_start[live]
        start = np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)
        slots = np.arange(start[-1]) + np.repeat(slot_start[live] - start[:-1], widths)
        return cls(start, state.slot_node.take(slots, axis=1))


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
        self.use_frac = state.jobs.share_frac * state.jobs.activity_frac
        self.kernels = kernels(state.backend)
        t = state.jobs
        shapes = np.stack([t.share_frac, t.gpus / np.maximum(t.width, 1)], axis=1)
        self.job_shape = np.unique(shapes, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
        self.job_need = shapes[:, 1].copy()
        self.has_profiles = bool(state.jobs.profile_start[-1])
        self.profile_due_ms = 0
        self.air_dt_s = 0.0
        self.fabric = Fabric(site, state)
        self.heat = GpuHeat(site, state)
        self.stall_s = np.where(t.checkpoint_s > 0.0, checkpoint.stall_s(t.save_s, t.save_async), 0.0)
        self.pace_frac = checkpoint.pace_frac(t.checkpoint_s, t.save_s, t.save_async)
        self.save_lag_s = checkpoint.lag_s(t.save_s, t.save_async)
        # work since the last complete save when the next one is; an interval of 0 has nothing to save
        self.save_due_s = np.where(t.checkpoint_s > 0.0, t.checkpoint_s + self.save_lag_s, np.inf)
        self.job_columns = JobColumns(
            self.pace_frac, t.checkpoint_s, self.save_due_s, self.save_lag_s, self.stall_s * t.gpus, t.work_s
        )
        self.services = ServiceView(self) if len(t.services) else None
        self._allocate()
        self.refresh()

    def _allocate(self) -> None:
        m, site = self.state.members, self.site
        nodes, racks, halls = len(site.node_ids), len(site.rack_ids), len(site.hall_ids)
        self.used_frac, self.util_frac = np.zeros((m, nodes)), np.zeros((m, nodes))
        self.node_kw, self.drawn_kw, self.node_ratio = (np.zeros((m, nodes)) for _ in range(3))
        self.rack_kw, self.rack_flow, self.cold_frac = (np.zeros((m, racks)) for _ in range(3))
        self.powered_in_rack, self.stopped_in_rack = np.zeros((m, racks)), np.zeros((m, racks))
        self.rack_fails_at, self.rack_stop_c = np.zeros((m, racks)), np.zeros((m, racks))
        self.racks = RackOut(self.powered_in_rack, self.stopped_in_rack, self.rack_fails_at, self.rack_stop_c)
        self.nodes_dirty, self.supplied = np.ones(m, dtype=bool), np.ones(m, dtype=bool)
        self.hall_kw, self.fan_kw, self.fan_speed, self.unit_flow = (np.zeros((m, halls)) for _ in range(4))
        self.next_up_ms = np.zeros(m, dtype=np.int64)
        self.service_frac, self.lost_gpus, self.demand_total = np.ones(m), np.zeros(m), np.ones(m)
        self.loop_taken_kw = np.zeros((m, len(site.loop_ids)))
        self.loop_capacity_kw, self.loop_outdoor_c = self.loop_taken_kw, np.zeros((m, len(site.loop_ids)))
        self.unit_air, self.cdu_pump_kw = np.zeros((m, len(site.unit_ids))), np.zeros((m, len(site.cdu_ids)))
        self.dx_kw, self.hall_by_unit = np.zeros((m, halls)), np.zeros((m, halls), dtype=bool)
        self.by_unit_now, self.any_by_unit = self.hall_by_unit, False
        self.water_flow = np.ones((m, len(site.loop_ids)))
        self.pump_view: PumpView | None = None
        self.structure_frac, self.structure_dt_s = np.zeros((m, halls)), 0.0
        self.facility_kw = np.zeros((m, len(site.region_ids)))
        sources = len(site.ups_ids) + len(site.feed_ids)
        self.source_kw, self.pdu_kw = np.zeros((m, sources)), np.zeros((m, len(site.chain.pdu_ids)))
        self.feed_kw, self.ups_load_kw = np.zeros((m, len(site.feed_ids))), np.zeros((m, len(site.ups_ids)))
        self.generator_load_frac = np.zeros((m, len(site.chain.generator_ids)))
        self.ups_over, self.pdu_busy, self.node_short = False, False, np.zeros(m, dtype=bool)
        self.pdu_warm = bool(self.state.pdu_heat.any() or self.state.pdu_until_ms.any())
        self.dark, self.look_dark = any_dark(self), False
        self.supply, self.supply_dirty = supply_of(self), False
        self.rack_seen = np.full((4, m, racks), np.nan)
        self.rack_step = thermal.RackStep(*(np.zeros((m, racks)) for _ in range(6)))
        self.load_dirty, self.power_dirty = np.ones(m, dtype=bool), np.ones(m, dtype=bool)
        self.air_dirty = np.ones(m, dtype=bool)
        self.air_frac = np.zeros((m, racks))
        self.live, self.first_open = np.zeros(0, dtype=np.int64), 0
        there = np.flatnonzero((self.state.job_phase != NOT_ARRIVED).any(axis=0))
        self.arrived = int(there[-1]) + 1 if len(there) else 0
        self.live_phase = np.zeros((m, 0), dtype=np.int8)
        self.slot_view: SlotView | None = None
        self.all_rows = np.arange(m)
        self.demand, self.speed = np.zeros((m, 0)), np.zeros((m, 0))
        self.live_dirty, self.halls_dirty = True, False

    def mark(self, rows: Rows | None = None, *, load: bool = False, live: bool = False) -> None:
        """Say that nodes of some member rows changed; load: no more than their jobs; live: a job arrived or ended."""
        at = slice(None) if rows is None else rows
        self.power_dirty[at] = True
        if not (load or live):
            self.nodes_dirty[at] = True
        if load:
            self.load_dirty[at] = True
        self.live_dirty = self.live_dirty or live

    def mark_power(self) -> None:
        """Say that what nodes draw changed in all rows, but neither their life nor their jobs."""
        self.power_dirty[...] = True

    def mark_air(self) -> None:
        """Say that air flows or thermal parameters of racks and halls changed, but no power."""
        self.halls_dirty = True

    def numbers(self, rows: Rows) -> Ints:
        """Return the numbers of some member rows."""
        return self.all_rows[rows]

    @property
    def slots(self) -> SlotView:
        """Where the shares of the live jobs are."""
        if self.slot_view is None:
            self.slot_view = SlotView.of(self.state, self.live, self.slot_start)
        return self.slot_view

    def refresh_load(self) -> None:
        """Compute again where jobs are, and nothing else: enough to place them within a step."""
        if self.live_dirty:
            refresh_live(self)
        if self.has_profiles and self.state.grid_ms >= self.profile_due_ms:
            self.load_dirty[...] = True
        if self.services is not None and self.state.grid_ms >= self.services.due_ms:
            self.load_dirty[...] = True
        if self.load_dirty.any():
            refresh_load(self, some_rows(self.load_dirty))

    def mark_supply(self) -> None:
        """Say that a feed, a UPS, a generator or a breaker changed."""
        self.supply_dirty = True

    def refresh(self) -> None:
        """Compute again what is dirty."""
        self.fabric.refresh()
        if self.supply_dirty:
            refresh_supply(self)
        self.refresh_load()
        if self.halls_dirty:
            # rows whose power is dirty too are done again below
            refresh_air(self, slice(None))
        if self.power_dirty.any():
            refresh_power(self, some_rows(self.power_dirty))
