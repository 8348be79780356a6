"""Warm standbys: nodes kept free so that a job whose node fails starts again at once instead of in the queue.

Each hall keeps `laws.standbys` nodes of each type. They are on and idle and take no job; when a node of their hall and
type fails, one of them is let go, and what comes back from repair takes its place while fewer are left. The rule is
that of AIReSim (notes/twins.md f).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.derived import Derived
from twin.nodephase import ON
from twin.state import State

Ints = NDArray[np.int64]


@lru_cache(maxsize=8)
def groups(site: Site) -> Ints:
    """Number of the hall and type that each node shares with others (N,)."""
    return (site.node_hall.astype(np.int64) * len(site.node_type_ids)) + site.node_type


def set_aside(site: Site, s: State) -> None:
    """Keep the last nodes of each hall and type at the start; never more than half of them."""
    wanted, of = site.faults.standbys, groups(site)
    for group in np.unique(of) if wanted else ():
        mine = np.flatnonzero(of == group)
        s.node_standby[:, mine[len(mine) - min(wanted, len(mine) // 2) :]] = True


def let_go(d: Derived, row: Ints, node: Ints) -> None:
    """For each node that failed let one standby of its hall and type go, the lowest that is on; after the failures."""
    s, of = d.state, groups(d.site)
    if not d.site.faults.standbys:
        return
    was = s.node_standby[row, node]
    s.node_standby[row, node] = False
    for r, n in zip(row[~was], node[~was], strict=True):
        warm = np.flatnonzero(s.node_standby[r] & (s.node_phase[r] == ON) & (of == of[n]))
        s.node_standby[r, warm[:1]] = False


def join(d: Derived, row: Ints, node: Ints) -> None:
    """Nodes that come back become standbys where their hall has too few of their type."""
    s, of, wanted = d.state, groups(d.site), d.site.faults.standbys
    if not wanted:
        return
    for r, n in zip(row, node, strict=True):
        mine = of == of[n]
        if s.node_standby[r, mine].sum() < min(wanted, mine.sum() // 2):
            s.node_standby[r, n] = True
