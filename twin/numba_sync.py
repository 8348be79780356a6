"""The loops of sync compiled by numba (twin/kernels.py): few sensors at a time, so each call does all it can at once.

Sums over members run in their order, component by component, as in the oracle `twin/plain_sync.py`. No fastmath.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from twin.columns import Floats, Ints, Parts
from twin.sync.assimilate import TINY
from twin.sync.innovations import JUMP_SIGMAS, SMALL, Z80
from twin.sync.spread import FLAT_FRAC

MOST2 = JUMP_SIGMAS**2
INSIDE2 = Z80**2


@njit(cache=True, nogil=True)
def _moments(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return deviations (M, n), mean and variance (n,)."""
    members, n = values.shape
    mean, variance, deviation = np.zeros(n), np.zeros(n), np.empty((members, n))
    for m in range(members):
        for c in range(n):
            mean[c] += values[m, c]
    for c in range(n):
        mean[c] /= members
    for m in range(members):
        for c in range(n):
            x = values[m, c] - mean[c]
            deviation[m, c] = x
            variance[c] += x * x
    for c in range(n):
        variance[c] /= max(members - 1, 1)
    return deviation, mean, variance


@njit(cache=True, nogil=True)
def sync_gain(predicted: Floats, value: Floats, error_var: Floats, noise_var: Floats) -> Parts:
    """Return the parts of a correction."""
    deviation, mean, variance = _moments(predicted)
    n = len(value)
    difference, total, shrink, noise_gain = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for c in range(n):
        total[c] = variance[c] + noise_var[c] + error_var[c]
        difference[c] = value[c] - mean[c]
        shrink[c] = 1.0 / (1.0 + np.sqrt(error_var[c] / max(total[c], TINY)))
        noise_gain[c] = noise_var[c] / total[c]
    return deviation, difference, variance, total, shrink, noise_gain


@njit(cache=True, nogil=True)
def sync_recall(kept: Floats, slot: Ints, at: Ints) -> tuple[Floats, Floats, Floats]:
    """Return what was kept of some sensors in their slots, its mean and variance."""
    members, n = kept.shape[1], len(at)
    predicted = np.empty((members, n))
    for m in range(members):
        for c in range(n):
            predicted[m, c] = kept[slot[c], m, at[c]]
    _, mean, variance = _moments(predicted)
    return predicted, mean, variance


@njit(cache=True, nogil=True)
def sync_groups(values: Floats, of: Ints, count: int) -> Floats:
    """Return the sums of columns by group."""
    members, n = values.shape
    out = np.zeros((members, count))
    for m in range(members):
        for c in range(n):
            out[m, of[c]] += values[m, c]
    return out


@njit(cache=True, nogil=True)
def _spreads(values: Floats, at: Ints, source: Ints, deviation: Floats) -> tuple[Floats, Floats, Floats]:
    """Return mean, covariance with a prediction and variance of some columns of an array (M, C), each (n,)."""
    members, n = len(values), len(at)
    mean, covariance, own = np.zeros(n), np.zeros(n), np.zeros(n)
    for m in range(members):
        for c in range(n):
            mean[c] += values[m, at[c]]
    for c in range(n):
        mean[c] /= members
    for m in range(members):
        for c in range(n):
            spread = values[m, at[c]] - mean[c]
            covariance[c] += spread * deviation[m, source[c]]
            own[c] += spread * spread
    for c in range(n):
        covariance[c] /= max(members - 1, 1)
        own[c] /= max(members - 1, 1)
    return mean, covariance, own


@njit(cache=True, nogil=True)
def sync_own(array: Floats, at: Ints, source: Ints, parts: Parts, push: Floats) -> None:
    """Move some components of an observed quantity."""
    deviation, difference, _, total, shrink, _ = parts
    _, covariance, _ = _spreads(array, at, source, deviation)
    for m in range(len(array)):
        for c in range(len(at)):
            k = source[c]
            gain = covariance[c] / max(total[k], TINY)
            moved = shrink[k] * gain * deviation[m, k] - gain * difference[k]
            array[m, at[c]] = (array[m, at[c]] - moved) + push[c]


@njit(cache=True, nogil=True)
def _doubted(old: Floats, source: Ints, parts: Parts) -> tuple[Floats, Floats, Floats]:
    """Return the gain of each column of an array, doubted, what one unit of it changes, and its mean before."""
    deviation, _, variance, total, _, _ = parts
    members, n = old.shape
    mean, covariance, own = _spreads(old, np.arange(n), source, deviation)
    gain, effect = np.empty(n), np.empty(n)
    for c in range(n):
        k = source[c]
        believed = 1.0
        if members >= 4:
            r2 = min(covariance[c] * covariance[c] / max(own[c] * variance[k], TINY), 1.0)
            sure = 1.0 - (1.0 - r2) * (members - 1) / (members - 2)
            believed = min(max(sure / max(r2, TINY), 0.0), 1.0)
        gain[c] = covariance[c] / max(total[k], TINY) * believed
        effect[c] = covariance[c] / max(own[c], TINY)
    return gain, effect, mean


@njit(cache=True, nogil=True)
def _mean_step(new: Floats, mean: Floats) -> Floats:
    step = np.zeros(len(mean))
    for m in range(len(new)):
        for c in range(len(mean)):
            step[c] += new[m, c]
    for c in range(len(mean)):
        step[c] = step[c] / len(new) - mean[c]
    return step


@njit(cache=True, nogil=True)
def sync_linked(old: Floats, source: Ints, parts: Parts) -> tuple[Floats, Floats, Floats]:
    """Return a quantity moved by what it has in common with a prediction, its mean step, its effect."""
    deviation, difference, _, _, shrink, _ = parts
    gain, effect, mean = _doubted(old, source, parts)
    new = np.empty_like(old)
    for m in range(len(old)):
        for c in range(len(source)):
            k = source[c]
            new[m, c] = old[m, c] - (shrink[k] * gain[c] * deviation[m, k] - gain[c] * difference[k])
    return new, _mean_step(new, mean), effect


@njit(cache=True, nogil=True)
def sync_bounded(
    old: Floats, at: Ints, source: Ints, parts: Parts, most: float, low: Floats, high: Floats, least_sd: float,
    quantiles: Floats,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """Return a parameter moved within its step and bounds, its spread kept, its mean step, its effect."""
    deviation, difference, _, _, shrink, _ = parts
    gain, effect, mean = _doubted(old, source, parts)
    new = np.empty_like(old)
    for m in range(len(old)):
        for c in range(len(source)):
            k = source[c]
            x, before = old[m, c] - (shrink[k] * gain[c] * deviation[m, k] - gain[c] * difference[k]), old[m, c]
            x = min(max(x, before - most), before + most)
            x = max(x, low[at[c] if len(low) > 1 else 0])
            new[m, c] = min(x, high[at[c] if len(high) > 1 else 0])
    if len(new) > 1:
        _widen(new, least_sd, quantiles)
    return new, _mean_step(new, mean), effect


@njit(cache=True, nogil=True)
def _widen(new: Floats, least_sd: float, quantiles: Floats) -> None:
    """Widen columns to a least standard deviation; members that are equal are spread anew."""
    members, n = new.shape
    deviation, mean, variance = _moments(new)
    for c in range(n):
        sd = np.sqrt(variance[c] * (members - 1) / members)
        if sd >= least_sd:
            continue
        if sd <= FLAT_FRAC * least_sd:
            for m in range(members):
                new[m, c] = mean[c] + least_sd * quantiles[(m + c) % members]
        else:
            for m in range(members):
                new[m, c] = mean[c] + deviation[m, c] * (least_sd / sd)


@njit(cache=True, nogil=True)
def sync_past(kept: Floats, kept_ms: Ints, at: Ints, source: Ints, said_ms: Ints, parts: Parts, push: Floats) -> None:
    """Move what was remembered of some sensors."""
    nothing, added = np.zeros(len(at)), np.empty(len(at))
    for i in range(len(kept)):
        for c in range(len(at)):
            added[c] = push[c] if kept_ms[i] >= said_ms[c] else nothing[c]
        sync_own(kept[i], at, source, parts, added)


@njit(cache=True, nogil=True)
def sync_statistics(
    at: Ints, value: Floats, difference: Floats, expected: Floats, last: Floats, scaled: Floats, out: Floats
) -> tuple[int, int]:
    """Find means over the sensors that had spoken before; see STATISTICS for their order."""
    out[:] = 0.0
    n, both = 0, 0
    for c in range(len(at)):
        before, y, i = last[at[c]], value[c], at[c]
        last[i] = y
        if not np.isfinite(before):
            continue
        n += 1
        error, most = difference[c], expected[c]
        error2 = error * error
        squared, size, change = min(error2, MOST2 * most), max(abs(y), SMALL), y - before
        z, z_before = error / np.sqrt(max(most, 1e-300)), scaled[i]
        if np.isfinite(z_before):
            both += 1
            out[9] += min(max(z * z_before, -MOST2), MOST2)
        scaled[i] = z
        out[0] += error
        out[1] += squared
        out[2] += change * change
        out[3] += most
        out[4] += squared / max(most, 1e-300)
        out[5] += y
        out[6] += min(abs(error) / size, 1.0)
        out[7] += min(abs(change) / size, 1.0)
        out[8] += 1.0 if error2 <= INSIDE2 * most else 0.0
    if n:
        out[:9] /= n
    if both:
        out[9] /= both
    return n, both
