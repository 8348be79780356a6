"""Cooling units, water and chillers: coils saturate, chillers close their balance, losing one never cools."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twin_stories import MINUTE_MS, T0_MS, some_jobs, tiny

from plant import cooling
from twin.engine import run
from twin.ensemble import make_state
from twin.state import State

SITE = tiny()
temps = st.floats(5.0, 60.0)
END_MS = T0_MS + 60 * MINUTE_MS


def arr(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


@given(hot=temps, water=temps, setpoint=st.floats(15.0, 27.0), share=st.floats(0.1, 1.0))
def test_supply_air_is_the_setpoint_until_the_coil_is_spent(hot, water, setpoint, share):
    supply = float(cooling.supply_air_c(arr(hot), arr(water), arr(setpoint), arr(share))[0])
    reach = hot - share * (hot - water)
    assert supply == (max(setpoint, reach) if hot > setpoint else hot), "a coil does not heat"
    warmer = float(cooling.supply_air_c(arr(hot), arr(water + 1.0), arr(setpoint), arr(share))[0])
    assert warmer >= supply


def test_supply_air_follows_the_water_once_saturated():
    water = np.linspace(10.0, 40.0, 61)
    supply = cooling.supply_air_c(np.full(61, 35.0), water, np.full(61, 22.0), np.full(61, 0.8))
    held = supply == 22.0
    assert held[0]
    assert not held[-1]
    assert np.diff(supply[~held]) == pytest.approx(0.8 * 0.5)


@given(available=st.floats(0.0, 100.0), wanted=st.floats(0.0, 100.0))
def test_units_give_no_more_air_than_they_have(available, wanted):
    share = float(cooling.cold_share_frac(arr(available), arr(wanted))[0])
    assert 0.0 <= share <= 1.0
    assert share * wanted <= available + 1e-9


@given(water=st.floats(0.0, 40.0), heat=st.floats(0.0, 500.0), capacity=st.floats(0.0, 400.0), kj=st.floats(100.0, 1e5))
def test_chillers_close_the_water_balance(water, heat, capacity, kj):
    dt_s, setpoint = 15.0, 11.0
    taken = float(cooling.chiller_heat_kw(arr(water), arr(setpoint), arr(heat), arr(capacity), arr(kj), dt_s)[0])
    after = water + (heat - taken) * dt_s / kj
    assert 0.0 <= taken <= capacity
    if 0.0 < taken < capacity:
        assert after == pytest.approx(setpoint, abs=1e-9)
    elif taken == 0.0:
        assert after <= setpoint + 1e-9 or capacity == 0.0
    else:
        assert after >= setpoint - 1e-9


def test_capacity_falls_with_flow_and_pressure_with_its_square():
    flow = arr(0.0, 0.35, 0.7, 1.0)
    assert cooling.flow_capacity_frac(flow).tolist() == [0.0, 0.5, 1.0, 1.0]
    assert cooling.loop_pressure_kpa(flow).tolist() == pytest.approx([0.0, 36.75, 147.0, 300.0])


def test_a_chiller_works_harder_on_a_hot_day_but_never_for_nothing():
    cop = cooling.chiller_cop(arr(5.0), arr(0.1), arr(15.0, 25.0, 35.0, 80.0))
    assert cop.tolist() == [6.0, 5.0, 4.0, cooling.COP_MIN]


def test_fans_follow_the_cube_law():
    assert cooling.fan_power_kw(arr(2.0), arr(0.0, 0.5, 1.0)).tolist() == [0.0, 0.25, 2.0]


# --- on the running tiny twin -------------------------------------------------------------------


@cache
def run_with(kind: str, components: tuple[str, ...]) -> list[State]:
    """The tiny site at work for an hour, with some components lost after ten minutes; a copy every five minutes."""
    state = make_state(SITE, T0_MS, jobs=some_jobs())
    state.node_stop_c[...] = 200.0  # no node may leave, or less heat would hide the loss
    for one in components:
        phase = "out" if kind == "chiller" else "stop"
        state.agenda.add(T0_MS + 10 * MINUTE_MS, kind, one, phase, {"repaired_ms": END_MS * 2})
    seen = []
    for at_ms in range(T0_MS + 5 * MINUTE_MS, END_MS + 1, 5 * MINUTE_MS):
        seen.append(run(state, SITE, at_ms).fork())
    return seen


LOSSES = {
    "one cooling unit": ("cooling_unit", SITE.unit_ids[:1]),
    "both cooling units of a hall": ("cooling_unit", SITE.unit_ids[:2]),
    "one chiller": ("chiller", SITE.chiller_ids[:1]),
    "both duty chillers": ("chiller", SITE.chiller_ids[:2]),
}


@pytest.mark.parametrize(("kind", "lost"), LOSSES.values(), ids=LOSSES)
def test_losing_cooling_never_lowers_a_temperature(kind, lost):
    for whole, less in zip(run_with("chiller", ()), run_with(kind, lost), strict=True):
        for name in ("rack_inlet_c", "rack_air_c", "rack_mass_c", "hall_hot_c", "hall_supply_c"):
            assert (less.arrays[name] >= whole.arrays[name] - 1e-9).all(), name
        if kind == "chiller":  # without its units a hall gives the water less heat, so only chillers promise this
            assert (less.loop_supply_c >= whole.loop_supply_c - 1e-9).all()


def test_losing_all_units_or_all_chillers_is_felt():
    for name in ("both cooling units of a hall", "both duty chillers"):
        kind, lost = LOSSES[name]
        whole, last = run_with("chiller", ())[-1], run_with(kind, lost)[-1]
        in_hall = SITE.rack_hall == 0
        assert (last.rack_inlet_c[0] > whole.rack_inlet_c[0] + 2.0)[in_hall].all(), name
        assert last.rack_inlet_c[0, ~in_hall] == pytest.approx(whole.rack_inlet_c[0, ~in_hall], abs=1e-9)
