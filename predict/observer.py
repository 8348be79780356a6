"""Windows and healthy references kept together: every slot that closes teaches the references once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from predict.reference import Reference, Residual
from predict.watched import Watched
from predict.windows import Windows


class Observer:
    """What is known of every watched component from its readings so far."""

    def __init__(self, watched: Watched, step_s: float = 30.0, steps: int = 60) -> None:
        self.watched = watched
        self.windows = Windows(watched, step_s, steps)
        self.reference = Reference(watched, step_s)

    def update(self, batch: Any) -> int:
        """Take a batch of readings in any order; return how many were kept. A long batch is taken slot by slot."""
        time_ms, cell, value = self.windows.resolve(batch)
        return self.take(time_ms, cell, value) if len(cell) else 0

    def take(self, time_ms: NDArray[np.int64], cell: NDArray[np.int64], value: NDArray[np.float64]) -> int:
        """Take readings already resolved to flat cells; return how many were kept."""
        slot = time_ms // self.windows.step_ms
        if self.windows.head is not None:
            slot = np.maximum(slot, self.windows.head)
        kept = 0
        for one in np.unique(slot).tolist():
            at = slot == one
            kept += self.windows.put(time_ms[at], cell[at], value[at])
            self._learn()
        return kept

    def advance(self, now_ms: int) -> None:
        """Let time pass to `now_ms`: silence shows, and the slots that close are learnt from."""
        self.windows.advance(now_ms)
        self._learn()

    def residual(self) -> Residual:
        """Return every channel's deviation from its reference, now."""
        return self.reference.residual(self.windows)

    def _learn(self) -> None:
        if self.windows.closed:
            self.windows.closed = 0
            self.reference.learn(self.windows)
