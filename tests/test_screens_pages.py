"""The pages as a person meets them: each in its main states, and a decision from the click to the ledger."""

from __future__ import annotations

from functools import cache

import pytest
from imports import ROOT
from screens_world import HOT, LOOP, ScreenWorld
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

WALL_S = 1_700_000_000.0
REHEARSE, SYNC = "screens/rehearse.py", "screens/sync.py"


@pytest.fixture(scope="module", autouse=True)
def packages_scanned_once():
    """Streamlit looks through all installed packages for components of theirs, once in a server's life but at each page
    that is opened here: four fifths of the time of these tests."""
    with pytest.MonkeyPatch.context() as once:
        once.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture
def open_app(tmp_path, monkeypatch):
    """Open a page on a folder at a stage of the story; `change` may alter the folder first."""
    worlds = []

    def start(stage=None, page=None, change=None, identity=None, wall_s=WALL_S, query=None):
        home = tmp_path / "home"
        monkeypatch.setenv("FORETWIN_HOME", str(home))
        for name in ("NAME", "DEMO"):
            monkeypatch.delenv(f"FORETWIN_IDENTITY__{name}", raising=False)
        for name, value in (identity or {}).items():
            monkeypatch.setenv(f"FORETWIN_IDENTITY__{name}", value)
        world = ScreenWorld(home).tell(stage) if stage else None
        if world is not None:
            worlds.append(world)
            if change:
                change(world)
        at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        at.session_state["clock"] = lambda: wall_s
        for name, value in (query or {}).items():
            at.query_params[name] = value
        at.run()
        if page:
            at.switch_page(page).run()
        assert not at.exception
        return at, world

    yield start
    for world in worlds:
        world.close()


def said(at) -> str:
    """All text of a page."""
    kinds = (at.markdown, at.caption, at.error, at.warning, at.info, at.subheader, at.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def button(at, label):
    return next((one for one in at.button if one.label == label), None)


# --- both pages ------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [None, REHEARSE, SYNC])
def test_the_first_run_says_what_to_do_next(open_app, page):
    at, _ = open_app(page=page)
    assert "foretwin demo" in said(at)
    assert not at.button


@pytest.mark.parametrize("page", [None, REHEARSE, SYNC])
@pytest.mark.parametrize("stage", ["quiet", "awaiting", "executing", "ended"])
def test_every_stage_opens_without_a_fault(open_app, page, stage):
    at, _ = open_app(stage, page, identity={"DEMO": "1"})
    text = said(at)
    assert "DEMO DATA" in text
    assert "SIMULATED" in text
    assert "UTC" in text


@pytest.mark.parametrize("page", [None, REHEARSE])
def test_stale_telemetry_is_said_and_nothing_is_actionable(open_app, page):
    at, _ = open_app("awaiting", page, change=lambda w: w.status(age_s=600.0), identity={"NAME": "Ada"})
    assert "Telemetry is stale, 10 min old" in said(at)
    assert button(at, "Approve") is None


@pytest.mark.parametrize("page", [None, REHEARSE])
def test_a_dead_worker_is_said(open_app, page):
    at, _ = open_app("awaiting", page, wall_s=WALL_S + 120, identity={"NAME": "Ada"})
    assert "The worker has been silent for 2.0 min" in said(at)
    assert button(at, "Approve") is None


def test_a_pause_is_said(open_app):
    at, _ = open_app("quiet", change=lambda w: w.status(paused={"who": "grace", "why": "maintenance"}))
    assert "Paused by grace: maintenance" in said(at)


def test_text_from_outside_is_not_markup(open_app):
    def change(world):
        world.status(site=":red[boom] <b>x</b>", paused={"who": "[x](http://evil.example)", "why": "`y`"})

    at, _ = open_app("quiet", change=change)
    raw = "\n".join(str(one.value) for one in [*at.markdown, *at.warning])
    assert "\\:red\\[boom\\]" in raw
    assert "](http" not in raw


# --- fleet -----------------------------------------------------------------------------------


def test_the_fleet_shows_who_needs_action(open_app):
    at, _ = open_app("awaiting")
    text = said(at)
    assert f"{LOOP}** · loop · **94 %** to fail within 1 h" in text
    assert "Why: flow 0.61 of nominal" in text
    table = at.dataframe[0].value
    assert list(table.columns)[:5] == ["Component", "Kind", "Risk", "Within", "Time to failure"]
    assert table.iloc[0]["Status"] == "■ Awaiting approval"


def test_a_quiet_fleet_says_that_nothing_needs_action(open_app):
    at, _ = open_app("quiet")
    assert "Nothing needs action: 198 components scored" in said(at)
    assert not at.error


def test_a_component_in_the_address_is_explained(open_app):
    at, _ = open_app("awaiting", query={"c": LOOP})
    assert "supply 12.9 °C, 1.9 K above its reference" in said(at)
    probabilities = at.table[0].value
    assert list(probabilities["P(fail)"])[1] == "94 %"


def test_a_component_without_readings_is_unknown_not_low(open_app):
    at, _ = open_app("quiet", query={"c": "hk/zone-b/r17"})
    assert "Unknown, not low" in said(at)


def test_an_unknown_component_in_the_address_is_named_with_its_likes(open_app):
    at, _ = open_app("quiet", query={"c": "hk/zone-c/lop"})
    assert "There is no component hk/zone-c/lop" in said(at)
    assert LOOP in said(at)
    button(at, "Show the whole fleet").click().run()
    assert "There is no component" not in said(at)


def test_choosing_a_component_puts_it_into_the_address(open_app):
    at, _ = open_app("quiet")
    at.selectbox[0].select(HOT).run()
    assert f"**{HOT}**, hall" in said(at)


# --- rehearse --------------------------------------------------------------------------------


def test_the_plans_stand_side_by_side(open_app):
    at, _ = open_app("awaiting", REHEARSE, identity={"DEMO": "1"})
    table = at.table[0].value
    assert list(table.columns)[:2] == ["Do nothing", "Cap and migrate ★"]
    assert table.loc["Lost service, min"].iloc[1] == "**64 (41–98)**"
    assert "256 members" in said(at)


def test_an_approval_reaches_the_ledger(open_app):
    at, world = open_app("awaiting", REHEARSE, identity={"NAME": "Ada"})
    at.radio[0].set_value(world.plans["cap"])
    at.text_input[0].set_value("less data to move")
    button(at, "Approve").click().run()
    assert not at.exception
    (row,) = world.ledger.decisions(world.plans["cap"])
    assert (row.who, row.what, row.reason, row.at_ms) == ("Ada", "approve", "less data to move", world.now_ms)
    assert world.ledger.plan(world.plans["cap"]).state == "approved"
    assert world.ledger.plan(world.plans["cap_and_migrate"]).state == "superseded"
    text = said(at)
    assert "Cap: Approved, about to start" in text
    assert "Approved by Ada" in text
    assert world.ledger.steps(world.plans["cap"]) == [], "the page executes nothing"


def test_the_recommended_plan_is_chosen_beforehand_and_the_demo_operator_is_marked(open_app):
    at, world = open_app("awaiting", REHEARSE, identity={"DEMO": "1"})
    assert at.radio[0].value == world.plans["cap_and_migrate"]
    assert "demo operator, emulated site only" in said(at)
    at.text_input[0].set_value("the hall warms up")
    button(at, "Approve").click().run()
    (row,) = world.ledger.decisions(world.plans["cap_and_migrate"])
    assert row.who == "demo operator"


def test_a_rejection_reaches_the_ledger(open_app):
    at, world = open_app("awaiting", REHEARSE, identity={"NAME": "Ada"})
    at.text_input[0].set_value("the loop is being bled already")
    button(at, "Reject").click().run()
    assert world.ledger.plan(world.plans["cap_and_migrate"]).state == "rejected"
    assert "Rejected by Ada" in said(at)
    assert button(at, "Approve") is not None, "the other plans still wait"


def test_without_a_reason_nothing_is_decided(open_app):
    at, world = open_app("awaiting", REHEARSE, identity={"NAME": "Ada"})
    button(at, "Approve").click().run()
    assert "Not done: no reason given" in said(at)
    assert world.ledger.plan(world.plans["cap_and_migrate"]).state == "rehearsed"


@pytest.mark.parametrize(
    ("identity", "mode", "why"),
    [(None, "demo", "does not know who you are"), ({"DEMO": "1"}, "live", "emulated sites only")],
)
def test_without_an_identity_there_are_no_buttons(open_app, identity, mode, why):
    def change(world):
        world.status(mode=mode, now_ms=world.now_ms)

    at, _ = open_app("awaiting", REHEARSE, change=change, identity=identity)
    assert not at.button
    assert why in said(at)
    assert len(at.table[0].value.columns) == 5, "reading is for everybody"


def test_a_plan_that_fails_the_gate_can_only_be_rejected(open_app):
    at, world = open_app("awaiting", REHEARSE, identity={"NAME": "Ada"})
    at.radio[0].set_value(world.plans["drain_at_checkpoint"])
    at.text_input[0].set_value("let us try")
    button(at, "Approve").click().run()
    assert "Not done: the gate does not let this plan through" in said(at)
    assert world.ledger.plan(world.plans["drain_at_checkpoint"]).state == "rehearsed"


def test_no_alert_means_no_plan_to_compare(open_app):
    at, _ = open_app("quiet", REHEARSE, identity={"NAME": "Ada"})
    assert "No alert stands" in said(at)


def test_a_running_plan_shows_its_steps(open_app):
    at, _ = open_app("executing", REHEARSE, identity={"NAME": "Ada"})
    assert "Cap and migrate: Executing" in said(at)
    steps = at.dataframe[0].value
    assert list(steps["Step"]) == ["1", "2", "3", "4"]
    assert button(at, "Approve") is None


def test_the_end_shows_what_was_saved_and_the_eight_parts(open_app):
    at, _ = open_app("ended", REHEARSE)
    text = said(at)
    assert "Recovered: service fell and came back" in text
    assert "58.4 min" in text
    assert "604.2 min" in text
    assert "545.8 min saved" in text
    assert len(at.table[0].value) == 9


# --- sync -------------------------------------------------------------------------------------


def tables(at) -> str:
    return "\n".join(one.value.to_string() for one in at.table)


def test_the_sync_page_shows_channels_halls_and_sensors(open_app):
    at, _ = open_app("quiet", SYNC)
    shown = tables(at)
    for found in ("Rack inlet, K", "Hall power, kW", "93 %", "MAPE", "CV-RMSE", "NMBE", "hk/zone-b/r07", "frozen"):
        assert found in shown, found
    assert "0.76 × persistence" in said(at)
    assert "34 came too late" in said(at)


def test_a_hall_out_of_sync_is_in_the_banner_and_on_the_page(open_app):
    def lose(world):
        world.status(in_sync=False, sync_reason="hk/zone-c: rack.outlet_c is 4.6 times as far off as expected")
        world.post(sync=world.sync(out=True))

    at, _ = open_app("awaiting", SYNC, change=lose)
    assert "The twin does not follow the site: hk/zone-c: rack.outlet_c" in said(at)
    assert "OUT of sync" in said(at)
    assert "out of sync since" in tables(at)


def test_sources_are_listed_where_a_feeder_runs(open_app):
    rows = [{"name": "ups-a", "kind": "nut", "state": "silent", "age_s": 340.0, "readings": 812, "refused": 1}]
    at, _ = open_app("quiet", SYNC, change=lambda w: w.post(sources=rows))
    assert "ups-a" in tables(at)
    assert "5.7 min old" in tables(at)


@pytest.mark.parametrize(
    "sync",
    [
        {},
        {"rows": []},
        {"rows": [{"channel": "x.y"}], "halls": [{}], "shut_out": [{}], "refused": {"odd": "many"}, "not_used": [1]},
        {"rows": [{"channel": "rack.inlet_c", "horizon_s": None, "rmse": None, "persistence_rmse": 0}, 7]},
    ],
)
def test_a_report_of_another_shape_does_not_break_the_page(open_app, sync):
    open_app("quiet", SYNC, change=lambda w: w.post(sync=sync))
