"""Counters turned to rates: what a count grew by, over the time it took; a count that fell started anew from zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twin.telemetry.matching import Meaning
from twin.telemetry.samples import Series

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Counters:
    """The last count of each series."""

    def __init__(self) -> None:
        self._last: dict[Series, tuple[int, float]] = {}

    def rates(
        self, series: Sequence[Series], meanings: Sequence[Meaning | None], which: Ints, time_ms: Ints, value: Floats
    ) -> tuple[Ints, Ints, Floats]:
        """Samples (n,) with counts replaced by their rate each second since the count before, in their order.

        The first count of a series, and one no later than the last, only opens an interval and is left out.
        """
        rate, keep = value.copy(), np.ones(len(which), dtype=bool)
        counts = np.array([meaning is not None and meaning.counter for meaning in meanings], dtype=bool)
        rows = np.flatnonzero(counts[which] & np.isfinite(value))
        rows = rows[np.lexsort((time_ms[rows], which[rows]))]
        for mine in np.split(rows, np.flatnonzero(np.diff(which[rows])) + 1):
            if len(mine):
                rate[mine], keep[mine] = self._of_one(series[int(which[mine[0]])], time_ms[mine], value[mine])
        return which[keep], time_ms[keep], rate[keep]

    def _of_one(self, series: Series, time_ms: Ints, count: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Rates of one series in order of time, and which there are."""
        before = self._last.get(series)
        new = np.ones(len(count), dtype=bool) if before is None else time_ms > before[0]
        new &= np.append(np.diff(time_ms) > 0, True)  # of two counts at one instant the later arrival counts
        held = [] if before is None else [before]
        times = np.array([at for at, _ in held] + time_ms[new].tolist(), dtype=np.float64)
        counts = np.array([n for _, n in held] + count[new].tolist())
        if not new.any():
            return count, new
        grown = np.diff(counts)
        grown = np.where(grown < 0, counts[1:], grown)
        rate = np.full(len(count), np.nan)
        first = np.flatnonzero(new)[len(new[new]) - len(grown) :]
        rate[first] = grown / (np.diff(times) / 1000.0)
        self._last[series] = (int(times[-1]), float(counts[-1]))
        there = np.zeros(len(count), dtype=bool)
        there[first] = True
        return rate, there
