"""The compiled loops of sync against their oracle in plain NumPy, for random members, components and readings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emulated_world import SITE, Beside, quickly
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from twin import numba_sync
from twin.engine import Engine
from twin.kernels import kernels
from twin.sync.innovations import STATISTICS
from twin.sync.spread import quantiles
from verbs.warm import follow

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
        self.array = 20.0 + rng.standard_normal((members, SENSORS)) * rng.choice([0.0, 0.05, 1.0], SENSORS)
        self.kept = 20.0 + rng.standard_normal((SLOTS, members, SENSORS))
        self.parts = self.gain(PLAIN)

    def gain(self, form: Any) -> tuple[np.ndarray, np.ndarray]:
        """Deviations and table of the correction."""
        deviation, table = np.zeros_like(self.predicted), np.zeros((5, self.n))
        form.sync_gain(self.predicted, *self.told, deviation, table)
        return deviation, table


def same(plain: Any, fast: Any) -> None:
    for one, other in zip(plain, fast, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)


def both(act: Any, *arrays: np.ndarray) -> list[list[np.ndarray]]:
    """What act(form, copies of the arrays) leaves in them, with either form, held against each other."""
    left = []
    for form in (PLAIN, FAST):
        left.append([array.copy() for array in arrays])
        act(form, *left[-1])
    same(*left)
    return left


@seeds
@several
def test_gains_groups_and_memories_are_the_same(seed: int, members: int) -> None:
    room = Room(seed, members)
    same(room.parts, room.gain(FAST))
    slot = room.rng.integers(0, SLOTS, room.n)
    empty = np.full_like(room.predicted, np.nan), np.full((2, room.n), np.nan)
    both(lambda form, *out: form.sync_recall(room.kept, slot, room.at, *out), *empty)
    sums = np.full((members, SENSORS), np.nan)
    plain, fast = both(lambda form, out: form.sync_groups(room.predicted, room.source, out), sums)
    assert np.array_equal(plain[0], fast[0])


@seeds
@several
def test_quantities_move_the_same(seed: int, members: int) -> None:
    room = Room(seed, members)
    push = room.rng.standard_normal(room.n)
    both(lambda form, array: form.sync_own(array, room.at, room.source, *room.parts, push), room.array)
    old, empty = room.array[:, room.at].copy(), np.full((2, room.n), np.nan)
    both(lambda form, new, moved: form.sync_linked(old, room.source, *room.parts, new, moved), old, empty)
    said_ms, kept_ms = room.rng.integers(0, 3, room.n), room.rng.integers(-1, 3, SLOTS)
    told = (kept_ms, room.at, room.source, said_ms, *room.parts, push)
    left, _ = both(lambda form, kept: form.sync_past(kept, *told), room.kept)
    assert np.array_equal(left[0][kept_ms < 0], room.kept[kept_ms < 0])


@seeds
@several
def test_parameters_keep_the_same_steps_bounds_and_spreads(seed: int, members: int) -> None:
    room = Room(seed, members)
    size = SENSORS if seed % 2 else 1
    low, high = np.full(size, 18.5), np.full(size, 21.5)
    old = np.clip(room.array[:, room.at], 18.5, 21.5)
    told = (old, room.at, room.source, *room.parts, 0.3, low, high, 0.2, quantiles(members))
    left, _ = both(lambda form, new, moved: form.sync_bounded(*told, new, moved), old, np.zeros((2, room.n)))
    assert members == 1 or (left[0].std(axis=0) >= 0.2 - 1e-12).all()


@seeds
@several
def test_parameters_are_forgotten_the_same(seed: int, members: int) -> None:
    room = Room(seed, members)
    grows = room.rng.random(SENSORS if seed % 2 else 1)
    both(lambda form, values: form.sync_forget(values, grows, 0.9), room.array)
    for prior_var, relative in ((0.9, False), (0.002, True), (1e-30, False)):
        told = (room.array, prior_var, relative)
        assert PLAIN.sync_narrow(*told) == FAST.sync_narrow(*told)


@seeds
@several
def test_statistics_are_the_same(seed: int, members: int) -> None:
    room = Room(seed, members)
    last = np.where(np.arange(SENSORS) % 3 == seed % 3, np.nan, 20.0)
    scaled = np.where(np.arange(SENSORS) % 2 == seed % 2, np.nan, 0.5)
    told = (room.at, room.told[0], room.predicted[0] - 20.0, room.told[1])

    def act(form: Any, counts: np.ndarray, *arrays: np.ndarray) -> None:
        counts[...] = form.sync_statistics(*told, *arrays)

    both(act, np.zeros(2), last, scaled, np.zeros(len(STATISTICS)))


def test_setup_compiles_all_that_sync_computes() -> None:
    """No first run waits: following a site for a while calls every kernel of sync."""
    follow(ticks=8)
    names = [name for name in dir(numba_sync) if name.startswith("sync_")]
    assert len(names) == 10
    assert all(getattr(numba_sync, name).signatures for name in names)


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
