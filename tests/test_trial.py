"""Trials: what happens to an emulated site, what its sensors get wrong, what a twin beside it learns. Simulated."""

from __future__ import annotations

import numpy as np
import pytest
from emulated_world import SITE, quickly
from twin_stories import MINUTE_MS, T0_MS

from twin.cooling_bits import CHILLER_ON, STARTING
from twin.engine import Engine
from twin.ensemble import LIVE, Spread, make_state
from twin.sensors import Quality, Sensors
from twin.sync.confirm import Confirm
from twin.sync.events import adopt_events
from twin.sync.follow import doubt_power
from twin.sync.sharedair import LEAST_RACKS, SharedAir
from twin.sync.synchronise import Synchroniser
from twin.telemetry.store import Event
from verbs import trial_story
from verbs.trial_excited import MOVED, excited, observer
from verbs.trial_learned import learned, table
from verbs.trial_rows import rows, windows
from verbs.trial_run import followers, play
from verbs.trial_story import START_MS, Story

CHILLER = SITE.chiller_ids[0]


# --- the site and its sensors -----------------------------------------------------------------


def test_an_even_spread_fills_its_range_and_never_leaves_it():
    even = make_state(SITE, T0_MS, members=200, seed=3, spread=Spread(rack_flow_frac=0.1, uniform=True))
    moved = np.log(even.rack_flow_kw_per_k / SITE.rack_flow_kw_per_k)
    assert np.abs(moved).max() <= 0.2
    assert moved.std() == pytest.approx(0.2 / 3**0.5, rel=0.05)


def test_outliers_have_the_asked_share_and_spare_states():
    d = quickly(7)[0].engine.derived
    clean, spoilt = (Sensors(SITE, 7, Quality(gap_frac=0.0, late_frac=0.0, outlier_frac=f)) for f in (0.0, 0.1))
    wrong = said = 0
    for k in range(60):
        (right, _), (batch, _) = (s.read(d, T0_MS + k * 15_000) for s in (clean, spoilt))
        differs = right.value != batch.value
        states = np.isin(right.channel, ["running", "ok"])
        assert not differs[states].any()
        measured = ~states & (np.abs(right.value) > 1e-6) & (right.channel != "battery_frac")
        wrong, said = wrong + int(differs[measured].sum()), said + int(measured.sum())
    assert wrong / said == pytest.approx(0.1, abs=0.01)
    assert (batch.value[(batch.channel == "inlet_c")] != 0.0).any()


def test_a_calm_story_has_no_happenings_and_an_eventful_one_moves_every_hall():
    calm, moved = (Story(SITE, 4, 3.0, eventful) for eventful in (False, True))
    assert calm.happenings() == []
    assert {h.hall for h in moved.happenings()} == set(SITE.hall_ids)
    times = [h.at_ms for h in moved.happenings()]
    assert times == sorted(times)
    assert all(at_ms % 15_000 == 0 for at_ms in times)
    assert moved.happenings() != Story(SITE, 5, 3.0, True).happenings()


# --- what the twin takes from what it hears ---------------------------------------------------


def test_a_starting_chiller_runs_when_its_start_is_over():
    s = make_state(SITE, T0_MS, members=3)
    adopt_events(s, SITE, [Event(T0_MS, CHILLER, "chiller", str(STARTING)), Event(T0_MS, "nobody", "chiller", "3")])
    assert (s.chiller_phase[:, 0] == STARTING).all()
    takes_ms = int(SITE.cooling.chiller_retry_s[0] * 1000)
    engine = Engine(s, SITE)
    assert (engine.run(T0_MS + takes_ms - MINUTE_MS).chiller_phase[:, 0] == STARTING).all()
    assert (engine.run(T0_MS + takes_ms + MINUTE_MS).chiller_phase[:, 0] == CHILLER_ON).all()


def test_new_work_makes_the_power_of_its_nodes_uncertain_and_of_no_others():
    engine = Engine(make_state(SITE, T0_MS, members=64, seed=1, spread=LIVE), SITE)
    d, before = engine.derived, engine.derived.util_frac.copy()
    scale = d.state.node_power_scale.copy()
    doubt_power(d, before)
    assert (d.state.node_power_scale == scale).all()  # nothing changed
    d.util_frac[:, :2] += 0.5
    doubt_power(d, before)
    ratio = d.state.node_power_scale / scale
    assert ratio[:, :2].std() == pytest.approx(0.08, rel=0.3)
    assert ratio[:, 0] == pytest.approx(ratio[:, 1])  # nodes of one rack share the doubt
    assert (ratio[:, 2:] == 1.0).all()


def test_what_all_inlets_of_a_hall_say_is_common_and_a_lone_one_is_not():
    air, racks = SharedAir(SITE, Synchroniser(SITE).names), np.flatnonzero(SITE.rack_hall == 0)
    assert len(racks) == LEAST_RACKS
    air.hear(racks, np.array([2.0, 2.1, 1.9, 9.0]), T0_MS)
    assert air.common_k == pytest.approx([2.05, 0.0])
    air.hear(racks, np.array([0.0, 0.1, -0.1, 9.0]), T0_MS + 15_000)
    assert air.common_k[0] == pytest.approx(0.05)
    air.hear(racks[:2], np.array([5.0, 5.0]), T0_MS + 10 * MINUTE_MS)  # the others have been silent for long
    assert air.common_k[0] == 0.0


def test_a_surprising_reading_counts_when_it_is_said_twice():
    confirm, at = Confirm(), np.array([0, 1])
    no, key = np.zeros(2, dtype=bool), ("node", "power_kw")
    assert confirm.sure(key, 2, at, np.array([1.0, 1.0]), no).all()
    yes = np.array([True, True])
    assert not confirm.sure(key, 2, at, np.array([3.0, 4.0]), yes).any()
    assert confirm.sure(key, 2, at, np.array([3.1, 9.0]), yes).tolist() == [True, False]


# --- learning ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lived():
    """Two hours of an eventful tiny site, with what an ideal observer could have known."""
    story, twins, seen = Story(SITE, 3, 2.5, True), followers(SITE, 3, 48), observer(SITE, 3)
    trial = play(story, twins | {"observer": seen}, 2.0)
    return trial, excited(SITE, seen)


@pytest.mark.slow
def test_a_corrected_twin_learns_what_the_story_excites_and_one_that_is_not_does_not(lived):
    trial, moved = lived
    by = {who: {r["parameter"]: r for r in table([learned(trial, who, moved)], who)} for who in ("with", "without")}
    for name in ("rack_flow", "node_power"):
        assert by["with"][name]["excited"]
        assert by["with"][name]["band_ratio"] <= 0.5, name
        assert by["with"][name]["error_ratio"] <= 0.5, name
        assert by["with"][name]["truth_inside"] >= 0.7, name  # few racks: the full trial asks 0.85
        assert by["without"][name]["band_ratio"] > 0.9, name
        assert by["without"][name]["error_ratio"] > 0.9, name


@pytest.mark.slow
def test_a_corrected_twin_says_calm_inlets_better_than_one_that_is_not(lived):
    trial, _ = lived
    said = {who: windows(trial, who, 600) for who in ("with", "without")}
    row = {(r["correction"], r["windows"]): r for r in rows([(3, "eventful", said)], 600, 0) if r["causes"] == "known"}
    assert row["with", "calm"]["rmse"] < row["without", "calm"]["rmse"]


@pytest.mark.slow
def test_what_moves_nothing_is_not_excited():
    """A story of one quiet minute tells nobody anything of capacities."""
    seen = observer(SITE, 3)
    assert seen.trace is not None
    s = seen.twin.state
    seen.trace += [(s.rack_inlet_c.copy(), s.rack_air_c.copy(), s.loop_supply_c.copy())] * 2
    known = excited(SITE, seen)
    assert not known["rack_mass"].any()
    assert not known["loop_water"].any()
    assert s.members > len(MOVED)
    assert trial_story.SENSORS.outlier_frac > 0.0
    assert seen.twin.state.now_ms == START_MS
