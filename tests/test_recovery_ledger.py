"""The ledger: only allowed edges, each change and refusal audited, decisions by the rules, a chain that shows edits."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from recovery_world import CAP, CORDON, EAST, START_MS, WEST, CrashingLedger, Fuse, World, a_plan

from plant.actions import Action, do_nothing
from plant.errors import StoreUnavailable
from recovery import plant_port
from recovery.ledger import Ledger
from recovery.plant_port import WorkOrderPlant
from recovery.states import EDGES, PENDING, TERMINAL

NOW = START_MS + 1_000
TIER3 = a_plan(Action.of("requeue", [EAST]), label="requeue")


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return CrashingLedger(tmp_path / "ledger.sqlite", Fuse())


def rehearsed(ledger: Ledger, plan) -> str:
    assert ledger.propose(plan, NOW).ok
    assert ledger.rehearsed(plan.id, {"cvar95": 1.5}, 0, NOW).ok
    return plan.id


def state(ledger: Ledger, plan: str) -> str:
    return ledger.plan(plan).state


# The life of a plan


def test_a_plan_is_proposed_once_and_kept_whole(ledger):
    plan = a_plan()
    assert ledger.propose(plan, NOW).ok
    assert ledger.propose(plan, NOW).ok
    row = ledger.plan(plan.id)
    assert (row.plan, row.state, row.version, row.tier, row.hash_ok) == (plan, "proposed", 1, 2, True)
    assert len(ledger.history(plan.id)) == 1
    assert ledger.plan("0" * 16) is None


def test_what_was_rehearsed_waits_the_best_first(ledger):
    for rank, label in ((1, "b"), (0, "a"), (2, "c")):
        plan = a_plan(CAP, label=label)
        ledger.propose(plan, NOW)
        ledger.rehearsed(plan.id, {"label": label}, rank, NOW)
    assert [row.rehearsal["label"] for row in ledger.waiting()] == ["a", "b", "c"]
    assert len(ledger.plans()) == 3
    assert ledger.plans("proposed") == []


def test_a_rehearsal_must_be_finite(ledger):
    plan = a_plan()
    ledger.propose(plan, NOW)
    assert not ledger.rehearsed(plan.id, {"cvar95": float("nan")}, 0, NOW).ok
    assert not ledger.rehearsed(plan.id, {"cvar95": {1, 2}}, 0, NOW).ok
    assert state(ledger, plan.id) == "proposed"


def test_an_expired_plan_is_neither_taken_in_nor_rehearsed(ledger):
    assert not ledger.propose(a_plan(), START_MS + 600_000).ok
    ledger.propose(a_plan(), NOW)
    assert not ledger.rehearsed(a_plan().id, {}, 0, START_MS + 600_000).ok


def test_the_sweeper_ends_what_was_not_started_and_nothing_else(ledger):
    plans = {name: a_plan(Action.of("cordon", [f"r/{name}"]), label=name, cause=f"r/{name}") for name in EDGES}
    with ledger.transaction() as db:
        for name, plan in plans.items():
            ledger_state = (plan.id, plan.label, plan.canonical, plan.cause, name, START_MS, plan.expires_ms)
            db.execute("INSERT INTO plans VALUES (?, ?, ?, ?, 1, ?, 1, ?, ?, NULL, NULL, NULL)", ledger_state)
    assert ledger.expire(START_MS + 599_999) == []
    assert set(ledger.expire(START_MS + 600_000)) == {plans[name].id for name in PENDING}
    for name, plan in plans.items():
        assert state(ledger, plan.id) == ("expired" if name in PENDING else name)
    assert ledger.expire(START_MS + 700_000) == []


@given(st.lists(st.tuples(st.sampled_from(sorted(EDGES)), st.booleans()), max_size=12))
@settings(max_examples=examples(60), deadline=None)
def test_a_plan_moves_only_along_the_edges_and_versions_only_rise(tmp_path_factory, moves):
    ledger = CrashingLedger(tmp_path_factory.mktemp("edges") / "ledger.sqlite", Fuse())
    plan = a_plan()
    ledger.propose(plan, NOW)
    expected, version = "proposed", 1
    for to, stale in moves:
        verdict = ledger.move(plan.id, to, "test", "", NOW, version=version - 1 if stale else version)
        allowed = to in EDGES[expected] and not stale
        assert verdict.ok == allowed
        if allowed:
            expected, version = to, version + 1
        row = ledger.plan(plan.id)
        assert (row.state, row.version) == (expected, version)
    changes = [(row.before, row.after) for row in ledger.history(plan.id) if row.before != row.after]
    assert all(after in EDGES[before] for before, after in changes[1:])
    assert len(ledger.history(plan.id)) == 1 + len(moves)  # every try is on record, refused ones too
    assert ledger.verify() == (1 + len(moves), True, None)
    ledger.close()


def test_terminal_states_lead_nowhere():
    assert set(TERMINAL) == {
        "verified", "rolled_back", "rejected", "expired", "superseded", "stale", "cancelled", "failed_needs_human",
    }  # fmt: skip
    assert all(EDGES[end] == () for end in TERMINAL)
    assert {to for nexts in EDGES.values() for to in nexts} | {"proposed"} == set(EDGES)


# Decisions


def test_an_approval_is_recorded_with_who_and_why(ledger):
    plan = rehearsed(ledger, a_plan())
    assert ledger.decide(plan, "ada", "approve", "inlets rise 1 K a minute", NOW).ok
    assert state(ledger, plan) == "approved"
    (decision,) = ledger.decisions(plan)
    assert (decision.who, decision.what, decision.reason, decision.at_ms) == (
        "ada", "approve", "inlets rise 1 K a minute", NOW,
    )  # fmt: skip
    assert ledger.history(plan)[-1].actor == "ada"


def test_a_rejection_ends_the_plan(ledger):
    plan = rehearsed(ledger, a_plan())
    assert ledger.decide(plan, "ada", "reject", "sensor fault", NOW).ok
    assert state(ledger, plan) == "rejected"
    assert not ledger.decide(plan, "ada", "approve", "changed my mind", NOW).ok


REFUSED = {
    "no reason": {"reason": " "},
    "no identity": {"who": "  "},
    "name too long": {"who": "x" * 300},
    "reason too long": {"reason": "x" * 3_000},
    "neither word": {"what": "maybe"},
    "expired": {"now_ms": START_MS + 600_000},
    "the author": {"who": "foretwin"},
    "the author in disguise": {"who": " ＦoreTwin "},
    "a policy the site does not grant": {"who": "policy"},
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_a_bad_approval_changes_nothing_and_is_on_record(ledger, change):
    plan = rehearsed(ledger, a_plan())
    ask = {"who": "ada", "what": "approve", "reason": "hot", "now_ms": NOW, **change}
    verdict = ledger.decide(plan, **ask)
    assert not verdict.ok
    assert verdict.reasons
    assert state(ledger, plan) == "rehearsed"
    assert ledger.history(plan)[-1].what == "refused"
    assert ledger.decisions(plan) == []


def test_a_plan_not_rehearsed_or_not_known_cannot_be_approved(ledger):
    ledger.propose(a_plan(), NOW)
    assert ledger.decide(a_plan().id, "ada", "approve", "hot", NOW).reasons == ("not rehearsed yet",)
    assert ledger.decide("../../etc/passwd\n", "ada", "approve", "hot", NOW).reasons == ("no such plan",)
    assert ledger.verify()[1]


def test_an_edited_plan_cannot_be_approved(ledger):
    plan = rehearsed(ledger, a_plan())
    with ledger.transaction() as db:
        db.execute("UPDATE plans SET canonical = replace(canonical, '0.6', '0.3')")
    assert "does not match" in ledger.decide(plan, "ada", "approve", "hot", NOW).reasons[0]


def test_the_second_press_is_told_that_it_is_decided(ledger):
    plan = rehearsed(ledger, a_plan())
    assert ledger.decide(plan, "ada", "approve", "hot", NOW).ok
    for who in ("ada", "bob"):
        assert "already decided" in ledger.decide(plan, who, "approve", "hot", NOW).reasons[0]
    assert len(ledger.decisions(plan)) == 1


def test_one_press_of_the_button_counts_once_for_all_plans(ledger):
    first, second = (rehearsed(ledger, a_plan(CAP, label=n, cause=n)) for n in ("a", "b"))
    assert ledger.decide(first, "ada", "reject", "no", NOW, nonce="press 1").ok
    assert not ledger.decide(second, "ada", "reject", "no", NOW, nonce="press 1").ok


def test_the_most_dangerous_tier_takes_two_distinct_people(ledger):
    plan = rehearsed(ledger, TIER3)
    assert ledger.decide(plan, "ada", "approve", "nothing else helps", NOW).ok
    assert state(ledger, plan) == "rehearsed"
    assert not ledger.decide(plan, "ADA ", "approve", "still", NOW).ok
    assert ledger.decide(plan, "bob", "approve", "agreed", NOW).ok
    assert state(ledger, plan) == "approved"


@pytest.mark.parametrize(
    ("autonomy", "tier", "who", "ok"),
    [
        ("observe", 1, "ada", False),
        ("observe", 1, "policy", False),
        ("propose", 1, "ada", True),
        ("propose", 1, "policy", False),
        ("propose", 1, "foretwin", False),
        ("act_reversible", 1, "policy", True),
        ("act_reversible", 1, "foretwin", True),
        ("act_reversible", 2, "policy", False),
        ("act", 2, "policy", True),
        ("act", 2, "foretwin", False),
        ("act", 3, "policy", False),
    ],
)
def test_the_autonomy_of_the_site_says_what_needs_a_person(tmp_path, autonomy, tier, who, ok):
    ledger = CrashingLedger(tmp_path / "ledger.sqlite", Fuse(), autonomy=autonomy)
    plan = rehearsed(ledger, {1: a_plan(CORDON, label="cordon"), 2: a_plan(CAP, label="cap"), 3: TIER3}[tier])
    assert ledger.decide(plan, who, "approve", "as the site allows", NOW).ok == ok


def test_an_approval_supersedes_the_undecided_rivals_on_the_same_targets(ledger):
    plans = [a_plan(), a_plan(CAP, label="cap"), do_nothing(EAST, START_MS, START_MS + 600_000)]
    elsewhere = a_plan(Action.of("cordon", [f"{WEST}/n0"]), label="elsewhere", cause=WEST)
    for plan in (*plans, elsewhere):
        rehearsed(ledger, plan)
    ledger.decide(plans[0].id, "ada", "approve", "hot", NOW)
    assert [state(ledger, plan.id) for plan in plans] == ["approved", "superseded", "superseded"]
    assert state(ledger, elsewhere.id) == "rehearsed"


def test_a_target_that_a_plan_holds_cannot_be_approved_for_another(ledger):
    first = rehearsed(ledger, a_plan())
    ledger.decide(first, "ada", "approve", "hot", NOW)
    late = rehearsed(ledger, a_plan(Action.of("cordon", [f"{EAST}/n1"]), label="late"))
    assert first in ledger.decide(late, "ada", "approve", "hot", NOW).reasons[0]


def test_two_people_pressing_at_once_make_one_approval(tmp_path):
    path = tmp_path / "ledger.sqlite"
    plan = rehearsed(Ledger(path), a_plan())
    answers = []

    def press(who: str) -> None:
        answers.append(Ledger(path).decide(plan, who, "approve", "hot", NOW).ok)

    threads = [threading.Thread(target=press, args=(f"person {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 7 + [True]
    ledger = Ledger(path)
    assert len(ledger.decisions(plan)) == 1
    assert ledger.verify()[1]


# The audit


def test_hostile_words_stay_one_printable_row(ledger):
    plan = rehearsed(ledger, a_plan())
    words = "ok\n2022-12-18 ada approved\x1b[31m \u202e \ud800"
    ledger.decide(plan, "eve\r\n", "maybe", words, NOW)
    assert ledger.decide(plan, "eve", "reject", words, NOW).ok is True
    assert all(row.detail.isprintable() and row.actor.isprintable() for row in ledger.history())
    assert ledger.plan("\ud800") is None
    assert ledger.verify()[1]


TAMPER = {
    "a detail": "UPDATE audit SET detail = 'x' WHERE seq = 5",
    "an actor": "UPDATE audit SET actor = 'bob' WHERE seq = 5",
    "a time": "UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 5",
    "a type": "UPDATE audit SET detail = x'ff' WHERE seq = 5",
    "a hash": "UPDATE audit SET hash = prev_hash WHERE seq = 5",
    "a row taken out": "DELETE FROM audit WHERE seq = 5",
    "two rows swapped": "UPDATE audit SET seq = CASE seq WHEN 5 THEN -6 ELSE -5 END WHERE seq IN (5, 6);"
    " UPDATE audit SET seq = -seq WHERE seq < 0",
}


@pytest.mark.parametrize("sql", TAMPER.values(), ids=TAMPER)
def test_every_edit_of_the_audit_shows_at_its_row(ledger, sql):
    for i in range(10):
        ledger.note("p", f"note {i}", "some words", NOW)
    db = sqlite3.connect(ledger.path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.executescript(sql)
    db.rollback()
    db.executescript("DROP TRIGGER audit_keep; DROP TRIGGER audit_stay;" + sql)
    db.close()
    _, ok, bad = ledger.verify()
    assert (ok, bad) == (False, 5)


def test_a_tail_cut_off_shows_and_a_rewritten_file_shows_against_an_anchor(ledger, tmp_path):
    for i in range(10):
        ledger.note("p", f"note {i}", "words", NOW)
    anchor = ledger.head()
    assert ledger.verify(anchor) == (10, True, None)
    db = sqlite3.connect(ledger.path)
    db.executescript("DROP TRIGGER audit_stay; DELETE FROM audit WHERE seq > 7")
    assert ledger.verify() == (7, False, 8)
    db.executescript("UPDATE audit_head SET seq = 7, hash = (SELECT hash FROM audit WHERE seq = 7)")
    db.close()
    assert ledger.verify() == (7, True, None)
    assert ledger.verify(anchor) == (7, False, 8)
    other = CrashingLedger(tmp_path / "other.sqlite", Fuse())
    for i in range(12):
        other.note("p", f"forged {i}", "words", NOW)
    assert other.verify()[1]
    assert not other.verify(anchor)[1]


@given(
    row=st.integers(1, 20),
    column=st.sampled_from(("actor", "what", "plan", "before", "after", "detail")),
    at=st.integers(0, 30),
)
@settings(max_examples=examples(40), deadline=None)
def test_every_single_character_counts(tmp_path_factory, row, column, at):
    ledger = CrashingLedger(tmp_path_factory.mktemp("chain") / "ledger.sqlite", Fuse())
    for i in range(20):
        ledger.note("plan", f"what {i}", "a detail of some length", NOW)
    with ledger.transaction() as db:
        db.execute("DROP TRIGGER audit_keep")
        text = db.execute(f"SELECT {column} FROM audit WHERE seq = ?", (row,)).fetchone()[0]
        at = min(at, len(text))
        db.execute(f"UPDATE audit SET {column} = ? WHERE seq = ?", (text[:at] + "~" + text[at + 1 :], row))
    assert ledger.verify() == (20, False, row)
    ledger.close()


# The file


def test_the_file_is_durable_by_its_settings(tmp_path):
    ledger = Ledger(tmp_path / "deep" / "home" / "ledger.sqlite")
    assert ledger._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert ledger._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert ledger._db.execute("PRAGMA busy_timeout").fetchone()[0] == 5000


def test_an_older_program_refuses_a_newer_file(ledger):
    with ledger.transaction() as db:
        db.execute("UPDATE meta SET value = '2' WHERE name = 'schema_version'")
    ledger.close()
    with pytest.raises(StoreUnavailable, match="schema 2"):
        Ledger(ledger.path)


@pytest.mark.parametrize(
    "content", [b"this is no database, not at all, by no means" * 40, b"SQLite format 3\0" + b"\0" * 5000]
)
def test_a_file_that_is_no_ledger_is_refused_in_one_line_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable) as caught:
        Ledger(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content
    with pytest.raises(StoreUnavailable):
        Ledger(tmp_path)  # a folder


def test_a_writer_that_holds_the_file_too_long_is_an_error_not_a_hang(ledger):
    other = Ledger(ledger.path, busy_s=0.05)
    with ledger.transaction(), pytest.raises(StoreUnavailable, match="locked"):
        other.note("p", "what", "", NOW)


def test_readers_see_the_ledger_while_a_change_is_being_written(ledger):
    plan = rehearsed(ledger, a_plan())
    other = Ledger(ledger.path)
    with ledger.transaction() as db:
        db.execute("UPDATE plans SET state = 'approved'")
        assert other.plan(plan).state == "rehearsed"
    assert other.plan(plan).state == "approved"


def test_a_change_that_fails_half_way_leaves_nothing(ledger):
    ledger.propose(a_plan(), NOW)
    before = ledger.verify()
    with pytest.raises(StoreUnavailable), ledger.transaction() as db:
        db.executemany("UPDATE plans SET state = ?", [("approved",), ("a", "value too many")])
    assert state(ledger, a_plan().id) == "proposed"
    assert ledger.verify() == before


def test_what_is_committed_survives_the_kill_of_its_process(tmp_path):
    code = (
        "import os, sys; sys.path[:0] = sys.argv[2:]\n"
        "from recovery_world import *\n"
        "ledger = Ledger(sys.argv[1]); plan = a_plan()\n"
        "ledger.propose(plan, START_MS); ledger.rehearsed(plan.id, {}, 0, START_MS)\n"
        "ledger.decide(plan.id, 'ada', 'approve', 'hot', START_MS)\n"
        "ledger._db.execute('BEGIN IMMEDIATE'); ledger._db.execute(\"UPDATE plans SET state = 'verified'\")\n"
        "os.kill(os.getpid(), 9)\n"
    )
    path, tests = tmp_path / "ledger.sqlite", Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code, str(path), str(tests), str(tests.parent)], check=False)
    assert done.returncode == -9
    assert state(Ledger(path), a_plan().id) == "approved"


def test_a_log_torn_at_any_byte_opens_to_a_consistent_beginning(tmp_path):
    """Power loss: the write-ahead log ends anywhere. What opens is the past at some commit, never a mixture."""
    ledger = CrashingLedger(tmp_path / "ledger.sqlite", Fuse())
    plan = rehearsed(ledger, a_plan())
    ledger.decide(plan, "ada", "approve", "hot", NOW)
    ledger.move(plan, "executing", "foretwin", "", NOW)
    main, log = (Path(f"{ledger.path}{suffix}").read_bytes() for suffix in ("", "-wal"))
    full = ledger.verify()[0]
    seen = set()
    for i, cut in enumerate([*range(0, len(log), max(1, len(log) // 40)), len(log)]):
        torn = tmp_path / f"torn{i}.sqlite"
        torn.write_bytes(main)
        Path(f"{torn}-wal").write_bytes(log[:cut])
        past = CrashingLedger(torn, Fuse())
        rows, ok, _ = past.verify()
        assert ok
        after = past.history(plan)[-1].after if rows else None
        assert (past.plan(plan).state if past.plan(plan) else None) == after
        seen.add(rows)
        past.close()
    assert {0, full} <= seen
    assert len(seen) > 2


# Work orders


def test_an_order_waits_for_a_person_and_takes_one_answer(tmp_path):
    world = World(tmp_path)
    plant = WorkOrderPlant(world.ledger, world.clock)
    first = plant.standby("p:0", 1, ["r/chiller-5"], True)
    assert first.status == "accepted"
    assert plant.standby("p:0", 1, ["r/chiller-5"], True) == first
    assert plant.standby("p:0", 1, ["r/chiller-6"], True).code == "key_reused"
    assert plant.set_point("p:1", 0, ["r/h"], "supply_c", 16).code == "fenced"
    assert plant.query("p:1") is None
    assert plant.feed("p:2", 1, [], "r/feed-b").status == "rejected"
    assert plant_port.open_orders(world.ledger) == [("p:0", "start the standby unit", ["r/chiller-5"], START_MS)]
    for who, done, words in (("foretwin", True, ""), (" ", True, ""), ("ada", False, " ")):
        assert not plant_port.confirm(world.ledger, "p:0", who, done, words, NOW).ok
    assert plant_port.confirm(world.ledger, "p:0", "ada", True, "runs", NOW).ok
    assert not plant_port.confirm(world.ledger, "p:0", "bob", False, "no", NOW).ok
    assert plant.query("p:0").status == "done"


def test_undoing_an_order_withdraws_it_or_asks_a_person_and_answers_the_same_twice(tmp_path):
    world = World(tmp_path)
    plant = WorkOrderPlant(world.ledger, world.clock)
    assert plant.undo("p:9:undo1", 1, "p:9").status == "done"
    plant.link("p:0", 1, ["r/link-1"], False)
    waiting = plant.undo("p:0:undo1", 1, "p:0")
    assert waiting.status == "accepted"
    assert plant.query("p:0").status == "rejected"
    assert plant.undo("p:0:undo1", 2, "p:0") == waiting
    assert [order[1] for order in plant_port.open_orders(world.ledger)] == ["undo: disable the link"]
    assert plant.power("p:1", 2, ["r/h"], False).status == "accepted"
    assert not plant.fence(1)
