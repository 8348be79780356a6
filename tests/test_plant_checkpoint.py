"""Checkpoint laws: the best interval, what saving costs, against a simulation of failures and against known points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant import checkpoint as C

HOUR_S = 3600.0


def simulated_efficiency(tau: float, save: float, mtbf: float, restart: float, luck: np.random.Generator) -> float:
    """Work over time of 20,000 intervals, failure by failure: an interval is repeated until it gets through."""
    total, intervals = 0.0, 20_000
    left = luck.exponential(mtbf)
    for _ in range(intervals):
        need = tau + save
        while left < need:
            total += left
            left = luck.exponential(mtbf)
            while left < restart:
                total += left
                left = luck.exponential(mtbf)
            total += restart
            left -= restart
        total += need
        left -= need
    return intervals * tau / total


@pytest.mark.parametrize("mtbf_h", [1.0, 7.9])
def test_the_exact_form_agrees_with_a_simulation_of_failures_within_2_percent(mtbf_h):
    mtbf, save, restart = mtbf_h * HOUR_S, 60.0, 300.0
    tau = float(C.young_daly_s(save, mtbf))
    found = simulated_efficiency(tau, save, mtbf, restart, np.random.default_rng(5))
    assert found == pytest.approx(float(C.efficiency_frac(tau, save, mtbf, restart)), rel=0.02)


def test_the_worked_example_of_the_notes():
    # M = 7.9 h, C = 60 s: tau about 31 min, waste about 6.5 % + R/M
    tau = C.young_daly_s(60.0, 7.9 * HOUR_S)
    assert tau / 60.0 == pytest.approx(31.0, abs=0.5)
    assert C.waste_frac(tau, 60.0, 7.9 * HOUR_S) == pytest.approx(0.065, abs=0.001)
    assert 1.0 - C.efficiency_frac(tau, 60.0, 7.9 * HOUR_S) == pytest.approx(0.065, abs=0.003)


@given(save=st.floats(1.0, 600.0), mtbf=st.floats(2 * HOUR_S, 1e6))
def test_no_interval_does_better_than_daly_s_by_more_than_a_thousandth(save, mtbf):
    best = C.efficiency_frac(C.daly_s(save, mtbf), save, mtbf)
    around = np.geomspace(0.05, 20.0, 400) * C.young_daly_s(save, mtbf)
    assert C.efficiency_frac(around, save, mtbf).max() <= best * 1.001


def test_where_a_save_takes_as_long_as_the_machine_lives_the_interval_is_its_life():
    assert C.daly_s(300.0, 100.0) == 100.0


@given(tau=st.floats(60.0, 7200.0), save=st.floats(0.0, 600.0))
def test_asynchronous_saves_cost_less_pace_and_are_complete_later(tau, save):
    assert C.pace_frac(tau, save, True) >= C.pace_frac(tau, save, False)
    assert C.lag_s(save, True) >= C.lag_s(save, False) == 0.0
    assert C.stall_s(save, True) + C.lag_s(save, True) == pytest.approx(save)


def test_at_its_pace_an_interval_takes_its_work_and_its_save():
    assert 1800.0 / C.pace_frac(1800.0, 30.0) == pytest.approx(1830.0)
    assert C.pace_frac(0.0, 30.0) == 1.0  # nothing to save
    assert C.pace_frac(1800.0, 0.0) == 1.0


def test_published_save_times():
    # 18 TB at 100 GB/s take 180 s; 60 GB of one node to a network store take 30 s (notes/incidents.md C)
    assert C.save_time_s(18_000.0, 100.0) == pytest.approx(180.0)
    assert C.save_time_s(60.0) == pytest.approx(30.0)
    assert C.save_time_s(60.0 * 16, writers=16) == pytest.approx(30.0)
