"""Fan-out: any number of workers and any backend give the same bits, and blocks of rows those of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from twin_stories import MINUTE_MS, T0_MS, apply_plan, crisis, tiny

from plant.errors import ConfigError, SnapshotMismatch
from twin import fanout
from twin.engine import run
from twin.state import State

SITE = tiny()
SLOW = pytest.mark.slow
PLAN_MS, END_MS = T0_MS + 11 * MINUTE_MS, T0_MS + 25 * MINUTE_MS


def start() -> State:
    state = crisis(SITE, 5)
    apply_plan(state, SITE, PLAN_MS)
    return state


@pytest.fixture(scope="module")
def whole() -> State:
    return run(start(), SITE, END_MS)


@pytest.fixture(scope="module")
def alone() -> str:
    return fanout.run_blocks(start(), SITE, END_MS, block_rows=2).digest()


@pytest.mark.parametrize(
    "workers, backend",
    [(3, "threading"), (2, "loky"), pytest.param(2, "threading", marks=SLOW), pytest.param(3, "loky", marks=SLOW)],
)
def test_workers_and_backend_do_not_change_a_bit(alone, workers, backend):
    found = fanout.run_blocks(start(), SITE, END_MS, workers=workers, backend=backend, block_rows=2)
    assert found.digest() == alone


@pytest.mark.parametrize("block_rows", [1, 3, pytest.param(2, marks=SLOW), pytest.param(5, marks=SLOW)])
def test_blocks_of_rows_have_the_bits_of_the_whole(whole, block_rows):
    found = fanout.run_blocks(start(), SITE, END_MS, block_rows=block_rows)
    for name, a in whole.arrays.items():
        assert np.array_equal(a, found.arrays[name]), name
    found.check(SITE)
    assert (found.now_ms, found.grid_ms) == (whole.now_ms, whole.grid_ms)


def test_a_joined_state_goes_on_like_the_whole(whole):
    later = END_MS + 20 * MINUTE_MS
    joined = fanout.run_blocks(start(), SITE, END_MS, block_rows=2)
    expected, found = run(whole.fork(), SITE, later), run(joined, SITE, later)
    for name, a in expected.arrays.items():
        assert np.array_equal(a, found.arrays[name]), name


def test_what_concerns_everybody_stands_once_in_the_joined_agenda(whole):
    joined = fanout.run_blocks(start(), SITE, END_MS, block_rows=2)

    def told(state: State) -> list[tuple[object, ...]]:
        rows = range(state.members)
        pairs = [
            (e.due_ms, e.kind, e.component, e.phase, r) for e in state.agenda.entries.values() for r in e.rows or rows
        ]
        return sorted(pairs)

    assert told(joined) == told(whole)
    everybody = [e for e in whole.agenda.entries.values() if e.rows is None]
    assert everybody
    assert sum(e.rows is None for e in joined.agenda.entries.values()) == len(everybody)


def test_the_state_that_was_asked_about_stays_as_it_is():
    state = start()
    before = state.digest()
    fanout.run_blocks(state, SITE, T0_MS + MINUTE_MS, block_rows=2)
    assert state.digest() == before


def test_answers_come_in_order_and_one_worker_needs_no_backend():
    assert fanout.each(divmod, [(7, 2), (9, 4)], 2, "threading") == [(3, 1), (2, 1)]
    assert list(fanout.flow(divmod, [(7, 2), (9, 4)])) == [(3, 1), (2, 1)]


def test_a_backend_that_does_not_exist_or_is_not_there_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match="loky threading ray"):
        fanout.each(divmod, [(7, 2)], 2, "dask")
    monkeypatch.setitem(__import__("sys").modules, "ray.util.joblib", None)
    with pytest.raises(ConfigError, match="ray is not installed"):
        fanout.each(divmod, [(7, 2), (9, 4)], 2, "ray")


def test_a_state_with_a_calm_step_is_refused():
    state = start()
    state.calm_step_ms = 60_000
    with pytest.raises(SnapshotMismatch, match="calm step"):
        fanout.run_blocks(state, SITE, END_MS, block_rows=2)
