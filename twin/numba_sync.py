"""The loops of sync compiled by numba (twin/kernels.py): few sensors at a time, so each call does all it can at once.

Sums over members run in their order, component by component, as in the oracle `twin/plain_sync.py`. No fastmath.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from twin.columns import Floats, Ints
from twin.sync.assimilate import TINY
from twin.sync.innovations import JUMP_SIGMAS, SMALL, Z80
from twin.sync.spread import FLAT_FRAC

MOST2 = JUMP_SIGMAS**2
INSIDE2 = Z80**2


@njit(cache=True, nogil=True)
def _means(values: Floats, mean_out: Floats) -> None:
    """Find the mean (n,) of each column."""
    members, n = values.shape
    mean_out[:] = 0.0
    for m in range(members):
        for c in range(n):
            mean_out[c] += values[m, c]
    for c in range(n):
        mean_out[c] /= members


@njit(cache=True, nogil=True)
def _moments(values: Floats, deviation_out: Floats, mean_out: Floats, variance_out: Floats) -> None:
    """Find deviations (M, n), mean and variance (n,), the sample's."""
    members, n = values.shape
    _means(values, mean_out)
    variance_out[:] = 0.0
    for m in range(members):
        for c in range(n):
            x = values[m, c] - mean_out[c]
            deviation_out[m, c] = x
            variance_out[c] += x * x
    for c in range(n):
        variance_out[c] /= max(members - 1, 1)


@njit(cache=True, nogil=True)
def sync_gain(
    predicted: Floats, value: Floats, error_var: Floats, noise_var: Floats, deviation_out: Floats, table_out: Floats
) -> None:
    """Find the correction that follows from predictions and what was read."""
    mean, variance = np.empty(len(value)), np.empty(len(value))
    _moments(predicted, deviation_out, mean, variance)
    for c in range(len(value)):
        difference, total = value[c] - mean[c], variance[c] + noise_var[c] + error_var[c]
        table_out[0, c], table_out[1, c], table_out[2, c] = difference, variance[c], total
        table_out[3, c] = 1.0 / (1.0 + np.sqrt(error_var[c] / max(total, TINY)))
        table_out[4, c] = noise_var[c] / total * difference


@njit(cache=True, nogil=True)
def sync_recall(kept: Floats, slot: Ints, at: Ints, predicted_out: Floats, moments_out: Floats) -> None:
    """Find what was kept of some sensors in their slots, its mean and variance."""
    for m in range(len(predicted_out)):
        for c in range(len(at)):
            predicted_out[m, c] = kept[slot[c], m, at[c]]
    _moments(predicted_out, np.empty_like(predicted_out), moments_out[0], moments_out[1])


@njit(cache=True, nogil=True)
def sync_groups(values: Floats, of: Ints, sums_out: Floats) -> None:
    """Add up columns by group."""
    sums_out[:] = 0.0
    for m in range(len(values)):
        for c in range(len(of)):
            sums_out[m, of[c]] += values[m, c]


@njit(cache=True, nogil=True)
def sync_own(array: Floats, at: Ints, source: Ints, deviation: Floats, table: Floats, push: Floats) -> None:
    """Move some components of an observed quantity."""
    members, n = len(array), len(at)
    mean, gain = np.zeros(n), np.zeros(n)
    for m in range(members):
        for c in range(n):
            mean[c] += array[m, at[c]]
    for c in range(n):
        mean[c] /= members
    for m in range(members):
        for c in range(n):
            gain[c] += (array[m, at[c]] - mean[c]) * deviation[m, source[c]]
    for c in range(n):
        gain[c] = gain[c] / max(members - 1, 1) / max(table[2, source[c]], TINY)
    for m in range(members):
        for c in range(n):
            k = source[c]
            moved = table[3, k] * gain[c] * deviation[m, k] - gain[c] * table[0, k]
            array[m, at[c]] = (array[m, at[c]] - moved) + push[c]


@njit(cache=True, nogil=True)
def _doubted(old: Floats, source: Ints, deviation: Floats, table: Floats, effect_out: Floats) -> tuple[Floats, Floats]:
    """Return mean (n,) of the columns of an array and the gain of each, doubted; find what one unit of it changes."""
    members, n = old.shape
    mean, gain, own = np.zeros(n), np.zeros(n), np.zeros(n)
    _means(old, mean)
    for m in range(members):
        for c in range(n):
            spread = old[m, c] - mean[c]
            gain[c] += spread * deviation[m, source[c]]
            own[c] += spread * spread
    for c in range(n):
        k, covariance, variance = source[c], gain[c] / max(members - 1, 1), own[c] / max(members - 1, 1)
        believed = 1.0
        if members >= 4:
            r2 = min(covariance * covariance / max(variance * table[1, k], TINY), 1.0)
            sure = 1.0 - (1.0 - r2) * (members - 1) / (members - 2)
            believed = min(max(sure / max(r2, TINY), 0.0), 1.0)
        gain[c] = covariance / max(table[2, k], TINY) * believed
        effect_out[c] = covariance / max(variance, TINY)
    return mean, gain


@njit(cache=True, nogil=True)
def _step(new: Floats, mean: Floats, step_out: Floats) -> None:
    """Find by how much the mean of each column has moved."""
    step_out[:] = 0.0
    for m in range(len(new)):
        for c in range(len(mean)):
            step_out[c] += new[m, c]
    for c in range(len(mean)):
        step_out[c] = step_out[c] / len(new) - mean[c]


@njit(cache=True, nogil=True)
def sync_linked(
    old: Floats, source: Ints, deviation: Floats, table: Floats, new_out: Floats, moved_out: Floats
) -> None:
    """Move a quantity by what it has in common with a prediction."""
    mean, gain = _doubted(old, source, deviation, table, moved_out[1])
    for m in range(len(old)):
        for c in range(len(source)):
            k = source[c]
            new_out[m, c] = old[m, c] - (table[3, k] * gain[c] * deviation[m, k] - gain[c] * table[0, k])
    _step(new_out, mean, moved_out[0])


@njit(cache=True, nogil=True)
def sync_bounded(
    old: Floats, at: Ints, source: Ints, deviation: Floats, table: Floats, most: float, low: Floats, high: Floats,
    least_sd: float, quantiles: Floats, new_out: Floats, moved_out: Floats,
) -> None:  # fmt: skip
    """Move a parameter within its step and bounds, and keep its spread."""
    mean, gain = _doubted(old, source, deviation, table, moved_out[1])
    for m in range(len(old)):
        for c in range(len(source)):
            k, before = source[c], old[m, c]
            x = before - (table[3, k] * gain[c] * deviation[m, k] - gain[c] * table[0, k])
            x = min(max(x, before - most), before + most)
            x = max(x, low[at[c] if len(low) > 1 else 0])
            new_out[m, c] = min(x, high[at[c] if len(high) > 1 else 0])
    if len(old) > 1:
        _widen(new_out, least_sd, quantiles)
    _step(new_out, mean, moved_out[0])


@njit(cache=True, nogil=True)
def _widen(new: Floats, least_sd: float, quantiles: Floats) -> None:
    """Widen columns to a least standard deviation; members that are equal are spread anew."""
    members, n = new.shape
    deviation, mean, variance = np.empty_like(new), np.empty(n), np.empty(n)
    _moments(new, deviation, mean, variance)
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
def sync_past(
    kept: Floats, kept_ms: Ints, at: Ints, source: Ints, said_ms: Ints, deviation: Floats, table: Floats, push: Floats
) -> None:
    """Move what was remembered of some sensors."""
    added = np.empty(len(at))
    for i in range(len(kept)):
        if kept_ms[i] < 0:
            continue
        for c in range(len(at)):
            added[c] = push[c] if kept_ms[i] >= said_ms[c] else 0.0
        sync_own(kept[i], at, source, deviation, table, added)


@njit(cache=True, nogil=True)
def sync_narrow(array: Floats, prior_var: float, relative: bool) -> bool:
    """Tell whether any component of a parameter lies closer together than at first."""
    members, n = array.shape
    mean, variance = np.empty(n), np.empty(n)
    _moments(array, np.empty_like(array), mean, variance)
    for c in range(n):
        level = max(mean[c], 1e-12) if relative else 1.0
        if variance[c] * (max(members - 1, 1) / members) / (level * level) < prior_var:
            return True
    return False


@njit(cache=True, nogil=True)
def sync_forget(values: Floats, grows: Floats, prior_var: float) -> None:
    """Widen parameters towards their prior variance."""
    members, n = values.shape
    deviation, mean, variance = np.empty_like(values), np.empty(n), np.empty(n)
    _moments(values, deviation, mean, variance)
    for c in range(n):
        now = variance[c] * (max(members - 1, 1) / members)
        wider = min(now + grows[c if len(grows) > 1 else 0] * prior_var, max(prior_var, now))
        variance[c] = 1.0  # from here on the factor by which deviations grow
        if now > FLAT_FRAC * FLAT_FRAC * prior_var:
            variance[c] = np.sqrt(wider / max(now, TINY))
    for m in range(members):
        for c in range(n):
            values[m, c] = mean[c] + deviation[m, c] * variance[c]


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
