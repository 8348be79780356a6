"""Late and out-of-order readings: used or refused by the stated rule; in a linear case order makes no difference."""

from __future__ import annotations

import numpy as np
import pytest
from emulated_world import SITE
from hypothesis import given, settings
from hypothesis import strategies as st
from twin_stories import T0_MS

from twin.engine import Engine
from twin.ensemble import make_state
from twin.sync.lateness import AGAIN, BEFORE, LATE_MS, MOMENTS, TOO_LATE, Past
from twin.sync.names import Names
from twin.sync.operators import OPERATORS, Operator
from twin.sync.synchronise import Synchroniser
from twin.telemetry.store import Batch

STEP_MS = 15_000
RACKS = SITE.rack_ids
REST = make_state(SITE, T0_MS, members=12)
# the error of inlet sensors alone: what is predicted is linear in it, and nothing else moves
BIAS_ONLY = (
    Operator("rack", "inlet_c", lambda d: d.state.rack_inlet_c, bias="rack_inlet_bias_k", error_sd=0.3, jump_sd=5.0),
)
STEPS = 9
ROOMY = settings(max_examples=10, deadline=None)


def believed(arrivals: list[tuple[int, int, float, int]], operators: tuple[Operator, ...] = BIAS_ONLY) -> np.ndarray:
    """Members' bias (M, R) after readings (step, rack, value, delay in steps) have arrived, each in its turn."""
    sync, d = Synchroniser(SITE, operators), Engine(REST.fork(), SITE).derived
    if operators is BIAS_ONLY:  # what is forgotten between two readings depends on when they come: some 1e-5 K
        sync.widths.forget = lambda *_: None  # type: ignore[method-assign]
    for now in range(STEPS + 1 + LATE_MS // STEP_MS):
        now_ms = T0_MS + now * STEP_MS
        rows = [
            (T0_MS + step * STEP_MS, RACKS[rack], "inlet_c", value)
            for step, rack, value, delay in arrivals
            if step + delay == now
        ]
        # the first step has a reading, so that all predictions are remembered in every order
        first = [(now_ms, RACKS[-1], "inlet_c", 22.0)] if now == 0 else []
        sync.correct(d, Batch.from_rows([*first, *rows]), now_ms)
    assert sync.refused == 0
    return np.asarray(d.state.rack_inlet_bias_k)


@st.composite
def arrivals(draw):
    """Up to a dozen readings of three racks, at most one of each in a step, each late by some steps."""
    keys = draw(st.sets(st.tuples(st.integers(1, STEPS), st.integers(0, 2)), min_size=1, max_size=10))
    inlet_c = float(REST.rack_inlet_c.mean())
    return [
        (step, rack, inlet_c + draw(st.floats(-0.3, 0.3)), draw(st.integers(0, LATE_MS // STEP_MS - 1)))
        for step, rack in sorted(keys)
    ]


@ROOMY
@given(arrivals())
def test_in_a_linear_case_readings_say_the_same_in_any_order_of_arrival(late):
    on_time = believed([(step, rack, value, 0) for step, rack, value, _ in late])
    delayed = believed(late)
    assert delayed.mean(axis=0) == pytest.approx(on_time.mean(axis=0), abs=1e-9)
    assert delayed.std(axis=0) == pytest.approx(on_time.std(axis=0), abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(late=arrivals())
def test_with_all_of_the_twin_the_order_matters_little(late):
    on_time = believed([(step, rack, value, 0) for step, rack, value, _ in late], OPERATORS)
    assert np.abs(believed(late, OPERATORS).mean(axis=0) - on_time.mean(axis=0)).max() < 0.06


def one(past_ms: int, now_ms: int, value: float = 30.0) -> Batch:
    return Batch.from_rows([(now_ms - past_ms, RACKS[0], "inlet_c", value)])


def test_what_is_refused_is_counted_by_reason():
    sync, d = Synchroniser(SITE), Engine(REST.fork(), SITE).derived
    now_ms = T0_MS
    sync.correct(d, one(LATE_MS + 1, now_ms), now_ms)
    assert sync.past.refused == {BEFORE: 1}  # history: the twin had not begun
    for _ in range(LATE_MS // STEP_MS + 1):
        now_ms += STEP_MS
        sync.correct(d, one(0, now_ms, 22.0), now_ms)
    sync.correct(d, one(LATE_MS + 1, now_ms), now_ms)
    for _ in range(3):
        sync.correct(d, one(STEP_MS, now_ms), now_ms)
    assert sync.past.refused == {BEFORE: 1, TOO_LATE: 1, AGAIN: 3}


def test_a_clock_ahead_counts_as_now():
    sync, d = Synchroniser(SITE), Engine(REST.fork(), SITE).derived
    sync.correct(d, one(-60_000, T0_MS, 22.3), T0_MS)
    assert sync.refused == 0
    assert d.state.rack_inlet_bias_k[:, 0].mean() != REST.rack_inlet_bias_k[:, 0].mean()


def test_of_several_readings_within_one_step_the_last_counts():
    names = Names({("rack", "inlet_c"): RACKS})
    past = Past(names)
    past.now(T0_MS)
    rows = [(T0_MS - 9, RACKS[0], "inlet_c", 1.0), (T0_MS - 1, RACKS[0], "inlet_c", 3.0),
            (T0_MS - 5, RACKS[0], "inlet_c", 2.0), (T0_MS, "nobody", "inlet_c", 9.0)]  # fmt: skip
    (only,) = past.sort(Batch.from_rows(rows), T0_MS)
    said = only["rack", "inlet_c"]
    assert (said.at.tolist(), said.value.tolist(), past.refused) == ([0], [3.0], {})


@given(st.lists(st.integers(-LATE_MS, 0), min_size=1, max_size=40), st.lists(st.integers(1, 40_000), max_size=30))
@ROOMY
def test_each_reading_belongs_to_the_nearest_moment_that_is_remembered(ages, gaps):
    past = Past(Names({("rack", "inlet_c"): [f"r{i}" for i in range(len(ages))]}))
    now_ms = T0_MS
    past.now(now_ms)
    for gap in gaps:
        now_ms += gap
        past.now(now_ms)
    assert len(past.moments) <= MOMENTS
    batch = Batch.from_rows([(now_ms + age, f"r{i}", "inlet_c", float(i)) for i, age in enumerate(ages)])
    (only,) = past.sort(batch, now_ms)
    said = only["rack", "inlet_c"]
    found = dict(zip(said.value.astype(int).tolist(), said.time_ms.tolist(), strict=True))
    for i, age in enumerate(ages):
        best = min(abs(m.time_ms - now_ms - age) for m in past.moments)
        assert abs(found[i] - now_ms - age) == best


def test_readings_of_one_sensor_come_oldest_first():
    past = Past(Names({("rack", "inlet_c"): RACKS}))
    for k in range(4):
        past.now(T0_MS + k * STEP_MS)
    now_ms = T0_MS + 3 * STEP_MS
    rows = [(now_ms - age * STEP_MS, RACKS[rack], "inlet_c", float(age)) for rack, age in ((0, 0), (0, 2), (1, 1))]
    rounds = [r["rack", "inlet_c"] for r in past.sort(Batch.from_rows(rows), now_ms)]
    assert [(r.at.tolist(), r.value.tolist()) for r in rounds] == [([0, 1], [2.0, 1.0]), ([0], [0.0])]


def test_names_are_found_in_whole_batches():
    names = Names({("rack", "inlet_c"): ["a", "b"], ("rack", "outlet_c"): ["a", "b"], ("hall", "hot_c"): ["h"]})
    rows = [(0, "b", "outlet_c", 0.0), (0, "h", "hot_c", 0.0), (0, "h", "inlet_c", 0.0), (0, "a", "inlet_c", 0.0),
            (0, "c", "inlet_c", 0.0), (0, "a", "other", 0.0)]  # fmt: skip
    assert names.find(Batch.from_rows(rows)).tolist() == [3, 4, -1, 0, -1, -1]
    assert names.find(Batch.empty()).tolist() == []
