"""`foretwin restore FILE.tar`: a backup becomes the state again; what was there is moved aside, never deleted.

The archive is unpacked beside the state and checked whole before anything is touched. Then a marker says that it is
ready, and files change places by renames that can be taken up again after a death at any point: by the next restore,
or by the worker. A running worker does it itself between two ticks, so nobody has a file open that moves.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plant.errors import ConfigError
from verbs import archive, backup
from verbs.archive import Told
from verbs.backup import REPLACED, STAGED, is_database, state_files
from verbs.worker_lock import WorkerLock

for_people = backup.for_people
READY = "READY"
FILES = "files"
WAIT_S = 60.0
LOOK_S = 0.2
# SQLite's own companions of a file go where the file goes.
COMPANIONS = ("-wal", "-shm")


def run(home: Path, file: str, told: Told = lambda done, of: None, wait_s: float = WAIT_S) -> dict[str, Any]:
    """Return `ok`, `items` (files restored), `path` (the folder), `aside` (where the old state lies, or null).

    wait_s: how long a running worker may take to do it [s]. Raises ConfigError; then the state is as it was.
    """
    source = Path(file)
    archive.compressed(source)
    home.mkdir(parents=True, exist_ok=True)
    staged = home / STAGED
    if pending(home):
        raise ConfigError(str(staged), "another restore is under way", "one at a time", "let the worker finish it")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        manifest = archive.unpack(source, staged / FILES, told)
        _check_databases(source, staged / FILES)
        aside = home / f"{REPLACED}{datetime.now(UTC):%Y%m%dT%H%M%S}"
        (staged / READY).write_text(aside.name, encoding="utf-8")
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    _hand_over(home, wait_s)
    items = [{"name": row["name"], "mb": row["bytes"] / 1e6} for row in manifest["files"]]
    return {"ok": True, "items": items, "path": str(home), "aside": str(aside) if aside.is_dir() else None,
            "taken_at": manifest.get("created_at")}  # fmt: skip


def pending(home: Path) -> bool:
    """Whether a checked backup waits to become the state."""
    return (home / STAGED / READY).is_file()


def finish(home: Path) -> None:
    """Move the old state aside and the waiting one into its place; whoever calls it holds the worker's lock.

    Every step is one rename, so a second call takes up what a first one left.
    """
    staged = home / STAGED
    aside = home / (staged / READY).read_text(encoding="utf-8").strip()
    moved = staged / "MOVED"
    if not moved.exists():
        for path in list(state_files(home)):
            _move(path, aside / path.relative_to(home))
        moved.touch()
    for path in sorted((staged / FILES).rglob("*")):
        if path.is_file():
            _move(path, home / path.relative_to(staged / FILES))
    (staged / READY).unlink()
    shutil.rmtree(staged, ignore_errors=True)


def _move(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if is_database(path):
        for ending in COMPANIONS:
            beside = path.with_name(path.name + ending)
            if beside.exists():
                beside.replace(to.with_name(to.name + ending))
    path.replace(to)


def _check_databases(source: Path, folder: Path) -> None:
    """Refuse an archive whose databases are damaged; their schema is judged where they are opened."""
    for path in filter(is_database, sorted(folder.rglob("*.sqlite"))):
        try:
            with sqlite3.connect(path) as connection:
                sound = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            connection.close()
        except sqlite3.Error as error:
            sound = str(error)
        if sound != "ok":
            raise ConfigError(
                str(source), f"{path.name} is damaged: {sound}", "a sound database", "take an older backup"
            )


def take_in(home: Path) -> bool:
    """Finish a restore that waits; whoever calls it holds the worker's lock and no file open. False: none waits."""
    waits = pending(home)
    if waits:
        finish(home)
    return waits


def _hand_over(home: Path, wait_s: float) -> None:
    """Let the files change places, by the running worker or here; take the backup back when neither works in time."""
    until_s = time.monotonic() + wait_s
    while pending(home):
        try:
            with WorkerLock(home):
                take_in(home)
            continue
        except ConfigError:
            pass  # a worker runs: it does it between two ticks
        if time.monotonic() > until_s:
            (home / STAGED / READY).unlink(missing_ok=True)
            shutil.rmtree(home / STAGED, ignore_errors=True)
            raise ConfigError(
                str(home), f"the running worker did not take it in within {wait_s:g} s", "a worker of `foretwin run`",
                "stop it, then restore again",
            )  # fmt: skip
        time.sleep(LOOK_S)
