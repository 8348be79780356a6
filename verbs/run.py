"""`foretwin run`: the worker against a real store, a scheduler and a building, tick after tick of wall-clock time.

It changes nothing but what approved plans say: jobs through the scheduler, the building through work orders that a
person confirms. Stopped or killed at any moment and started again it goes on from ledger, snapshot and telemetry.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plant.errors import StoreUnavailable
from plant.site import Site, load_site
from recovery.choose import Policy
from recovery.ledger import Ledger
from recovery.loop import Settings as LoopSettings
from recovery.loop import Tick, Wiring
from recovery.plant_port import WorkOrderPlant, open_orders
from twin.board import Board
from twin.telemetry.retention import Keep
from twin.telemetry.store import WritesBack
from verbs import settings as config_file
from verbs.boardposts import Poster
from verbs.feeding import Intake, in_words
from verbs.livework import SNAPSHOT_EVERY_MS, Say, Teller, keep_twin, recall_sync, shipped_scorer, start_worker
from verbs.restore import pending, take_in
from verbs.schedulers import lacks, open_scheduler
from verbs.settings import Settings
from verbs.stores import open_store
from verbs.worker_lock import WorkerLock

Row = dict[str, Any]
RETAIN_EVERY_MS = 60_000


def run(
    home: Path,
    site: str | None,
    config: str | Path,
    once: bool,
    say: Say,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Work until stopped (SIGINT, SIGTERM or `stop`), or for one tick; return `ok`, `items` of the last tick, `ticks`.

    site: path or shipped name, None or empty takes the settings' one. Raises ConfigError (settings, another worker
    here), SiteFileError, StoreUnavailable (store or ledger do not answer at the start).
    """
    told = config_file.load(config, {"site": {"file": site}} if site else {})
    model = load_site(told.site.file)
    with _stopping(stop or threading.Event()) as stopped, WorkerLock(home):
        take_in(home)  # a restore that a death cut short
        live = LiveWorker(home, model, told, say, seed, stopped)
        try:
            if once:
                live.intake.settle()
            live.tick(_grid_ms(live.tick_ms))
            if once and not live.ticks and not stopped.wait(live.left_s()):  # an earlier worker had this instant
                live.tick(_grid_ms(live.tick_ms))
            if not once:
                say(f"{_iso(_wall_ms())}  {live.greeting()}")
            while not once and not stopped.wait(live.left_s()):
                if pending(home):
                    live = _restored(live)
                live.guarded_tick(_grid_ms(live.tick_ms))
            return {"ok": True, "items": live.items(), "ticks": live.ticks, "path": str(home)}
        finally:
            live.end()


def _restored(old: LiveWorker) -> LiveWorker:
    """Let go of everything, let a restored backup take its place, and go on from there."""
    old.end(keep=False)
    take_in(old.home)
    old.say(f"{_iso(_wall_ms())}  a backup was restored; going on from it")
    return LiveWorker(old.home, old.site, old.told, old.say, old.seed, old.stopped, old.ticks)


@dataclass
class LiveWorker:
    """One running worker with all it is connected to. `stopped` is set when it is asked to end."""

    home: Path
    site: Site
    told: Settings
    say: Say
    seed: int
    stopped: threading.Event
    ticks: int = 0
    last: Tick | None = field(default=None, init=False)
    _gone: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Open store, ledger, scheduler and board; go on where an earlier worker stopped."""
        told, home = self.told, self.home
        self.tick_ms = round(told.loop.tick_s * 1000)
        self.store = open_store(_address(told), home, self.site, auth=told.store.auth)
        self.ledger = Ledger(home / "ledger.sqlite", autonomy=told.identity.autonomy)
        self.board = Board(home / "telemetry.sqlite")
        self.scheduler = open_scheduler(told, home, self.site, _wall_ms)
        plant = WorkOrderPlant(self.ledger, _wall_ms)
        scorer = shipped_scorer(self.site)
        wiring = Wiring(self.site, self.store, self.ledger, self.scheduler, plant, home / "pause", scorer)
        now_ms = _grid_ms(self.tick_ms) - self.tick_ms
        span_s = told.sources.history_h * 3600.0
        self.worker = start_worker(wiring, home, now_ms, self._loop_settings(), self.say, span_s=span_s)
        recall_sync(self.worker, self.board, now_ms)
        fixed = {
            "site": self.site.name, "mode": "live", "incident": None, "simulated": False, "speed": 1.0,
            "autonomy": self.ledger.autonomy, "tick_s": told.loop.tick_s,
        }  # fmt: skip
        back = self.store if isinstance(self.store, WritesBack) else None
        self.poster, self.teller = Poster(self.board, fixed, back=back), Teller(self.say)
        self.intake = Intake(
            told.sources.tables,
            self.board,
            self.site,
            self.store,
            _wall_ms,
            history_h=told.sources.history_h,
            seed=self.seed,
        )
        self._snapshot_ms = self._retained_ms = now_ms

    def _loop_settings(self) -> LoopSettings:
        loop = self.told.loop
        policy = Policy(**self.told.policy.model_dump())
        return LoopSettings(
            loop.members, loop.finalists, self.seed, loop.workers, loop.backend, loop.coming, policy=policy
        )

    def tick(self, now_ms: int) -> None:
        """One tick at a grid instant [Unix ms]; nothing when the clock did not go on. Raises StoreUnavailable."""
        if now_ms <= self.worker.twin.state.now_ms:
            return
        begun_s = time.monotonic()
        self._bring(now_ms)
        self.last = self.worker.tick(now_ms)
        self.ticks += 1
        self.teller.tick(self.last, _iso(now_ms))
        self._tell_rejected(now_ms)
        late = time.monotonic() - begun_s > self.told.loop.tick_s
        self.poster.post(self.worker, now_ms, _wall_ms(), "slowed" if late else "running")
        self.board.put_json("sources", self.intake.rows(), now_ms)
        if now_ms - self._snapshot_ms >= SNAPSHOT_EVERY_MS:
            keep_twin(self.worker, self.home)
            self._snapshot_ms = now_ms
        self._retain(now_ms)

    def _tell_rejected(self, now_ms: int) -> None:
        """Say when a database has refused lines for good: they lie in the spool, and nobody else would know."""
        delivery = getattr(self.store, "delivery", None)
        n = delivery().rejected if delivery else 0
        if n:
            where = self.home / "spool" / "rejected.txt"
            text = f"readings refused by the database for good: {n}; they lie in {where}"
            self.teller.once(f"rejected {n}", f"{_iso(now_ms)}  {text}")

    def _retain(self, now_ms: int) -> None:
        """Once a minute, and in small bites, drop telemetry that the settings do not keep."""
        if now_ms - self._retained_ms < RETAIN_EVERY_MS:
            return
        self._retained_ms = now_ms
        kept = self.told.store
        keep = Keep.days(now_ms, kept.keep_days, kept.keep_events_days)
        self.store.retain(keep)
        self.board.retain(keep.readings_ms)

    def _bring(self, now_ms: int) -> None:
        """Take in what the sources said; a store that is gone must not keep the tick from undoing what has to be."""
        try:
            if self.intake.bring(now_ms):
                self.store.flush()  # a store behind a server takes a moment: the tick is to see what came
        except StoreUnavailable as error:
            self.teller.once(f"{error} {now_ms // 60_000}", f"{_iso(now_ms)}  {error}; what was read waits")

    def guarded_tick(self, now_ms: int) -> None:
        """A tick that a store gone for a while does not end: said once a minute, nothing is started meanwhile."""
        try:
            self.tick(now_ms)
            if self._gone:
                self._gone = False
                self.say(f"{_iso(now_ms)}  the telemetry store is back")
        except StoreUnavailable as error:
            self._gone = True
            self.teller.once(f"{error} {now_ms // 60_000}", f"{_iso(now_ms)}  {error}; trying again")
            with suppress(StoreUnavailable):  # the board's own file may be what is gone
                self.poster.beat(self.worker, now_ms, _wall_ms(), "running")
                self.board.put_json("sources", self.intake.rows(), now_ms)

    def left_s(self) -> float:
        """Seconds until the next tick is due."""
        return (self.tick_ms - _wall_ms() % self.tick_ms) / 1000.0

    def end(self, keep: bool = True) -> None:
        """Keep the twin (unless its state is about to be replaced), say that the clock stands, let go of everything."""
        try:
            if keep and self.last is not None:
                keep_twin(self.worker, self.home)
                self.poster.beat(self.worker, self.last.now_ms, _wall_ms(), "stopped")
        finally:
            self.intake.end()
            self.store.close()
            self.scheduler.close()
            self.ledger.close()
            self.board.close()

    def greeting(self) -> str:
        """Who follows what from where, for the first line of a log."""
        names = ", ".join(self.told.sources.tables) or "no sources"
        return f"following {self.site.name}: {names}; store {_address(self.told)}, state {self.home}; SIGINT ends it"

    def items(self) -> list[Row]:
        """What the last tick saw and did, one row each, then what is missing for more."""
        tick, rows = self.last, []
        if tick is not None:
            rows.append(_row("readings", tick.readings, "in this tick"))
            rows += [_row("alert", a.root, "; ".join(a.reasons)) for a in tick.alerts]
            rows += [
                _row("rehearsed", j.rehearsal.plan.id, f"#{j.rank} {j.rehearsal.plan.label}") for j in tick.proposed
            ]
            rows += [_row("plan", p.plan, " ".join((p.what, p.state, *p.reasons))) for p in tick.progress]
        rows += [_row("waiting", r.id, f"{r.label}: foretwin approve {r.id}") for r in self.ledger.waiting()]
        rows += [_row("work order", key, f"{do}: {' '.join(names)}") for key, do, names, _ in open_orders(self.ledger)]
        rows += [_row("source", s["name"], in_words(s)) for s in self.intake.rows() if s["state"] != "ok"]
        return rows + self._missing()

    def _missing(self) -> list[Row]:
        """What keeps this worker from doing more, each with its cure."""
        rows, pause = [], self.home / "pause"
        if pause.exists():
            words = " ".join(pause.read_text(errors="replace").split())
            rows.append(_row("paused", str(pause), f"{words}; no new step starts until foretwin resume"))
        if self.worker.watch.worst_age_s(_wall_ms()) is None:
            cure = "name sources in foretwin.toml, or bring readings in with foretwin ingest"
            rows.append(_row("missing", "telemetry", f"no reading yet: {cure}"))
        rows += [_row("missing", *words) for words in lacks(self.scheduler, self.told.scheduler.name)]
        if not self.told.identity.name and not self.told.identity.demo:
            rows.append(_row("missing", "identity", "the screen is read-only: set the name under identity"))
        return rows


def _row(what: str, name: Any, detail: str) -> Row:
    return {"what": what, "name": name, "detail": detail}


def _address(told: Settings) -> str:
    store = told.store
    return "embedded" if store.kind == "embedded" else f"{(store.url or '').rstrip('/')}/{store.database}"


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[threading.Event]:
    """Let SIGINT and SIGTERM set the event, so that a tick under way ends first; only the main thread hears signals."""
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wall_ms() -> int:
    return int(time.time() * 1000)


def _grid_ms(tick_ms: int) -> int:
    """The newest instant of the grid of ticks [Unix ms]."""
    return _wall_ms() // tick_ms * tick_ms


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000.0, UTC).isoformat(timespec="seconds")
