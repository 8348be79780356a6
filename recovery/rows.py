"""Rows of the ledger as values: plans, decisions, steps, and the tables that hold them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from plant.actions import Plan, plan_id
from recovery import audit
from recovery.guards import Touch
from recovery.states import PlanState
from twin.telemetry.schema import Steps

LEDGER_SCHEMA = 1
# What leads to each version from the one before; none yet.
LEDGER_MIGRATIONS: Steps = {}
TABLES = (
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE plans(id TEXT PRIMARY KEY, label TEXT NOT NULL, canonical TEXT NOT NULL, cause TEXT NOT NULL,
    tier INTEGER NOT NULL, state TEXT NOT NULL, version INTEGER NOT NULL, created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL, rehearsal TEXT, rank INTEGER, closed_ms INTEGER)""",
    "CREATE INDEX plans_state ON plans(state)",
    """CREATE TABLE decisions(plan TEXT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, reason TEXT NOT NULL,
    at_ms INTEGER NOT NULL, nonce TEXT NOT NULL UNIQUE)""",
    "CREATE INDEX decisions_plan ON decisions(plan)",
    """CREATE TABLE steps(plan TEXT NOT NULL, no INTEGER NOT NULL, part INTEGER NOT NULL, key TEXT PRIMARY KEY,
    purpose TEXT NOT NULL, call TEXT NOT NULL, status TEXT NOT NULL, detail TEXT NOT NULL, intent_ms INTEGER,
    receipt_ms INTEGER, epoch INTEGER, sends INTEGER NOT NULL)""",
    "CREATE INDEX steps_plan ON steps(plan, no, part)",
    "CREATE INDEX steps_intent ON steps(intent_ms)",
    "CREATE TABLE lease(epoch INTEGER PRIMARY KEY, holder TEXT NOT NULL, heartbeat_ms INTEGER NOT NULL)",
    """CREATE TABLE work_orders(key TEXT PRIMARY KEY, content TEXT NOT NULL, status TEXT NOT NULL, detail TEXT NOT NULL,
    at_ms INTEGER NOT NULL, who TEXT NOT NULL)""",
    *audit.SCHEMA,
)

StepStatus = Literal["planned", "intent", "accepted", "unknown", "done", "rejected", "skipped"]
UNRESOLVED: tuple[StepStatus, ...] = ("intent", "accepted", "unknown")
Purpose = Literal["do", "undo"]


@dataclass(frozen=True)
class PlanRow:
    """A plan with where it stands. Times are Unix milliseconds; rank 0 is the best candidate."""

    id: str
    label: str
    canonical: str
    cause: str
    tier: int
    state: PlanState
    version: int
    created_ms: int
    expires_ms: int
    rehearsal: dict[str, Any] | None
    rank: int | None
    closed_ms: int | None

    @cached_property
    def plan(self) -> Plan:
        """The plan itself; raises PlanRejected if the stored text is no plan."""
        return Plan.from_json(self.canonical)

    @property
    def hash_ok(self) -> bool:
        """Is the stored text still the one the id names?"""
        return plan_id(self.canonical) == self.id


@dataclass(frozen=True)
class DecisionRow:
    """Who decided what about a plan, and why."""

    plan: str
    who: str
    what: str
    reason: str
    at_ms: int
    nonce: str


@dataclass(frozen=True)
class Call:
    """One call to a port, fully resolved: what is sent again after a crash is exactly this.

    `landing` is the hall that receives `landing_nodes` nodes of jobs, `homes` where each moved job came from.
    """

    port: Literal["scheduler", "plant", "none"]
    verb: str
    args: dict[str, Any]
    nodes: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    landing: str = ""
    landing_nodes: int = 0
    homes: tuple[tuple[str, str], ...] = ()

    @property
    def touch(self) -> Touch:
        """What counts against the blast-radius budget."""
        return Touch(frozenset(self.nodes), frozenset(self.domains), frozenset(self.components))

    def to_json(self) -> str:
        """Compact JSON; the inverse is `from_json`."""
        return json.dumps(self.__dict__, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Call:
        """The inverse of `to_json`."""
        data = json.loads(text)
        data["homes"] = tuple((job, hall) for job, hall in data["homes"])
        for name in ("nodes", "domains", "components"):
            data[name] = tuple(data[name])
        return cls(**data)


@dataclass(frozen=True)
class StepRow:
    """One call of one step: intent, number of sends, and what became of it. `part` numbers the calls of a step."""

    plan: str
    no: int
    part: int
    key: str
    purpose: Purpose
    call: Call
    status: StepStatus
    detail: str = ""
    intent_ms: int | None = None
    receipt_ms: int | None = None
    epoch: int | None = None
    sends: int = 0


def read_plans(db: sqlite3.Connection, where: str = "1", args: Sequence[object] = ()) -> list[PlanRow]:
    """Plan rows by a condition written in this package, in order of creation."""
    sql = (
        "SELECT id, label, canonical, cause, tier, state, version, created_ms, expires_ms, rehearsal, rank, closed_ms"
        f" FROM plans WHERE {where} ORDER BY created_ms, rank IS NULL, rank, id"
    )
    return [_plan_row(*row) for row in db.execute(sql, args)]


def read_decisions(db: sqlite3.Connection, plan: str) -> list[DecisionRow]:
    """The decisions about one plan, oldest first."""
    sql = "SELECT plan, who, what, reason, at_ms, nonce FROM decisions WHERE plan = ? ORDER BY at_ms, rowid"
    return [DecisionRow(*row) for row in db.execute(sql, (plan,))]


def read_steps(db: sqlite3.Connection, where: str, args: Sequence[object]) -> list[StepRow]:
    """Step rows by a condition written in this package, in the order of the plan."""
    sql = (
        "SELECT plan, no, part, key, purpose, call, status, detail, intent_ms, receipt_ms, epoch, sends FROM steps"
        f" WHERE {where} ORDER BY plan, no, part, rowid"
    )
    return [_step_row(*row) for row in db.execute(sql, args)]


def _plan_row(*row: Any) -> PlanRow:
    values = list(row)
    values[9] = json.loads(row[9]) if row[9] else None
    return PlanRow(*values)


def _step_row(*row: Any) -> StepRow:
    values = list(row)
    values[5] = Call.from_json(row[5])
    return StepRow(*values)


def read_meta(db: sqlite3.Connection, name: str) -> str | None:
    """One value of the meta table."""
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])
