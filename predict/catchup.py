"""Bringing a scorer up to date from a store: what a worker does when it starts and `foretwin score` does once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from predict.risk import Risk
from predict.score import Scorer

TICK_S = 15.0
SPAN_S = 3 * 3600.0
# Decisions need persistence: this much is scored tick by tick, what came before only fills windows and references.
SCORED_S = 600.0


def catch_up(scorer: Scorer, store: Any, now_ms: int, span_s: float = SPAN_S) -> list[Risk]:
    """Read the last `span_s` of a store into a fresh scorer and return the risks at `now_ms`."""
    batch = store.read(list(scorer.watched.ids), None, now_ms - int(span_s * 1000), now_ms + 1)
    begin_ms = now_ms - int(SCORED_S * 1000)
    scorer.update(batch.take(batch.time_ms <= begin_ms))
    for at_ms, readings in by_tick(batch.take(batch.time_ms > begin_ms), begin_ms, now_ms):
        scorer.update(readings)
        if at_ms < now_ms:
            scorer.score_arrays(at_ms)
    return scorer.score(now_ms)


def by_tick(batch: Any, begin_ms: int, end_ms: int, tick_s: float = TICK_S) -> Iterator[tuple[int, Any]]:
    """Yield (tick end, readings of (tick start, tick end]) from begin to end, empty ticks included."""
    ends = np.append(np.arange(begin_ms + int(tick_s * 1000), end_ms, int(tick_s * 1000)), end_ms)
    tick = np.searchsorted(ends, batch.time_ms, side="left")
    for index, at_ms in enumerate(ends.tolist()):
        yield at_ms, batch.take(tick == index)


def newest_ms(store: Any) -> int | None:
    """Return the time of the newest reading of a store, None when it is empty."""
    times = [time_ms for time_ms, _, _ in store.newest().values()]
    return max(times, default=None)
