"""What happens to jobs after each step: they advance, save, drain, start again and finish (rule 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin import jobs as J
from twin.derived import Derived
from twin.dispatch import Dispatcher
from twin.moves import advance_moves
from twin.occupancy import sum_in_order
from twin.placement import release
from twin.services import count_services

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
HAIR_S = 1e-6  # steps add up rounded: an interval counts as whole this much before it is
SERVICE_LIMIT_FRAC = 0.9  # below this share of demanded service the indicator is outside its limit


def note_service(d: Derived) -> None:
    """Remember when service was last below its limit."""
    s = d.state
    s.low_service_ms[s.service_frac < SERVICE_LIMIT_FRAC] = s.grid_ms


def cross_jobs(d: Derived, dt_s: float, choose: Dispatcher) -> None:
    """Advance work, save, drain, move, restart and finish jobs."""
    s = d.state
    if not len(d.live):
        return
    live = d.live
    # saves slow a job down and cut no step; a synchronous one is complete when its interval of work is, at that pace
    work = s.job_work_s.take(live, axis=1) + d.speed * (dt_s * d.pace_frac[live])
    saved = s.job_saved_s.take(live, axis=1)
    running = d.live_phase == J.RUNNING
    save = running & (work - saved >= d.save_due_s[live] - HAIR_S)
    if save.any():
        saved = _save(d, save, work, saved)
    s.job_work_s[:, live], s.job_saved_s[:, live] = work, saved
    done = running & (work >= s.jobs.work_s[live])
    drained = (save | (running & (s.jobs.checkpoint_s[live] == 0.0))) & s.job_drain.take(live, axis=1) & ~done
    up = (d.live_phase == J.RESTARTING) & (s.job_until_ms.take(live, axis=1) <= s.grid_ms)
    count_services(d, dt_s)
    if done.any():
        _finish(d, *_pairs(d, done))
    if drained.any():
        _drain(d, *_pairs(d, drained))
    if up.any():
        row, column = np.nonzero(up)
        s.job_phase[row, live[column]] = J.RUNNING
        d.mark(row, load=True)
    advance_moves(d, dt_s, choose)


def _save(d: Derived, save: Flags, work: Floats, saved: Floats) -> Floats:
    """Return the work in the last complete save (M, live): whole intervals, not what a step did beyond them."""
    tau = d.state.jobs.checkpoint_s[d.live]
    count = np.where(
        save, np.floor((work - saved - d.save_lag_s[d.live] + HAIR_S) / np.where(tau > 0.0, tau, 1.0)), 0.0
    )
    d.state.saving_gpu_h[...] += sum_in_order(count * (d.stall_s * d.state.jobs.gpus)[d.live]) / 3600.0
    return saved + count * tau


def _pairs(d: Derived, flags: Flags) -> tuple[Ints, Ints]:
    """Return flagged places (M, live) as pairs (row, job)."""
    row, column = np.nonzero(flags)
    return row, d.live[column]


def _finish(d: Derived, row: Ints, job: Ints) -> None:
    d.state.job_phase[row, job] = J.DONE
    release(d, row, job)
    d.mark(row, live=True)


def _drain(d: Derived, row: Ints, job: Ints) -> None:
    d.state.job_phase[row, job] = J.WAITING
    d.state.job_drain[row, job] = False
    # it stops with this save: what the step did beyond it is saved too, what an asynchronous one lags behind is not
    saved = np.maximum(J.saved_s(d.state, row, job), d.state.job_work_s[row, job] - d.save_lag_s[job])
    d.state.job_work_s[row, job] = d.state.job_saved_s[row, job] = saved
    release(d, row, job)
