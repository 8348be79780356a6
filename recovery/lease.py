"""The lease: one executor acts at a time. Its epoch is a number that only grows; every call to a port carries it."""

from __future__ import annotations

import sqlite3

from recovery import audit, guards
from recovery.guards import YES, Verdict
from recovery.ledger import Ledger


def take(ledger: Ledger, holder: str, now_ms: int) -> int:
    """Become the executor: a new epoch, which shuts out whoever held the one before. Returns the epoch."""
    with ledger.transaction() as db:
        epoch = current(db) + 1
        db.execute("INSERT INTO lease VALUES (?, ?, ?)", (epoch, holder, now_ms))
        audit.append(db, now_ms, holder, "lease", detail=f"epoch {epoch}")
    return epoch


def heartbeat(ledger: Ledger, epoch: int, now_ms: int) -> Verdict:
    """Say that the holder of `epoch` lives; refused once another has taken over."""
    with ledger.transaction() as db:
        verdict = guards.fencing(epoch, current(db))
        if not verdict.ok:
            return verdict
        db.execute("UPDATE lease SET heartbeat_ms = ? WHERE epoch = ?", (now_ms, epoch))
    return YES


def current(db: sqlite3.Connection) -> int:
    """The newest epoch; 0 before the first."""
    row = db.execute("SELECT MAX(epoch) FROM lease").fetchone()
    return int(row[0] or 0)
