"""Index arrays that follow from the site alone, and the one way to sum over them (design rule 5)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plant import streams
from plant.site import Site
from twin.columns import LoopColumns

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = slice | Ints | NDArray[np.bool_]


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
    if of.filled is None:  # the usual case, without a detour
        return np.add.reduceat(values, of.begin, axis=1)
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


class Groups(list[Ints]):
    """Listed columns of an axis, one list for each group, in any order; a column may stand in several groups."""

    def __init__(self, groups: list[Ints]) -> None:
        """Lay the groups one after another."""
        super().__init__(groups)
        self.order = np.concatenate([np.zeros(0, dtype=np.int64), *groups]).astype(np.int64)
        self.of = segments(np.repeat(np.arange(len(groups)), [len(g) for g in groups]), len(groups))


class Layout:
    """Index arrays that follow from the site alone."""

    def __init__(self, site: Site) -> None:
        """Build the index arrays."""
        halls = len(site.hall_ids)
        self.node_keys = streams.component_keys(site.node_ids)
        self.rack_nodes = segments(site.node_rack, len(site.rack_ids))
        self.nodes_per_rack = np.maximum(np.diff(site.rack_start), 1).astype(np.float64)
        self.psu_loss = np.stack([np.broadcast_to(c, (len(site.node_ids),)) for c in site.chain.psu_loss]).copy()
        self.hall_racks = segments(site.rack_hall, halls)
        self.hall_units = segments(site.unit_hall, halls)
        self.loop_chillers = segments(site.chiller_loop, len(site.loop_ids))
        self.node_hall = site.rack_hall[site.node_rack].astype(np.int64)
        self.hall_nodes = segments(self.node_hall, halls)
        racks, chain = len(site.rack_ids), site.chain
        # rack sides A of all racks, then B: where each source and each PDU finds its own
        source = chain.rack_source.T.ravel()
        order = np.argsort(source, kind="stable")
        self.source_columns = order[source[order] >= 0]
        self.source_sides = segments(source[self.source_columns], len(site.ups_ids) + len(site.feed_ids))
        self.pdu_columns = chain.pdu_rack + racks * chain.pdu_side
        self.hall_start = np.searchsorted(self.node_hall, np.arange(halls + 1)).astype(np.int64)
        self.loop_halls = Groups([np.flatnonzero(site.hall_loop == i) for i in range(len(site.loop_ids))])
        self.ups_halls = Groups([np.flatnonzero(site.hall_ups == i) for i in range(len(site.ups_ids))])
        self.region_halls = Groups([np.flatnonzero(site.hall_region == i) for i in range(len(site.region_ids))])
        plant, loops = site.cooling, len(site.loop_ids)
        self.pump_loops = segments(plant.pump_loop, loops)
        self.cdu_racks = Groups([np.flatnonzero(plant.rack_cdu == i) for i in range(len(plant.cdu_ids))])
        self.loop_cdus = Groups([np.flatnonzero(plant.cdu_loop == i) for i in range(loops)])
        self.hall_cdus = Groups([np.flatnonzero(plant.cdu_hall == i) for i in range(halls)])
        loop_region = plant.loop_region
        self.region_loops = Groups([np.flatnonzero(loop_region == g) for g in range(len(site.region_ids))])
        units = np.maximum(np.bincount(site.unit_hall, minlength=halls), 1)
        self.hall_effectiveness = np.bincount(site.unit_hall, site.unit_effectiveness_frac, halls) / units
        per_loop = np.maximum(np.bincount(site.chiller_loop, minlength=loops), 1)
        plant = site.cooling
        self.wet_racks = np.flatnonzero(plant.rack_cdu >= 0)
        self.wet_cdu = plant.rack_cdu[self.wet_racks].astype(np.int64)
        limit = plant.cdu_stop_c.take(self.wet_cdu) if len(self.wet_racks) else np.zeros(0)
        self.rack_too_hot_c = np.full(len(site.rack_ids), np.inf)
        self.rack_too_hot_c[self.wet_racks] = limit
        self.rack_lossy = bool(site.chain.rack_loss_frac.any())
        self.loop_cop_per_k = np.bincount(site.chiller_loop, site.chiller_cop_per_k, loops) / per_loop
        self.loop_columns = LoopColumns(
            np.searchsorted(site.chiller_loop, np.arange(loops + 1)).astype(np.int64), self.loop_cop_per_k,
            plant.loop_design_outdoor_c, plant.loop_derate_per_k, plant.loop_capacity_per_k,
            plant.loop_capacity_most_frac, plant.loop_part_load, plant.loop_controlled, plant.loop_low_flow_frac,
            plant.loop_condenser_k, plant.loop_condensing_trip_c, plant.loop_stage_up_frac, plant.loop_stage_up_k,
            plant.loop_stage_up_s, plant.loop_stage_down_frac, plant.loop_stage_down_s,
        )  # fmt: skip
        self.loop_region = np.array([site.hall_region[h[0]] if len(h) else 0 for h in self.loop_halls], dtype=np.int64)


@lru_cache(maxsize=8)
def layout_of(site: Site) -> Layout:
    """Return the layout of a site, built once."""
    return Layout(site)


def gather_sum(values: Array, groups: Groups) -> Array:
    """Return sums over listed columns, one per group."""
    return segment_sum(values.take(groups.order, axis=1), groups.of)


def some_rows(dirty: NDArray[np.bool_]) -> Rows:
    """Return the dirty rows; all of them as a slice, which copies nothing."""
    return slice(None) if dirty.all() else np.flatnonzero(dirty)
