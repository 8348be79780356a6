"""Blocks that the database has confirmed, kept for a while in case it forgets them.

It can: InfluxDB 1.6 whose disk was full leaves a torn entry in its log; started again it takes and confirms writes
behind the tear, and started once more it cuts the log off there (observed). What is lost so begins with the first block
confirmed after a start, and ends where the log went on in a new file. So the first request after each possible start
carries a *mark* of ours, a point that no other request has: where a mark is gone all is sent again from there on,
oldest first, corrections after what they corrected. The same series and time is the same reading: nothing is stored
twice. A block's own readings would prove less: a write without an answer may have been kept before the start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from twin.telemetry.probe import IsThere, Probe
from twin.telemetry.spool import Kept, Spool

# What one lane keeps at most: at 22 bytes a reading some 1.5 million of them.
KEPT_BYTES = 32 << 20
# And at most so many files, a day and a half of a small site's blocks every 15 s.
KEPT_BLOCKS = 8_192
# Of what an earlier process left behind about so many blocks are looked for, and its marks.
LOOKED_FOR = 16
# The newest block by which one can ask is among so many.
NEWEST_OF = 64


class Confirmed:
    """The confirmed blocks of one lane, oldest first, on disk, within KEPT_BYTES and KEPT_BLOCKS."""

    def __init__(self, spool: Spool, earlier: list[Kept]) -> None:
        """earlier: blocks of this lane that another process had confirmed; some of them are looked for, evenly."""
        self._spool = spool
        self._blocks: deque[tuple[int, int]] = deque()
        self._bytes = 0
        # Where there is no mark of ours (None) the block's own first value is asked for.
        self._marks: dict[int, Probe | None] = dict.fromkeys(
            kept.number for kept in earlier[:: max(1, len(earlier) // LOOKED_FOR)]
        )
        self._marks |= {kept.number: mark for kept in earlier if (mark := Probe.of(spool.mark(kept.number)))}
        self._unfit: set[int] = set()
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

    def mark(self, number: int, line: bytes) -> None:
        """This line went with the block, before its own: by it one can ask for the block from now on."""
        self._marks[number] = Probe.of(line)
        self._spool.put_mark(number, line)

    def first_gone(self, is_there: IsThere) -> int | None:
        """The number of the first block that the database has forgotten; None when those looked for are there."""
        numbers = [number for number, _ in self._blocks]
        newest = self._newest(numbers)
        present = -1
        for i in [k for k, number in enumerate(numbers) if number in self._marks or k == newest]:
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

    def has_newest(self, is_there: IsThere) -> bool:
        """Whether the newest block by which one can ask is there; True without one."""
        numbers = [number for number, _ in self._blocks]
        newest = self._newest(numbers)
        return newest is None or self._is_there(numbers[newest], is_there, unknown=True)

    def sending_again(self, first: int | None) -> None:
        """From this block on all is being sent again, a later process too must finish it; None: it is done."""
        self._spool.set_open({number for number, _ in self._blocks}, first)

    def to_send_again(self) -> int | None:
        """The block from which on an earlier process was sending all again when it ended."""
        mine = {number for number, _ in self._blocks}
        return min((number for number in self._spool.opened() if number in mine), default=None)

    def unmark(self, first: int) -> None:
        """Forget the marks from this block on: what they went with is sent again."""
        for number in [number for number in self._marks if number >= first]:
            self._forget_mark(number)

    def unfit(self, number: int) -> None:
        """Never ask by this block again: its readings do not come back, however often they are sent."""
        self._unfit.add(number)
        self._forget_mark(number)

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

    def probe(self, number: int) -> Probe | None:
        """What one can ask by, of a block that is kept; None when the database did not take all of it."""
        return None if number in self._unfit else Probe.of(self._spool.get_sent(number) or b"")

    def _newest(self, numbers: list[int]) -> int | None:
        """Where the newest block stands by which one can ask."""
        latest = range(len(numbers) - 1, max(-1, len(numbers) - 1 - NEWEST_OF), -1)
        return next((k for k in latest if self._marks.get(numbers[k]) or self.probe(numbers[k])), None)

    def _is_there(self, number: int, is_there: IsThere, *, unknown: bool) -> bool:
        """Whether a block is there; `unknown` where one cannot ask by it."""
        probe = self._marks.get(number) or self.probe(number)
        return unknown if probe is None else is_there(probe)

    def _add(self, number: int, size: int) -> None:
        self._blocks.append((number, size))
        self._bytes += size
        while (self._bytes > KEPT_BYTES or len(self._blocks) > KEPT_BLOCKS) and len(self._blocks) > 1:
            oldest, its_size = self._blocks.popleft()
            self._bytes -= its_size
            self._unfit.discard(oldest)
            # The mark of a life that goes on stands for what is left of it.
            if mark := self._marks.pop(oldest, None):
                self._marks.setdefault(self._blocks[0][0], mark)
            self._spool.forget(oldest)

    def _forget_mark(self, number: int) -> None:
        if self._marks.pop(number, None):
            self._spool.put_mark(number, b"")
