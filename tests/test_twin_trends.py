"""Slow drifts: an outlet that goes along a line is the sensor; a flow that changes at once or with its load is not."""

from __future__ import annotations

import numpy as np
import pytest
import sensor_trials
from emulated_world import SITE, Beside, quickly
from twin_stories import T0_MS

from plant.site import load_site
from twin.engine import Engine
from twin.ensemble import make_state
from twin.sync import sensorfaults as sf
from twin.sync import trends
from twin.sync.evidence import DISTURBED_MS, Board
from twin.sync.heard import Heard
from twin.sync.names import Names
from twin.sync.sensorfaults import Sensors
from twin.sync.trends import HOT, INLET, OUTLET, Trends, line_through

RACKS = len(SITE.rack_ids)
MINUTE_MS = 60_000
OFTEN = 5  # readings of each in five minutes


class Hour:
    """Inlets, outlets and hall air of the tiny site, said around what a twin that stands still expects."""

    def __init__(self) -> None:
        self.names = Names({INLET: SITE.rack_ids, OUTLET: SITE.rack_ids, HOT: SITE.hall_ids})
        self.sensors = Sensors(self.names, Board(SITE, self.names))
        self.trends, self.state = Trends(SITE, self.names), make_state(SITE, T0_MS, members=4)
        self.derived = Engine(self.state, SITE).derived
        self.derived.refresh()
        self.rng, self.now_ms = np.random.default_rng(4), T0_MS

    def outlet(self, rack: int) -> int:
        return self.names.first[OUTLET] + rack

    def five_minutes(self, off: dict[int, float], expected: dict[int, float] | None = None) -> None:
        """All speak; off: by sensor, beyond the noise [K]; expected: how far the twin expects it to have moved."""
        self.now_ms += trends.EVERY_MS
        n = self.names.count
        mean, more = np.full(n, 30.0), np.zeros(n)
        for g, k in (expected or {}).items():
            mean[g] += k
        for g, k in off.items():
            more[g] = k
        for _ in range(OFTEN):
            value = mean + more + 0.12 * self.rng.standard_normal(n)
            self.trends.hear(Heard(np.arange(n), value, mean, np.ones(n), np.ones(n), "C", np.ones(n)))
        self.trends.tell(self.sensors, self.derived, self.now_ms)

    def found(self) -> list[int]:
        return np.flatnonzero(self.sensors.slow).tolist()


def rounds_until(hour: Hour, off: object, rounds: int = 24) -> int | None:
    """After how many rounds of `off(k)` somebody is said to drift."""
    for k in range(rounds):
        hour.five_minutes(off(k))  # type: ignore[operator]
        if hour.found():
            return k
    return None


def calm_hour() -> Hour:
    hour = Hour()
    for _ in range(13):
        hour.five_minutes({})
    return hour


@pytest.mark.parametrize(("k_per_h", "minutes"), [(2.0, 60), (-2.0, 60), (4.0, 45), (-4.0, 45)])
def test_an_outlet_that_drifts_is_found_within_the_hour(k_per_h, minutes):
    hour = calm_hour()
    g = hour.outlet(1)
    k = rounds_until(hour, lambda k: {g: k_per_h * k / 12.0})
    assert k is not None
    assert 5 * k <= minutes
    assert hour.found() == [g]
    assert np.sign(hour.sensors.slow[g]) == np.sign(k_per_h)


def test_a_drift_that_the_flow_has_swallowed_is_found_all_the_same():
    hour = calm_hour()
    g, rack = hour.outlet(1), 1
    flow, heat_kw = hour.state.rack_flow_kw_per_k[:, rack].copy(), hour.derived.rack_kw[:, rack].mean()

    def swallowed(k: int) -> dict[int, float]:
        hour.state.rack_flow_kw_per_k[:, rack] = 1.0 / (1.0 / flow + 2.0 * k / 12.0 / heat_kw)
        return {g: 0.0}

    k = rounds_until(hour, swallowed)
    assert k is not None
    assert hour.found() == [g]


@pytest.mark.parametrize("step_k", [0.5, 1.0, 2.0, 5.0, 10.0, -5.0])
def test_what_changes_at_once_is_no_drift(step_k):
    hour = calm_hour()
    g = hour.outlet(1)
    rack_lag = 0.7  # rounds: metal takes some minutes
    assert rounds_until(hour, lambda k: {g: step_k * (1.0 - np.exp(-k / rack_lag))}) is None


def test_what_a_whole_hall_does_is_no_drift():
    hour = calm_hour()
    both = [hour.outlet(r) for r in range(RACKS)] + list(range(RACKS))
    assert rounds_until(hour, lambda k: dict.fromkeys(both, 2.0 * k / 12.0) | hot_air(hour, 2.0 * k / 12.0)) is None


def hot_air(hour: Hour, k: float) -> dict[int, float]:
    return {hour.names.first[HOT] + h: k for h in range(len(SITE.hall_ids))}


def test_inlet_and_outlet_of_a_rack_that_warm_together_are_air():
    hour = calm_hour()
    assert rounds_until(hour, lambda k: {1: 2.0 * k / 12.0, hour.outlet(1): 2.0 * k / 12.0}) is None


def test_where_the_load_of_a_rack_changes_its_outlet_may_be_off():
    hour = calm_hour()
    g = hour.outlet(1)
    for k in range(24):
        ramp = 6.0 * k / 12.0
        hour.five_minutes({g: 0.3 * ramp}, {g: ramp})
        assert hour.found() == []


def test_who_has_gone_half_way_is_in_doubt_and_moves_nothing():
    hour = calm_hour()
    g = hour.outlet(1)
    doubted = []
    for k in range(24):
        hour.five_minutes({g: 0.6 * k / 12.0})
        doubted.append(bool(hour.sensors.held[g]))
        if doubted[-1]:
            break
    assert doubted[-1]
    assert hour.found() == []
    heard = Heard(np.array([g]), np.array([30.1]), np.array([30.0]), np.ones(1), np.ones(1), "C", np.ones(1))
    hour.sensors.note(heard, hour.now_ms)
    assert not hour.sensors.judge(heard, hour.now_ms)[0][0]
    assert not hour.sensors.out[g]


def test_after_a_machine_has_stopped_nobody_is_in_doubt_but_beside_many_others():
    assert len(SITE.rack_ids) // len(SITE.hall_ids) < trends.MANY_PEERS
    hour = calm_hour()
    g = hour.outlet(1)
    for k in range(24):
        hour.sensors.board.disturb(hour.now_ms)
        hour.five_minutes({g: 2.0 * k / 12.0})
        assert hour.found() == []
        assert not hour.sensors.held.any()
    hour.trends.beside_others[...] = True  # as in a hall of many racks
    hour.trends.peers = []
    hour.sensors.board.disturb(hour.now_ms)
    hour.five_minutes({g: 4.0})
    assert hour.found() == [g]
    assert abs(hour.sensors.slow[g]) >= trends.RESTLESS * trends.RISE_K


def test_a_sensor_that_said_nothing_for_an_hour_is_not_judged():
    hour = Hour()
    trends_ = hour.trends
    for _ in range(14):
        hour.now_ms += trends.EVERY_MS
        trends_.tell(hour.sensors, hour.derived, hour.now_ms)
    assert hour.found() == []


def test_a_line_explains_all_of_a_line_and_three_quarters_of_a_step_at_most():
    ramp = np.linspace(0.0, 2.0, 13)[:, None]
    line = line_through(ramp)
    assert line.rise[0] == pytest.approx(2.0)
    assert line.share[0] == pytest.approx(1.0)
    for n, least in trends.SPANS:
        steps = np.tril(np.ones((n, n)))[:, 1:]  # one at every place
        assert line_through(steps).share.max() < 0.8 < least


# --- in a hall whose whole air changes --------------------------------------------------------


def test_a_set_point_that_was_changed_makes_no_sensor_drift():
    """All inlets of a hall are off for half an hour: no machine said anything, and nobody's sensor has failed."""
    names = Names({INLET: SITE.rack_ids})
    sensors, rng, n = Sensors(names, Board(SITE, names)), np.random.default_rng(2), RACKS
    at, ones = np.arange(RACKS), np.ones(RACKS)
    for k in range(160):
        off = 0.7 if k > 60 else 0.0
        value = 22.0 + off + 0.12 * rng.standard_normal(n)
        heard = Heard(at, value, 22.0 * ones, 0.2**2 * ones, 0.25 * ones, "C", ones, off * ones)
        sensors.note(heard, T0_MS + k * 30_000)
        sensors.judge(heard, T0_MS + k * 30_000)
    assert not sensors.out.any()
    alone = Sensors(names, Board(SITE, names))
    for k in range(160):  # the same said by one, without its hall
        value = 22.0 + (0.7 if k > 60 else 0.0) * (at == 0) + 0.12 * rng.standard_normal(n)
        heard = Heard(at, value, 22.0 * ones, 0.2**2 * ones, 0.25 * ones, "C", ones, 0.0 * ones)
        alone.note(heard, T0_MS + k * 30_000)
        alone.judge(heard, T0_MS + k * 30_000)
    assert [sf.REASONS[alone.why[g]] for g in np.flatnonzero(alone.out)] == [sf.DRIFTING]


# --- on emulated days -------------------------------------------------------------------------


def kinds_of(key: tuple[str, str], beginning: str) -> list[tuple[str, tuple[str, str]]]:
    return [(kind, of) for kind, of in sensor_trials.FAULTS if of == key and kind.startswith(beginning)]


@pytest.mark.slow
def test_outlets_of_an_emulated_hall_that_drift_are_found_and_their_flows_are_put_back():
    drifts = kinds_of(OUTLET, "drift")
    got = sensor_trials.trial(load_site("hall"), 31, drifts, eventful=False, members=16, per_twin=8, clean=False)
    rows = got["rows"]
    assert len(rows) == len(drifts) == 4
    for row in rows:
        assert row["reason"] in (sf.DRIFTING, sf.JUMPED)
        assert row["found_min"] <= 75.0
        assert abs(row["flow_end"]) < 0.1
        assert abs(row["end"]) < 3.0 * row["sd_end"] + 0.2
    assert got["lost"] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [41, 42])
def test_in_eventful_hours_nobody_is_shut_out(seed):
    got = sensor_trials.trial(SITE, seed, [], eventful=True, members=16, per_twin=1, begin_h=2.5, hours=0.0)
    assert got["false"] == []


# --- a rack's air flow that changes at once ---------------------------------------------------


def said_of_outlet(change: object, rounds: int = 90) -> tuple[Sensors, list[int]]:
    """The first outlet goes off by `change(minutes)` after an hour of calm; who stepped."""
    names = Names({INLET: SITE.rack_ids, OUTLET: SITE.rack_ids})
    sensors, rng, n = Sensors(names, Board(SITE, names)), np.random.default_rng(7), RACKS
    first, ones, stepped = names.first[OUTLET], np.ones(RACKS), list[int]()
    for k in range(90 + rounds):
        value = 32.0 + 0.12 * rng.standard_normal(n)
        if k >= 90 and not stepped:  # what has been learned anew surprises no longer
            value[0] += change(k - 90.0)  # type: ignore[operator]
        heard = Heard(first + np.arange(n), value, 32.0 * ones, 0.3**2 * ones, 4.0 * ones, "C", 1.5 * ones)
        sensors.note(heard, T0_MS + k * MINUTE_MS)
        sensors.judge(heard, T0_MS + k * MINUTE_MS)
        stepped += sensors.take_stepped()
    return sensors, stepped


def warms(k: float, share: float) -> object:
    """A rack with so much of its flow left: part of the rise at once, the rest as its metal warms."""
    first = (1.6 / (0.6 + share) - 1.0) / (1.0 / share - 1.0)
    return lambda minutes: k * (1.0 / share - 1.0) * (first + (1.0 - first) * (1.0 - np.exp(-minutes / 6.0)))


@pytest.mark.parametrize("share", [0.4, 0.5, 0.7, 1.5, 2.0])
def test_the_plant_not_the_sensor_an_outlet_that_follows_a_flow_is_believed(share):
    sensors, stepped = said_of_outlet(warms(12.0, share))
    assert not sensors.out.any()
    assert stepped == [RACKS]


@pytest.mark.parametrize("jump_k", [5.0, 8.0, 15.0, -6.0])
def test_an_outlet_that_jumps_with_one_reading_is_the_sensor(jump_k):
    sensors, stepped = said_of_outlet(lambda minutes: jump_k)
    assert stepped == []
    assert [sf.REASONS[sensors.why[g]] for g in np.flatnonzero(sensors.out)] == [sf.JUMPED]


def test_an_outlet_that_spikes_is_no_flow():
    rng = np.random.default_rng(3)
    sensors, stepped = said_of_outlet(lambda minutes: 12.0 * (rng.random() < 0.6))
    assert stepped == []
    assert [sf.REASONS[sensors.why[g]] for g in np.flatnonzero(sensors.out)] == [sf.SPIKING]


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.6, 2.0])
def test_the_plant_not_the_sensor_a_flow_that_changes_at_once_is_followed(share):
    beside, told, rack = Beside(*quickly(6, hours=6.0), members=16), [], 6
    state = beside.emulator.engine.state
    for tick in range(260 + 200):
        if tick == 260:
            state.rack_flow_kw_per_k[0, rack] *= share
            beside.emulator.engine.derived.mark_air()
        beside.tick()
        told += beside.twin.sync.shutouts.take_events()
    assert [e for e in told if e.component == SITE.rack_ids[rack]] == []
    true = float(beside.emulator.engine.state.rack_flow_kw_per_k[0, rack])
    assert float(beside.twin.state.rack_flow_kw_per_k[:, rack].mean()) == pytest.approx(true, rel=0.15)


# --- whom machines and nodes disturb ----------------------------------------------------------


def test_a_node_that_goes_down_disturbs_its_rack_and_a_twentieth_of_them_their_hall():
    names = Names(
        {INLET: SITE.rack_ids, OUTLET: SITE.rack_ids, HOT: SITE.hall_ids, ("node", "power_kw"): SITE.node_ids}
    )
    every = np.arange(names.count)
    hall = load_site("hall")
    big = Board(hall, Names({INLET: hall.rack_ids, HOT: hall.hall_ids, ("node", "power_kw"): hall.node_ids}))
    big.disturb_nodes(np.array([7]), T0_MS)
    restless = np.flatnonzero(big.restless(np.arange(len(big.since_ms)), T0_MS + MINUTE_MS))
    rack = int(hall.node_rack[7])
    nodes = len(hall.rack_ids) + len(hall.hall_ids) + np.flatnonzero(hall.node_rack == rack)
    assert restless.tolist() == [rack, *nodes.tolist()]
    assert big.disturbed(T0_MS + MINUTE_MS)
    board = Board(SITE, names)
    board.disturb_nodes(np.array([0]), T0_MS)  # one of sixteen
    air = board.hall >= 0
    assert (board.restless(every, T0_MS)[air] == (board.hall[air] == 0)).all()
    board.disturb(T0_MS)
    assert board.restless(every, T0_MS).all()
    assert not board.restless(every, T0_MS + DISTURBED_MS).any()


def test_three_wrong_readings_in_a_row_are_no_other_unit():
    names = Names({OUTLET: SITE.rack_ids})
    sensors, rng, ones = Sensors(names, Board(SITE, names)), np.random.default_rng(5), np.ones(RACKS)
    for k in range(120):
        value = 30.0 + 0.12 * rng.standard_normal(RACKS)
        value[0] = {90: 85.0, 91: 0.0, 92: 0.0}.get(k, value[0])  # 0 C taken for F would be 32 C
        heard = Heard(np.arange(RACKS), value, 30.0 * ones, 0.3**2 * ones, 4.0 * ones, "C", 1.5 * ones)
        sensors.note(heard, T0_MS + k * MINUTE_MS)
        sensors.judge(heard, T0_MS + k * MINUTE_MS)
    assert not sensors.out.any()
