"""Statistics of innovations: what a filter that is right shows, and how one that is wrong shows."""

from __future__ import annotations

import numpy as np
import pytest

from twin.kernels import kernels
from twin.sync.innovations import Following

AT = np.arange(20)


def followed(innovations: np.ndarray, expected_sd: float = 1.0) -> dict[str, float]:
    """The row of a channel of 20 sensors after rounds of innovations (rounds, 20)."""
    f = Following(np.full(len(AT), np.nan))
    for row in innovations:
        f.note(AT, row + 20.0, row, np.full(len(AT), expected_sd**2), kernels("numba"))
    return f.row()


def white(rounds: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rounds, len(AT)))


def test_white_innovations_of_the_expected_size_are_those_of_a_filter_that_is_right():
    row = followed(0.5 * white(), 0.5)
    assert row["chi2"] == pytest.approx(1.0, abs=0.1)
    assert row["lag1"] == pytest.approx(0.0, abs=0.1)
    assert row["mean"] == pytest.approx(0.0, abs=0.05)
    assert row["sd"] == pytest.approx(0.5, rel=0.1)
    assert row["rmse"] == pytest.approx(row["expected"], rel=0.1)
    assert row["persistence_rmse"] == pytest.approx(0.5 * 2**0.5, rel=0.1)


def test_too_sure_of_itself_too_shy_and_biased():
    assert followed(white(), 0.5)["chi2"] == pytest.approx(4.0, rel=0.15)
    assert followed(white(), 2.0)["chi2"] == pytest.approx(0.25, rel=0.15)
    row = followed(white() + 1.5)
    assert row["mean"] == pytest.approx(1.5, abs=0.1)
    assert row["lag1"] > 0.5


def test_innovations_that_know_of_each_other():
    noise = white(600)
    for k in range(1, len(noise)):
        noise[k] = 0.8 * noise[k - 1] + 0.6 * noise[k]
    assert followed(noise)["lag1"] == pytest.approx(0.8, abs=0.12)


def test_one_jump_counts_little_and_a_lasting_one_in_full():
    once, lasting = white(100), white(100)
    once[50] += 1000.0
    lasting[50:] += 1000.0
    for innovations, lost in ((once, False), (lasting, True)):
        f = Following(np.full(len(AT), np.nan))
        for row in innovations:
            f.note(AT, row, row, np.ones(len(AT)), kernels("numba"))
        assert (f.row()["rmse"] > 3.0) == lost  # type: ignore[operator]


def test_a_first_reading_is_not_judged():
    f = Following(np.full(1, np.nan))
    f.note(np.array([0]), np.array([99.0]), np.array([77.0]), np.ones(1), kernels("numba"))
    assert f.n == 0
    assert f.last.tolist() == [99.0]
