"""What the network sees of a component: its window relative to its healthy reference, and the moment's residual.

The same arrays feed training and scoring, so the two cannot drift apart. Only judged channels are shown: how those
that follow the load behave is a habit of the emulated site, not a law.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from predict.reference import Reference, Residual
from predict.watched import COLUMNS
from predict.windows import Windows, carried_forward

Array = NDArray[np.float64]

POOL = 2  # slots per step of the network: one step a minute on the 30 s grid
CLIP = 4.0  # deviations are shown up to this many tolerances
SLOPE_S = 600.0  # slopes are shown as tolerances per 10 min
INPUTS = 2 * COLUMNS
MOMENT = 2 * COLUMNS


def window_features(windows: Windows, reference: Reference, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (steps, n, INPUTS): deviation in tolerances (last value carried forward), then the missing marks."""
    count = windows.steps // POOL
    raw = windows.recent(count * POOL)[:, rows]
    centre, band, judged = reference.centre[rows], reference.band()[rows], reference.worse[rows] != 0
    filled = carried_forward(raw.transpose(1, 0, 2)).transpose(1, 0, 2)
    deviation = np.clip((filled - centre) / band, -CLIP, CLIP)
    deviation = np.where(judged, deviation, 0.0)
    missing = np.isnan(raw) & judged
    pooled = deviation.reshape(count, POOL, *deviation.shape[1:]).mean(axis=1)
    gone = missing.reshape(count, POOL, *missing.shape[1:]).mean(axis=1)
    return np.concatenate([np.nan_to_num(pooled), gone], axis=2).astype(np.float32)


def moment_features(residual: Residual, reference: Reference, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (n, MOMENT): the level's deviation in tolerances, then its slope in tolerances per 10 min, clipped."""
    band = reference.band()[rows]
    level = np.clip(residual.deviation[rows] / band, -CLIP, CLIP)
    slope = np.clip(residual.slope_per_min[rows] / 60.0 * SLOPE_S / band, -CLIP, CLIP)
    judged = np.tile(reference.worse[rows] != 0, 2)
    return np.nan_to_num(np.where(judged, np.concatenate([level, slope], axis=1), 0.0)).astype(np.float32)
