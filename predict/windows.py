"""Rolling windows of telemetry on a fixed grid, updated in place by each batch of readings."""

from __future__ import annotations

from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predict.watched import COLUMNS, Watched

Array = NDArray[np.float64]
NEVER_MS = -1


class Windows:
    """Ring buffers (steps, rows, COLUMNS): the newest reading of each slot of `step_s`, NaN where none came.

    Slots stand on absolute time (slot = time_ms // step_ms), so a late reading falls into the slot it belongs to,
    in whatever order batches arrive. What is older than the window is counted in `too_late`, what names no watched
    cell in `unwatched`.
    """

    def __init__(self, watched: Watched, step_s: float = 30.0, steps: int = 60) -> None:
        self.watched, self.step_ms, self.steps = watched, int(step_s * 1000), steps
        rows = len(watched.ids)
        self.values: Array = np.full((steps, rows, COLUMNS), np.nan)
        self.times_ms = np.full((steps, rows, COLUMNS), NEVER_MS, np.int64)
        self.newest_ms = np.full((rows, COLUMNS), NEVER_MS, np.int64)
        self.head: int | None = None
        self.closed = 0
        self.too_late = self.unwatched = 0

    def update(self, batch: Any) -> int:
        """Put a batch of readings (time_ms, component, channel, value arrays) in place; return how many were kept."""
        time_ms, cell, value = self.resolve(batch)
        return self.put(time_ms, cell, value) if len(cell) else 0

    def resolve(self, batch: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
        """Return (time_ms, flat cell, value) of the batch's readings that are watched and finite; count the others."""
        pairs = zip(np.asarray(batch.component).tolist(), np.asarray(batch.channel).tolist(), strict=True)
        cell = np.fromiter(map(self.watched.cells.get, pairs, repeat(-1)), np.int64, count=len(batch.time_ms))
        time_ms, value = np.asarray(batch.time_ms, np.int64), np.asarray(batch.value, np.float64)
        good = (cell >= 0) & np.isfinite(value)
        self.unwatched += int(len(cell) - np.count_nonzero(good))
        return time_ms[good], cell[good], value[good]

    def put(self, time_ms: NDArray[np.int64], cell: NDArray[np.int64], value: Array) -> int:
        """Put finite values into flat cells at their times; a newer reading of the same slot replaces an older one."""
        slot = time_ms // self.step_ms
        self._move_to(int(slot.max()))
        assert self.head is not None
        inside = (slot <= self.head) & (slot > self.head - self.steps)
        self.too_late += int(len(slot) - np.count_nonzero(inside))
        order = np.flatnonzero(inside)[np.argsort(time_ms[inside], kind="stable")]
        time_ms, cell, value = time_ms[order], cell[order], value[order]
        where = (slot[order] % self.steps) * self.newest_ms.size + cell
        newer = time_ms >= self.times_ms.reshape(-1)[where]
        where, time_ms, cell, value = where[newer], time_ms[newer], cell[newer], value[newer]
        # in time order, so that of two readings of one cell the later assignment stands
        self.times_ms.reshape(-1)[where] = time_ms
        self.values.reshape(-1)[where] = value
        np.maximum.at(self.newest_ms.reshape(-1), cell, time_ms)
        return len(order)

    def advance(self, now_ms: int) -> None:
        """Open the slot that `now_ms` falls into; silence then shows as missing slots."""
        self._move_to(now_ms // self.step_ms)

    def recent(self, count: int) -> Array:
        """Return the last `count` slots, oldest first, (count, rows, COLUMNS), NaN where missing."""
        if self.head is None:
            return np.full((count, *self.newest_ms.shape), np.nan)
        return self.values[np.arange(self.head - count + 1, self.head + 1) % self.steps]

    def window(self, kind: str) -> tuple[Array, NDArray[np.bool_]]:
        """Return one kind's window (components, steps, channels), last value carried forward, and what was missing."""
        raw = self.recent(self.steps)[:, self.watched.rows[kind]].transpose(1, 0, 2)
        return carried_forward(raw), np.isnan(raw)

    def age_s(self, now_ms: int) -> Array:
        """Return the age of the newest reading of each component [s], (rows,); infinite where none ever came."""
        newest = self.newest_ms.max(axis=1)
        return np.where(newest == NEVER_MS, np.inf, np.maximum(now_ms - newest, 0) / 1000.0)

    def _move_to(self, slot: int) -> None:
        """Clear the slots between the head and `slot`; never back."""
        if self.head is None:
            self.head = slot
        if slot <= self.head:
            return
        fresh = np.arange(max(self.head + 1, slot - self.steps + 1), slot + 1) % self.steps
        self.values[fresh] = np.nan
        self.times_ms[fresh] = NEVER_MS
        self.closed += slot - self.head
        self.head = slot


def carried_forward(window: Array) -> Array:
    """Carry the last value forward along axis 1 of (components, steps, channels); leading gaps stay NaN."""
    steps = np.arange(window.shape[1])[None, :, None]
    last = np.maximum.accumulate(np.where(np.isnan(window), 0, steps), axis=1)
    return np.take_along_axis(window, last, axis=1)


def median_of(slots: Array) -> Array:
    """Return the median over axis 0, missing ones left out; NaN where all are missing. No warnings, no masks."""
    count = len(slots) - np.count_nonzero(np.isnan(slots), axis=0).ravel()
    ordered = slots.reshape(len(slots), -1).T.copy()  # short rows that lie together sort fastest
    ordered.sort(axis=1)
    first, flat = np.arange(len(ordered)) * len(slots), ordered.ravel()
    low, high = flat[first + np.maximum(count - 1, 0) // 2], flat[first + count // 2]
    return np.asarray(0.5 * (low + high)).reshape(slots.shape[1:])
