"""The kernels in plain NumPy and Python: slow, short and the oracle of the numba form (see twin/kernels.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.jobs import RUNNING, WAITING
from twin.nodephase import ON
from twin.plain_gpus import gpu_rises as gpu_rises
from twin.plain_gpus import gpu_step as gpu_step
from twin.plain_jobs import advance_jobs as advance_jobs
from twin.plain_jobs import service as service
from twin.plain_loops import endangered as endangered
from twin.plain_loops import loop_step as loop_step
from twin.plain_loops import stage as stage
from twin.plain_nodes import node_demand as node_demand
from twin.plain_nodes import settle_nodes as settle_nodes
from twin.plain_nodes import watch_racks as watch_racks
from twin.plain_racks import rack_air as rack_air
from twin.plain_racks import rack_coefficients as rack_coefficients
from twin.plain_sync import sync_bounded as sync_bounded
from twin.plain_sync import sync_forget as sync_forget
from twin.plain_sync import sync_gain as sync_gain
from twin.plain_sync import sync_groups as sync_groups
from twin.plain_sync import sync_linked as sync_linked
from twin.plain_sync import sync_narrow as sync_narrow
from twin.plain_sync import sync_own as sync_own
from twin.plain_sync import sync_past as sync_past
from twin.plain_sync import sync_recall as sync_recall
from twin.plain_sync import sync_statistics as sync_statistics
from twin.plain_traffic import carried as carried
from twin.plain_traffic import traffic as traffic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
ROOM = 1.0 + 1e-9  # shares are sums of fractions


def _slots(live: Ints, slot_start: Ints) -> tuple[Ints, Ints]:
    """Return (slots of the live jobs one after another, which live job each belongs to)."""
    widths = slot_start[live + 1] - slot_start[live]
    owner = np.repeat(np.arange(len(live)), widths)
    first = np.cumsum(widths) - widths
    return np.arange(len(owner)) + (slot_start[live] - first)[owner], owner


def occupancy(
    rows: Ints, live: Ints, job_phase: Any, slot_start: Ints, slot_node: Any, share: Floats, use: Floats,
    used_out: Floats, util_out: Floats,
) -> None:  # fmt: skip
    """Add up what live jobs take and use of each node."""
    slots, owner = _slots(live, slot_start)
    nodes = used_out.shape[1]
    phase = job_phase[rows][:, live][:, owner]
    node = slot_node[rows][:, slots]
    held = (node >= 0) & (phase > WAITING)
    flat = (np.where(held, node, 0) + np.arange(len(rows))[:, None] * nodes).ravel()
    taken = np.where(held, share[live][owner], 0.0)
    used = np.where(held & (phase == RUNNING), use[:, owner], 0.0)
    size = len(rows) * nodes
    used_out[rows] = np.bincount(flat, taken.ravel(), size).reshape(len(rows), nodes)
    util_out[rows] = np.bincount(flat, used.ravel(), size).reshape(len(rows), nodes)


def slowest(
    rows: Ints, live: Ints, job_phase: Any, slot_start: Ints, slot_node: Any, node_ratio: Floats, slowest_out: Floats
) -> None:
    """Find the least node ratio among the slots of each running job."""
    slots, owner = _slots(live, slot_start)
    node = slot_node[rows][:, slots]
    ratio = np.where(node >= 0, np.take_along_axis(node_ratio[rows], np.maximum(node, 0).astype(np.int64), axis=1), 0.0)
    first = np.searchsorted(owner, np.arange(len(live)))
    running = job_phase[rows][:, live] == RUNNING
    slowest_out[rows] = np.where(running, np.minimum.reduceat(ratio, first, axis=1), 0.0)


def place_queue(
    rows: Ints, live: Ints, job_phase: Any, job_hall: Ints, share: Floats, node_need: Floats, width: Ints,
    shape: Ints, slot_start: Ints, slot_node: Any, node_phase: Any, node_cordon: Flags, node_gpus: Any,
    hall_start: Ints, used_frac: Floats, started_out: Flags,
) -> None:  # fmt: skip
    """Place waiting jobs in order by first fit, row by row."""
    for i, row in enumerate(rows):
        for k in np.flatnonzero(job_phase[row, live] == WAITING):
            job = live[k]
            fits = (node_phase[row] == ON) & ~node_cordon[row] & (node_gpus >= node_need[job])
            fits &= used_frac[row] + share[job] <= ROOM
            hall = job_hall[row, job]
            if hall >= 0:
                fits[: hall_start[hall]] = fits[hall_start[hall + 1] :] = False
            chosen = np.flatnonzero(fits)[: width[job]]
            if len(chosen) == width[job]:
                slot_node[row, slot_start[job] : slot_start[job + 1]] = chosen
                used_frac[row, chosen] += share[job]
                started_out[i, k] = True


def replica_sums(service: Ints, servers: Floats, speed: Floats, asked: Flags, sums_out: Floats) -> None:
    """Add up for each service the servers that run, the same times their speed, and the servers asked for."""
    there = np.flatnonzero(service >= 0)
    rows, _, count = sums_out.shape
    flat = (service[there] + np.arange(rows)[:, None] * count).ravel()
    given, fast = servers[there], speed[:, there]
    for part, values in enumerate((given * (fast > 0.0), given * fast, given * asked[:, there])):
        sums_out[:, part] = np.bincount(flat, values.ravel(), rows * count).reshape(rows, count)
