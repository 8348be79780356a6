"""Ensemble Kalman update over the member axis, local to each component: serial, deterministic, without random numbers.

The square-root form of Whitaker and Hamill (2002): the mean moves by the gain, deviations shrink by a share of it. One
scalar observation per component at a time; components do not see each other. A covariance between 32 members has a
sampling error of its own (a correlation of 0.18 out of nothing): that of a parameter counts only as far as its
correlation stands out of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.intp]

TINY = 1e-300


@dataclass(frozen=True)
class Observed:
    """Readings of one channel: values (C,), which are present (C,), error variance and model noise (one or (C,))."""

    value: Array
    present: NDArray[np.bool_]
    error_var: float | Array
    noise_var: float | Array = 0.0


class Innovation(NamedTuple):
    """What the readings said against the ensemble: difference of means (C,), ensemble variance (C,)."""

    difference: Array
    variance: Array


class Correction(NamedTuple):
    """One round of observations, ready to be applied to any array: deviations (M, C), the rest (C,)."""

    deviation: Array
    difference: Array
    variance: Array
    total: Array
    shrink: Array
    noise_gain: Array

    @classmethod
    def of(cls, predicted: Array, observed: Observed) -> Correction:
        """The correction that follows from a prediction (M, C) and what was observed."""
        mean = mean_of(predicted)
        deviation = predicted - mean
        divisor = max(len(predicted) - 1, 1)
        variance = np.einsum("mc,mc->c", deviation, deviation) / divisor
        total = variance + observed.noise_var + observed.error_var
        difference = np.where(observed.present, observed.value - mean, 0.0)
        shrink = observed.present / (1.0 + np.sqrt(observed.error_var / np.maximum(total, TINY)))
        return cls(deviation, difference, variance, total, shrink, np.asarray(observed.noise_var / total))

    def take(self, at: Places) -> Correction:
        """The same for other components, each the one behind it: a chiller takes that of its loop."""
        return Correction(
            self.deviation.take(at, axis=1), self.difference[at], self.variance[at], self.total[at], self.shrink[at],
            _at(self.noise_gain, at),
        )  # fmt: skip

    def apply(self, array: Array, *, doubtful: bool = False) -> Array:
        """Move an array (M, C) by its covariance with the prediction, in place; doubtful: less its sampling error.

        Several arrays (..., M, C) are moved each on its own. Return the regression of the prediction on the array (C,):
        what one unit of it changes in what is predicted; 0 unless it was doubted.
        """
        members = array.shape[-2]
        divisor = max(members - 1, 1)
        spread = array - (np.add.reduce(array, axis=-2) / members)[..., None, :]
        covariance = np.einsum("...mc,mc->...c", spread, self.deviation) / divisor
        gain, effect = covariance / np.maximum(self.total, TINY), np.zeros_like(covariance)
        if doubtful:
            own = np.einsum("...mc,...mc->...c", spread, spread) / divisor
            gain *= confidence(covariance, own * self.variance, members)
            effect = covariance / np.maximum(own, TINY)
        moved = (self.shrink * gain)[..., None, :] * self.deviation
        moved -= (gain * self.difference)[..., None, :]
        array -= moved
        return np.asarray(effect)

    def push(self, array: Array, per_unit: float | Array = 1.0) -> None:
        """Move an array, the observed quantity itself, by the share of the model noise."""
        array += self.noise_gain * self.difference * per_unit


def confidence(covariance: Array, variances: Array, members: int) -> Array:
    """Return how much of a sample covariance to believe (C,), 0..1: the adjusted coefficient of determination.

    With r the sample correlation of M members, 1 - (1 - r^2)(M - 1)/(M - 2) over r^2: 0 up to r^2 = 1/(M - 1), which
    chance alone gives, 1 for r = 1. variances: the product of both (C,).
    """
    if members < 4:
        return np.ones_like(covariance)
    r2 = np.minimum(covariance * covariance / np.maximum(variances, TINY), 1.0)
    sure = 1.0 - (1.0 - r2) * (members - 1) / (members - 2)
    return np.asarray(np.clip(sure / np.maximum(r2, TINY), 0.0, 1.0))


def update(predicted: Array, observed: Observed, own: list[Array], linked: list[Array]) -> Innovation:
    """Correct arrays (M, C) in place from one observation per component, given its prediction (M, C).

    `own` are the observed quantity itself: they also follow the model noise, so that an ensemble without spread still
    listens. `linked` move by their covariance with the prediction alone. Missing readings move nothing.
    """
    correction = Correction.of(predicted, observed)
    for array in (*own, *linked):
        correction.apply(array)
    for array in own:
        correction.push(array)
    return Innovation(correction.difference, correction.variance)


def mean_of(values: Array) -> Array:
    """Mean over members (C,)."""
    return np.asarray(np.add.reduce(values, axis=0) / len(values))


def columns(array: Array, at: Places) -> Array:
    """Return a copy of some components (M, at) of an array (M, C); `at` rises."""
    return array.copy() if len(at) == array.shape[1] else array.take(at, axis=1)


def put(array: Array, at: Places, new: Array) -> None:
    """Write some components (M, at) of an array (M, C); `at` rises."""
    if len(at) == array.shape[1]:
        array[...] = new
    else:
        array[:, at] = new


def _at(values: Array, at: Places) -> Array:
    return values[at] if values.ndim else values
