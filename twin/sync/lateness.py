"""Late and out-of-order readings: each is held against what the twin predicted for its own time.

The rule, also in docs/sync.md:
- A reading older than LATE_MS is refused (`too_late`); one from a clock ahead counts as of now.
- The twin remembers what it predicted at the steps of the last LATE_MS, MOMENTS of them at most. A reading belongs to
  the step nearest to it.
- A sensor counts once for each step: of several in one batch the last one; what comes later for the same step is
  refused (`again`).
- What members predicted then and what they hold now go together, so a late reading corrects the present by the
  covariance of the two (asynchronous ensemble Kalman filter: Sakov, Evensen and Bertino 2010), and what was remembered
  is corrected with it. In a linear case the order of arrival makes no difference.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twin.sync.names import Key, Names
from twin.telemetry.store import Batch

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

LATE_MS = 120_000
MOMENTS = 12
TOO_LATE, AGAIN = "too_late", "again"


@dataclass
class Moment:
    """An instant at which predictions were noted, and where they are kept."""

    time_ms: int
    slot: int
    heard: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """By sensor number: whether its reading of this step was taken in."""


@dataclass
class Round:
    """Readings of one step: sensors (positions of their key) and values, by key."""

    moment: Moment
    readings: dict[Key, tuple[Ints, Array]]


class Past:
    """The moments of the last LATE_MS, oldest first, and the sorting of batches into them."""

    def __init__(self, names: Names) -> None:
        """Nothing is remembered yet."""
        self.names = names
        self.moments: deque[Moment] = deque()
        self.kept: dict[Key, Array] = {}
        """By key and slot what members predicted: (MOMENTS, M, S), or the means (MOMENTS, S)."""
        self._noted_ms: dict[Key, Ints] = {}
        self.newest_ms = np.zeros(names.count, dtype=np.int64)
        self.refused: dict[str, int] = {}

    def now(self, now_ms: int) -> Moment:
        """Return the moment of now, begun if it is new; what is older than any reading that may come is forgotten."""
        if not self.moments or self.moments[-1].time_ms < now_ms:
            while len(self.moments) >= MOMENTS or (
                len(self.moments) > 2 and self.moments[1].time_ms <= now_ms - LATE_MS
            ):
                self.moments.popleft()
            slot = (self.moments[-1].slot + 1) % MOMENTS if self.moments else 0
            self.moments.append(Moment(now_ms, slot, np.zeros(self.names.count, dtype=bool)))
        return self.moments[-1]

    def note(self, moment: Moment, key: Key, predicted: Array) -> None:
        """Remember a prediction of a moment: (M, S), or the mean (S,) of what is too many to keep whole."""
        kept = self.kept.get(key)
        if kept is None or kept.shape[1:] != predicted.shape:
            kept = self.kept[key] = np.zeros((MOMENTS, *predicted.shape))
            self._noted_ms[key] = np.full(MOMENTS, -1, dtype=np.int64)
        kept[moment.slot] = predicted
        self._noted_ms[key][moment.slot] = moment.time_ms

    def recall(self, key: Key, moment: Moment) -> Array:
        """Return what was predicted at a moment; of now, where nobody listened to that channel then."""
        noted = self._noted_ms[key][moment.slot] == moment.time_ms
        return np.asarray(self.kept[key][moment.slot if noted else self.moments[-1].slot])

    def since(self, moment: Moment) -> NDArray[np.intp]:
        """Return the slots of a moment and of all later ones."""
        return np.array([m.slot for m in self.moments if m.time_ms >= moment.time_ms], dtype=np.intp)

    def sort(self, batch: Batch, now_ms: int) -> list[Round]:
        """Return the readings to take in by step, oldest first; count what is refused. Call `now` before."""
        sensor = self.names.find(batch)
        known = sensor >= 0
        late = known & (batch.time_ms < now_ms - LATE_MS)
        self._refuse(TOO_LATE, int(late.sum()))
        at = np.flatnonzero(known & ~late)
        if not len(at):
            return []
        sensor, time_ms, value = sensor[at], np.minimum(batch.time_ms[at], now_ms), batch.value[at]
        step = self._nearest(time_ms)
        # in order of step, sensor and time: the last of a sensor within a step is the one that counts
        order = np.lexsort((time_ms, sensor, step))
        sensor, step, value, time_ms = sensor[order], step[order], value[order], time_ms[order]
        last = np.append((sensor[1:] != sensor[:-1]) | (step[1:] != step[:-1]), True)
        sensor, step, value, time_ms = sensor[last], step[last], value[last], time_ms[last]
        return [r for i in np.unique(step).tolist() if (r := self._round(i, step == i, sensor, value)).readings]

    def _nearest(self, time_ms: Ints) -> Ints:
        times = np.array([m.time_ms for m in self.moments], dtype=np.int64)
        after = np.clip(np.searchsorted(times, time_ms), 1, max(len(times) - 1, 1))
        if len(times) == 1:
            return np.zeros(len(time_ms), dtype=np.int64)
        return np.asarray(after - (time_ms - times[after - 1] <= times[after] - time_ms))

    def _round(self, i: int, here: NDArray[np.bool_], sensor: Ints, value: Array) -> Round:
        moment = self.moments[i]
        sensor, value = sensor[here], value[here]
        new = ~moment.heard[sensor]
        self._refuse(AGAIN, int((~new).sum()))
        sensor, value = sensor[new], value[new]
        moment.heard[sensor] = True
        key_of = self.names.key_of[sensor]
        readings: dict[Key, tuple[Ints, Array]] = {}
        for k in np.unique(key_of).tolist():
            key, which = self.names.keys[k], key_of == k
            readings[key] = sensor[which] - self.names.first[key], value[which]
        return Round(moment, readings)

    def is_newest(self, key: Key, at: Ints, time_ms: int) -> NDArray[np.bool_]:
        """Tell which sensors have said nothing newer; from now on this is their newest where so."""
        sensor = at + self.names.first[key]
        newest = self.newest_ms[sensor] <= time_ms
        self.newest_ms[sensor[newest]] = time_ms
        return np.asarray(newest)

    def _refuse(self, reason: str, count: int) -> None:
        if count:
            self.refused[reason] = self.refused.get(reason, 0) + count
