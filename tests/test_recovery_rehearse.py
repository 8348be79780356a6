"""Rehearsals: the same answer, to the last bit, from any number of workers and any backend."""

from __future__ import annotations

import numpy as np
import pytest
from twin_stories import MINUTE_MS, T0_MS, some_jobs, tiny

from plant.errors import ConfigError
from recovery import rehearse as R
from recovery.propose import Context, propose
from twin import fanout
from twin.engine import run
from twin.ensemble import make_state

SITE = tiny()
SLOW = pytest.mark.slow
CAUSE = SITE.loop_ids[0]


@pytest.fixture(scope="module")
def question() -> R.Question:
    state = run(make_state(SITE, T0_MS, jobs=some_jobs(), members=3, seed=4), SITE, T0_MS + 12 * MINUTE_MS)
    return R.Question(state, SITE, CAUSE, {600: 1.0}, 9, horizon_s=2400.0)


@pytest.fixture(scope="module")
def plans(question):
    return propose(SITE, Context(CAUSE, (), question.state.digest(), "test", question.state.now_ms))


def bits(rehearsals: list[R.Rehearsal]) -> list[bytes]:
    arrays = [a for r in rehearsals for a in (*r.costs.values(), r.peak_inlet_c, r.recovery_s, r.first_stop_s)]
    return [np.ascontiguousarray(a).tobytes() for a in arrays]


@pytest.fixture(scope="module")
def alone(question, plans):
    R.BLOCK_ROWS = 2
    try:
        yield R.rehearse(question, plans, 5)
    finally:
        R.BLOCK_ROWS = fanout.BLOCK_ROWS


@pytest.mark.parametrize(
    "workers, backend",
    [(3, "threading"), *(pytest.param(n, one, marks=SLOW) for n, one in ((2, "loky"), (2, "threading"), (3, "loky")))],
)
def test_workers_and_backend_change_no_bit_of_a_rehearsal(question, plans, alone, workers, backend):
    assert bits(R.rehearse(question, plans, 5, workers, backend)) == bits(alone)


def test_members_screened_before_need_not_be_played_again(question, plans, monkeypatch):
    monkeypatch.setattr(R, "BLOCK_ROWS", 1)
    some, more = R.rehearse(question, plans[:2], 2), R.rehearse(question, plans[:2], 5, first=2)
    joined = [R.together(one, rest) for one, rest in zip(some, more, strict=True)]
    assert bits(joined) == bits(R.rehearse(question, plans[:2], 5))
    assert joined[0].members == 5


def test_the_rehearsed_plans_differ_and_so_do_their_members(alone):
    lost = np.array([r.lost_service_min for r in alone])
    assert lost.shape == (len(alone), 5)
    assert len(np.unique(lost.sum(axis=1))) > 2
    assert (lost.std(axis=1) > 0.0).any()


def test_a_backend_that_does_not_exist_is_refused(question, plans):
    with pytest.raises(ConfigError, match=r"loop\.backend"):
        R.rehearse(question, plans, 5, 2, "dask")
