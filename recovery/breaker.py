"""The circuit breaker: trips by itself, stays open over restarts, closes only by a person's hand."""

from __future__ import annotations

import sqlite3

from recovery import audit
from recovery.approve import AUTHOR, is_person
from recovery.guards import YES, Verdict, no
from recovery.ledger import Ledger
from recovery.rows import read_meta


def trip(ledger: Ledger, reason: str, now_ms: int, actor: str = AUTHOR) -> None:
    """Open the breaker; a second trip keeps the first reason."""
    with ledger.transaction() as db:
        if open_reason(db) is None:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('breaker', ?)", (reason or "no reason given",))
            audit.append(db, now_ms, actor, "breaker open", detail=reason)


def reset(ledger: Ledger, who: str, reason: str, now_ms: int) -> Verdict:
    """Close the breaker. Takes a person and a reason; events of the time it was open are not replayed."""
    with ledger.transaction() as db:
        if not who.strip() or not is_person(who) or not reason.strip():
            verdict = no("only a person with a reason resets the breaker")
            audit.append(db, now_ms, who[:200], "refused", detail=f"breaker reset: {verdict.reasons[0]}")
            return verdict
        if open_reason(db) is not None:
            db.execute("DELETE FROM meta WHERE name = 'breaker'")
            audit.append(db, now_ms, who, "breaker closed", detail=reason)
    return YES


def open_reason(db: sqlite3.Connection) -> str | None:
    """Why it is open, or None when it is closed."""
    return read_meta(db, "breaker")


def why_open(ledger: Ledger) -> str | None:
    """Why it is open, or None, for screens and reports."""
    with ledger.transaction() as db:
        return open_reason(db)
