"""How a source stands: its state in one word, the age of its newest sample, what came of it, its last error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twin.telemetry.samples import BadRow

AHEAD_MS = 60_000
"""A sample later than now by more than this speaks of a clock that is ahead."""
LEAST_SILENT_S = 120.0
LEAST_HANGING_S = 30.0
SILENT_INTERVALS = 4.0


@dataclass
class Standing:
    """All that is known of one source. Instants are Unix ms of the caller's clock.

    States: `starting` before the first answer, `catching up` while more is to be had at once, `ok`, `failing` (the last
    try failed), `hanging` (asked, and no answer for long), `silent` (it answers, but its newest sample is old),
    `clock ahead` (its samples lie in the future).
    """

    name: str
    kind: str
    interval_s: float
    newest_ms: int | None = None
    ahead_ms: int = 0
    asked_ms: int | None = None
    answered_ms: int | None = None
    failures: int = 0
    last_error: str = ""
    last_error_ms: int | None = None
    accepted: int = 0
    refused: int = 0
    unmatched: int = 0
    unreadable: int = 0
    more: bool = False

    def asked(self, now_ms: int) -> None:
        """A question is on its way."""
        self.asked_ms = now_ms

    def answered(
        self, now_ms: int, newest_ms: int | None, ahead_ms: int, bad: Sequence[BadRow], more: bool = False
    ) -> None:
        """It answered; newest_ms of its samples (None without any), how far its latest one is ahead of now."""
        self.more = more
        self.asked_ms, self.answered_ms, self.failures, self.ahead_ms = None, now_ms, 0, ahead_ms
        if newest_ms is not None:
            self.newest_ms = max(newest_ms, self.newest_ms or newest_ms)
        self.unreadable += len(bad)
        if bad:
            self.last_error, self.last_error_ms = f"{bad[0]}{_others(len(bad) - 1)}", now_ms

    def failed(self, why: str, now_ms: int) -> None:
        """It did not."""
        self.asked_ms = None
        self.failures += 1
        self.last_error, self.last_error_ms = why, now_ms

    def count(self, accepted: int, refused: int, unmatched: int) -> None:
        """What came of a reading once it was mapped and judged."""
        self.accepted += accepted
        self.refused += refused
        self.unmatched += unmatched

    def age_s(self, now_ms: int) -> float | None:
        """Age of the newest sample [s]; None before the first."""
        return None if self.newest_ms is None else max(0.0, (now_ms - self.newest_ms) / 1000.0)

    def state(self, now_ms: int) -> str:
        """The state in one word or two."""
        hanging_s = max(LEAST_HANGING_S, 2.0 * self.interval_s)
        if self.asked_ms is not None and now_ms - self.asked_ms > hanging_s * 1000.0:
            return "hanging"
        if self.failures:
            return "failing"
        if self.answered_ms is None:
            return "starting"
        if self.more:
            return "catching up"
        if self.ahead_ms > AHEAD_MS:
            return "clock ahead"
        age_s = self.age_s(now_ms)
        silent = age_s is None or age_s > max(LEAST_SILENT_S, SILENT_INTERVALS * self.interval_s)
        return "silent" if silent else "ok"

    def row(self, now_ms: int, waiting: int = 0) -> dict[str, object]:
        """All of it as plain JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "state": self.state(now_ms),
            "age_s": self.age_s(now_ms),
            "ahead_s": round(self.ahead_ms / 1000.0, 3) if self.ahead_ms > AHEAD_MS else 0.0,
            "last_answer_ms": self.answered_ms,
            "last_error": self.last_error,
            "last_error_ms": self.last_error_ms,
            "failures": self.failures,
            "readings": self.accepted,
            "refused": self.refused,
            "unreadable": self.unreadable,
            "unmatched": self.unmatched,
            "waiting": waiting,
        }


def _others(n: int) -> str:
    return f", and {n} more" if n else ""
