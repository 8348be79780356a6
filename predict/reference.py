"""The healthy reference of each component's channels: where they stand when all is well, and how much they scatter.

Learnt per component from its own readings (values do not carry over between units: notes/predict.md 3 E), by median
and median deviation over a warm-up, then followed slowly, and frozen while the channel is off its reference: a slow
failure must not teach the reference that it is normal.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from predict.watched import WATCHES, Watched
from predict.windows import Windows, median_of

Array = NDArray[np.float64]

WARM_SLOTS = 20  # readings of a channel before its reference is believed
LEVEL_SLOTS = 7  # the level now: median of the last 3 min at least (the slot being filled is one of them)
TREND_SLOTS = 10  # the trend: this many slots against as many before them
# Tolerance is at least this many scales of one reading: 6 sigma of the median of about four readings.
SCALES = 3.5
FREEZE_AT = 0.5  # a judged channel this far off (in tolerances) no longer teaches
STEP_CLIP = 2.0  # no reading moves the reference as if it were further off than this many scales
DEVIATION_TO_SIGMA = 1.2533  # mean absolute deviation to sigma, normal law


class Residual(NamedTuple):
    """Deviations from the reference, (rows, COLUMNS); NaN: not known, or (excess, rate) no side is worse."""

    excess: Array  # in tolerances: 1 = clearly abnormal
    rate_per_s: Array  # how fast the excess grows [tolerances/s]
    limit: Array  # the excess at which the component no longer does its work
    deviation: Array  # in the channel's unit, signed as measured
    slope_per_min: Array  # in the channel's unit, signed as measured


class Reference:
    """Running centre and scale of every watched channel, (rows, COLUMNS)."""

    def __init__(self, watched: Watched, step_s: float = 30.0) -> None:
        self.watched = watched
        self.worse = watched.field("worse", 0.0)
        self.floor, self.tolerance = watched.field("floor", 1.0), watched.field("tolerance", 1.0)
        self.limit = watched.field("limit", 1.0) / self.tolerance
        self.relative = watched.field("relative", 0.0) > 0
        self.slowest = step_s / (watched.field("tau_h", 1.0) * 3600.0)
        self.step_s = step_s
        self.centre: Array = np.full(self.worse.shape, np.nan)
        self.scale: Array = np.full(self.worse.shape, np.nan)
        self.seen = np.zeros(self.worse.shape, np.int64)

    @property
    def warm(self) -> NDArray[np.bool_]:
        """Which channels have a reference, (rows, COLUMNS)."""
        return self.seen >= WARM_SLOTS

    def learn(self, windows: Windows) -> None:
        """Take in the slot that has just closed; to be called once for each slot."""
        slot = windows.recent(2)[0]
        fresh = np.isfinite(slot)
        self.seen += fresh
        self._begin(windows, fresh & (self.seen == WARM_SLOTS))
        error = slot - self.centre
        level = median_of(windows.recent(LEVEL_SLOTS + 1)[:-1]) - self.centre
        off = np.abs(level) / self.band() >= np.where(self.worse == 0, np.inf, FREEZE_AT)
        teach = fresh & self.warm & np.isfinite(level) & ~off
        gain = np.maximum(self.slowest, 1.0 / np.maximum(self.seen, 1))
        clip = STEP_CLIP * self.scale
        self.centre = np.where(teach, self.centre + gain * np.clip(error, -clip, clip), self.centre)
        spread = DEVIATION_TO_SIGMA * np.minimum(np.abs(error), 5.0 * self.scale)
        grown = np.maximum(self.scale + gain * (spread - self.scale), self.least())
        self.scale = np.where(teach, grown, self.scale)

    def shift(self, component: str, channel: str, delta: float) -> None:
        """Move a reference by `delta` in the channel's unit: a set-point was changed on purpose."""
        self.centre.reshape(-1)[self.watched.cells[component, channel]] += delta

    def forget(self, component: str) -> None:
        """Start the reference of one component afresh: it was repaired or replaced."""
        row = self.watched.ids.index(component)
        self.seen[row] = 0
        self.centre[row] = self.scale[row] = np.nan

    def least(self) -> Array:
        """Return the smallest scale believed, in the channel's unit."""
        return self.floor * self._unit()

    def band(self) -> Array:
        """Return the tolerance in the channel's unit: what is clearly abnormal, never inside the noise."""
        return np.fmax(self.tolerance * self._unit(), SCALES * self.scale)

    def residual(self, windows: Windows) -> Residual:
        """Return how far every channel stands from its reference now, and where it is heading."""
        recent = windows.recent(2 * TREND_SLOTS)
        level = median_of(recent[-LEVEL_SLOTS:])
        slope_per_s = (median_of(recent[TREND_SLOTS:]) - median_of(recent[:TREND_SLOTS])) / (TREND_SLOTS * self.step_s)
        band = self.band()
        deviation = np.where(self.warm, level - self.centre, np.nan)
        return Residual(
            excess=self.worse * deviation / band,
            rate_per_s=self.worse * slope_per_s / band,
            limit=self.limit * self.tolerance * self._unit() / band,
            deviation=deviation,
            slope_per_min=slope_per_s * 60.0,
        )

    def explain(self, row: int, residual: Residual) -> tuple[str, ...]:
        """Say in words which channels of a row moved, worst first; empty if none did."""
        watches = WATCHES[self.watched.kind_of_row[row]]
        moved = [
            (residual.excess[row, column], self._words(row, column, watches[column].channel, residual))
            for column in range(len(watches))
            if watches[column].worse and residual.excess[row, column] >= FREEZE_AT
        ]
        return tuple(words for _, words in sorted(moved, key=lambda pair: -pair[0]))

    def _words(self, row: int, column: int, channel: str, residual: Residual) -> str:
        watch = WATCHES[self.watched.kind_of_row[row]][column]
        kind = self.watched.kind_of_row[row].replace("_", " ")
        name = channel.removesuffix("_c").removesuffix("_frac").removesuffix("_kpa").removesuffix("_kw")
        if channel in ("running", "ok"):
            return f"{kind} is not {channel}, which it normally is"
        deviation, slope = float(residual.deviation[row, column]), float(residual.slope_per_min[row, column])
        factor, unit, digits = (1.0, f" {watch.unit}", 1) if watch.unit else (100.0, " points", 0)
        side = "above" if deviation > 0 else "below"
        words = f"{kind} {name} {abs(deviation) * factor:.{digits}f}{unit} {side} its healthy reference"
        if np.isfinite(slope) and abs(slope) * 300.0 * factor > 10.0**-digits * 5:
            words += f", {'rising' if slope > 0 else 'falling'} {abs(slope) * factor:.1f}{unit}/min"
        return words

    def _unit(self) -> Array:
        return np.where(self.relative, np.maximum(np.nan_to_num(np.abs(self.centre)), 1e-9), 1.0)

    def _begin(self, windows: Windows, due: NDArray[np.bool_]) -> None:
        """Take centre and scale of the channels that have just become warm from their window."""
        if not due.any():
            return
        history = windows.recent(windows.steps)
        centre = median_of(history)
        scale = 1.4826 * median_of(np.abs(history - centre))
        self.centre = np.where(due, centre, self.centre)
        self.scale = np.where(due, np.fmax(scale, self.least()), self.scale)
