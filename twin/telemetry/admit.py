"""Who comes in: each reading is judged by the site's components, the channel table and the clock before it is stored.

What is refused is counted and kept aside with its reason; one bad row never costs its batch. Reasons are those of
`plant.channels.REASONS`, those of `twin.telemetry.store`, and the three of this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant.channels import CHANNELS, REASONS
from twin.telemetry.store import Batch, Event, Refusal, Store, refusal_of

UNKNOWN_COMPONENT = "unknown_component"
FUTURE = "in_the_future"
TOO_OLD = "before_2000"

# A clock may be a little ahead; an hour means a wrong clock or a wrong zone.
FUTURE_LIMIT_MS = 3_600_000

# 2000-01-01: earlier means seconds or a dead clock's epoch where Unix milliseconds belong.
EARLIEST_MS = 946_684_800_000

# Where no site says which components exist: more series than this are refused as unknown.
MOST_SERIES = 1_000_000

_NOT_A_NUMBER, _BELOW, _ABOVE, _UNKNOWN_CHANNEL = (
    REASONS.index(name) for name in ("not_a_number", "below_range", "above_range", "unknown_channel")
)
_ALL_REASONS = (*REASONS, UNKNOWN_COMPONENT, FUTURE, TOO_OLD)
_UNKNOWN_COMPONENT, _FUTURE, _TOO_OLD = range(len(REASONS), len(_ALL_REASONS))


class Gate:
    """Judges batches against one site. `kind_of` maps component id to kind; None lets every component in.

    Without a site a channel's range is the widest of its kinds.
    """

    def __init__(self, kind_of: Mapping[str, str] | None) -> None:
        self._kind_of = kind_of
        self._bounds = _bounds()
        # Slot of each (component, channel) already judged, into the three lists; the first two slots are refusals.
        # Unknown names are never remembered, so a flood of them takes no memory.
        self._slot: dict[tuple[str, str], int] = {}
        self._code = [_UNKNOWN_COMPONENT, _UNKNOWN_CHANNEL]
        self._low = [-np.inf, -np.inf]
        self._high = [np.inf, np.inf]
        self._laid_out = self._table()

    def admit(self, batch: Batch, now_ms: int) -> tuple[Batch, list[Refusal]]:
        """The readings that may be stored, in their order, and the refused with their reasons."""
        codes = self._codes(batch, now_ms)
        good = codes == 0
        if good.all():
            return batch, []
        return batch.take(good), [refusal_of(batch, i, _ALL_REASONS[codes[i]]) for i in np.flatnonzero(~good).tolist()]

    def admit_events(self, events: Sequence[Event], now_ms: int) -> tuple[list[Event], list[Refusal]]:
        """The events that may be stored, in their order, and the refused: of no component, or of another time."""
        good, bad = [], []
        for event in events:
            reason = self._event_reason(event, now_ms)
            if reason:
                bad.append(Refusal(max(event.time_ms, 0), event.component, event.type, float("nan"), reason))
            else:
                good.append(event)
        return good, bad

    def _event_reason(self, event: Event, now_ms: int) -> str:
        if self._kind_of is not None and event.component not in self._kind_of:
            return UNKNOWN_COMPONENT
        if event.time_ms > now_ms + FUTURE_LIMIT_MS:
            return FUTURE
        return TOO_OLD if event.time_ms < min(EARLIEST_MS, now_ms) else ""

    def _codes(self, batch: Batch, now_ms: int) -> NDArray[np.int64]:
        """Index into the reasons of each reading, shape (n,); 0 may be stored."""
        keys = zip(batch.component.tolist(), batch.channel.tolist(), strict=True)
        known = self._slot
        slots = np.array([known[key] if key in known else self._judge(key) for key in keys], dtype=np.int64)
        if len(self._laid_out[0]) < len(self._code):
            self._laid_out = self._table()
        code, low, high = self._laid_out
        codes, value = code[slots], batch.value
        faults = (
            (value < low[slots], _BELOW),
            (value > high[slots], _ABOVE),
            (~np.isfinite(value), _NOT_A_NUMBER),
            (batch.time_ms > now_ms + FUTURE_LIMIT_MS, _FUTURE),
            # A site clock that itself stands before 2000 is a test's or a replay's: then nothing is too old.
            (batch.time_ms < min(EARLIEST_MS, now_ms), _TOO_OLD),
        )
        for here, reason in faults:
            codes[here & (codes == 0)] = reason
        return codes

    def _table(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Reason, lowest and highest value of each slot: made anew when a name is heard for the first time."""
        return np.array(self._code, dtype=np.int64), np.array(self._low), np.array(self._high)

    def _judge(self, key: tuple[str, str]) -> int:
        """The slot of a component and channel seen for the first time."""
        component, channel = key
        kind = "" if self._kind_of is None else self._kind_of.get(component)
        if kind is None:
            return 0
        bounds = self._bounds.get((kind, channel))
        if bounds is None:
            return 1
        if self._kind_of is None and len(self._slot) >= MOST_SERIES:
            return 0
        self._slot[key] = len(self._code)
        self._code.append(0)
        self._low.append(bounds[0])
        self._high.append(bounds[1])
        return self._slot[key]


def _bounds() -> dict[tuple[str, str], tuple[float, float]]:
    """Lowest and highest possible value by (kind, channel); under kind "" the widest of all kinds."""
    bounds: dict[tuple[str, str], tuple[float, float]] = {}
    for row in CHANNELS:
        bounds[row.kind, row.name] = (row.low, row.high)
        low, high = bounds.get(("", row.name), (row.low, row.high))
        bounds["", row.name] = (min(low, row.low), max(high, row.high))
    return bounds


def admit(batch: Batch, kind_of: Mapping[str, str] | None, now_ms: int) -> tuple[Batch, list[Refusal]]:
    """One batch judged by a fresh Gate; keep a Gate where batches follow each other."""
    return Gate(kind_of).admit(batch, now_ms)


@dataclass(frozen=True, slots=True)
class Ingested:
    """How many readings of a batch were stored and how many refused."""

    accepted: int
    refused: int


def ingest(store: Store, gate: Gate, batch: Batch, now_ms: int) -> Ingested:
    """Judge, store and keep the refused aside."""
    good, bad = gate.admit(batch, now_ms)
    accepted = store.write(good) if len(good) else 0
    if bad:
        store.refuse_all(bad)
    return Ingested(accepted, len(batch) - accepted)
