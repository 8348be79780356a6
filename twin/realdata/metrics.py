"""How far a forecast is from what was measured: error figures and the paired block bootstrap.

All functions take arrays of one shape, the measured one first, in any one unit; fractions are fractions, not percent.
The figures are those of ASHRAE Guideline 14; our bias is forecast minus measured: positive is too high.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant.streams import uniform

Floats = NDArray[np.float64]
RESAMPLES = 2000


def rmse(measured: Floats, forecast: Floats) -> float:
    """Root of the mean squared error, in the unit of the data."""
    return float(np.sqrt(np.mean((forecast - measured) ** 2)))


def relative_errors(measured: Floats, forecast: Floats) -> Floats:
    """Absolute error of each sample over its measured value (0.05 = 5 %); measured values must not be 0."""
    return np.asarray(np.abs(forecast - measured) / np.abs(measured))


def mape(measured: Floats, forecast: Floats) -> float:
    """Mean of the absolute relative errors, as a fraction."""
    return float(np.mean(relative_errors(measured, forecast)))


def nmbe(measured: Floats, forecast: Floats) -> float:
    """Mean bias over the mean of the measured values, as a fraction; positive when the forecast is too high."""
    return float(np.mean(forecast - measured) / np.mean(measured))


def cv_rmse(measured: Floats, forecast: Floats) -> float:
    """RMSE over the mean of the measured values, as a fraction."""
    return rmse(measured, forecast) / float(np.mean(measured))


def below_frac(measured: Floats, forecast: Floats, limit_frac: float = 0.10) -> float:
    """Share of the samples whose absolute relative error is below the limit."""
    return float(np.mean(relative_errors(measured, forecast) < limit_frac))


def coverage(measured: Floats, low: Floats, high: Floats) -> float:
    """Share of the measured values inside [low, high]."""
    return float(np.mean((measured >= low) & (measured <= high)))


def block_bootstrap_ci(
    difference: Floats, block: int, seed: int, level: float = 0.90, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Interval of the mean of paired differences, drawn with whole blocks because neighbouring samples are alike.

    `difference` (n,) is cut into runs of `block` samples (the last may be shorter); whole runs are drawn with
    replacement by the seeded stream. With fewer than two blocks the interval cannot be known and both ends are NaN.
    """
    n = len(difference)
    edges = np.arange(0, n, max(1, block))
    if len(edges) < 2:
        return float("nan"), float("nan")
    sums = np.add.reduceat(difference, edges)
    sizes = np.diff(np.append(edges, n))
    luck = uniform(seed, "block_bootstrap", np.arange(resamples)[:, None], 0, np.arange(len(edges))[None, :])
    drawn = np.minimum((luck * len(edges)).astype(np.int64), len(edges) - 1)
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)
