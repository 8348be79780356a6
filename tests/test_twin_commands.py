"""Commands to the emulated site: moves that end say how, room counts once, refusals are words, undo is exact."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from emulated_bench import EmulatedBench
from emulated_world import SITE, quickly
from twin_stories import T0_MS

from recovery.emulated_plant import EmulatedPlant
from scheduler.emulated import EmulatedScheduler
from twin import cooling_bits
from twin import jobs as J
from twin.engine import Engine, run
from twin.ensemble import make_state
from twin.jobs import make_jobs
from twin.nodephase import STOPPED
from twin.sync.follow import adopt_jobs

EAST, WEST = "r/east", "r/west"
KEY, OTHER = "aaaaaaaaaaaaaaaa:0", "bbbbbbbbbbbbbbbb:0"
HALL, LOOP = SITE.hall_ids[0], SITE.loop_ids[0]
SPARE = int(np.flatnonzero(SITE.chiller_standby)[0])


@pytest.fixture
def bench() -> EmulatedBench:
    return EmulatedBench("")


def phase(bench: EmulatedBench, name: str) -> tuple[str, str]:
    job = next(one for one in bench.port.observe() if one.id == name)
    return job.phase, job.hall


# --- moves ------------------------------------------------------------------------------------


def test_a_move_that_found_room_for_some_says_how_many(bench):
    bench.port.move(KEY, 1, ["j0", "j1"], WEST, 1)
    for i in (1, 2, 3):  # after the call, before the moves begin: what was promised is gone
        bench.person_cordons(f"{WEST}/n{i}")
    bench.wait(3600)
    receipt = bench.port.query(KEY)
    assert (receipt.status, receipt.detail) == ("done", f"1 jobs moved to {WEST}, 1 stayed")
    assert (phase(bench, "j0"), phase(bench, "j1")) == (("running", EAST), ("running", WEST))


def test_a_move_that_found_room_for_none_is_rejected(bench):
    assert bench.port.move(KEY, 1, ["j0"], WEST, 1).status == "accepted"
    for i in range(4):
        bench.person_cordons(f"{WEST}/n{i}")
    bench.wait(3600)
    receipt = bench.port.query(KEY)
    assert (receipt.status, receipt.detail) == ("rejected", f"0 jobs moved to {WEST}, 1 stayed")
    assert phase(bench, "j0") == ("running", EAST)


def test_jobs_that_neither_run_nor_wait_are_named(bench):
    bench.port.hold_job(OTHER, 1, ["q0"])
    for i, receipt in enumerate(
        (
            bench.port.move("aaaaaaaaaaaaaaaa:1", 1, ["j0", "q0"], WEST, 1),
            bench.port.drain("aaaaaaaaaaaaaaaa:2", 1, ["j1", "q0"]),
            bench.port.requeue("aaaaaaaaaaaaaaaa:3", 1, ["j1", "q0"]),
        )
    ):
        assert receipt.status in ("accepted", "done"), i
        assert "1 of 2 jobs" in receipt.detail
        assert "q0 (held)" in receipt.detail


def test_the_twin_lets_a_job_work_until_its_move_begins(bench):
    """One at a time: j1 goes, j0 is promised its turn and works on."""
    bench.port.move(KEY, 1, ["j0", "j1"], WEST, 1)
    bench.wait(15)
    assert {one.phase for one in bench.port.observe() if one.id != "q0"} == {"moving"}
    site = bench.emulator.site
    seen = EmulatedScheduler(bench.emulator.request).observe()
    twin = adopt_jobs(make_state(site, bench.emulator.now_ms), site, seen)
    phases = dict(zip(twin.jobs.ids, twin.job_phase[0].tolist(), strict=True))
    assert phases == {"j0": J.RUNNING, "j1": J.RESTARTING, "q0": J.WAITING}


def test_a_move_of_a_job_to_its_own_hall_is_done_without_a_copy(bench):
    bench.port.move(KEY, 1, ["j0"], EAST, 1)
    bench.wait(30)
    assert bench.port.query(KEY).status == "done"
    assert phase(bench, "j0") == ("running", EAST)
    assert bench.emulator.truth()["moved_gb"] == 0.0


def test_room_with_accelerators_is_not_room_without(bench):
    site = copy.copy(bench.emulator.site)
    object.__setattr__(site, "node_gpus", np.where(site.node_hall == 1, 8, 0))
    bench.emulator.commands.engine.site = site
    receipt = bench.port.move(KEY, 1, ["j0"], WEST, 1)
    assert receipt.status == "rejected"
    assert "2 nodes without accelerators wanted, 0 free" in receipt.detail


def test_a_node_that_is_down_or_cordoned_is_not_free(bench):
    bench.emulator.engine.state.node_phase[0, 4] = STOPPED
    bench.emulator.engine.derived.mark()
    bench.port.cordon(KEY, 1, [f"{WEST}/n1"], "hot")
    assert [n.free for n in bench.port.nodes() if n.hall == WEST] == [False, False, True, True]


def test_a_move_without_a_link_leaves_the_job_where_it_is():
    site = copy.copy(SITE)
    object.__setattr__(site, "link_gb_per_s", np.zeros_like(SITE.link_gb_per_s))
    jobs = make_jobs(["j"], arrival_ms=np.array([T0_MS]), work_s=np.array([1e12]), home=np.array([0]))
    s = make_state(site, T0_MS, jobs=jobs, members=2)
    s.node_stop_c[...], s.node_fails_at[...] = 500.0, 1e9
    run(s, site, T0_MS + 60_000)
    s.job_target[...] = 1
    run(s, site, T0_MS + 600_000)
    assert (s.job_phase == J.RUNNING).all()
    assert (s.job_target == -1).all()
    assert (s.job_hall == 0).all()


def test_a_homeless_job_is_copied_from_where_it_runs():
    jobs = make_jobs(["j"], arrival_ms=np.array([T0_MS]), work_s=np.array([1e12]), state_gb=np.array([10.0]))
    s = make_state(SITE, T0_MS, jobs=jobs)
    s.node_stop_c[...], s.node_fails_at[...] = 500.0, 1e9
    run(s, SITE, T0_MS + 60_000)
    s.job_target[...] = 1
    run(s, SITE, T0_MS + 1_200_000)
    assert (s.job_phase[0, 0], s.job_hall[0, 0], s.moved_gb[0]) == (J.RUNNING, 1, 10.0)


@pytest.mark.parametrize("begun", [False, True])
def test_a_held_job_counts_as_demanded_only_once_it_has_begun(begun):
    jobs = make_jobs(["j"], arrival_ms=np.array([T0_MS]), work_s=np.array([1e12]))
    s = run(make_state(SITE, T0_MS, jobs=jobs), SITE, T0_MS + 60_000)
    s.job_phase[...], s.slot_node[...] = J.HELD, -1
    s.job_start_ms[...] = T0_MS if begun else -1
    assert Engine(s, SITE).derived.service_frac[0] == (0.0 if begun else 1.0)


# --- plant controls ---------------------------------------------------------------------------


def test_undoing_calls_on_one_component_in_any_order_ends_where_it_began():
    for order in ((KEY, OTHER), (OTHER, KEY)):
        emulator, _ = quickly(5)
        port, s = EmulatedPlant(emulator.request), emulator.engine.state
        before = s.hall_setpoint_c.copy()
        port.set_point(KEY, 1, [HALL], "supply_c", 18.0)
        port.set_point(OTHER, 1, [HALL], "supply_c", 20.0)
        port.undo(f"{order[0]}:undo1", 1, order[0])
        assert s.hall_setpoint_c[0, 0] == (20.0 if order[0] == KEY else 18.0)
        port.undo(f"{order[1]}:undo1", 1, order[1])
        assert (s.hall_setpoint_c == before).all()


def test_an_undone_start_puts_the_chiller_back_to_standby():
    emulator, _ = quickly(5)
    port, s = EmulatedPlant(emulator.request), emulator.engine.state
    assert port.standby(KEY, 1, [SITE.chiller_ids[SPARE]], True).status == "done"
    again = port.standby(OTHER, 1, [SITE.chiller_ids[SPARE]], True)
    assert (again.status, "stands by" in again.detail) == ("rejected", True)
    port.undo(f"{KEY}:undo1", 1, KEY)
    emulator.advance(T0_MS + int(SITE.chiller_restart_s[SPARE] * 1000) + 60_000)
    assert s.chiller_phase[0, SPARE] == cooling_bits.STANDBY


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p.set_point(KEY, 1, [HALL, "nowhere"], "supply_c", 19.0), "no component 'nowhere'"),
        (lambda p: p.set_point(KEY, 1, [SITE.unit_ids[0]], "fan_frac", 0.5), "fan_frac is not emulated"),
        (lambda p: p.set_point(KEY, 1, [SITE.unit_ids[0]], "supply_c", 19.0), "not emulated"),
        (lambda p: p.set_point(KEY, 1, [LOOP], "supply_c", 99.0), "supply_c"),
        (lambda p: p.set_point(KEY, 1, [], "supply_c", 19.0), "scope"),
        (lambda p: p.standby(KEY, 1, [SITE.unit_ids[0]], True), "not emulated"),
    ],
)
def test_a_refusal_is_words_and_uses_its_key(call, words):
    emulator, _ = quickly(5)
    port = EmulatedPlant(emulator.request)
    before = emulator.engine.state.digest()
    receipt = call(port)
    assert (receipt.status, receipt.code) == ("rejected", "")
    assert words in receipt.detail
    assert port.query(KEY) == receipt == call(port)
    assert emulator.engine.state.digest() == before
