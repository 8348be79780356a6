"""The kernels of jobs compiled by numba: one pass over the live jobs of a row (twin/kernels.py). No fastmath."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from twin.columns import Floats, Ints, JobColumns
from twin.jobs import DONE, HELD, NOT_ARRIVED, RESTARTING, RUNNING, WAITING
from twin.plain_jobs import HAIR_S, IS_DONE, IS_DRAINED, IS_UP


@njit(cache=True, nogil=True)
def advance_jobs(
    live: Ints, of: JobColumns, dt_s: float, now_ms: int, speed: Floats, job_phase: Any, drain: Any, until_ms: Ints,
    work_out: Floats, saved_out: Floats, saving_gpu_h_out: Floats, event_out: Any,
) -> bool:  # fmt: skip
    """Advance work and saves of the live jobs; say in event_out (M, live) what has happened to them."""
    happened = False
    for row in range(len(event_out)):
        stalled = 0.0
        for k in range(len(live)):
            job = live[k]
            phase, event, saves = job_phase[row, job], 0, False
            work, saved = work_out[row, job] + speed[row, k] * (dt_s * of.pace_frac[job]), saved_out[row, job]
            if phase == RUNNING:
                tau = of.checkpoint_s[job]
                if work - saved >= of.save_due_s[job] - HAIR_S:
                    saves = True
                    count = np.floor((work - saved - of.save_lag_s[job] + HAIR_S) / (tau if tau > 0.0 else 1.0))
                    saved_out[row, job] = saved + count * tau
                    stalled += count * of.stall_gpu_s[job]
                if work >= of.work_s[job]:
                    event = IS_DONE
                elif drain[row, job] and (saves or tau == 0.0):
                    event = IS_DRAINED
            elif phase == RESTARTING and until_ms[row, job] <= now_ms:
                event = IS_UP
            work_out[row, job], event_out[row, k] = work, event
            happened |= event > 0
        saving_gpu_h_out[row] += stalled / 3600.0
    return happened


@njit(cache=True, nogil=True)
def service(
    rows: Ints, live: Ints, job_phase: Any, start_ms: Ints, weight: Floats, gpus: Floats, speed: Floats,
    share: Floats, demand_out: Floats, total_out: Floats, frac_out: Floats, lost_gpus_out: Floats,
) -> None:  # fmt: skip
    """Find what is demanded of the live jobs of some rows and what they give."""
    for i in range(len(rows)):
        row = rows[i]
        total, served, lost = 0.0, 0.0, 0.0
        for k in range(len(live)):
            job = live[k]
            phase = job_phase[row, job]
            queued = phase in (WAITING, HELD) and start_ms[row, job] < 0
            demand = 0.0
            if NOT_ARRIVED < phase < DONE and not queued:
                demand = weight[job]
                served += demand * share[row, k]
                lost += gpus[job] * (1.0 - speed[row, k])
            total += demand
            demand_out[row, k] = demand
        total_out[row] = total if total > 0.0 else 1.0
        frac_out[row] = served / total if total > 0.0 else 1.0
        lost_gpus_out[row] = lost
