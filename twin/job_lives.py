"""What happens to jobs after each step: they advance, save, drain, start again and finish (rule 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin import jobs as J
from twin.derived import Derived
from twin.dispatch import Dispatcher
from twin.moves import advance_moves
from twin.placement import release
from twin.plain_jobs import IS_DONE, IS_DRAINED, IS_UP
from twin.services import count_services

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
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
    # saves slow a job down and cut no step; a synchronous one is complete when its interval of work is, at that pace
    event = np.empty(d.live_phase.shape, dtype=np.int8)
    happened = d.kernels.advance_jobs(
        d.live, d.job_columns, dt_s, s.grid_ms, d.speed, s.job_phase, s.job_drain, s.job_until_ms, s.job_work_s,
        s.job_saved_s, s.saving_gpu_h, event,
    )  # fmt: skip
    count_services(d, dt_s)
    if happened:
        _finish(d, *_pairs(d, event == IS_DONE))
        _drain(d, *_pairs(d, event == IS_DRAINED))
        _come_up(d, *_pairs(d, event == IS_UP))
    advance_moves(d, dt_s, choose)


def _pairs(d: Derived, flags: Flags) -> tuple[Ints, Ints]:
    """Return flagged places (M, live) as pairs (row, job)."""
    row, column = np.nonzero(flags)
    return row, d.live[column]


def _come_up(d: Derived, row: Ints, job: Ints) -> None:
    d.state.job_phase[row, job] = J.RUNNING
    if len(row):
        d.mark(row, load=True)


def _finish(d: Derived, row: Ints, job: Ints) -> None:
    if not len(row):
        return
    d.state.job_phase[row, job] = J.DONE
    release(d, row, job)
    d.mark(row, live=True)


def _drain(d: Derived, row: Ints, job: Ints) -> None:
    if not len(row):
        return
    d.state.job_phase[row, job] = J.WAITING
    d.state.job_drain[row, job] = False
    # it stops with this save: what the step did beyond it is saved too, what an asynchronous one lags behind is not
    saved = np.maximum(J.saved_s(d.state, row, job), d.state.job_work_s[row, job] - d.save_lag_s[job])
    d.state.job_work_s[row, job] = d.state.job_saved_s[row, job] = saved
    release(d, row, job)
