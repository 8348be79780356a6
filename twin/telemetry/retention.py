"""How long telemetry is kept: instants before which readings, events and the order of arrival may go."""

from __future__ import annotations

from dataclasses import dataclass

# Who follows arrivals (`tail`) stands at most so far behind; a longer gap is filled from the readings themselves.
ARRIVALS_KEPT_MS = 6 * 3_600_000

# Readings are filed, and dropped, by spans of 2^18 ms, about four minutes.
SPAN_MS = 262_144
DAY_MS = 86_400_000

# Spans dropped in one call: each is a transaction of its own, so nobody who writes waits for long.
SPANS_PER_CALL = 8


@dataclass(frozen=True, slots=True)
class Keep:
    """Whole spans of readings before `readings_ms` may go, events before `events_ms`, arrivals before `arrivals_ms`."""

    readings_ms: int
    events_ms: int
    arrivals_ms: int

    @classmethod
    def days(cls, now_ms: int, readings: float, events: float) -> Keep:
        """What may go at an instant when readings and events are kept for so many days."""
        first = now_ms - round(readings * DAY_MS)
        return cls(first, now_ms - round(events * DAY_MS), max(first, now_ms - ARRIVALS_KEPT_MS))

    @property
    def first_kept_ms(self) -> int:
        """The first instant of the span that holds `readings_ms`: readings before it go."""
        return self.readings_ms // SPAN_MS * SPAN_MS


@dataclass(frozen=True, slots=True)
class Dropped:
    """Readings and events that went, and whether more is left to go in a next call."""

    readings: int = 0
    events: int = 0
    more: bool = False
