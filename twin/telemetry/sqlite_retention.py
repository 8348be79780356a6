"""Dropping what the telemetry file need not keep any more, in small transactions, and giving the pages back."""

from __future__ import annotations

import sqlite3

from twin.telemetry.retention import SPAN_MS, SPANS_PER_CALL, Dropped, Keep
from twin.telemetry.sqlite_file import transaction

# Of the oldest rows, so many are dropped in one call.
ARRIVALS_PER_CALL = 2_000
EVENTS_PER_CALL = 20_000
PAGES_PER_CALL = 20_000

# Arrivals go in their order: one that is late but came after a young one stays as long as that one.
_ARRIVALS = """
DELETE FROM arrival WHERE seq IN (
    SELECT seq FROM arrival WHERE seq < coalesce(
        (SELECT seq FROM arrival WHERE newest_ms >= ?1 ORDER BY seq LIMIT 1),
        (SELECT max(seq) + 1 FROM arrival)) ORDER BY seq LIMIT ?2)"""

_EVENTS = """
DELETE FROM event WHERE (time_ms, component, type, code) IN (
    SELECT time_ms, component, type, code FROM event WHERE time_ms < ?1 ORDER BY time_ms LIMIT ?2)"""


def retain(connection: sqlite3.Connection, keep: Keep) -> Dropped:
    """Drop up to SPANS_PER_CALL spans of readings, and a share of events and arrivals; see `Store.retain`."""
    first = keep.first_kept_ms // SPAN_MS
    spans = connection.execute("SELECT id FROM span WHERE id < ? ORDER BY id LIMIT ?", (first, SPANS_PER_CALL + 1))
    old = [number for (number,) in spans]
    readings = sum(_drop_span(connection, number) for number in old[:SPANS_PER_CALL])
    with transaction(connection):
        if len(old) <= SPANS_PER_CALL:
            connection.execute("UPDATE series SET newest_ms = -1 WHERE newest_ms < ?", (keep.first_kept_ms,))
        events = connection.execute(_EVENTS, (keep.events_ms, EVENTS_PER_CALL)).rowcount
        arrivals = connection.execute(_ARRIVALS, (keep.arrivals_ms, ARRIVALS_PER_CALL)).rowcount
    # as a script: executed as one statement it stops after the first page
    connection.executescript(f"PRAGMA incremental_vacuum({PAGES_PER_CALL})")
    more = len(old) > SPANS_PER_CALL or events == EVENTS_PER_CALL or arrivals == ARRIVALS_PER_CALL
    return Dropped(readings, events, more)


def _drop_span(connection: sqlite3.Connection, number: int) -> int:
    with transaction(connection):
        gone = connection.execute("DELETE FROM reading WHERE span = ?", (number,)).rowcount
        connection.execute("DELETE FROM span WHERE id = ?", (number,))
    return gone
