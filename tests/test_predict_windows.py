"""Windows: the newest reading of each slot, whatever the order of arrival; silence shows as missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predict.observer import Observer
from predict.watched import COLUMNS, Watched
from predict.windows import Windows, carried_forward, median_of
from twin.telemetry.store import Batch

STEP_MS = 30_000
T0 = 1_700_000_010_000 // STEP_MS * STEP_MS


def windows(racks: int = 3, steps: int = 8) -> Windows:
    return Windows(Watched({"rack": [f"r{i}" for i in range(racks)]}, {}), steps=steps)


def batch(rows: list[tuple[int, str, str, float]]) -> Batch:
    return Batch.from_rows([(T0 + ms, component, channel, value) for ms, component, channel, value in rows])


def test_the_newest_reading_of_a_slot_stands():
    w = windows()
    w.update(batch([(20_000, "r0", "inlet_c", 24.0), (5_000, "r0", "inlet_c", 22.0)]))
    w.update(batch([(10_000, "r0", "inlet_c", 23.0)]))
    assert w.recent(1)[0, 0, 0] == 24.0


def test_a_late_reading_falls_into_its_own_slot():
    w = windows()
    w.update(batch([(95_000, "r0", "inlet_c", 25.0)]))
    w.update(batch([(5_000, "r0", "inlet_c", 22.0)]))
    assert w.recent(4)[:, 0, 0].tolist() == pytest.approx([22.0, np.nan, np.nan, 25.0], nan_ok=True)


def test_what_is_older_than_the_window_and_what_nobody_watches_is_counted():
    w = windows(steps=4)
    w.update(batch([(300_000, "r0", "inlet_c", 25.0)]))
    w.update(batch([(0, "r1", "inlet_c", 20.0), (0, "r1", "colour", 1.0), (0, "x", "inlet_c", 1.0)]))
    w.update(batch([(300_000, "r1", "inlet_c", float("nan"))]))
    assert (w.too_late, w.unwatched) == (1, 3)
    assert np.isnan(w.recent(4)[:, 1]).all()


def test_missing_steps_are_carried_forward_and_marked():
    w = windows(steps=4)
    w.update(batch([(0, "r0", "inlet_c", 21.0), (0, "r1", "outlet_c", 33.0)]))
    w.advance(T0 + 3 * STEP_MS)
    values, missing = w.window("rack")
    assert values.shape == missing.shape == (3, 4, COLUMNS)
    assert values[0, :, 0].tolist() == [21.0] * 4
    assert missing[0, :, 0].tolist() == [False, True, True, True]
    assert np.isnan(values[2]).all()


def test_age_is_that_of_the_newest_reading_and_infinite_without_any():
    w = windows()
    w.update(batch([(0, "r0", "inlet_c", 21.0), (12_000, "r0", "outlet_c", 30.0)]))
    assert w.age_s(T0 + 72_000).tolist() == [60.0, np.inf, np.inf]


def test_one_clock_that_runs_ahead_does_not_wipe_the_others():
    observer = Observer(Watched({"rack": ["r0", "r1", "r2"]}, {}))
    for tick in range(8):
        rows = [(tick * STEP_MS, f"r{i}", "inlet_c", 21.0) for i in range(2)]
        observer.update(
            batch([*rows, (tick * STEP_MS + 20 * STEP_MS, "r2", "inlet_c", 9.0), (10**9, "r2", "inlet_c", 9.0)])
        )
        observer.advance(T0 + tick * STEP_MS)
    assert observer.windows.recent(8)[:, :2, 0].tolist() == [[21.0, 21.0]] * 8
    assert np.isnan(observer.windows.recent(8)[:, 2]).all()
    assert observer.ahead == 8
    observer.advance(T0 + 20 * STEP_MS)
    assert observer.windows.recent(1)[0, 2, 0] == 9.0


def test_an_empty_batch_changes_nothing():
    w = windows()
    assert w.update(Batch.empty()) == 0
    assert w.head is None


readings = st.lists(
    st.tuples(st.integers(0, 7 * STEP_MS), st.sampled_from(["r0", "r1", "r2"]), st.integers(-40, 80)),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[:2],
)


@given(readings, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(rows, luck):
    one, two = windows(), windows()
    stated = [(ms, name, "inlet_c", float(value)) for ms, name, value in rows]
    one.update(batch(stated))
    luck.shuffle(stated)
    for row in stated:
        two.update(batch([row]))
    for w in (one, two):
        w.advance(T0 + 7 * STEP_MS)
    assert np.array_equal(one.recent(8), two.recent(8), equal_nan=True)


@given(
    st.lists(st.lists(st.one_of(st.just(np.nan), st.floats(-50, 50)), min_size=2, max_size=2), min_size=1, max_size=9)
)
def test_median_is_numpys_without_the_missing(rows):
    slots = np.array(rows)
    expected = [np.median(c[~np.isnan(c)]) if (~np.isnan(c)).any() else np.nan for c in slots.T]
    assert median_of(slots).tolist() == pytest.approx(expected, nan_ok=True)


def test_carrying_forward_never_looks_ahead():
    window = np.array([[[np.nan], [1.0], [np.nan], [3.0]]])
    assert carried_forward(window)[0, :, 0].tolist() == pytest.approx([np.nan, 1.0, 1.0, 3.0], nan_ok=True)
