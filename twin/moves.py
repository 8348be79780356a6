"""Jobs that move to another hall: they wait for room, copy their state over a shared link, and start again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin import jobs as J
from twin.derived import Derived
from twin.dispatch import Dispatcher
from twin.fabric import moves_gb_per_s
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
    phase = s.job_phase.take(live, axis=1)
    moving = phase == J.MOVING
    count = moving.sum(axis=1)
    if moving.any():
        _copy(d, moving, target, dt_s)
    wants = (target >= 0) & ((phase == J.RUNNING) | (phase == J.WAITING))
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


def _copy(d: Derived, moving: Flags, target: Ints, dt_s: float) -> None:
    """Copy state over the links between the halls, shared alike by the jobs that move the same way."""
    s, live = d.state, d.live
    source = s.job_hall.take(live, axis=1)
    gb_per_s = moves_gb_per_s(d.fabric, moving, source, target, s.jobs.width[live])
    left = s.job_copy_gb.take(live, axis=1)
    step = np.where(moving, np.minimum(left, gb_per_s * dt_s), 0.0)
    s.moved_gb[...] += step.sum(axis=1)
    left = left - step
    s.job_copy_gb[:, live] = left
    row, column = np.nonzero(moving & (left <= 0.0))
    if len(row):
        jobs = live[column]
        s.job_phase[row, jobs] = J.RESTARTING
        s.job_until_ms[row, jobs] = s.grid_ms + (s.jobs.restart_s[jobs] * 1000).astype(np.int64)
        s.job_hall[row, jobs] = s.job_target[row, jobs]
        s.job_target[row, jobs] = -1
        d.mark(row, load=True)


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
        got = _start_move(d, job, rows, target[rows, column], choose)
        # the copy is read from here; state that lies nowhere yet (no home, never placed) need not be copied
        held = source[got, column]
        s.job_hall[got, job] = held
        s.job_copy_gb[got, job] = np.where(held >= 0, s.jobs.state_gb[job], 0.0)


def _start_move(d: Derived, job: int, rows: Ints, halls: Ints, choose: Dispatcher) -> Ints:
    """Stop the job, save it, and reserve its place in the target hall; return the rows where it found one."""
    s = d.state
    first, last = int(d.slot_start[job]), int(d.slot_start[job + 1])
    old = s.slot_node[rows, first:last].copy()
    got, _ = place(d, job, rows, halls, choose)
    missed = ~np.isin(rows, got)
    s.slot_node[rows[missed], first:last] = old[missed]
    s.job_target[rows[missed], job] = -1
    if not len(got):
        return got
    was_running = s.job_phase[got, job] == J.RUNNING
    saved = np.where(was_running, s.job_work_s[got, job], J.saved_s(s, got, np.full(len(got), job)))
    s.job_work_s[got, job] = s.job_saved_s[got, job] = saved
    s.job_phase[got, job] = J.MOVING
    s.job_drain[got, job] = False
    s.dispatch_due[got] = True
    d.mark(got, load=True)
    return got
