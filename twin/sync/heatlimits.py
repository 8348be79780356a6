"""What nodes do in the heat tells at which inlet temperature they stop themselves.

Members differ in that temperature, node by node. One that is reported to run in air in which a member's would have
stopped itself stops later there than the member took it to; one that has just stopped in hot air stops no later. Such a
member draws that temperature anew, from what is left of its prior; the others keep theirs.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from plant import streams
from twin.derived import Derived
from twin.ensemble import LIVE

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

STOP_SD_K = LIVE.node_stop_k
NEAR_K = 3.0 * STOP_SD_K  # a node that stops in air so far below the usual temperature has another reason
NEAREST_K = 0.2  # what inlets may rise within a tick, and how well members know them
LEAST_K = 1e-3
_NORMAL = NormalDist()


def inlets_c(d: Derived, at: Ints) -> Array:
    """Return the inlet temperatures of some nodes (M, at) [C]."""
    rack = d.site.node_rack[at]
    return np.asarray(d.state.rack_inlet_c.take(rack, axis=1) + d.site.node_inlet_offset_k[at])


def outlived(d: Derived, at: Ints, inlet_c: Array, stopped: Flags) -> bool:
    """Nodes run at these inlets (M, at): where a member's stops at or below, or has (`stopped`), it stops later.

    Change `node_stop_c` in place; tell whether any did.
    """
    s = d.state
    limit_c = s.node_stop_c[:, at]
    low_c = np.where(stopped, np.maximum(limit_c, inlet_c), inlet_c)
    row, column = np.nonzero(limit_c <= low_c)
    if len(row):
        low = low_c[row, column]
        s.node_stop_c[row, at[column]] = _drawn(d, row, at[column], low, np.full(len(row), np.inf))
    return bool(len(row))


def gave_way(d: Derived, at: Ints, inlet_c: Array, ran_c: Array) -> None:
    """Nodes have stopped at these inlets (M, at): in hot air no member's stops at a higher one.

    ran_c: inlets at which they were known to run, -inf where they never were (at,). Change `node_stop_c` in place.
    """
    s, usual_c = d.state, d.site.node_stop_c[at]
    row, column = np.nonzero((s.node_stop_c[:, at] > inlet_c) & (inlet_c >= usual_c - NEAR_K))
    if len(row):
        high = inlet_c[row, column]
        low = np.minimum(ran_c[column], high - NEAREST_K)
        s.node_stop_c[row, at[column]] = _drawn(d, row, at[column], low, high)


def _drawn(d: Derived, row: Ints, node: Ints, low_c: Array, high_c: Array) -> Array:
    """Draw from the prior between two limits, for pairs of row and node (n,)."""
    s, usual_c = d.state, d.site.node_stop_c[node]
    luck = streams.uniform(s.seed, "node stop seen", s.member[row], d.node_keys[node], s.grid_ms // 1000)
    below, above = (_cdf((limit_c - usual_c) / STOP_SD_K) for limit_c in (low_c, high_c))
    share = np.clip(below + luck * (above - below), 1e-12, 1.0 - 1e-12)
    z = np.array([_NORMAL.inv_cdf(p) for p in share.tolist()])
    return np.clip(usual_c + STOP_SD_K * z, low_c + LEAST_K * luck, np.maximum(high_c, low_c + LEAST_K))


def _cdf(z: Array) -> Array:
    return np.array([_NORMAL.cdf(x) for x in z.tolist()])
