"""The scene of a chaos run: database, writer and worker as processes, and a witness that watches age and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from plant.errors import StoreUnavailable
from screens.look import look
from verbs.chaos_writer import BULK, FOLLOWED
from verbs.scratch_influx import InfluxServer
from verbs.stores import TOKEN_VARIABLE

ROOT = Path(__file__).resolve().parent.parent
DATABASE = "chaos"
READY_S = 60.0
SAMPLE_S = 0.1
# Before the first blow both processes have come to rest.
SETTLED_S = 3.0
# What the record may lag behind: the file is written line by line by another process.
RECORD_LAG_MS = 2


class Scene:
    """Everything that runs, and what was seen of it. `violations` are sentences about the age that was shown."""

    def __init__(self, server: InfluxServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.violations: list[str] = []
        self.account: dict[str, dict[str, Any]] = {}
        self.rss_mb: dict[str, list[float]] = {"writer": [], "worker": []}
        self.samples = 0
        self._blow_ms: int | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._process: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Scene:
        """Start all; return when the worker has seen readings and both processes are at rest."""
        # Nothing is killed while the first shard is made.
        self.server.query(f'CREATE DATABASE "{DATABASE}"')
        try:
            self._process["writer"] = self._start("writer")
            self._until(lambda: bool(self.record()), "the writer never wrote")
            self._process["worker"] = self._start("worker")
            self._until(lambda: self.shown_newest_ms() is not None, "the worker never posted its status")
            self._witness = threading.Thread(target=self._watch, daemon=True)
            self._witness.start()
            time.sleep(SETTLED_S)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._rest = {name: max(seen) for name, seen in self.rss_mb.items()}
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Nothing of it is left running."""
        self._ended.set()
        for process in self._process.values():
            if process.poll() is None:
                process.kill()
            process.wait(10)

    def outage_begins(self, kind: str) -> None:
        """From now on nothing newer than what had been begun can be known to the worker.

        Except in a database that is full: 1.6 shows from memory what it could not write down and does not confirm.
        """
        begun = self._begun_ms()
        self.say(f"outage: {kind}")
        with self._lock:
            self._blow_ms = None if kind == "fill" else begun

    def outage_ends(self) -> None:
        """The database is about to answer again."""
        with self._lock:
            self._blow_ms = None

    def say(self, line: str) -> None:
        """Note what happened, with the time, in events.txt."""
        with (self.folder / "events.txt").open("a") as file:
            file.write(f"{time.time():.2f} {line}\n")

    def recovered(self, within_s: float) -> float | None:
        """Seconds until the worker shows a reading made after this call and the spools have let go of all made before.

        None if that does not come in time.
        """
        begun_s, now_ms = time.monotonic(), int(time.time() * 1000)
        until = {spool: max(_waiting(spool), default=0) for spool in (self.home / "spool", self.home / "bulk")}
        while time.monotonic() - begun_s < within_s:
            shown = self.shown_newest_ms()
            drained = all(min(_waiting(spool), default=last + 1) > last for spool, last in until.items())
            if drained and shown is not None and shown >= now_ms:
                return round(time.monotonic() - begun_s, 2)
            time.sleep(0.05)
        return None

    def finish(self) -> None:
        """Let the writer drain what is left, then end the worker; raises StoreUnavailable when one has died."""
        for name in ("writer", "worker"):
            process = self._process[name]
            if process.poll() is not None:
                said = (self.folder / f"{name}.err").read_text()[-300:]
                raise StoreUnavailable(name, f"ended by itself ({process.returncode}): {said}", "", "see --keep")
        self._ended.set()
        self._witness.join(10)
        for name in ("writer", "worker"):
            self._process[name].terminate()
            self._process[name].wait(60)
        self.account = json.loads((self.home / "done.json").read_text())

    def record(self) -> list[tuple[str, str, int, int]]:
        """What was begun and acknowledged so far: (B or A, site, time in ms, version)."""
        path = self.home / "record.txt"
        rows = path.read_text().splitlines() if path.exists() else []
        return [(w[0], w[1], int(w[2]), int(w[3])) for row in rows if len(w := row.split()) == 4]

    def shown_newest_ms(self) -> int | None:
        """The time of the newest reading, as the age on the screen implies it."""
        now = look(self.home, int(time.time() * 1000))
        return None if now.age_s is None else round(now.wall_ms - now.age_s * 1000)

    def measured(self) -> dict[str, Any]:
        """Memory at rest and at its peak [MB], how often the age was looked at, the writers' accounts."""
        peak = {name: max(seen) for name, seen in self.rss_mb.items()}
        return {
            "writer_rss_mb": round(self._rest["writer"], 1),
            "writer_peak_rss_mb": round(peak["writer"], 1),
            "worker_rss_mb": round(self._rest["worker"], 1),
            "worker_peak_rss_mb": round(peak["worker"], 1),
            "age_samples": self.samples,
            "sent_again_blocks": sum(a["again"] for a in self.account.values()),
            "rejected_by_server": sum(a["rejected"] for a in self.account.values()),
            "left_in_spool": sum(a["spooled"] for a in self.account.values()),
        }

    def _begun_ms(self) -> int:
        """The newest time of the followed site that the writer has begun to store; the end of the file is enough."""
        with (self.home / "record.txt").open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 4096))
            rows = [row.split() for row in file.read().decode().splitlines()[1:]]
        return max((int(row[2]) for row in rows if len(row) == 4 and row[1] == FOLLOWED), default=0)

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            for name, seen in self.rss_mb.items():
                seen.append(_rss_mb(self._process[name].pid))
            with self._lock:
                blow_ms = self._blow_ms
                shown = self.shown_newest_ms()
            begun = self._begun_ms()
            self.samples += 1
            if shown is None:
                self.violations.append("the screen showed no age")
            elif shown > begun + RECORD_LAG_MS:
                self.violations.append(f"the screen was {shown - begun} ms fresher than anything that was written")
            elif blow_ms is not None and shown > blow_ms + RECORD_LAG_MS:
                self.violations.append(f"the age stood still in an outage: {shown - blow_ms} ms too fresh")

    def _until(self, ready: Any, trouble: str) -> None:
        until_s = time.monotonic() + READY_S
        while not ready():
            dead = [name for name, process in self._process.items() if process.poll() is not None]
            if dead or time.monotonic() > until_s:
                said = "; ".join((self.folder / f"{name}.err").read_text()[-300:] for name in self._process)
                raise StoreUnavailable(str(self.folder), f"{trouble}: {said}", "", "try again with --keep FOLDER")
            time.sleep(0.05)

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FORETWIN_")}
        environment |= {TOKEN_VARIABLE: self.server.token, "OMP_NUM_THREADS": "1"}
        words = ["-m", "verbs.chaos_writer", role, self.server.url, DATABASE, str(self.home)]
        with (self.folder / f"{role}.err").open("wb") as err:
            return subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=err, stderr=err
            )


def _waiting(spool: Path) -> list[int]:
    """Numbers of the blocks that the database has not confirmed."""
    return [int(path.stem) for path in spool.glob("*.lp")]


def _rss_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(row.split()[1]) / 1024.0 for row in status.splitlines() if row.startswith("VmRSS:")), 0.0)


SITES = (FOLLOWED, BULK)
