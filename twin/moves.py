"""Jobs that move to another hall: they wait for their turn and for room; the copy itself is in `twin/copying.py`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin import jobs as J
from twin.copying import advance_copies, begin_copy
from twin.derived import Derived
from twin.dispatch import Dispatcher
from twin.placement import place

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]


def advance_moves(d: Derived, dt_s: float, choose: Dispatcher) -> None:
    """Copy what is under way, then start moves that wait while there is room for them."""
    s = d.state
    live = d.live
    target = s.job_target.take(live, axis=1)
    if (target < 0).all():
        return
    phase, ahead = s.job_phase.take(live, axis=1), s.job_ahead.take(live, axis=1)
    copying = (phase == J.MOVING) | ahead
    count = copying.sum(axis=1)
    wants = (target >= 0) & ~ahead & ((phase == J.RUNNING) | (phase == J.WAITING))
    if copying.any():
        advance_copies(d, copying, target, dt_s)
    if wants.any():
        source = _sources(d)
        wants &= ~_drop_idle_moves(d, wants, source, target)
        _start_moves(d, wants, source, target, s.move_limit - count, choose)


def _sources(d: Derived) -> Ints:
    """Return the hall that holds each live job's state (M, live): its home, else where it runs; -1 where neither."""
    s, live = d.state, d.live
    home = s.job_hall.take(live, axis=1)
    node = s.slot_node.take(d.slot_start[live], axis=1)
    return np.where(home >= 0, home, np.where(node >= 0, d.layout.node_hall[np.maximum(node, 0)], -1))


def _drop_idle_moves(d: Derived, wants: Flags, source: Ints, target: Ints) -> Flags:
    """Forget moves to where the job already is (it is done) and to where no link leads (it stays); return which."""
    linked = d.site.link_gb_per_s[np.maximum(source, 0), np.maximum(target, 0)] > 0.0
    idle = wants & (source >= 0) & ((source == target) | ~linked)
    row, column = np.nonzero(idle)
    d.state.job_target[row, d.live[column]] = -1
    return np.asarray(idle)


def _start_moves(
    d: Derived,
    wants: Flags,
    source: Ints,
    target: Ints,
    room: Ints,
    choose: Dispatcher,
) -> None:
    """Start the most important moves first while there is room for concurrent ones; a job that finds no place stays."""
    s = d.state
    order = np.argsort(-s.jobs.priority[d.live], kind="stable")
    ranked = wants[:, order]
    go = np.zeros_like(wants)
    go[:, order] = ranked & (np.cumsum(ranked, axis=1) <= room[:, None])
    for column in order[go[:, order].any(axis=0)]:
        rows, job = np.flatnonzero(go[:, column]), int(d.live[column])
        _start_move(d, job, rows, source[rows, column], target[rows, column], choose)


def _start_move(d: Derived, job: int, rows: Ints, source: Ints, halls: Ints, choose: Dispatcher) -> None:
    """Take a place in the target hall and begin to copy in the rows where there is one; elsewhere the job stays.

    A job that is copied ahead keeps its nodes meanwhile, and the new ones stand in `node_kept_by`.
    """
    s = d.state
    first, last = int(d.slot_start[job]), int(d.slot_start[job + 1])
    old = s.slot_node[rows, first:last].copy()
    got, _ = place(d, job, rows, halls, choose, moved=True)
    there = np.isin(rows, got)
    s.slot_node[rows[~there], first:last] = old[~there]
    s.job_target[rows[~there], job] = -1
    if not len(got):
        return
    begin_copy(d, job, got, source[there], halls[there])
    stays = s.job_ahead[got, job]
    kept = got[stays]
    s.node_kept_by[kept[:, None], s.slot_node[kept, first:last]] = job
    s.slot_node[kept, first:last] = old[there][stays]
