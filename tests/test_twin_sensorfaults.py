"""Sensors that fail: each kind is found within its time, plants that fail are not taken for sensors, nobody is lost."""

from __future__ import annotations

import numpy as np
import pytest
from emulated_world import SITE, TICK_MS, Beside, quickly

from twin.sync import sensorfaults as sf
from twin.sync.evidence import DISTURBED_MS, Board
from twin.sync.heard import Heard
from twin.sync.lateness import LATE_MS
from twin.sync.names import Names
from twin.sync.sensorfaults import Sensors
from twin.sync.shutouts import IN, OUT
from twin.sync.synchronise import Synchroniser
from twin.telemetry.store import Batch

T0_MS = 10 * DISTURBED_MS
STEP_MS = 30_000
INLETS, OUTLETS = ("rack", "inlet_c"), ("rack", "outlet_c")
RACKS = SITE.rack_ids
EXPECTED_C, SD = 22.0, 0.25


class Room:
    """The inlets and outlets of the tiny site, said one round after another; what is expected does not move."""

    def __init__(self) -> None:
        names = Names({INLETS: RACKS, OUTLETS: RACKS})
        self.board = Board(SITE, names)
        self.sensors, self.rng, self.now_ms = Sensors(names, self.board), np.random.default_rng(1), T0_MS
        self.numbers = np.arange(len(RACKS))

    def quiet(self) -> np.ndarray:
        """What healthy inlets say."""
        return EXPECTED_C + 0.12 * self.rng.standard_normal(len(RACKS))

    def say(self, inlet_c: np.ndarray, outlet_c: np.ndarray | None = None) -> np.ndarray:
        """One round; tell which inlets are used."""
        self.now_ms += STEP_MS
        outlets = EXPECTED_C + 0.12 * self.rng.standard_normal(len(RACKS)) if outlet_c is None else outlet_c
        both = [self._heard(0, inlet_c, 1.0), self._heard(len(RACKS), outlets, 1.5)]
        for heard in both:
            self.sensors.note(heard, self.now_ms)
        used = [self.sensors.judge(heard, self.now_ms)[0] for heard in both]
        return used[0]

    def _heard(self, first: int, value: np.ndarray, drift_k: float) -> Heard:
        n = len(RACKS)
        most = np.full(n, drift_k)
        return Heard(
            self.numbers + first, value, np.full(n, EXPECTED_C), np.full(n, SD**2), np.full(n, 0.25), "C", most
        )

    def followed(self, rounds: int = 60) -> Room:
        for _ in range(rounds):
            self.say(self.quiet())
        return self

    def reasons(self) -> dict[int, str]:
        return {int(g): sf.REASONS[self.sensors.why[g]] for g in np.flatnonzero(self.sensors.out)}

    def until_shut(self, first: object, rounds: int = 60) -> float:
        """Minutes until the first inlet is shut out, saying `first(k, healthy)` in round k."""
        for k in range(rounds):
            value = self.quiet()
            value[0] = first(k, value[0])  # type: ignore[operator]
            self.say(value)
            if self.sensors.out[0]:
                return (k + 1) * STEP_MS / 60_000
        return np.inf


def test_a_noisy_sensor_that_stands_still_is_frozen():
    room = Room().followed()
    assert room.until_shut(lambda k, healthy: 22.13) <= 5.0
    assert room.reasons() == {0: sf.STUCK}


def test_a_sensor_of_whole_degrees_in_a_calm_hall_is_not():
    room = Room()
    for _ in range(400):
        value = room.quiet()
        value[0] = np.round(value[0])
        room.say(value)
    assert room.reasons() == {}


def test_a_sensor_that_says_nothing_but_zero_of_something_off_is_not_frozen():
    room = Room().followed()
    heard = Heard(np.array([0]), np.zeros(1), np.zeros(1), np.ones(1), np.ones(1), "kW", np.zeros(1))
    for k in range(30):
        room.sensors.note(heard, room.now_ms + k)
        room.sensors.judge(heard, room.now_ms + k)
    assert not room.sensors.out[0]


@pytest.mark.parametrize("slip", [("F", lambda c: 1.8 * c + 32.0), ("kelvin", lambda c: c + 273.15)])
def test_another_unit_is_found_within_two_minutes_and_named(slip):
    name, change = slip
    room = Room().followed()
    assert room.until_shut(lambda k, healthy: change(healthy)) <= 2.0
    assert room.reasons() == {0: sf.UNIT}
    assert f"reads like {name}" in room.sensors.found[0]


@pytest.mark.parametrize(
    ("unit", "expected", "wrong", "name"),
    [("kW", 0.8, 800.0, "W"), ("fraction", 0.6, 60.0, "percent")],
)
def test_powers_and_shares_slip_too(unit, expected, wrong, name):
    room = Room()
    at, jump = np.array([0]), np.array([(0.3 * expected) ** 2])
    for k in range(40):
        value = np.array([wrong if k > 30 else expected * (1.0 + 0.01 * np.sin(7.0 * k))])
        heard = Heard(at, value, np.array([expected]), np.array([(0.02 * expected) ** 2]), jump, unit, np.zeros(1))
        room.sensors.note(heard, T0_MS + k * STEP_MS)
        room.sensors.judge(heard, T0_MS + k * STEP_MS)
    assert room.reasons() == {0: sf.UNIT}
    assert f"reads like {name}" in room.sensors.found[0]


def test_one_spike_is_held_back_and_costs_nothing_more():
    room = Room().followed()
    value = room.quiet()
    value[0] += 9.0
    assert room.say(value).tolist() == [False] + [True] * (len(RACKS) - 1)
    assert room.say(room.quiet()).all()
    assert room.reasons() == {}


def test_spikes_again_and_again_shut_a_sensor_out():
    room = Room().followed()
    assert room.until_shut(lambda k, healthy: healthy + (12.0 if k % 3 else -8.0) * (k % 4 > 0)) <= 10.0
    assert room.reasons() == {0: sf.SPIKING}


def test_two_outliers_in_a_hundred_shut_nobody_out():
    room = Room().followed()
    for _ in range(600):
        value = room.quiet()
        hit = room.rng.random(len(value)) < 0.02
        room.say(np.where(hit, value + room.rng.uniform(-15.0, 15.0, len(value)), value))
    assert room.reasons() == {}


def test_a_drift_is_found_before_it_is_a_kelvin_off():
    room = Room().followed()
    minutes = room.until_shut(lambda k, healthy: healthy + 2.0 * k * STEP_MS / 3.6e6)
    assert minutes <= 30.0  # at two kelvin an hour
    assert room.reasons() == {0: sf.DRIFTING}


def test_what_neighbours_say_too_is_the_plant():
    room = Room().followed()
    hot = np.where(SITE.rack_hall == 0, 1.0, 0.0)
    for k in range(60):
        used = room.say(room.quiet() + hot * 0.15 * k)
    assert room.reasons() == {}
    assert used.all()


def test_what_the_other_channel_of_the_rack_says_too_is_the_plant():
    room = Room().followed()
    own = np.arange(len(RACKS)) == 0
    for k in range(60):
        used = room.say(room.quiet() + own * 0.1 * k, room.quiet() + own * 0.1 * k)
    assert room.reasons() == {}
    assert used.all()


def test_after_a_machine_has_stopped_nobody_is_called_drifting_or_off():
    room = Room().followed()
    room.board.disturb(room.now_ms)
    for k in range(int(DISTURBED_MS / STEP_MS) - 1):
        value = room.quiet()
        value[0] += min(0.5 * k, 6.0)
        used = room.say(value)
    assert room.reasons() == {}
    assert used[0]


def test_a_sensor_that_behaves_comes_in_again_and_not_before():
    room = Room().followed()
    room.until_shut(lambda k, healthy: healthy + 20.0)
    assert room.reasons()[0] == sf.JUMPED
    for _ in range(20):
        value = room.quiet()
        value[0] += 20.0
        room.say(value)
    assert 0 in room.reasons()
    rounds = 0
    while room.sensors.out[0] and rounds < 200:
        room.say(room.quiet())
        rounds += 1
    assert rounds * STEP_MS >= sf.GOOD_MS
    assert room.reasons() == {}
    assert [bool(f.reason) for f in room.sensors.take_news()] == [True, False]


def test_the_neighbours_of_a_failed_sensor_stay():
    room = Room().followed()
    room.until_shut(lambda k, healthy: healthy + 20.0)
    for _ in range(100):
        value = room.quiet()
        value[0] += 20.0
        assert room.say(value)[1:].all()


# --- in the live twin -------------------------------------------------------------------------


def hour_of(sync: Synchroniser, d: object, first: object, start_ms: int, rounds: int = 30) -> int:
    """Let all inlets of the tiny site speak, the first one as `first(k)` says; return the last instant."""
    rng = np.random.default_rng(3)
    now_ms = start_ms
    for k in range(rounds):
        now_ms = start_ms + k * STEP_MS
        value = d.state.rack_inlet_c.mean(axis=0) + 0.1 * rng.standard_normal(len(RACKS))  # type: ignore[attr-defined]
        value[0] = first(k, value[0])  # type: ignore[operator]
        rows = [(now_ms, name, "inlet_c", float(v)) for name, v in zip(RACKS, value, strict=True)]
        sync.correct(d, Batch.from_rows(rows), now_ms)  # type: ignore[arg-type]
    return now_ms


def followed_at_rest() -> tuple[Synchroniser, object, int]:
    from twin_stories import T0_MS as START_MS

    from twin.engine import Engine
    from twin.ensemble import make_state

    sync, d = Synchroniser(SITE), Engine(make_state(SITE, START_MS, members=8), SITE).derived
    return sync, d, hour_of(sync, d, lambda k, v: v, START_MS, 50) + STEP_MS


def test_a_shut_out_sensor_moves_nothing_and_its_component_becomes_less_certain():
    sync, d, now_ms = followed_at_rest()
    s = d.state  # type: ignore[attr-defined]
    now_ms = hour_of(sync, d, lambda k, v: 1.8 * v + 32.0, now_ms, 4) + STEP_MS
    assert [row["reason"] for row in sync.shutouts.rows()] == [sf.UNIT]
    mean, sd = s.rack_recirc_frac.mean(axis=0), s.rack_recirc_frac.std(axis=0)
    hour_of(sync, d, lambda k, v: 1.8 * v + 32.0, now_ms, 60)
    assert s.rack_recirc_frac[:, 0].mean() == pytest.approx(mean[0], abs=1e-3)
    assert s.rack_inlet_bias_k[:, 0].std() > 2.0 * s.rack_inlet_bias_k[:, 1:].std(axis=0).max()
    assert s.rack_recirc_frac[:, 0].std() >= sd[0]


def test_when_all_inlets_speak_another_unit_at_once_the_outlets_behind_them_are_still_believed():
    sync, d, now_ms = followed_at_rest()
    s = d.state  # type: ignore[attr-defined]
    out_c = s.rack_air_c.mean(axis=0).copy()
    for k in range(8):
        now_ms += STEP_MS
        inlets = 1.8 * s.rack_inlet_c.mean(axis=0) + 32.0
        rows = [(now_ms, name, "inlet_c", float(v)) for name, v in zip(RACKS, inlets, strict=True)]
        rows += [(now_ms, name, "outlet_c", float(v) + 0.1 * (-1) ** k) for name, v in zip(RACKS, out_c, strict=True)]
        sync.correct(d, Batch.from_rows(rows), now_ms)  # type: ignore[arg-type]
        assert np.abs(sync.air.common_k).max() < 5.0, k
        assert s.rack_air_c.mean(axis=0) == pytest.approx(out_c, abs=0.5), k
    assert {row["reason"] for row in sync.shutouts.rows()} == {sf.UNIT}
    assert {row["channel"] for row in sync.shutouts.rows()} == {"rack.inlet_c"}


def test_events_say_who_is_out_and_a_worker_that_starts_again_knows_it():
    sync, d, now_ms = followed_at_rest()
    hour_of(sync, d, lambda k, v: 1.8 * v + 32.0, now_ms, 6)
    events = sync.shutouts.take_events()
    assert [(e.component, e.type, e.code) for e in events] == [(RACKS[0], OUT, "inlet_c")]
    assert sync.shutouts.take_events() == []
    again = Synchroniser(SITE)
    again.shutouts.remember(events)
    assert again.shutouts.rows() == sync.shutouts.rows()
    assert again.shutouts.in_words() == {RACKS[0]: "sensor inlet_c other unit, not used by the twin"}
    assert again.shutouts.take_events() == []
    back = type(events[0])(events[0].time_ms + 1, RACKS[0], IN, "inlet_c", "behaves again")
    again.shutouts.remember([*events, back])
    assert again.shutouts.rows() == []


def test_the_report_counts_who_is_shut_out():
    sync, d, now_ms = followed_at_rest()
    hour_of(sync, d, lambda k, v: 1.8 * v + 32.0, now_ms, 6)
    row = next(row for row in sync.report() if row["channel"] == "rack.inlet_c")
    assert row["shut_out"] == 1


# --- on emulated days -------------------------------------------------------------------------

BEGINS = 260  # ticks: an hour after the twin has begun


def lives(seed: int, ticks: int, spoil: dict[tuple[str, str], object]) -> tuple[Beside, list[object]]:
    """An emulated tiny site followed by 16 members; some sensors fail after BEGINS ticks."""
    beside, told = Beside(*quickly(seed, hours=6.0), members=16), []
    rng = np.random.default_rng(seed)
    for tick in range(ticks):
        now_ms = beside.emulator.now_ms + TICK_MS
        truth = beside.emulator.advance(now_ms)
        beside.twin.advance(now_ms)
        beside.twin.follow(beside.scheduler, now_ms, truth["jobs_version"])
        batch, beside.cursor = beside.store.tail(beside.cursor)
        value = batch.value.copy()
        for (component, channel), change in spoil.items():
            for i in np.flatnonzero((batch.component == component) & (batch.channel == channel)):
                if tick >= BEGINS:
                    value[i] = change((tick - BEGINS) / 240.0, value[i], rng)  # type: ignore[operator]
        beside.twin.correct(Batch(batch.time_ms, batch.component, batch.channel, value), now_ms)
        told += beside.twin.sync.shutouts.take_events()
    return beside, told


class Frozen:
    """Says for ever what it said first."""

    value: float | None = None

    def __call__(self, hours: float, value: float, rng: object) -> float:
        self.value = value if self.value is None else self.value
        return self.value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "component", "channel", "change", "reason", "minutes"),
    [
        (6, "lab/a/r02", "inlet_c", Frozen(), sf.STUCK, 6.0),
        (9, "lab/b/r04", "outlet_c", Frozen(), sf.STUCK, 12.0),
        (6, "lab/b/r03", "inlet_c", lambda h, v, rng: 1.8 * v + 32.0, sf.UNIT, 3.0),
        (7, "lab/b", "hot_c", lambda h, v, rng: 1.8 * v + 32.0, sf.UNIT, 3.0),
        (9, "lab/a/r02", "inlet_c", lambda h, v, rng: v + (12.0 if rng.random() < 0.6 else 0.0), sf.SPIKING, 15.0),
        (8, "lab/b/r02", "inlet_c", lambda h, v, rng: v + 2.0 * h, sf.DRIFTING, 40.0),
    ],
)
def test_a_failed_sensor_of_an_emulated_site_is_found_in_time(seed, component, channel, change, reason, minutes):
    beside, told = lives(seed, BEGINS + int(minutes * 4) + 8, {(component, channel): change})
    assert [(e.component, e.code, e.text.split(":")[0]) for e in told] == [(component, channel, reason)]
    assert told[0].time_ms - (beside.emulator.now_ms - (int(minutes * 4) + 8) * TICK_MS) <= minutes * 60_000
    assert beside.twin.in_sync()[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13, 14])
def test_on_clean_emulated_hours_nobody_is_shut_out(seed):
    _, told = lives(seed, 720, {})
    assert told == []


def test_late_readings_of_a_frozen_sensor_count_as_well():
    sync, d, now_ms = followed_at_rest()
    for k in range(12):
        at_ms = now_ms + k * STEP_MS
        value = d.state.rack_inlet_c.mean(axis=0)[0] + 0.05  # type: ignore[attr-defined]
        row = (at_ms - LATE_MS // 2, RACKS[0], "inlet_c", float(value))
        sync.correct(d, Batch.from_rows([row]), at_ms)  # type: ignore[arg-type]
    assert [row["reason"] for row in sync.shutouts.rows()] == [sf.STUCK]
