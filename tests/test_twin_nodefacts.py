"""Whether nodes run is a fact: words, announcements, silence, meters; what heat teaches about where they stop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from emulated_world import SITE, TICK_MS, Beside, emulated
from twin_stories import MINUTE_MS, T0_MS

from twin.emulator import Emulator
from twin.engine import Engine
from twin.ensemble import LIVE, make_state
from twin.nodephase import DARK, FAILED, HEALTHY, NEVER_MS, ON, STARTING, STOPPED
from twin.sync.nodefacts import DOWN, SILENT_MS, UP
from twin.sync.synchronise import Synchroniser
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.store import Batch, Event

NODE = 3
NAME = SITE.node_ids[NODE]
RACK = int(SITE.node_rack[NODE])
IDLE_KW = float(SITE.node_idle_kw[NODE])


class Twin:
    """A twin without a site: it is told things one by one."""

    def __init__(self, members: int = 8, inlet_c: float = 22.0) -> None:
        self.engine = Engine(make_state(SITE, T0_MS, members=members, seed=1, spread=LIVE), SITE)
        self.sync, self.now_ms = Synchroniser(SITE), T0_MS
        self.sync.past.now(T0_MS)  # there was a step before
        self.at(inlet_c)

    def at(self, inlet_c: float) -> None:
        self.s.rack_inlet_c[...] = inlet_c

    @property
    def s(self):
        return self.engine.state

    def say(self, *rows: tuple[str, float], age_ms: int = 0, wait_ms: int = MINUTE_MS) -> Twin:
        """Readings of the node, a minute after whatever came before."""
        self.now_ms += wait_ms
        self.s.now_ms = self.s.grid_ms = self.now_ms
        batch = Batch.from_rows([(self.now_ms - age_ms, NAME, channel, value) for channel, value in rows])
        self.sync.correct(self.engine.derived, batch, self.now_ms)
        return self

    def announce(self, what: str = "", code: int = STOPPED, age_ms: int = 0, name: str = NAME) -> Twin:
        self.now_ms += TICK_MS
        self.s.now_ms = self.s.grid_ms = self.now_ms
        events = [Event(self.now_ms - age_ms, name, what, str(code))] if what else []
        self.sync.past.now(self.now_ms)
        self.sync.hear(self.engine.derived, events, self.now_ms)
        return self

    @property
    def phase(self) -> list[int]:
        """Which phases the node has in the members."""
        return sorted(set(self.s.node_phase[:, NODE].tolist()))

    @property
    def stop_c(self):
        return self.s.node_stop_c[:, NODE] - SITE.node_inlet_offset_k[NODE]


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [STOPPED, FAILED, STARTING, DARK])
def test_a_node_said_to_run_is_on_in_all_members(phase):
    twin = Twin()
    twin.s.node_phase[::2, NODE] = phase
    assert twin.say(("ok", 1.0)).phase == [ON]


def test_a_node_said_to_be_off_is_off_and_an_older_word_changes_nothing():
    twin = Twin().say(("ok", 0.0))
    assert ON not in twin.phase
    assert ON not in twin.say(("ok", 1.0), age_ms=2 * MINUTE_MS).phase, "older than the last word"
    assert twin.say(("ok", 1.0)).phase == [ON]


def test_off_and_drawing_power_is_starting_off_twice_without_power_is_failed():
    starts = Twin().say(("ok", 0.0), ("power_kw", IDLE_KW))
    assert starts.phase == [STARTING]
    failed = Twin().say(("ok", 0.0), ("power_kw", 0.0)).say(("ok", 0.0), ("power_kw", 0.0))
    assert failed.phase == [FAILED]
    assert (failed.s.node_until_ms[:, NODE] == NEVER_MS).all()
    assert failed.say(("ok", 1.0)).phase == [ON]
    assert (failed.s.node_fault[:, NODE] == HEALTHY).all()


def test_a_node_that_the_heat_stopped_has_not_failed_when_it_is_cool_again():
    twin = Twin(inlet_c=44.0).say(("ok", 0.0), ("power_kw", 0.0))
    twin.at(22.0)
    assert twin.say(("ok", 0.0), ("power_kw", 0.0)).phase == [STOPPED]


# --- meters ----------------------------------------------------------------------------------------------------------


def test_where_nobody_says_whether_a_node_runs_its_meter_does():
    twin = Twin()
    twin.s.node_phase[::2, NODE] = STOPPED
    assert twin.say(("power_kw", IDLE_KW)).phase == [ON]
    assert twin.say(("power_kw", 0.0)).phase == [ON], "a lone zero is no stop"
    assert ON not in twin.say(("power_kw", 0.0)).phase
    assert twin.say(("power_kw", IDLE_KW)).phase == [ON]


def test_a_meter_says_nothing_beside_a_word_nor_when_nobody_believes_it():
    twin = Twin().say(("ok", 1.0)).say(("power_kw", 0.0)).say(("power_kw", 0.0))
    assert twin.phase == [ON]
    doubted = Twin()
    doubted.sync.sensors.out[doubted.sync.names.first["node", "power_kw"] + NODE] = True
    assert doubted.say(("power_kw", 0.0)).say(("power_kw", 0.0)).phase == [ON]


# --- what the site announces -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "phase"), [(STOPPED, STOPPED), (FAILED, FAILED), (DARK, DARK), (9, STOPPED)])
def test_a_stop_is_taken_at_once_with_its_reason(code, phase):
    twin = Twin().announce(DOWN, code)
    assert twin.phase == [phase]
    assert twin.announce(UP, ON).phase == [ON]


def test_events_and_readings_share_one_clock():
    twin = Twin().say(("ok", 1.0)).announce(DOWN, age_ms=TICK_MS + 1)
    assert twin.phase == [ON], "the reading is newer"
    assert twin.announce(DOWN).say(("ok", 1.0), age_ms=2 * TICK_MS, wait_ms=TICK_MS).phase == [STOPPED]
    same_step = Twin().announce(DOWN, age_ms=1).say(("ok", 1.0), age_ms=TICK_MS, wait_ms=TICK_MS)
    assert same_step.phase == [STOPPED], "the stop came within the step that the reading counts for"
    assert Twin().announce(DOWN, name="nobody").phase == [ON]


def test_silence_of_a_site_that_announces_means_that_nothing_changed():
    twin = Twin(inlet_c=41.0).say(("ok", 1.0))
    twin.s.node_phase[::2, NODE] = STOPPED
    assert twin.announce().phase == [ON, STOPPED], "nobody knows yet that this site announces anything"
    assert twin.announce(DOWN, name=SITE.node_ids[0]).phase == [ON]
    assert (twin.stop_c > 41.0).all()
    assert twin.announce(DOWN).phase == [STOPPED]
    twin.s.node_phase[::2, NODE] = ON
    assert twin.announce().phase == [STOPPED, STARTING]
    twin.say(("ok", 1.0))
    twin.now_ms += SILENT_MS
    twin.s.node_phase[::2, NODE] = STOPPED
    assert twin.announce().phase == [ON, STOPPED], "after so long silence says nothing"


# --- the heat --------------------------------------------------------------------------------------------------------


USUAL_C = float(SITE.node_stop_c[NODE] - SITE.node_inlet_offset_k[NODE])


def test_a_node_that_runs_in_hot_air_stops_later_there_in_every_member():
    hot_c = USUAL_C + 0.3
    twin = Twin(members=64, inlet_c=hot_c)
    before = twin.stop_c.copy()
    twin.s.node_phase[before <= hot_c, NODE] = STOPPED
    twin.say(("ok", 1.0))
    assert twin.phase == [ON]
    assert (twin.stop_c > hot_c).all()
    assert (twin.stop_c[before > hot_c] == before[before > hot_c]).all(), "who took it right keeps its own"
    assert twin.stop_c.mean() == pytest.approx(USUAL_C + 1.0, abs=0.25), "the mean of a normal above 0.3 of its sigmas"
    other = np.arange(len(SITE.node_ids)) != NODE
    fresh = make_state(SITE, T0_MS, members=64, seed=1, spread=LIVE)
    assert (twin.s.node_stop_c[:, other] == fresh.node_stop_c[:, other]).all()


def test_a_node_that_stopped_in_hot_air_stops_no_higher_in_every_member():
    twin = Twin(members=64, inlet_c=USUAL_C).say(("ok", 1.0))
    twin.at(USUAL_C + 0.5)
    twin.say(("ok", 0.0))
    assert ((twin.stop_c > USUAL_C - 0.01) & (twin.stop_c <= USUAL_C + 0.5)).all(), "between the two words"
    exact, before = Twin(members=64, inlet_c=USUAL_C), Twin(members=64).stop_c > USUAL_C
    exact.announce(DOWN)
    assert ((exact.stop_c[before] > USUAL_C - 0.21) & (exact.stop_c[before] <= USUAL_C)).all(), "heard as it happens"
    assert (exact.stop_c <= USUAL_C).all()


def test_cool_air_and_old_words_teach_nothing():
    missed = Twin(inlet_c=39.0).announce(DOWN, age_ms=MINUTE_MS)  # by a worker that was down
    assert missed.phase == [STOPPED]
    for twin in (Twin().say(("ok", 0.0)), Twin(inlet_c=43.0).say(("ok", 1.0), age_ms=MINUTE_MS), missed):
        fresh = make_state(SITE, T0_MS, members=8, seed=1, spread=LIVE)
        assert (twin.s.node_stop_c == fresh.node_stop_c).all()


def warm(minutes: int, *, tells: bool) -> list[float]:
    """A hall without chillers whose nodes stop at 30 C: by tick the share of nodes that members have wrong."""
    site = replace(SITE, node_stop_c=SITE.node_stop_c - 12.0)
    emulator, store = emulated(5, site)
    if not tells:
        emulator._write_events = lambda: None
    for k in np.flatnonzero(site.chiller_loop == 0):
        emulator.engine.state.agenda.add(T0_MS + 1, "chiller", site.chiller_ids[k], "out", {"repaired_ms": T0_MS * 2})
    return followed(emulator, store, minutes)


def followed(emulator: Emulator, store: MemoryStore, minutes: int) -> list[float]:
    beside, wrong, heard_ms = Beside(emulator, store, members=4), [], emulator.now_ms
    for _ in range(minutes * MINUTE_MS // TICK_MS):
        beside.tick()
        beside.twin.hear(store.events(heard_ms + 1, emulator.now_ms + 1))
        heard_ms = emulator.now_ms
        true = emulator.engine.state.node_phase[0] == ON
        wrong.append(float(((beside.twin.state.node_phase == ON) != true).mean()))
    assert 0.1 < true.mean() < 0.9, "many stopped, many run"
    return wrong


def test_a_twin_of_a_site_that_tells_never_disagrees_on_who_runs():
    wrong = np.array(warm(34, tells=True))
    assert wrong.max() < 0.01, "before the first stop nobody knows that this site tells"
    assert (wrong > 0.0).sum() <= 2


@pytest.mark.slow
def test_without_announcements_words_keep_the_twin_near():
    wrong = np.array(warm(40, tells=False))
    assert wrong.max() < 0.2
    assert wrong[-20:].mean() < 0.06
