"""`foretwin backup FILE.tar`: all state at one instant, while the worker runs.

The SQLite files are cut together: for a moment nobody may write to any of them, a reading transaction is begun on each,
then everybody goes on and the copies are made from what those transactions see. Blocks of the spool and snapshots are
copied after that: a block that is in the backup and in the database as well is stored once when it is sent again.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plant.errors import ConfigError, StoreUnavailable
from twin.telemetry.schema import copy_open
from verbs import archive, envelope
from verbs.archive import Member, Told

BUSY_S = 15.0
# Never part of a backup: who runs here, what belongs to an open database, what is not finished or has been replaced.
LEFT_OUT_NAMES = ("worker.lock",)
LEFT_OUT_ENDINGS = ("-wal", "-shm", "-journal", ".part")
REPLACED = "before-restore-"
STAGED = ".restoring"


def run(home: Path, file: str, force: bool, told: Told = lambda done, of: None) -> dict[str, Any]:
    """Return `ok`, `items` (name and bytes of each file), `path`. Raises ConfigError or StoreUnavailable.

    An existing file is replaced only by `force`; inside the folder of state no backup is written.
    """
    to = Path(file)
    archive.compressed(to)
    if not home.is_dir():
        raise ConfigError(str(home), "no folder of state", "FORETWIN_HOME", "nothing has run here yet")
    if not to.parent.is_dir():
        raise ConfigError(str(to.parent), "no such folder", "an existing folder", "make it first")
    if to.absolute().is_relative_to(home.absolute()):
        raise ConfigError(str(to), "lies in the folder of state itself", "another folder", "choose another place")
    if to.exists() and not force:
        raise ConfigError(str(to), "is already there", "a new file", "choose another name, or add --force")
    about = {"version": envelope.version(), "created_at": datetime.now(UTC).isoformat(timespec="seconds")}
    with tempfile.TemporaryDirectory(prefix=".foretwin-backup-", dir=to.parent) as scratch:
        copies = copy_databases(home, Path(scratch))
        rows = archive.pack(to, [*copies, *_plain_files(home)], about, told)
    items = [{"name": row["name"], "mb": row["bytes"] / 1e6} for row in rows]
    return {"ok": True, "items": items, "path": str(to)}


def for_people(results: dict[str, Any]) -> dict[str, Any]:
    """The results with one row for all the files of a folder: a spool has a thousand."""
    rows: dict[str, list[float]] = {}
    for item in results["items"]:
        folder, _, name = str(item["name"]).rpartition("/")
        rows.setdefault(f"{folder}/" if folder else name, []).append(item["mb"])
    items = [{"name": name, "files": len(sizes), "MB": round(sum(sizes), 3)} for name, sizes in rows.items()]
    return results | {"items": items}


def state_files(home: Path) -> Iterator[Path]:
    """Every file of a folder of state that is worth keeping, in order of name."""
    for path in sorted(home.rglob("*")):
        parts = path.relative_to(home).parts
        aside = parts[0] == STAGED or parts[0].startswith(REPLACED)
        if path.is_file() and not path.is_symlink() and not aside and not _left_out(path.name):
            yield path


def _left_out(name: str) -> bool:
    return name in LEFT_OUT_NAMES or name.endswith(LEFT_OUT_ENDINGS)


def is_database(path: Path) -> bool:
    """Whether a file of state is a SQLite file."""
    return path.suffix == ".sqlite"


def _plain_files(home: Path) -> list[Member]:
    return [Member(path.relative_to(home).as_posix(), path) for path in state_files(home) if not is_database(path)]


def copy_databases(home: Path, to: Path) -> list[Member]:
    """Copy every SQLite file of a folder as all of them stood at one instant."""
    paths = [path for path in state_files(home) if is_database(path)]
    with ExitStack() as stack:
        readers = [stack.enter_context(_opened(path, "ro")) for path in paths]
        with ExitStack() as locks:
            for path in paths:
                locks.enter_context(_nobody_writes(path))
            for path, reader in zip(paths, readers, strict=True):
                with _speaking_of(path):
                    # the reading transaction begins with the first look
                    reader.execute("BEGIN")
                    reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        members = []
        for n, (path, reader) in enumerate(zip(paths, readers, strict=True)):
            copy = to / f"{n}.sqlite"
            with _speaking_of(path):
                copy_open(reader, copy)
            members.append(Member(path.relative_to(home).as_posix(), copy))
    return members


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    with _speaking_of(path):
        address = f"{path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(address, uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _nobody_writes(path: Path) -> Iterator[None]:
    """Hold the right to write to a file for a moment."""
    with _opened(path, "rw") as connection:
        with _speaking_of(path):
            connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


@contextmanager
def _speaking_of(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(str(path), str(error), "a readable SQLite file", "see `foretwin doctor`") from error
