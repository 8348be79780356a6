"""Windows and healthy references kept together: every slot that closes teaches the references once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from predict.reference import Reference, Residual
from predict.watched import Watched
from predict.windows import Windows

# A clock may run this far ahead before its readings are dropped; until their time comes they wait.
AHEAD_MS = 600_000


class Observer:
    """What is known of every watched component from its readings so far.

    Time is what `advance` is told, never what a reading claims: one sensor with a wrong clock must not push the
    window of all others into the past. `ahead` counts what was dropped for that.
    """

    def __init__(self, watched: Watched, step_s: float = 30.0, steps: int = 60) -> None:
        self.watched = watched
        self.windows = Windows(watched, step_s, steps)
        self.reference = Reference(watched, step_s)
        self.waiting: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
        self.ahead = 0

    def update(self, batch: Any) -> int:
        """Take in a batch of readings in any order, to be placed at the next `advance`; return how many are watched."""
        readings = self.windows.resolve(batch)
        if len(readings[0]):
            self.waiting.append(readings)
        return len(readings[0])

    def advance(self, now_ms: int) -> None:
        """Let time pass to `now_ms`: place the readings, let silence show, and learn from each slot that closes."""
        if self.waiting:
            time_ms, cell, value = (np.concatenate(column) for column in zip(*self.waiting, strict=True))
            due, far = time_ms <= now_ms, time_ms > now_ms + AHEAD_MS
            self.ahead += int(np.count_nonzero(far))
            later = ~due & ~far
            self.waiting = [(time_ms[later], cell[later], value[later])] if later.any() else []
            self.take(time_ms[due], cell[due], value[due])
        self.windows.advance(now_ms)
        self._learn()

    def take(self, time_ms: NDArray[np.int64], cell: NDArray[np.int64], value: NDArray[np.float64]) -> int:
        """Place readings already resolved to flat cells, slot by slot; return how many were kept."""
        slot = time_ms // self.windows.step_ms
        if self.windows.head is not None:
            slot = np.maximum(slot, self.windows.head)
        kept = 0
        for one in np.unique(slot).tolist():
            at = slot == one
            kept += self.windows.put(time_ms[at], cell[at], value[at])
            self._learn()
        return kept

    def residual(self) -> Residual:
        """Return every channel's deviation from its reference, now."""
        return self.reference.residual(self.windows)

    def _learn(self) -> None:
        if self.windows.closed:
            self.windows.closed = 0
            self.reference.learn(self.windows)
