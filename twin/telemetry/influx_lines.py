"""Readings as line protocol: one line per component and time, built column by column.

    <kind>,component=<id>,site=<site> <channel>=<value>,...[,<channel>_ok=1] <ns>

A channel's validity is a field of its own, written where it changes: 1 with the first reading of a series and with the
first after a refused one, 0 at each refused one. So `last("inlet_c_ok")` says how a sensor stands now, and a line holds
no more than it must. Names follow the Store's rule, which leaves nothing to escape in a tag or a field key.

Components are dealt to a fixed number of lanes by their name; the lines of one lane are sent one after another.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.telemetry.store import LATEST_MS, Batch, Refusal

OTHER_KIND = "component"
LINES_PER_BLOCK = 2_500
_NS_PER_MS = 1_000_000

# From this share of lines to readings on, a batch is sorted first: its channels lie apart.
SCATTERED_FRAC = 0.5

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines of one lane: their bytes, each line ended, and how many readings they hold."""

    lane: int
    data: bytes
    readings: int


def lane_of(component: str, lanes: int) -> int:
    """The lane of a component: the same in every process, so that what a dead one left behind keeps its order."""
    return zlib.crc32(component.encode()) % lanes


class LineBuilder:
    """Turns batches into blocks of lines. Remembers every series it has seen and whether it was last valid."""

    def __init__(self, site: str, kind_of: Mapping[str, str], lanes: int) -> None:
        """kind_of: component to measurement; a component it does not know is filed under OTHER_KIND."""
        self._site, self._kind_of, self._lanes = site, kind_of, lanes
        # Number of a series by component, then channel; per series its component, field text, lane, validity.
        self._numbers: dict[str, dict[str, int]] = {}
        self._component_number: dict[str, int] = {}
        self._component: list[int] = []
        self._field: list[str] = []
        self._valid_field: list[str] = []
        self._lane: list[int] = []
        self._valid: list[bool] = []
        self._heads: list[str] = []
        self._columns: _Columns | None = None

    def blocks(self, batch: Batch) -> Iterator[Block]:
        """The readings as blocks, lane by lane, in the order in which they were given."""
        if not len(batch):
            return
        number = self._numbered(batch)
        columns = self._as_columns()
        lane = columns.lane[number]
        for k in range(self._lanes):
            here = np.flatnonzero(lane == k)
            if len(here):
                yield from self._blocks_of(columns, k, number[here], batch.time_ms[here], batch.value[here])

    def invalid_line(self, refusal: Refusal) -> tuple[int, str] | None:
        """Lane and line that mark a refused reading of a known series; None when there is nothing to mark."""
        number = self._numbers.get(refusal.component, {}).get(refusal.channel)
        if number is None or not 0 <= refusal.time_ms <= LATEST_MS:
            return None
        self._valid[number] = False
        head = self._heads[self._component[number]]
        return self._lane[number], f"{head} {refusal.channel}_ok=0 {refusal.time_ms * _NS_PER_MS}\n"

    def head_of(self, component: str) -> str:
        """Measurement and tags of a component."""
        return f"{self._kind_of.get(component, OTHER_KIND)},component={component},site={self._site}"

    def _numbered(self, batch: Batch) -> Ints:
        """The number of the series of each reading, shape (n,)."""
        components, channels = batch.component.tolist(), batch.channel.tolist()
        numbers = self._numbers
        try:
            found = [numbers[c][k] for c, k in zip(components, channels, strict=True)]
        except KeyError:
            for component, channel in dict.fromkeys(zip(components, channels, strict=True)):
                self._learn(component, channel)
            found = [numbers[c][k] for c, k in zip(components, channels, strict=True)]
        return np.array(found, dtype=np.int64)

    def _learn(self, component: str, channel: str) -> None:
        of_component = self._numbers.setdefault(component, {})
        if channel in of_component:
            return
        if component not in self._component_number:
            self._component_number[component] = len(self._heads)
            self._heads.append(self.head_of(component))
        of_component[channel] = len(self._component)
        self._component.append(self._component_number[component])
        self._field.append(f"{channel}=")
        self._valid_field.append(f",{channel}_ok=1")
        self._lane.append(lane_of(component, self._lanes))
        self._valid.append(False)
        self._columns = None

    def _as_columns(self) -> _Columns:
        if self._columns is None:
            self._columns = _Columns.of(self._component, self._lane, self._field, self._valid_field, self._heads)
        return self._columns

    def _blocks_of(
        self, columns: _Columns, lane: int, number: Ints, time_ms: Ints, value: NDArray[np.float64]
    ) -> Iterator[Block]:
        component = columns.component[number]
        starts = _starts(component, time_ms, number)
        if len(starts) > SCATTERED_FRAC * len(number):
            # A stable sort: of two readings of one series and time the later stays behind.
            order = np.lexsort((number, time_ms, component))
            number, time_ms, value, component = number[order], time_ms[order], value[order], component[order]
            starts = _starts(component, time_ms, number)
        fresh = self._newly_valid(number)
        ends = np.append(starts[1:], len(number))
        text, place = columns.lines(number, value, fresh, starts, component[starts], time_ms[starts] * _NS_PER_MS)
        for first in range(0, len(starts), LINES_PER_BLOCK):
            last = min(first + LINES_PER_BLOCK, len(starts))
            yield Block(lane, text[place[first] : place[last]], int(ends[last - 1] - starts[first]))

    def _newly_valid(self, number: Ints) -> NDArray[np.bool_]:
        """Which readings are the first valid one of their series, or the first after a refused one."""
        where = np.flatnonzero([not self._valid[n] for n in number.tolist()])
        series, first = np.unique(number[where], return_index=True)
        for n in series.tolist():
            self._valid[n] = True
        fresh = np.zeros(len(number), dtype=bool)
        fresh[where[first]] = True
        return fresh


def _starts(component: Ints, time_ms: Ints, number: Ints) -> Ints:
    """Where a new line begins: another component or time, or a series that this line may already hold."""
    breaks = (component[1:] != component[:-1]) | (time_ms[1:] != time_ms[:-1]) | (number[1:] <= number[:-1])
    return np.concatenate([[0], np.flatnonzero(breaks) + 1])


@dataclass(frozen=True, slots=True)
class _Columns:
    """What is known of every series, as columns: Arrow joins text without making a Python string of each piece."""

    component: Ints
    lane: Ints
    field: Any
    valid_field: Any
    head: Any

    @classmethod
    def of(
        cls, component: Sequence[int], lane: Sequence[int], field: Sequence[str], valid: Sequence[str], head: list[str]
    ) -> _Columns:
        import pyarrow as pa

        return cls(
            np.array(component, dtype=np.int64), np.array(lane, dtype=np.int64), pa.array(field), pa.array(valid),
            pa.array(head),
        )  # fmt: skip

    def lines(
        self,
        number: Ints,
        value: NDArray[np.float64],
        fresh: NDArray[np.bool_],
        starts: Ints,
        component: Ints,
        time_ns: Ints,
    ) -> tuple[bytes, Ints]:
        """The lines one after another as bytes, and where each begins (with the end of all as the last)."""
        import pyarrow as pa
        from pyarrow import compute

        which = pa.array(number)
        # Arrow writes the shortest text that reads back to the same bits.
        field = compute.binary_join_element_wise(self.field.take(which), compute.cast(pa.array(value), pa.string()), "")
        if fresh.any():
            mark = compute.if_else(pa.array(fresh), self.valid_field.take(which), "")
            field = compute.binary_join_element_wise(field, mark, "")
        places = pa.array(np.append(starts, len(number)).astype(np.int32))
        fields = compute.binary_join(pa.ListArray.from_arrays(places, field), ",")
        instant = compute.binary_join_element_wise(compute.cast(pa.array(time_ns), pa.string()), "\n", "")
        line = compute.binary_join_element_wise(self.head.take(pa.array(component)), fields, instant, " ")
        _, ends, text = line.buffers()
        place = np.frombuffer(ends, dtype=np.int32)[: len(line) + 1].astype(np.int64)
        return text.to_pybytes(), place
