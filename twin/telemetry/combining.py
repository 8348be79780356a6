"""Several series that are one reading: the hottest accelerator of a node, the sum of three phases."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from plant.channels import CHANNELS
from twin.telemetry.matching import Meaning
from twin.telemetry.samples import Series

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Place = tuple[str, str, str]

# Samples of one second are of one instant: agents round to it.
INSTANT_MS = 1000
# A member that is silent for so long is gone: a card that was taken out must not keep a sum waiting for ever.
FORGOTTEN_MS = 600_000
_HOW: dict[str, Callable[[list[float]], float]] = {"max": max, "min": min, "sum": math.fsum, "mean": statistics.fmean}


class Combiner:
    """Who contributes to each reading of a rule, and what the last instant has said so far."""

    def __init__(self) -> None:
        self._members: dict[Place, dict[Series, int]] = {}
        self._said: dict[Place, tuple[int, dict[Series, float]]] = {}

    def joined(
        self, series: Sequence[Series], meanings: Sequence[Meaning | None], which: Ints, time_ms: Ints, value: Floats,
        may: NDArray[np.bool_],
    ) -> tuple[Ints, Ints, Floats, int]:  # fmt: skip
        """Samples (n,) with those to be combined made one per place and instant, behind the others; and how many wait.

        may (n,): which may be combined at all. A sum or a mean needs all its members; a hottest of some is corrected
        when the rest arrive. What no channel of the name can be is left alone, to be refused by itself.
        """
        joint = np.array([meaning is not None and meaning.combine is not None for meaning in meanings], dtype=bool)
        rows = np.flatnonzero(joint[which] & may & possible(meanings, which, value))
        others = np.setdiff1d(np.arange(len(which)), rows, assume_unique=True)
        groups = self._grouped(series, meanings, which, time_ms, value, rows)
        out: list[tuple[int, int, float]] = []
        waiting = 0
        for place, of, last_ms, said in groups:
            meaning = meanings[of]
            how = meaning.combine if meaning is not None and meaning.combine else "max"
            heard = sum(last >= last_ms - FORGOTTEN_MS for last in self._members[place].values())
            if how in ("sum", "mean") and len(said) < heard:
                waiting += len(said)
                continue
            out.append((of, last_ms, _HOW[how](list(said.values()))))
        return (
            np.concatenate([which[others], np.array([one[0] for one in out], dtype=np.int64)]),
            np.concatenate([time_ms[others], np.array([one[1] for one in out], dtype=np.int64)]),
            np.concatenate([value[others], np.array([one[2] for one in out], dtype=np.float64)]),
            waiting,
        )

    def _grouped(
        self, series: Sequence[Series], meanings: Sequence[Meaning | None], which: Ints, time_ms: Ints, value: Floats,
        rows: Ints,
    ) -> list[tuple[Place, int, int, dict[Series, float]]]:  # fmt: skip
        """(place, a series of it, latest time, values by series) of each instant, in order of time."""
        groups: dict[tuple[Place, int], tuple[int, int, dict[Series, float]]] = {}
        for row in rows[np.argsort(time_ms[rows], kind="stable")].tolist():
            of = int(which[row])
            meaning, at = meanings[of], int(time_ms[row])
            place = (meaning.component, meaning.channel, meaning.rule) if meaning else ("", "", "")
            self._members.setdefault(place, {})[series[of]] = at
            instant = at // INSTANT_MS
            if (place, instant) not in groups:
                before = self._said.get(place)
                groups[place, instant] = (of, at, dict(before[1]) if before and before[0] == instant else {})
            said = groups[place, instant][2]
            said[series[of]] = float(value[row])
            groups[place, instant] = (of, at, said)
        for (place, instant), (_, _, said) in groups.items():
            if instant >= self._said.get(place, (-1, {}))[0]:
                self._said[place] = (instant, said)
        return [(place, of, at, said) for (place, _), (of, at, said) in groups.items()]


def possible(meanings: Sequence[Meaning | None], which: Ints, value: Floats) -> NDArray[np.bool_]:
    """Which numbers lie in the widest range of their channel's name, shape (n,)."""
    bounds = [RANGES.get(meaning.channel, _ALL) if meaning else _ALL for meaning in meanings]
    low, high = np.array([low for low, _ in bounds])[which], np.array([high for _, high in bounds])[which]
    return np.asarray(np.isfinite(value) & (value >= low) & (value <= high))


_ALL = (-np.inf, np.inf)
RANGES = {
    name: (min(row.low for row in rows), max(row.high for row in rows))
    for name, rows in ((name, [row for row in CHANNELS if row.name == name]) for name in {row.name for row in CHANNELS})
}
