"""The executor: every approved plan comes to its end, no step takes effect twice, whatever dies or answers wrongly."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import count
from pathlib import Path

import pytest
from recovery_world import (
    CAP,
    CORDON,
    DEMO,
    EAST,
    MIGRATE,
    RETURN,
    STANDBY,
    WEST,
    Crash,
    CrashingLedger,
    CrashingPort,
    FaultyPort,
    Fuse,
    World,
    a_plan,
)

from plant.actions import Action, do_nothing
from plant.errors import StoreUnavailable
from recovery import breaker, lease
from recovery.execute import Executor
from recovery.pause import pause, resume
from recovery.plant_port import WorkOrderPlant
from recovery.states import TERMINAL
from scheduler.port import JobView


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def test_the_demo_plan_runs_from_approval_to_verified(world):
    world.cooling_back = True
    plan = world.approved(a_plan())
    world.run(world.boot())
    assert world.state(plan) == "verified"
    assert world.effects() == ["cap", "cordon", "move", "uncordon", "uncap"]
    assert (world.hall_of("j0"), world.hall_of("j1")) == (WEST, WEST)
    assert [row.after for row in world.ledger.history(plan) if row.before != row.after] == [
        "proposed", "rehearsed", "approved", "executing", "verifying", "verified",
    ]  # fmt: skip
    assert world.ledger.verify()[1]


def test_one_call_of_step_sends_at_most_one_call(world):
    world.approved(a_plan(CAP, CORDON, MIGRATE))
    executor = world.boot()
    for sent in (1, 2, 3):
        executor.step(world.now_ms, world.facts())
        assert len(world.effects()) == sent


def test_the_return_waits_for_its_condition(world):
    plan = world.approved(a_plan(CAP, RETURN))
    executor = world.boot()
    world.run(executor, steps=8)
    assert world.state(plan) == "executing"
    assert world.effects() == ["cap"]
    world.cooling_back = True
    world.run(executor)
    assert world.state(plan) == "verified"
    assert world.node(f"{EAST}/n0").cap_frac == 1.0


def test_jobs_come_home_where_the_plan_asks_for_it(world):
    world.cooling_back = True
    home = Action.of("ordered_return", [EAST], when="cooling_back", jobs_home=1, concurrent=1)
    plan = world.approved(a_plan(CAP, CORDON, MIGRATE, home))
    world.run(world.boot())
    assert world.state(plan) == "verified"
    assert (world.hall_of("j0"), world.hall_of("j1")) == (EAST, EAST)
    assert world.effects() == ["cap", "cordon", "move", "uncordon", "move", "uncap"]


def test_a_step_starts_no_earlier_than_its_delay(world):
    plan = world.approved(a_plan(CAP, Action.of("cordon", [EAST], after_s=100)))
    executor = world.boot()
    world.run(executor, steps=7, every_s=15)  # 0 … 90 s
    assert world.effects() == ["cap"]
    world.run(executor, steps=20)
    assert world.effects() == ["cap", "cordon"]
    assert world.state(plan) == "verified"


def test_a_plan_that_does_nothing_is_verified_without_a_call(world):
    plan = world.approved(do_nothing(EAST, world.now_ms, world.now_ms + 600_000))
    world.run(world.boot())
    assert world.state(plan) == "verified"
    assert world.effects() == []


def test_a_step_without_anything_to_act_on_is_done(world):
    world.scheduler.set_up(f"{WEST}/n0", True)
    plan = world.approved(a_plan(Action.of("migrate", [f"{EAST}/n3"], to_hall=WEST)))
    world.run(world.boot())
    assert world.state(plan) == "verified"
    assert world.effects() == []


def test_where_room_is_short_the_important_jobs_move_and_the_others_stay(world):
    for i in range(4):
        world.scheduler.add_job(JobView(f"w{i}", "batch", WEST, (f"{WEST}/n{i}",), "running", 1))
    plan = world.approved(a_plan(MIGRATE))
    world.run(world.boot())
    assert world.state(plan) == "verified"
    assert (world.hall_of("j0"), world.hall_of("j1")) == (EAST, WEST)


def test_the_building_is_asked_through_a_work_order_and_taken_back_likewise(world):
    plan = world.approved(a_plan(STANDBY, Action.of("set_cooling", [EAST], supply_c=16, fan_frac=1.0), CAP, MIGRATE))
    world.scheduler.person_cordons(f"{WEST}/n0", "bob")
    executor = world.boot(scheduler=FaultyPort(world.scheduler, {"move": ["refused"]}))
    world.run(executor)
    assert world.state(plan) == "rolled_back"
    done = [row.detail.split(" ", 1)[1] for row in world.ledger.history(plan) if row.what == "work order"]
    verbs = [one.split('"do": "')[1].split('"')[0] for one in done]
    assert verbs == [
        "start the standby unit", "set supply_c to 16 °C", "set fan_frac to 1 of full speed",
        "undo: set fan_frac to 1 of full speed", "undo: set supply_c to 16 °C", "undo: start the standby unit",
    ]  # fmt: skip


def test_a_person_who_refuses_a_work_order_starts_the_undo(world):
    plan = world.approved(a_plan(CAP, STANDBY))
    executor = world.boot()
    for _ in range(6):
        executor.step(world.now_ms, world.facts())
        world.people_work(done=False)
        world.wait(15)
    assert world.state(plan) == "rolled_back"
    assert world.effects() == ["cap", "uncap"]


# Rejections, timeouts and undo


def test_a_rejected_step_undoes_the_earlier_ones_in_reverse_order(world):
    world.scheduler.person_cordons(f"{EAST}/n3", "bob")
    plan = world.approved(a_plan(CORDON, CAP, MIGRATE))
    world.run(world.boot(scheduler=FaultyPort(world.scheduler, {"move": ["refused"]})))
    assert world.state(plan) == "rolled_back"
    assert world.effects() == ["cordon", "cap", "uncap", "uncordon"]
    assert world.node(f"{EAST}/n3").cordoned_by == ("person bob",)
    assert world.node(f"{EAST}/n0").cordoned_by == ()


def test_an_overdue_step_is_undone(world):
    world.scheduler.add_job(JobView("j9", "training", EAST, (f"{EAST}/n3",), "running", 3), checkpoint_s=50_000)
    plan = world.approved(a_plan(CAP, Action("drain_at_checkpoint", (f"{EAST}/n3",), (), 60.0)))
    world.run(world.boot())
    assert world.state(plan) == "rolled_back"
    assert world.effects() == ["cap", "drain", "uncap"]


def test_an_undo_that_fails_three_times_calls_a_person_and_the_others_are_still_undone(world):
    faults = {"move": ["refused"], "uncap": ["refused"] * 3}
    plan = world.approved(a_plan(CORDON, CAP, MIGRATE))
    world.run(world.boot(scheduler=FaultyPort(world.scheduler, faults)))
    assert world.state(plan) == "failed_needs_human"
    assert world.effects() == ["cordon", "cap", "uncordon"]
    # its target stays closed to new plans until a person says that it is dealt with
    other = a_plan(CAP, label="again")
    world.ledger.propose(other, world.now_ms)
    world.ledger.rehearsed(other.id, {}, 0, world.now_ms)
    assert not world.ledger.decide(other.id, "ada", "approve", "hot", world.now_ms).ok
    assert not world.ledger.close_failed(plan, "foretwin", "fine", world.now_ms).ok
    assert world.ledger.close_failed(plan, "ada", "uncapped by hand", world.now_ms).ok
    assert world.ledger.decide(other.id, "ada", "approve", "hot", world.now_ms).ok


def test_an_undo_refused_once_is_tried_again(world):
    faults = {"move": ["refused"], "uncap": ["refused"]}
    plan = world.approved(a_plan(CAP, MIGRATE))
    world.run(world.boot(scheduler=FaultyPort(world.scheduler, faults)))
    assert world.state(plan) == "rolled_back"
    assert world.node(f"{EAST}/n0").cap_frac == 1.0


def test_undo_passes_although_paused_and_with_the_breaker_open(world):
    plan = world.approved(a_plan(CAP, MIGRATE))
    executor = world.boot(scheduler=FaultyPort(world.scheduler, {"move": ["refused"]}))
    executor.step(world.now_ms, world.facts())
    executor.step(world.now_ms, world.facts())
    assert world.state(plan) == "rolling_back"
    pause(world.pause_path, "ada", "something is odd", "now")
    breaker.trip(world.ledger, "storm", world.now_ms)
    world.age_s = None
    world.run(executor)
    assert world.state(plan) == "rolled_back"


def test_a_failed_verification_calls_a_person_and_keeps_the_protection(world):
    world.service_ok = False
    plan = world.approved(a_plan(CAP))
    world.run(world.boot(), steps=80)
    assert world.state(plan) == "failed_needs_human"
    assert world.node(f"{EAST}/n0").cap_frac == 0.6


def test_verification_asks_for_readings_younger_than_the_last_step(world):
    plan = world.approved(a_plan(CAP))
    executor = world.boot()
    for _ in range(3):
        executor.step(world.now_ms, world.facts())
    # the service has been good for a day, but all of that was before we acted
    old = world.facts()
    assert old.service_ok_since_ms is not None
    executor.step(world.now_ms, old)
    assert world.state(plan) == "verifying"
    world.wait(29)
    executor.step(world.now_ms, world.facts())
    assert world.state(plan) == "verifying"
    world.wait(2)
    executor.step(world.now_ms, world.facts())
    assert world.state(plan) == "verified"


# Ports that answer late, wrongly or not at all


@pytest.mark.parametrize("verb", ["cap", "cordon", "move", "uncordon", "uncap"])
@pytest.mark.parametrize("fault", ["lost", "dropped"])
def test_a_lost_reply_and_a_lost_call_both_lead_to_one_effect(world, verb, fault):
    world.cooling_back = True
    plan = world.approved(a_plan())
    world.run(world.boot(scheduler=FaultyPort(world.scheduler, {verb: [fault, fault]})))
    assert world.state(plan) == "verified"
    assert Counter(world.effects()) == Counter(["cap", "cordon", "move", "uncordon", "uncap"])


def test_a_port_silent_for_a_while_gets_no_second_call(world):
    plan = world.approved(a_plan(CAP))
    port = FaultyPort(world.scheduler, {"cap": ["lost"], "query": ["dropped"] * 3})
    world.run(world.boot(scheduler=port))
    assert world.state(plan) == "verified"
    assert [verb for verb, _ in port.calls].count("cap") == 1


def test_a_call_that_never_arrives_is_given_up(world):
    plan = world.approved(a_plan(CAP))
    port = FaultyPort(world.scheduler, {"cap": ["dropped"] * 99})
    world.run(world.boot(scheduler=port))
    assert world.state(plan) == "rolled_back"
    assert [verb for verb, _ in port.calls].count("cap") == world.patience.sends


def test_a_port_that_dies_for_good_ends_with_a_person(world):
    plan = world.approved(a_plan(CAP))
    dead = {verb: ["dropped"] * 999 for verb in ("query", "uncap")}
    world.run(world.boot(scheduler=FaultyPort(world.scheduler, {"cap": ["lost"], **dead})), steps=200)
    assert world.state(plan) == "failed_needs_human"


def test_a_scheduler_that_cannot_be_seen_gets_no_call(world):
    plan = world.approved(a_plan(CAP))
    port = FaultyPort(world.scheduler, {"nodes": ["dropped"] * 99})
    progress = world.boot(scheduler=port).step(world.now_ms, world.facts())
    assert progress[0].what == "blocked"
    assert "does not answer" in progress[0].reasons[0]
    assert (world.state(plan), world.effects()) == ("approved", [])


# What stops a plan


def test_a_plan_that_expired_while_the_worker_was_down_is_never_started(world):
    plan = world.approved(a_plan())
    world.wait(600)
    world.run(world.boot())
    assert (world.state(plan), world.effects()) == ("expired", [])


def test_a_plan_whose_cause_is_gone_ends_stale(world):
    world.moot = "the hall recovered"
    plan = world.approved(a_plan())
    world.run(world.boot())
    assert (world.state(plan), world.effects()) == ("stale", [])


def test_a_plan_for_a_target_that_does_not_exist_ends_stale(world):
    plan = world.approved(a_plan(Action.of("cordon", ["r/eastern"]), label="namesake"))
    world.run(world.boot())
    assert (world.state(plan), world.effects()) == ("stale", [])


def test_pause_stops_the_next_step_and_resume_goes_on(world):
    plan = world.approved(a_plan(CAP, CORDON))
    executor = world.boot()
    executor.step(world.now_ms, world.facts())
    pause(world.pause_path, "ada", "visitors in the hall", "12:00")
    progress = executor.step(world.now_ms, world.facts())
    assert "visitors in the hall" in progress[0].reasons[0]
    assert world.effects() == ["cap"]
    assert resume(world.pause_path)
    assert not resume(world.pause_path)
    world.run(executor)
    assert world.state(plan) == "verified"


def test_a_refusal_is_audited_once_not_at_every_turn(world):
    plan = world.approved(a_plan(CAP))
    pause(world.pause_path, "ada", "visitors", "12:00")
    executor = world.boot()
    for _ in range(5):
        executor.step(world.now_ms, world.facts())
        world.wait(15)
    assert [row.what for row in world.ledger.history(plan)].count("blocked") == 1


def test_a_plan_that_cannot_go_on_does_not_wait_for_ever(world):
    plan = world.approved(a_plan(CAP, RETURN))
    world.run(world.boot(), steps=300)
    assert world.state(plan) == "failed_needs_human"


def test_a_broken_audit_chain_lets_no_executor_start(world):
    world.approved(a_plan())
    with world.ledger.transaction() as db:
        db.execute("DROP TRIGGER audit_keep")
        db.execute("UPDATE audit SET detail = 'nothing happened' WHERE seq = 2")
    with pytest.raises(StoreUnavailable, match="row 2"):
        world.boot()


def test_a_plan_altered_in_the_file_is_not_executed_and_the_others_go_on(world):
    bad = world.approved(a_plan(CAP, label="bad"))
    other = a_plan(Action.of("cordon", [f"{WEST}/n5"]), label="good", cause=f"{WEST}/n5")
    good = world.approved(other)
    with world.ledger.transaction() as db:
        db.execute("UPDATE plans SET canonical = replace(canonical, '0.6', '0.3') WHERE id = ?", (bad,))
    executor = world.boot()
    for _ in range(5):
        executor.step(world.now_ms, world.facts())
        world.wait(15)
    assert world.effects() == ["cordon"]
    assert world.state(bad) == "approved"
    with world.ledger.transaction() as db:
        db.execute("UPDATE plans SET canonical = 'rubbish' WHERE id = ?", (bad,))
    world.run(executor)
    assert (world.state(bad), world.state(good)) == ("cancelled", "verified")


# Two executors


def test_an_executor_that_was_replaced_can_neither_call_nor_write(world):
    plan = world.approved(a_plan(CAP, CORDON))
    old = world.boot()
    old.step(world.now_ms, world.facts())
    new = world.boot()
    progress = old.step(world.now_ms, world.facts())
    assert "took over" in progress[0].reasons[0]
    assert world.effects() == ["cap"]
    world.run(new)
    assert world.state(plan) == "verified"


def test_a_call_held_up_while_another_executor_takes_over_is_fenced_off(world):
    """Stopped between intent and call (SIGSTOP), woken after the successor has started."""
    plan = world.approved(a_plan(CAP))

    class Stopped(FaultyPort):
        def __getattr__(self, verb):
            inner = super().__getattr__(verb)
            if verb != "cap":
                return inner

            def asleep(*args, **named):
                successor = world.boot()
                successor.step(world.now_ms, world.facts())
                return inner(*args, **named)

            return asleep

    progress = world.boot(scheduler=Stopped(world.scheduler, {})).step(world.now_ms, world.facts())
    assert progress[0].what == "fenced"
    world.run(world.boot())
    assert world.state(plan) == "verified"
    assert world.effects() == ["cap"]


def test_of_many_executors_starting_together_one_holds_the_lease(world):
    executors = [world.boot() for _ in range(20)]
    plan = world.approved(a_plan(CAP))
    for executor in executors:
        executor.step(world.now_ms, world.facts())
    assert [one.epoch for one in executors] == list(range(1, 21))
    assert world.effects() == ["cap"]
    assert world.state(plan) == "executing"


def test_the_lease_is_renewed_only_by_its_holder(world):
    first = lease.take(world.ledger, "a", world.now_ms)
    assert lease.heartbeat(world.ledger, first, world.now_ms).ok
    second = lease.take(world.ledger, "b", world.now_ms)
    assert second == first + 1
    assert not lease.heartbeat(world.ledger, first, world.now_ms).ok


# Dying at every point

STORIES = {
    "to the end": ((STANDBY, *DEMO), {}, "verified"),
    "rolled back": ((STANDBY, CAP, CORDON, MIGRATE), {"move": ["refused"]}, "rolled_back"),
    "reply lost": ((CAP, MIGRATE), {"cap": ["lost"], "move": ["dropped"]}, "verified"),
}


def template(home: Path, story: str) -> str:
    """Files of a world with the story's plan approved, to be copied for each life; the disk is waited for once."""
    world = World(home, cooling_back=True)
    plan = world.approved(a_plan(*STORIES[story][0]))
    world.close()
    return plan


def live(ready: Path, home: Path, story: str, fuse: Fuse) -> tuple[World, int]:
    """One life of the story with crashes; the process starts again from disk after each. Returns deaths too."""
    shutil.copytree(ready, home)
    world = World(home, cooling_back=True)
    world.ledger.close()
    faulty = FaultyPort(world.scheduler, {verb: list(kinds) for verb, kinds in STORIES[story][1].items()})
    deaths = 0
    for _ in range(len(fuse.at) + 1):
        try:
            world.ledger = CrashingLedger(world.home / "ledger.sqlite", fuse)
            plant = CrashingPort(WorkOrderPlant(world.ledger, world.clock), fuse)
            world.run(world.boot(scheduler=CrashingPort(faulty, fuse), plant=plant), steps=40)
            break
        except Crash:
            deaths += 1
            world.ledger.close()
            world.wait(1)
    fuse.at = ()
    return world, deaths


def same_end(world: World, plan: str, story: str) -> None:
    """The end without a crash is the end with one; each effect happened once; the books are in order."""
    _, _, end = STORIES[story]
    assert world.state(plan) == end
    keys = Counter(world.scheduler.effects())
    assert max(keys.values()) == 1, keys
    undone = end == "rolled_back"
    wanted = {"to the end": "cap cordon move uncordon uncap", "rolled back": "cap cordon uncordon uncap"}
    assert world.effects() == wanted.get(story, "cap move").split()
    east = [node for node in world.scheduler.nodes() if node.id.startswith(EAST)]
    assert {node.cordoned_by for node in east} == {()}
    assert {node.cap_frac for node in east} == ({0.6} if story == "reply lost" else {1.0})
    assert {world.hall_of(job) for job in ("j0", "j1")} == {EAST if undone else WEST}
    _, ok, _ = world.ledger.verify()
    assert ok
    intents = Counter(row.detail.split(" ")[0] for row in world.ledger.history(plan) if row.what == "intent")
    assert set(intents) == {row.key for row in world.ledger.steps(plan)}
    assert {row.status for row in world.ledger.steps(plan)} <= {"done", "rejected", "skipped", "planned"}


# the default run dies at every third point, `make test-all` at each
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("story", STORIES)
def test_dying_at_every_single_point_changes_nothing(tmp_path, story, every):
    plan, calm = template(tmp_path / "ready", story), Fuse()
    world, _ = live(tmp_path / "ready", tmp_path / "calm", story, calm)
    same_end(world, plan, story)
    world.close()
    assert calm.seen > 40
    for point in range(1, calm.seen + 1, every):
        world, deaths = live(tmp_path / "ready", tmp_path / str(point), story, Fuse(at=(point,)))
        assert deaths == 1
        same_end(world, plan, story)
        world.close()
    print(f"{story}: {calm.seen} crash points")


@pytest.mark.parametrize("story", STORIES)
def test_dying_again_and_again_changes_nothing(tmp_path, story):
    plan, rng = template(tmp_path / "ready", story), random.Random(story)
    for life in range(10):
        fuse = Fuse(at=tuple(sorted(rng.sample(range(1, 160), 12))))
        world, _ = live(tmp_path / "ready", tmp_path / str(life), story, fuse)
        same_end(world, plan, story)
        world.close()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_goes_wrong_the_invariants_hold(tmp_path, seed):
    """Several plans, random faults, deaths and pauses: everything ends, nothing happens twice, the books agree."""
    rng = random.Random(seed)
    world = World(tmp_path, cooling_back=True)
    scopes = rng.sample([f"{EAST}/n{i}" for i in range(4)] + [f"{WEST}/n{i}" for i in range(6)], 4)
    plans = []
    for scope in scopes:
        steps = [Action.of("cap_power", [scope], cap_frac=0.5), Action.of("cordon", [scope])]
        steps += [Action.of("start_standby", [f"{scope}/unit"])] * rng.randint(0, 1)
        steps += [Action.of("ordered_return", [scope], when="cooling_back")] * rng.randint(0, 1)
        plans.append(world.approved(a_plan(*steps, label=scope, cause=scope, life_ms=10**8)))
    kinds = ["ok", "ok", "lost", "dropped", "refused"]
    verbs = ("cap", "cordon", "uncap", "uncordon")
    faults = {verb: rng.choices(kinds, k=6) for verb in verbs}
    faults |= {verb: rng.choices(["ok", "ok", "dropped"], k=20) for verb in ("query", "nodes", "fence")}
    faulty = FaultyPort(world.scheduler, faults)
    fuse = Fuse(at=tuple(rng.sample(range(1, 400), 8)))
    world.ledger.close()
    while True:
        try:
            world.ledger = CrashingLedger(world.home / "ledger.sqlite", fuse)
            executor = world.boot(scheduler=CrashingPort(faulty, fuse))
            for _ in range(rng.randint(1, 10)):
                world.run(executor, steps=10, every_s=60)
                resume(world.pause_path)
                if rng.random() < 0.3:
                    pause(world.pause_path, "ada", "a look", "now")
            if all(world.state(plan) in TERMINAL for plan in plans):
                break
        except Crash:
            world.ledger.close()
            world.wait(5)
    keys = Counter(world.scheduler.effects())
    assert max(keys.values(), default=0) <= 1
    marks = {node.id: node for node in world.scheduler.nodes()}
    for plan, scope in zip(plans, scopes, strict=True):
        do = [row for row in world.ledger.steps(plan) if row.purpose == "do"]
        returned = "ordered_return" in [step.kind for step in world.ledger.plan(plan).plan.steps]
        if world.state(plan) == "verified":
            assert {row.status for row in do} == {"done"}
            assert (plan in marks[scope].cordoned_by) != returned
        if world.state(plan) == "rolled_back":
            assert marks[scope].cordoned_by == ()
            assert marks[scope].cap_frac == 1.0
        if world.state(plan) == "expired":
            assert do == []
    assert world.ledger.verify()[1]


WORKER = """
import sys, time
sys.path[:0] = [{tests!r}, {root!r}]
from pathlib import Path
from recovery_world import World
world = World(Path({home!r}), cooling_back=True)
world.now_ms = int(sys.argv[1])
executor = world.boot()
print("up", flush=True)
while world.ledger.plans("approved", "executing", "verifying", "rolling_back"):
    executor.step(world.now_ms, world.facts())
    world.people_work()
    world.wait(15)
"""


def test_a_killed_worker_loses_no_plan_and_repeats_no_step(tmp_path):
    """Real processes, real SIGKILL at a random moment, the files as they were left."""
    world = World(tmp_path, cooling_back=True)
    plan = world.approved(a_plan())
    root = Path(__file__).parent.parent
    code = WORKER.format(tests=str(Path(__file__).parent), root=str(root), home=str(tmp_path))
    rng, began = random.Random(7), time.monotonic()
    for start in count():
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(world.now_ms + 20_000 * start)], stdout=subprocess.PIPE, cwd=tmp_path
        )
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == b"up\n"
            if start == 5:
                assert process.wait(timeout=20) == 0
                break
            time.sleep(rng.uniform(0.0, 0.02))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    assert time.monotonic() - began < 20
    world.now_ms += 10_000_000
    assert world.state(plan) == "verified"
    assert world.effects() == ["cap", "cordon", "move", "uncordon", "uncap"]
    assert world.ledger.verify()[1]


def test_every_state_the_executor_leaves_behind_is_known(world):
    plan = world.approved(a_plan(CAP))
    world.run(world.boot())
    assert world.state(plan) in TERMINAL
    assert isinstance(world.boot(), Executor)
