"""Ways to move a running job: the twin's copy keeps the closed form, every byte, and every second of standing still."""

from __future__ import annotations

import numpy as np
import pytest
from twin_stories import MINUTE_MS, T0_MS, tiny

from plant import migration as M
from plant.actions import Action
from plant.errors import PlanRejected
from twin import effects, snapshot
from twin import jobs as J
from twin.engine import run
from twin.ensemble import make_state
from twin.jobs import Jobs, make_jobs
from twin.state import State

SITE = tiny()
A, B = SITE.hall_ids
LINK_GB_PER_S = float(SITE.link_gb_per_s[0, 1])
ORDER_MS = T0_MS + 5 * MINUTE_MS


def table(count: int, size_s: float, dirty: float, **more: object) -> Jobs:
    """Jobs of one node in hall A whose state takes size_s alone on the link, rewritten at `dirty` of its bandwidth."""
    return make_jobs(
        [f"j{i}" for i in range(count)],
        arrival_ms=np.full(count, T0_MS),
        work_s=np.full(count, J.ENDLESS_WORK_S),
        home=np.zeros(count),
        restart_s=np.full(count, 120.0),
        state_gb=np.full(count, size_s * LINK_GB_PER_S),
        dirty_gb_per_s=np.full(count, dirty * LINK_GB_PER_S),
        gpus=np.full(count, 8.0),
        **more,
    )


def ordered(jobs: Jobs, mode: str | None, *, members: int = 1, step_ms: int = 1000, concurrent: int = 1) -> State:
    s = make_state(SITE, T0_MS, jobs=jobs, members=members)
    s.node_stop_c[...], s.node_fails_at[...] = 500.0, 1e9
    s.step_ms = step_ms
    how = {} if mode is None else {"mode": mode}
    effects.schedule(s, Action.of("migrate", [A], to_hall=B, concurrent=concurrent, **how), ORDER_MS)
    return run(s, SITE, ORDER_MS + 1)


def landed_s(s: State, job: int = 0, limit_s: int = 900) -> float:
    """Seconds from the order until the job's data is in the other hall."""
    begin = s.now_ms
    for _ in range(limit_s):
        if s.job_hall[0, job] == 1:
            return (s.now_ms - begin) / 1000.0
        run(s, SITE, s.now_ms + s.step_ms)
    raise AssertionError("the job does not land")


@pytest.mark.parametrize(
    "dirty", [0.7, pytest.param(0.3, marks=pytest.mark.slow), pytest.param(0.0, marks=pytest.mark.slow)]
)
def test_a_pre_copy_in_the_twin_is_the_closed_form_within_2_percent(dirty):
    size_s = 60.0
    s = ordered(table(1, size_s, dirty), "pre_copy")
    took = landed_s(s)
    n = int(M.rounds_before_stop(size_s * LINK_GB_PER_S, LINK_GB_PER_S, dirty * LINK_GB_PER_S))
    expected = float(M.total_s(size_s, 1.0, dirty, n))
    assert took == pytest.approx(expected, rel=0.02, abs=2.0)  # it begins and ends on a grid of 1 s
    assert s.moved_gb[0] == pytest.approx(expected * LINK_GB_PER_S, rel=1e-9)  # bytes are conserved
    down = float(M.downtime_s(size_s, 1.0, dirty, n))
    assert s.lost_service_s[0] == pytest.approx(down, rel=0.02)
    assert s.lost_gpu_h[0] == pytest.approx(down * 8.0 / 3600.0, rel=0.02)
    assert s.job_phase[0, 0] == J.RUNNING
    assert all(SITE.node_hall[i] == 1 for i in s.slot_node[0])
    assert (s.node_kept_by == -1).all()
    assert not s.job_ahead.any()


@pytest.mark.parametrize("step_ms", [15_000, pytest.param(5_000, marks=pytest.mark.slow)])
def test_the_step_changes_neither_bytes_nor_downtime_of_a_pre_copy(step_ms):
    fine, coarse = (ordered(table(1, 100.0, 0.5), "pre_copy", step_ms=ms) for ms in (1000, step_ms))
    for s in (fine, coarse):
        run(s, SITE, ORDER_MS + 8 * MINUTE_MS)
        assert s.job_hall[0, 0] == 1
    assert coarse.moved_gb[0] == pytest.approx(fine.moved_gb[0], rel=1e-9)
    assert coarse.lost_service_s[0] == pytest.approx(fine.lost_service_s[0], abs=1e-6)
    idle = [(s.grid_ms - s.job_start_ms[0, 0]) / 1000.0 - s.job_work_s[0, 0] for s in (fine, coarse)]
    assert idle[1] == pytest.approx(idle[0], abs=1e-6)
    assert idle[0] == pytest.approx(fine.lost_service_s[0], abs=1e-6)


def test_a_job_copied_ahead_works_and_heats_where_it_is_and_keeps_its_place_elsewhere():
    s = ordered(table(1, 300.0, 0.5), "pre_copy", step_ms=15_000)
    run(s, SITE, ORDER_MS + 2 * MINUTE_MS)
    assert s.job_ahead[0, 0]
    assert s.job_phase[0, 0] == J.RUNNING
    assert SITE.node_hall[s.slot_node[0, 0]] == 0
    kept = int(np.flatnonzero(s.node_kept_by[0] == 0)[0])
    assert SITE.node_hall[kept] == 1
    assert s.lost_service_s[0] == 0.0
    from twin.engine import Engine

    d = Engine(s, SITE).derived
    assert d.used_frac[0, kept] == 1.0
    assert d.util_frac[0, kept] == 0.0


def test_stop_and_copy_stands_still_from_the_first_byte_to_the_end_of_the_restart():
    s = ordered(table(1, 60.0, 0.0), "stop_and_copy")
    assert landed_s(s) == pytest.approx(60.0, abs=3.0)
    run(s, SITE, ORDER_MS + 10 * MINUTE_MS)
    assert s.lost_service_s[0] == pytest.approx(60.0 + 120.0, abs=4.0)
    assert s.moved_gb[0] == pytest.approx(60.0 * LINK_GB_PER_S)


def test_pre_copy_of_a_job_that_dirties_faster_than_the_link_falls_back():
    stop, ahead = (ordered(table(1, 60.0, 1.5), mode) for mode in ("stop_and_copy", "pre_copy"))
    for s in (stop, ahead):
        run(s, SITE, ORDER_MS + 10 * MINUTE_MS)
    assert ahead.moved_gb[0] == stop.moved_gb[0]
    assert ahead.lost_service_s[0] == stop.lost_service_s[0]


def test_a_restart_sends_what_no_replica_holds_and_loses_the_work_since_the_save():
    s = ordered(table(1, 100.0, 0.0, replicated_frac=np.array([0.9]), checkpoint_s=np.array([200.0])), "restart")
    run(s, SITE, ORDER_MS + 10 * MINUTE_MS)
    assert s.moved_gb[0] == pytest.approx(10.0 * LINK_GB_PER_S)
    # ordered after 300 s of work of which 200 s are saved; then 10 s of copy and 120 s of restart
    assert s.lost_service_s[0] == pytest.approx(100.0 + 10.0 + 120.0, abs=5.0)


def test_a_class_has_its_way_and_a_plan_may_say_another():
    mine = ordered(table(1, 100.0, 0.2, move_mode=np.array([M.PRE_COPY])), None)
    told = ordered(table(1, 100.0, 0.2, move_mode=np.array([M.PRE_COPY])), "stop_and_copy")
    for s in (mine, told):
        run(s, SITE, ORDER_MS + 10_000)
    assert mine.job_phase[0, 0] == J.RUNNING
    assert told.job_phase[0, 0] == J.MOVING
    with pytest.raises(PlanRejected, match="stop_and_copy, pre_copy, restart"):
        Action.of("migrate", [A], to_hall=B, mode="teleport")


@pytest.mark.parametrize("concurrent", [1, 3])
def test_copies_share_the_link_and_every_job_lands_once(concurrent):
    s = ordered(table(3, 40.0, 0.25), "pre_copy", step_ms=15_000, concurrent=concurrent)
    run(s, SITE, ORDER_MS + 2_000)
    run(s, SITE, ORDER_MS + 20_000)
    assert s.job_ahead.sum() == concurrent
    run(s, SITE, ORDER_MS + 12 * MINUTE_MS)
    assert (s.job_hall == 1).all()
    assert (s.job_phase == J.RUNNING).all()
    nodes = s.slot_node[0].tolist()
    assert len(set(nodes)) == 3
    assert all(SITE.node_hall[i] == 1 for i in nodes)
    # alone each would send 40 s / (1 - r) of bytes; three at a time dirty three times as long for each byte
    r = 0.25 * concurrent
    assert s.moved_gb[0] == pytest.approx(3 * 40.0 / (1 - r) * LINK_GB_PER_S, rel=0.12)


def lost(s: State, node: int) -> None:
    from twin.engine import Engine
    from twin.placement import interrupt

    d = Engine(s, SITE).derived
    flags = np.zeros((s.members, len(SITE.node_ids)), dtype=bool)
    flags[:, node] = True
    s.node_phase[:, node] = 2
    s.node_until_ms[:, node] = 2**61
    interrupt(d, flags)


def test_a_lost_source_requeues_the_job_and_gives_back_what_was_kept():
    s = ordered(table(1, 300.0, 0.5), "pre_copy", step_ms=15_000)
    run(s, SITE, ORDER_MS + MINUTE_MS)
    lost(s, int(s.slot_node[0, 0]))
    assert s.job_phase[0, 0] == J.WAITING
    assert (s.node_kept_by == -1).all()
    assert (s.job_ahead[0, 0], s.job_target[0, 0]) == (False, -1)


def test_a_lost_landing_begins_the_move_anew_elsewhere_while_the_job_works_on():
    s = ordered(table(1, 60.0, 0.5), "pre_copy", step_ms=15_000)
    run(s, SITE, ORDER_MS + MINUTE_MS)
    kept = int(np.flatnonzero(s.node_kept_by[0] == 0)[0])
    lost(s, kept)
    assert s.job_phase[0, 0] == J.RUNNING
    run(s, SITE, ORDER_MS + 8 * MINUTE_MS)
    assert s.job_hall[0, 0] == 1
    assert int(s.slot_node[0, 0]) != kept
    assert s.lost_service_s[0] < 5.0


def test_moves_restore_at_any_instant_and_rows_stand_alone(tmp_path):
    jobs = table(4, 50.0, 0.6, move_mode=np.array([M.PRE_COPY, M.RESTART, M.STOP_AND_COPY, M.PRE_COPY]))

    def start() -> State:
        s = ordered(jobs, None, members=3, step_ms=10_000, concurrent=2)
        s.node_fails_at[1:] = s.rack_hazard[1:].take(SITE.node_rack, axis=1) + 1e-4
        return s

    end = ORDER_MS + 9 * MINUTE_MS
    whole = run(start(), SITE, end)
    assert (whole.job_hall[0] == 1).all()
    for t in (7_000, 20_000, 33_333, 61_000, 150_000, 200_001):
        half = run(start(), SITE, ORDER_MS + t)
        again = snapshot.load(snapshot.save(half, tmp_path), SITE)
        assert run(again, SITE, end).digest() == whole.digest(), t
    for rows in ([2], [1, 0]):
        part = run(start().rows(rows), SITE, end)
        for name, a in part.arrays.items():
            assert np.array_equal(a, whole.arrays[name][rows]), name
