"""Services as queues: M/M/c in closed form against known values and against a simulation of every request."""

from __future__ import annotations

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from plant import queueing as Q


def simulated(servers: int, lam: float, mu: float, luck: np.random.Generator, limit_s: float) -> tuple[float, float]:
    """Mean wait [s] and share answered later than limit_s, request by request in many sites at once."""
    sites, warm, counted = 2000, 300, 900
    free_at = np.zeros((sites, servers))
    now, waits, late = np.zeros(sites), 0.0, 0.0
    for k in range(warm + counted):
        now += luck.exponential(1.0 / lam, sites)
        first = free_at.argmin(axis=1)
        begin = np.maximum(now, free_at[np.arange(sites), first])
        end = begin + luck.exponential(1.0 / mu, sites)
        free_at[np.arange(sites), first] = end
        if k >= warm:
            waits += float((begin - now).mean())
            late += float((end - now > limit_s).mean())
    return waits / counted, late / counted


@pytest.mark.parametrize("servers, rho", [(1, 0.6), (4, 0.8)])
def test_waits_and_tail_agree_with_a_simulation_within_2_percent(servers, rho):
    mu = 2.0
    lam = rho * servers * mu
    limit = float(Q.tail_s(servers, lam, mu, 0.1))
    wait, late = simulated(servers, lam, mu, np.random.default_rng(11), limit)
    assert wait == pytest.approx(float(Q.mean_wait_s(servers, lam, mu)), rel=0.02)
    assert late == pytest.approx(0.1, rel=0.02)


def test_known_values():
    assert Q.erlang_c(1, 0.5) == pytest.approx(0.5)  # M/M/1: the share that waits is the load
    assert Q.mean_wait_s(1, 0.5, 1.0) == pytest.approx(1.0)
    assert Q.erlang_b(10, 5.0) == pytest.approx(0.018385, abs=1e-6)  # Erlang's table
    # M/M/1 answers within an exponential time of mean 1 / (mu - lam)
    assert Q.late_frac(1, 0.5, 1.0, 4.0) == pytest.approx(np.exp(-0.5 * 4.0))
    # one server with half its load: both exponentials meet at theta = mu for c = 2, lam = mu
    assert Q.late_frac(2, 1.0, 1.0, 2.0) == pytest.approx(Q.late_frac(2, 1.0 + 1e-5, 1.0, 2.0), rel=1e-4)


queues = st.tuples(st.integers(1, 40), st.floats(0.01, 1.6), st.floats(0.1, 50.0))


@given(queue=queues, limit=st.floats(0.0, 30.0))
def test_losing_a_server_never_makes_answers_faster(queue, limit):
    servers, rho, mu = queue
    lam = rho * servers * mu
    assert Q.late_frac(servers, lam, mu, limit) <= Q.late_frac(servers - 1, lam, mu, limit) + 1e-9
    assert Q.delivered_frac(servers, lam, mu) >= Q.delivered_frac(servers - 1, lam, mu)


@settings(max_examples=examples(30))
@given(queue=queues, tail=st.floats(0.001, 0.5))
def test_the_tail_is_where_just_that_share_is_late(queue, tail):
    servers, rho, mu = queue
    lam = rho * servers * mu
    found = float(Q.tail_s(servers, lam, mu, tail))
    if lam >= servers * mu:
        assert np.isinf(found)
    else:
        assert Q.late_frac(servers, lam, mu, found) == pytest.approx(tail, rel=1e-6)


def test_a_saturated_or_dead_service_answers_its_share_and_late():
    assert Q.delivered_frac(4, 8.0, 1.0) == pytest.approx(0.5)
    assert Q.late_frac(4, 8.0, 1.0, 100.0) == 1.0
    assert Q.delivered_frac(0, 8.0, 1.0) == 0.0
    assert Q.late_frac(3, 8.0, 0.0, 100.0) == 1.0  # replicas stand, but at no speed
    assert Q.late_frac(0, 0.0, 1.0, 1.0) == 0.0  # nobody asks, nobody waits
    assert Q.delivered_frac(0, 0.0, 1.0) == 1.0


def test_rows_do_not_mix():
    servers = np.array([[1, 2], [3, 0]])
    lam = np.array([1.5, 0.4])
    whole = Q.late_frac(servers, lam, 1.0, 1.0)
    for i in range(2):
        for j in range(2):
            assert whole[i, j] == Q.late_frac(servers[i, j], lam[j], 1.0, 1.0)
