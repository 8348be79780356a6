"""What every running worker does besides its ticks: go on where an earlier one stopped, keep snapshots, tell people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from plant.errors import ForetwinError
from plant.files import DATA
from plant.site import Site
from predict import registry
from predict.catchup import SPAN_S, catch_up
from predict.score import Scorer
from recovery.livetwin import LiveTwin
from recovery.loop import Settings, Tick, Wiring, Worker
from twin import snapshot
from twin.board import Board
from twin.sync.shutouts import REMEMBERED_MS
from verbs.boardposts import SCORES

MODELS = DATA / "models"
SNAPSHOT_EVERY_MS = 10 * 60_000
SNAPSHOTS_KEPT = 2
# An older snapshot is left aside: living through the gap would take longer than the readings need to correct a twin.
OLDEST_SNAPSHOT_MS = 6 * 3_600_000
# One from the instant that is about to be lived is fine; one from later means that somebody has set the clock back.
NEWEST_SNAPSHOT_MS = -300_000
# Longest time from the instant a worker starts at to the readings that came in before it was ready.
SINCE_MS = 120_000
Say = Callable[[str], None]


def shipped_scorer(site: Site) -> Scorer:
    """Return a scorer of the site with the newest shipped model."""
    return Scorer(site, registry.newest(MODELS))


def start_worker(
    wiring: Wiring,
    home: Path,
    now_ms: int,
    settings: Settings,
    say: Say,
    *,
    fresh: bool = False,
    span_s: float = SPAN_S,
) -> Worker:
    """Start a worker where an earlier one stopped: twin from the snapshot, scorer and cursor from the telemetry.

    fresh: nothing has happened yet, so there is nothing to catch up with and the first tick reads from the beginning.
    span_s: how much telemetry is read [s].
    """
    worker = Worker(wiring, now_ms, settings, twin=kept_twin(wiring, home, now_ms, settings.seed, say))
    if not fresh:
        # the cursor first: what arrives while the window is read comes once more and is judged by its own time
        worker.cursor = wiring.store.tail_end()
        shutouts = worker.twin.sync.shutouts
        shutouts.remember(wiring.store.events(now_ms - REMEMBERED_MS, now_ms + 1))
        worker.watch.doubted = shutouts.in_words()
        catch_up(wiring.scorer, wiring.store, now_ms, span_s)
        # what lies behind the cursor but after that instant counts in the first tick
        names = list(wiring.scorer.watched.ids)
        wiring.scorer.update(wiring.store.read(names, None, now_ms + 1, now_ms + SINCE_MS))
        worker.watch.newest_ms.update({c: at_ms for c, (at_ms, _, _) in wiring.store.newest().items()})
    return worker


def recall_sync(worker: Worker, board: Board, now_ms: int) -> None:
    """Begin with the halls out of sync that an earlier worker left so, and with what its forecasts of a day were worth.

    A restart must not make a twin trustworthy.
    """
    worker.twin.lookout.remember(board.history(SCORES, now_ms - REMEMBERED_MS, now_ms + 1))
    posted = board.get_json("sync")
    if (
        posted is None
        or not 0 <= now_ms - posted.updated_ms <= OLDEST_SNAPSHOT_MS
        or not isinstance(posted.value, dict)
    ):
        return
    halls = [row for row in posted.value.get("halls") or () if isinstance(row, dict)]
    worker.twin.divergence.remember((str(row.get("hall")) for row in halls if row.get("out")), now_ms)


def kept_twin(wiring: Wiring, home: Path, now_ms: int, seed: int, say: Say) -> LiveTwin | None:
    """Return the twin of an earlier worker from its newest snapshot that fits, None when there is none."""
    files = sorted((home / "snapshots").glob("*.npz"), key=lambda f: f.stat().st_mtime, reverse=True)
    for file in files:
        try:
            state = snapshot.load(file, wiring.site)
        except ForetwinError as error:
            say(f"snapshot left aside: {error}")
            continue
        if not NEWEST_SNAPSHOT_MS <= now_ms - state.now_ms <= OLDEST_SNAPSHOT_MS:
            say(f"snapshot left aside: {file.name} is {(now_ms - state.now_ms) / 3.6e6:.1f} h old")
            continue
        return LiveTwin(wiring.site, now_ms, state.members, seed, wiring.drivers, state)
    return None


def keep_twin(worker: Worker, home: Path) -> None:
    """Write a snapshot of the live twin and drop all but the newest ones."""
    folder = home / "snapshots"
    snapshot.save(worker.twin.state, folder)
    for old in sorted(folder.glob("*.npz"), key=lambda f: f.stat().st_mtime)[:-SNAPSHOTS_KEPT]:
        old.unlink(missing_ok=True)


@dataclass
class Teller:
    """Says once what matters: alerts, rehearsed plans, what was done."""

    say: Say
    told: set[str] = field(default_factory=set)

    def once(self, key: str, text: str) -> None:
        """Say a line unless its key was said before."""
        if key not in self.told:
            self.told.add(key)
            self.say(text)

    def tick(self, tick: Tick, at: str) -> None:
        """Tell what a tick saw and did; `at` is its instant in words."""
        for alert in tick.alerts:
            self.once(f"alert {alert.root} {alert.since_ms}", f"{at}  alert: {alert.root}: {'; '.join(alert.reasons)}")
        for j in tick.proposed:
            gate = f"  held back: {j.gate_reasons[0]}" if j.gate_reasons else ""
            lost = j.costs["lost_service_min"]["mean"]
            label = j.rehearsal.plan.label
            self.say(f"{at}  rehearsed (simulated) #{j.rank} {label}: {lost:.0f} lost service min{gate}")
        for p in tick.progress:
            if p.what not in ("waiting", "running"):
                text = f"{at}  plan {p.plan}: {p.what}, {p.state} {' '.join(p.reasons)}"
                self.once(f"{p.plan} {p.what} {p.state}", text)
