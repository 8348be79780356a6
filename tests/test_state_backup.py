"""Backup and restore: one instant of everything, nothing lost, also while a worker writes and when death comes."""

from __future__ import annotations

import io
import json
import resource
import sqlite3
import tarfile
import threading
import time
from pathlib import Path

import pytest

from plant.errors import ConfigError
from recovery.ledger import Ledger
from twin.telemetry.sqlite_store import SqliteStore
from twin.telemetry.store import LATEST_MS, Batch
from verbs import backup, restore
from verbs.archive import MANIFEST
from verbs.worker_lock import WorkerLock

RACK = "east/h1/r1"


def readings(home: Path) -> list[float]:
    store = SqliteStore(home / "telemetry.sqlite")
    values = store.read(None, None, 0, LATEST_MS).value.tolist()
    store.close()
    return values


def write(home: Path, *values: float) -> None:
    store = SqliteStore(home / "telemetry.sqlite")
    at = 1_700_000_000_000
    store.write(Batch.from_rows([(at + round(v * 1000), RACK, "inlet_c", v) for v in values]))
    store.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of state with one of everything."""
    folder = tmp_path / "home"
    write(folder, 20.0, 21.0)
    ledger = Ledger(folder / "ledger.sqlite")
    ledger.note("p1", "hello", "first", 1)
    ledger.close()
    for name in ("snapshots/a.npz", "spool/000000000001.lp", "models/cooling/x/card.json", "pause"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (folder / "worker.lock").write_text("")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that is no database, and the rows of each database."""
    found = {}
    for path in backup.state_files(folder):
        name = path.relative_to(folder).as_posix()
        if not backup.is_database(path):
            found[name] = path.read_bytes()
            continue
        with sqlite3.connect(path) as db:
            found[name] = "\n".join(line for line in db.iterdump() if "sqlite_sequence" not in line).encode()
        db.close()
    return found


def test_everything_comes_back(home, tmp_path):
    before = contents(home)
    told = backup.run(home, str(tmp_path / "b.tar"), force=False)
    assert {row["name"] for row in told["items"]} == set(before)
    other = tmp_path / "other"
    restore.run(other, str(tmp_path / "b.tar"))
    assert contents(other) == before
    assert sorted(path.name for path in other.iterdir() if path.name.startswith(".")) == []


def test_a_compressed_backup_is_the_same(home, tmp_path):
    backup.run(home, str(tmp_path / "b.tar.gz"), force=False)
    restore.run(tmp_path / "other", str(tmp_path / "b.tar.gz"))
    assert contents(tmp_path / "other") == contents(home)


def test_what_was_there_is_moved_aside_and_not_lost(home, tmp_path):
    backup.run(home, str(tmp_path / "b.tar"), force=False)
    saved = contents(home)
    write(home, 99.0)
    changed = contents(home)
    told = restore.run(home, str(tmp_path / "b.tar"))
    assert contents(home) == saved
    assert contents(Path(told["aside"])) == changed


def test_two_files_are_cut_at_one_instant(tmp_path):
    """A writer adds to one file, then to the other: a backup never shows the second without the first."""
    home = tmp_path / "home"
    home.mkdir()
    paths = [home / "a.sqlite", home / "b.sqlite"]
    for path in paths:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE n (k INTEGER)")
        db.close()
    stop = threading.Event()

    def count() -> None:
        dbs = [sqlite3.connect(path, isolation_level=None, timeout=15.0) for path in paths]
        k = 0
        while not stop.is_set():
            for db in dbs:
                db.execute("INSERT INTO n VALUES (?)", (k,))
            k += 1
        for db in dbs:
            db.close()

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for n in range(10):
            scratch = tmp_path / f"scratch{n}"
            scratch.mkdir()
            members = backup.copy_databases(home, scratch)
            found = []
            for member in members:
                with sqlite3.connect(member.path) as db:
                    found.append(db.execute("SELECT count(*) FROM n").fetchone()[0])
                db.close()
            assert found[0] - found[1] in (0, 1)
    finally:
        stop.set()
        thread.join()


def test_a_backup_needs_no_pause_of_the_writer(home, tmp_path):
    stop, written = threading.Event(), []

    def work() -> None:
        value = 100.0
        while not stop.is_set():
            write(home, value)
            written.append(value)
            value += 1.0

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while len(written) < 3:
            time.sleep(0.005)
        acknowledged = len(written)
        backup.run(home, str(tmp_path / "b.tar"), force=False)
    finally:
        stop.set()
        thread.join()
    restore.run(tmp_path / "other", str(tmp_path / "b.tar"))
    kept = readings(tmp_path / "other")
    assert kept[2 : 2 + acknowledged] == written[:acknowledged]


@pytest.mark.parametrize("steps", range(12))
def test_a_death_while_files_change_places_is_made_good(home, tmp_path, monkeypatch, steps):
    backup.run(home, str(tmp_path / "b.tar"), force=False)
    saved = contents(home)
    write(home, 99.0)
    changed = contents(home)
    moves, real = [], restore._move

    def dying(path: Path, to: Path) -> None:
        if len(moves) == steps:
            raise KeyboardInterrupt
        moves.append(to)
        real(path, to)

    monkeypatch.setattr(restore, "_move", dying)
    try:
        restore.run(home, str(tmp_path / "b.tar"))
    except KeyboardInterrupt:
        assert restore.pending(home)
    monkeypatch.setattr(restore, "_move", real)
    restore.take_in(home)
    assert contents(home) == saved
    aside = next(home.glob("before-restore-*"))
    assert contents(aside) == changed


def test_a_running_worker_takes_it_in_between_ticks(home, tmp_path):
    backup.run(home, str(tmp_path / "b.tar"), force=False)
    saved = contents(home)
    write(home, 99.0)
    done = threading.Event()

    def worker() -> None:
        # what `foretwin run` does between two ticks, in a process that holds the lock
        while not done.is_set():
            if restore.pending(home):
                restore.take_in(home)
            time.sleep(0.01)

    class Held:
        def __init__(self, _home: Path) -> None:
            raise ConfigError("worker.lock", "another worker runs here")

    thread = threading.Thread(target=worker)
    thread.start()
    before, restore.WorkerLock = restore.WorkerLock, Held
    try:
        assert restore.run(home, str(tmp_path / "b.tar"))["ok"]
    finally:
        restore.WorkerLock = before
        done.set()
        thread.join()
    assert contents(home) == saved


def test_a_worker_that_does_not_answer_keeps_its_state(home, tmp_path):
    backup.run(home, str(tmp_path / "b.tar"), force=False)
    write(home, 99.0)
    changed = contents(home)

    class Held:
        def __init__(self, _home: Path) -> None:
            raise ConfigError("worker.lock", "another worker runs here")

    before, restore.WorkerLock = restore.WorkerLock, Held
    try:
        with pytest.raises(ConfigError, match="did not take it in"):
            restore.run(home, str(tmp_path / "b.tar"), wait_s=0.3)
    finally:
        restore.WorkerLock = before
    assert not restore.pending(home)
    assert contents(home) == changed
    with WorkerLock(home):
        pass


def damaged(good: bytes, how: str) -> bytes:
    """A backup with one fault."""
    if how == "cut short":
        return good[: len(good) // 2]
    if how == "text":
        return b"hello"
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(good)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for info in old:
            data = old.extractfile(info).read()
            if how == "no manifest" and info.name == MANIFEST:
                continue
            if how == "changed" and info.name == "pause":
                data = data[::-1]
            if how == "newer" and info.name == MANIFEST:
                data = json.dumps({**json.loads(data), "schema": 99}).encode()
            info.size = len(data)
            new.addfile(info, io.BytesIO(data))
        if how in ("../escape", "/etc/escape", "strange"):
            info = tarfile.TarInfo(how)
            info.size = 1
            new.addfile(info, io.BytesIO(b"x"))
        if how == "link":
            info = tarfile.TarInfo("link")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            new.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("cut short", "backup"), ("text", "cannot be read"), ("no manifest", "holds no manifest"),
        ("changed", "pause is missing, strange or changed"), ("newer", "schema 99"), ("../escape", "no plain file"),
        ("/etc/escape", "no plain file"), ("strange", "strange is missing"), ("link", "no plain file"),
    ],
)  # fmt: skip
def test_a_damaged_backup_is_refused_and_nothing_moves(home, tmp_path, how, says):
    file = tmp_path / "b.tar"
    backup.run(home, str(file), force=False)
    file.write_bytes(damaged(file.read_bytes(), how))
    before = contents(home)
    with pytest.raises(ConfigError, match=says):
        restore.run(home, str(file))
    assert contents(home) == before
    assert not (tmp_path / "escape").exists()
    assert not (home / backup.STAGED).exists()


def test_a_place_that_cannot_be_written_is_no_damaged_backup(home, tmp_path):
    file = tmp_path / "b.tar"
    backup.run(home, str(file), force=False)
    before, (soft, hard) = contents(home), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))  # as a disk that is full: the second kilobyte is refused
    try:
        with pytest.raises(ConfigError, match=r"cannot be written: File too large; .*free space") as told:
            restore.run(home, str(file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert told.value.where.startswith(str(home))
    assert contents(home) == before
    assert not (home / backup.STAGED).exists()


def test_bad_places_for_a_backup_are_refused(home, tmp_path):
    for file, says in (
        (home / "b.tar", "in the folder of state"),
        (tmp_path / "b.zip", "not a name of a backup"),
        (tmp_path / "no" / "b.tar", "no such folder"),
    ):
        with pytest.raises(ConfigError, match=says):
            backup.run(home, str(file), force=False)
    (tmp_path / "b.tar").write_text("mine")
    with pytest.raises(ConfigError, match="already there"):
        backup.run(home, str(tmp_path / "b.tar"), force=False)
    assert (tmp_path / "b.tar").read_text() == "mine"
    with pytest.raises(ConfigError, match="no folder of state"):
        backup.run(tmp_path / "nowhere", str(tmp_path / "c.tar"), force=False)
