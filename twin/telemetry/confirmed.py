"""Blocks that the database has confirmed, kept for a while in case it forgets them.

It can: InfluxDB 1.6 whose disk was full leaves a torn entry in its log; started again it takes and confirms writes
behind the tear, and started once more it cuts the log off there (observed). So the newest confirmed block is looked for
after every outage, and when it is gone all that are kept are sent again, oldest first: the same series and time is the
same reading, so nothing is stored twice.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from twin.telemetry.influx_query import quoted, text
from twin.telemetry.spool import Kept, Spool

# What one lane keeps at most: at 22 bytes a reading some 1.5 million of them.
KEPT_BYTES = 32 << 20

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
    """The confirmed blocks of one lane, oldest first, on disk and within KEPT_BYTES."""

    def __init__(self, spool: Spool, earlier: list[Kept]) -> None:
        """earlier: blocks of this lane that another process had confirmed."""
        self._spool = spool
        self._blocks: deque[tuple[int, int]] = deque()
        self._unfit: set[int] = set()
        self._bytes = 0
        for kept in earlier:
            self._add(kept.number, spool.sent_size(kept.number))

    def __len__(self) -> int:
        return len(self._blocks)

    def add(self, number: int, size: int, *, whole: bool) -> None:
        """Keep a block just confirmed, `whole` or without some of its lines; drop the oldest beyond the limit."""
        self._spool.confirm(number)
        if not whole:
            self._unfit.add(number)
        self._add(number, size)

    def newest(self) -> tuple[int, Probe] | None:
        """The newest block by which the database can be asked whether it has forgotten, and a reading of it."""
        for number, _ in reversed(self._blocks):
            if number not in self._unfit:
                found = Probe.of(self._spool.get_sent(number) or b"")
                if found:
                    return number, found
        return None

    def unfit(self, number: int) -> None:
        """Never ask by this block again: its reading does not come back, however often it is sent."""
        self._unfit.add(number)

    def bodies(self, size: int) -> Iterator[bytes]:
        """The lines of all blocks kept, oldest first, in pieces of about this many bytes."""
        piece = bytearray()
        for number, _ in tuple(self._blocks):
            piece += self._spool.get_sent(number) or b""
            if len(piece) >= size:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)

    def _add(self, number: int, size: int) -> None:
        self._blocks.append((number, size))
        self._bytes += size
        while self._bytes > KEPT_BYTES and len(self._blocks) > 1:
            oldest, its_size = self._blocks.popleft()
            self._bytes -= its_size
            self._unfit.discard(oldest)
            self._spool.forget(oldest)
