"""The one telemetry file, `telemetry.sqlite`: its tables, its version, and how two processes share it.

WAL mode lets the app read while worker and emulator write. `synchronous = NORMAL`: a batch that was acknowledged
survives the death of any process; the last ones before a power cut may be lost, which telemetry can bear (plans and
approvals live in the ledger, which is FULL).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from plant.errors import StoreUnavailable
from twin.telemetry.schema import Steps, bring_up, needs

SCHEMA_VERSION = 2

# How long one process waits for another's transaction before it gives up.
BUSY_TIMEOUT_S = 15.0

# `reading` is kept by span of time, then series: a batch of 50,000 series then touches the few thousand pages of the
# present span instead of one page per series (docs/decisions/010-embedded-store.md).
# `span` lists the spans that hold something. `arrival` holds every batch once more as three blobs (series int32, time
# int64, value float64, little-endian) in the order it came: cheap to append and to follow. `series` carries the newest
# value, so nobody searches for it. `channel.rank` is the alphabetical order.
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE component (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE channel (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, rank INTEGER NOT NULL DEFAULT 0);
CREATE TABLE series (
    id INTEGER PRIMARY KEY, component_id INTEGER NOT NULL, channel_id INTEGER NOT NULL,
    newest_ms INTEGER NOT NULL DEFAULT -1, newest_value REAL NOT NULL DEFAULT 0, UNIQUE (component_id, channel_id));
CREATE TABLE span (id INTEGER PRIMARY KEY);
CREATE TABLE reading (
    span INTEGER NOT NULL, series_id INTEGER NOT NULL, time_ms INTEGER NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (span, series_id, time_ms)) WITHOUT ROWID;
CREATE TABLE arrival (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, series BLOB NOT NULL, time_ms BLOB NOT NULL, value BLOB NOT NULL,
    newest_ms INTEGER NOT NULL DEFAULT -1);
CREATE TABLE event (
    time_ms INTEGER NOT NULL, component TEXT NOT NULL, type TEXT NOT NULL, code TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (time_ms, component, type, code)) WITHOUT ROWID;
CREATE TABLE refused (reason TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE refusal (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER NOT NULL, component TEXT NOT NULL, channel TEXT NOT NULL,
    value REAL, reason TEXT NOT NULL);
CREATE TABLE board (key TEXT PRIMARY KEY, text TEXT NOT NULL, updated_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE history (
    topic TEXT NOT NULL, at_ms INTEGER NOT NULL, component TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (topic, component, at_ms)) WITHOUT ROWID;
CREATE INDEX history_by_time ON history (topic, at_ms);
"""

# What leads to each version from the one before.
MIGRATIONS: Steps = {2: ("ALTER TABLE arrival ADD COLUMN newest_ms INTEGER NOT NULL DEFAULT -1",)}
_SET_VERSION = "UPDATE meta SET value = ? WHERE key = 'schema_version'"


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open (and, unless read-only, make) the telemetry file; StoreUnavailable says what is wrong with it."""
    with speaking_of(path):
        if not path.exists():
            if read_only:
                raise StoreUnavailable(
                    where=str(path), found="no telemetry yet", cure="start `foretwin demo` or `foretwin run`"
                )
            _make(path)
        connection = _open(path, "ro" if read_only else "rw")
        try:
            if read_only and needs(_version(connection), MIGRATIONS, SCHEMA_VERSION):
                # a reader cannot migrate, and a page may be opened before any worker runs
                connect(path).close()
            bring_up(
                connection,
                path,
                version=_version,
                set_version=_SET_VERSION,
                steps=MIGRATIONS,
                to=SCHEMA_VERSION,
                what="telemetry file",
            )
            if not read_only:
                connection.execute("PRAGMA synchronous = NORMAL")
                # 64 MB of pages: those of the present span stay in memory while they are written to.
                connection.execute("PRAGMA cache_size = -65536")
        except BaseException:
            connection.close()
            raise
        return connection


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _make(path: Path) -> None:
    """An empty telemetry file, put in place whole: switching a shared file to WAL fails at once when it is in use."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    unfinished.unlink(missing_ok=True)
    connection = _open(unfinished, "rwc")
    try:
        # pages that retention frees go back to the disk
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        with transaction(connection):
            for statement in filter(str.strip, SCHEMA.split(";")):
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))
    finally:
        connection.close()
    # A link fails, unlike a rename, when another process was faster; then its file is as good as ours.
    with suppress(FileExistsError):
        os.link(unfinished, path)
    unfinished.unlink()


def _version(connection: sqlite3.Connection) -> int | None:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        return None
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    return int(row[0]) if row else None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and the right to write from the start (so that two writers queue instead of failing)."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def speaking_of(path: Path) -> Iterator[None]:
    """Turn the database's own errors into StoreUnavailable that names the file."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        cures = {
            "file is not a database": "move the file away; it is not a telemetry file",
            "database disk image is malformed": "restore a backup (`foretwin restore`)",
            "database or disk is full": "free some disk space",
            "database is locked": "another process holds the file; stop it or wait",
        }
        raise StoreUnavailable(
            where=str(path), found=str(error), cure=cures.get(str(error), "check the path and its permissions")
        ) from error
