"""Laws of the running cooling plant: closed forms, monotonicity, staging, trips, weather, PUE."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cooling_world import MINUTE_MS, T0_MS, TABLES, at_work, site_of, work
from hypothesis import given, settings
from hypothesis import strategies as st

from plant.actions import Action
from plant.incident import ResolvedCause, ResolvedIncident
from plant.pue import design_pue
from plant.site import Site, load_site
from recovery.futures import write_futures
from twin import effects, story
from twin.cooling_bits import CHILLER_ON, HIGH_PRESSURE, LOW_FLOW, STANDBY, STANDING_BY, STARTING, TRIPPED
from twin.drivers import Drivers
from twin.engine import Engine, run
from twin.ensemble import make_state
from twin.jobs import make_jobs
from twin.state import State

TINY_SITE = load_site("tiny")
WARM = ("rack_inlet_c", "rack_air_c", "rack_mass_c", "hall_hot_c", "hall_supply_c", "hall_structure_c")
NEVER_MS = T0_MS + 10**10
few = settings(max_examples=3, deadline=None)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The tiny site with every cooling table."""
    return site_of(tmp_path_factory.mktemp("cooling"))


def lose(s: State, kind: str, component: str, minute: float) -> None:
    """Let a component fail for good."""
    phase = "out" if kind == "chiller" else "stop"
    s.agenda.add(T0_MS + int(minute * MINUTE_MS), kind, component, phase, {"repaired_ms": NEVER_MS})


def cause(site: Site, kind: str, component: str, severity: float = 1.0, **values: float) -> State:
    """A working state in which one cause of an incident strikes after twenty minutes."""
    import datetime

    at = datetime.datetime.fromtimestamp(T0_MS / 1000, datetime.UTC)
    one = ResolvedCause("c", kind, (component,), 20.0, severity, "c", 20.0, "step")
    s = at_work(site)
    story.write(s, site, ResolvedIncident("i", at, "", (one,), (), tuple(values.items())))
    return s


# --- closed forms -----------------------------------------------------------------------------


def test_chilled_water_rides_through_as_long_as_its_volume_says(tmp_path: Path):
    """Minutes = V[m3] * 997 * 4.19 * dT / (kW * 60), notes/incidents.md B.1, within 2 %."""
    site = site_of(
        tmp_path, "", ("metal_kj_per_k = 300.0", "metal_kj_per_k = 0.0"), ("water_m3 = 0.7", "water_m3 = 2.0")
    )
    s = run(at_work(site), site, T0_MS + 30 * MINUTE_MS)
    for k in range(3):
        lose(s, "chiller", site.chiller_ids[k], 30.0)
    run(s, site, T0_MS + 30 * MINUTE_MS + 15_001)
    start_c, heat_kw, minutes = s.loop_supply_c[0, 0], s.loop_heat_kw[0, 0], 0.0
    while s.loop_supply_c[0, 0] < start_c + 4.0:
        minutes += 0.25
        run(s, site, s.now_ms + 15_000)
    assert s.hall_supply_c[0, 0] == pytest.approx(22.0)  # the coils held all along
    assert minutes == pytest.approx(2.0 * 997 * 4.19 * 4.0 / (heat_kw * 60.0), rel=0.02)


def test_a_rack_answers_a_load_step_as_two_masses_do():
    """Equipment and air of a running rack against the matrix exponential of their two equations, within 2 %."""
    site = TINY_SITE
    s = make_state(site, T0_MS, jobs=work())
    s.node_stop_c[...], s.node_fails_at[...], s.rack_recirc_frac[...] = 500.0, 1e9, 0.0
    run(s, site, T0_MS + 15_001)
    engine = Engine(s, site)
    m, c, ua = engine.derived.rack_flow[0, 0], s.rack_mass_kj_per_k[0, 0], s.rack_ua_kw_per_k[0, 0]
    a = np.array([[-ua / c, ua / c], [ua / s.rack_air_kj_per_k[0, 0], -(ua + m) / s.rack_air_kj_per_k[0, 0]]])
    p = engine.derived.rack_kw[0, 0]
    steady = 22.0 + np.array([p / m + p / ua, p / m])
    start = np.array([s.rack_mass_c[0, 0], s.rack_air_c[0, 0]])
    values, vectors = np.linalg.eig(a)
    for minute in (1, 3, 10):
        engine.run(T0_MS + 15_001 + minute * MINUTE_MS)
        decay = (vectors * np.exp(values * 60.0 * minute)) @ np.linalg.inv(vectors)
        wanted = steady + decay @ (start - steady)
        rise = wanted - start
        assert s.rack_mass_c[0, 0] - start[0] == pytest.approx(rise[0], rel=0.02)
        assert s.rack_air_c[0, 0] - start[1] == pytest.approx(rise[1], rel=0.02)


def test_the_unit_left_runs_twice_as_fast_and_draws_eight_times_as_much():
    s = at_work(TINY_SITE, 0.5)
    engine = Engine(run(s, TINY_SITE, T0_MS + MINUTE_MS), TINY_SITE)
    both_kw, speed = engine.derived.fan_kw[0, 0], engine.derived.fan_speed[0, 0]
    lose(s, "cooling_unit", TINY_SITE.unit_ids[0], 1.0)
    engine = Engine(run(s, TINY_SITE, T0_MS + 2 * MINUTE_MS), TINY_SITE)
    assert engine.derived.fan_speed[0, 0] == pytest.approx(2.0 * speed)
    assert engine.derived.fan_kw[0, 0] == pytest.approx(0.5 * 8.0 * both_kw)


def test_the_running_twin_meets_its_pue_with_every_table(site: Site):
    busy = at_work(site, TINY_SITE.design_util_frac)
    busy.hall_structure_c[...] = 35.0  # by itself it takes hours
    s = run(busy, site, T0_MS + 40 * MINUTE_MS)
    engine = Engine(s, site)
    engine.run(s.now_ms + 15_000)
    pue = engine.derived.facility_kw[0, 0] / engine.derived.hall_kw[0].sum()
    assert pue == pytest.approx(1.55, rel=0.03)


def test_the_shipped_liquid_site_meets_its_design_energy_and_cools_its_plates_from_outdoors():
    """A warm-water loop needs no chiller in April; the running twin draws what the design point says, within 3 %."""
    site = load_site("liquid")
    n = len(site.node_ids)
    jobs = make_jobs(
        [f"j{i}" for i in range(n)], arrival_ms=np.full(n, T0_MS), work_s=np.full(n, 1e12), width=np.full(n, 1),
        activity_frac=np.full(n, site.design_util_frac),
    )  # fmt: skip
    s = make_state(site, T0_MS, jobs=jobs)
    s.node_fails_at[...] = 1e9
    mean = Drivers(np.zeros(1, dtype=np.int64), site.region_outdoor_c[None, :], np.full((1, 1), 0.25))
    engine = Engine(s, site, drivers=mean)
    engine.run(T0_MS + 60 * MINUTE_MS)
    assert s.node_stops[0] == 0.0
    assert engine.derived.loop_taken_kw[0, 1] == 0.0
    it_kw = engine.derived.hall_kw[0].sum()
    assert engine.derived.facility_kw[0, 0] / it_kw == pytest.approx(design_pue(vars(site), 0).pue, rel=0.03)


def test_halving_the_step_moves_no_temperature_by_much_through_lost_coolant_and_water(site: Site):
    seen = []
    for step_ms in (15_000, 7_500):
        s = at_work(site, step_ms=step_ms)
        at = T0_MS + 12 * MINUTE_MS
        s.agenda.add(at, "cdu", site.cdu_ids[0], "stop", {"repaired_ms": at + MINUTE_MS})
        for p in site.pump_ids:
            s.agenda.add(at + MINUTE_MS, "pump", p, "stop", {"repaired_ms": at + 5 * MINUTE_MS})
        ends = [run(s, site, T0_MS + m * MINUTE_MS + 1).fork() for m in (12, 13, 15, 18, 24)]
        seen.append(np.array([np.concatenate([e.arrays[n][0] for n in (*WARM, "cdu_coolant_c")]) for e in ends]))
    assert seen[0].max() > 60.0  # plates without coolant
    assert np.abs(seen[0] - seen[1]).max() < 0.5


# --- monotone ---------------------------------------------------------------------------------


def losses(site: Site) -> list[tuple[str, str]]:
    names = [("cooling_unit", x) for x in site.unit_ids] + [("chiller", x) for x in site.chiller_ids]
    return names + [("pump", x) for x in site.pump_ids]


@given(data=st.data(), share=st.floats(0.2, 1.0), outdoor=st.floats(-5.0, 40.0))
@few
def test_losing_cooling_plant_never_lowers_a_temperature(site: Site, data: st.DataObject, share: float, outdoor: float):
    kind, lost = data.draw(st.sampled_from(losses(site)))
    day = weather(site, outdoor)
    whole, less = at_work(site, share), at_work(site, share)
    lose(less, kind, lost, 5.0)
    for minute in (6, 12, 25):
        for s in (whole, less):
            run(s, site, T0_MS + minute * MINUTE_MS, drivers=day)
        for name in WARM:
            assert (less.arrays[name] >= whole.arrays[name] - 1e-9).all(), name
        if kind != "cooling_unit":  # without its units a hall gives the water less heat
            assert (less.loop_supply_c >= whole.loop_supply_c - 1e-9).all()


@given(a=st.floats(0.1, 1.0), b=st.floats(0.1, 1.0), minute=st.integers(1, 30))
@few
def test_more_load_never_cools(site: Site, a: float, b: float, minute: int):
    low, high = (run(at_work(site, x), site, T0_MS + minute * MINUTE_MS) for x in sorted((a, b)))
    for name in (*WARM, "loop_supply_c", "cdu_coolant_c"):
        assert (high.arrays[name] >= low.arrays[name] - 1e-9).all(), name


@given(a=st.floats(-10.0, 45.0), b=st.floats(-10.0, 45.0))
@few
def test_a_warmer_day_never_takes_less_energy(site: Site, a: float, b: float):
    cool, warm = (run(at_work(site), site, T0_MS + 20 * MINUTE_MS, drivers=weather(site, x)) for x in sorted((a, b)))
    assert (warm.energy_kwh >= cool.energy_kwh - 1e-9).all()


def weather(site: Site, outdoor_c: float) -> Drivers:
    """One outdoor temperature for all times."""
    g = len(site.region_ids)
    return Drivers(np.zeros(1, dtype=np.int64), np.full((1, g), outdoor_c), np.full((1, g), 0.4))


# --- staging, trips ---------------------------------------------------------------------------


def test_load_calls_the_standby_chiller_and_its_end_sends_one_back(tmp_path: Path):
    tables = TABLES.replace("stage_up_min = 2.0", "stage_up_min = 2.0\nstage_up_frac = 0.7\nstage_down_frac = 0.5")
    site = site_of(tmp_path, tables)
    s = at_work(site, 1.0)
    run(s, site, T0_MS + 25 * MINUTE_MS)
    assert (s.chiller_phase[0, :3] == CHILLER_ON).all()
    s.node_cap_frac[...] = 0.3
    engine = Engine(s, site)
    engine.derived.mark()
    engine.run(T0_MS + 50 * MINUTE_MS)
    assert (s.chiller_phase[0, :3] == CHILLER_ON).sum() < 3


def test_a_pump_that_trips_is_replaced_and_the_repaired_one_stands_by(site: Site):
    s = at_work(site)
    at = T0_MS + 5 * MINUTE_MS
    s.agenda.add(at, "pump", site.pump_ids[0], "stop", {"repaired_ms": at + 10 * MINUTE_MS})
    run(s, site, at + MINUTE_MS)
    assert s.pump_off[0].tolist() == [1, 0, 0]
    run(s, site, at + 11 * MINUTE_MS)
    assert s.pump_off[0].tolist() == [STANDING_BY, 0, 0]
    assert (s.chiller_trips == 0).all()


def test_without_pumps_the_chillers_trip_the_hall_heats_up_and_the_water_stays_cold(site: Site):
    s = at_work(site)
    for p in site.pump_ids:
        lose(s, "pump", p, 20.0)
    run(s, site, T0_MS + 20 * MINUTE_MS)
    hot_c = s.hall_hot_c[0, 0]
    run(s, site, T0_MS + 26 * MINUTE_MS)
    assert (s.chiller_phase[0, :2] == TRIPPED).all()
    assert ((s.chiller_off[0, :2] & LOW_FLOW) > 0).all()
    assert s.hall_hot_c[0, 0] > hot_c + 10.0
    assert s.loop_supply_c[0, 0] < 12.0  # the buffer is there and nothing carries it
    assert s.hall_hot_c[0, 1] < 35.0


def test_pumps_that_follow_the_chillers_stop_with_them_and_come_back_with_them(tmp_path: Path):
    """Azure Australia East: the pumps got no run signal from the tripped chillers."""
    site = site_of(tmp_path, TABLES.replace("standby = 1\n", "standby = 1\nfollow_chillers = true\n"))
    s = run(at_work(site), site, T0_MS + 20 * MINUTE_MS)
    for k in (0, 1):
        s.agenda.add(s.now_ms, "chiller", site.chiller_ids[k], "trip", {"repaired_ms": s.now_ms + 20 * MINUTE_MS})
    lose(s, "chiller", site.chiller_ids[2], 20.0)
    run(s, site, T0_MS + 24 * MINUTE_MS)
    assert s.hall_supply_c[0, 0] > 30.0  # no water moves
    run(s, site, T0_MS + 70 * MINUTE_MS)
    assert (s.chiller_phase[0, :2] == CHILLER_ON).all()
    assert s.hall_supply_c[0, 0] == pytest.approx(22.0, abs=0.1)


def test_a_heat_wave_trips_chillers_on_high_pressure_and_lets_them_back(site: Site):
    s = at_work(site, 1.0)
    wave = {"peak_k": 35.0, "peak_ms": T0_MS + 10 * MINUTE_MS, "over_ms": T0_MS + 40 * MINUTE_MS, "fall_ms": MINUTE_MS}
    s.agenda.add(T0_MS + 5 * MINUTE_MS, "weather", site.region_ids[0], "rise", wave)
    run(s, site, T0_MS + 30 * MINUTE_MS)
    assert ((s.chiller_off[0, :3] & HIGH_PRESSURE) > 0).any()
    assert s.loop_supply_c[0, 0] > 13.0
    run(s, site, T0_MS + 80 * MINUTE_MS)
    assert s.region_outdoor_k[0, 0] == 0.0
    assert (s.chiller_off[0] == 0).all()
    assert s.loop_supply_c[0, 0] == pytest.approx(11.0, abs=0.2)


def test_a_named_standby_chiller_is_the_one_that_starts():
    text = Path(__file__).parent.parent / "data" / "sites" / "hall.toml"
    site = load_site(text)
    s = make_state(site, T0_MS)
    effects.schedule(s, Action.of("start_standby", [site.chiller_ids[6]]), T0_MS)
    run(s, site, T0_MS + 1000)
    assert s.chiller_phase[0, 4:8].tolist() == [STANDBY, STANDBY, STARTING, STANDBY]


@pytest.fixture(scope="module")
def whole(site: Site) -> State:
    """That site at work for half an hour, nothing happens."""
    return run(at_work(site), site, T0_MS + 30 * MINUTE_MS)


def test_a_named_standby_pump_starts(site: Site):
    s = at_work(site)
    s.loop_held[...] = True  # no control would start it
    lose(s, "pump", site.pump_ids[0], 1.0)
    effects.schedule(s, Action.of("start_standby", [site.pump_ids[2]]), T0_MS + 2 * MINUTE_MS)
    run(s, site, T0_MS + 2 * MINUTE_MS)
    assert s.pump_off[0].tolist() == [1, 0, STANDING_BY]
    run(s, site, T0_MS + 3 * MINUTE_MS)
    assert s.pump_off[0].tolist() == [1, 0, 0]


def test_cooling_is_back_only_with_its_coolant_and_its_water(site: Site):
    s = run(at_work(site), site, T0_MS + 20 * MINUTE_MS)
    engine, rows = Engine(s, site), np.zeros(1, dtype=np.int64)
    wet = effects.nodes_in(site, (site.hall_ids[1],))
    assert effects.cooling_back(engine, rows, wet).all()
    s.cdu_off[...] = 1
    assert not effects.cooling_back(engine, rows, wet).any()
    s.cdu_off[...], s.cdu_coolant_c[...] = 0, 45.0
    assert not effects.cooling_back(engine, rows, wet).any()


def test_a_chiller_that_its_control_stopped_is_no_failure_to_a_rehearsal(site: Site):
    s = run(at_work(site), site, T0_MS + 5 * MINUTE_MS)
    s.chiller_phase[0, :2] = (CHILLER_ON, STANDBY)
    s.chiller_capacity_kw[0, 0] *= 0.1
    assert write_futures(s.fork(), site, site.loop_ids[0], {900: 0.0}, 1) == 0
    s.chiller_phase[0, :3] = TRIPPED
    assert write_futures(s.fork(), site, site.loop_ids[0], {900: 0.0}, 1) == 1
    assert write_futures(s, site, site.cdu_ids[0], {900: 1.0}, 1) == 1
    run(s, site, T0_MS + 21 * MINUTE_MS)
    assert s.cdu_off[0, 0] == 1


# --- incidents, weather, liquid ---------------------------------------------------------------


def test_cold_weather_saves_the_chillers_their_power(site: Site):
    kwh = []
    for outdoor_c in (-5.0, 15.0):
        s = run(at_work(site), site, T0_MS + 30 * MINUTE_MS, drivers=weather(site, outdoor_c))
        engine = Engine(s, site, drivers=weather(site, outdoor_c))
        engine.run(s.now_ms + 15_000)
        kwh.append(engine.derived.loop_taken_kw[0, 1])
    assert kwh[0] < 0.35 * kwh[1]  # 30 kW of about 40 come from outdoors, the rest from chillers


@pytest.mark.parametrize(
    ("kind", "component"),
    [
        ("chiller_trip", "lab/a/loop/ch1"), ("standby_fails", "lab/a/loop/ch3"), ("cooling_unit_stop", "lab/a/crah1"),
        ("pump_trip", "lab/a/loop/p1"), ("heatwave", "lab"), ("control_freeze", "lab/a"),
        ("cdu_pump_fails", "lab/b/cdu1"),
    ],
)  # fmt: skip
def test_every_cooling_cause_of_an_incident_is_played(site: Site, whole: State, kind: str, component: str):
    struck = run(cause(site, kind, component), site, whole.now_ms)
    assert struck.digest() != whole.digest()
    assert (struck.rack_mass_c >= whole.rack_mass_c - 1e-9).all()  # and none ever cools a rack


def test_a_cdu_that_stands_still_heats_its_own_racks_until_they_stop(site: Site):
    s = cause(site, "cdu_pump_fails", "lab/b/cdu1")
    run(s, site, T0_MS + 20 * MINUTE_MS)
    mass_c = s.rack_mass_c[0].copy()
    run(s, site, T0_MS + 24 * MINUTE_MS)
    hung = site.cooling.rack_cdu >= 0
    assert (s.rack_mass_c[0, hung] > mass_c[hung] + 15.0).all()
    assert s.rack_mass_c[0, ~hung] == pytest.approx(mass_c[~hung], abs=1.0)
    run(s, site, T0_MS + 40 * MINUTE_MS)
    assert s.node_stops[0] > 0
    assert s.rack_mass_c[0].max() < site.cooling.cdu_stop_c[0] + 5.0


def test_frozen_controls_do_not_follow_the_load(site: Site):
    frozen, free = cause(site, "control_freeze", "lab/a"), at_work(site)
    for s in (frozen, free):
        s.node_cap_frac[...] = 0.3
        run(s, site, T0_MS + 21 * MINUTE_MS)
        s.node_cap_frac[...] = 1.0
        Engine(s, site).derived.mark()
        run(s, site, T0_MS + 50 * MINUTE_MS)
    a = site.rack_hall == 0
    assert (frozen.rack_inlet_c[0, a] > free.rack_inlet_c[0, a] + 2.0).all()
    assert frozen.rack_inlet_c[0, ~a] == pytest.approx(free.rack_inlet_c[0, ~a], abs=1e-6)


def test_a_hall_of_cracs_holds_its_set_point_and_pays_for_it_by_the_weather(tmp_path: Path):
    crac = "fan_kw = 2.0\ncompressor = { capacity_kw = 60.0, cop = 3.0 }"
    site = site_of(tmp_path, "", ("fan_kw = 2.0", crac), ("pue = 1.55\n", ""))
    energy = []
    for outdoor_c in (10.0, 38.0):
        s = run(at_work(site), site, T0_MS + 30 * MINUTE_MS, drivers=weather(site, outdoor_c))
        assert s.hall_supply_c[0] == pytest.approx([22.0, 22.0])
        assert s.loop_heat_kw[0] == pytest.approx(site.loop_pump_kw)
        energy.append(float(s.energy_kwh.sum()))
    assert energy[1] > 1.02 * energy[0]
