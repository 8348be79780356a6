"""Error figures against closed forms, and the block bootstrap against what it must be."""

from __future__ import annotations

import numpy as np
import pytest

from twin.realdata.metrics import below_frac, block_bootstrap_ci, coverage, cv_rmse, mape, nmbe, rmse

MEASURED = np.array([10.0, 20.0, 40.0])


def test_a_constant_relative_error_is_the_mape_and_the_bias():
    assert mape(MEASURED, 1.05 * MEASURED) == pytest.approx(0.05)
    assert nmbe(MEASURED, 1.05 * MEASURED) == pytest.approx(0.05)
    assert nmbe(MEASURED, 0.95 * MEASURED) == pytest.approx(-0.05)


def test_rmse_of_a_constant_offset_is_the_offset_and_cv_rmse_its_share_of_the_mean():
    assert rmse(MEASURED, MEASURED - 3.0) == pytest.approx(3.0)
    assert cv_rmse(MEASURED, MEASURED - 3.0) == pytest.approx(3.0 / (70.0 / 3.0))


def test_rmse_of_a_sine_is_its_amplitude_over_root_two():
    wave = np.sin(np.linspace(0.0, 2.0 * np.pi, 10_001)[:-1])
    assert rmse(np.zeros_like(wave), 5.0 * wave) == pytest.approx(5.0 / np.sqrt(2.0))


def test_errors_that_cancel_leave_no_bias_but_an_rmse():
    forecast = MEASURED + np.array([1.0, -2.0, 1.0])
    assert nmbe(MEASURED, forecast) == pytest.approx(0.0)
    assert rmse(MEASURED, forecast) == pytest.approx(np.sqrt(2.0))


def test_below_counts_samples_strictly_below_the_limit():
    assert below_frac(MEASURED, np.array([10.5, 24.0, 40.0])) == pytest.approx(2.0 / 3.0)
    assert below_frac(np.array([1.0]), np.array([1.25]), limit_frac=0.25) == 0.0


def test_coverage_counts_the_ends_as_inside():
    assert coverage(MEASURED, np.array([10.0, 21.0, 0.0]), np.array([10.0, 30.0, 40.0])) == pytest.approx(2.0 / 3.0)


def test_bootstrap_of_a_constant_is_that_constant():
    assert block_bootstrap_ci(np.full(100, -0.25), 10, seed=0) == pytest.approx((-0.25, -0.25))


def test_bootstrap_is_seeded_and_brackets_the_mean():
    difference = np.sin(np.arange(400.0)) + 0.3
    low, high = block_bootstrap_ci(difference, 10, seed=1)
    assert low < difference.mean() < high
    assert (low, high) == block_bootstrap_ci(difference, 10, seed=1)
    assert (low, high) != block_bootstrap_ci(difference, 10, seed=2)


def test_bootstrap_interval_of_independent_blocks_has_the_width_of_the_normal_law():
    # one value per block, +-1 by turns: the mean of n draws has standard deviation 1 / sqrt(n)
    n = 400
    low, high = block_bootstrap_ci(np.tile([1.0, -1.0], n // 2), 1, seed=0, resamples=4000)
    assert high - low == pytest.approx(2 * 1.645 / np.sqrt(n), rel=0.1)


def test_blocks_widen_the_interval_of_alike_neighbours():
    alike = np.repeat(np.tile([1.0, -1.0], 20), 30)
    narrow = np.diff(block_bootstrap_ci(alike, 1, seed=0))
    wide = np.diff(block_bootstrap_ci(alike, 30, seed=0))
    assert wide > 3.0 * narrow


def test_one_block_gives_no_interval():
    assert np.isnan(block_bootstrap_ci(np.ones(5), 10, seed=0)).all()
