"""The worker of the demo: the real loop against the emulated site, paced by a clock that waits for a person.

`python -m verbs.demo_worker HOME` runs it alone; killed at any moment and started again it goes on from ledger,
snapshot and telemetry.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from recovery import mttr
from recovery.emulated_plant import EmulatedPlant
from recovery.ledger import Ledger
from recovery.loop import OPEN, Settings, Wiring
from recovery.service import ServiceRecord
from scheduler.emulated import EmulatedScheduler
from twin.board import Board
from twin.telemetry.sqlite_store import SqliteStore
from verbs.boardposts import Poster
from verbs.demo_site import SiteLink, Stage
from verbs.livework import SNAPSHOT_EVERY_MS, Teller, keep_twin, recall_sync, shipped_scorer, start_worker
from verbs.replay_run import (
    THINKING_MS,
    TICK_MS,
    Case,
    Measured,
    StaticAlarm,
    approve_when_due,
    conclude,
    note_alerts,
    onset_ms,
)
from verbs.worker_lock import WorkerLock

POST_EVERY_S = 0.5


@dataclass(frozen=True)
class Pace:
    """How the demo's clock runs: site seconds per wall second (None: as fast as it goes), who decides, if it waits."""

    speed: float | None = 60.0
    auto_approve: bool = False
    human_s: float = 120.0
    wait: bool = True


@dataclass
class DemoWorker:
    """One run of the worker over the whole scenario."""

    home: Path
    stage: Stage
    pace: Pace
    settings: Settings
    say: Callable[[str], None]
    planned: Callable[[], object] | None = None  # called once, when the first plans have been rehearsed
    beside: Callable[..., Any] | None = None  # who makes forecasts in another process, None: the worker itself
    case: Case = field(init=False)
    measured: Measured = field(init=False)

    def __post_init__(self) -> None:
        """Connect to the site, open store, board and ledger, bring twin and scorer up to date."""
        self.case = self.stage.case()
        self.lock = WorkerLock(self.home)
        self.link = SiteLink(self.home)
        self.store = SqliteStore(self.home / "telemetry.sqlite")
        self.board = Board(self.home / "telemetry.sqlite")
        self.ledger = Ledger(self.home / "ledger.sqlite")
        self.truth = self.link("truth", {})
        self.start_ms, self.end_ms = self.case.window_ms
        now_ms = int(self.truth["now_ms"])
        scorer = shipped_scorer(self.case.site)
        scheduler, plant = EmulatedScheduler(self.link), EmulatedPlant(self.link)
        drivers = self.case.drivers()
        wiring = Wiring(self.case.site, self.store, self.ledger, scheduler, plant, self.home / "pause", scorer, drivers)
        fresh = now_ms <= self.start_ms
        self.worker = start_worker(wiring, self.home, now_ms, self.settings, self.say, fresh=fresh)
        self.worker.twin.lookout.beside = self.beside
        recall_sync(self.worker, self.board, now_ms)
        fixed = {
            "site": self.case.site.name, "mode": "demo", "incident": self.case.incident.id, "simulated": True,
            "speed": self.pace.speed or "max", "autonomy": self.ledger.autonomy,
        }  # fmt: skip
        self.poster = Poster(self.board, fixed)
        self.measured = Measured("foretwin", self.truth, _service(self.board), onset_ms(self.case))
        self.static = StaticAlarm()
        self.teller = Teller(self.say)
        self._posted_s, self._snapshot_ms = 0.0, now_ms
        world = self.case.world
        self._repaired_ms = world.at_ms(max(r.at_min for r in world.repairs))

    def run(self) -> Measured:
        """Play to the end of the window."""
        now_ms, ahead = int(self.truth["now_ms"]), False
        while now_ms < self.end_ms and not self._over(now_ms):
            begun_s = time.monotonic()
            now_ms += TICK_MS
            if not ahead:
                self.link.ask("advance", {"to_ms": now_ms})
            self.truth = self.measured.truth = self.link.answer()
            # the site lives its next step while the worker thinks: a command reaches it one tick later
            ahead = now_ms < self.end_ms
            self._tick(now_ms, partial(self.link.ask, "advance", {"to_ms": now_ms + TICK_MS}) if ahead else None)
            self._wait(now_ms, begun_s)
        conclude(self.measured, self.ledger)
        return self.measured

    def _over(self, now_ms: int) -> bool:
        """The story is over: everything repaired, nothing open, service back inside its limit and held."""
        since_ms = self.measured.service.ok_since_ms
        held = since_ms is not None and now_ms - max(since_ms, self._repaired_ms) >= 2 * mttr.HOLD_S * 1000
        return now_ms >= self._repaired_ms and held and not self.ledger.plans(*OPEN)

    def _tick(self, now_ms: int, ahead: Callable[[], None] | None) -> None:
        m = self.measured
        m.service.note(now_ms, self.truth["service_frac"])
        tick = self.worker.tick(now_ms, self.truth["jobs_version"], ahead)
        self._static(now_ms)
        note_alerts(m, self.case, tick.alerts)
        if tick.proposed and not m.plans:
            m.plans = [j.as_dict() for j in tick.proposed]
            if self.planned is not None:
                self.planned()
        if self.pace.auto_approve:
            approve_when_due(self.ledger, now_ms, self.pace.human_s)
        self.teller.tick(tick, f"{(now_ms - m.t0_ms) / 60000.0:+.1f} min")
        if now_ms - self._snapshot_ms >= SNAPSHOT_EVERY_MS:
            self._save(now_ms)

    def _static(self, now_ms: int) -> None:
        if self.static.first_ms is None and self.worker.batch is not None:
            self.static.write(self.worker.batch)
            self.measured.static_ms = self.static.first_ms

    def _save(self, now_ms: int) -> None:
        """Keep the newest snapshots of the live twin and the service record so far."""
        keep_twin(self.worker, self.home)
        record = self.measured.service
        self.board.put_json("service", {"times_ms": record.times_ms, "frac": record.frac}, now_ms)
        self._snapshot_ms = now_ms

    def _wait(self, now_ms: int, begun_s: float) -> None:
        """Post, and hold the clock: to its speed, and while a plan waits for a person."""
        spent_s = time.monotonic() - begun_s
        due_s = 0.0 if self.pace.speed is None else TICK_MS / 1000.0 / self.pace.speed
        if time.monotonic() - self._posted_s >= POST_EVERY_S or now_ms >= self.end_ms:
            self.poster.post(self.worker, now_ms, _wall_ms(), "slowed" if spent_s > due_s > 0.0 else "running")
            self._posted_s = time.monotonic()
        while self.pace.wait and not self.pace.auto_approve and self._awaiting(now_ms):
            self.teller.once(f"waiting {now_ms}", "a plan waits: approve or reject it in the app; the clock waits too")
            self.poster.post(self.worker, now_ms, _wall_ms(), "waiting")
            time.sleep(0.5)
        left_s = due_s - (time.monotonic() - begun_s)
        if left_s > 0.0:  # even a sleep of nothing gives the core away
            time.sleep(left_s)

    def _awaiting(self, now_ms: int) -> bool:
        """A recommended plan waits (not doing nothing, not held back) and the thinking charged for it is over."""
        return any(
            r.rank == 0
            and r.label != "do_nothing"
            and not (r.rehearsal or {}).get("gate_reasons")
            and now_ms - r.created_ms >= THINKING_MS
            for r in self.ledger.waiting()
        )

    def end(self, outcome: dict[str, Any]) -> None:
        """Post the outcome; the screens show it from now on."""
        now_ms = int(self.truth["now_ms"])
        self.poster.post(self.worker, now_ms, _wall_ms(), "ended")
        self.board.put_json("outcome", outcome, now_ms)


def _wall_ms() -> int:
    return int(time.time() * 1000)


def _service(board: Board) -> ServiceRecord:
    """Return the service record of an earlier worker, or an empty one."""
    posted = board.get_json("service")
    record = ServiceRecord()
    for at_ms, frac in zip(*(posted.value["times_ms"], posted.value["frac"]) if posted else ((), ()), strict=True):
        record.note(at_ms, frac)
    return record


def _settings(path: Path) -> Settings:
    """The loop's settings as the folder states them, else few members: enough to see the demo go on after a kill."""
    return Settings(**json.loads(path.read_text())) if path.exists() else Settings(finalists=32, seed=0)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    worker = DemoWorker(
        folder, Stage(**json.loads((folder / "stage.json").read_text())),
        Pace(**json.loads((folder / "pace.json").read_text())), _settings(folder / "settings.json"),
        lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    measured = worker.run()
    print(json.dumps({"outcome": measured.recovery().outcome, "mttr_s": measured.recovery().mttr_s}))
