"""The traffic of gangs compiled by numba, cached beside this file; the oracle is twin/plain_traffic.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from twin.jobs import RUNNING
from twin.plain_traffic import Floats, Ints


@njit(cache=True, nogil=True)
def traffic(
    rows: Ints, live: Ints, job_phase: Any, slot_start: Ints, slot_node: Any, node_leaf: Any, leaf_hall: Any,
    want: Floats, leaf_gb_per_s: Floats, leaf_out: Floats, hall_out: Floats, tight_out: Any,
) -> None:  # fmt: skip
    """Add up what running gangs send up from each leaf and between halls [GB/s]."""
    halls = hall_out.shape[1]
    mates = np.zeros(leaf_out.shape[1], dtype=np.int64)
    seen = np.empty(leaf_out.shape[1], dtype=np.int64)
    of_hall = np.zeros(halls, dtype=np.int64)
    for i in range(len(rows)):
        row = rows[i]
        leaf_out[row, :] = 0.0
        hall_out[row, :, :] = 0.0
        tight = False
        for k in range(len(live)):
            job = live[k]
            width = slot_start[job + 1] - slot_start[job]
            if job_phase[row, job] != RUNNING or want[k] <= 0.0 or width < 2:
                continue
            met = 0
            for slot in range(slot_start[job], slot_start[job + 1]):
                if slot_node[row, slot] < 0:
                    continue
                leaf = node_leaf[slot_node[row, slot]]
                if mates[leaf] == 0:
                    seen[met] = leaf
                    met += 1
                mates[leaf] += 1
            pair = want[k] / (width - 1)
            for j in range(met):
                leaf = seen[j]
                leaf_out[row, leaf] += pair * (mates[leaf] * (width - mates[leaf]))
                of_hall[leaf_hall[leaf]] += mates[leaf]
                mates[leaf] = 0
            first = leaf_hall[seen[0]] if met else 0
            if met and of_hall[first] < width:
                tight = _between(row, pair, of_hall, hall_out) or tight
            for j in range(met):
                of_hall[leaf_hall[seen[j]]] = 0
        for leaf in range(leaf_out.shape[1]):
            tight = tight or leaf_out[row, leaf] > leaf_gb_per_s[row, leaf]
        tight_out[row] = tight


@njit(cache=True, nogil=True)
def _between(row: int, pair: float, of_hall: Ints, hall_out: Floats) -> bool:
    """Add what a gang that spans halls sends between them; tell whether it is anything."""
    halls, any_sent = len(of_hall), False
    for a in range(halls):
        for b in range(halls):
            if a != b and of_hall[a] and of_hall[b]:
                hall_out[row, a, b] += pair * (of_hall[a] * of_hall[b])
                any_sent = True
    return any_sent


@njit(cache=True, nogil=True)
def carried(
    rows: Ints, live: Ints, job_phase: Any, slot_start: Ints, slot_node: Any, node_leaf: Any, leaf_hall: Any,
    want: Floats, leaf_share: Floats, leaf_mask: Any, hall_share: Floats, share_out: Floats,
) -> None:  # fmt: skip
    """Find the share of its traffic that the network carries for each running job: the least along its paths."""
    leaves = np.empty(leaf_share.shape[1], dtype=np.int64)
    seen_by = np.full(leaf_share.shape[1], -1, dtype=np.int64)
    for i in range(len(rows)):
        row = rows[i]
        for k in range(len(live)):
            job, visit = live[k], i * len(live) + k
            share_out[row, k] = 1.0
            if job_phase[row, job] != RUNNING:
                continue
            met, least, apart = 0, 1.0, False
            common = leaf_mask[row, 0]
            for slot in range(slot_start[job], slot_start[job + 1]):
                if slot_node[row, slot] < 0:
                    continue
                leaf = node_leaf[slot_node[row, slot]]
                if seen_by[leaf] == visit:
                    continue
                seen_by[leaf] = visit
                leaves[met] = leaf
                met += 1
                common = leaf_mask[row, leaf] if met == 1 else common & leaf_mask[row, leaf]
                apart = apart or common == 0 or leaf_hall[leaf] != leaf_hall[leaves[0]]
                if leaf_mask[row, leaf] == 0:
                    least = 0.0
            if met > 1 and want[k] > 0.0:
                for j in range(met):
                    least = min(least, leaf_share[row, leaves[j]])
                if apart:
                    least = min(least, _between_leaves(row, leaves[:met], leaf_hall, leaf_mask, hall_share))
            share_out[row, k] = least


@njit(cache=True, nogil=True)
def _between_leaves(row: int, leaves: Ints, leaf_hall: Any, leaf_mask: Any, hall_share: Floats) -> float:
    """Return the least share between any two of these leaves, which may lie in several halls or share no spine."""
    least = 1.0
    for i in range(len(leaves)):
        for j in range(i):
            a, b = leaf_hall[leaves[i]], leaf_hall[leaves[j]]
            if a != b:
                least = min(least, hall_share[row, a, b], hall_share[row, b, a])
            elif leaf_mask[row, leaves[i]] & leaf_mask[row, leaves[j]] == 0:
                least = 0.0
    return least
