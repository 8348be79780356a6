"""What the screens say, without a browser: words, the strip, Table 5, the heat map, the comparison, the outcome."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imports import ROOT, imports_of, sources
from screens_world import COOL, HOT, LOOP, NOW_MS, STAGES, ScreenWorld

from recovery.guards import YES
from screens import charts, risks, words
from screens.comparison import MEASURES, comparison, step_words
from screens.decide import decide, may_approve, may_decide
from screens.heat import heat
from screens.identity import DEMO_OPERATOR, Identity, who
from screens.look import DEAD_S, Look, look
from screens.progress import PARTS, outcome, progress
from screens.risks import ORDER, fleet
from screens.view import strip

WALL_MS = 1_700_000_000_000
ADA = Identity("Ada")
PAGES = ("screens.fleet", "screens.rehearse", "screens.sync", "screens.component", "screens.frame")


@pytest.fixture
def at(tmp_path):
    """The look at a stage of the story, and the world behind it."""
    worlds = []

    def tell(stage: str, **more) -> tuple[Look, ScreenWorld]:
        world = ScreenWorld(tmp_path / stage, **more).tell(stage)
        worlds.append(world)
        return look(world.home, WALL_MS), world

    yield tell
    for world in worlds:
        world.close()


# --- the house rules of the screens ---------------------------------------------------------


def test_only_the_pages_draw():
    drawing = {
        module
        for module, path in sources().items()
        if module.startswith("screens.") and any(i.module.startswith("streamlit") for i in imports_of(module, path))
    }
    assert drawing == set(PAGES)


def test_the_front_door_is_short():
    assert len((ROOT / "app.py").read_text(encoding="utf-8").splitlines()) <= 60
    assert not (ROOT / "pages").exists(), "a folder of this name breaks deep links"


def test_nothing_on_a_screen_is_green():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "screens").glob("*.py"))
    assert "green" not in text
    assert "st.success" not in text


# --- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (words.percent(0.873), "87 %"),
        (words.percent(0.0004), "< 1 %"),
        (words.percent(0.9999), "> 99 %"),
        (words.percent(0.0), "0 %"),
        (words.percent(None), "–"),
        (words.percent(float("nan")), "–"),
        (words.minutes(90), "1.5 min"),
        (words.minutes(886), "15 min"),
        (words.minutes(0), "0 min"),
        (words.number(-12_345.6), "−12\u202f346"),
        (words.instant(NOW_MS), "18 Dec 2022 00:49:30 UTC"),
        (words.clock(None), "–"),
        (words.age(12), "12 s old"),
        (words.age(600), "10 min old"),
        (words.time_to_failure([300, 840, 1860]), "14 min (5–31)"),
        (words.time_to_failure([300, 840, None]), "14 min (5 or more)"),
        (words.time_to_failure([300, None, None]), "not before 5.0 min"),
        (words.time_to_failure(None), "none foreseen"),
        (words.label("do_nothing"), "Do nothing"),
        (words.listed(["a", "b", "c", "d"], 2), "a, b and 2 more"),
        (words.horizon(604_800), "7 d"),
    ],
)
def test_numbers_are_said_as_people_say_them(said, meant):
    assert said == meant


@given(st.one_of(st.none(), st.floats(), st.integers()))
def test_no_number_ever_makes_a_word_fail(value):
    for speak in (words.percent, words.number, words.minutes, words.age, words.instant, words.clock):
        assert "nan" not in speak(value)
        assert "inf" not in speak(value)


@given(st.text())
def test_foreign_text_is_never_markup(text):
    out = words.safe(text)
    for mark in "[]`*<:":
        assert mark not in out.replace("\\" + mark, "")


# --- the strip -------------------------------------------------------------------------------


def test_the_first_run_says_that_nothing_has_run(tmp_path):
    found = strip(look(tmp_path, WALL_MS))
    assert not found.started
    assert found.badges == ()
    assert found.banners == ()
    assert list(tmp_path.iterdir()) == [], "looking makes no file"


def test_the_strip_says_where_the_numbers_come_from(at):
    now, _ = at("awaiting")
    found = strip(now)
    texts = [badge.text for badge in found.badges]
    assert found.at == "18 Dec 2022 00:49:30 UTC"
    assert texts[:2] == ["DEMO DATA", "SIMULATED"]
    assert "telemetry live, 12 s old" in texts
    assert "stands still until a plan is decided" in found.clock
    assert not any(badge.wrong for badge in found.badges)
    (alarm,) = found.banners
    assert alarm.mark == "■"
    assert alarm.to_plans
    assert LOOP in alarm.text
    assert "94 % to fail within 1 h, about 15 min left" in alarm.text
    assert "awaiting approval" in alarm.text


@pytest.mark.parametrize(
    ("states", "text", "wrong"),
    [
        ([], None, False),
        (["ok", "catching up"], "2 sources, oldest 7 s old", False),
        (["ok", "failing"], "1 of 2 sources: s1 failing", True),
        (
            ["hanging", "silent", "clock ahead", "failing"],
            "4 of 4 sources: s0 hanging, s1 silent, s2 clock ahead",
            True,
        ),
    ],
)
def test_the_strip_says_how_the_sources_stand(states, text, wrong):
    rows = [{"name": f"s{n}", "state": state, "age_s": None if n else 7.0} for n, state in enumerate(states)]
    status = {"mode": "live", "worker_ms": WALL_MS, "now_ms": WALL_MS, "age_s": 1.0}
    said = [badge for badge in strip(Look(WALL_MS, status=status, sources=rows)).badges if "source" in badge.text]
    assert [(badge.text[: len(text or "")], badge.wrong) for badge in said] == ([(text, wrong)] if text else [])


def test_a_quiet_site_has_no_banner(at):
    now, _ = at("quiet")
    assert strip(now).banners == ()


@pytest.mark.parametrize(
    ("age_s", "state"), [(0, "live"), (29, "live"), (31, "late"), (74, "late"), (76, "stale"), (None, "stale")]
)
def test_staleness_counts_in_ticks(at, age_s, state):
    _, world = at("quiet")
    world.status(age_s=age_s)
    assert look(world.home, WALL_MS).freshness == state


def test_a_silent_worker_is_called_dead_but_not_after_the_end(at):
    _, world = at("awaiting")
    late_ms = WALL_MS + round(1000 * DEAD_S) + 1
    assert not look(world.home, late_ms - 2).dead
    now = look(world.home, late_ms)
    assert now.dead
    assert any("worker has been silent" in banner.text for banner in strip(now).banners)
    world.status(clock="ended")
    assert not look(world.home, late_ms).dead


def test_a_pause_and_a_twin_out_of_step_are_said(at):
    _, world = at("quiet")
    world.status(paused={"who": "grace", "why": "works on the loop"}, in_sync=False, sync_reason="rack inlet 4 K off")
    texts = " ".join(banner.text for banner in strip(look(world.home, WALL_MS)).banners)
    assert "Paused by grace: works on the loop" in texts
    assert "rack inlet 4 K off" in texts


def test_a_damaged_file_is_a_trouble_in_words(at):
    _, world = at("quiet")
    world.close()
    for name in ("telemetry.sqlite", "ledger.sqlite"):
        for path in world.home.glob(name + "*"):
            path.unlink()
        (world.home / name).write_bytes(b"not a database at all" * 100)
    found = look(world.home, WALL_MS)
    assert len(found.troubles) == 2
    assert all(banner.level == "watch" for banner in strip(found).banners)


# --- Table 5 and the heat map ---------------------------------------------------------------


def test_the_table_ranks_every_component(at):
    now, _ = at("awaiting")
    found = fleet(now)
    assert len(found.table) == len(now.risks)
    assert found.table["Component"].iloc[0] == LOOP
    bands = [ORDER.index(one.band) for one in found.scored]
    assert bands == sorted(bands)
    first = found.table.iloc[0]
    assert first["Risk"] == pytest.approx(94.0)
    assert first["Recommended action"] == "Cap and migrate"
    assert first["Status"] == "■ Awaiting approval"
    assert [one.component for one in found.needing] == [LOOP]
    child = found.of("hk/zone-c/loop/ch1")
    assert child is not None
    assert child.action == f"Follows {LOOP}"


def test_unknown_is_never_low(at):
    now, _ = at("quiet")
    one = fleet(now).of("hk/zone-b/r17")
    assert one is not None
    assert one.p is None
    assert one.band == "unknown"
    assert one.status == "◆ Unknown"
    assert fleet(now).scored[0] is not None
    assert fleet(now).scored[0].component == one.component, "it stands above every healthy one"


def test_stale_scores_are_not_to_be_acted_on(at):
    _, world = at("awaiting")
    world.status(age_s=400.0)
    now = look(world.home, WALL_MS)
    found = fleet(now)
    assert "not to be acted on" in found.why_not
    cells = charts.heat_map(heat(found.scored), frozen=True)["series"][0]["data"]
    assert all(cell["itemStyle"].get("color") in (None, charts.PANEL) for cell in cells)


def test_every_component_has_one_cell_and_abnormal_ones_a_mark(at):
    now, _ = at("awaiting")
    found = fleet(now)
    laid = heat(found.scored)
    assert len(laid.cells) == len(now.risks)
    assert len({(cell.x, cell.y) for cell in laid.cells}) == len(laid.cells)
    cells = {cell["name"].split(":")[0]: cell for cell in charts.heat_map(laid)["series"][0]["data"]}
    assert cells[LOOP]["label"]["formatter"] == "■"
    assert cells[LOOP]["itemStyle"]["color"] == charts.ACT
    assert cells["hk/zone-b/r17"]["label"]["formatter"] == "?"
    assert "color" not in cells["hk/zone-c/r01"]["itemStyle"]


def test_a_rack_takes_the_worst_of_its_parts(at):
    now, world = at("quiet")
    hot = world.risk("hk/zone-c/r01/n001", "node", 0.9, act=True)
    laid = heat(fleet(replace(now, risks=[*now.risks, hot])).scored)
    rack = next(cell for cell in laid.cells if cell.component == "hk/zone-c/r01")
    assert rack.band == "act"
    assert rack.p == pytest.approx(0.9)
    assert len(laid.cells) == len(now.risks)


def test_a_large_site_still_fits():
    world_rows = [
        {"component": f"a/h{h}/r{n:04d}", "kind": "rack", "p_fail": {"3600": 0.01}, "act": False}
        for h in range(4)
        for n in range(400)
    ]
    laid = heat(fleet(Look(WALL_MS, status={}, risks=world_rows)).scored)
    assert len(laid.cells) == 1600
    assert len(laid.rows) <= 24


def test_a_site_without_scores_says_so(at):
    _, world = at("quiet")
    world.post(risks=[], sync={"rows": []}, trend=None)
    found = fleet(look(world.home, WALL_MS))
    assert found.table.empty
    assert found.tiles[3][1] == "–"


# --- the comparison --------------------------------------------------------------------------


def test_do_nothing_stands_first_and_the_rest_by_rank(at):
    now, _ = at("awaiting")
    found = comparison(now)
    labels = [one.row.label for one in found.candidates]
    assert labels == ["do_nothing", "cap_and_migrate", "cap", "migrate", "drain_at_checkpoint"]
    assert found.recommended is not None
    assert found.recommended.row.label == "cap_and_migrate"
    table = found.table
    assert list(table.columns) == ["Do nothing", "Cap and migrate ★", "Cap", "Migrate", "Drain at checkpoint"]
    assert {measure.heading for measure in MEASURES} <= set(table.index)
    assert table.loc["Lost service, min", "Cap and migrate ★"] == "**64 (41–98)**"
    assert table.loc["Lost service, min", "Do nothing"] == "612 (498–744)"
    assert table.loc["Worse than doing nothing, %", "Cap"] == "2 (at most 4)"
    assert table.loc["Worse than doing nothing, %", "Do nothing"] == "–"
    assert table.loc["Peak inlet, °C", "Migrate"] == "39.8"
    assert table.loc["Time to recovery, min", "Cap and migrate ★"] == "**160**"
    assert table.loc["Expires", "Cap"] == "00:59:30 UTC, in 10 min"
    assert "allowed are 10 %" in table.loc["Gate", "Drain at checkpoint"]
    assert "Simulated" in found.caption
    assert "256 members, 720 min ahead" in found.caption


def test_what_fails_the_gate_is_neither_best_nor_approvable(at):
    now, _ = at("awaiting")
    found = comparison(now)
    assert "**" not in found.table.loc["Energy, kWh", "Drain at checkpoint"]
    assert "drain_at_checkpoint" not in [one.row.label for one in found.open]
    assert "drain_at_checkpoint" in [one.row.label for one in found.rejectable]
    assert "do_nothing" in [one.row.label for one in found.open]


def test_expired_plans_cannot_be_approved(at):
    _, world = at("awaiting")
    world.status(now_ms=NOW_MS + 600_000)
    found = comparison(look(world.home, WALL_MS))
    assert found.open == ()
    assert found.table.loc["Expires", "Cap"] == "00:59:30 UTC, over"


def test_energy_over_different_spans_is_not_ranked(at):
    now, _ = at("awaiting")
    assert "**" in str(list(comparison(now).table.loc["Energy, kWh"]))
    rows = [replace(r, rehearsal=r.rehearsal | {"horizon_s": 7_200.0 * (n + 1)}) for n, r in enumerate(now.plans)]
    found = comparison(replace(now, plans=tuple(rows)))
    assert "**" not in str(list(found.table.loc["Energy, kWh"]))
    assert "**" in str(list(found.table.loc["Lost service, min"]))
    assert "120 to 600 min ahead" in found.caption


def test_a_plan_that_never_recovers_says_so(at):
    now, _ = at("awaiting")
    rows = [replace(row, rehearsal=row.rehearsal | {"recovery_s": None, "in_sync": False}) for row in now.plans]
    found = comparison(replace(now, plans=(*rows[:-1], now.plans[-1])))
    assert found.table.loc["Time to recovery, min", "Cap"] == "not within 720"
    assert "did NOT follow" in found.caption


@pytest.mark.parametrize("p_fail", [0.5, {"600": 0.2, "3600": 0.5}, {"1800": 0.5}, None, {}, {"3600": None}])
def test_an_alert_may_bring_its_probability_in_any_form(at, p_fail):
    now, _ = at("awaiting")
    (alarm,) = strip(replace(now, alert=now.alert | {"p_fail": p_fail, "status": "planning", "plans": []})).banners
    assert ("50 % to fail" in alarm.text) == (p_fail in (0.5, {"600": 0.2, "3600": 0.5}, {"1800": 0.5}))
    assert "being planned for" in alarm.text


def test_plans_still_being_rehearsed_have_gaps_not_numbers(at):
    now, _ = at("awaiting")
    rows = tuple(replace(row, rehearsal=None, rank=None, state="proposed") for row in now.plans)
    found = comparison(replace(now, plans=rows))
    assert set(found.table.loc["Lost service, min"]) == {"–"}
    assert set(found.table.loc["Gate"]) == {"not rehearsed yet"}
    assert json.dumps(charts.lost_service(found))


def test_plans_of_an_older_incident_do_not_pose_as_new_ones(at):
    _, world = at("awaiting")
    world.post(alert=world.alert(plans=[]))
    assert comparison(look(world.home, WALL_MS)).candidates == ()


def test_a_damaged_plan_is_shown_as_unreadable(at):
    now, _ = at("awaiting")
    rows = tuple(replace(row, canonical="{}") for row in now.plans)
    table = comparison(replace(now, plans=rows)).table
    assert table.loc["Steps", "Cap"] == "unreadable"


def test_every_kind_of_step_can_be_said():
    from plant.actions import Action

    steps = [
        Action.of("cap_power", [HOT], cap_frac=0.6, when="cooling_back"),
        Action.of("cordon", [HOT]),
        Action.of("drain_at_checkpoint", [HOT], after_s=300.0),
        Action.of("migrate", [HOT], to_hall=COOL),
        Action.of("requeue", [HOT]),
        Action.of("start_standby", ["a/ch5", "a/ch6", "a/ch7"]),
        Action.of("transfer_feed", [HOT], to_feed="hk/feed-b"),
        Action.of("set_cooling", [HOT], supply_c=16.0, fan_frac=0.9),
        Action.of("disable_link", ["hk/link-cb"]),
        Action.of("ordered_return", [HOT]),
    ]
    said = [step_words(step) for step in steps]
    assert len(set(said)) == len(steps)
    assert said[0] == "once cooling is back, cap hk/zone-c at 60 % of peak power"
    assert said[2] == "after 5.0 min, drain hk/zone-c at checkpoints"
    assert said[7] == "set cooling of hk/zone-c to 16.0 °C supply, 90 % fan"


# --- deciding --------------------------------------------------------------------------------


def test_a_decision_goes_into_the_ledger_at_site_time(at):
    _, world = at("awaiting")
    plan = world.plans["cap_and_migrate"]
    assert decide(world.home, WALL_MS, ADA, plan, "approve", "the hall warms up") == ()
    (row,) = world.ledger.decisions(plan)
    assert (row.who, row.what, row.reason, row.at_ms) == ("Ada", "approve", "the hall warms up", NOW_MS)
    assert world.ledger.plan(plan).state == "approved"
    again = decide(world.home, WALL_MS, Identity("Grace"), plan, "approve", "me too")
    assert any("already decided" in reason for reason in again)


def test_a_decision_needs_a_reason(at):
    _, world = at("awaiting")
    plan = world.plans["cap"]
    for what in ("approve", "reject"):
        assert decide(world.home, WALL_MS, ADA, plan, what, "  ") == ("no reason given",)
    assert world.ledger.decisions(plan) == []


@pytest.mark.parametrize(
    ("identity", "mode", "word"),
    [
        (None, "demo", "read-only"),
        (Identity(DEMO_OPERATOR, demo=True), "live", "emulated sites only"),
        (Identity("ForeTwin "), "demo", "the program itself"),
        (Identity("policy"), "demo", "the program itself"),
    ],
)
def test_who_may_not_decide_is_told_why(at, identity, mode, word):
    now, world = at("awaiting", mode=mode)
    assert word in " ".join(may_decide(now, identity).reasons)
    plan = world.plans["cap"]
    assert decide(world.home, WALL_MS, identity, plan, "approve", "because")
    assert world.ledger.decisions(plan) == []


@pytest.mark.parametrize(
    ("change", "wall_ms", "word"),
    [
        ({"age_s": 500.0}, WALL_MS, "stale"),
        ({"autonomy": "observe"}, WALL_MS, "observe"),
        ({}, WALL_MS + 61_000, "worker is silent"),
    ],
)
def test_nothing_is_approved_blindly_but_all_may_be_rejected(at, change, wall_ms, word):
    _, world = at("awaiting")
    world.status(**change)
    assert word in " ".join(may_approve(look(world.home, wall_ms)).reasons)
    plan = world.plans["cap"]
    assert decide(world.home, wall_ms, ADA, plan, "approve", "because")
    assert decide(world.home, wall_ms, ADA, plan, "reject", "not on old numbers") == ()
    assert world.ledger.plan(plan).state == "rejected"


def test_an_unknown_autonomy_grants_nothing(at):
    _, world = at("awaiting")
    world.status(autonomy="yes please")
    assert decide(world.home, WALL_MS, ADA, world.plans["cap"], "approve", "because")


def test_on_a_live_site_time_never_stands_behind_the_clock(at):
    now, world = at("awaiting", mode="live")
    assert may_decide(now, ADA) == YES
    wall_ms = NOW_MS + 601_000
    # the worker's last word is from before the expiry, the clock on the wall is past it
    world.status(now_ms=NOW_MS + 590_000, worker_ms=wall_ms)
    assert look(world.home, wall_ms).now_ms == wall_ms
    assert any("expired" in reason for reason in decide(world.home, wall_ms, ADA, world.plans["cap"], "approve", "x"))


def test_identity_comes_from_file_or_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("NAME", "DEMO"):
        monkeypatch.delenv(f"FORETWIN_IDENTITY__{name}", raising=False)
    assert who() is None
    Path("foretwin.toml").write_text('[identity]\nname = "Ada  Lovelace"\n[site]\nfile = "x"\n')
    assert who() == Identity("Ada Lovelace")
    monkeypatch.setenv("FORETWIN_IDENTITY__NAME", "Grace")
    assert who() == Identity("Grace")
    monkeypatch.setenv("FORETWIN_IDENTITY__DEMO", "1")
    assert who() == Identity(DEMO_OPERATOR, demo=True)
    Path("foretwin.toml").write_text("[identity\n")
    assert who() is None, "a file that cannot be read names nobody"


# --- what became of it -----------------------------------------------------------------------


def test_a_plan_on_its_way_shows_its_receipts(at):
    now, world = at("executing")
    found = comparison(now)
    assert found.decided is not None
    state = progress(now, found.decided)
    assert state.verdict == "Executing"
    assert state.decisions == ("Approved by demo operator, 00:52:30 UTC: zone c loses its water",)
    assert list(state.steps["Step"]) == ["1", "2", "3", "4"]
    assert state.steps.iloc[0]["Status"].startswith("● done")
    assert len(state.calls) == len(world.ledger.steps(found.decided.row.id))
    assert set(state.history["What"]) >= {"propose", "approved", "executing", "intent"}
    assert fleet(now).last_action.startswith("Last recovery action: ")


def test_the_outcome_has_eight_parts_that_sum_to_the_time_to_recovery(at):
    now, _ = at("ended")
    found = outcome(now.outcome)
    assert found is not None
    assert [name for name, _ in found.parts] == [name for _, name in PARTS]
    assert sum(length for _, length in found.parts) * 60 == pytest.approx(now.outcome["mttr_s"])
    assert found.saved == "545.8 min"
    assert found.lead == "19 min before"
    assert found.simulated
    assert list(found.table["min"])[-1] == "16.6"


def test_averted_has_no_time_to_recovery():
    found = outcome({"outcome": "averted", "mttr_s": None, "parts": {}, "lost_service_min": 0.0})
    assert found is not None
    assert found.mttr == "nothing to recover from"
    assert found.parts == ()
    assert found.saved == "–"
    assert outcome(None) is None


# --- charts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_charts_are_plain_json_without_code(at, stage):
    now, _ = at(stage)
    minutes = now.trend["minutes"]
    ended = outcome(now.outcome)
    options = [
        charts.heat_map(heat(fleet(now).scored)),
        charts.lost_service(comparison(now)),
        charts.trend(minutes, now.trend["max_inlet_c"], unit="°C", limit=("27 °C", 27.0), band=(18, 27)),
        charts.trend(minutes, {"gap": [None] * len(minutes)}, unit=""),
        charts.recovery_parts(ended.parts if ended else ()),
    ]
    for option in options:
        assert "function" not in json.dumps(option, allow_nan=False)


def test_a_trend_shows_utc_its_limit_and_no_noise(at):
    now, _ = at("quiet")
    option = charts.trend(now.trend["minutes"], now.trend["loop_supply_c"], unit="°C", span=4)
    assert option["useUTC"] is True
    assert option["yAxis"]["max"] - option["yAxis"]["min"] >= 4
    limited = charts.trend(now.trend["minutes"], now.trend["max_inlet_c"], unit="°C", limit=("27 °C", 27.0))
    assert limited["yAxis"]["max"] >= 28
    assert charts.floor([99.0, 62.0, None]) == 60


def test_the_tests_of_the_screens_use_no_mocks():
    for path in Path(__file__).parent.glob("*screen*.py"):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not names & {"Mock", "MagicMock", "patch"}


def test_a_power_that_was_never_below_nothing_has_an_axis_from_nothing():
    def low(values: list[float]) -> float:
        return charts.trend([0, 1, 2], {"power": values}, unit="kW", span=200)["yAxis"]["min"]

    assert low([40.0, 50.0, 55.0]) == 0.0
    assert low([900.0, 905.0, 910.0]) > 700.0
    assert low([-5.0, 1.0, 2.0]) < -5.0


def test_the_worst_error_has_its_unit_its_name_and_how_far_ahead():
    row = {"channel": "ups.load_frac", "horizon_s": 600, "rmse": 0.036, "persistence_rmse": 0.001}
    assert risks._sync_words([row]) == ("3.6 points", "UPS load 10 min ahead, RMSE; 36 × that of persistence")
    row = {"channel": "node.gpu_c", "horizon_s": 0, "rmse": 12.3, "persistence_rmse": 4.1}
    value, remark = risks._sync_words([row])
    assert value == "12 K"
    assert remark.endswith("now, RMSE; 3 × that of persistence")
