"""The step journal: intent before every call, receipt after it, both durable, both fenced by the lease.

A row is born `planned` with its step, becomes `intent` (with time and epoch) before the call leaves, and ends `done`,
`rejected` or `skipped`; `accepted` and `unknown` are in between. Ended rows never change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from recovery import audit, guards, lease
from recovery.approve import AUTHOR
from recovery.guards import YES, Touch, Verdict, no
from recovery.ledger import Ledger, move
from recovery.rows import UNRESOLVED, Call, PlanRow, Purpose, StepRow, StepStatus, read_steps

Check = Callable[[sqlite3.Connection], Verdict]


def key_of(plan: str, no_: int, part: int = 0, undo: int = 0) -> str:
    """The name of a call for ever: plan id and step number, then the part beyond the first, then the undo attempt."""
    return f"{plan}:{no_}" + (f".{part}" if part else "") + (f":undo{undo}" if undo else "")


def intend(
    ledger: Ledger,
    row: PlanRow,
    rows: Sequence[StepRow],
    now_ms: int,
    epoch: int,
    check: Check,
) -> Verdict:
    """Make the first of `rows` an intent and the others planned, if `check` agrees; an approved plan starts with it.

    Everything is one transaction: guards, state, budget, intent and audit commit together or not at all.
    """
    with ledger.transaction() as db:
        verdict = _mine(db, epoch)
        verdict = check(db) if verdict.ok else verdict
        if verdict.ok and row.state == "approved":
            verdict = move(db, row.id, "executing", AUTHOR, "first step", now_ms, version=row.version)
        if not verdict.ok:
            return verdict
        for one in rows:
            _insert(db, one)
        _to_intent(db, rows[0].key, rows[0].call, now_ms, epoch)
        audit.append(db, now_ms, AUTHOR, "intent", row.id, detail=_words(rows[0], epoch))
    return YES


def intend_again(ledger: Ledger, row: StepRow, now_ms: int, epoch: int, check: Check) -> Verdict:
    """Make a planned row, or one whose call never arrived, an intent; the number of sends grows."""
    with ledger.transaction() as db:
        verdict = _mine(db, epoch)
        verdict = check(db) if verdict.ok else verdict
        if verdict.ok:
            _to_intent(db, row.key, row.call, now_ms, epoch)
            audit.append(db, now_ms, AUTHOR, "intent", row.plan, detail=_words(row, epoch))
        return verdict


def record(ledger: Ledger, row: StepRow, status: StepStatus, detail: str, now_ms: int, epoch: int) -> Verdict:
    """Write down what became of a call. Repeating what is written changes nothing; an ended row is never changed."""
    with ledger.transaction() as db:
        verdict = _mine(db, epoch)
        if not verdict.ok:
            return verdict
        found = read_steps(db, "key = ?", (row.key,))
        if not found or found[0].status not in UNRESOLVED:
            return no(f"{row.key} is not open")
        if (found[0].status, found[0].detail) == (status, detail):
            return YES
        db.execute(
            "UPDATE steps SET status = ?, detail = ?, receipt_ms = ? WHERE key = ?", (status, detail, now_ms, row.key)
        )
        audit.append(db, now_ms, AUTHOR, f"step {status}", row.plan, detail=f"{row.key} {detail}")
    return YES


def spent(db: sqlite3.Connection, since_ms: int, but: str) -> list[Touch]:
    """What calls since then touched or may have touched, one key left out; what was surely refused does not count."""
    where = "purpose = 'do' AND intent_ms > ? AND status NOT IN ('planned', 'rejected', 'skipped')"
    rows = read_steps(db, where, (since_ms,))
    return [row.call.touch for row in rows if row.key != but and row.call.verb not in ("uncordon", "uncap")]


def reserved(db: sqlite3.Connection, hall: str, but: str) -> int:
    """Nodes of a hall promised to calls whose arrival is not known yet, one key left out."""
    rows = read_steps(db, "status IN ('intent', 'unknown') AND key != ?", (but,))
    return sum(row.call.landing_nodes for row in rows if row.call.landing == hall)


def undo_row(row: StepRow, call: Call, attempt: int) -> StepRow:
    """The row that takes `row` back, by attempt number from 1."""
    key = key_of(row.plan, row.no, row.part, attempt)
    return StepRow(row.plan, row.no, row.part, key, "undo", call, "planned")


def do_rows(plan: str, no_: int, calls: Sequence[Call]) -> list[StepRow]:
    """The rows of one step, a call each."""
    purpose: Purpose = "do"
    return [StepRow(plan, no_, i, key_of(plan, no_, i), purpose, call, "planned") for i, call in enumerate(calls)]


def _mine(db: sqlite3.Connection, epoch: int) -> Verdict:
    return guards.fencing(epoch, lease.current(db))


def _insert(db: sqlite3.Connection, row: StepRow) -> None:
    db.execute(
        "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, 'planned', '', NULL, NULL, NULL, 0)",
        (row.plan, row.no, row.part, row.key, row.purpose, row.call.to_json()),
    )


def _to_intent(db: sqlite3.Connection, key: str, call: Call, now_ms: int, epoch: int) -> None:
    db.execute(
        "UPDATE steps SET status = 'intent', call = ?, intent_ms = ?, epoch = ?, sends = sends + 1 WHERE key = ?",
        (call.to_json(), now_ms, epoch, key),
    )


def _words(row: StepRow, epoch: int) -> str:
    return f"{row.key} {row.call.verb} on {len(row.call.nodes or row.call.components)} components, epoch {epoch}"
