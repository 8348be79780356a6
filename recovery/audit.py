"""The audit chain: append-only rows, each holding the hash of the one before, so that any later edit shows.

The chain finds every change, insertion, removal and reordering of rows. Cutting the tail is found by the head kept
beside it; rewriting the whole file with a new head is found only against an anchor kept elsewhere (`head` prints it).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64
SCHEMA = (
    """CREATE TABLE audit(seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, actor TEXT NOT NULL, what TEXT NOT NULL,
    plan TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL, detail TEXT NOT NULL, prev_hash TEXT NOT NULL,
    hash TEXT NOT NULL)""",
    "CREATE INDEX audit_plan ON audit(plan, seq)",
    "CREATE TABLE audit_head(one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL)",
    f"INSERT INTO audit_head VALUES (1, 0, '{GENESIS}')",
    # against mistakes, not against an attacker: a trigger can be dropped, the chain still tells
    "CREATE TRIGGER audit_keep BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
    "CREATE TRIGGER audit_stay BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
)
_COLUMNS = "seq, at_ms, actor, what, plan, before, after, detail, prev_hash, hash"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class AuditRow:
    """One thing that happened: who did what to which plan, its state before and after, and why."""

    seq: int
    at_ms: int
    actor: str
    what: str
    plan: str
    before: str
    after: str
    detail: str
    prev_hash: str
    hash: str


def append(
    db: sqlite3.Connection,
    at_ms: int,
    actor: str,
    what: str,
    plan: str = "",
    before: str = "",
    after: str = "",
    detail: str = "",
) -> AuditRow:
    """Add one row inside the caller's transaction, so that a change and its record commit together."""
    seq, prev_hash = head(db)
    texts = tuple(printable(text) for text in (actor, what, plan, before, after, detail))
    fields: list[Any] = [seq + 1, at_ms, *texts, prev_hash]
    fields.append(_hash(fields))
    row = AuditRow(*fields)
    db.execute(f"INSERT INTO audit({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)", fields)
    db.execute("UPDATE audit_head SET seq = ?, hash = ?", (row.seq, row.hash))
    return row


def head(db: sqlite3.Connection) -> tuple[int, str]:
    """Number and hash of the newest row: the anchor to keep outside this file."""
    seq, last = db.execute("SELECT seq, hash FROM audit_head").fetchone()
    return int(seq), str(last)


def verify(db: sqlite3.Connection, anchor: tuple[int, str] | None = None) -> tuple[int, bool, int | None]:
    """(rows, ok, number of the first bad row or None). A row missing counts as bad at its number."""
    rows, prev, anchored = 0, GENESIS, anchor is None or anchor == (0, GENESIS)
    try:
        for fields in db.execute(f"SELECT {_COLUMNS} FROM audit ORDER BY seq"):
            if fields[0] != rows + 1 or fields[8] != prev or fields[9] != _hash(fields[:9]):
                return _count(db), False, rows + 1
            rows, prev = rows + 1, fields[9]
            anchored = anchored or (rows, prev) == anchor
        good = head(db) == (rows, prev)
    except (sqlite3.Error, TypeError, ValueError):  # bytes that are no text, a page that is no page
        return rows, False, rows + 1
    if anchor is not None and not anchored:
        return rows, False, min(anchor[0], rows + 1)
    return rows, good, None if good else rows + 1


def history(db: sqlite3.Connection, plan: str | None = None, newest: int | None = None) -> list[AuditRow]:
    """Rows in order, of one plan or of all; the newest `newest` of them if given."""
    where, args = ("", ()) if plan is None else ("WHERE plan = ?", (plan,))
    sql = f"SELECT {_COLUMNS} FROM audit {where} ORDER BY seq DESC LIMIT ?"
    rows = db.execute(sql, (*args, -1 if newest is None else newest)).fetchall()
    return [AuditRow(*row) for row in reversed(rows)]


def printable(text: str) -> str:
    """The text without control characters and lone surrogates, so that a row can neither forge a line nor fail."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else f"\\x{ord(c):02x}" for c in text)


def _hash(fields: object) -> str:
    return hashlib.sha256(_encode(fields).encode()).hexdigest()


def _count(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT COUNT(*) FROM audit").fetchone()[0])
