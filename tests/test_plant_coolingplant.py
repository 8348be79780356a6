"""Laws of pumps, chillers, free cooling, compressors and CDUs; cooling tables that cannot be are refused."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from cooling_world import TABLES, TINY, site_of
from hypothesis import given
from hypothesis import strategies as st

from plant import airunits, chillers, liquid, water, wiring
from plant.coolingplant import CoolingPlant
from plant.errors import SiteFileError
from plant.site import load_site

DOE2 = np.array([0.222903, 0.313387, 0.463710])
share = st.floats(0.0, 1.0)
outdoors = st.floats(-20.0, 50.0)


def arr(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


# --- laws -------------------------------------------------------------------------------------


@given(needed=st.integers(1, 8), running=st.integers(0, 10))
def test_each_pump_less_moves_less_and_none_moves_nothing(needed: int, running: int):
    flow = float(water.pump_flow_frac(arr(running), arr(needed))[0])
    fewer = float(water.pump_flow_frac(arr(max(running - 1, 0)), arr(needed))[0])
    assert 0.0 <= fewer <= flow <= 1.0
    assert (flow == 0.0) == (running == 0)
    if running >= needed:
        assert flow == pytest.approx(1.0)
    elif running:
        assert flow > running / needed  # those that are left move more each


def test_one_of_two_pumps_moves_what_its_curve_and_the_pipes_say():
    q = float(water.pump_flow_frac(arr(1.0), arr(2.0))[0])
    h0 = water.PUMP_SHUTOFF_RATIO
    assert h0 - (h0 - 1.0) * (2.0 * q) ** 2 == pytest.approx(q * q)  # head of the pump is head of the pipes
    assert q == pytest.approx(0.7906, abs=1e-4)


@given(x=share, y=share)
def test_part_load_draws_no_more_than_full_load_and_rises_with_load(x: float, y: float):
    low, high = sorted((x, y))
    a, b = chillers.part_load_power_frac(arr(low, high), DOE2)
    assert 0.0 <= a <= b <= 1.0 + 1e-9
    assert chillers.part_load_power_frac(arr(x), np.array([0.0, 1.0, 0.0]))[0] == pytest.approx(x)


def test_a_chiller_is_most_efficient_between_half_and_three_quarters_of_its_load():
    x = np.linspace(0.1, 1.0, 91)
    cop = x / chillers.part_load_power_frac(x, DOE2)
    assert 0.5 < x[cop.argmax()] < 0.8
    assert cop[-1] == pytest.approx(1.0)


@given(a=outdoors, b=outdoors, load=share)
def test_hot_days_take_capacity_and_raise_the_condensing_temperature(a: float, b: float, load: float):
    cool, hot = sorted((a, b))
    frac = chillers.ambient_capacity_frac(arr(cool, hot), arr(35.0), arr(0.015))
    assert frac[1] <= frac[0] <= 1.0
    assert frac[1] >= chillers.LEAST_CAPACITY_FRAC
    condensing = chillers.condensing_c(arr(cool, hot), arr(load), arr(17.0))
    assert condensing[0] <= condensing[1]
    assert condensing[1] == pytest.approx(hot + 17.0 * load)


@given(back=st.floats(5.0, 40.0), a=outdoors, b=outdoors)
def test_free_cooling_gives_more_when_it_is_colder_and_nothing_within_its_approach(back: float, a: float, b: float):
    cold, warm = sorted((a, b))
    one = np.ones(2)
    kw = water.free_cooling_kw(arr(back, back), arr(cold, warm), 30.0 * one, 4.0 * one, 6.0 * one, one)
    assert 30.0 >= kw[0] >= kw[1] >= 0.0
    if cold <= back - 10.0:
        assert kw[0] == pytest.approx(30.0)
    if warm >= back - 4.0:
        assert kw[1] == 0.0


def test_a_compressor_takes_more_from_warm_air_as_catalogues_say():
    at_24, at_32 = airunits.dx_capacity_kw(arr(84.0, 84.0), arr(24.0, 32.0), arr(25.0, 25.0))
    assert at_24 == pytest.approx(84.0)
    assert 0.02 <= (at_32 / at_24 - 1.0) / 8.0 <= 0.08  # 84 kW to 137 kW in one table, 2 to 4 % a kelvin in another


@given(t=st.floats(15.0, 70.0), heat=st.floats(0.0, 400.0), loop=st.floats(5.0, 45.0))
def test_an_exchanger_holds_its_set_point_or_does_what_it_can(t: float, heat: float, loop: float):
    kj, ua, dt = arr(1200.0), arr(50.0), 15.0
    out = liquid.exchanger_heat_kw(arr(t), arr(32.0), arr(heat), arr(loop), ua, kj, dt)
    after = float((arr(t) + (heat - out) * dt / kj)[0])
    fine = t
    for _ in range(3000):
        fine += (heat - 50.0 * (fine - loop)) * (dt / 3000) / 1200.0
    assert after >= fine - 0.02  # never colder than with the valve fully open
    if fine < 32.0 and out[0] > 0.0:
        assert after == pytest.approx(32.0, abs=1e-6)


@given(wanted=st.floats(0.0, 200.0), held=st.floats(0.0, 100.0), free=st.floats(0.0, 100.0))
def test_fans_under_control_make_up_for_frozen_ones_as_far_as_they_can(wanted: float, held: float, free: float):
    speed = float(airunits.controlled_speed_frac(arr(wanted), arr(held), arr(free))[0])
    assert 0.0 <= speed <= 1.0
    if 0.0 < speed < 1.0:
        assert held + speed * free == pytest.approx(wanted)


# --- tables -----------------------------------------------------------------------------------

BAD = {
    "loop that is not there": (('loop = "lab/b/loop"\ncapacity_kw', 'loop = "lab/c/loop"\ncapacity_kw'),
                               "free_cooling[0].loop: no loop 'lab/c/loop'"),
    "zero capacity": (("capacity_kw = 30.0", "capacity_kw = 0.0"), "free_cooling[0].capacity_kw: is 0 kW"),
    "loop without chiller": (("running = 2, standby = 1", "running = 0, standby = 3"), "loop[0].chillers.running"),
    "pumps do not add up": (('ids = "p[1-3]"', 'ids = "p[1-4]"'), "names 4 pumps for 2 running + 1 standby"),
    "CDU without racks": (('racks = "r[03-04]"', 'racks = "r[07-08]"'), "hall 'lab/b' has no rack r[07-08]"),
    "air in a circle": (('to_racks = "r[02-04]"', 'to_racks = "r[01-03]"'), "its own air in a circle"),
    "two controls": (("[[pump]]", '[[chiller_control]]\nloop = "lab/a/loop"\n\n[[pump]]'),
                     "is already at chiller_control[0]"),
    "stages hunt": (("stage_up_min = 2.0", "stage_up_frac = 0.5"), "below stage_up_frac"),
    "trips at design": (("stage_up_min = 2.0", "condensing_trip_c = 50.0"), "full load at design is already 52 C"),
    "part load": (("stage_up_min = 2.0", "part_load = [0.5, 0.5, 0.5]"), "a sum of 1"),
    "one rack, two CDUs": (("[[recirculation]]",
                            '[[cdu]]\nhall = "lab/b"\nid = "cdu2"\nracks = "r[04]"\nloop = "lab/b/loop"\n\n'
                            "[[recirculation]]"),
                           "already hang on cdu[0]"),
    "too much hot air": (("frac = 0.05", "frac = 0.5"), None),
    "unit too small": (("fan_kw = 2.0", "fan_kw = 2.0\ncapacity_kw = 5.0"),
                       "needed cooling units of 'lab/a' take 5.0 kW"),
    "unknown key": (("stage_up_min = 2.0", "stage_up_s = 120.0"), "chiller_control[0].stage_up_s: unknown key"),
    "staff of nowhere": (('region = "lab"\ncount', 'region = "lap"\ncount'), "did you mean 'lab'?"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), BAD.values(), ids=BAD)
def test_a_cooling_table_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, change: tuple[str, str], said: str | None
):
    text = TINY + TABLES
    assert change[0] in text
    (tmp_path / "site.toml").write_text(text.replace(*change))
    if said is None:
        load_site(tmp_path / "site.toml")
        return
    with pytest.raises(SiteFileError) as refusal:
        load_site(tmp_path / "site.toml")
    assert said in str(refusal.value)


def test_a_file_without_cooling_tables_has_a_plain_plant():
    for name in ("tiny", "c3o", "selene"):
        assert load_site(name).cooling.is_plain


def test_liquid_racks_need_less_air_and_give_their_loop_the_rest(tmp_path: Path):
    plain, wet = load_site("tiny"), site_of(tmp_path)
    liquid_racks = wet.cooling.rack_cdu >= 0
    assert wet.rack_flow_kw_per_k[liquid_racks] == pytest.approx(0.25 * plain.rack_flow_kw_per_k[liquid_racks])
    heat_kw = wet.cooling.loop_flow_kw_per_k * water.DESIGN_RANGE_K
    assert heat_kw[1] == pytest.approx(wet.hall_design_kw[1] + wet.loop_pump_kw[1] + wet.cooling.cdu_pump_kw[0])


def test_a_crac_needs_no_cold_water(tmp_path: Path):
    crac = "fan_kw = 2.0\ncompressor = { capacity_kw = 60.0, cop = 3.0 }"
    site = site_of(tmp_path, "", ("fan_kw = 2.0", crac))
    assert site.cooling.unit_dx.all()
    assert site.cooling.loop_flow_kw_per_k * water.DESIGN_RANGE_K == pytest.approx(site.loop_pump_kw)


def test_nomenclature_has_every_array_of_the_cooling_plant():
    text = (Path(__file__).parent.parent / "docs" / "nomenclature.md").read_text(encoding="utf-8")
    part = text.split("## The cooling plant", 1)[1].split("\n## ", 1)[0]
    rows = set(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE))
    assert rows == {field.name for field in dataclasses.fields(CoolingPlant)}


def test_pumps_serve_their_loop_and_a_loop_its_coolant_units_and_their_racks(tmp_path: Path):
    site = site_of(tmp_path)
    assert wiring.serves(site, "pump", 0) == [("loop", "lab/a/loop")]
    assert ("cdu", "lab/b/cdu1") in wiring.serves(site, "loop", 1)
    assert wiring.reach(site, "cdu", 0)["rack"].tolist() == np.flatnonzero(site.cooling.rack_cdu == 0).tolist()


@given(wanted=st.floats(-50.0, 200.0), reach=st.floats(-50.0, 200.0), limit=st.floats(1.0, 150.0))
def test_a_valve_that_nobody_wants_open_is_closed(wanted: float, reach: float, limit: float):
    free = np.zeros(1, dtype=bool)
    kw = float(airunits.unit_heat_kw(arr(reach), arr(limit), arr(wanted), arr(0.0), free)[0])
    assert kw <= limit
    assert kw == (min(wanted, reach, limit) if wanted > 0.0 else 0.0)
