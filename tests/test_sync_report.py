"""The sync report: forecasts that wait for their readings, halls that fall out of sync, and what follows from that."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import BrokenExecutor, Future
from dataclasses import replace

import numpy as np
import pytest
from emulated_world import SITE, TICK_MS, Beside, quickly
from recovery_world import CAP, START_MS, a_plan
from twin_stories import T0_MS

from plant.actions import do_nothing
from plant.errors import ConfigError
from plant.incident import load_incident
from plant.site import load_site
from predict import registry
from predict.score import Scorer
from recovery.choose import Policy, held_back, judge
from recovery.ledger import Ledger
from recovery.loop import NOT_FOLLOWED, Settings
from recovery.propose import Context, propose
from recovery.rehearse import Rehearsal
from twin.board import Board
from twin.sync.ahead import FIGURES, LATE_MS, Look, Lookout, live_on, score_of, summary
from twin.sync.divergence import IN_AFTER_MS, OUT_AFTER_MS, Divergence, halls_behind
from twin.sync.shutouts import REMEMBERED_MS
from twin.sync.synchronise import Synchroniser
from twin.telemetry.store import Batch
from verbs import sync_report
from verbs.boardposts import SCORES, Poster
from verbs.livework import MODELS, recall_sync
from verbs.replay_run import Case, Replay

MINUTE_MS = 60_000
INLET, OUTLET = ("rack", "inlet_c"), ("rack", "outlet_c")
EAST, WEST = SITE.hall_ids[0], SITE.hall_ids[-1]


# --- forecasts that meet their readings ------------------------------------------------------------------------------


def look(mean: list[float], sd: float = 1.0, persistence: float = 20.0) -> Look:
    n = len(mean)
    return Look(0, 600_000, np.array(mean), np.full(n, sd), np.full(n, persistence))


def test_a_score_is_what_the_definitions_say():
    one = look([21.0, 22.0, 19.0])
    one.read[:] = [20.0, 24.0, np.nan]
    none = np.zeros(3, dtype=bool)
    found = summary([score_of(one, slice(0, 3), none, none)])
    assert found["n"] == 2
    assert found["rmse"] == pytest.approx(np.sqrt((1.0 + 4.0) / 2))
    assert found["nmbe"] == pytest.approx((1.0 - 2.0) / 44.0)
    assert found["cv_rmse"] == pytest.approx(np.sqrt(2.5) / 22.0)
    assert found["mape"] == pytest.approx((1 / 20 + 2 / 24) / 2)
    assert found["persistence_rmse"] == pytest.approx(np.sqrt(16.0 / 2))
    assert found["coverage80"] == 0.5


def test_sensors_that_are_shut_out_or_silent_do_not_score():
    one = look([21.0, 22.0, 19.0])
    one.read[:2] = [20.0, 24.0]
    out, silent = np.array([True, False, False]), np.array([False, False, True])
    score = score_of(one, slice(0, 3), out, silent)
    assert (score.n, score.stale) == (1, 1)
    assert score_of(one, slice(0, 1), out[:1], silent[:1]) is None
    empty = summary([replace(score, n=0)])
    assert empty["reason"]
    assert all(empty[name] is None for name in FIGURES)


@pytest.fixture(scope="module")
def followed() -> Beside:
    """A twin beside the tiny site for 13 minutes, looking ahead."""
    beside = Beside(*quickly())
    for _ in range(13 * 4):
        batch = beside.tick()
        beside.twin.look_ahead(batch, beside.emulator.now_ms)
    return beside


def test_forecasts_ten_minutes_ahead_are_scored_when_their_readings_come(followed):
    rows = {(r["channel"], r["horizon_s"]): r for r in followed.twin.sync_report({"rack.inlet_c": 3})}
    ahead, now = rows["rack.inlet_c", 600], rows["rack.inlet_c", 0]
    assert ahead["forecasts"] >= 1
    assert 0 < ahead["n"] <= ahead["forecasts"] * len(SITE.rack_ids)
    assert ahead["rmse"] < 1.5
    assert ahead["refused"] == now["refused"] == 3
    assert now["mape"] < 0.05
    assert 0.0 < now["coverage80"] <= 1.0
    assert ("rack.inlet_c", 3600) not in rows, "an hour has not passed"
    json.dumps(list(rows.values()), allow_nan=False)


def test_looking_ahead_moves_nothing_in_the_live_twin(followed):
    before = followed.twin.state.digest()
    followed.twin.lookout.look(followed.twin.state, None, followed.emulator.now_ms)
    assert followed.twin.state.digest() == before


@pytest.mark.parametrize("lost", [False, True])
def test_a_forecast_made_in_another_process_is_the_same(followed, lost):
    """Also where that process is lost: then it is made here, from what was asked."""
    state, now_ms = followed.twin.state, followed.emulator.now_ms
    here, there = Lookout(followed.twin.sync), Lookout(followed.twin.sync)

    def beside(*told):
        answer: Future = Future()
        if lost:
            answer.set_exception(BrokenExecutor())
        else:
            answer.set_result(pickle.loads(pickle.dumps(live_on(SITE, *pickle.loads(pickle.dumps(told))))))
        return answer

    there.beside = beside
    for lookout in (here, there):
        lookout.look(state, None, now_ms)
    assert len(here.waiting) == 2
    assert not there.waiting, "nobody waits for what is not due"
    there.tick(state, None, Batch.of([], [], [], []), now_ms + 600_000)
    for one, other in zip(here.waiting, there.waiting[: len(here.waiting)], strict=True):
        assert (one.made_ms, one.due_ms) == (other.made_ms, other.due_ms)
        for name in ("mean", "sd", "persistence"):
            assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True), name
    assert (there.beside is None) == lost


def test_a_forecast_hears_nothing_older_than_its_instant(followed):
    sync = followed.twin.sync
    lookout, name = Lookout(sync), SITE.rack_ids[0]
    n = sync.names.count
    lookout.waiting.append(Look(0, T0_MS, np.zeros(n), np.ones(n), np.zeros(n)))
    for at_ms, value in ((T0_MS - 60_000, 1.0), (T0_MS + 15_000, 2.0), (T0_MS + 30_000, 3.0), (T0_MS + LATE_MS, 4.0)):
        lookout._hear(Batch.of([at_ms], [name], ["inlet_c"], [value]), max(at_ms, T0_MS))
    assert lookout.waiting[0].read[sync.names.first[INLET]] == 2.0


def test_scores_outlive_the_worker_that_took_them(followed, tmp_path):
    board = Board(tmp_path / "telemetry.sqlite")
    before, now_ms = followed.twin.lookout.rows(), followed.emulator.now_ms
    assert before
    poster = Poster(board, {})
    for _ in range(2):  # told once
        poster._keep_scores(followed)
    due_ms, _, sums = board.history(SCORES, 0, now_ms)[0]
    broken = [("rack.inlet_c@600", {**sums, "n": "many"}), ("rack.inlet_c@600", 7), ("rack.nothing_c@600", sums),
              ("rack.inlet_c@60", sums), ("rack.inlet_c@", sums), ("rack.outlet_c@600", {})]  # fmt: skip
    for k, row in enumerate(broken):
        board.add_history(SCORES, due_ms + 1 + k, [row])
    later = Beside(*quickly())
    recall_sync(later, board, now_ms + 60_000)
    assert later.twin.lookout.rows() == before
    rows = {(r["channel"], r["horizon_s"]): r for r in later.twin.sync_report({})}
    assert rows["rack.inlet_c", 600]["n"] > 0, "in the report before this worker has made a forecast"
    recall_sync(later, board, now_ms + 60_000 + REMEMBERED_MS)
    assert later.twin.lookout.rows() == before, "nothing of before yesterday"
    assert later.twin.lookout.take_news() == [], "what is remembered is not told again"
    board.close()


# --- halls -----------------------------------------------------------------------------------------------------------


class Heard:
    """A judge of halls, told innovations directly."""

    def __init__(self) -> None:
        self.sync = Synchroniser(SITE)
        self.divergence = Divergence(SITE, self.sync)
        self.now_ms = T0_MS

    def say(self, minutes: int, z: float, hall: str = EAST, key: tuple[str, str] = OUTLET, which: int | None = None):
        """All racks of a hall (or one of them) say z for some minutes, those of the other halls 0.5."""
        at = self.sync.names.first[key] + np.arange(self.sync.names.size[key])
        mine = np.flatnonzero(SITE.rack_hall == SITE.hall_ids.index(hall))
        for _ in range(minutes):
            self.now_ms += MINUTE_MS
            scaled = np.full(len(at), 0.5)
            scaled[mine if which is None else mine[which]] = z
            self.sync.board.post(at, scaled, self.now_ms)
            self.sync.past.newest_ms[at] = self.now_ms
            self.divergence.note(self.now_ms)
        return self.divergence.in_sync()


def test_a_hall_falls_out_after_minutes_and_comes_back_after_ten():
    heard = Heard()
    assert heard.say(20, 0.6) == (True, "")
    assert heard.say(2, 5.0)[0], "one bad minute is no divergence"
    in_sync, why = heard.say(OUT_AFTER_MS // MINUTE_MS + 3, 5.0)
    assert not in_sync
    assert EAST in why
    assert "rack.outlet_c" in why
    assert not heard.say(8, 0.5)[0], "a good minute is no return"
    assert heard.say(8 + IN_AFTER_MS // MINUTE_MS, 0.5)[0]


def test_between_the_limits_everything_stays_as_it_is():
    heard = Heard()
    assert heard.say(60, 2.5)[0]
    assert not heard.say(12, 5.0)[0]
    assert not heard.say(60, 2.5)[0]


def test_only_the_hall_that_diverges_is_out():
    heard = Heard()
    heard.say(30, 5.0, hall=WEST)
    found = {one.hall: one for one in heard.divergence.halls()}
    assert found[WEST].out
    assert not found[EAST].out
    assert heard.divergence.in_sync({EAST})[0]
    assert not heard.divergence.in_sync({WEST})[0]
    assert found[WEST].since_ms is not None


def test_one_sensor_shut_out_says_nothing_but_a_crowd_does():
    heard = Heard()
    first = heard.sync.names.first[OUTLET]
    mine = first + np.flatnonzero(SITE.rack_hall == 0)
    assert len(mine) >= 4
    heard.sync.sensors.out[mine[0]] = True
    assert heard.say(30, 50.0, which=0)[0]
    heard.sync.sensors.out[mine] = True
    assert not heard.say(30, 5.0)[0]


def test_a_hall_may_be_off_in_power_by_what_changes_no_plan():
    heard = Heard()
    first = heard.sync.names.first["hall", "power_kw"]
    for z, lost in ((5.0, False), (12.0, True)):
        for _ in range(40):
            heard.now_ms += MINUTE_MS
            heard.sync.board.post(np.array([first]), np.array([z]), heard.now_ms)
            heard.sync.past.newest_ms[first] = heard.now_ms
            heard.divergence.note(heard.now_ms)
        assert bool(heard.divergence.out[0]) is lost


def test_sensors_that_fell_silent_say_nothing():
    heard = Heard()
    heard.say(4, 5.0)
    level2 = heard.divergence.level2.copy()
    heard.divergence.note(heard.now_ms + 20 * MINUTE_MS)
    np.testing.assert_array_equal(heard.divergence.level2, level2)


def test_the_halls_behind_a_component_share_its_water():
    hall = SITE.hall_ids[0]
    same = {h for i, h in enumerate(SITE.hall_ids) if SITE.hall_loop[i] == SITE.hall_loop[0]}
    loop = SITE.loop_ids[int(SITE.hall_loop[0])]
    rack = SITE.rack_ids[0]
    for component in (hall, loop, rack, SITE.components("chiller")[0]):
        assert halls_behind(SITE, component) >= {hall}
        assert halls_behind(SITE, component) <= same
    assert halls_behind(SITE, "somewhere/else") == set(SITE.hall_ids)


# --- what follows ----------------------------------------------------------------------------------------------------


def rehearsals() -> list[Rehearsal]:
    now = START_MS
    plans = (a_plan(CAP, label="cap"), do_nothing("lab/east", now, now + 600_000, "s" * 8, "p" * 8))
    lost = {"cap": 10.0, "do_nothing": 100.0}
    return [
        Rehearsal(
            plan, {"lost_service_min": np.full(8, lost[plan.label])}, np.full(8, 30.0), np.full(8, 600.0),
            np.full(8, np.nan), 8, 3600.0,
        )
        for plan in plans
    ]  # fmt: skip


def test_a_plan_held_back_goes_behind_doing_nothing():
    judged = judge(rehearsals(), Policy())
    assert [j.rehearsal.plan.label for j in judged] == ["cap", "do_nothing"]
    told = held_back(judged, {judged[0].rehearsal.plan.id: "the twin does not follow the site: hall off"})
    assert [(j.rehearsal.plan.label, j.rank) for j in told] == [("do_nothing", 1), ("cap", 2)]
    assert told[1].gate_reasons == ("the twin does not follow the site: hall off",)
    assert held_back(judged, {}) == judged


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def test_a_plan_rehearsed_out_of_sync_is_not_approved_but_may_be_rejected(ledger):
    why = "lab/east: rack.outlet_c is 4.6 times as far off as expected"
    for plan in (a_plan(CAP, label="cap"), do_nothing("lab/east", START_MS, START_MS + 600_000, "s" * 8, "p" * 8)):
        assert ledger.propose(plan, START_MS).ok
        assert ledger.rehearsed(plan.id, {"in_sync": False, "sync_reason": why}, 0, START_MS).ok
        verdict = ledger.decide(plan.id, "ada", "approve", "it burns", START_MS + 1)
        if plan.steps:
            assert verdict.reasons == (f"the twin did not follow the site when this was rehearsed: {why}",)
            assert ledger.decide(plan.id, "ada", "reject", "not on that twin", START_MS + 2).ok
        else:
            assert verdict.ok, "doing nothing needs no twin"


def test_a_worker_that_starts_again_does_not_trust_a_lost_hall(tmp_path):
    board = Board(tmp_path / "telemetry.sqlite")
    posted = [{"hall": EAST, "out": True}, {"hall": WEST, "out": False}, {"hall": "gone", "out": True}, "odd"]
    board.put_json("sync", {"rows": [], "halls": posted}, T0_MS)
    for later_ms, trusted in ((60_000, False), (10 * 3_600_000, True)):
        beside = Beside(*quickly())
        recall_sync(beside, board, T0_MS + later_ms)
        assert beside.twin.in_sync(EAST)[0] is trusted
        assert [one.out for one in beside.twin.divergence.halls()].count(True) == (0 if trusted else 1)
    board.close()


# --- the verb --------------------------------------------------------------------------------------------------------


def test_the_report_is_read_from_the_board_of_a_worker_that_is_gone(tmp_path):
    board = Board(tmp_path / "telemetry.sqlite")
    rows = [{"channel": "rack.inlet_c", "horizon_s": 600, "rmse": 0.2, "n": 12}]
    board.put_json("status", {"site": "tiny", "simulated": True, "age_s": 9.0}, T0_MS)
    board.put_json("sync", {"rows": rows, "in_sync": False, "sync_reason": "a hall", "refused": {"too_old": 2}}, T0_MS)
    board.close()
    found = sync_report.run(tmp_path)
    assert found["in_sync"] is False
    assert found["sync_reason"] == "a hall"
    assert found["rows"][0]["rmse"] == 0.2
    assert found["rows"][0].keys() >= {"channel", "horizon_s", "mape", "nmbe", "cv_rmse", "persistence_rmse", "stale"}
    assert found["refused_by_reason"] == {"too_old": 2}
    assert found["simulated"]


def test_without_a_worker_there_is_no_report_and_a_cure(tmp_path):
    with pytest.raises(ConfigError, match="foretwin run"):
        sync_report.run(tmp_path)
    Board(tmp_path / "telemetry.sqlite").close()
    with pytest.raises(ConfigError, match="no report"):
        sync_report.run(tmp_path)


# --- the whole way ---------------------------------------------------------------------------------------------------


def lived(minutes: int, beside: Beside) -> Beside:
    for _ in range(minutes * MINUTE_MS // TICK_MS):
        beside.tick()
    return beside


@pytest.mark.slow
@pytest.mark.parametrize("seed", [5, 6, 7])
def test_a_clean_site_never_falls_out_of_sync(seed):
    beside = Beside(*quickly(seed, 2.0))
    for _ in range(90 * MINUTE_MS // TICK_MS):
        beside.tick()
        assert beside.twin.in_sync() == (True, ""), beside.emulator.now_ms


@pytest.mark.slow
def test_a_site_whose_air_flow_halves_is_no_longer_followed():
    beside = lived(30, Beside(*quickly(5, 2.0)))
    assert beside.twin.in_sync()[0]
    state = beside.emulator.engine.state
    state.arrays["rack_flow_kw_per_k"][...] *= 0.5
    beside.emulator.engine.derived.mark_air()
    lived(15, beside)
    followed, why = beside.twin.in_sync()
    assert not followed
    # the racks' air is where it went wrong; whoever is farther off tells
    assert "rack.outlet_c" in why or "hall.hot_c" in why


@pytest.mark.slow
def test_on_a_lost_site_no_plan_passes_the_gate_and_none_is_approved(tmp_path):
    """The whole way: physics that diverge, an alert's plans rehearsed, held back, written down, refused to a person."""
    site = load_site("hall")
    case = Case(site, load_incident("alibaba-hk-2022-12-18", site), 0, quiet=True)
    settings = Settings(members=8, finalists=8, horizon_s=1800.0)
    replay = Replay(case, Scorer(site, registry.newest(MODELS)), settings, tmp_path, 0.0)
    worker, hidden = replay.worker, replay.emulator.engine
    outcomes = []
    for minute in (30, 60):
        until_ms = replay.start_ms + minute * MINUTE_MS
        while replay.emulator.now_ms < until_ms:
            version = replay.emulator.advance(replay.emulator.now_ms + TICK_MS)["jobs_version"]
            worker.look(replay.emulator.now_ms, version)
        loop = site.loop_ids[0]
        context = Context(loop, (), worker.twin.state.digest(), settings.policy_hash, until_ms)
        judged = worker.judge(loop, {3600: 0.9}, propose(site, context))
        worker._record(judged, until_ms)
        outcomes.append((worker.twin.in_sync()[0], judged))
        hidden.state.arrays["rack_flow_kw_per_k"][...] *= 0.5
        hidden.derived.mark_air()
    (followed, before), (still, after) = outcomes
    assert followed
    assert not still
    assert not any(NOT_FOLLOWED in reason for j in before for reason in j.gate_reasons)
    acting = [j.rehearsal.plan for j in after if j.rehearsal.plan.steps]
    assert acting
    assert after[0].rehearsal.plan.label == "do_nothing"
    assert all(NOT_FOLLOWED in " ".join(j.gate_reasons) for j in after if j.rehearsal.plan.steps)
    for plan in acting:
        row = replay.ledger.plan(plan.id)
        assert row.rehearsal["in_sync"] is False
        verdict = replay.ledger.decide(plan.id, "ada", "approve", "I insist", replay.emulator.now_ms)
        assert not verdict.ok
        assert "did not follow the site" in " ".join(verdict.reasons)
    replay.ledger.close()
