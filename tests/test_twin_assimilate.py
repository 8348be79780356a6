"""The ensemble update against the Kalman filter it stands for: mean and variance, scalar and linear, to rounding."""

from __future__ import annotations

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from twin.sync.assimilate import Correction, Observed, confidence, update
from twin.sync.spread import inflate

Array = NDArray[np.float64]
variances = st.floats(1e-3, 1e3)
levels = st.floats(-100.0, 100.0)


def ensemble(mean: float, variance: float, members: int = 16, seed: int = 0) -> Array:
    """Members (M, 1) whose sample mean and variance are exactly these."""
    z = np.random.default_rng(seed).standard_normal((members, 1))
    z -= z.mean()
    return mean + z / z.std(ddof=1) * np.sqrt(variance)


def seen(value: float, error_var: float, noise_var: float = 0.0, present: bool = True) -> Observed:
    return Observed(np.array([value]), np.array([present]), error_var, noise_var)


def kalman(mean: float, variance: float, value: float, error_var: float) -> tuple[float, float]:
    """Mean and variance after one direct observation, in closed form."""
    gain = variance / (variance + error_var)
    return mean + gain * (value - mean), (1.0 - gain) * variance


@given(mean=levels, variance=variances, value=levels, error_var=variances)
def test_one_observation_gives_kalmans_mean_and_variance(mean, variance, value, error_var):
    x = ensemble(mean, variance)
    update(x.copy(), seen(value, error_var), [x], [])
    after_mean, after_variance = kalman(mean, variance, value, error_var)
    assert x.mean() == pytest.approx(after_mean, rel=1e-9, abs=1e-9)
    assert x.var(ddof=1) == pytest.approx(after_variance, rel=1e-9)


def test_a_row_of_observations_follows_filterpy():
    readings, error_var = [21.0, 22.5, 20.0, 25.0, 24.0, 23.1], 0.7
    x = ensemble(20.0, 4.0)
    kf = KalmanFilter(dim_x=1, dim_z=1)
    kf.x, kf.P, kf.R, kf.H = np.array([[20.0]]), np.array([[4.0]]), np.array([[error_var]]), np.array([[1.0]])
    for value in readings:
        update(x.copy(), seen(value, error_var), [x], [])
        kf.update(np.array([[value]]))
        assert x.mean() == pytest.approx(float(kf.x[0, 0]), rel=1e-9)
        assert x.var(ddof=1) == pytest.approx(float(kf.P[0, 0]), rel=1e-9)


def test_a_moving_state_and_its_hidden_rate_follow_filterpy():
    """x' = x + p, p is never seen: many members, their noise drawn, come to the mean and covariance of the filter."""
    members, noise_var, error_var = 40_000, 0.05, 0.4
    rng = np.random.default_rng(5)
    x, p = 20.0 + rng.standard_normal((members, 1)), 0.3 * rng.standard_normal((members, 1))
    kf = KalmanFilter(dim_x=2, dim_z=1)
    kf.x, kf.P = np.array([[20.0], [0.0]]), np.diag([1.0, 0.09])
    kf.F, kf.H = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 0.0]])
    kf.Q, kf.R = np.diag([noise_var, 0.0]), np.array([[error_var]])
    truth = 20.0
    for _ in range(25):
        truth += 0.4
        value = truth + float(rng.normal(0.0, np.sqrt(error_var)))
        x += p + np.sqrt(noise_var) * rng.standard_normal(x.shape)
        kf.predict()
        kf.update(np.array([[value]]))
        update(x.copy(), seen(value, error_var), [x], [p])
        cov = np.cov(np.stack([x[:, 0], p[:, 0]]))
        assert [x.mean(), p.mean()] == pytest.approx(kf.x[:, 0].tolist(), abs=0.03)
        assert cov.ravel() == pytest.approx(kf.P.ravel(), rel=0.06, abs=1e-3)
    assert p.mean() == pytest.approx(0.4, abs=3.0 * kf.P[1, 1] ** 0.5)


@given(members=st.sampled_from([16, 32, 64]), seed=st.integers(0, 100))
def test_of_a_correlation_out_of_nothing_little_is_believed(members, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, members, 400))
    x, y = (a - a.mean(axis=0) for a in (x, y))
    covariance, variances = (x * y).mean(axis=0), (x * x).mean(axis=0) * (y * y).mean(axis=0)
    believed = confidence(covariance, variances, members) * covariance
    assert np.mean(believed**2) < 0.75 * np.mean(covariance**2)
    assert np.median(np.abs(believed)) == 0.0
    sure = confidence(np.ones(1), np.ones(1), members)
    assert sure.tolist() == [1.0]


@given(share=st.floats(0.5, 0.98))
def test_a_correlation_that_is_there_is_believed(share):
    """r^2 = share: what is left of it is the adjusted one."""
    left = confidence(np.array([np.sqrt(share)]), np.ones(1), 32)[0] * share
    assert left == pytest.approx(1.0 - (1.0 - share) * 31.0 / 30.0, rel=1e-9)


def test_several_arrays_at_once_are_moved_as_each_alone():
    predicted = ensemble(20.0, 4.0)
    stack = np.stack([ensemble(1.0, 0.1, seed=k) for k in range(4)])
    alone = [a.copy() for a in stack]
    correction = Correction.of(predicted, seen(21.0, 0.5))
    correction.apply(stack)
    for a in alone:
        correction.apply(a)
    assert stack == pytest.approx(np.stack(alone), rel=1e-12)


@given(slope=st.floats(-3.0, 3.0), variance=variances, error_var=variances, value=levels)
def test_what_is_not_seen_moves_by_its_covariance(slope, variance, error_var, value):
    """A parameter p observed through h = slope p: Kalman's gain is P h / (h P h + R)."""
    p = ensemble(5.0, variance)
    predicted = slope * p
    update(predicted, seen(value, error_var), [], [p])
    gain = variance * slope / (slope * slope * variance + error_var)
    assert p.mean() == pytest.approx(5.0 + gain * (value - slope * 5.0), rel=1e-9, abs=1e-9)
    assert p.var(ddof=1) == pytest.approx((1.0 - gain * slope) * variance, rel=1e-9)


def test_two_observed_one_after_the_other_are_observed_together():
    """Serial processing of independent readings is the joint update (linear case)."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((40, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
    before, cov = x.mean(axis=0), np.cov(x.T)
    value, error_var = np.array([0.7, -0.4]), np.array([0.5, 0.2])
    gain = cov @ np.linalg.inv(cov + np.diag(error_var))
    for i in (0, 1):
        columns = [np.ascontiguousarray(x[:, [j]]) for j in (0, 1)]
        update(columns[i].copy(), seen(value[i], error_var[i]), columns, [])
        x = np.concatenate(columns, axis=1)
    assert x.mean(axis=0) == pytest.approx(before + gain @ (value - before), rel=1e-9)
    assert np.cov(x.T) == pytest.approx(cov - gain @ cov, rel=1e-9)


@given(noise_var=variances, variance=variances, error_var=variances, value=levels)
def test_model_noise_makes_the_observed_listen_more(noise_var, variance, error_var, value):
    x = ensemble(10.0, variance)
    update(x.copy(), seen(value, error_var, noise_var), [x], [])
    assert x.mean() == pytest.approx(kalman(10.0, variance + noise_var, value, error_var)[0], rel=1e-9, abs=1e-9)
    assert x.var(ddof=1) <= variance * (1.0 + 1e-9)


def test_a_missing_reading_changes_no_bit():
    x, p = ensemble(20.0, 4.0), ensemble(1.0, 0.1, seed=1)
    before = x.copy(), p.copy()
    for value in (np.nan, 99.0):
        found = update(x.copy(), seen(value, 0.5, 0.5, present=False), [x], [p])
        assert found.difference.tolist() == [0.0]
    assert np.array_equal(x, before[0])
    assert np.array_equal(p, before[1])


def test_components_do_not_see_each_other():
    x = np.concatenate([ensemble(20.0, 4.0), ensemble(30.0, 1.0, seed=2)], axis=1)
    alone = x[:, :1].copy()
    update(alone.copy(), seen(25.0, 0.5), [alone], [])
    other = x[:, 1].copy()
    update(x.copy(), Observed(np.array([25.0, np.nan]), np.array([True, False]), 0.5), [x], [])
    assert x[:, :1] == pytest.approx(alone, rel=1e-12)
    assert np.array_equal(x[:, 1], other)


def test_an_ensemble_of_one_follows_by_its_model_noise_alone():
    x, p = np.array([[20.0]]), np.array([[1.0]])
    update(x.copy(), seen(26.0, 1.0, 2.0), [x], [p])
    assert x[0, 0] == pytest.approx(20.0 + 2.0 / 3.0 * 6.0, rel=1e-12)
    assert p[0, 0] == 1.0
    update(x.copy(), seen(99.0, 1.0, 0.0), [x], [])
    assert x[0, 0] == pytest.approx(24.0, rel=1e-12)


def test_the_prediction_may_be_the_array_itself():
    x = ensemble(20.0, 4.0)
    y = x.copy()
    update(x, seen(25.0, 0.5, 0.1), [x], [])
    update(y.copy(), seen(25.0, 0.5, 0.1), [y], [])
    assert np.array_equal(x, y)


@given(order=st.permutations(range(16)))
def test_the_order_of_members_does_not_matter(order):
    x = ensemble(20.0, 4.0)
    y = x[list(order)].copy()
    for a in (x, y):
        update(a.copy(), seen(25.0, 0.5), [a], [])
    assert y == pytest.approx(x[list(order)], rel=1e-12)


def test_inflation_widens_what_is_too_narrow_and_nothing_else():
    x = np.concatenate([ensemble(20.0, 1e-6), ensemble(20.0, 4.0), np.full((16, 1), 7.0)], axis=1)
    before = x.copy()
    inflate(x, 0.05)
    assert x[:, 0].std() == pytest.approx(0.05, rel=1e-9)
    assert x.mean(axis=0) == pytest.approx(before.mean(axis=0), rel=1e-12)
    assert x[:, 1] == pytest.approx(before[:, 1], rel=1e-14)
    one = np.array([[3.0]])
    inflate(one, 0.5)
    assert one[0, 0] == 3.0


def test_members_that_became_equal_are_spread_again_by_their_place():
    x = np.concatenate([np.full((16, 2), 7.0), ensemble(20.0, 4.0)], axis=1)
    other = x.copy()
    for a in (x, other):
        inflate(a, 0.05)
    assert np.array_equal(x, other)
    assert x[:, :2].mean(axis=0) == pytest.approx(7.0, rel=1e-12)
    assert x[:, :2].std(axis=0) == pytest.approx(0.05, rel=1e-9)
    assert len(set(x[:, 0].tolist())) == 16
    assert abs(np.corrcoef(x[:, 0], x[:, 1])[0, 1]) < 1.0
