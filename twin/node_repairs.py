"""How failed nodes come back: crews, parts, repairs that only seem to work, new lives (story: node_faults.py)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import repair, streams
from plant.faults import FaultLaws
from twin.derived import Derived
from twin.node_faults import degrade, luck, scale
from twin.nodephase import FAILED, HEALTHY, NEVER_MS, ON
from twin.standbys import join
from twin.state import State

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def begin_repairs(d: Derived) -> None:
    """Start the repairs that have a crew and a part; the longest waiting first."""
    s, laws = d.state, d.site.faults
    waiting = (s.node_phase == FAILED) & (s.node_until_ms == NEVER_MS) & (s.node_fault >= 0)
    if not waiting.any():
        return
    go = waiting
    if laws.spares >= 0:
        go = _with_part(s, waiting, laws)
    if laws.crews >= 0:
        busy = ((s.node_phase == FAILED) & (s.node_until_ms != NEVER_MS)).sum(axis=1)
        go = repair.admit(np.where(go, s.node_fault_ms, NEVER_MS), laws.crews - busy, NEVER_MS)
    row, node = np.nonzero(go)
    if not len(row):
        return
    if laws.spares >= 0:
        _take_parts(d, row, s.node_fault[row, node].astype(np.int64))
    member, key, draw = luck(d, row, node)
    length_s = repair.length_s(
        laws,
        s.node_fault[row, node].astype(np.int64),
        streams.uniform(s.seed, "repair stage", member, key, draw),
        streams.normal(s.seed, "repair length", member, key, draw),
    )
    s.node_until_ms[row, node] = s.grid_ms + np.ceil(length_s * 1000.0).astype(np.int64)
    d.mark(np.unique(row))


def _with_part(s: State, waiting: Flags, laws: FaultLaws) -> Flags:
    """Which waiting nodes need no part or have one: of each kind as many as lie there, the longest waiting first."""
    there = s.part_back_ms <= s.grid_ms
    out = np.zeros(waiting.shape, dtype=bool)
    for kind in np.unique(s.node_fault[waiting]).astype(np.int64):
        if not laws.needs_part[kind]:
            out |= waiting & (s.node_fault == kind)
            continue
        since = np.where(waiting & (s.node_fault == kind), s.node_fault_ms, NEVER_MS)
        shelf = there[:, kind * laws.spares : (kind + 1) * laws.spares].sum(axis=1)
        out |= repair.admit(since, shelf, NEVER_MS)
    return out


def _take_parts(d: Derived, row: Ints, kind: Ints) -> None:
    """Take one part for each repair; its place on the shelf is filled again after the delivery time."""
    s, laws = d.state, d.site.faults
    back_ms = s.grid_ms + int(laws.restock_s * 1000.0)
    needs = laws.needs_part[kind]
    for r, k in zip(row[needs], kind[needs], strict=True):
        place = slice(int(k) * laws.spares, (int(k) + 1) * laws.spares)
        free = np.flatnonzero(s.part_back_ms[r, place] <= s.grid_ms)
        s.part_back_ms[r, place.start + int(free[0])] = back_ms


def renew(d: Derived, row: Ints, node: Ints) -> None:
    """Give repaired nodes a new life; where the repair only seemed to work the same fault comes back."""
    s, laws = d.state, d.site.faults
    s.node_episode[row, node] += 1
    member, key, draw = luck(d, row, node)
    stays = streams.uniform(s.seed, "repair fails", member, key, draw) < laws.p_repair_fails
    cured = streams.uniform(s.seed, "repair cures", member, key, draw) < laws.p_cure
    s.node_lemon[row, node] &= stays | ~cured
    kind = s.node_fault[row, node].astype(np.int64)
    begin_life(d, row, node)
    join(d, row, node)
    _come_again(d, row[stays], node[stays], kind[stays])


def begin_life(d: Derived, row: Ints, node: Ints) -> None:
    """Nodes are healthy, with a new threshold above what their rack has accrued."""
    s, (member, key, draw) = d.state, luck(d, row, node)
    life = streams.exponential(s.seed, "node life", member, key, draw)
    s.node_fails_at[row, node] = s.rack_hazard[row, d.site.node_rack[node]] + life / scale(d.site, s, row, node)
    s.node_fault[row, node] = HEALTHY
    s.node_onset_ms[row, node] = s.node_fault_ms[row, node] = NEVER_MS


def return_named(d: Derived, rows: Ints, node: int) -> None:
    """A named node that failed is back, as its story says."""
    s = d.state
    rows = rows[s.node_phase[rows, node] == FAILED]
    at = np.full(len(rows), node)
    s.node_phase[rows, node], s.node_until_ms[rows, node] = ON, NEVER_MS
    s.node_episode[rows, node] += 1
    begin_life(d, rows, at)
    join(d, rows, at)
    s.dispatch_due[rows] = True
    d.mark(rows)


def found_up(d: Derived, up: Flags) -> None:
    """Nodes (M, N) that were thought to be off turn out to run: those thought to have failed are healthy."""
    s = d.state
    row, node = np.nonzero(up & (s.node_phase == FAILED))
    s.node_episode[row, node] += 1
    begin_life(d, row, node)
    s.node_until_ms[up] = s.node_fault_ms[up]


def _come_again(d: Derived, row: Ints, node: Ints, kind: Ints) -> None:
    """The cause is still there: it strikes again, with signs as often as the kind gives any."""
    if not len(row):
        return
    s, laws, (member, key, draw) = d.state, d.site.faults, luck(d, row, node)
    return_s = repair.return_s(laws, streams.normal(s.seed, "fault returns", member, key, draw))
    seen = streams.uniform(s.seed, "fault warning", member, key, draw) >= laws.warning_none_frac[kind]
    degrade(s, row, node, kind, s.grid_ms + np.ceil(return_s * 1000.0).astype(np.int64))
    s.node_onset_ms[row[~seen], node[~seen]] = NEVER_MS
