"""The plain lags that a twin of a hall has to beat: first-order lags of power with fitted times and weights."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from twin.realdata.tables import Bools, Floats

GAINS = (1.0, 0.7, 0.5, 0.35, 0.2, 0.1, 0.05, 0.02)
DAMPINGS = (1.0, 0.9, 0.8, 0.6, 0.4, 0.2, 0.0)
FIXED_LAGS_S = (60.0, 300.0, 900.0, 3600.0)
TRIED_LAGS_S = tuple(np.geomspace(20.0, 12_000.0, 36).tolist())


def lagged(series: Floats, lags_s: tuple[float, ...], dt_s: float) -> Floats:
    """Return a series after first-order lags, from rest (n, ..., lags): y' = (x - y) / lag, x held over each step."""
    keep = np.exp(-dt_s / np.asarray(lags_s))
    answer = np.empty((*series.shape, len(lags_s)))
    y = np.repeat(series[0][..., None], len(lags_s), axis=-1)
    for i in range(len(series)):
        y = series[i][..., None] + keep * (y - series[i][..., None])
        answer[i] = y
    return answer


def fixed_lags(columns: Floats, measured: Floats, fit: Bools) -> Floats:
    """Return what least squares on a constant and the given columns (n, k) says for every sample."""
    x = np.column_stack([np.ones(len(columns)), columns])
    used = fit & np.isfinite(measured)
    weight, *_ = np.linalg.lstsq(x[used], measured[used], rcond=None)
    return np.asarray(x @ weight)


def two_lags(candidates: Floats, others: Floats, measured: Floats, fit: Bools) -> tuple[Floats, tuple[int, int]]:
    """Return the best fit on two of the candidate lags (n, lags) with the other columns (n, k), and which two.

    Best: least squared error on the samples `fit` (n, bool). All pairs are tried, so the answer has no start to depend
    on.
    """
    used = fit & np.isfinite(measured)
    y = measured[used]
    pairs = list(combinations(range(candidates.shape[1]), 2))
    whole = np.column_stack([np.ones(len(others)), others, candidates])[used]
    gram, moment = whole.T @ whole, whole.T @ y
    k = 1 + others.shape[1]

    def loss(pair: tuple[int, int]) -> float:
        at = [*range(k), k + pair[0], k + pair[1]]
        # a whisper of ridge: two lags next to each other are nearly the same column
        inner = gram[np.ix_(at, at)]
        weight = np.linalg.solve(inner + 1e-9 * np.diag(np.diag(inner) + 1e-9), moment[at])
        return float(weight @ inner @ weight - 2.0 * weight @ moment[at])

    best = min(pairs, key=loss)
    columns = np.column_stack([others, candidates[:, list(best)]])
    return fixed_lags(columns, measured, fit), best


def held_residual(residual: Floats, steps: int) -> Floats:
    """Return for each instant the newest residual (n, components) at least `steps` old, 0 before there is one."""
    return smoothed_residual(residual, steps, 1.0, 1.0)


def smoothed_residual(residual: Floats, steps: int, gain: float, damping: float) -> Floats:
    """Return what residuals (n, components) say `steps` later: b' = b + gain (residual - b), times the damping.

    0 before there is one; a missing residual leaves b as it was.
    """
    b = np.full(residual.shape[1], np.nan)
    answer = np.zeros(residual.shape)
    for i in range(len(residual) - steps):
        new = np.where(np.isfinite(b), b + gain * (residual[i] - b), residual[i])
        b = np.where(np.isfinite(residual[i]), new, b)
        answer[i + steps] = np.nan_to_num(b)
    return damping * answer


def choose_smoothing(residual: Floats, steps: int) -> tuple[float, float]:
    """Return the gain and damping with the least squared error of residuals (n, components) `steps` ahead."""
    best, least = (1.0, 1.0), np.inf
    for gain in GAINS:
        ahead = smoothed_residual(residual, steps, gain, 1.0)
        for damping in DAMPINGS:
            off = np.abs(residual - damping * ahead)
            error = float(np.nanmean(off**2)) if np.isfinite(off).any() else np.inf
            if error < least:
                best, least = (gain, damping), error
    return best
