"""Checkpoints in the running twin: what saving costs, what a stop loses, and the Young-Daly law."""

from __future__ import annotations

import json

import numpy as np
import pytest
from twin_stories import MINUTE_MS, T0_MS, tiny

from plant import checkpoint, streams
from plant.actions import Action
from twin import effects
from twin import jobs as J
from twin.engine import run
from twin.ensemble import make_state
from twin.jobs import Jobs, make_jobs
from twin.state import State

SITE = tiny()
A, B = SITE.hall_ids
HOUR_S = 3600.0
STEP_S = 15.0


def one(tau_s: float, save_s: float, asynchronous: bool = False, **more: object) -> Jobs:
    return make_jobs(
        ["train"], arrival_ms=np.array([T0_MS]), work_s=np.array([J.ENDLESS_WORK_S]), checkpoint_s=np.array([tau_s]),
        save_s=np.array([save_s]), save_async=np.array([asynchronous]), gpus=np.array([8.0]), **more,
    )  # fmt: skip


def living(jobs: Jobs, members: int = 1) -> State:
    s = make_state(SITE, T0_MS, jobs=jobs, members=members)
    s.node_stop_c[...], s.node_fails_at[...] = 500.0, 1e9
    return run(s, SITE, T0_MS + 15_001)


def test_an_interval_takes_its_work_and_its_save():
    s = living(one(600.0, 60.0))
    run(s, SITE, T0_MS + int(5 * 660e3) + 15_001)
    assert s.job_work_s[0, 0] == pytest.approx(5 * 600.0)
    assert s.job_saved_s[0, 0] == pytest.approx(5 * 600.0, abs=STEP_S)
    assert s.saving_gpu_h[0] == pytest.approx(5 * 60.0 * 8.0 / HOUR_S)
    assert s.lost_service_s[0] == s.lost_gpu_h[0] == 0.0  # saving is a habit of the job, no outage


def test_saves_at_no_cost_cost_nothing():
    s = living(one(600.0, 0.0))
    run(s, SITE, T0_MS + 3_600_000 + 15_001)
    assert s.job_work_s[0, 0] == pytest.approx(3600.0, rel=1e-12)
    assert s.saving_gpu_h[0] == 0.0


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("after_s", [1290.0, 1350.0, 1500.0])
def test_a_stop_falls_back_to_the_last_save_that_is_complete(asynchronous, after_s):
    tau, save = 600.0, 90.0
    s = living(one(tau, save, asynchronous))
    run(s, SITE, T0_MS + int(after_s * 1000) + 15_001)
    # a synchronous save is complete at k (tau + save); an asynchronous one about save after the k-th tau of work
    cycle = tau + float(checkpoint.stall_s(save, asynchronous))
    complete = int((after_s - float(checkpoint.lag_s(save, asynchronous)) + 1e-6) // cycle)
    assert s.job_saved_s[0, 0] == pytest.approx(complete * tau, abs=2 * STEP_S)
    done = float(s.job_work_s[0, 0])
    assert done == pytest.approx(after_s * tau / cycle, rel=1e-9)
    effects.schedule(s, Action.of("requeue", [A, B]), s.now_ms)
    run(s, SITE, s.now_ms + 1)
    assert s.job_work_s[0, 0] == s.job_saved_s[0, 0]
    assert s.lost_gpu_h[0] == pytest.approx((done - float(s.job_saved_s[0, 0])) * 8.0 / HOUR_S)


def test_a_drained_job_with_asynchronous_saves_goes_on_from_its_save():
    s = living(one(600.0, 120.0, True))
    for step in (Action.of("cordon", [A, B]), Action.of("drain_at_checkpoint", [A, B])):
        effects.schedule(s, step, T0_MS + 5 * MINUTE_MS)
    run(s, SITE, T0_MS + 11 * MINUTE_MS)
    assert s.job_phase[0, 0] == J.RUNNING  # the save that began at 10 min is not complete yet
    run(s, SITE, T0_MS + 13 * MINUTE_MS)
    assert s.job_phase[0, 0] == J.WAITING
    assert s.job_work_s[0, 0] == s.job_saved_s[0, 0] == pytest.approx(600.0, abs=STEP_S)
    assert s.lost_gpu_h[0] <= 60.0 * 8.0 / HOUR_S  # only the time it has waited in the queue since


def test_a_drained_job_that_is_interrupted_does_not_drain_again():
    s = living(one(600.0, 0.0, restart_s=np.array([30.0])))
    effects.schedule(s, Action.of("drain_at_checkpoint", [A, B]), T0_MS + 2 * MINUTE_MS)
    effects.schedule(s, Action.of("requeue", [A, B]), T0_MS + 4 * MINUTE_MS)
    run(s, SITE, T0_MS + 8 * MINUTE_MS)
    assert s.job_phase[0, 0] == J.RUNNING
    assert not s.job_drain[0, 0]
    run(s, SITE, T0_MS + 40 * MINUTE_MS)
    assert s.job_phase[0, 0] == J.RUNNING
    assert s.job_work_s[0, 0] > 30 * 60.0


def fail_often(s: State, mtbf_s: float, hours: float) -> int:
    """Stop the job of each member at exponential times; return how many stops there are."""
    text = json.dumps(Action.of("requeue", [A, B]).as_dict(), sort_keys=True)
    count = 0
    for row in range(s.members):
        at_s = 0.0
        for k in range(1000):
            at_s += mtbf_s * float(streams.exponential(3, "test failures", row, 1, k))
            if at_s > hours * HOUR_S:
                break
            s.agenda.add(s.now_ms + int(at_s * 1000), "action", A, "start", {"step": text}, (row,))
            count += 1
    return count


def test_useful_work_under_failures_is_what_young_and_daly_say_within_2_percent():
    mtbf, save, restart, hours, members = 1200.0, 20.0, 40.0, 8.0, 24
    tau = float(checkpoint.young_daly_s(save, mtbf))
    s = living(one(tau, save, restart_s=np.array([restart])), members)
    begin, begin_ms = s.job_work_s.copy(), s.now_ms
    assert fail_often(s, mtbf, hours) > 500
    run(s, SITE, begin_ms + int(hours * 3600e3))
    found = float((s.job_saved_s - begin).mean()) / (hours * HOUR_S)
    # it is placed again on the grid: half a step passes before, and half after the restart is over
    expected = float(checkpoint.efficiency_frac(tau, save, mtbf, restart + STEP_S))
    assert found == pytest.approx(expected, rel=0.02)
