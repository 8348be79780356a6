"""Ensemble Kalman update over the member axis, local to each component: serial, deterministic, without random numbers.

The square-root form of Whitaker and Hamill (2002): the mean moves by the gain, deviations shrink by a share of it. One
scalar observation per component at a time; components do not see each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Observed:
    """Readings of one channel: values (C,), which are present (C,), their error variance, the channel's model noise."""

    value: Array
    present: NDArray[np.bool_]
    error_var: float
    noise_var: float = 0.0


@dataclass(frozen=True)
class Innovation:
    """What the readings said against the ensemble: difference of means (C,), ensemble variance (C,)."""

    difference: Array
    variance: Array


def update(predicted: Array, observed: Observed, own: list[Array], linked: list[Array]) -> Innovation:
    """Correct arrays (M, C) in place from one observation per component, given its prediction (M, C).

    `own` are the observed quantity itself: they also follow the model noise, so that an ensemble without spread still
    listens. `linked` move by their covariance with the prediction alone. Missing readings move nothing.
    """
    mean = predicted.mean(axis=0)
    deviation = predicted - mean
    divisor = max(len(predicted) - 1, 1)
    variance = (deviation * deviation).sum(axis=0) / divisor
    total = variance + observed.noise_var + observed.error_var
    difference = np.where(observed.present, observed.value - mean, 0.0)
    shrink = observed.present / (1.0 + np.sqrt(observed.error_var / np.maximum(total, 1e-300)))
    for array in (*own, *linked):
        spread = array - array.mean(axis=0)
        gain = (spread * deviation).sum(axis=0) / divisor / total
        array -= shrink * gain * deviation
        array += gain * difference
    for array in own:
        array += observed.noise_var / total * difference
    return Innovation(difference, variance)


def inflate(array: Array, least_sd: float) -> None:
    """Widen each component's spread (M, C) to a least standard deviation, in place; an ensemble of one has none."""
    if len(array) < 2:
        return
    mean = array.mean(axis=0)
    sd = array.std(axis=0)
    factor = np.where((sd > 0.0) & (sd < least_sd), least_sd / np.where(sd > 0.0, sd, 1.0), 1.0)
    array[...] = mean + (array - mean) * factor
