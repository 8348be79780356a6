"""The worker is killed with SIGKILL at all kinds of moments and started again; the site beside it lives on.

Nothing stands in for anything: an emulated site in its own process, the demo's worker in another, both on one folder.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from recovery.ledger import Ledger
from twin.emulator import Emulator
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.sqlite_store import SqliteStore
from verbs.demo import emulated_site
from verbs.demo_site import SiteLink, Stage
from verbs.demo_worker import Pace

ROOT = Path(__file__).resolve().parent.parent
INCIDENT = ROOT / "tests" / "data" / "tiny-airlock.toml"
UNDER_WAY = ("executing", "verifying", "verified")
LONGEST_S = 60.0
Moment = Callable[["Folder"], bool]


class Folder:
    """What can be seen of a running worker from outside: its ledger and the telemetry."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ledger = Ledger(home / "ledger.sqlite")
        self.store = SqliteStore(home / "telemetry.sqlite", read_only=True)

    def states(self) -> set[str]:
        return set(self.ledger.counts())

    def arrivals(self) -> int:
        return self.store.tail_end()

    def step_states(self) -> set[str]:
        return {step.status for row in self.approved() for step in self.ledger.steps(row.id)}

    def approved(self) -> list[Any]:
        return [r for r in self.ledger.plans() if any(d.what == "approve" for d in self.ledger.decisions(r.id))]

    def close(self) -> None:
        self.ledger.close()
        self.store.close()


def start(home: Path) -> subprocess.Popen[bytes]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with (home / "worker.out").open("ab") as out, (home / "worker.err").open("ab") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "verbs.demo_worker", str(home)], cwd=ROOT, env=env, stdout=out, stderr=err
        )


def kill_at(home: Path, seen: Folder, moment: Moment) -> bool:
    """Run a worker until a moment comes and kill it there; False when it ended before."""
    worker, until_s = start(home), time.monotonic() + LONGEST_S
    try:
        while not moment(seen):
            if worker.poll() is not None:
                assert worker.returncode == 0, (home / "worker.err").read_text()[-2000:]
                return False
            assert time.monotonic() < until_s, "the moment never came"
            time.sleep(0.002)
        return True
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()


def finish(home: Path) -> None:
    worker = start(home)
    assert worker.wait(LONGEST_S) == 0, (home / "worker.err").read_text()[-2000:]


def stage(home: Path, seed: int, auto_approve: bool) -> Stage:
    told = Stage("tiny", str(INCIDENT), seed)
    files = {
        "stage": asdict(told),
        "pace": asdict(Pace(None, auto_approve=auto_approve, human_s=60.0, wait=False)),
        "settings": {"members": 8, "finalists": 8, "horizon_s": 7200.0},
    }
    for name, values in files.items():
        (home / f"{name}.json").write_text(json.dumps(values))
    return told


def after(arrivals: int) -> Moment:
    """Some batches of readings later than the worker's start."""
    begun: list[int] = []

    def moment(seen: Folder) -> bool:
        begun.append(seen.arrivals())
        return begun[-1] - begun[0] >= arrivals

    return moment


def kill_at_each(home: Path, moments: list[Moment]) -> int:
    """Kill a worker at each moment in turn; returns how often it was killed before it came to its end."""
    seen = Folder(home)
    try:
        return sum(kill_at(home, seen, moment) for moment in moments)
    finally:
        seen.close()


def readings(batch: Any) -> set[tuple[int, str, str]]:
    return {(time_ms, component, channel) for time_ms, component, channel, _ in batch.rows()}


def emulated_alone(told: Stage, end_ms: int) -> set[tuple[int, str, str]]:
    """Time, component and channel of every reading of the same site without any worker: its own gaps included."""
    case, store = told.case(), MemoryStore()
    Emulator(case.site, case.scenario(), store, case.drivers()).advance(end_ms)
    return readings(store.tail(0)[0])


def judge(home: Path, told: Stage, starts: int) -> None:
    """Nothing approved is lost, nothing took effect twice, the record is whole, no reading is missing."""
    seen, link = Folder(home), SiteLink(home)
    try:
        log, end_ms = link("log", {}), int(link("truth", {})["now_ms"])
        rows = seen.approved()
        assert rows, (home / "worker.err").read_text()[-2000:]
        assert {row.state for row in rows} == {"verified"}
        effects = Counter(key for _, _, key in log)
        assert effects
        assert set(effects.values()) == {1}
        steps = [step for row in rows for step in seen.ledger.steps(row.id) if step.purpose == "do"]
        assert {step.status for step in steps} <= {"done", "skipped"}
        sent = {step.key for step in steps if step.status == "done" and step.call.port != "none"}
        assert sent == set(effects)
        assert seen.ledger.verify()[1]
        leases = [row for row in seen.ledger.history() if row.what == "lease"]
        assert len(leases) <= starts
        assert readings(SqliteStore(home / "telemetry.sqlite", read_only=True).tail(0)[0]) == emulated_alone(
            told, end_ms
        )
    finally:
        link.close()
        seen.close()


def approve_best(home: Path) -> None:
    """A person approves the recommended plan while no worker runs, at the site's own time."""
    seen, link = Folder(home), SiteLink(home)
    try:
        best = next(r for r in seen.ledger.waiting() if r.label != "do_nothing" and not r.rehearsal["gate_reasons"])
        now_ms = int(link("truth", {})["now_ms"])
        assert seen.ledger.decide(best.id, "grace", "approve", "approved while nobody watched", now_ms).ok
    finally:
        link.close()
        seen.close()


@pytest.mark.slow
def test_a_worker_killed_while_watching_before_approval_and_while_executing_loses_and_repeats_nothing(tmp_path):
    draw = random.Random(7)
    told = stage(tmp_path, seed=1, auto_approve=False)
    with emulated_site(tmp_path):
        killed = kill_at_each(tmp_path, [after(draw.randrange(20, 150)), lambda seen: bool(seen.ledger.waiting())])
        approve_best(tmp_path)
        killed += kill_at_each(tmp_path, [lambda seen: bool(seen.step_states() & {"intent", "accepted", "done"})])
        assert killed == 3
        finish(tmp_path)
        judge(tmp_path, told, starts=4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_worker_killed_again_and_again_loses_and_repeats_nothing(tmp_path, seed):
    draw = random.Random(seed)
    told = stage(tmp_path, seed, auto_approve=True)
    moments = [after(draw.randrange(1, 80)) for _ in range(4)]
    moments += [lambda seen: bool(seen.states() & {"approved", *UNDER_WAY})]
    moments += [after(draw.randrange(1, 40)) for _ in range(5)]
    with emulated_site(tmp_path):
        killed = kill_at_each(tmp_path, moments)
        assert killed >= 5
        finish(tmp_path)
        judge(tmp_path, told, starts=len(moments) + 1)
