"""What a telemetry store is: readings and events in, windows and newest values out. One protocol, three stores.

The rules every store keeps, and the contract suite checks:
- A reading is (time, component, channel, value). The same component, channel and time again is a correction: the last
  value written wins, and `read` never shows both.
- A store takes only what it can give back: finite values, names of `NAME_RULE` and `CHANNEL_RULE`, times from 1970 to
  2261. What it cannot is refused one by one with a reason and counted; the rest of the batch goes in. (Ranges and units
  are judged before, in `twin.telemetry.admit`.)
- `read` and `events` are half open [start, end) and answer in order of (time, component, channel).
- `newest` of a component is its latest reading; among channels of the same latest time the alphabetically first.
- `tail` gives readings in order of arrival, so that late ones are seen; a correction arrives again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from twin.telemetry.retention import Dropped, Keep

NAME_RULE = "1 to 200 of A-Z a-z 0-9 _ - . / : @ + #"
_NAME = re.compile(r"[A-Za-z0-9_\-./:@+#]{1,200}")

# What the columns beside the channels are called where a channel is a column; `_ok` marks a channel's validity there.
_NOT_CHANNELS = frozenset({"time", "site", "component"})
CHANNEL_RULE = f"{NAME_RULE}, none of {' '.join(sorted(_NOT_CHANNELS))}, not ending in _ok"

# The last whole day that still fits 64-bit nanoseconds, the finest clock of the stores behind this protocol.
LATEST_MS = 9_214_646_400_000  # 2261-12-31T00:00:00Z

# Text of an event: four bytes a character stay below the 64 KiB of a string field.
LONGEST_TEXT = 16_000
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")

Newest = dict[str, tuple[int, str, float]]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: an alarm, an XID, a switch flip. The same time, component, type and code is the same."""

    time_ms: int
    component: str
    type: str
    code: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reading that was not let in, kept aside with the reason; `value` may be nan or infinite.

    A name no store would take is kept as printable text of at most 200 characters.
    """

    time_ms: int
    component: str
    channel: str
    value: float
    reason: str

    def __post_init__(self) -> None:
        for field in ("component", "channel"):
            name = getattr(self, field)
            if not name_ok(name):
                object.__setattr__(self, field, ascii(name)[:200])


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Readings by column, all of shape (n,): time Unix ms int64, component and channel names, value float64."""

    time_ms: NDArray[np.int64]
    component: NDArray[np.object_]
    channel: NDArray[np.object_]
    value: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        time_ms: Sequence[int] | NDArray[Any],
        component: Sequence[str] | NDArray[Any],
        channel: Sequence[str] | NDArray[Any],
        value: Sequence[float] | NDArray[Any],
    ) -> Batch:
        """Columns of equal length as a Batch; ValueError when the lengths differ."""
        batch = cls(
            np.asarray(time_ms, dtype=np.int64),
            names_array(component),
            names_array(channel),
            np.asarray(value, dtype=np.float64),
        )
        lengths = {len(batch.time_ms), len(batch.component), len(batch.channel), len(batch.value)}
        if len(lengths) > 1:
            raise ValueError(f"columns of one batch differ in length: {sorted(lengths)}")
        return batch

    @classmethod
    def empty(cls) -> Batch:
        """No readings."""
        return cls.of([], [], [], [])

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[int, str, str, float]]) -> Batch:
        """Readings from (time_ms, component, channel, value) rows."""
        columns = list(zip(*rows, strict=True))
        return cls.of(*columns) if columns else cls.empty()

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """All readings of several batches, in their order."""
        if not batches:
            return cls.empty()
        return cls(
            np.concatenate([b.time_ms for b in batches]),
            np.concatenate([b.component for b in batches]),
            np.concatenate([b.channel for b in batches]),
            np.concatenate([b.value for b in batches]),
        )

    def __len__(self) -> int:
        return len(self.time_ms)

    def take(self, which: NDArray[Any]) -> Batch:
        """The readings at these positions, or where this mask is true."""
        return Batch(self.time_ms[which], self.component[which], self.channel[which], self.value[which])

    def rows(self) -> list[tuple[int, str, str, float]]:
        """The readings as (time_ms, component, channel, value) tuples."""
        return list(
            zip(self.time_ms.tolist(), self.component.tolist(), self.channel.tolist(), self.value.tolist(), strict=True)
        )


@runtime_checkable
class Store(Protocol):
    """Where telemetry is kept. Any method may raise StoreUnavailable; names and times follow the module's rules."""

    def write(self, batch: Batch) -> int:
        """Keep readings; the number accepted. What was accepted survives the death of this process."""

    def write_events(self, events: Sequence[Event]) -> int:
        """Keep events; the number accepted. Text is kept as it is, names by NAME_RULE (an empty code is allowed)."""

    def read(
        self, components: Sequence[str] | None, channels: Sequence[str] | None, start_ms: int, end_ms: int
    ) -> Batch:
        """Readings of [start_ms, end_ms) in order of (time, component, channel); None means all of them."""

    def newest(self, channel: str | None = None) -> Newest:
        """The latest (time_ms, channel, value) of each component, of one channel or of any."""

    def components(self) -> list[str]:
        """Every component with a reading, sorted."""

    def oldest_ms(self) -> int | None:
        """The time of the oldest reading, or a little before it; None when there is none."""

    def events(self, start_ms: int, end_ms: int) -> list[Event]:
        """Events of [start_ms, end_ms) in order of (time, component, type, code)."""

    def tail(self, cursor: int) -> tuple[Batch, int]:
        """What arrived after the cursor (0: everything) in order of arrival, and the cursor to ask with next."""

    def tail_end(self) -> int:
        """The cursor after all that has arrived: where a reader starts who has just read a window."""

    def refuse(self, component: str, channel: str, time_ms: int, value: float, reason: str) -> None:
        """Count one refused reading and keep it aside."""

    def refuse_all(self, refusals: Sequence[Refusal]) -> None:
        """Count refused readings and keep the last REFUSALS_KEPT of them aside."""

    def refused(self) -> dict[str, int]:
        """How many were refused, by reason."""

    def refusals(self) -> list[Refusal]:
        """The refused readings that were kept aside, oldest first."""

    def retain(self, keep: Keep) -> Dropped:
        """Drop what need not be kept, a part per call; a server that keeps its own rule drops nothing here.

        Afterwards (when `more` is false) the store answers as if what went had never been written.
        """

    def flush(self) -> None:
        """Return when all that was accepted can be read by others (or lies in a spool, where a store has one)."""

    def close(self) -> None:
        """Flush and let go of files, threads and connections."""


@runtime_checkable
class WritesBack(Protocol):
    """What a store may offer besides: to keep what the worker found out, for dashboards that read the database."""

    def write_risks(self, at_ms: int, risks: Sequence[Mapping[str, Any]]) -> None:
        """Keep the risks of all components; each has the keys that `score --json` prints."""

    def write_sync(self, at_ms: int, rows: Sequence[Mapping[str, Any]], *, in_sync: bool, age_s: float | None) -> None:
        """Keep how well the twin follows: rows of a sync report, age of the newest reading [s]."""


REFUSALS_KEPT = 10_000

# Reasons a store itself refuses for; `twin.telemetry.admit` adds those of the site and of the channel table.
NOT_FINITE = "not_a_number"
BAD_NAME = "bad_component_name"
BAD_CHANNEL = "bad_channel_name"
BAD_TIME = "impossible_time"
BAD_EVENT = "bad_event"


def names_array(names: Sequence[str] | NDArray[Any]) -> NDArray[np.object_]:
    """Names as an object array of shape (n,) holding Python strings."""
    answer = np.empty(len(names), dtype=object)
    answer[:] = names.tolist() if isinstance(names, np.ndarray) else list(names)
    return answer


def name_ok(name: object) -> bool:
    """Whether a name may be stored: a string of NAME_RULE. Anything else never reaches a query."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def channel_ok(name: object) -> bool:
    """Whether a channel of this name may be stored: CHANNEL_RULE."""
    return name_ok(name) and name not in _NOT_CHANNELS and not str(name).endswith("_ok")


def event_ok(event: Event) -> bool:
    """Whether an event can be kept: names of NAME_RULE (an empty code is fine), printable text, a possible time."""
    names = name_ok(event.component) and name_ok(event.type) and (event.code == "" or name_ok(event.code))
    text = len(event.text) <= LONGEST_TEXT and not _NOT_TEXT.search(event.text)
    return names and text and 0 <= event.time_ms <= LATEST_MS


def storable(batch: Batch) -> tuple[Batch, list[Refusal]]:
    """What any store can give back unchanged, and the rest with the reason for each."""
    finite = np.isfinite(batch.value)
    in_time = (batch.time_ms >= 0) & (batch.time_ms <= LATEST_MS)
    named, of_channel = _all_ok(batch.component, name_ok), _all_ok(batch.channel, channel_ok)
    good = finite & in_time & named & of_channel
    if good.all():
        return batch, []
    refused = []
    for i in np.flatnonzero(~good).tolist():
        reason = (
            BAD_NAME
            if not named[i]
            else BAD_CHANNEL
            if not of_channel[i]
            else BAD_TIME
            if not in_time[i]
            else NOT_FINITE
        )
        refused.append(refusal_of(batch, i, reason))
    return batch.take(good), refused


def refusal_of(batch: Batch, i: int, reason: str) -> Refusal:
    """Reading i of a batch as a refusal."""
    return Refusal(int(batch.time_ms[i]), batch.component[i], batch.channel[i], float(batch.value[i]), reason)


def _all_ok(column: NDArray[np.object_], ok: Callable[[object], bool]) -> NDArray[np.bool_]:
    names = column.tolist()
    # A batch has far fewer names than readings: each is judged once.
    verdict = {name: ok(name) for name in set(names)}
    if all(verdict.values()):
        return np.ones(len(names), dtype=bool)
    return np.array([verdict[name] for name in names], dtype=bool)


def in_order(batch: Batch) -> Batch:
    """Sorted by (time, component, channel), one reading per key: the last that arrived."""
    component, channel = _ranks(batch.component), _ranks(batch.channel)
    # lexsort is stable, so among equal keys the last to arrive stands last.
    order = np.lexsort((channel, component, batch.time_ms))
    keys = np.stack([batch.time_ms[order], component[order], channel[order]])
    last = np.append(np.any(keys[:, 1:] != keys[:, :-1], axis=0), True) if len(order) else np.empty(0, dtype=bool)
    return batch.take(order[last])


def _ranks(names: NDArray[np.object_]) -> NDArray[np.int64]:
    """Alphabetical rank of each name, shape (n,)."""
    listed = names.tolist()
    rank = {name: i for i, name in enumerate(sorted(set(listed)))}
    return np.fromiter((rank[name] for name in listed), dtype=np.int64, count=len(listed))


def newest_in(batch: Batch) -> Batch:
    """The latest reading of each component; on equal times that of the alphabetically first channel."""
    component, channel = _ranks(batch.component), _ranks(batch.channel)
    order = np.lexsort((-channel, batch.time_ms, component))
    last = np.append(component[order][1:] != component[order][:-1], True) if len(order) else np.empty(0, dtype=bool)
    return batch.take(order[last])


def newest_of(rows: Iterable[tuple[int, str, str, float]]) -> Newest:
    """The latest reading of each component, from at most one row per channel; on equal times the first channel."""
    answer: Newest = {}
    for time_ms, component, channel, value in rows:
        held = answer.get(component)
        if held is None or (time_ms, held[1]) > (held[0], channel):
            answer[component] = (time_ms, channel, value)
    return answer
