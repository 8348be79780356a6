"""Ensemble Kalman update over the member axis, local to each component: serial, deterministic, without random numbers.

The square-root form of Whitaker and Hamill (2002): the mean moves by the gain, deviations shrink by a share of it. One
scalar observation per component at a time; components do not see each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FLAT_FRAC = 1e-6  # a spread below this share of the least one is rounding, with no direction worth scaling


@dataclass(frozen=True)
class Observed:
    """Readings of one channel: values (C,), which are present (C,), error variance, model noise (one or (C,))."""

    value: Array
    present: NDArray[np.bool_]
    error_var: float
    noise_var: float | Array = 0.0


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
    """Widen each component's spread (M, C) to a least standard deviation, in place; an ensemble of one has none.

    Members that have become equal (clipped at a bound) are spread anew by their place in the ensemble: scaling nothing
    gives nothing, and a parameter without spread would never listen again.
    """
    members = len(array)
    if members < 2:
        return
    mean = array.mean(axis=0)
    sd = array.std(axis=0)
    flat = sd <= FLAT_FRAC * least_sd
    factor = np.where(~flat & (sd < least_sd), least_sd / np.where(flat, 1.0, sd), 1.0)
    array[...] = mean + (array - mean) * factor
    if flat.any():
        which = np.flatnonzero(flat)
        # neighbours begin at different places, so that their deviations do not all point the same way
        place = (np.arange(members)[:, None] + which[None, :]) % members
        array[:, which] = mean[which] + least_sd * _quantiles(members)[place]


@lru_cache(maxsize=16)
def _quantiles(members: int) -> Array:
    """Return standard-normal quantiles, one per member, with mean 0 and standard deviation 1."""
    z = np.array([NormalDist().inv_cdf((i + 0.5) / members) for i in range(members)])
    return np.asarray((z - z.mean()) / z.std())
