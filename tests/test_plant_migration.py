"""Moving a running job: the copy advanced in steps keeps the closed form and every byte."""

from __future__ import annotations

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from plant import migration as M


def one(left: float, stopped: bool = False) -> M.Copy:
    return M.Copy(np.array([left]), np.zeros(1), np.zeros(1, dtype=np.int64), np.array([stopped]))


def played(size: float, b: float, d: float, dt_s: float, stopped: bool = False) -> tuple[float, float, float, int]:
    """Seconds, GB sent, seconds of standing still and rounds before the stop of one copy."""
    copy, at, sent, still = one(size, stopped), 0.0, 0.0, 0.0
    for _ in range(1000):
        step = M.advance(copy, b, d, size, dt_s)
        copy, sent, still = step.now, sent + float(step.sent_gb[0]), still + float(step.still_s[0])
        at += dt_s - float(step.spare_s[0])
        if step.done[0]:
            return at, sent, still, int(copy.round[0])
    raise AssertionError("the copy does not end")


cases = st.tuples(
    st.floats(1.0, 200.0), st.floats(0.5, 50.0), st.floats(0.0, 0.9)
).map(  # state GB, GB/s, D/B
    lambda case: (min(case[0], 60.0 * case[1]), *case[1:])
)
few = settings(max_examples=examples(25))


@few
@given(case=cases, dt_s=st.sampled_from([2.0, 10.0, 15.0]))
def test_a_pre_copy_takes_what_the_closed_form_says(case, dt_s):
    size, b, r = case
    took, sent, still, n = played(size, b, r * b, dt_s)
    assert n == M.rounds_before_stop(size, b, r * b)
    assert took == pytest.approx(float(M.total_s(size, b, r * b, n)), rel=0.02)
    assert sent == pytest.approx(b * took, rel=1e-9)  # every byte that was sent took its time, and no other did
    assert still + M.RESUME_S == pytest.approx(float(M.downtime_s(size, b, r * b, n)), rel=0.02, abs=1e-9)


@few
@given(case=cases)
def test_the_step_changes_neither_bytes_nor_time(case):
    size, b, r = case
    for mine, other in zip(played(size, b, r * b, 2.0), played(size, b, r * b, 15.0), strict=True):
        assert mine == pytest.approx(other, rel=1e-6, abs=1e-9)


@few
@given(size=st.floats(1.0, 100.0), b=st.floats(1.0, 50.0), dt_s=st.sampled_from([2.0, 15.0]))
def test_stop_and_copy_is_size_over_bandwidth_and_stands_still_all_the_time(size, b, dt_s):
    took, sent, still, n = played(size, b, 0.0, dt_s, stopped=True)
    assert (took, sent, still) == pytest.approx((size / b, size, size / b))
    assert n == 0


def test_a_job_that_dirties_as_fast_as_the_link_carries_does_not_converge():
    assert M.rounds_before_stop(100.0, 1.0, 1.0) == 0
    assert not M.converges(1.0, 1.2)
    took, _, still, n = played(100.0, 1.0, 1.2, 15.0)  # even when it is tried: one round for nothing, then the whole
    assert (took, still, n) == pytest.approx((200.0, 100.0, 1))


@few
@given(case=cases, more=st.floats(1.01, 3.0))
def test_more_bandwidth_never_takes_longer(case, more):
    size, b, r = case
    assert played(size, b * more, r * b, 15.0)[0] <= played(size, b, r * b, 15.0)[0] * (1 + 1e-9) + 1e-9


def test_a_link_without_bandwidth_sends_nothing_and_copies_do_not_mix():
    copy = M.Copy(np.array([10.0, 20.0]), np.zeros(2), np.zeros(2, dtype=np.int64), np.array([True, True]))
    step = M.advance(copy, np.array([0.0, 4.0]), 0.0, np.array([10.0, 20.0]), 15.0)
    assert step.sent_gb.tolist() == [0.0, 20.0]
    assert step.done.tolist() == [False, True]
    assert step.still_s.tolist() == [15.0, 5.0]
    assert step.spare_s.tolist() == [0.0, 10.0]


def test_the_arithmetic_of_the_14_seconds():
    # 14 s move 17.5 GB at 10 Gb/s, 175 GB at 100 Gb/s, 700 GB at 400 Gb/s (notes/incidents.md C)
    for gbit, gb in ((10.0, 17.5), (100.0, 175.0), (400.0, 700.0)):
        assert M.total_s(gb, gbit / 8.0, 0.0, 0) == pytest.approx(14.0)


def test_a_restart_sends_only_what_no_replica_holds():
    assert M.to_send_gb(100.0, M.RESTART, 0.9) == pytest.approx(10.0)
    assert M.to_send_gb(100.0, M.PRE_COPY, 0.9) == 100.0
