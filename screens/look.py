"""One look at the state on disk: what the worker has posted and what the ledger holds, read together, changing nothing.

Everything the screens show comes from a Look. A file that is absent or unreadable is a trouble in words, never an
exception: the rest of the page still works.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plant.errors import ForetwinError
from recovery.audit import AuditRow
from recovery.ledger import Ledger
from recovery.rows import DecisionRow, PlanRow, StepRow
from twin.board import Board
from twin.telemetry.sqlite_store import SqliteStore
from twin.telemetry.store import Batch

KEYS = ("status", "risks", "alert", "trend", "sync", "outcome", "sources")
TICK_S = 15.0
"""How often the worker looks at the site, in site time; fresh and stale are multiples of it."""
DEAD_S = 60.0
"""A worker that has said nothing for this long (wall time) is taken for dead."""


@dataclass(frozen=True)
class Record:
    """What the ledger knows of the plans on the screen: decisions, calls and audit rows by plan id."""

    decisions: dict[str, tuple[DecisionRow, ...]] = field(default_factory=dict)
    steps: dict[str, tuple[StepRow, ...]] = field(default_factory=dict)
    history: dict[str, tuple[AuditRow, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """The board's postings (None: never posted), the plans of the incident at hand, and what could not be read.

    `wall_ms` is the wall clock at the moment of looking [Unix ms].
    """

    wall_ms: int
    status: dict[str, Any] | None = None
    risks: Sequence[dict[str, Any]] = ()
    alert: dict[str, Any] | None = None
    trend: dict[str, Any] | None = None
    sync: dict[str, Any] | None = None
    outcome: dict[str, Any] | None = None
    sources: Sequence[dict[str, Any]] = ()
    plans: tuple[PlanRow, ...] = ()
    record: Record = field(default_factory=Record)
    troubles: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        """'demo' (an emulated site) or 'live'; '' while no worker has spoken."""
        return str((self.status or {}).get("mode", ""))

    @property
    def now_ms(self) -> int | None:
        """Site time [Unix ms]: the worker's in a demo, never behind the wall clock on a live site; None if unknown."""
        posted = (self.status or {}).get("now_ms")
        if not isinstance(posted, int | float):
            return None
        return max(int(posted), self.wall_ms) if self.mode == "live" else int(posted)

    @property
    def silent_s(self) -> float | None:
        """Wall seconds since the worker last spoke, None if it never did."""
        beat_ms = (self.status or {}).get("worker_ms")
        return (self.wall_ms - beat_ms) / 1000 if isinstance(beat_ms, int | float) else None

    @property
    def ended(self) -> bool:
        """The demo's story is over; a silent worker is then as it should be."""
        return (self.status or {}).get("clock") == "ended"

    @property
    def dead(self) -> bool:
        """The worker has posted before and does not any more."""
        return self.status is not None and not self.ended and (self.silent_s is None or self.silent_s > DEAD_S)

    @property
    def age_s(self) -> float | None:
        """Age of the newest reading [s of site time], None if unknown."""
        posted = (self.status or {}).get("age_s")
        if not isinstance(posted, int | float):
            return None
        behind_ms = (self.now_ms or 0) - (self.status or {}).get("now_ms", 0)
        return float(posted) + behind_ms / 1000

    @property
    def freshness(self) -> str:
        """'live' below two ticks, 'late' below five, else 'stale'."""
        if self.age_s is None:
            return "stale"
        return "live" if self.age_s < 2 * TICK_S else "late" if self.age_s < 5 * TICK_S else "stale"

    @property
    def actionable(self) -> bool:
        """May anybody act on the scores shown? Not on stale ones and not on those of a dead worker."""
        return self.status is not None and not self.dead and self.freshness != "stale"


def home() -> Path:
    """The folder of all state: FORETWIN_HOME, or .foretwin where the program was started."""
    return Path(os.environ.get("FORETWIN_HOME") or ".foretwin")


def look(folder: Path, wall_ms: int) -> Look:
    """Read board and ledger once. Never raises for a file that is absent, locked or damaged."""
    posted, troubles = _posted(folder / "telemetry.sqlite")
    plans, record, more = _plans(folder / "ledger.sqlite", posted.get("alert"))
    kept = {key: value for key, value in posted.items() if value is not None}
    return Look(wall_ms, **kept, plans=plans, record=record, troubles=troubles + more)


def readings(folder: Path, component: str, start_ms: int, end_ms: int) -> Batch:
    """All readings of one component in [start_ms, end_ms), empty where there is no telemetry file."""
    try:
        store = SqliteStore(folder / "telemetry.sqlite", read_only=True)
    except ForetwinError:
        return Batch.empty()
    try:
        return store.read([component], None, start_ms, end_ms)
    finally:
        store.close()


def _posted(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    if not path.is_file():
        return {}, ()
    try:
        board = Board(path, read_only=True)
        try:
            found = {key: board.get_json(key) for key in KEYS}
        finally:
            board.close()
    except ForetwinError as error:
        return {}, (str(error),)
    return {key: posting.value for key, posting in found.items() if posting is not None}, ()


def _plans(path: Path, alert: dict[str, Any] | None) -> tuple[tuple[PlanRow, ...], Record, tuple[str, ...]]:
    if not path.is_file():
        return (), Record(), ()
    try:
        ledger = Ledger(path)
        try:
            rows = _at_hand(ledger, alert)
            ids = [row.id for row in rows]
            record = Record(
                {one: tuple(ledger.decisions(one)) for one in ids},
                {one: tuple(ledger.steps(one)) for one in ids},
                {one: tuple(ledger.history(one)) for one in ids},
            )
        finally:
            ledger.close()
    except ForetwinError as error:
        return (), Record(), (str(error),)
    return rows, record, ()


def _at_hand(ledger: Ledger, alert: dict[str, Any] | None) -> tuple[PlanRow, ...]:
    """The plans of the alert; without one, those proposed together with the newest plan."""
    named = (alert or {}).get("plans") or ()
    if alert:
        return tuple(row for row in map(ledger.plan, named) if row is not None)
    rows = ledger.plans()
    if not rows:
        return ()
    newest = rows[-1]
    return tuple(row for row in rows if (row.cause, row.created_ms) == (newest.cause, newest.created_ms))
