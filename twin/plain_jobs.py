"""The kernels of jobs in plain NumPy: work and saves of a step, service given (twin/kernels.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from twin.columns import Floats, Ints, JobColumns
from twin.jobs import DONE, HELD, NOT_ARRIVED, RESTARTING, RUNNING, WAITING

HAIR_S = 1e-6  # work is a sum of steps: an interval that is complete but for its rounding is complete
IS_DONE, IS_DRAINED, IS_UP = 1, 2, 4


def advance_jobs(
    live: Ints, of: JobColumns, dt_s: float, now_ms: int, speed: Floats, job_phase: Any, drain: Any, until_ms: Ints,
    work_out: Floats, saved_out: Floats, saving_gpu_h_out: Floats, event_out: Any,
) -> bool:  # fmt: skip
    """Advance work and saves of the live jobs; say in event_out (M, live) what has happened to them."""
    phase = job_phase[:, live]
    running = phase == RUNNING
    work, saved = work_out[:, live] + speed * (dt_s * of.pace_frac[live]), saved_out[:, live]
    save = running & (work - saved >= of.save_due_s[live] - HAIR_S)
    tau = of.checkpoint_s[live]
    whole = np.floor((work - saved - of.save_lag_s[live] + HAIR_S) / np.where(tau > 0.0, tau, 1.0))
    count = np.where(save, whole, 0.0)
    work_out[:, live], saved_out[:, live] = work, saved + count * tau
    if len(live):
        stalled = count * of.stall_gpu_s[live]
        saving_gpu_h_out += np.ascontiguousarray(np.cumsum(stalled, axis=1)[:, -1]) / 3600.0
    done = running & (work >= of.work_s[live])
    drained = (save | (running & (tau == 0.0))) & drain[:, live] & ~done
    up = (phase == RESTARTING) & (until_ms[:, live] <= now_ms)
    event_out[...] = done * IS_DONE + drained * IS_DRAINED + up * IS_UP
    return bool(event_out.any())


def service(
    rows: Ints, live: Ints, job_phase: Any, start_ms: Ints, weight: Floats, gpus: Floats, speed: Floats,
    share: Floats, demand_out: Floats, total_out: Floats, frac_out: Floats, lost_gpus_out: Floats,
) -> None:  # fmt: skip
    """Find what is demanded of the live jobs of some rows and what they give.

    Queueing is not an outage, nor is a hold in the queue: a job counts from its first start on, and while it is
    interrupted. Jobs are added one after another: those that live only in other members add nothing, not a rounding.
    """
    phase, begun = job_phase[rows][:, live], start_ms[rows][:, live] >= 0
    in_queue = (phase == WAITING) | (phase == HELD)
    asked = (phase > NOT_ARRIVED) & (phase < DONE) & (~in_queue | begun)
    demand = np.where(asked, weight[live], 0.0)
    lost = np.where(asked, gpus[live], 0.0) * (1.0 - speed[rows])
    total, served, gone = (_in_order(values) for values in (demand, demand * share[rows], lost))
    demand_out[rows], lost_gpus_out[rows] = demand, gone
    safe = np.where(total > 0.0, total, 1.0)
    total_out[rows], frac_out[rows] = safe, np.where(total > 0.0, served / safe, 1.0)


def _in_order(values: Floats) -> Floats:
    return np.cumsum(values, axis=1)[:, -1] if values.shape[1] else np.zeros(len(values))
