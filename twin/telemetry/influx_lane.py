"""A queue with one sender: blocks leave in the order in which they came, and only once the database has them.

What fails is tried again, ever more rarely, for as long as it takes. Nothing overtakes it, so a correction can never be
overwritten by what it corrected.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twin.telemetry.spool import Kept

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
# While blocks queue up, small ones travel together: at most so many lines' bytes and blocks in one request.
GROUP_BYTES = 1 << 20
GROUP_BLOCKS = 64
# A block whose bytes are not at hand counts as this many; they are read from the spool when its turn comes.
UNREAD_BYTES = 256 << 10


@dataclass(slots=True)
class Waiting:
    """A block of the spool on its way, with its lines where they are still in memory."""

    kept: Kept
    data: bytes | None


class Lane:
    """One sender thread. `deliver` gets the oldest blocks and answers None when the database has them all,
    else for how many seconds the database asked to be left alone (0 where it did not); it never raises.
    """

    def __init__(self, name: str, deliver: Callable[[Sequence[Waiting]], float | None]) -> None:
        self._deliver = deliver
        self._change = threading.Condition()
        self._queue: deque[Waiting] = deque()
        self._stopping = self._hurry = False
        self._begun = self._failed = self._failures = 0
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def add(self, block: Waiting) -> None:
        """Queue a block behind all others."""
        with self._change:
            self._queue.append(block)
            self._change.notify_all()

    def __len__(self) -> int:
        return len(self._queue)

    def hurry(self) -> int:
        """Try at once instead of after the pause; the number of attempts begun so far."""
        with self._change:
            self._hurry = True
            self._change.notify_all()
            return self._begun

    def settled(self, begun: int, timeout_s: float) -> bool:
        """Wait until nothing is queued, or until an attempt after the first `begun` has failed; True if all is sent."""
        with self._change:
            self._change.wait_for(lambda: not self._queue or self._failed > begun or self._stopping, timeout_s)
            return not self._queue

    def stop(self, timeout_s: float) -> None:
        """End the thread after the request under way; what is queued stays in the spool."""
        with self._change:
            self._stopping = True
            self._change.notify_all()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._queue or self._stopping)
                if self._stopping:
                    return
                group = self._group()
                self._begun += 1
                attempt, self._hurry = self._begun, False
            asked_s = self._deliver(group)
            with self._change:
                if asked_s is None:
                    for _ in group:
                        self._queue.popleft()
                    self._failures = 0
                    self._change.notify_all()
                    continue
                self._failed, self._failures = attempt, self._failures + 1
                self._change.notify_all()
                pause_s = max(asked_s, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10)))
                self._change.wait_for(lambda: self._stopping or self._hurry, pause_s)

    def _group(self) -> list[Waiting]:
        group: list[Waiting] = []
        size = 0
        for block in self._queue:
            size += UNREAD_BYTES if block.data is None else len(block.data)
            if group and (size > GROUP_BYTES or len(group) >= GROUP_BLOCKS):
                break
            group.append(block)
        return group
