"""Cooling plant in the running twin: power lost and back, pumps, CDUs, controls, weather; balance and forks hold."""

from __future__ import annotations

import numpy as np
import pytest
from cooling_world import MINUTE_MS, T0_MS, TABLES, at_work, site_of

from plant.site import Site
from twin import cooling_effects as effects
from twin.cooling_bits import BROKEN, CHILLER_ON, COMING_UP, LOCKED, NO_POWER, STANDBY, STANDING_BY, STARTING, TRIPPED
from twin.engine import Engine, run
from twin.flows import stored_heat_kj
from twin.state import State
from twin.sync.synchronise import Synchroniser
from twin.telemetry.store import Batch

ROW = np.zeros(1, dtype=np.int64)
SETTLED_MS = T0_MS + 40 * MINUTE_MS
NEVER_MS = T0_MS + 10**10


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The tiny site with every cooling table."""
    return site_of(tmp_path_factory.mktemp("cooling"))


@pytest.fixture(scope="module")
def settled(site: Site) -> State:
    """That site after forty minutes of work."""
    return run(at_work(site), site, SETTLED_MS)


def gap_rel(site: Site, s: State, before: np.ndarray) -> float:
    stored = stored_heat_kj(site.hall_plenum_kj_per_k, s) - before
    return float(np.abs((stored - (s.heat_in_kj - s.heat_out_kj)) / s.heat_in_kj).max())


# --- the seam to the power chain --------------------------------------------------------------


def machines(site: Site, kind: str) -> np.ndarray:
    """All of a kind; pumps go by their loops."""
    return np.arange(len(site.loop_ids if kind == "pump" else site.components(kind)))


def test_power_lost_stops_everything_and_power_back_brings_it_up_in_its_own_time(site: Site, settled: State):
    engine = Engine(settled.fork(), site)
    s = engine.state
    for kind in ("cooling_unit", "pump", "chiller", "cdu"):
        effects.power_lost(engine, kind, machines(site, kind), ROW)
    assert not s.unit_running.any()
    assert (s.chiller_phase[0][~site.chiller_standby] == TRIPPED).all()
    assert (s.chiller_phase[0][site.chiller_standby] == STANDBY).all()
    assert ((s.pump_off & NO_POWER) > 0).all()
    engine.run(SETTLED_MS + MINUTE_MS)
    for kind in ("cooling_unit", "pump", "chiller", "cdu"):
        effects.power_back(engine, kind, machines(site, kind), ROW, s.now_ms)
    assert (s.unit_off == COMING_UP).all()
    run(s, site, SETTLED_MS + 2 * MINUTE_MS)
    assert s.unit_running.all()
    assert s.pump_off[0].tolist() == [0, 0, STANDING_BY]
    assert (s.chiller_phase[0][~site.chiller_standby] == STARTING).all()
    run(s, site, SETTLED_MS + 5 * MINUTE_MS + 30_000)  # loop a starts quickly, loop b after its full restart time
    assert s.chiller_phase[0].tolist() == [CHILLER_ON, CHILLER_ON, STANDBY, STARTING, STARTING, STANDBY]
    run(s, site, SETTLED_MS + 10 * MINUTE_MS)
    assert (s.chiller_phase[0][~site.chiller_standby] == CHILLER_ON).all()
    assert s.chiller_phase[0, 2] == STARTING  # the water is still warm: control calls one more


def test_power_does_not_start_what_is_broken(site: Site, settled: State):
    engine = Engine(settled.fork(), site)
    engine.state.agenda.add(SETTLED_MS, "cooling_unit", site.unit_ids[0], "stop", {"repaired_ms": NEVER_MS})
    engine.run(SETTLED_MS + 1000)
    effects.power_lost(engine, "cooling_unit", np.array([0, 1]), ROW)
    effects.power_back(engine, "cooling_unit", np.array([0, 1]), ROW, engine.state.now_ms)
    run(engine.state, site, SETTLED_MS + 2 * MINUTE_MS)
    assert engine.state.unit_running[0].tolist() == [False, True, True, True]


def test_a_locked_out_chiller_waits_for_the_one_person_there_is(tmp_path):
    site = site_of(tmp_path, TABLES, ("quick_start_min = 4.0", "quick_start_min = 4.0\nlockout_frac = 1.0"))
    s = run(at_work(site), site, SETTLED_MS)
    engine = Engine(s, site)
    effects.power_lost(engine, "chiller", np.array([0, 1]), ROW)
    effects.power_back(engine, "chiller", np.array([0, 1]), ROW, SETTLED_MS)
    assert (s.chiller_off[0, :2] == LOCKED).all()
    run(s, site, SETTLED_MS + 13 * MINUTE_MS)  # twelve minutes of hands-on time each, one after the other
    assert s.chiller_phase[0, :2].tolist() == [STARTING, TRIPPED]
    assert s.staff_busy[0, 0] == 1
    run(s, site, SETTLED_MS + 30 * MINUTE_MS)
    assert (s.chiller_phase[0, :2] == CHILLER_ON).all()
    assert s.staff_busy[0, 0] == 0


# --- balance, forks ---------------------------------------------------------------------------


def everything(site: Site, s: State) -> State:
    """Within the hour: a pump, a CDU and a unit stop, controls freeze, a heat wave comes, chillers are shocked."""
    at, back = T0_MS + 10 * MINUTE_MS + 77, {"repaired_ms": T0_MS + 30 * MINUTE_MS + 123}
    some = tuple(range(0, s.members, 2))
    s.agenda.add(at, "pump", site.pump_ids[0], "stop", back, some)
    s.agenda.add(at, "cdu", site.cdu_ids[0], "stop", back, some)
    s.agenda.add(at + MINUTE_MS, "cooling_unit", site.unit_ids[1], "stop", back)
    s.agenda.add(at + 2 * MINUTE_MS, "control", site.hall_ids[0], "freeze", back, some)
    wave = {"peak_k": 25.0, "peak_ms": at + 5 * MINUTE_MS, "over_ms": at + 20 * MINUTE_MS, "fall_ms": 10 * MINUTE_MS}
    s.agenda.add(at, "weather", site.region_ids[0], "rise", wave)
    s.agenda.add(at + 6 * MINUTE_MS, "chiller", site.chiller_ids[0], "shock", {})
    return s


def test_heat_balance_closes_with_every_node_through_every_happening(site: Site):
    s = everything(site, at_work(site, members=3))
    before = stored_heat_kj(site.hall_plenum_kj_per_k, s)
    for minute in range(5, 61, 5):
        run(s, site, T0_MS + minute * MINUTE_MS)
        assert gap_rel(site, s, before) < 1e-9
    assert (s.region_outdoor_k == 0.0).all()


def test_forked_runs_equal_the_whole_run(site: Site):
    end_ms = T0_MS + 45 * MINUTE_MS
    whole = run(everything(site, at_work(site, members=2)), site, end_ms).digest()
    s = everything(site, at_work(site, members=2))
    for minute in (10.0, 12.001, 15.0, 17.3, 30.1, 41.0):
        s = run(s, site, T0_MS + int(minute * MINUTE_MS)).fork()
    assert run(s, site, end_ms).digest() == whole


def test_rows_alone_are_rows_in_a_block(site: Site):
    end_ms = T0_MS + 25 * MINUTE_MS
    block = run(everything(site, at_work(site, members=3)), site, end_ms)
    for row in (1, 2):
        alone = run(everything(site, at_work(site, members=3)).rows([row]), site, end_ms)
        for name, array in alone.arrays.items():
            assert np.array_equal(array[0], block.arrays[name][row]), name


# --- following what is measured ---------------------------------------------------------------


def hear(site: Site, settled: State, component: str, channel: str, value: float) -> State:
    """The settled state after one reading."""
    engine = Engine(settled.fork(), site)
    now_ms, text = engine.state.now_ms, np.array([component], dtype=object)
    batch = Batch(np.array([now_ms]), text, np.array([channel], dtype=object), np.array([value]))
    Synchroniser(site).correct(engine.derived, batch, now_ms)
    return engine.state


def test_pumps_and_cdus_stand_as_they_are_reported(site: Site, settled: State):
    assert hear(site, settled, site.pump_ids[0], "running", 0.0).pump_off[0].tolist() == [BROKEN, 0, STANDING_BY]
    assert hear(site, settled, site.pump_ids[2], "running", 0.0).pump_off[0].tolist() == [0, 0, STANDING_BY]
    assert hear(site, settled, site.pump_ids[2], "running", 1.0).pump_off[0].tolist() == [0, 0, 0]
    assert hear(site, settled, site.cdu_ids[0], "running", 0.0).cdu_off[0, 0] == BROKEN


def test_a_chiller_that_its_control_stopped_rests_and_one_whose_water_warms_has_tripped(site: Site, settled: State):
    rests = hear(site, settled, site.chiller_ids[1], "running", 0.0)
    assert rests.chiller_phase[0, 1] == STANDBY
    warm = settled.fork()
    warm.loop_supply_c[...] += 4.0
    assert hear(site, warm, site.chiller_ids[1], "running", 0.0).chiller_phase[0, 1] == TRIPPED


def test_coolant_is_corrected_by_its_reading(site: Site):
    s = run(at_work(site, members=4), site, SETTLED_MS)
    s.cdu_coolant_c[...] += np.array([[0.5], [-0.5], [1.0], [-1.0]])
    assert np.abs(hear(site, s, site.cdu_ids[0], "coolant_c", 34.0).cdu_coolant_c - 34.0).max() < 2.0
