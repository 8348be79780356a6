"""The store that forgets: telemetry in this process's memory, for tests and replays; the rules in plain Python."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Sequence

from twin.telemetry.retention import Dropped, Keep
from twin.telemetry.store import (
    BAD_EVENT,
    REFUSALS_KEPT,
    Batch,
    Event,
    Newest,
    Refusal,
    event_ok,
    in_order,
    newest_of,
    storable,
)


class MemoryStore:
    """A `twin.telemetry.store.Store` of plain lists and dictionaries."""

    def __init__(self) -> None:
        self._values: dict[tuple[int, str, str], float] = {}
        self._newest: dict[tuple[str, str], tuple[int, float]] = {}
        self._arrived: list[Batch] = []
        self._events: dict[tuple[int, str, str, str], Event] = {}
        self._in_order: list[tuple[int, str, str, str]] = []
        """Keys of the events, sorted."""
        self._refused: Counter[str] = Counter()
        self._aside: deque[Refusal] = deque(maxlen=REFUSALS_KEPT)

    def write(self, batch: Batch) -> int:
        good, bad = storable(batch)
        self.refuse_all(bad)
        for time_ms, component, channel, value in good.rows():
            self._values[time_ms, component, channel] = value
            if time_ms >= self._newest.get((component, channel), (0, 0.0))[0]:
                self._newest[component, channel] = (time_ms, value)
        if len(good):
            self._arrived.append(good)
        return len(good)

    def write_events(self, events: Sequence[Event]) -> int:
        good = [event for event in events if event_ok(event)]
        self._refused.update({BAD_EVENT: len(events) - len(good)} if len(good) < len(events) else {})
        for event in good:
            key = (event.time_ms, event.component, event.type, event.code)
            if key not in self._events:
                insort(self._in_order, key)
            self._events[key] = event
        return len(good)

    def read(
        self, components: Sequence[str] | None, channels: Sequence[str] | None, start_ms: int, end_ms: int
    ) -> Batch:
        of_component = None if components is None else set(components)
        of_channel = None if channels is None else set(channels)
        rows = [
            (*key, value)
            for key, value in self._values.items()
            if start_ms <= key[0] < end_ms
            and (of_component is None or key[1] in of_component)
            and (of_channel is None or key[2] in of_channel)
        ]
        return in_order(Batch.from_rows(rows))

    def newest(self, channel: str | None = None) -> Newest:
        return newest_of(
            (time_ms, component, of_channel, value)
            for (component, of_channel), (time_ms, value) in self._newest.items()
            if channel is None or of_channel == channel
        )

    def components(self) -> list[str]:
        return sorted({component for component, _ in self._newest})

    def oldest_ms(self) -> int | None:
        return min((key[0] for key in self._values), default=None)

    def events(self, start_ms: int, end_ms: int) -> list[Event]:
        first, end = (bisect_left(self._in_order, (at_ms,)) for at_ms in (start_ms, end_ms))
        return [self._events[key] for key in self._in_order[first:end]]

    def tail(self, cursor: int) -> tuple[Batch, int]:
        return Batch.joined(self._arrived[cursor:]), len(self._arrived)

    def tail_end(self) -> int:
        return len(self._arrived)

    def refuse(self, component: str, channel: str, time_ms: int, value: float, reason: str) -> None:
        self.refuse_all([Refusal(time_ms, component, channel, value, reason)])

    def refuse_all(self, refusals: Sequence[Refusal]) -> None:
        self._refused.update(refusal.reason for refusal in refusals)
        self._aside.extend(refusals)

    def refused(self) -> dict[str, int]:
        return dict(self._refused)

    def refusals(self) -> list[Refusal]:
        return list(self._aside)

    def retain(self, keep: Keep) -> Dropped:
        first_ms = keep.first_kept_ms
        gone = [key for key in self._values if key[0] < first_ms]
        events = self._in_order[: bisect_left(self._in_order, (keep.events_ms,))]
        for key in gone:
            del self._values[key]
        for event in events:
            del self._events[event]
        del self._in_order[: len(events)]
        self._newest = {key: newest for key, newest in self._newest.items() if newest[0] >= first_ms}
        return Dropped(len(gone), len(events))

    def flush(self) -> None:
        """Everything is readable at once."""

    def close(self) -> None:
        """Nothing to let go of."""
