"""Blocks that the database has confirmed, kept for a while in case it forgets them.

It can: InfluxDB 1.6 whose disk was full leaves a torn entry in its log; started again it takes and confirms writes
behind the tear, and started once more it cuts the log off there (observed). What is lost so begins with the first block
confirmed after a failure. So after every outage the newest block is looked for, and every one that was the first after
an earlier outage; from the first that is gone all are sent again, oldest first, corrections after what they corrected.
The same series and time is the same reading: nothing is stored twice.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from twin.telemetry.influx_query import quoted, text
from twin.telemetry.spool import Kept, Spool

# What one lane keeps at most: at 22 bytes a reading some 1.5 million of them.
KEPT_BYTES = 32 << 20
# And at most so many files, a day and a half of a small site's blocks every 15 s.
KEPT_BLOCKS = 8_192
# Of what an earlier process left behind about so many blocks are looked for.
LOOKED_FOR = 16

_READING = re.compile(
    rb"^([^,\s]+),component=([^,\s]+),site=([^,\s]+) ([^=,\s]+)=[^,\s]+(?:,\S*)? (\d+)$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Probe:
    """One reading of a block, by which it can be asked for: measurement, component, site, channel, time in ns."""

    kind: str
    component: str
    site: str
    channel: str
    time_ns: int

    @classmethod
    def of(cls, data: bytes) -> Probe | None:
        """The first reading in some lines; None where there is none (marks, events, risks)."""
        for found in _READING.finditer(data):
            kind, component, site, channel, time_ns = (word.decode() for word in found.groups())
            if not channel.endswith("_ok"):
                return cls(kind, component, site, channel, int(time_ns))
        return None

    def statement(self) -> str:
        """A query that answers with one row when the reading is there."""
        names = f'"component" = {text(self.component)} AND "site" = {text(self.site)}'
        return f"SELECT {quoted(self.channel)} FROM {quoted(self.kind)} WHERE {names} AND time = {self.time_ns}"


class Confirmed:
    """The confirmed blocks of one lane, oldest first, on disk, within KEPT_BYTES and KEPT_BLOCKS."""

    def __init__(self, spool: Spool, earlier: list[Kept]) -> None:
        """earlier: blocks of this lane that another process had confirmed; some of them are looked for, evenly."""
        self._spool = spool
        self._blocks: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self._marked: set[int] = {kept.number for kept in earlier[:: max(1, len(earlier) // LOOKED_FOR)]}
        self._unfit: set[int] = set()
        for kept in earlier:
            self._add(kept.number, spool.sent_size(kept.number))

    def __len__(self) -> int:
        return len(self._blocks)

    def add(self, number: int, size: int, *, whole: bool, marked: bool) -> None:
        """Keep a block just confirmed, `whole` or without some of its lines; drop the oldest beyond the limit.

        marked: it is the first one after a failure, and will be looked for.
        """
        self._spool.confirm(number)
        if not whole:
            self._unfit.add(number)
        if marked:
            self._marked.add(number)
        self._add(number, size)

    def first_gone(self, is_there: Callable[[Probe], bool]) -> int | None:
        """The number of the first block that the database has forgotten; None when those looked for are there."""
        numbers = [number for number, _ in self._blocks]
        present = -1
        looked_for = [i for i, number in enumerate(numbers[:-1]) if number in self._marked] + [len(numbers) - 1]
        for i in looked_for if numbers else []:
            if self._is_there(numbers[i], is_there, unknown=True):
                present = i
                continue
            # Between the last one that is there and this one lies the first that is not.
            low, high = present + 1, i
            while low < high:
                middle = (low + high) // 2
                there = self._is_there(numbers[middle], is_there, unknown=False)
                low, high = (middle + 1, high) if there else (low, middle)
            return numbers[high]
        return None

    def _is_there(self, number: int, is_there: Callable[[Probe], bool], *, unknown: bool) -> bool:
        """Whether a block is there; `unknown` where one cannot ask by it, as by events that stand alone in theirs."""
        probe = None if number in self._unfit else Probe.of(self._spool.get_sent(number) or b"")
        return unknown if probe is None else is_there(probe)

    def unfit(self, number: int) -> None:
        """Never ask by this block again: its reading does not come back, however often it is sent."""
        self._unfit.add(number)

    def bodies(self, first: int, size: int) -> Iterator[tuple[int, bytes]]:
        """Number of blocks and their lines, from this block on, oldest first, in pieces of about so many bytes."""
        piece, n = bytearray(), 0
        for number, _ in tuple(self._blocks):
            if number >= first:
                piece += self._spool.get_sent(number) or b""
                n += 1
            if len(piece) >= size:
                yield n, bytes(piece)
                piece, n = bytearray(), 0
        if piece:
            yield n, bytes(piece)

    def _add(self, number: int, size: int) -> None:
        self._blocks.append((number, size))
        self._bytes += size
        while (self._bytes > KEPT_BYTES or len(self._blocks) > KEPT_BLOCKS) and len(self._blocks) > 1:
            oldest, its_size = self._blocks.popleft()
            self._bytes -= its_size
            self._unfit.discard(oldest)
            self._marked.discard(oldest)
            self._spool.forget(oldest)
