"""Schema versions of our SQLite files: a newer program migrates an older file and keeps the old one beside it.

A migration is a list of statements per version. It happens in one transaction under the write lock, so that several
processes may come at once and a death half-way leaves the old file as it was. The copy kept is named after its version:
`telemetry.sqlite` of version 1 stays as `telemetry.v1.sqlite`. Older programs refuse newer files.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from plant.errors import StoreUnavailable

Steps = Mapping[int, Sequence[str]]
ReadVersion = Callable[[sqlite3.Connection], int | None]


def bring_up(
    connection: sqlite3.Connection,
    path: Path,
    *,
    version: ReadVersion,
    set_version: str,
    steps: Steps,
    to: int,
    what: str,
) -> None:
    """Migrate an open file to version `to`, or leave it when it has it. Raises StoreUnavailable.

    steps: the statements that lead to each version from the one before; set_version: the statement that writes the
    number; what: the file in words. Refused is a file without a version, a newer one, and one that is too old.
    """
    found = _judged(connection, path, version, steps, to, what)
    if found == to:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # another process may have been faster
        found = _judged(connection, path, version, steps, to, what)
        if found < to:
            keep_beside(path, found)
            for number in range(found + 1, to + 1):
                for statement in steps[number]:
                    connection.execute(statement)
            connection.execute(set_version, (str(to),))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def needs(found: int | None, steps: Steps, to: int) -> bool:
    """Whether a file of the version found can and must be migrated."""
    return found is not None and found < to and all(number in steps for number in range(found + 1, to + 1))


def kept_path(path: Path, version: int) -> Path:
    """Where the file of an older version is kept."""
    return path.with_name(f"{path.stem}.v{version}{path.suffix}")


def keep_beside(path: Path, version: int) -> Path:
    """Copy a file, its write-ahead log included, to `kept_path`; what lies there already stays."""
    kept = kept_path(path, version)
    if kept.exists():
        return kept
    part = kept.with_name(f"{kept.name}.{os.getpid()}.part")
    copy_file(path, part)
    part.replace(kept)
    return kept


def copy_file(path: Path, to: Path) -> None:
    """Copy one SQLite file as it stands at one instant, also while others write to it."""
    source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        copy_open(source, to)
    finally:
        source.close()


def copy_open(source: sqlite3.Connection, to: Path) -> None:
    """Copy what an open connection sees into a new file that needs no log beside it, flushed to disk."""
    to.unlink(missing_ok=True)
    target = sqlite3.connect(to)
    try:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")
    finally:
        target.close()
    handle = os.open(to, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _judged(connection: sqlite3.Connection, path: Path, version: ReadVersion, steps: Steps, to: int, what: str) -> int:
    """The version of a file that this program can use, at once or after migrating it."""
    found = version(connection)
    if found is None:
        raise StoreUnavailable(str(path), f"not a Foretwin {what}", cure="move it away or set FORETWIN_HOME")
    if found > to:
        raise StoreUnavailable(
            str(path),
            f"written by a newer Foretwin (schema {found})",
            f"schema up to {to}",
            "update this Foretwin, or set FORETWIN_HOME to another folder",
        )
    if found < to and not needs(found, steps, to):
        raise StoreUnavailable(
            str(path),
            f"schema {found}",
            f"schema from {min(steps, default=to + 1) - 1} to {to}",
            "use a Foretwin between",
        )
    return found
