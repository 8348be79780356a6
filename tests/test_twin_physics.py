"""Physics of the running twin against closed forms: water, steps, energy, service."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from twin_stories import MINUTE_MS, T0_MS, some_jobs, tiny

from plant.site import load_site
from twin.drivers import Drivers, constant
from twin.engine import Engine, run
from twin.ensemble import make_state
from twin.jobs import EMPTY, Jobs, make_jobs
from twin.state import State

SITE = tiny()
HOUR_MS = 60 * MINUTE_MS
SETTLED_MS = T0_MS + HOUR_MS
TEMPS = ("rack_inlet_c", "rack_air_c", "rack_mass_c", "hall_hot_c", "hall_supply_c", "loop_supply_c")


def steady_jobs() -> Jobs:
    """Jobs that start at once and never end: the load of a run that nothing but the plant changes."""
    n = 12
    return make_jobs(
        [f"j{i}" for i in range(n)],
        arrival_ms=np.full(n, T0_MS),
        work_s=np.full(n, 1e12),
        width=np.full(n, 2),
        activity_frac=np.linspace(0.4, 1.0, n),
    )


def lose_chillers(s: State, at_ms: int, loop: int = 0, back_ms: int = T0_MS + 1000 * HOUR_MS) -> None:
    """Let every duty chiller of a loop fail at an instant."""
    for k in np.flatnonzero((SITE.chiller_loop == loop) & ~SITE.chiller_standby):
        s.agenda.add(at_ms, "chiller", SITE.chiller_ids[k], "out", {"repaired_ms": back_ms})


def restless(jobs: Jobs = EMPTY, **kwargs: object) -> State:
    """A state whose nodes neither stop nor fail."""
    s = make_state(SITE, T0_MS, jobs=jobs, **kwargs)
    s.node_stop_c[...], s.node_fails_at[...] = 500.0, 1e9
    return s


# --- water ------------------------------------------------------------------------------------


def test_without_chillers_the_water_warms_at_heat_over_capacity():
    s = restless(steady_jobs())
    lose_chillers(s, SETTLED_MS)
    run(s, SITE, SETTLED_MS + 1)
    engine = Engine(s, SITE)
    start = s.loop_supply_c[0, 0]
    assert start == pytest.approx(SITE.loop_supply_c[0], abs=1e-9)
    # settled, the coils take what IT and fans make less what the walls let out; the pump warms the water
    engine.derived.refresh()
    wall_kw = SITE.hall_wall_kw_per_k[0] * (s.hall_hot_c[0, 0] - SITE.region_outdoor_c[0])
    heat_kw = engine.derived.hall_kw[0, 0] + engine.derived.fan_kw[0, 0] - wall_kw + SITE.loop_pump_kw[0]
    rate_k_per_s = heat_kw / SITE.loop_water_kj_per_k[0]
    for seconds in (15, 30, 45, 60):
        engine.run(SETTLED_MS + seconds * 1000 + 1)
        if s.hall_supply_c[0, 0] <= s.hall_setpoint_c[0, 0] + 1e-12:  # the coils still hold the supply air
            assert s.loop_supply_c[0, 0] - start == pytest.approx(rate_k_per_s * seconds, rel=1e-4)
    assert s.loop_supply_c[0, 0] > start + 0.3
    assert s.loop_supply_c[0, 1] == pytest.approx(SITE.loop_supply_c[1], abs=1e-9)  # the other loop keeps its water


def test_all_heat_stays_in_once_no_chiller_runs():
    s = restless(steady_jobs())
    for loop in (0, 1):
        lose_chillers(s, SETTLED_MS, loop)
    run(s, SITE, SETTLED_MS + 15_001)
    out_kj, in_kj = s.heat_out_kj[0], s.heat_in_kj[0]
    hot_c = s.hall_hot_c[0].copy()
    run(s, SITE, SETTLED_MS + 30_001)
    wall_kj = (SITE.hall_wall_kw_per_k * (hot_c - SITE.region_outdoor_c[0])).sum() * 15.0
    assert s.heat_out_kj[0] - out_kj == pytest.approx(wall_kj, rel=1e-3)  # only the walls still let heat out
    assert s.heat_in_kj[0] - in_kj > 100.0 * wall_kj / 15.0


# --- steps ------------------------------------------------------------------------------------


def temperatures(s: State, every_ms: int, until_ms: int) -> list[dict[str, NDArray[np.float64]]]:
    out = []
    for at_ms in range(SETTLED_MS + every_ms, until_ms + 1, every_ms):
        run(s, SITE, at_ms + 1)
        out.append({name: s.arrays[name].copy() for name in TEMPS})
    return out


def furthest_k(a: list[dict[str, NDArray[np.float64]]], b: list[dict[str, NDArray[np.float64]]]) -> float:
    return max(float(np.abs(x[name] - y[name]).max()) for x, y in zip(a, b, strict=True) for name in TEMPS)


def crisis_at(step_ms: int, calm_step_ms: int = 0) -> State:
    """A settled hour, then loop a without its chillers for forty minutes."""
    s = restless(steady_jobs(), step_ms=step_ms)
    lose_chillers(s, SETTLED_MS + MINUTE_MS, back_ms=SETTLED_MS + 41 * MINUTE_MS)
    run(s, SITE, SETTLED_MS)
    s.calm_step_ms = calm_step_ms
    return s


def test_halving_the_step_moves_no_temperature_by_much():
    until_ms = SETTLED_MS + HOUR_MS
    coarse, fine = (temperatures(crisis_at(step), 5 * MINUTE_MS, until_ms) for step in (15_000, 7_500))
    assert max(float(x["rack_inlet_c"].max()) for x in coarse) > 35.0  # it is a crisis
    assert furthest_k(coarse, fine) < 0.3


class Counted(Drivers):
    """Drivers that count how often the engine asks: once a step."""

    asked: list[int] = []

    def at(self, now_ms: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        self.asked.append(now_ms)
        return super().at(now_ms)


def test_long_steps_while_calm_stay_near_the_fine_run_and_save_steps():
    """Design rule 2: within 0.5 K of the 10 s run, through calm, crisis and recovery, in far fewer steps."""
    until_ms, mean = SETTLED_MS + 3 * HOUR_MS, constant(SITE)
    found, steps = [], []
    for calm_ms in (0, 60_000):
        drivers = Counted(mean.times_ms, mean.outdoor_c, mean.carbon_kgco2_per_kwh)
        drivers.asked.clear()
        s, seen = crisis_at(10_000, calm_ms), []
        for at_ms in range(SETTLED_MS + 5 * MINUTE_MS, until_ms + 1, 5 * MINUTE_MS):
            run(s, SITE, at_ms + 1, drivers=drivers)
            seen.append({name: s.arrays[name].copy() for name in TEMPS})
        found.append(seen)
        steps.append(len(drivers.asked))
    assert furthest_k(*found) < 0.5
    assert steps[0] == 6 * 60 * 3 + 1  # the first is the grid point at which the settled run ended
    assert steps[1] < 0.6 * steps[0]


def test_work_and_energy_of_a_calm_run_do_not_depend_on_the_step():
    ends = [run(restless(steady_jobs(), step_ms=step), SITE, SETTLED_MS + 1) for step in (15_000, 5_000)]
    # jobs start at the first grid point, so the finer run has 10 s more of them
    load_kw = ends[0].energy_it_kwh[0]  # over one hour
    assert abs(ends[0].energy_it_kwh[0] - ends[1].energy_it_kwh[0]) <= load_kw * 10.0 / 3600.0
    assert ends[0].job_work_s[0] + 10.0 == pytest.approx(ends[1].job_work_s[0], abs=1e-6)


# --- energy -----------------------------------------------------------------------------------


def test_energy_counters_are_the_integral_of_power():
    s = make_state(SITE, T0_MS, jobs=some_jobs(), members=2)
    lose_chillers(s, T0_MS + 20 * MINUTE_MS)
    engine, it_kwh, all_kwh = Engine(s, SITE), np.zeros(2), np.zeros(2)
    for at_ms in range(T0_MS + 15_000, T0_MS + HOUR_MS + 1, 15_000):
        engine.derived.refresh()
        it_kwh += engine.derived.hall_kw.sum(axis=1) * 15.0 / 3600.0  # what is drawn over the step to come
        engine.run(at_ms + 1)
        all_kwh += engine.derived.facility_kw.sum(axis=1) * 15.0 / 3600.0
    assert s.energy_it_kwh == pytest.approx(it_kwh, rel=1e-12)
    assert s.energy_kwh.sum(axis=1) == pytest.approx(all_kwh, rel=1e-12)
    assert (s.energy_kwh.sum(axis=1) > s.energy_it_kwh).all()
    assert s.carbon_kgco2 == pytest.approx(all_kwh * SITE.region_carbon_kgco2_per_kwh[0], rel=1e-12)


def test_nodes_draw_what_their_supplies_and_their_law_say():
    s = restless()
    engine = Engine(s, SITE)
    engine.derived.refresh()
    out = SITE.node_idle_kw
    rated = SITE.node_psu_rated_kw * SITE.psu_per_node
    x = out / rated
    by_hand = out + rated * (0.0284631 - 0.0566328 * x + 0.1270706 * x * x)
    assert engine.derived.node_kw[0] == pytest.approx(by_hand, rel=1e-12)


# --- service ----------------------------------------------------------------------------------


def test_a_quiet_run_loses_no_service():
    s = run(restless(steady_jobs()), SITE, T0_MS + 2 * HOUR_MS)
    assert (s.lost_service_s == 0.0).all()
    assert (s.service_frac == 1.0).all()
    assert (s.low_service_ms == -1).all()
    assert (s.lost_gpu_h == 0.0).all()


def test_no_member_of_a_quiet_run_loses_service():
    s = run(restless(steady_jobs(), members=3), SITE, T0_MS + 2 * HOUR_MS)
    assert s.lost_service_s.tolist() == [0.0, 0.0, 0.0]


def test_a_quiet_incident_site_stays_cool_and_loses_nothing():
    site = load_site("hall")
    s = run(make_state(site, T0_MS), site, T0_MS + 20 * MINUTE_MS)
    assert s.lost_service_s[0] == 0.0
    assert s.node_stops[0] == 0.0
    assert s.peak_inlet_c[0] < 27.0
