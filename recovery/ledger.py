"""The ledger: plans, decisions, steps and the audit in one SQLite file that outlives every process.

Each change is one transaction that checks the state it starts from and writes its audit row; refusals are written too.
A change returns a Verdict; an unusable file raises StoreUnavailable. No clock is read: `now_ms` (Unix ms) is passed in.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from plant.actions import DO_NOTHING, Plan
from plant.errors import PlanRejected, StoreUnavailable
from recovery import approve, audit, guards
from recovery.approve import AUTHOR, Autonomy, Request
from recovery.audit import AuditRow
from recovery.guards import YES, Verdict, no
from recovery.rows import (
    LEDGER_MIGRATIONS,
    LEDGER_SCHEMA,
    TABLES,
    DecisionRow,
    PlanRow,
    StepRow,
    read_decisions,
    read_meta,
    read_plans,
    read_steps,
)
from recovery.states import ACTIVE, EDGES, OPEN, PENDING, PlanState
from twin.telemetry.schema import bring_up

T = TypeVar("T")


class Ledger:
    """One open ledger file, safe to share between threads; several processes may each open their own."""

    def __init__(self, path: str | Path, *, autonomy: Autonomy = "propose", busy_s: float = 5.0) -> None:
        self.path, self.autonomy = Path(path), autonomy
        self._lock = threading.RLock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=busy_s)
            self._db.execute("PRAGMA journal_mode=WAL")
            # FULL: an intent or approval must survive power loss, not only a crash; it costs a fraction of a ms
            self._db.execute("PRAGMA synchronous=FULL")
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error
        self._prepare()

    def _prepare(self) -> None:
        with self.transaction() as db:
            if db.execute("SELECT name FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
                for statement in TABLES:
                    db.execute(statement)
                db.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(LEDGER_SCHEMA),))
        try:
            bring_up(
                self._db,
                self.path,
                version=_version,
                set_version="UPDATE meta SET value = ? WHERE name = 'schema_version'",
                steps=LEDGER_MIGRATIONS,
                to=LEDGER_SCHEMA,
                what="ledger",
            )
        except sqlite3.Error as error:
            self.close()
            raise self._unusable(error) from error
        except StoreUnavailable:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: all of it or, on any exception, nothing."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._commit()
                finally:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def _commit(self) -> None:
        self._db.execute("COMMIT")

    def _unusable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(str(self.path), f"{error}", "a readable, writable ledger", "see `foretwin doctor`")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def propose(self, plan: Plan, now_ms: int, actor: str = AUTHOR) -> Verdict:
        """Take a plan in as proposed. The same plan again changes nothing; an expired one is refused."""
        with self.transaction() as db:
            if read_plans(db, "id = ?", (plan.id,)):
                return YES
            verdict = guards.expiry(now_ms, plan.expires_ms)
            if not verdict.ok:
                return _refuse(db, now_ms, actor, "propose", plan.id, "", verdict)
            row = (plan.id, plan.label, plan.canonical, plan.cause, plan.tier, plan.created_ms, plan.expires_ms)
            db.execute(
                "INSERT INTO plans(id, label, canonical, cause, tier, state, version, created_ms, expires_ms)"
                " VALUES (?, ?, ?, ?, ?, 'proposed', 1, ?, ?)",
                row,
            )
            audit.append(db, now_ms, actor, "propose", plan.id, "", "proposed", plan.label)
        return YES

    def rehearsed(
        self, plan_id: str, rehearsal: Mapping[str, Any], rank: int, now_ms: int, actor: str = AUTHOR
    ) -> Verdict:
        """Attach the outcome of the rehearsal (finite JSON) and the rank among the candidates, 0 the best."""
        with self.transaction() as db:
            try:
                text = json.dumps(rehearsal, sort_keys=True, allow_nan=False)
            except (TypeError, ValueError) as error:
                verdict = no(f"the rehearsal is not finite JSON: {error}")
                return _refuse(db, now_ms, actor, "rehearsed", plan_id, "", verdict)
            row = _one(db, plan_id)
            if row is not None and not (verdict := guards.expiry(now_ms, row.expires_ms)).ok:
                return _refuse(db, now_ms, actor, "rehearsed", plan_id, row.state, verdict)
            db.execute(
                "UPDATE plans SET rehearsal = ?, rank = ? WHERE id = ? AND state = 'proposed'", (text, rank, plan_id)
            )
            return move(db, plan_id, "rehearsed", actor, f"rank {rank}", now_ms)

    def decide(self, plan_id: str, who: str, what: str, reason: str, now_ms: int, nonce: str = "") -> Verdict:
        """Approve or reject a plan on behalf of `who`, for a stated reason.

        `recovery.approve` holds the rules. Approval supersedes the undecided rivals on the same targets. `nonce` names
        one press of the button: it counts once.
        """
        plan_id, who, what, reason, nonce = map(audit.printable, (plan_id, who, what, reason, nonce))
        with self.transaction() as db:
            row = _one(db, plan_id)
            if row is None:
                return _refuse(db, now_ms, who, what, plan_id, "", no("no such plan"))
            approvers = tuple(one.who for one in read_decisions(db, plan_id) if one.what == "approve")
            ask = Request(
                what, who, reason, now_ms, self.autonomy, row.state, row.tier, row.expires_ms, row.hash_ok, approvers,
                _out_of_sync(row),
            )  # fmt: skip
            verdict = approve.may_decide(ask)
            if verdict.ok and what == "approve":
                verdict = guards.overlap(row.plan.targets, held_targets(db))
            once = nonce or f"{plan_id} {row.version} {len(approvers)} {who}"
            if verdict.ok and db.execute("SELECT 1 FROM decisions WHERE nonce = ?", (once,)).fetchone():
                verdict = no("already decided: this press of the button was counted")
            if not verdict.ok:
                return _refuse(db, now_ms, who, what, plan_id, row.state, verdict)
            db.execute("INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?)", (plan_id, who, what, reason, now_ms, once))
            if what == "reject":
                return move(db, plan_id, "rejected", who, reason, now_ms)
            if len(approvers) + 1 < approve.approvals_needed(row.tier):
                audit.append(db, now_ms, who, "approve 1 of 2", plan_id, row.state, row.state, reason)
                return YES
            verdict = move(db, plan_id, "approved", who, reason, now_ms)
            _supersede_rivals(db, row, now_ms)
            return verdict

    def move(
        self,
        plan_id: str,
        to: PlanState,
        actor: str,
        detail: str,
        now_ms: int,
        *,
        version: int | None = None,
        check: Callable[[sqlite3.Connection], Verdict] | None = None,
    ) -> Verdict:
        """Move a plan along an allowed edge; `version` makes it compare-and-set, `check` is asked inside."""
        with self.transaction() as db:
            verdict = YES if check is None else check(db)
            if not verdict.ok:
                row = _one(db, plan_id)
                return _refuse(db, now_ms, actor, to, plan_id, row.state if row else "", verdict)
            return move(db, plan_id, to, actor, detail, now_ms, version=version)

    def expire(self, now_ms: int) -> list[str]:
        """End every plan that was not started in time; returns their ids. Safe at any moment, in any process."""
        with self.transaction() as db:
            marks = ", ".join("?" * len(PENDING))
            late = read_plans(db, f"state IN ({marks}) AND expires_ms <= ?", (*PENDING, now_ms))
            for row in late:
                move(db, row.id, "expired", AUTHOR, "not started in time", now_ms)
            return [row.id for row in late]

    def close_failed(self, plan_id: str, who: str, reason: str, now_ms: int) -> Verdict:
        """A person states that a failed_needs_human plan is dealt with; its targets are free again."""
        plan_id, who, reason = map(audit.printable, (plan_id, who, reason))
        with self.transaction() as db:
            row = _one(db, plan_id)
            if row is None or row.state != "failed_needs_human" or row.closed_ms is not None:
                state = row.state if row else ""
                return _refuse(db, now_ms, who, "close", plan_id, state, no("nothing to close"))
            if not approve.is_person(who) or not who.strip() or not reason.strip():
                return _refuse(db, now_ms, who, "close", plan_id, row.state, no("a person and a reason are needed"))
            db.execute("UPDATE plans SET closed_ms = ?, version = version + 1 WHERE id = ?", (now_ms, plan_id))
            audit.append(db, now_ms, who, "close", plan_id, row.state, row.state, reason)
        return YES

    def note(self, plan_id: str, what: str, detail: str, now_ms: int, actor: str = AUTHOR) -> None:
        """Write an audit row about a plan, unless its newest row says the same but for its numbers."""
        with self.transaction() as db:
            last = audit.history(db, plan_id, newest=1)
            if last and last[-1].what == what and _wording(last[-1].detail) == _wording(audit.printable(detail)):
                return
            row = _one(db, plan_id)
            state = row.state if row else ""
            audit.append(db, now_ms, actor, what, plan_id, state, state, detail)

    def counts(self) -> dict[str, int]:
        """How many plans stand in each state: a glance that reads no plan."""
        return dict(self._read(lambda db: db.execute("SELECT state, COUNT(*) FROM plans GROUP BY state").fetchall()))

    def waiting(self) -> list[PlanRow]:
        """Plans that await a decision, the best first."""
        return sorted(
            self._plans("state = 'rehearsed'"), key=lambda row: (row.rank if row.rank is not None else 99, row.id)
        )

    def plan(self, plan_id: str) -> PlanRow | None:
        """One plan, or None."""
        rows = self._plans("id = ?", audit.printable(plan_id))
        return rows[0] if rows else None

    def plans(self, *states: PlanState) -> list[PlanRow]:
        """All plans, or those in the given states, oldest first."""
        return self._plans(f"state IN ({', '.join('?' * len(states))})", *states) if states else self._plans("1")

    def decisions(self, plan_id: str) -> list[DecisionRow]:
        """The decisions about a plan, oldest first."""
        return self._read(lambda db: read_decisions(db, plan_id))

    def steps(self, plan_id: str) -> list[StepRow]:
        """Every call made or intended for a plan, undo included."""
        return self._read(lambda db: read_steps(db, "plan = ?", (plan_id,)))

    def history(self, plan_id: str | None = None, newest: int | None = None) -> list[AuditRow]:
        """Audit rows of one plan or of all, in order."""
        return self._read(lambda db: audit.history(db, plan_id, newest))

    def verify(self, anchor: tuple[int, str] | None = None) -> tuple[int, bool, int | None]:
        """(rows, ok, first bad row) of the audit chain, against an anchor kept elsewhere if given."""
        return self._read(lambda db: audit.verify(db, anchor))

    def head(self) -> tuple[int, str]:
        """The anchor: number and hash of the newest audit row, to be kept outside this file."""
        return self._read(audit.head)

    def _plans(self, where: str, *args: object) -> list[PlanRow]:
        return self._read(lambda db: read_plans(db, where, args))

    def _read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                return question(self._db)
            except sqlite3.Error as error:
                raise self._unusable(error) from error


def move(
    db: sqlite3.Connection,
    plan_id: str,
    to: PlanState,
    actor: str,
    detail: str,
    now_ms: int,
    *,
    version: int | None = None,
) -> Verdict:
    """Compare-and-set inside the caller's transaction: only along an edge, only from the version looked at."""
    row = _one(db, plan_id)
    if row is None:
        return _refuse(db, now_ms, actor, to, plan_id, "", no("no such plan"))
    if to not in EDGES[row.state]:
        return _refuse(db, now_ms, actor, to, plan_id, row.state, no(f"{row.state} does not lead to {to}"))
    if version is not None and version != row.version:
        return _refuse(db, now_ms, actor, to, plan_id, row.state, no("the plan has moved meanwhile"))
    db.execute(
        "UPDATE plans SET state = ?, version = version + 1 WHERE id = ? AND state = ? AND version = ?",
        (to, plan_id, row.state, row.version),
    )
    audit.append(db, now_ms, actor, to, plan_id, row.state, to, detail)
    return YES


def held_targets(db: sqlite3.Connection, but: str = "") -> list[tuple[str, tuple[str, ...]]]:
    """(plan id, targets) of every plan that holds its targets: active ones, and failed ones nobody closed yet."""
    marks = ", ".join("?" * len(ACTIVE))
    where = f"(state IN ({marks}) OR (state = 'failed_needs_human' AND closed_ms IS NULL)) AND id != ?"
    return [(row.id, _targets(row)) for row in read_plans(db, where, (*ACTIVE, but))]


def _wording(detail: str) -> str:
    return re.sub(r"\d+", "#", detail)


def _targets(row: PlanRow) -> tuple[str, ...]:
    try:
        return row.plan.targets
    except PlanRejected:  # a damaged plan still holds what it was about, and must not stop the others
        return (row.cause,)


def _supersede_rivals(db: sqlite3.Connection, chosen: PlanRow, now_ms: int) -> None:
    for rival in read_plans(db, f"state IN ({', '.join('?' * len(OPEN))}) AND id != ?", (*OPEN, chosen.id)):
        if not guards.overlap(_targets(rival), [(chosen.id, chosen.plan.targets)]).ok:
            move(db, rival.id, "superseded", AUTHOR, f"{chosen.id} was approved", now_ms)


def _one(db: sqlite3.Connection, plan_id: str) -> PlanRow | None:
    rows = read_plans(db, "id = ?", (plan_id,))
    return rows[0] if rows else None


def _out_of_sync(row: PlanRow) -> str:
    """Why the rehearsal of a plan that acts says little: the twin was out of sync. Doing nothing needs no twin."""
    shown = row.rehearsal or {}
    if shown.get("in_sync") is not False or row.label == DO_NOTHING:
        return ""
    return str(shown.get("sync_reason") or "no reason was written down")


def _refuse(
    db: sqlite3.Connection, now_ms: int, actor: str, what: str, plan: str, state: str, verdict: Verdict
) -> Verdict:
    detail = f"{what}: {'; '.join(verdict.reasons)}"
    audit.append(db, now_ms, actor[:200], "refused", plan[:64], state, state, detail[:2000])
    return verdict


def _version(db: sqlite3.Connection) -> int | None:
    found = read_meta(db, "schema_version")
    return int(found) if found is not None and found.isdigit() else None
