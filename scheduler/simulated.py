"""The reference scheduler behind SchedulerPort: one SQLite database, in memory or in a file that survives a kill.

Effect and receipt commit in one transaction, so it gives exactly-once. Jobs move and drain by the clock passed in;
queued jobs start first-fit in order of priority on nodes that are up, free and not cordoned. No physics.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scheduler.port import JobPhase, JobView, NodeView, Receipt, ReceiptStatus, owner

Outcome = tuple[ReceiptStatus, str]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS node(id TEXT PRIMARY KEY, hall TEXT NOT NULL, up INTEGER NOT NULL DEFAULT 1);
CREATE TABLE IF NOT EXISTS mark(node TEXT, kind TEXT, owner TEXT, value REAL, reason TEXT,
    PRIMARY KEY(node, kind, owner));
CREATE TABLE IF NOT EXISTS job(id TEXT PRIMARY KEY, job_class TEXT, hall TEXT, nodes TEXT, phase TEXT, priority INTEGER,
    size INTEGER, checkpoint_ms INTEGER, to_hall TEXT, to_nodes TEXT, due_ms INTEGER, key TEXT);
CREATE TABLE IF NOT EXISTS receipt(key TEXT PRIMARY KEY, content TEXT, status TEXT, detail TEXT, at_ms INTEGER);
CREATE TABLE IF NOT EXISTS effect(seq INTEGER PRIMARY KEY, key TEXT, verb TEXT, at_ms INTEGER);
CREATE TABLE IF NOT EXISTS epoch(one INTEGER PRIMARY KEY CHECK (one = 1), newest INTEGER);
INSERT OR IGNORE INTO epoch VALUES (1, 0);
"""


class SimulatedScheduler:
    """A SchedulerPort over SQLite. `now_ms` is the clock [Unix ms], `move_s` the time one job's move takes [s]."""

    def __init__(self, now_ms: Callable[[], int], path: str | Path = ":memory:", *, move_s: float = 14.0) -> None:
        self._now_ms, self._move_ms = now_ms, round(move_s * 1000)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False, timeout=10.0)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.executescript(_SCHEMA)

    def add_nodes(self, hall: str, nodes: Sequence[str]) -> None:
        """Declare nodes of a hall; known ones keep their state."""
        with self._transaction() as db:
            db.executemany("INSERT OR IGNORE INTO node(id, hall) VALUES (?, ?)", [(node, hall) for node in nodes])

    def add_job(self, job: JobView, *, size: int = 0, checkpoint_s: float = 600.0) -> None:
        """Submit a job; one without nodes is queued for `size` nodes, its next checkpoint is `checkpoint_s` away."""
        due = self._now_ms() + round(checkpoint_s * 1000)
        row = (
            job.id,
            job.job_class,
            job.hall,
            json.dumps(job.nodes),
            job.phase,
            job.priority,
            size or len(job.nodes),
            due,
        )
        with self._transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO job(id, job_class, hall, nodes, phase, priority, size, checkpoint_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def set_up(self, node: str, up: bool) -> None:
        """A node fails (its jobs wait in the queue again) or comes back."""
        with self._transaction() as db:
            db.execute("UPDATE node SET up = ? WHERE id = ?", (int(up), node))
            hit = [row["id"] for row in db.execute("SELECT id, nodes FROM job") if node in json.loads(row["nodes"])]
            if not up:
                _to_queue(db, hit)

    def person_cordons(self, node: str, who: str) -> None:
        """A person takes a node out of service by hand; no call of a plan removes that."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO mark VALUES (?, 'cordon', ?, 1, 'by hand')", (node, f"person {who}"))

    def effects(self) -> list[tuple[str, str]]:
        """(key, verb) of every call that changed something, in order: the evidence that nothing happened twice."""
        return [(row["key"], row["verb"]) for row in self._rows("SELECT key, verb FROM effect ORDER BY seq")]

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def fence(self, epoch: int) -> bool:
        with self._transaction() as db:
            return db.execute("UPDATE epoch SET newest = ? WHERE newest <= ?", (epoch, epoch)).rowcount == 1

    def observe(self) -> list[JobView]:
        with self._transaction() as db:
            return [_job_view(row) for row in db.execute("SELECT * FROM job ORDER BY id")]

    def nodes(self) -> list[NodeView]:
        with self._transaction() as db:
            cordons: dict[str, list[str]] = {}
            caps: dict[str, float] = {}
            for mark in db.execute("SELECT node, kind, owner, value FROM mark ORDER BY owner"):
                if mark["kind"] == "cordon":
                    cordons.setdefault(mark["node"], []).append(mark["owner"])
                else:
                    caps[mark["node"]] = min(mark["value"], caps.get(mark["node"], 1.0))
            free = set(_free(db))
            return [
                NodeView(n, row["hall"], bool(row["up"]), tuple(cordons.get(n, ())), caps.get(n, 1.0), n in free)
                for row in db.execute("SELECT * FROM node ORDER BY id")
                for n in (row["id"],)
            ]

    def query(self, key: str) -> Receipt | None:
        with self._transaction() as db:
            row = db.execute("SELECT * FROM receipt WHERE key = ?", (key,)).fetchone()
            return None if row is None else Receipt(key, row["status"], row["detail"], row["at_ms"])

    def cordon(self, key: str, epoch: int, nodes: Sequence[str], reason: str) -> Receipt:
        return self._mark(key, epoch, "cordon", nodes, 1.0, reason)

    def uncordon(self, key: str, epoch: int, nodes: Sequence[str]) -> Receipt:
        return self._unmark(key, epoch, "cordon", nodes)

    def cap(self, key: str, epoch: int, nodes: Sequence[str], cap_frac: float) -> Receipt:
        return self._mark(key, epoch, "cap", nodes, cap_frac, "")

    def uncap(self, key: str, epoch: int, nodes: Sequence[str]) -> Receipt:
        return self._unmark(key, epoch, "cap", nodes)

    def move(self, key: str, epoch: int, jobs: Sequence[str], to_hall: str, concurrent: int, mode: str = "") -> Receipt:
        def apply(db: sqlite3.Connection) -> Outcome:
            rows = sorted(_jobs(db, jobs), key=lambda row: (-row["priority"], row["id"]))
            stuck = [row["id"] for row in rows if row["phase"] != "running"]
            free, need = _free(db, to_hall), sum(row["size"] for row in rows)
            if stuck or need > len(free):
                return (
                    "rejected",
                    f"not running: {stuck[0]}" if stuck else f"{to_hall} has {len(free)} free nodes of {need}",
                )
            for place, row in enumerate(rows):
                mine, free = free[: row["size"]], free[row["size"] :]
                due = self._now_ms() + self._move_ms * (place // concurrent + 1)
                db.execute(
                    "UPDATE job SET phase = 'moving', to_hall = ?, to_nodes = ?, due_ms = ?, key = ? WHERE id = ?",
                    (to_hall, json.dumps(mine), due, key, row["id"]),
                )
            return "accepted", f"{len(rows)} jobs to {to_hall}"

        content = {"to_hall": to_hall, "concurrent": concurrent, **({"mode": mode} if mode else {})}
        return self._job_call(key, epoch, "move", jobs, content, apply)

    def drain(self, key: str, epoch: int, jobs: Sequence[str]) -> Receipt:
        def apply(db: sqlite3.Connection) -> Outcome:
            for row in _jobs(db, jobs):
                if row["phase"] == "running":
                    db.execute(
                        "UPDATE job SET phase = 'draining', due_ms = checkpoint_ms, key = ? WHERE id = ?",
                        (key, row["id"]),
                    )
            return "accepted", f"{len(jobs)} jobs at their next checkpoint"

        return self._job_call(key, epoch, "drain", jobs, {}, apply)

    def requeue(self, key: str, epoch: int, jobs: Sequence[str]) -> Receipt:
        def apply(db: sqlite3.Connection) -> Outcome:
            _to_queue(db, jobs)
            return "done", f"{len(jobs)} jobs in the queue"

        return self._job_call(key, epoch, "requeue", jobs, {}, apply)

    def hold_job(self, key: str, epoch: int, jobs: Sequence[str], held: bool = True) -> Receipt:
        def apply(db: sqlite3.Connection) -> Outcome:
            was, now = ("queued", "held") if held else ("held", "queued")
            db.executemany("UPDATE job SET phase = ? WHERE id = ? AND phase = ?", [(now, job, was) for job in jobs])
            return "done", f"{len(jobs)} jobs {now}"

        return self._job_call(key, epoch, "hold_job", jobs, {"held": held}, apply)

    def _mark(self, key: str, epoch: int, kind: str, nodes: Sequence[str], value: float, reason: str) -> Receipt:
        def apply(db: sqlite3.Connection) -> Outcome:
            rows = [(node, kind, owner(key), value, reason) for node in nodes]
            db.executemany("INSERT OR REPLACE INTO mark VALUES (?, ?, ?, ?, ?)", rows)
            return "done", f"{len(rows)} nodes"

        return self._node_call(key, epoch, kind, nodes, {"value": value, "reason": reason}, apply)

    def _unmark(self, key: str, epoch: int, kind: str, nodes: Sequence[str]) -> Receipt:
        def apply(db: sqlite3.Connection) -> Outcome:
            rows = [(node, kind, owner(key)) for node in nodes]
            gone = db.executemany("DELETE FROM mark WHERE node = ? AND kind = ? AND owner = ?", rows).rowcount
            return "done", f"{gone} of {len(rows)} nodes were ours"

        return self._node_call(key, epoch, f"un{kind}", nodes, {}, apply)

    def _node_call(
        self,
        key: str,
        epoch: int,
        verb: str,
        nodes: Sequence[str],
        more: Mapping[str, Any],
        apply: Callable[[sqlite3.Connection], Outcome],
    ) -> Receipt:
        return self._call(key, epoch, verb, {"nodes": list(nodes), **more}, ("node", nodes), apply)

    def _job_call(
        self,
        key: str,
        epoch: int,
        verb: str,
        jobs: Sequence[str],
        more: Mapping[str, Any],
        apply: Callable[[sqlite3.Connection], Outcome],
    ) -> Receipt:
        return self._call(key, epoch, verb, {"jobs": list(jobs), **more}, ("job", jobs), apply)

    def _call(
        self,
        key: str,
        epoch: int,
        verb: str,
        args: Mapping[str, Any],
        named: tuple[str, Sequence[str]],
        apply: Callable[[sqlite3.Connection], Outcome],
    ) -> Receipt:
        content = json.dumps([verb, args], sort_keys=True)
        with self._transaction() as db:
            at_ms = self._now_ms()
            newest = int(db.execute("SELECT newest FROM epoch").fetchone()[0])
            if epoch < newest:
                return Receipt(key, "rejected", f"epoch {epoch} is older than {newest}", at_ms, "fenced")
            db.execute("UPDATE epoch SET newest = ?", (epoch,))
            old = db.execute("SELECT * FROM receipt WHERE key = ?", (key,)).fetchone()
            if old is not None and old["content"] != content:
                return Receipt(key, "rejected", "this key was used for another call", at_ms, "key_reused")
            if old is not None:
                return Receipt(key, old["status"], old["detail"], old["at_ms"])
            problem = _unknown(db, *named)
            outcome: Outcome = ("rejected", problem) if problem else apply(db)
            status, detail = outcome
            if status != "rejected":
                db.execute("INSERT INTO effect(key, verb, at_ms) VALUES (?, ?, ?)", (key, verb, at_ms))
            db.execute("INSERT INTO receipt VALUES (?, ?, ?, ?, ?)", (key, content, status, detail, at_ms))
            return Receipt(key, status, detail, at_ms)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._settle(self._now_ms())
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, sql: str) -> list[sqlite3.Row]:
        with self._transaction() as db:
            return list(db.execute(sql))

    def _settle(self, now_ms: int) -> None:
        """Let time pass: finish moves and drains that are due, close their receipts, start what waits."""
        db = self._db
        db.execute(
            "UPDATE job SET phase = 'running', hall = to_hall, nodes = to_nodes, to_nodes = NULL, to_hall = NULL"
            " WHERE phase = 'moving' AND due_ms <= ?",
            (now_ms,),
        )
        due = [row[0] for row in db.execute("SELECT id FROM job WHERE phase = 'draining' AND due_ms <= ?", (now_ms,))]
        _to_queue(db, due)
        db.execute(
            "UPDATE receipt SET status = 'done', at_ms = ? WHERE status = 'accepted' AND key NOT IN"
            " (SELECT key FROM job WHERE phase IN ('moving', 'draining') AND key IS NOT NULL)",
            (now_ms,),
        )
        _start_queued(db)


def _free(db: sqlite3.Connection, hall: str | None = None) -> list[str]:
    """Nodes that are up, uncordoned and neither used by a job nor promised to a moving one, in order of id."""
    taken = {node for row in db.execute("SELECT nodes, to_nodes FROM job") for node in _held_nodes(row)}
    taken |= {row["node"] for row in db.execute("SELECT DISTINCT node FROM mark WHERE kind = 'cordon'")}
    rows = db.execute("SELECT id FROM node WHERE up = 1 AND (? IS NULL OR hall = ?) ORDER BY id", (hall, hall))
    return [row["id"] for row in rows if row["id"] not in taken]


def _held_nodes(row: sqlite3.Row) -> list[str]:
    return [*json.loads(row["nodes"]), *json.loads(row["to_nodes"] or "[]")]


def _jobs(db: sqlite3.Connection, jobs: Sequence[str]) -> list[sqlite3.Row]:
    wanted = set(jobs)
    return [row for row in db.execute("SELECT * FROM job ORDER BY id") if row["id"] in wanted]


def _unknown(db: sqlite3.Connection, table: str, ids: Sequence[str]) -> str:
    """Why a list of ids cannot be used, or nothing."""
    if not ids:
        return f"no {table} named"
    sql = "SELECT id FROM node" if table == "node" else "SELECT id FROM job"
    missing = set(ids) - {row["id"] for row in db.execute(sql)}
    return f"unknown {table} {min(missing)}" if missing else ""


def _to_queue(db: sqlite3.Connection, jobs: Sequence[str]) -> None:
    db.executemany(
        "UPDATE job SET phase = 'queued', nodes = '[]', to_nodes = NULL, to_hall = NULL, due_ms = NULL"
        " WHERE id = ? AND phase NOT IN ('done', 'held')",
        [(job,) for job in jobs],
    )


def _start_queued(db: sqlite3.Connection) -> None:
    waiting = list(db.execute("SELECT * FROM job WHERE phase = 'queued' ORDER BY priority DESC, id"))
    halls = {row["id"]: row["hall"] for row in db.execute("SELECT id, hall FROM node")} if waiting else {}
    free = _free(db) if waiting else []
    for job in waiting:
        for hall in sorted({halls[node] for node in free}, key=lambda h: (h != job["hall"], h)):
            room = [node for node in free if halls[node] == hall][: job["size"]]
            if len(room) == job["size"]:
                sql = "UPDATE job SET phase = 'running', hall = ?, nodes = ? WHERE id = ?"
                db.execute(sql, (hall, json.dumps(room), job["id"]))
                free = [node for node in free if node not in room]
                break


def _job_view(row: sqlite3.Row) -> JobView:
    phase: JobPhase = row["phase"]
    return JobView(row["id"], row["job_class"], row["hall"], tuple(json.loads(row["nodes"])), phase, row["priority"])
