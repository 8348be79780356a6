"""Late and out-of-order readings: each is held against what the twin predicted for its own time.

The rule, also in docs/sync.md:
- A reading older than LATE_MS is refused (`too_late`; `before_start` where the twin had not begun); one from a clock
  ahead counts as of now.
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
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twin.sync.names import Key, Names
from twin.telemetry.store import Batch

if TYPE_CHECKING:
    from twin.kernels import Kernels

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

LATE_MS = 120_000
MOMENTS = 12
NEVER_MS = -(2**62)
TOO_LATE, AGAIN, BEFORE = "too_late", "again", "before_start"


@dataclass(frozen=True)
class Moment:
    """An instant at which predictions were noted, and where they are kept."""

    time_ms: int
    slot: int


class Said(NamedTuple):
    """Readings of one channel, at most one of each sensor: positions, values, slots and instants of their steps."""

    at: Ints
    value: Array
    slot: Ints
    time_ms: Ints

    def take(self, which: NDArray[np.bool_]) -> Said:
        """Some of them."""
        return Said(self.at[which], self.value[which], self.slot[which], self.time_ms[which])


Round = dict[Key, Said]


class Past:
    """The moments of the last LATE_MS, oldest first, and the sorting of batches into them."""

    def __init__(self, names: Names) -> None:
        """Nothing is remembered yet."""
        self.names = names
        self.moments: deque[Moment] = deque()
        self.time_ms = np.full(MOMENTS, NEVER_MS, dtype=np.int64)
        """Instant of each slot."""
        self.kept: dict[Key, Array] = {}
        """By key and slot what members predicted: (MOMENTS, M, S), or the means (MOMENTS, S)."""
        self._noted_ms: dict[Key, Ints] = {}
        self._heard = np.zeros((MOMENTS, names.count), dtype=bool)
        self.newest_ms = np.zeros(names.count, dtype=np.int64)
        self.refused: dict[str, int] = {}
        self.begun_ms = 2**62
        """First moment: what is older than that is history, which a store keeps and nobody has missed."""

    def now(self, now_ms: int) -> Moment:
        """Return the moment of now, begun if it is new; what is older than any reading that may come is forgotten."""
        self.begun_ms = min(self.begun_ms, now_ms)
        if not self.moments or self.moments[-1].time_ms < now_ms:
            while len(self.moments) >= MOMENTS or (
                len(self.moments) > 2 and self.moments[1].time_ms <= now_ms - LATE_MS
            ):
                self.time_ms[self.moments.popleft().slot] = NEVER_MS
            slot = (self.moments[-1].slot + 1) % MOMENTS if self.moments else 0
            self.moments.append(Moment(now_ms, slot))
            self.time_ms[slot], self._heard[slot] = now_ms, False
        return self.moments[-1]

    def note(self, moment: Moment, key: Key, predicted: Array) -> None:
        """Remember a prediction of a moment: (M, S), or the mean (S,) of what is too many to keep whole."""
        kept = self.kept.get(key)
        if kept is None or kept.shape[1:] != predicted.shape:
            kept = self.kept[key] = np.zeros((MOMENTS, *predicted.shape))
            self._noted_ms[key] = np.full(MOMENTS, NEVER_MS - 1, dtype=np.int64)
        kept[moment.slot] = predicted
        self._noted_ms[key][moment.slot] = moment.time_ms

    def recall(self, key: Key, at: Ints, slot: Ints) -> Array:
        """Return what was predicted of some sensors in their steps, the mean of the members (at,); of now if not noted.

        For channels of which the mean is all that is kept.
        """
        return np.asarray(self.kept[key][self._noted(key, slot), at])

    def recall_members(self, key: Key, at: Ints, slot: Ints, kernels: Kernels) -> tuple[Array, Array, Array]:
        """Return what members predicted of some sensors in their steps (M, at), its mean and variance (at,)."""
        kept = self.kept[key]
        predicted, moments = np.empty((kept.shape[1], len(at))), np.empty((2, len(at)))
        kernels.sync_recall(kept, self._noted(key, slot), at, predicted, moments)
        return predicted, moments[0], moments[1]

    def _noted(self, key: Key, slot: Ints) -> Ints:
        """Where the predictions of these steps are, of now where they were not noted then."""
        return np.where(self._noted_ms[key][slot] == self.time_ms[slot], slot, self.moments[-1].slot)

    def sort(self, batch: Batch, now_ms: int) -> list[Round]:
        """Return the readings to take in: first the oldest of each sensor, then the second oldest, and so on.

        Sensors say nothing about each other's order. What is refused is counted. Call `now` before.
        """
        sensor = self.names.find(batch)
        known = sensor >= 0
        late = known & (batch.time_ms < now_ms - LATE_MS)
        before = late & (batch.time_ms < self.begun_ms)
        self._refuse(BEFORE, int(before.sum()))
        self._refuse(TOO_LATE, int(late.sum() - before.sum()))
        at = np.flatnonzero(known & ~late)
        if not len(at):
            return []
        sensor, time_ms, value = sensor[at], np.minimum(batch.time_ms[at], now_ms), batch.value[at]
        step = self._nearest(time_ms)
        # in order of sensor, step and time: the last of a sensor within a step is the one that counts
        order = np.lexsort((time_ms, step, sensor))
        sensor, step, value = sensor[order], step[order], value[order]
        last = np.append((sensor[1:] != sensor[:-1]) | (step[1:] != step[:-1]), True)
        sensor, value = sensor[last], value[last]
        slot = np.array([m.slot for m in self.moments], dtype=np.int64)[step[last]]
        new = ~self._heard[slot, sensor]
        self._refuse(AGAIN, int((~new).sum()))
        sensor, value, slot = sensor[new], value[new], slot[new]
        self._heard[slot, sensor] = True
        first = np.searchsorted(sensor, sensor)
        turn = np.arange(len(sensor)) - first
        return [self._round(turn == i, sensor, value, slot) for i in range(int(turn.max(initial=-1)) + 1)]

    def _nearest(self, time_ms: Ints) -> Ints:
        times = np.array([m.time_ms for m in self.moments], dtype=np.int64)
        after = np.clip(np.searchsorted(times, time_ms), 1, max(len(times) - 1, 1))
        if len(times) == 1:
            return np.zeros(len(time_ms), dtype=np.int64)
        return np.asarray(after - (time_ms - times[after - 1] <= times[after] - time_ms))

    def _round(self, here: NDArray[np.bool_], sensor: Ints, value: Array, slot: Ints) -> Round:
        sensor, value, slot = sensor[here], value[here], slot[here]
        time_ms, key_of = self.time_ms[slot], self.names.key_of[sensor]
        starts = np.concatenate([[0], np.flatnonzero(np.diff(key_of)) + 1, [len(sensor)]]).tolist()
        readings: Round = {}
        for i, k in pairwise(starts):  # sensors rise, so those of a key stand together
            key = self.names.keys[int(key_of[i])]
            readings[key] = Said(sensor[i:k] - self.names.first[key], value[i:k], slot[i:k], time_ms[i:k])
        return readings

    def is_newest(self, key: Key, at: Ints, time_ms: Ints) -> NDArray[np.bool_]:
        """Tell which sensors have said nothing newer; from now on this is their newest where so."""
        sensor = at + self.names.first[key]
        newest = self.newest_ms[sensor] <= time_ms
        self.newest_ms[sensor[newest]] = time_ms[newest]
        return np.asarray(newest)

    def told_ms(self, key: Key) -> Ints:
        """Return when each sensor of a channel spoke last, 0 where it never did (S,) [Unix ms]."""
        start = self.names.first[key]
        return self.newest_ms[start : start + self.names.size[key]]

    def _refuse(self, reason: str, count: int) -> None:
        if count:
            self.refused[reason] = self.refused.get(reason, 0) + count
