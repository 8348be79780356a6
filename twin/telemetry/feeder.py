"""Asks several sources, each on its own thread, and hands what they say to one worker that never waits for any of them.

A source that fails is asked again after a growing wait; one that hangs holds its own thread and nothing else. What
waits for the worker is bounded: a source whose share is full is not asked until some of it is taken, so nothing is
thrown away. Times are the caller's clock (Unix ms); waits are of the machine.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from plant.errors import ForetwinError
from twin.telemetry.backoff import delay_s
from twin.telemetry.samples import NO_TIME_MS, Read
from twin.telemetry.sources import Mark, Source
from twin.telemetry.standing import AHEAD_MS, Standing

MOST_WAITING = 1_000_000
FULL_WAIT_S = 0.2
CLOSE_S = 2.0
Clock = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Taken:
    """One reading of a source that waits to be stored, and where the source stands behind it."""

    source: str
    read: Read
    mark: Mark


@dataclass
class Feed:
    """One source with its schedule and all that is known of it; `lock` guards what two threads touch."""

    source: Source
    interval_s: float
    seed: int
    standing: Standing = field(init=False)
    waiting: deque[Taken] = field(default_factory=deque, init=False)
    lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    samples_waiting: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Nothing is known yet."""
        self.standing = Standing(self.source.name, self.source.kind, self.interval_s)

    def work(self, stop: threading.Event, clock: Clock) -> None:
        """Ask until stopped; nothing that a source raises ends this."""
        try:
            due_s = time.monotonic()
            while not stop.wait(max(0.0, due_s - time.monotonic())):
                if self.samples_waiting >= MOST_WAITING:
                    due_s = time.monotonic() + FULL_WAIT_S
                    continue
                begun_s = time.monotonic()
                more = self.once(clock)
                due_s = begun_s + (0.0 if more else self.interval_s)
                if self.standing.failures:
                    # counted from now: a source that takes long to fail must not be asked without a pause
                    due_s = time.monotonic() + delay_s(self.source.name, self.standing.failures, self.seed)
        finally:
            self.source.close()

    def once(self, clock: Clock) -> bool:
        """Ask once; whether there is more to be had at once."""
        with self.lock:
            self.standing.asked(clock())
        try:
            read = self.source.poll(clock())
            mark, (newest_ms, ahead_ms) = self.source.mark(), _newest(read, clock())
        except Exception as error:  # a fault of one source, even of its code, must not silence the others
            with self.lock:
                self.standing.failed(_in_words(error), clock())
            return False
        with self.lock:
            self.standing.answered(clock(), newest_ms, ahead_ms, read.bad, read.more)
            if len(read.samples) or read.bad:
                self.waiting.append(Taken(self.source.name, read, mark))
                self.samples_waiting += len(read.samples)
        return read.more


class Feeder:
    """Several feeds at work. `marks`: where each source stood when an earlier worker stored its last reading."""

    def __init__(
        self,
        sources: Sequence[tuple[Source, float]],
        clock: Clock,
        marks: Mapping[str, Mark] | None = None,
        seed: int = 0,
    ) -> None:
        self._clock, self._stop = clock, threading.Event()
        self._threads: list[threading.Thread] = []
        self._feeds = {source.name: Feed(source, interval_s, seed) for source, interval_s in sources}
        self.marks: dict[str, Mark] = {}
        for name, feed in self._feeds.items():
            self.marks[name] = dict((marks or {}).get(name, {}))
            feed.source.resume(self.marks[name])

    def start(self) -> Feeder:
        """Begin to ask."""
        for name, feed in self._feeds.items():
            work = threading.Thread(
                target=feed.work, args=(self._stop, self._clock), name=f"source {name}", daemon=True
            )
            work.start()
            self._threads.append(work)
        return self

    def next(self) -> Taken | None:
        """The reading that waits longest at the source whose turn it is; it stays until it is `done`."""
        for name, feed in list(self._feeds.items()):
            if feed.waiting:
                # whoever was served goes to the end, so that a flood of one does not starve the others
                self._feeds[name] = self._feeds.pop(name)
                return feed.waiting[0]
        return None

    def done(self, taken: Taken, accepted: int, refused: int, unmatched: int) -> None:
        """A reading is stored: let it go and remember where its source stands."""
        feed = self._feeds[taken.source]
        with feed.lock:
            feed.waiting.popleft()
            feed.samples_waiting -= len(taken.read.samples)
            feed.standing.count(accepted, refused, unmatched)
        self.marks[taken.source] = taken.mark

    def standings(self) -> list[dict[str, object]]:
        """What is known of each source, in order of names: rows for the board."""
        now_ms = self._clock()
        rows = []
        for name in sorted(self._feeds):
            feed = self._feeds[name]
            with feed.lock:
                rows.append(feed.standing.row(now_ms, feed.samples_waiting))
        return rows

    def close(self, wait_s: float = CLOSE_S) -> None:
        """Ask no more; what hangs is left to end with the process."""
        self._stop.set()
        until_s = time.monotonic() + wait_s
        for work in self._threads:
            work.join(max(0.0, until_s - time.monotonic()))
        if not self._threads:
            for feed in self._feeds.values():
                feed.source.close()


def _newest(read: Read, now_ms: int) -> tuple[int | None, int]:
    """Newest time among samples that are not ahead of now, None without one; how far the newest of all is ahead."""
    time_ms = read.samples.time_ms
    time_ms = time_ms[time_ms != NO_TIME_MS]
    here = time_ms[time_ms <= now_ms + AHEAD_MS]
    ahead_ms = int(time_ms.max()) - now_ms if len(time_ms) else 0
    return (int(np.max(here)) if len(here) else None), max(0, ahead_ms)


def _in_words(error: Exception) -> str:
    if isinstance(error, ForetwinError):
        return str(error)
    return f"unexpected: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
