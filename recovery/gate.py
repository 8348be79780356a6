"""The gate before every call: which guards are asked, with which numbers, inside which transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from plant.actions import Action
from recovery import approve, breaker, guards, journal, lease
from recovery.calls import View
from recovery.guards import Verdict
from recovery.ledger import held_targets
from recovery.rows import Call, read_decisions
from recovery.turn import Turn

Checks = dict[str, Callable[[], Verdict]]


def to_send(turn: Turn, key: str, call: Call, action: Action, view: View) -> journal.Check:
    """The guards of one call, to be asked inside the transaction that writes its intent."""

    def check(db: sqlite3.Connection) -> Verdict:
        checks = _standing(turn, db)
        checks["freshness"] = lambda: guards.freshness(action.scope, turn.facts.age_s, turn.do.limits.fresh_s)
        checks["budget"] = lambda: _budget(turn, db, key, call, view)
        if call.landing:
            checks["landing"] = lambda: _landing(db, key, call, view)
        return guards.for_return(checks) if action.kind == "ordered_return" else guards.every(checks)

    return check


def to_undo(turn: Turn) -> journal.Check:
    """What an undo has to pass."""
    return lambda db: guards.for_undo(_standing(turn, db))


def to_start(turn: Turn) -> Verdict:
    """The guards of a plan without steps."""
    with turn.do.ledger.transaction() as db:
        return guards.every(_standing(turn, db))


def _standing(turn: Turn, db: sqlite3.Connection) -> Checks:
    """The guards that do not depend on the call."""
    row, do = turn.row, turn.do
    checks: Checks = {
        "fencing": lambda: guards.fencing(do.epoch, lease.current(db)),
        "paused": lambda: guards.paused(do.pause_path),
        "breaker": lambda: guards.breaker(breaker.open_reason(db)),
        "approval": lambda: guards.approval(
            approve.approvals_needed(row.tier), _approvers(turn, db), row.hash_ok and row.tier == row.plan.tier
        ),
        "overlap": lambda: guards.overlap(turn.plan.targets, held_targets(db, but=row.id)),
    }
    # an approval is used up by the start; from then on the steps have their own deadlines
    if row.state == "approved":
        checks["expiry"] = lambda: guards.expiry(turn.now_ms, row.expires_ms)
    return checks


def _approvers(turn: Turn, db: sqlite3.Connection) -> list[str]:
    return [one.who for one in read_decisions(db, turn.row.id) if one.what == "approve"]


def _budget(turn: Turn, db: sqlite3.Connection, key: str, call: Call, view: View) -> Verdict:
    since_ms = turn.now_ms - round(turn.do.limits.window_s * 1000)
    by_person = approve.by_person(_approvers(turn, db))
    return guards.budget(call.touch, journal.spent(db, since_ms, key), len(view.nodes), turn.do.limits, by_person)


def _landing(db: sqlite3.Connection, key: str, call: Call, view: View) -> Verdict:
    free, promised = view.free_in(call.landing), journal.reserved(db, call.landing, key)
    return guards.landing(call.landing_nodes, free, promised, call.landing)
