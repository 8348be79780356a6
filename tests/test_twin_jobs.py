"""Jobs in the running twin: placement against brute force, gangs, checkpoints, rework, moves over a shared link."""

from __future__ import annotations

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from twin_stories import MINUTE_MS, T0_MS, tiny

from plant.actions import Action
from plant.power import cap_speed_frac
from twin import effects
from twin import jobs as J
from twin.dispatch import first_fit
from twin.engine import run
from twin.ensemble import make_state
from twin.jobs import Jobs, make_jobs
from twin.state import State

SITE = tiny()
A, B = SITE.hall_ids
HOUR_MS = 60 * MINUTE_MS
LINK_GB_PER_S = float(SITE.link_gb_per_s[0, 1])
STEP_S = 15.0


def table(count: int, **columns: object) -> Jobs:
    columns = {"work_s": np.full(count, 1e12), "arrival_ms": np.full(count, T0_MS), **columns}
    return make_jobs([f"j{i}" for i in range(count)], **columns)


def lasting(jobs: Jobs, members: int = 1) -> State:
    """A state whose nodes neither stop nor fail."""
    s = make_state(SITE, T0_MS, jobs=jobs, members=members)
    s.node_stop_c[...], s.node_fails_at[...] = 500.0, 1e9
    return s


def plan_at(s: State, at_ms: int, *steps: Action) -> None:
    for step in steps:
        effects.schedule(s, step, at_ms)


# --- placement --------------------------------------------------------------------------------

flags = st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=5)


@given(fits=flags, width=st.integers(1, 6))
def test_first_fit_takes_the_first_nodes_row_by_row(fits, width):
    served, nodes = first_fit(np.array(fits), width)
    found = iter(nodes.tolist())
    for row, ok in zip(fits, served.tolist(), strict=True):
        free = [i for i, each in enumerate(row) if each]
        assert ok == (len(free) >= width)
        if ok:
            assert next(found) == free[:width]
    assert next(found, None) is None


def brute_force(s: State, jobs: Jobs) -> list[list[int]]:
    """Place jobs one by one in order of arrival, each on the first nodes that fit; one that does not fit is passed."""
    used = [0.0] * len(SITE.node_ids)
    out: list[list[int]] = []
    for j in range(len(jobs)):
        fits = [
            n
            for n in range(len(used))
            if used[n] + jobs.share_frac[j] <= 1.0 + 1e-9
            and not s.node_cordon[0, n]
            and SITE.node_gpus[n] * jobs.width[j] >= jobs.gpus[j]
            and (jobs.home[j] < 0 or SITE.node_hall[n] == jobs.home[j])
        ]
        chosen = fits[: int(jobs.width[j])] if len(fits) >= jobs.width[j] else []
        for n in chosen:
            used[n] += float(jobs.share_frac[j])
        out.append(chosen)
    return out


one_job = st.tuples(
    st.integers(1, 20), st.sampled_from([0.25, 0.3, 0.5, 1.0]), st.sampled_from([0.0, 4.0, 8.0]), st.integers(-1, 1)
)


@given(rows=st.lists(one_job, min_size=1, max_size=25), cordoned=st.sets(st.integers(0, 31), max_size=12))
@settings(max_examples=examples(60))
def test_the_queue_is_placed_as_brute_force_places_it(rows, cordoned):
    width = np.array([r[0] for r in rows])
    jobs = table(
        len(rows),
        width=width,
        share_frac=np.array([r[1] for r in rows]),
        gpus=width * np.array([r[2] for r in rows]),
        home=np.array([r[3] for r in rows]),
    )
    s = lasting(jobs)
    s.node_cordon[0, sorted(cordoned)] = True
    expected = brute_force(s, jobs)
    run(s, SITE, T0_MS + 15_001)
    start = jobs.slot_start
    for j, nodes in enumerate(expected):
        found = [int(n) for n in s.slot_node[0, start[j] : start[j + 1]] if n >= 0]
        assert found == nodes, j
        assert s.job_phase[0, j] == (J.RUNNING if nodes else J.WAITING)


# --- gangs and caps ---------------------------------------------------------------------------


def test_a_gang_runs_at_the_speed_of_its_slowest_node():
    jobs = table(2, width=np.array([4, 1]), home=np.zeros(2), cap_exponent=np.full(2, 0.75))
    s = lasting(jobs)
    run(s, SITE, T0_MS + 15_001)
    slow = int(s.slot_node[0, 2])
    s.node_cap_frac[0, slow] = 0.6
    s.node_cap_frac[0, int(s.slot_node[0, 1])] = 0.8
    before = s.job_work_s[0].copy()
    run(s, SITE, T0_MS + 15_001 + 600_000)
    peak = SITE.node_peak_kw[[slow]]
    speed = float(cap_speed_frac(peak, 0.6 * peak, peak, np.array([0.75]))[0])
    assert 0.5 < speed < 0.9
    assert s.job_work_s[0] - before == pytest.approx([600.0 * speed, 600.0], rel=1e-12)


def test_a_capped_site_draws_less_and_serves_less():
    free, capped = lasting(table(16, width=np.full(16, 2))), lasting(table(16, width=np.full(16, 2)))
    plan_at(capped, T0_MS + MINUTE_MS, Action.of("cap_power", [A, B], cap_frac=0.6))
    for s in (free, capped):
        run(s, SITE, T0_MS + HOUR_MS)
    assert capped.energy_it_kwh[0] < free.energy_it_kwh[0]
    assert capped.lost_service_s[0] > 0.0
    assert free.lost_service_s[0] == 0.0


# --- checkpoints and rework -------------------------------------------------------------------


def test_a_stop_loses_the_work_since_the_last_checkpoint_and_no_more():
    jobs = table(1, checkpoint_s=np.array([600.0]), restart_s=np.array([120.0]), gpus=np.array([8.0]))
    s = lasting(jobs)
    plan_at(s, T0_MS + 25 * MINUTE_MS, Action.of("requeue", [A, B]))
    run(s, SITE, T0_MS + 25 * MINUTE_MS)
    # a run is half-open: the step that ends at this instant comes before the order, in the next run
    done, saved = float(s.job_work_s[0, 0]) + STEP_S, float(s.job_saved_s[0, 0])
    assert saved == pytest.approx(1200.0, abs=STEP_S)
    assert 0.0 < done - saved < 600.0
    run(s, SITE, T0_MS + 25 * MINUTE_MS + 1)
    assert s.job_work_s[0, 0] == saved
    assert s.lost_service_s[0] == pytest.approx(done - saved)  # the only job: rework counts as full outage
    assert s.lost_gpu_h[0] == pytest.approx((done - saved) * 8.0 / 3600.0)
    run(s, SITE, T0_MS + 40 * MINUTE_MS)
    # placed at the next grid point, then 120 s of restart, then it goes on from its checkpoint
    assert s.job_phase[0, 0] == J.RUNNING
    waited = 15 * 60.0 - (float(s.job_work_s[0, 0]) - saved)
    assert 120.0 <= waited <= 120.0 + 2 * STEP_S
    assert s.lost_service_s[0] == pytest.approx(done - saved + waited, abs=STEP_S + 1e-6)


def test_a_drained_job_stops_at_its_checkpoint_and_loses_nothing():
    s = lasting(table(1, checkpoint_s=np.array([600.0])))
    plan_at(s, T0_MS + 12 * MINUTE_MS, Action.of("cordon", [A, B]), Action.of("drain_at_checkpoint", [A, B]))
    run(s, SITE, T0_MS + 19 * MINUTE_MS)
    assert s.job_phase[0, 0] == J.RUNNING
    run(s, SITE, T0_MS + 22 * MINUTE_MS)
    assert s.job_phase[0, 0] == J.WAITING
    assert s.job_work_s[0, 0] == s.job_saved_s[0, 0] == pytest.approx(1200.0, abs=STEP_S)


def test_a_job_that_is_done_leaves_its_nodes():
    s = lasting(table(2, work_s=np.array([600.0, 600.0]), width=np.array([20, 20])))
    run(s, SITE, T0_MS + 5 * MINUTE_MS)
    assert s.job_phase[0].tolist() == [J.RUNNING, J.WAITING]
    run(s, SITE, T0_MS + 30 * MINUTE_MS)
    assert s.job_phase[0].tolist() == [J.DONE, J.DONE]
    assert (s.slot_node == -1).all()
    assert (s.job_work_s[0] >= 600.0).all()
    assert (s.job_work_s[0] < 600.0 + STEP_S + 1e-9).all()


# --- moves ------------------------------------------------------------------------------------


def moved_after(s: State, at_ms: int, minutes: int) -> list[float]:
    """Seconds from the order to the end of each job's copy."""
    ends: list[float] = [np.nan] * len(s.jobs)
    for grid_ms in range(at_ms + 15_000, at_ms + minutes * MINUTE_MS, 15_000):
        run(s, SITE, grid_ms + 1)
        for j in np.flatnonzero(s.job_phase[0] == J.RESTARTING):
            if np.isnan(ends[j]):
                ends[j] = (grid_ms - at_ms) / 1000.0
    return ends


@pytest.mark.parametrize("concurrent", [1, 2, 3])
def test_moving_takes_bytes_over_a_bandwidth_that_moving_jobs_share(concurrent):
    copy_s = 60.0  # alone on the link
    state_gb = np.full(3, copy_s * LINK_GB_PER_S)
    s = lasting(table(3, state_gb=state_gb, home=np.zeros(3), restart_s=np.full(3, 300.0)))
    at_ms = T0_MS + 5 * MINUTE_MS
    plan_at(s, at_ms, Action.of("migrate", [A], to_hall=B, concurrent=concurrent))
    run(s, SITE, at_ms + 1)
    ends = moved_after(s, at_ms, 10)
    assert s.moved_gb[0] == pytest.approx(state_gb.sum(), rel=1e-12)
    assert (s.job_hall[0] == 1).all()
    assert all(SITE.node_hall[n] == 1 for n in s.slot_node[0])
    # a batch of k jobs shares the link, so it takes k times as long; a batch starts on the grid
    batches = [range(first, min(first + concurrent, 3)) for first in range(0, 3, concurrent)]
    least_s = 0.0
    for number, batch in enumerate(batches):
        least_s += len(batch) * copy_s
        for j in batch:
            assert least_s - 1e-6 <= ends[j] <= least_s + (number + 1) * 2 * STEP_S


def test_a_moved_job_keeps_all_its_work_and_pays_copy_and_restart():
    s = lasting(table(1, state_gb=np.array([30.0 * LINK_GB_PER_S]), home=np.zeros(1), restart_s=np.array([120.0])))
    at_ms = T0_MS + 10 * MINUTE_MS
    plan_at(s, at_ms, Action.of("migrate", [A], to_hall=B, concurrent=1))
    run(s, SITE, at_ms)
    done = float(s.job_work_s[0, 0])
    run(s, SITE, T0_MS + 20 * MINUTE_MS)
    lost = 600.0 - (float(s.job_work_s[0, 0]) - done)
    assert 30.0 + 120.0 <= lost <= 30.0 + 120.0 + 3 * STEP_S
    assert s.lost_service_s[0] == pytest.approx(lost, abs=STEP_S)


@pytest.mark.parametrize("home", [-1, 0])
def test_a_move_to_where_the_job_already_is_ends(home):
    s = lasting(table(1, home=np.array([home]), state_gb=np.array([10.0])))
    everywhere = SITE.region_ids  # a migrate of a hall into itself is refused as an action
    plan_at(s, T0_MS + 5 * MINUTE_MS, Action.of("migrate", everywhere, to_hall=A, concurrent=1))
    run(s, SITE, T0_MS + HOUR_MS)
    assert (s.job_phase[0, 0], s.job_target[0, 0]) == (J.RUNNING, -1)
    assert (s.moved_gb[0], s.lost_service_s[0]) == (0.0, 0.0)


def test_a_job_that_finds_no_place_in_the_other_hall_stays_and_runs():
    s = lasting(table(2, width=np.array([16, 16]), home=np.array([0, 1]), state_gb=np.full(2, 10.0)))
    plan_at(s, T0_MS + 5 * MINUTE_MS, Action.of("migrate", [A], to_hall=B, concurrent=2))
    run(s, SITE, T0_MS + 30 * MINUTE_MS)
    assert (s.job_phase[0] == J.RUNNING).all()
    assert s.moved_gb[0] == 0.0
    assert s.lost_service_s[0] == 0.0
