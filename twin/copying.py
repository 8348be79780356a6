"""Copies of jobs between halls, advanced over one step: bytes flow, rounds end, jobs stop and go on at the other end.

A job copied ahead works on where it is and keeps nodes at the other end; it stops for the last round only. What it then
stands still is charged to the millisecond, whatever the step (`plant/migration.py` has the law and its closed form).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import migration
from twin import jobs as J
from twin.derived import Derived
from twin.fabric import moves_gb_per_s
from twin.placement import keep_no_more

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]


def advance_copies(d: Derived, copying: Flags, target: Ints, dt_s: float) -> None:
    """Send what copies under way (M, live) get through in this step over the links that they share."""
    s, t, live = d.state, d.state.jobs, d.live
    source = s.job_hall.take(live, axis=1)
    rate = moves_gb_per_s(d.fabric, copying, source, target, t.width[live])
    row, column = np.nonzero(copying)
    job = live[column]
    stopped = s.job_phase[row, job] == J.MOVING
    before = migration.Copy(s.job_copy_gb[row, job], s.job_dirty_gb[row, job], s.job_round[row, job], stopped)
    dirty = t.dirty_gb_per_s[job] * d.speed[row, column]
    after = migration.advance(before, rate[row, column], dirty, t.state_gb[job], dt_s)
    s.job_copy_gb[row, job], s.job_dirty_gb[row, job] = after.now.left_gb, after.now.dirty_gb
    s.job_round[row, job] = after.now.round
    np.add.at(s.moved_gb, row, after.sent_gb)
    _charge(d, row, column, stopped, after, dt_s)
    halt = after.now.stopped & ~stopped
    if halt.any():
        _halt(d, row[halt], job[halt])
    if after.done.any():
        _arrive(d, row[after.done], job[after.done], after.spare_s[after.done])


def _charge(d: Derived, row: Ints, column: Ints, stopped: Flags, after: migration.Copied, dt_s: float) -> None:
    """Correct the step of jobs copied ahead for the time they stood still in it; the flows know whole steps only."""
    s, t, job = d.state, d.state.jobs, d.live[column]
    ahead = (s.job_mode[row, job] == migration.PRE_COPY) & (after.now.round > 0)
    stood_s = after.still_s + np.where(after.done, migration.RESUME_S, 0.0)
    charged_s = np.where(stopped, dt_s, 0.0)
    more_s = np.where(ahead & ((after.now.stopped & ~stopped) | after.done), stood_s - charged_s, 0.0)
    if more_s.any():
        np.add.at(s.lost_service_s, row, more_s * d.weight[job] / d.demand_total[row])
        np.add.at(s.lost_gpu_h, row, more_s * t.gpus[job] / 3600.0)
        speed = np.where(stopped, 1.0, d.speed[row, column]) * d.pace_frac[job]
        s.job_work_s[row, job] = np.maximum(s.job_work_s[row, job] - more_s * speed, s.job_saved_s[row, job])


def _halt(d: Derived, row: Ints, job: Ints) -> None:
    """Stop jobs copied ahead: they leave their nodes for those kept for them; their state as it is goes along."""
    s = d.state
    for r, j in zip(row.tolist(), job.tolist(), strict=True):
        s.slot_node[r, d.slot_start[j] : d.slot_start[j + 1]] = np.flatnonzero(s.node_kept_by[r] == j)
    keep_no_more(d, row, job)
    s.job_phase[row, job] = J.MOVING
    s.job_saved_s[row, job] = s.job_work_s[row, job]
    s.dispatch_due[row] = True
    d.mark(row, load=True)


def _arrive(d: Derived, row: Ints, job: Ints, spare_s: Floats) -> None:
    """The last byte is there: a job copied ahead goes on, another starts again from its state or its checkpoint."""
    s, t = d.state, d.state.jobs
    resumed = (s.job_mode[row, job] == migration.PRE_COPY) & (s.job_round[row, job] > 0)
    s.job_phase[row, job] = np.where(resumed, J.RUNNING, J.RESTARTING)
    s.job_until_ms[row, job] = s.grid_ms + ((t.restart_s[job] - spare_s) * 1000).astype(np.int64)
    s.job_hall[row, job] = s.job_target[row, job]
    s.job_target[row, job] = -1
    d.mark(row, load=True)


def begin_copy(d: Derived, job: int, rows: Ints, source: Ints, halls: Ints) -> None:
    """Begin to copy a job that got its place in the other hall, out of the hall that holds its state (-1: nowhere)."""
    s, t = d.state, d.state.jobs
    was_running = s.job_phase[rows, job] == J.RUNNING
    mode = np.asarray(s.job_mode[rows, job], dtype=np.int64)
    link = d.site.link_gb_per_s[np.maximum(source, 0), halls]
    ahead = was_running & (mode == migration.PRE_COPY) & migration.converges(link, t.dirty_gb_per_s[job])
    size = migration.to_send_gb(t.state_gb[job], mode, t.replicated_frac[job])
    s.job_copy_gb[rows, job] = np.where(source >= 0, size, 0.0)
    s.job_dirty_gb[rows, job], s.job_round[rows, job] = 0.0, 0
    s.job_hall[rows, job] = source  # the copy is read from here
    s.job_drain[rows, job] = False
    s.job_ahead[rows, job] = ahead
    _stop(d, rows[~ahead], job, was_running[~ahead], mode[~ahead])
    d.mark(rows, load=True)


def _stop(d: Derived, rows: Ints, job: int, was_running: Flags, mode: Ints) -> None:
    """Stop a job for its copy: its state is saved first, unless it starts again from a checkpoint it has."""
    s, jobs = d.state, np.full(len(rows), job)
    kept = J.saved_s(s, rows, jobs)
    work = s.job_work_s[rows, job]
    saved = np.where(was_running & (mode != migration.RESTART), work, kept)
    lost_s = np.where(was_running, work - saved, 0.0)
    np.add.at(s.lost_service_s, rows, lost_s * d.weight[job] / d.demand_total[rows])
    np.add.at(s.lost_gpu_h, rows, lost_s * s.jobs.gpus[job] / 3600.0)
    s.job_work_s[rows, job] = s.job_saved_s[rows, job] = saved
    s.job_phase[rows, job] = J.MOVING
    s.dispatch_due[rows] = True
