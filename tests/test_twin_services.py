"""Services in the running twin: replicas share requests, losing some costs latency first and answers then."""

from __future__ import annotations

import numpy as np
import pytest
from twin_stories import MINUTE_MS, T0_MS, tiny

from plant import queueing
from plant.actions import Action
from plant.errors import SnapshotMismatch
from twin import effects, snapshot
from twin import jobs as J
from twin.engine import Engine, run
from twin.ensemble import make_state
from twin.jobs import Jobs, make_jobs
from twin.services import Services, late_min, make_services
from twin.state import State

SITE = tiny()
A, B = SITE.hall_ids
HOUR_MS = 60 * MINUTE_MS
REPLICAS, SERVERS, REQUEST_S = 4, 2, 1.0


def service(load: float, limit_s: float = 6.0, **more: object) -> Services:
    """One service that is offered `load` of what all its replicas can answer."""
    offered = np.array([load * REPLICAS * SERVERS / REQUEST_S])
    return make_services(
        ["shop"], offered_per_s=offered, request_s=np.array([REQUEST_S]), limit_s=np.array([limit_s]), **more
    )


def replicas(services: Services, others: int = 0) -> Jobs:
    """Four replicas of a service in hall A, each on a whole node, and some batch jobs in hall B."""
    n = REPLICAS + others
    is_replica = np.arange(n) < REPLICAS
    return make_jobs(
        [f"r{i}" for i in range(n)],
        arrival_ms=np.full(n, T0_MS),
        work_s=np.full(n, J.ENDLESS_WORK_S),
        checkpoint_s=np.zeros(n),
        home=np.where(is_replica, 0, 1),
        service=np.where(is_replica, 0, -1),
        servers=np.where(is_replica, SERVERS, 0),
        services=services,
    )


def living(jobs: Jobs, members: int = 1) -> State:
    s = make_state(SITE, T0_MS, jobs=jobs, members=members)
    s.node_stop_c[...], s.node_fails_at[...] = 500.0, 1e9
    return run(s, SITE, T0_MS + MINUTE_MS)


def lose(s: State, count: int) -> State:
    """Cordon every node and take away that many replicas' nodes for good."""
    s.node_cordon[...] = True
    Engine(s, SITE)
    for j in range(count):
        node = SITE.node_ids[int(s.slot_node[0, s.jobs.slot_start[j]])]
        effects.schedule(s, Action.of("requeue", [node]), s.now_ms)
    return s


@pytest.mark.parametrize("lost", [0, 1, 2, 3, 4])
def test_what_is_delivered_and_what_is_late_is_the_queue_of_the_replicas_left(lost):
    load, limit = 0.55, 6.0
    s = lose(living(replicas(service(load, limit))), lost)
    late_before, lost_before = float(s.service_late_s[0, 0]), float(s.lost_service_s[0])
    run(s, SITE, s.now_ms + 10 * MINUTE_MS)
    left, offered, mu = (REPLICAS - lost) * SERVERS, load * REPLICAS * SERVERS / REQUEST_S, 1.0 / REQUEST_S
    delivered = float(queueing.delivered_frac(left, offered, mu))
    late = bool(queueing.late_frac(left, offered, mu, limit) > 0.01)
    assert s.service_frac[0] == pytest.approx(delivered)
    assert s.lost_service_s[0] - lost_before == pytest.approx((1.0 - delivered) * 600.0, abs=16.0 * (1.0 - delivered))
    assert s.service_late_s[0, 0] - late_before == pytest.approx(600.0 if late else 0.0, abs=16.0)
    assert s.requests_lost[0, 0] == pytest.approx((1.0 - delivered) * offered * 600.0, rel=0.03, abs=1e-9)
    if lost == 1:  # one replica of four: every answer comes, in time
        assert (delivered, late) == (1.0, False)
    if lost == 3:
        assert delivered < 0.5
        assert late


def test_lateness_comes_before_loss():
    s = lose(living(replicas(service(0.70, 5.0))), 1)
    run(s, SITE, s.now_ms + 10 * MINUTE_MS)
    assert s.service_frac[0] == 1.0
    assert s.lost_service_s[0] == 0.0
    assert s.service_late_s[0, 0] > 500.0


def test_a_cap_slows_the_servers_and_a_busy_service_answers_late():
    s = living(replicas(service(0.7, 6.0)))
    for step in (Action.of("cap_power", [A], cap_frac=0.5),):
        effects.schedule(s, step, s.now_ms)
    run(s, SITE, s.now_ms + 10 * MINUTE_MS)
    assert s.service_late_s[0, 0] > 500.0


def test_offered_load_swings_with_the_day_and_so_does_power():
    hours = np.where(np.arange(24) % 2 == (T0_MS // HOUR_MS) % 2, 0.4, 1.6)  # this hour quiet, the next one busy
    table = replicas(service(0.55, 6.0, factor=hours))
    s = living(table)
    assert s.service_late_s[0, 0] == 0.0
    begin, quiet_kwh = s.now_ms, s.energy_it_kwh.copy()
    change = (s.now_ms // HOUR_MS + 1) * HOUR_MS
    span = min(change - begin, 20 * MINUTE_MS)
    run(s, SITE, begin + span)
    quiet_kwh = s.energy_it_kwh - quiet_kwh
    run(s, SITE, change + 15_000)
    busy_kwh, late = s.energy_it_kwh.copy(), s.service_late_s.copy()
    run(s, SITE, change + 15_000 + span)
    assert (s.energy_it_kwh - busy_kwh)[0] > quiet_kwh[0]
    assert s.service_late_s[0, 0] - late[0, 0] == pytest.approx(
        span / 1000.0, abs=31.0
    )  # 88 % load: some wait too long


def test_queueing_before_the_first_start_is_no_outage():
    s = make_state(SITE, T0_MS, jobs=replicas(service(0.9)))
    s.node_cordon[...] = True
    run(s, SITE, T0_MS + 10 * MINUTE_MS)
    assert s.service_late_s[0, 0] == s.lost_service_s[0] == s.requests_lost[0, 0] == 0.0


@pytest.mark.slow
def test_a_snapshot_keeps_services_and_a_restored_run_its_bits(tmp_path):
    hours = 0.5 + np.arange(24) % 3 * 0.5
    table = replicas(service(0.6, 6.0, factor=hours), others=3)

    def start() -> State:
        s = make_state(SITE, T0_MS, jobs=table, members=3, seed=2)
        s.node_fails_at[...] *= 0.004
        return s

    end = T0_MS + 90 * MINUTE_MS
    whole = run(start(), SITE, end)
    assert (whole.service_late_s > 0.0).any()
    for t in (1, 20 * MINUTE_MS + 7, HOUR_MS - T0_MS % HOUR_MS, HOUR_MS - T0_MS % HOUR_MS + 1):
        half = run(start(), SITE, T0_MS + t)
        again = snapshot.load(snapshot.save(half, tmp_path), SITE)
        assert again.jobs.services.names == ("shop",)
        assert run(again, SITE, end).digest() == whole.digest(), t
    for rows in ([2], [1, 0]):
        part = run(start().rows(rows), SITE, end)
        for name, a in part.arrays.items():
            assert np.array_equal(a, whole.arrays[name][rows]), name


def test_tables_join_and_services_keep_their_replicas():
    one, two = replicas(service(0.5)), replicas(service(0.8, 9.0), others=1)
    both = one.joined(
        make_jobs(
            [f"x{n}" for n in two.ids], arrival_ms=two.arrival_ms, work_s=two.work_s, service=two.service,
            servers=two.servers, services=two.services,
        )
    )  # fmt: skip
    assert both.service.tolist() == [0] * 4 + [1] * 4 + [-1]
    assert both.services.limit_s.tolist() == [6.0, 9.0]
    assert both.digest() != one.digest()


def test_late_time_is_weighed():
    assert late_min(np.array([[60.0, 0.0]]), np.array([3.0, 1.0])) == pytest.approx([0.75])
    assert late_min(np.zeros((2, 0)), np.zeros(0)).tolist() == [0.0, 0.0]


def test_a_state_without_its_service_arrays_is_refused():
    s = make_state(SITE, T0_MS, jobs=replicas(service(0.5)))
    del s.arrays["service_late_s"]
    with pytest.raises(SnapshotMismatch, match="service_late_s"):
        s.check(SITE)


def test_a_live_twin_sees_the_services_of_the_emulated_site():
    from types import SimpleNamespace

    from twin.commands import Commands
    from twin.emulated_jobs import emulated_jobs
    from twin.sync.follow import adopt_jobs

    jobs = emulated_jobs(SITE, 3, T0_MS, 2.0, {A: 0.7, B: 0.7})
    assert len(jobs.services) >= 4
    assert (jobs.width[jobs.service >= 0] == 1).all()
    world = Engine(run(make_state(SITE, T0_MS, jobs=jobs), SITE, T0_MS + 10 * MINUTE_MS), SITE)
    views = [SimpleNamespace(**{**row, "nodes": tuple(row["nodes"])}) for row in Commands(world).observe()]
    twin = adopt_jobs(make_state(SITE, world.state.now_ms, members=2), SITE, views)
    twin.check(SITE)
    assert sorted(twin.jobs.services.names) == sorted(jobs.services.names)
    assert sorted(twin.jobs.servers.tolist()) == sorted(jobs.servers[np.isin(jobs.ids, [v.id for v in views])].tolist())
    twin.service_late_s[...] = 7.0
    again = adopt_jobs(twin, SITE, views)
    assert (again.service_late_s == 7.0).all()  # what was counted stays counted
