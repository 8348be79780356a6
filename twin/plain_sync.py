"""The loops of sync in plain NumPy: the oracle of `twin/numba_sync.py` (see twin/kernels.py).

Members come first in every array: (M, C). `at` are components that spoke, `source` is the reading behind each of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from twin.columns import Floats, Ints
from twin.sync.assimilate import TINY, Correction, Observed, mean_of
from twin.sync.innovations import JUMP_SIGMAS, SMALL, STATISTICS, Z80
from twin.sync.spread import FLAT_FRAC, inflate


def sync_gain(
    predicted: Floats, value: Floats, error_var: Floats, noise_var: Floats, deviation_out: Floats, table_out: Floats
) -> None:
    """Find the correction that follows from predictions (M, n) and what was read (n,)."""
    c = Correction.of(predicted, Observed(value, np.ones(len(value), dtype=bool), error_var, noise_var))
    deviation_out[...] = c.deviation
    table_out[...] = c.difference, c.variance, c.total, c.shrink, c.noise_gain * c.difference


def sync_recall(kept: Floats, slot: Ints, at: Ints, predicted_out: Floats, moments_out: Floats) -> None:
    """Find what was kept (K, M, S) of some sensors in their slots, (M, n), its mean and its variance (2, n)."""
    predicted_out[...] = kept[slot, :, at].T
    mean = mean_of(predicted_out)
    deviation = predicted_out - mean
    moments_out[...] = mean, np.einsum("mc,mc->c", deviation, deviation) / max(len(deviation) - 1, 1)


def sync_groups(values: Floats, of: Ints, sums_out: Floats) -> None:
    """Add up columns (M, n) by group, (M, groups)."""
    sums_out[...] = [np.bincount(of, row, sums_out.shape[1]) for row in values]


def _correction(source: Ints, deviation: Floats, table: Floats) -> Correction:
    difference, variance, total, shrink, _ = table
    return Correction(deviation, difference, variance, total, shrink, np.zeros_like(total)).take(source)


def sync_own(array: Floats, at: Ints, source: Ints, deviation: Floats, table: Floats, push: Floats) -> None:
    """Move some components of an observed quantity (M, C) in place; push (n,): what the model noise adds."""
    new = array.take(at, axis=1)
    _correction(source, deviation, table).apply(new)
    array[:, at] = new + push


def sync_linked(
    old: Floats, source: Ints, deviation: Floats, table: Floats, new_out: Floats, moved_out: Floats
) -> None:
    """Move a quantity (M, n) as far as its correlation stands out of chance; moved_out (2, n): mean step, effect."""
    new_out[...] = old
    effect = _correction(source, deviation, table).apply(new_out, doubtful=True)
    moved_out[...] = mean_of(new_out) - mean_of(old), effect


def sync_bounded(
    old: Floats, at: Ints, source: Ints, deviation: Floats, table: Floats, most: float, low: Floats, high: Floats,
    least_sd: float, quantiles: Floats, new_out: Floats, moved_out: Floats,
) -> None:  # fmt: skip
    """Do the same for a parameter: no member moves by more than `most`, bounds (C,) or (1,) hold, a least spread too.

    quantiles: how members that have become equal are spread anew (M,).
    """
    sync_linked(old, source, deviation, table, new_out, moved_out)
    np.clip(new_out, old - most, old + most, out=new_out)
    np.clip(new_out, *(limit[at] if len(limit) > 1 else limit for limit in (low, high)), out=new_out)
    inflate(new_out, least_sd)
    moved_out[0] = mean_of(new_out) - mean_of(old)


def sync_past(
    kept: Floats, kept_ms: Ints, at: Ints, source: Ints, said_ms: Ints, deviation: Floats, table: Floats, push: Floats
) -> None:
    """Move what was remembered (K, M, S) of some sensors; push (n,) counts from the step of each reading on.

    kept_ms (K,): below 0 where nothing is.
    """
    slots = np.flatnonzero(kept_ms >= 0)[:, None, None]
    every = np.arange(kept.shape[1])[:, None]
    new = kept[slots, every, at]
    _correction(source, deviation, table).apply(new)
    kept[slots, every, at] = new + ((kept_ms[slots[:, :, 0]] >= said_ms) * push)[:, None, :]


def sync_narrow(array: Floats, prior_var: float, relative: bool) -> bool:
    """Tell whether any component of a parameter (M, C) lies closer together than at first; relative: to its mean."""
    mean = mean_of(array)
    deviation = array - mean
    variance = np.einsum("mc,mc->c", deviation, deviation) / len(array)
    if relative:  # good enough to compare where it moves in its logarithm
        variance = variance / np.maximum(mean, 1e-12) ** 2
    return bool((variance < prior_var).any())


def sync_forget(values: Floats, grows: Floats, prior_var: float) -> None:
    """Widen parameters (M, C) towards their prior variance in place, by shares of it (C,) or (1,)."""
    mean = mean_of(values)
    deviation = values - mean
    variance = np.einsum("mc,mc->c", deviation, deviation) / len(values)
    wider = np.minimum(variance + grows * prior_var, np.maximum(prior_var, variance))
    factor = np.sqrt(wider / np.maximum(variance, TINY))
    # what is flat has no direction worth scaling
    values[...] = mean + deviation * np.where(variance > FLAT_FRAC**2 * prior_var, factor, 1.0)


def sync_statistics(
    at: Ints, value: Floats, difference: Floats, expected: Floats, last: Floats, scaled: Floats, out: Floats
) -> tuple[int, int]:
    """Find means over the sensors that had spoken before; return how many, and how many have two innovations.

    last, scaled (S,): newest reading and innovation of each sensor, renewed in place; out: as in STATISTICS.
    """
    known = np.isfinite(last[at])
    here, y, error, most, before = at[known], value[known], difference[known], expected[known], last[at][known]
    last[at] = value
    if not len(here):
        return 0, 0
    squared = np.minimum(error**2, JUMP_SIGMAS**2 * most)
    size = np.maximum(np.abs(y), SMALL)
    z = error / np.sqrt(np.maximum(most, 1e-300))
    z_before = scaled[here]
    both = np.isfinite(z_before)
    scaled[here] = z
    found: dict[str, Any] = {
        "mean": error,
        "residual2": squared,
        "persistence2": (y - before) ** 2,
        "expected2": most,
        "nis": squared / np.maximum(most, 1e-300),
        "level": y,
        "relative": np.minimum(np.abs(error) / size, 1.0),
        "persistence_relative": np.minimum(np.abs(y - before) / size, 1.0),
        "inside": error**2 <= Z80**2 * most,
        "lag1": np.clip(z[both] * z_before[both], -(JUMP_SIGMAS**2), JUMP_SIGMAS**2) if both.any() else np.zeros(1),
    }
    out[...] = [found[name].mean() for name in STATISTICS]
    return len(here), int(both.sum())
