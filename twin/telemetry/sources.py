"""What a source of telemetry is: something that is asked again and again and says what is new in its own words.

The laws that every source keeps, and one suite of tests checks:
- Nothing lost, nothing doubled: what is there once comes out once, also when an answer fails on the way, also for one
  that goes on from the `mark` of an earlier one.
- A row that cannot be read costs itself and is told with its place; it never ends the reading.
- What does not answer, answers too late, too long or with something else raises SourceUnavailable in words.
- Every call ends: waiting is bounded by the source's own timeouts. `close` may be called twice.
A source knows no threads, no store and no mapping; `twin.telemetry.feeder` asks it.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from twin.telemetry.samples import Read

Mark = dict[str, Any]
"""Where a source stands, as plain JSON; an empty one is the beginning."""


@runtime_checkable
class Source(Protocol):
    """One thing that is asked for telemetry."""

    name: str
    kind: str

    def poll(self, now_ms: int) -> Read:
        """What is new at `now_ms` (Unix). Raises SourceUnavailable; then nothing is lost for the next call."""

    def mark(self) -> Mark:
        """Where the source stands after what was polled."""

    def resume(self, mark: Mark) -> None:
        """Go on behind what was polled when the mark was taken; a mark that no longer fits is taken as none."""

    def close(self) -> None:
        """Let go of files and connections."""
