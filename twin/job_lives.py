"""What happens to jobs after each step: they advance, save, drain, start again and finish (rule 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin import jobs as J
from twin.derived import Derived
from twin.dispatch import Dispatcher
from twin.moves import advance_moves
from twin.placement import release

Flags = NDArray[np.bool_]
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
    work = s.job_work_s.take(live, axis=1) + d.speed * dt_s
    saved = s.job_saved_s.take(live, axis=1)
    running = d.live_phase == J.RUNNING
    save = running & (work - saved >= s.jobs.checkpoint_s[live])
    saved = np.where(save, work, saved)
    s.job_work_s[:, live], s.job_saved_s[:, live] = work, saved
    done = running & (work >= s.jobs.work_s[live])
    drained = save & s.job_drain.take(live, axis=1) & ~done
    up = (d.live_phase == J.RESTARTING) & (s.job_until_ms.take(live, axis=1) <= s.grid_ms)
    if done.any():
        _each(d, done, _finish)
    if drained.any():
        _each(d, drained, _drain)
    if up.any():
        row, column = np.nonzero(up)
        s.job_phase[row, live[column]] = J.RUNNING
        d.mark(row, load=True)
    advance_moves(d, dt_s, choose)


def _each(d: Derived, flags: Flags, act: object) -> None:
    for column in np.flatnonzero(flags.any(axis=0)):
        act(d, int(d.live[column]), np.flatnonzero(flags[:, column]))  # type: ignore[operator]


def _finish(d: Derived, job: int, rows: NDArray[np.int64]) -> None:
    d.state.job_phase[rows, job] = J.DONE
    release(d, job, rows)
    d.mark(rows, live=True)


def _drain(d: Derived, job: int, rows: NDArray[np.int64]) -> None:
    d.state.job_phase[rows, job] = J.WAITING
    d.state.job_drain[rows, job] = False
    release(d, job, rows)
