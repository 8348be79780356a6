"""The guards: their rules as pure functions, and proof that each alone stops a call that would otherwise leave."""

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recovery_world import CAP, CORDON, EAST, MIGRATE, RETURN, WEST, FaultyPort, World, a_plan

from plant.actions import Action
from plant.errors import ConfigError
from recovery import breaker, guards
from recovery.guards import YES, Limits, Touch, no
from recovery.pause import pause
from scheduler.port import JobView

LIMITS = Limits()


def nodes(n: int, hall: str = "r/h") -> Touch:
    return Touch(frozenset(f"{hall}/n{i}" for i in range(n)), frozenset({hall}))


# The rules


@pytest.mark.parametrize(
    ("age", "ok"), [(0.0, True), (120.0, True), (120.1, False), (None, False), (math.nan, False), (-1.0, False)]
)
def test_telemetry_must_be_there_and_fresh(age, ok):
    assert guards.freshness(["a"], lambda _: age, 120.0).ok == ok


def test_one_old_target_is_enough_and_no_target_is_none():
    assert not guards.freshness(["a", "b"], {"a": 1.0, "b": 999.0}.get, 120.0).ok
    assert not guards.freshness([], lambda _: 0.0, 120.0).ok


def test_a_policy_touches_at_most_the_floor_of_ten_percent_of_the_nodes():
    assert guards.budget(nodes(10), [], 100, LIMITS, by_person=False).ok
    assert not guards.budget(nodes(11), [], 100, LIMITS, by_person=False).ok
    assert not guards.budget(nodes(10), [], 99, LIMITS, by_person=False).ok


def test_ten_percent_of_three_nodes_is_none_not_one():
    assert not guards.budget(nodes(1), [], 3, LIMITS, by_person=False).ok
    assert guards.budget(nodes(1), [], 10, LIMITS, by_person=False).ok


def test_what_was_touched_in_the_window_counts_and_the_same_node_once():
    assert not guards.budget(
        nodes(6), [nodes(6, "r/h"), Touch(frozenset({f"r/h/m{i}" for i in range(5)}))], 100, LIMITS, False
    ).ok
    assert guards.budget(nodes(10), [nodes(10)], 100, LIMITS, by_person=False).ok


def test_a_person_may_approve_a_whole_hall_but_not_two():
    assert guards.budget(nodes(60), [], 100, LIMITS, by_person=True).ok
    assert not guards.budget(nodes(60), [nodes(1, "r/other")], 100, LIMITS, by_person=True).ok
    both = Touch(nodes(60).nodes | nodes(30, "r/other").nodes, frozenset({"r/h", "r/other"}))
    assert not guards.budget(both, [], 100, LIMITS, by_person=True).ok


def test_more_domains_allowed_by_the_site_still_do_not_lift_the_percentage_across_halls():
    wide = Limits(domains=2)
    both = Touch(nodes(60).nodes | nodes(30, "r/other").nodes, frozenset({"r/h", "r/other"}))
    assert not guards.budget(both, [], 100, wide, by_person=True).ok


def test_plant_components_have_a_budget_of_their_own():
    many = Touch(components=frozenset(f"c{i}" for i in range(9)))
    assert not guards.budget(many, [], 100, LIMITS, by_person=True).ok
    assert guards.budget(Touch(components=frozenset({"c0"})), [], 0, LIMITS, by_person=True).ok


@given(st.integers(0, 40), st.lists(st.integers(0, 40), max_size=4), st.integers(0, 200))
def test_spending_more_never_makes_a_refused_request_pass(asked, before, total):
    spent = [nodes(n, f"r/h{i % 2}") for i, n in enumerate(before)]
    for by_person in (False, True):
        if not guards.budget(nodes(asked, "r/h0"), spent[:-1], total, LIMITS, by_person).ok:
            assert not guards.budget(nodes(asked, "r/h0"), spent, total, LIMITS, by_person).ok


def test_an_expired_plan_is_over_at_the_very_instant():
    assert guards.expiry(99, 100).ok
    assert not guards.expiry(100, 100).ok


def test_only_the_newest_epoch_acts():
    assert guards.fencing(3, 3).ok
    assert not guards.fencing(2, 3).ok
    assert not guards.fencing(4, 3).ok


@pytest.mark.parametrize(
    ("mine", "theirs", "ok"),
    [
        ("r/h", "r/h", False),
        ("r/h/n1", "r/h", False),
        ("r/h", "r/h/n1", False),
        ("r/h", "r/h2", True),  # a name that only begins alike is another hall
        ("r/h/n1", "r/h/n2", True),
    ],
)
def test_a_hall_and_a_node_in_it_are_the_same_target(mine, theirs, ok):
    assert guards.overlap([mine], [("p", [theirs])]).ok == ok


def test_promised_room_is_no_room():
    assert guards.landing(4, 6, 2, "h").ok
    assert not guards.landing(5, 6, 2, "h").ok


@pytest.mark.parametrize(("alarming", "total", "ok"), [(300, 1000, True), (301, 1000, False), (0, 0, False)])
def test_a_storm_of_alarms_is_not_a_storm_of_faults(alarming, total, ok):
    assert guards.storm(alarming, total, LIMITS).ok == ok


def test_an_approval_counts_people_and_needs_the_content():
    assert guards.approval(1, ["ada"], True).ok
    assert not guards.approval(2, ["ada", "ada"], True).ok
    assert guards.approval(2, ["ada", "bob"], True).ok
    assert not guards.approval(1, ["ada"], False).ok
    assert not guards.approval(1, [], True).ok


def test_a_check_that_cannot_be_made_is_a_refusal():
    def broken() -> guards.Verdict:
        raise OSError("disk gone")

    verdict = guards.every({"fine": lambda: YES, "budget": broken, "breaker": lambda: no("open")})
    assert not verdict.ok
    assert len(verdict.reasons) == 2
    assert "disk gone" in verdict.reasons[0]


def test_pause_is_a_file_and_what_cannot_be_read_is_paused(tmp_path):
    switch = tmp_path / "home" / "pause"
    assert guards.paused(switch).ok
    pause(switch, "ada", "visitors\nin the hall", "12:00")
    pause(switch, "bob", "later", "13:00")
    assert guards.paused(switch).reasons == ("paused: ada since 12:00: visitors in the hall",)
    switch.write_text("")
    assert not guards.paused(switch).ok
    switch.unlink()
    switch.mkdir()  # not a file at all: nobody can say what it means
    assert not guards.paused(switch).ok
    with pytest.raises(ConfigError):
        pause(switch, " ", "why", "12:00")


# Each guard alone stops a call


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def stale_telemetry(world: World) -> None:
    world.age_s = 500.0
    world.approved(a_plan(CORDON))


def no_telemetry(world: World) -> None:
    world.age_s = None
    world.approved(a_plan(CORDON))


def switch_pressed(world: World) -> None:
    world.approved(a_plan(CORDON))
    pause(world.pause_path, "ada", "visitors", "12:00")


def breaker_open(world: World) -> None:
    world.approved(a_plan(CORDON))
    breaker.trip(world.ledger, "60 % of the nodes alarm", world.now_ms)


def too_much_for_a_policy(world: World) -> None:
    world.ledger.autonomy = "act"
    world.approved(a_plan(CORDON), who="policy")


def second_hall_in_ten_minutes(world: World) -> None:
    world.approved(a_plan(CAP))
    first = world.boot()
    world.run(first)
    world.scheduler._db.execute("DELETE FROM effect")
    world.approved(a_plan(Action.of("cordon", [WEST]), cause=WEST))


def expired_before_the_sweep(world: World) -> None:
    # the sweeper ran just before; the guard is asked again at the very moment of the call
    world.approved(a_plan(CORDON))
    world.ledger.expire = lambda now_ms: []
    world.wait(600)


def no_room_at_the_landing(world: World) -> None:
    for i in range(6):
        world.scheduler.add_job(JobView(f"w{i}", "batch", WEST, (f"{WEST}/n{i}",), "running", 1))
    world.approved(a_plan(MIGRATE))


def two_plans_on_one_target(world: World) -> None:
    world.approved(a_plan(CORDON))
    with world.ledger.transaction() as db:  # as if the rule at the decision had failed
        other = a_plan(Action.of("cordon", [f"{EAST}/n0"]), label="other", cause=f"{EAST}/n0")
        db.execute(
            "INSERT INTO plans SELECT ?, label, ?, cause, tier, 'verifying', 1, created_ms, expires_ms, NULL, 0, NULL"
            " FROM plans",
            (other.id, other.canonical),
        )


def content_edited_after_approval(world: World) -> None:
    world.approved(a_plan(CORDON))
    with world.ledger.transaction() as db:
        db.execute("UPDATE plans SET canonical = replace(canonical, 'cap + migrate', 'cap')")


def approval_missing(world: World) -> None:
    # one node of ten: without a person's approval the budget would refuse a whole hall as well
    world.approved(a_plan(Action.of("cordon", [f"{EAST}/n3"])))
    with world.ledger.transaction() as db:
        db.execute("DELETE FROM decisions")


def tier_lowered_in_the_file(world: World) -> None:
    world.approved(a_plan(CORDON))
    with world.ledger.transaction() as db:
        db.execute("UPDATE plans SET tier = 0")


SCENES = [
    ("freshness", stale_telemetry),
    ("freshness", no_telemetry),
    ("paused", switch_pressed),
    ("breaker", breaker_open),
    ("budget", too_much_for_a_policy),
    ("budget", second_hall_in_ten_minutes),
    ("expiry", expired_before_the_sweep),
    ("landing", no_room_at_the_landing),
    ("overlap", two_plans_on_one_target),
    ("approval", content_edited_after_approval),
    ("approval", approval_missing),
    ("approval", tier_lowered_in_the_file),
]


@pytest.mark.parametrize(("guard", "scene"), SCENES, ids=[f"{g}: {s.__name__}" for g, s in SCENES])
def test_each_guard_alone_stops_a_call_that_would_otherwise_leave(world, monkeypatch, guard, scene):
    scene(world)
    # the port refuses some of them too; what counts here is that no call leaves
    port = FaultyPort(world.scheduler, {})
    sent = ("cap", "cordon", "move")
    executor = world.boot(scheduler=port)
    progress = executor.step(world.now_ms, world.facts())
    assert [verb for verb, _ in port.calls if verb in sent] == []
    assert any(one.what == "blocked" and one.reasons for one in progress), progress

    monkeypatch.setattr(guards, guard, lambda *_, **__: YES)
    executor.step(world.now_ms, world.facts())
    assert [verb for verb, _ in port.calls if verb in sent] != []


def test_the_lease_alone_stops_an_executor_that_was_replaced(world, monkeypatch):
    world.approved(a_plan(CORDON))
    old = world.boot()
    old.scheduler.fence(old.epoch)
    old._announced = True
    world.boot()
    assert old.step(world.now_ms, world.facts())[0].what == "blocked"
    assert world.effects() == []
    monkeypatch.setattr(guards, "fencing", lambda *_: YES)
    old.step(world.now_ms, world.facts())
    assert world.effects() == ["cordon"]


def test_without_the_rule_for_undo_the_pause_would_hold_the_undo_back(world, monkeypatch):
    plan = world.approved(a_plan(CAP, MIGRATE))
    executor = world.boot(scheduler=FaultyPort(world.scheduler, {"move": ["refused"]}))
    executor.step(world.now_ms, world.facts())
    executor.step(world.now_ms, world.facts())
    pause(world.pause_path, "ada", "visitors", "12:00")
    with monkeypatch.context() as without:
        without.setattr(guards, "for_undo", guards.every)
        executor.step(world.now_ms, world.facts())
        assert world.effects() == ["cap"]
    executor.step(world.now_ms, world.facts())
    assert world.effects() == ["cap", "uncap"]
    world.run(executor)
    assert world.state(plan) == "rolled_back"


def test_without_failing_closed_an_unreadable_guard_would_let_the_call_leave(world, monkeypatch):
    world.approved(a_plan(CORDON))

    def unreadable(*_):
        raise OSError("I/O error")

    monkeypatch.setattr(guards, "breaker", unreadable)
    executor = world.boot()
    assert "I/O error" in executor.step(world.now_ms, world.facts())[0].reasons[0]
    assert world.effects() == []
    with monkeypatch.context() as without:
        without.setattr(guards, "every", lambda checks: YES)
        executor.step(world.now_ms, world.facts())
    assert world.effects() == ["cordon"]


def test_giving_capacity_back_passes_an_open_breaker_and_a_spent_budget(world, monkeypatch):
    plan = world.approved(a_plan(CORDON, CAP, RETURN))
    executor = world.boot()
    executor.step(world.now_ms, world.facts())
    executor.step(world.now_ms, world.facts())
    breaker.trip(world.ledger, "storm", world.now_ms)
    executor.limits = Limits(nodes_frac=0.0, domains=0)
    world.cooling_back = True
    with monkeypatch.context() as without:
        without.setattr(guards, "for_return", guards.every)
        executor.step(world.now_ms, world.facts())
        assert world.effects() == ["cordon", "cap"]
    world.run(executor)
    assert world.effects() == ["cordon", "cap", "uncordon", "uncap"]
    assert world.state(plan) == "verified"


# Budgets and breaker over restarts


def test_a_restart_does_not_refill_the_budget(world):
    world.limits = Limits(nodes_frac=0.2)  # two of ten nodes
    world.ledger.autonomy = "act"
    for i in range(3):
        world.approved(a_plan(Action.of("cordon", [f"{EAST}/n{i}"]), label=f"p{i}", cause=f"{EAST}/n{i}"), who="policy")
        world.boot().step(world.now_ms, world.facts())
    assert world.effects() == ["cordon"] * 2
    world.wait(601)
    world.ledger.expire = lambda now_ms: []
    late = a_plan(Action.of("cordon", [f"{EAST}/n3"]), label="late", cause=f"{EAST}/n3", life_ms=10**7)
    world.approved(late, who="policy")
    world.boot().step(world.now_ms, world.facts())
    assert world.effects() == ["cordon"] * 3


@pytest.mark.parametrize(("fault", "left"), [("lost", 0), ("refused", 1)])
def test_unknown_counts_as_done_and_refused_does_not(world, fault, left):
    world.limits = Limits(nodes_frac=0.1)
    world.ledger.autonomy = "act"
    world.approved(a_plan(Action.of("cordon", [f"{EAST}/n0"]), label="first", cause=f"{EAST}/n0"), who="policy")
    port = FaultyPort(world.scheduler, {"cordon": [fault], "query": ["dropped"] * 9})
    world.boot(scheduler=port).step(world.now_ms, world.facts())
    world.scheduler._db.execute("DELETE FROM effect")
    world.approved(a_plan(Action.of("cordon", [f"{EAST}/n1"]), label="second", cause=f"{EAST}/n1"), who="policy")
    world.boot(scheduler=port).step(world.now_ms, world.facts())
    assert world.effects() == ["cordon"] * left


def test_the_breaker_stays_open_over_a_restart_and_only_a_person_closes_it(world):
    breaker.trip(world.ledger, "storm", world.now_ms)
    breaker.trip(world.ledger, "again", world.now_ms)
    other = World(world.home)
    assert breaker.why_open(other.ledger) == "storm"
    for who, reason in (("foretwin", "fine now"), ("policy", "fine now"), ("  ", "fine"), ("ada", " ")):
        assert not breaker.reset(other.ledger, who, reason, world.now_ms).ok
    assert breaker.why_open(other.ledger) == "storm"
    assert breaker.reset(other.ledger, "ada", "the firmware of the sensors was wrong", world.now_ms).ok
    assert breaker.why_open(world.ledger) is None
    whats = [row.what for row in world.ledger.history()]
    assert (whats.count("breaker open"), whats.count("breaker closed"), whats.count("refused")) == (1, 1, 4)


def test_the_pause_works_with_the_ledger_locked_by_another(world):
    """The switch needs no database: it is set while every write would wait."""
    with world.ledger.transaction():
        pause(world.pause_path, "ada", "stop", "12:00")
        assert not guards.paused(world.pause_path).ok
    assert os.path.exists(world.pause_path)
