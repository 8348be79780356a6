"""The kernels compiled by numba, cached beside this file; the oracle is twin/plain_kernels.py (see twin/kernels.py).

Every row is computed alone and in a fixed order, so a row has the same bits alone and in any block. No fastmath.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from twin.jobs import RUNNING, WAITING
from twin.nodephase import ON
from twin.numba_gpus import gpu_rises as gpu_rises
from twin.numba_gpus import gpu_step as gpu_step
from twin.numba_jobs import advance_jobs as advance_jobs
from twin.numba_jobs import service as service
from twin.numba_loops import endangered as endangered
from twin.numba_loops import loop_step as loop_step
from twin.numba_loops import stage as stage
from twin.numba_nodes import node_demand as node_demand
from twin.numba_nodes import settle_nodes as settle_nodes
from twin.numba_nodes import watch_racks as watch_racks
from twin.numba_racks import rack_air as rack_air
from twin.numba_racks import rack_coefficients as rack_coefficients
from twin.numba_sync import sync_bounded as sync_bounded
from twin.numba_sync import sync_forget as sync_forget
from twin.numba_sync import sync_gain as sync_gain
from twin.numba_sync import sync_groups as sync_groups
from twin.numba_sync import sync_linked as sync_linked
from twin.numba_sync import sync_narrow as sync_narrow
from twin.numba_sync import sync_own as sync_own
from twin.numba_sync import sync_past as sync_past
from twin.numba_sync import sync_recall as sync_recall
from twin.numba_sync import sync_statistics as sync_statistics
from twin.numba_traffic import carried as carried
from twin.numba_traffic import traffic as traffic
from twin.plain_kernels import ROOM, Flags, Floats, Ints

NO_LIMIT = 2**62


@njit(cache=True, nogil=True)
def occupancy(
    rows: Ints, live: Ints, job_phase: Any, slot_start: Ints, slot_node: Any, share: Floats, use: Floats,
    used_out: Floats, util_out: Floats,
) -> None:  # fmt: skip
    """Add up what live jobs take and use of each node."""
    for i in range(len(rows)):
        row = rows[i]
        used_out[row, :] = 0.0
        util_out[row, :] = 0.0
        for k in range(len(live)):
            job = live[k]
            phase = job_phase[row, job]
            if phase <= WAITING:
                continue
            for slot in range(slot_start[job], slot_start[job + 1]):
                node = slot_node[row, slot]
                if node >= 0:
                    used_out[row, node] += share[job]
                    if phase == RUNNING:
                        util_out[row, node] += use[i if i < len(use) else 0, k]


@njit(cache=True, nogil=True)
def slowest(
    rows: Ints, live: Ints, job_phase: Any, slot_start: Ints, slot_node: Any, node_ratio: Floats, slowest_out: Floats
) -> None:
    """Find the least node ratio among the slots of each running job."""
    for i in range(len(rows)):
        row = rows[i]
        for k in range(len(live)):
            job = live[k]
            least = 0.0
            if job_phase[row, job] == RUNNING:
                least = np.inf
                for slot in range(slot_start[job], slot_start[job + 1]):
                    node = slot_node[row, slot]
                    least = min(least, node_ratio[row, node] if node >= 0 else 0.0)
            slowest_out[row, k] = least


@njit(cache=True, nogil=True)
def place_queue(
    rows: Ints, live: Ints, job_phase: Any, job_hall: Ints, share: Floats, node_need: Floats, width: Ints,
    shape: Ints, slot_start: Ints, slot_node: Any, node_phase: Any, node_cordon: Flags, node_gpus: Any,
    hall_start: Ints, used_frac: Floats, started_out: Flags,
) -> None:  # fmt: skip
    """Place waiting jobs in order by first fit, row by row.

    Room only shrinks during one dispatch, so a job like one that failed is tried only if it is narrower than what fits.
    """
    halls = len(hall_start) - 1
    nodes = len(node_gpus)
    shapes, least = 0, np.inf
    for k in range(len(live)):
        shapes, least = max(shapes, shape[live[k]] + 1), min(least, share[live[k]])
    failed = np.empty((shapes, halls + 1), dtype=np.int64)
    node_hall = np.empty(nodes, dtype=np.int64)
    for hall in range(halls):
        node_hall[hall_start[hall] : hall_start[hall + 1]] = hall
    room = np.empty(halls + 1, dtype=np.int64)
    for i in range(len(rows)):
        row = rows[i]
        failed[:, :] = NO_LIMIT
        _count_room(row, least, node_phase, node_cordon, used_frac, hall_start, room)
        for k in range(len(live)):
            job = live[k]
            if job_phase[row, job] != WAITING:
                continue
            hall = job_hall[row, job] if job_hall[row, job] >= 0 else halls
            if room[hall] < width[job] or failed[shape[job], hall] <= width[job]:
                continue
            begin, end = (hall_start[hall], hall_start[hall + 1]) if hall < halls else (0, nodes)
            slot, last = slot_start[job], slot_start[job + 1]
            for node in range(begin, end):
                if (
                    used_frac[row, node] + share[job] <= ROOM
                    and node_phase[row, node] == ON
                    and not node_cordon[row, node]
                    and node_gpus[node] >= node_need[job]
                ):
                    slot_node[row, slot] = node
                    slot += 1
                    if slot == last:
                        break
            if slot == last:
                for at in range(slot_start[job], last):
                    node = slot_node[row, at]
                    used_frac[row, node] += share[job]
                    if used_frac[row, node] + least > ROOM:  # full: room shrinks where it lies
                        room[halls] -= 1
                        room[node_hall[node]] -= 1
                started_out[i, k] = True
            else:
                failed[shape[job], hall] = slot - slot_start[job] + 1  # so many nodes fit, and no more
                slot_node[row, slot_start[job] : last] = -1


@njit(cache=True, nogil=True)
def _count_room(
    row: int, least: float, node_phase: Any, node_cordon: Flags, used_frac: Floats, hall_start: Ints, room: Ints
) -> None:
    """Count the nodes of each hall, and of all (last place), on which the smallest share would fit."""
    halls = len(hall_start) - 1
    room[halls] = 0
    for hall in range(halls):
        room[hall] = 0
        for node in range(hall_start[hall], hall_start[hall + 1]):
            if used_frac[row, node] + least <= ROOM and node_phase[row, node] == ON and not node_cordon[row, node]:
                room[hall] += 1
        room[halls] += room[hall]


@njit(cache=True, nogil=True)
def replica_sums(service: Ints, servers: Floats, speed: Floats, asked: Flags, sums_out: Floats) -> None:
    """Add up for each service the servers that run, the same times their speed, and the servers asked for."""
    sums_out[...] = 0.0
    for i in range(speed.shape[0]):
        for k in range(len(service)):
            of = service[k]
            if of >= 0:
                if speed[i, k] > 0.0:
                    sums_out[i, 0, of] += servers[k]
                    sums_out[i, 1, of] += servers[k] * speed[i, k]
                if asked[i, k]:
                    sums_out[i, 2, of] += servers[k]
