"""The loops of sync in plain NumPy: the oracle of `twin/numba_sync.py` (see twin/kernels.py).

Members come first in every array: (M, C). `at` are components that spoke, `source` is the reading behind each of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from twin.columns import Floats, Ints, Parts
from twin.sync.assimilate import Correction, Observed, mean_of
from twin.sync.innovations import JUMP_SIGMAS, SMALL, STATISTICS, Z80
from twin.sync.spread import inflate


def sync_gain(predicted: Floats, value: Floats, error_var: Floats, noise_var: Floats) -> Parts:
    """Return the parts of the correction that follows from predictions (M, n) and what was read (n,)."""
    there = np.ones(len(value), dtype=bool)
    return Correction.of(predicted, Observed(value, there, error_var, noise_var)).parts


def sync_recall(kept: Floats, slot: Ints, at: Ints) -> tuple[Floats, Floats, Floats]:
    """Return what was kept (K, M, S) of some sensors in their slots, (M, n), its mean and its variance (n,)."""
    predicted = np.ascontiguousarray(kept[slot, :, at].T)
    mean = mean_of(predicted)
    deviation = predicted - mean
    return predicted, mean, np.einsum("mc,mc->c", deviation, deviation) / max(len(predicted) - 1, 1)


def sync_groups(values: Floats, of: Ints, count: int) -> Floats:
    """Return the sums of columns (M, n) by group, (M, count)."""
    return np.stack([np.bincount(of, row, count) for row in values])


def _correction(parts: Parts, source: Ints) -> Correction:
    return Correction(*parts).take(source)


def sync_own(array: Floats, at: Ints, source: Ints, parts: Parts, push: Floats) -> None:
    """Move some components of an observed quantity (M, C) in place; push (n,): what the model noise adds."""
    new = array.take(at, axis=1)
    _correction(parts, source).apply(new)
    array[:, at] = new + push


def sync_linked(old: Floats, source: Ints, parts: Parts) -> tuple[Floats, Floats, Floats]:
    """Return a quantity (M, n) moved as far as its correlation stands out of chance, its mean step, its effect (n,)."""
    new = old.copy()
    effect = _correction(parts, source).apply(new, doubtful=True)
    return new, mean_of(new) - mean_of(old), effect


def sync_bounded(
    old: Floats, at: Ints, source: Ints, parts: Parts, most: float, low: Floats, high: Floats, least_sd: float,
    quantiles: Floats,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """Do the same for a parameter: no member moves by more than `most`, bounds (C,) or (1,) hold, a least spread too.

    quantiles: how members that have become equal are spread anew (M,).
    """
    new = old.copy()
    effect = _correction(parts, source).apply(new, doubtful=True)
    np.clip(new, old - most, old + most, out=new)
    np.clip(new, low[at] if len(low) > 1 else low, high[at] if len(high) > 1 else high, out=new)
    inflate(new, least_sd)
    return new, mean_of(new) - mean_of(old), effect


def sync_past(kept: Floats, kept_ms: Ints, at: Ints, source: Ints, said_ms: Ints, parts: Parts, push: Floats) -> None:
    """Move what was remembered (K, M, S) of some sensors; push (n,) counts from the step of each reading on."""
    new = kept[:, :, at]
    _correction(parts, source).apply(new)
    kept[:, :, at] = new + ((kept_ms[:, None] >= said_ms) * push)[:, None, :]


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
