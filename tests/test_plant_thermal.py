"""Two nodes of heat in a rack: the step is exact, composes, and meets the measured rise of a room without cooling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.linalg import expm

from plant.thermal import (
    RackStep,
    advance_air,
    advance_rack,
    air_step,
    rack_step,
    reading_frac,
    structure_frac,
    structure_heat_kj,
    washed_ua_kw_per_k,
)

flows = st.one_of(st.just(0.0), st.floats(1e-4, 20.0))
racks = st.tuples(st.floats(5.0, 2000.0), st.floats(2.0, 100.0), st.floats(0.02, 20.0), flows)
starts = st.tuples(st.floats(10.0, 90.0), st.floats(10.0, 90.0))
heats = st.floats(0.0, 60.0)
steps_s = st.floats(0.1, 120.0)
inlets = st.floats(5.0, 45.0)


def one(*values: float) -> list[np.ndarray]:
    return [np.array([v]) for v in values]


def step_of(rack: tuple[float, ...], dt_s: float) -> RackStep:
    return rack_step(*one(*rack), dt_s)


def after(rack: tuple[float, ...], dt_s: float, start: tuple[float, float], heat: float, inlet: float) -> np.ndarray:
    return np.array([t[0] for t in advance_rack(step_of(rack, dt_s), *one(*start), *one(heat), *one(inlet))])


@given(rack=racks, dt_s=steps_s, start=starts, heat=heats, inlet=inlets)
def test_the_step_is_the_matrix_exponential(rack, dt_s, start, heat, inlet):
    mass, air, ua, flow = rack
    # state (equipment, air, 1): heat and inlet held over the step
    rates = np.array(
        [
            [-ua / mass, ua / mass, heat / mass],
            [ua / air, -(ua + flow) / air, flow * inlet / air],
            [0.0, 0.0, 0.0],
        ]
    )
    exact = (expm(rates * dt_s) @ np.array([*start, 1.0]))[:2]
    assert after(rack, dt_s, start, heat, inlet) == pytest.approx(exact, rel=1e-8, abs=1e-8)


@given(rack=racks, dt_s=steps_s, start=starts, heat=heats, inlet=inlets)
def test_two_half_steps_are_one_step(rack, dt_s, start, heat, inlet):
    half = after(rack, dt_s / 2.0, start, heat, inlet)
    twice = after(rack, dt_s / 2.0, (half[0], half[1]), heat, inlet)
    assert twice == pytest.approx(after(rack, dt_s, start, heat, inlet), rel=1e-9, abs=1e-9)


@given(rack=racks, dt_s=steps_s, start=starts, heat=heats, more=st.floats(0.0, 30.0), inlet=inlets)
def test_more_heat_never_cools(rack, dt_s, start, heat, more, inlet):
    assert (after(rack, dt_s, start, heat + more, inlet) >= after(rack, dt_s, start, heat, inlet) - 1e-9).all()


@given(rack=racks, dt_s=steps_s, start=starts, heat=heats, inlet=inlets, warmer=st.floats(0.0, 20.0))
def test_warmer_inlet_never_cools(rack, dt_s, start, heat, inlet, warmer):
    assert (after(rack, dt_s, start, heat, inlet + warmer) >= after(rack, dt_s, start, heat, inlet) - 1e-9).all()


@given(rack=racks, dt_s=steps_s, start=starts, inlet=inlets)
def test_without_heat_nothing_leaves_the_range_of_what_was_there(rack, dt_s, start, inlet):
    found = after(rack, dt_s, start, 0.0, inlet)
    assert (found >= min(*start, inlet) - 1e-9).all()
    assert (found <= max(*start, inlet) + 1e-9).all()


@given(rack=racks, heat=heats, inlet=inlets)
def test_the_resting_point_is_where_it_should_be_and_stays(rack, heat, inlet):
    _, _, ua, flow = rack
    assume(flow >= 0.01)
    rest = (inlet + heat / flow + heat / ua, inlet + heat / flow)
    assert after(rack, 15.0, rest, heat, inlet) == pytest.approx(rest, rel=1e-7, abs=1e-7)


@given(rack=racks, dt_s=steps_s, start=starts, heat=heats)
def test_without_flow_all_heat_stays(rack, dt_s, start, heat):
    mass, air, ua, _ = rack
    found = after((mass, air, ua, 0.0), dt_s, start, heat, 20.0)
    gained = mass * (found[0] - start[0]) + air * (found[1] - start[1])
    assert gained == pytest.approx(heat * dt_s, rel=1e-7, abs=1e-6 * (mass + air))


@given(rack=racks)
def test_a_step_of_no_length_changes_nothing(rack):
    assert after(rack, 0.0, (50.0, 30.0), 5.0, 20.0) == pytest.approx((50.0, 30.0), rel=1e-9)


def time_to_45_c(servers: int, heat_kw: float, air_kj_per_k: float) -> int:
    """Seconds until the air of a rack without cooling reaches 45 C: air from 24 C, equipment 20 K above it (B.1)."""
    step = step_of((11.1 * servers, air_kj_per_k, heat_kw / 20.0, 0.0), 1.0)
    mass, air = one(44.0, 24.0)
    seconds = 0
    while air[0] < 45.0:
        mass, air = advance_rack(step, mass, air, *one(heat_kw, 24.0))
        seconds += 1
    return seconds


def test_racks_without_cooling_reach_45_c_as_notes_and_measurements_say():
    open_aisle, contained = time_to_45_c(10, 5.0, 18.0), time_to_45_c(20, 10.0, 9.0)
    assert (open_aisle, contained) == (pytest.approx(180, abs=2), pytest.approx(67, abs=2))  # notes/incidents.md B.1
    assert open_aisle == pytest.approx(189, rel=0.06)  # measured: 3 min 09 s at 5 kW (Opengate study)


def test_rows_alone_or_in_a_block_give_the_same_bits():
    rng = np.random.default_rng(1)
    parts = [rng.uniform(5.0, 500.0, (4, 9)), rng.uniform(2.0, 50.0, (4, 9)), rng.uniform(0.1, 2.0, (4, 9)),
             rng.uniform(0.0, 3.0, (4, 9))]  # fmt: skip
    whole = rack_step(*parts, 15.0)
    alone = rack_step(*[p[[2]] for p in parts], 15.0)
    assert all(np.array_equal(a, w[[2]]) for a, w in zip(alone, whole, strict=True))


structures = st.tuples(st.floats(1.0, 5e4), st.floats(0.001, 50.0))


@given(structure=structures, dt_s=steps_s, start=starts)
def test_a_structure_in_held_air_follows_the_exponential_and_closes(structure, dt_s, start):
    capacity, ua = one(*structure)
    air, metal = one(*start)
    heat = structure_heat_kj(air, metal, capacity, structure_frac(capacity, ua, dt_s))
    exact = air + (metal - air) * np.exp(-structure[1] / structure[0] * dt_s)
    assert metal + heat / capacity == pytest.approx(exact, rel=1e-9, abs=1e-9)


@given(structure=structures, dt_s=steps_s, start=starts)
def test_two_half_steps_of_a_structure_are_one_step(structure, dt_s, start):
    capacity, ua = one(*structure)
    air, metal = one(*start)
    half = structure_frac(capacity, ua, dt_s / 2.0)
    first = structure_heat_kj(air, metal, capacity, half)
    second = structure_heat_kj(air, metal + first / capacity, capacity, half)
    whole = structure_heat_kj(air, metal, capacity, structure_frac(capacity, ua, dt_s))
    assert first + second == pytest.approx(whole, rel=1e-9, abs=1e-9)


def test_a_structure_without_capacity_takes_no_heat():
    assert structure_frac(*one(0.0, 5.0), 15.0) == 0.0
    assert structure_heat_kj(*one(40.0, 20.0, 0.0, 0.0)) == 0.0


@given(ua=st.floats(0.001, 50.0), flow=flows, more=st.floats(0.0, 10.0))
def test_a_stream_gives_metal_no_more_than_it_carries_and_more_of_it_never_less(ua, flow, more):
    washed = washed_ua_kw_per_k(*one(ua, flow))
    assert 0.0 <= washed <= min(ua, flow) + 1e-12
    assert washed_ua_kw_per_k(*one(ua, flow + more)) >= washed - 1e-12


def test_metal_in_a_large_stream_sees_its_whole_conductance_and_none_without_flow():
    assert washed_ua_kw_per_k(*one(0.5, 5000.0)) == pytest.approx(0.5, rel=1e-4)
    assert washed_ua_kw_per_k(*one(0.5, 0.0)) == 0.0


def test_a_sensor_is_63_percent_there_after_its_lag():
    assert reading_frac(*one(30.0), 30.0) == pytest.approx(1.0 - np.exp(-1.0))
    assert reading_frac(*one(0.0), 30.0) == 1.0


@given(air=st.floats(1.0, 5000.0), flow=flows, dt_s=steps_s, start=st.floats(10.0, 60.0), heat=heats, inlet=inlets)
def test_well_mixed_air_follows_the_exponential_and_what_leaves_is_what_came_in(air, flow, dt_s, start, heat, inlet):
    step = air_step(*one(air, flow), dt_s)
    end, mean = (t[0] for t in advance_air(step, *one(start, heat, inlet)))
    rates = np.array([[-flow / air, flow * inlet / air + heat / air], [0.0, 0.0]])
    assert end == pytest.approx((expm(rates * dt_s) @ np.array([start, 1.0]))[0], rel=1e-8, abs=1e-8)
    carried = flow * (mean - inlet) * dt_s
    assert air * (end - start) == pytest.approx(heat * dt_s - carried, rel=1e-7, abs=1e-6 * (air + flow * dt_s))
