"""The compiled loops of sync against their oracle in plain NumPy, for random members, components and readings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emulated_world import SITE, Beside, quickly
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.engine import Engine
from twin.kernels import kernels
from twin.sync.innovations import STATISTICS
from twin.sync.spread import quantiles

PLAIN, FAST = kernels("numpy"), kernels("numba")
SLOTS, SENSORS = 4, 9
seeds = given(seed=st.integers(0, 10**6), members=st.sampled_from([1, 2, 3, 8, 32]))
several = settings(max_examples=examples(60), deadline=None)


class Room:
    """Members, sensors that spoke, and the correction that follows."""

    def __init__(self, seed: int, members: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.n = int(rng.integers(1, SENSORS + 1))
        self.at = np.sort(rng.choice(SENSORS, self.n, replace=False))
        self.source = rng.integers(0, self.n, self.n)
        self.predicted = 20.0 + rng.standard_normal((members, self.n))
        self.noise_var = np.where(rng.random(self.n) < 0.3, 0.0, rng.random(self.n))
        self.told = 20.0 + 2.0 * rng.standard_normal(self.n), 0.01 + rng.random(self.n), self.noise_var
        self.array = 20.0 + rng.standard_normal((members, SENSORS)) * rng.choice([0.0, 1e-9, 1.0], SENSORS)
        self.kept = 20.0 + rng.standard_normal((SLOTS, members, SENSORS))
        self.parts = PLAIN.sync_gain(self.predicted, *self.told)


def same(plain: Any, fast: Any) -> None:
    for one, other in zip(plain, fast, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)


@seeds
@several
def test_gains_groups_and_memories_are_the_same(seed: int, members: int) -> None:
    room = Room(seed, members)
    same(room.parts, FAST.sync_gain(room.predicted, *room.told))
    slot = room.rng.integers(0, SLOTS, room.n)
    same(PLAIN.sync_recall(room.kept, slot, room.at), FAST.sync_recall(room.kept, slot, room.at))
    groups = PLAIN.sync_groups(room.predicted, room.source, SENSORS)
    assert np.array_equal(groups, FAST.sync_groups(room.predicted, room.source, SENSORS))


@seeds
@several
def test_quantities_move_the_same(seed: int, members: int) -> None:
    room = Room(seed, members)
    push = room.rng.standard_normal(room.n)
    plain, fast = room.array.copy(), room.array.copy()
    PLAIN.sync_own(plain, room.at, room.source, room.parts, push)
    FAST.sync_own(fast, room.at, room.source, room.parts, push)
    same([plain], [fast])
    old = room.array[:, room.at].copy()
    same(PLAIN.sync_linked(old, room.source, room.parts), FAST.sync_linked(old, room.source, room.parts))
    said_ms, kept_ms = room.rng.integers(0, 3, room.n), room.rng.integers(0, 3, SLOTS)
    plain, fast = room.kept.copy(), room.kept.copy()
    PLAIN.sync_past(plain, kept_ms, room.at, room.source, said_ms, room.parts, push)
    FAST.sync_past(fast, kept_ms, room.at, room.source, said_ms, room.parts, push)
    same([plain], [fast])


@seeds
@several
def test_parameters_keep_the_same_steps_bounds_and_spreads(seed: int, members: int) -> None:
    room = Room(seed, members)
    size = SENSORS if seed % 2 else 1
    low, high = np.full(size, 18.5), np.full(size, 21.5)
    old = np.clip(room.array[:, room.at], 18.5, 21.5)
    told = (old, room.at, room.source, room.parts, 0.3, low, high, 0.2, quantiles(members))
    plain, fast = PLAIN.sync_bounded(*told), FAST.sync_bounded(*told)
    same(plain, fast)
    assert members == 1 or (fast[0].std(axis=0) >= 0.2 - 1e-12).all()


@seeds
@several
def test_statistics_are_the_same(seed: int, members: int) -> None:
    room = Room(seed, members)
    found = []
    for form in (PLAIN, FAST):
        last = np.where(np.arange(SENSORS) % 3 == seed % 3, np.nan, 20.0)
        scaled = np.where(np.arange(SENSORS) % 2 == seed % 2, np.nan, 0.5)
        out = np.zeros(len(STATISTICS))
        value, difference, expected = room.told[0], room.predicted[0] - 20.0, room.told[1]
        counts = form.sync_statistics(room.at, value, difference, expected, last, scaled, out)
        found.append((np.array(counts), out, last, scaled))
    same(*found)


def test_ten_minutes_of_readings_is_taken_in_alike_by_both_forms() -> None:
    """A live twin corrected as the worker does it: the same ensemble and statistics to rounding."""
    twins = []
    for form in ("numpy", "numba"):
        beside = Beside(*quickly(7))
        beside.twin.state.backend = form
        beside.twin.engine = Engine(beside.twin.state, SITE)
        for _ in range(40):
            beside.tick()
        twins.append(beside.twin)
    plain, fast = twins
    assert plain.state.backend == "numpy"
    for name, array in plain.state.arrays.items():
        if array.dtype == np.float64:
            np.testing.assert_allclose(fast.state.arrays[name], array, rtol=1e-7, atol=1e-7, err_msg=name)
    for row, other in zip(plain.sync.report(), fast.sync.report(), strict=True):
        assert other.pop("channel") == row.pop("channel")
        assert other == pytest.approx(row, rel=1e-6, abs=1e-9)
