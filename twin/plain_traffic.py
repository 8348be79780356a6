"""The traffic of gangs on leaves and between halls, in plain Python: the oracle of twin/numba_traffic.py.

A node of a gang of w talks to its mates alike, `want` GB/s in all, so each pair of nodes exchanges want / (w - 1); what
stays under a leaf needs no uplink, what stays in a hall no link between halls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.jobs import RUNNING

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def _gang(row: int, job: int, slot_start: Ints, slot_node: Any, node_leaf: Any) -> Ints:
    """Return the leaf of each node of a placed gang."""
    nodes = slot_node[row, slot_start[job] : slot_start[job + 1]]
    return np.asarray(node_leaf[nodes[nodes >= 0]], dtype=np.int64)


def traffic(
    rows: Ints, live: Ints, job_phase: Any, slot_start: Ints, slot_node: Any, node_leaf: Any, leaf_hall: Any,
    want: Floats, leaf_gb_per_s: Floats, leaf_out: Floats, hall_out: Floats, tight_out: Any,
) -> None:  # fmt: skip
    """Add up what running gangs send up from each leaf (M, L) and between halls (M, H, H) [GB/s]; want is (live,).

    A row is tight when a leaf is asked for more than it has, or a link between halls for anything.
    """
    for row in rows:
        leaf_out[row], hall_out[row] = 0.0, 0.0
        for k in np.flatnonzero((job_phase[row, live] == RUNNING) & (want > 0.0)):
            leaves = _gang(row, live[k], slot_start, slot_node, node_leaf)
            width = slot_start[live[k] + 1] - slot_start[live[k]]
            if width < 2 or not len(leaves):
                continue
            pair = want[k] / (width - 1)
            for leaf, mates in zip(*np.unique(leaves, return_counts=True), strict=True):
                leaf_out[row, leaf] += pair * (mates * (width - mates))
            halls, count = np.unique(leaf_hall[leaves], return_counts=True)
            for a, of_a in zip(halls, count, strict=True):
                for b, of_b in zip(halls, count, strict=True):
                    if a != b:
                        hall_out[row, a, b] += pair * (of_a * of_b)
        tight_out[row] = (leaf_out[row] > leaf_gb_per_s[row]).any() or hall_out[row].any()


def carried(
    rows: Ints, live: Ints, job_phase: Any, slot_start: Ints, slot_node: Any, node_leaf: Any, leaf_hall: Any,
    want: Floats, leaf_share: Floats, leaf_mask: Any, hall_share: Floats, share_out: Floats,
) -> None:  # fmt: skip
    """Find the share of its traffic that the network carries for each running job: the least along its paths.

    0 when a node's leaf is cut off, or when two of its leaves in one hall share no live spine.
    """
    for row in rows:
        share_out[row] = 1.0
        for k in np.flatnonzero(job_phase[row, live] == RUNNING):
            leaves = np.unique(_gang(row, live[k], slot_start, slot_node, node_leaf))
            masks, halls = leaf_mask[row, leaves], leaf_hall[leaves]
            least = 1.0 if masks.all() else 0.0
            if len(leaves) > 1 and want[k] > 0.0:
                least = min(least, leaf_share[row, leaves].min())
                for i in range(len(leaves)):
                    for j in range(i):
                        if halls[i] != halls[j]:
                            least = min(least, hall_share[row, halls[i], halls[j]], hall_share[row, halls[j], halls[i]])
                        elif not masks[i] & masks[j]:
                            least = 0.0
            share_out[row, k] = least
