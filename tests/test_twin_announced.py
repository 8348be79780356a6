"""What a site announces reaches the live twin through the worker: once each, late ones by a rule, after a restart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from emulated_world import SITE, TICK_MS, quickly
from twin_stories import MINUTE_MS, T0_MS

from predict import registry
from predict.score import Scorer
from recovery.ledger import Ledger
from recovery.livetwin import LiveTwin
from recovery.loop import Settings, Wiring, Worker
from recovery.plant_port import WorkOrderPlant
from scheduler.emulated import EmulatedScheduler
from twin.cooling_bits import CHILLER_ON, STARTING, TRIPPED
from twin.emulator import Emulator
from twin.sync.events import AT_REST_MS, Announced
from twin.sync.lateness import LATE_MS
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.sqlite_store import SqliteStore
from twin.telemetry.store import Batch, Event, Store
from verbs.livework import MODELS, keep_twin, start_worker

K = int(np.flatnonzero(~SITE.chiller_standby)[0])
CHILLER = SITE.chiller_ids[K]
TAKES_MS = int(SITE.cooling.chiller_retry_s[K] * 1000)
FEW = Settings(members=2, finalists=2)


def starting(at_ms: int, code: int = STARTING, component: str = CHILLER) -> Event:
    return Event(at_ms, component, "chiller", str(code))


def wiring(home: Path, store: Store, emulator: Emulator | None = None) -> Wiring:
    emulator = emulator or quickly()[0]
    ledger, scheduler = Ledger(home / "ledger.sqlite"), EmulatedScheduler(emulator.request)
    plant = WorkOrderPlant(ledger, lambda: T0_MS)
    return Wiring(SITE, store, ledger, scheduler, plant, home / "pause", Scorer(SITE, registry.newest(MODELS)))


class Counting(LiveTwin):
    """A live twin that remembers which events it was told."""

    told: tuple[Event, ...] = ()

    def hear(self, events):
        self.told += tuple(events)
        super().hear(events)


def counting(worker: Worker) -> Counting:
    worker.twin.__class__ = Counting
    return worker.twin


# --- which events are news -------------------------------------------------------------------------------------------


def test_an_event_is_news_once_when_its_time_has_come():
    announced, soon = Announced(T0_MS), starting(T0_MS + 20_000)
    assert announced.since_ms == T0_MS - LATE_MS
    assert announced.news([starting(T0_MS), starting(T0_MS - 1)], T0_MS + TICK_MS) == [], "the snapshot's twin knows"
    assert announced.news([starting(T0_MS), soon], T0_MS + 2 * TICK_MS) == [soon]
    assert announced.news([starting(T0_MS), soon], T0_MS + 3 * TICK_MS) == []


def test_a_late_event_is_news_as_long_as_a_late_reading_would_be():
    announced = Announced(T0_MS)
    announced.news([], T0_MS + 10 * MINUTE_MS)
    late = starting(T0_MS + 10 * MINUTE_MS - LATE_MS)
    assert late.time_ms >= announced.since_ms
    assert announced.news([late], T0_MS + 10 * MINUTE_MS + TICK_MS) == [late]
    assert announced.since_ms > late.time_ms, "nobody asks for it any more"


def test_after_an_outage_everything_since_the_last_look_is_news():
    announced = Announced(T0_MS)
    announced.news([], T0_MS + MINUTE_MS)
    missed = [starting(T0_MS + k * MINUTE_MS) for k in (2, 5, 9)]
    assert announced.news(missed, T0_MS + 10 * MINUTE_MS) == missed


# --- what a chiller's events say -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "phase"),
    [
        ([starting(T0_MS)], STARTING),
        (
            [starting(T0_MS), starting(T0_MS + 5_000, TRIPPED)],
            CHILLER_ON,
        ),  # the newest counts, readings say the rest
        ([starting(T0_MS + 5_000), starting(T0_MS, TRIPPED)], STARTING),
        ([starting(T0_MS - TAKES_MS - LATE_MS - 1)], CHILLER_ON),  # long over
        ([starting(T0_MS - TAKES_MS)], STARTING),  # about to be over
        ([Event(T0_MS, CHILLER, "alarm", str(STARTING)), starting(T0_MS, component="nobody")], CHILLER_ON),
    ],
)
def test_a_start_that_lies_ahead_is_taken(events, phase):
    twin = LiveTwin(SITE, T0_MS, 2, 0)
    twin.hear(events)
    assert (twin.state.chiller_phase[:, K] == phase).all()


def test_a_chiller_seen_running_since_is_not_starting():
    twin = LiveTwin(SITE, T0_MS, 2, 0)
    twin.advance(T0_MS + TICK_MS)
    twin.correct(Batch.of([T0_MS + TICK_MS], [CHILLER], ["running"], [1.0]), T0_MS + TICK_MS)
    twin.hear([starting(T0_MS + 5_000)])
    assert (twin.state.chiller_phase[:, K] == CHILLER_ON).all()
    twin.hear([starting(T0_MS + TICK_MS + 1)])
    assert (twin.state.chiller_phase[:, K] == STARTING).all()


# --- through the worker ----------------------------------------------------------------------------------------------


def test_a_start_on_the_emulated_site_reaches_the_twin_of_the_worker(tmp_path):
    emulator, store = quickly()
    hidden = emulator.engine.state
    hidden.agenda.add(T0_MS + 20_000, "chiller", CHILLER, "shock", {})  # it trips and starts again by itself
    worker = Worker(wiring(tmp_path, store, emulator), T0_MS, FEW)
    twin, starts = counting(worker), 0
    for _ in range(TAKES_MS // TICK_MS + 4):
        version = emulator.advance(emulator.now_ms + TICK_MS)["jobs_version"]
        worker.tick(emulator.now_ms, version)
        assert (twin.state.chiller_phase[:, K] == hidden.chiller_phase[0, K]).all()
        starts += int(hidden.chiller_phase[0, K] == STARTING)
    told = [event for event in store.events(T0_MS, T0_MS * 2) if event.type == "chiller"]
    assert starts >= TAKES_MS // TICK_MS - 1
    assert {event.component for event in told} > {CHILLER}, "one that stood by starts as well"
    assert twin.told == tuple(told)


def test_a_worker_that_begins_at_rest_hears_the_last_hour_of_a_store(tmp_path):
    store = MemoryStore()
    recent, old = starting(T0_MS - MINUTE_MS), starting(T0_MS - AT_REST_MS - 1, component=SITE.chiller_ids[-1])
    store.write_events([recent, old])
    worker = start_worker(wiring(tmp_path, store), tmp_path, T0_MS, FEW, print)
    twin = counting(worker)
    worker.tick(T0_MS + TICK_MS)
    worker.tick(T0_MS + 2 * TICK_MS)
    assert twin.told == (recent,)
    assert (twin.state.chiller_phase[:, K] == STARTING).all()


def test_a_worker_that_goes_on_hears_what_it_missed_and_nothing_twice(tmp_path):
    store = SqliteStore(tmp_path / "telemetry.sqlite")
    wired = wiring(tmp_path, store)
    first = start_worker(wired, tmp_path, T0_MS, FEW, print)
    heard = starting(T0_MS + TICK_MS)
    store.write_events([heard])
    first.tick(T0_MS + TICK_MS)
    assert (first.twin.state.chiller_phase[:, K] == STARTING).all()
    keep_twin(first, tmp_path)
    missed = [
        starting(T0_MS + 3 * TICK_MS, component=SITE.chiller_ids[-1]),
        Event(T0_MS + 4 * TICK_MS, CHILLER, "alarm"),
    ]
    store.write_events(missed)
    second = start_worker(wired, tmp_path, T0_MS + 10 * MINUTE_MS, FEW, print)
    assert second.twin.state.now_ms == T0_MS + TICK_MS
    twin = counting(second)
    for tick in (1, 2):
        second.tick(T0_MS + 10 * MINUTE_MS + tick * TICK_MS)
    assert twin.told == tuple(missed)
    store.close()


def test_a_store_that_is_gone_for_a_tick_costs_no_event(tmp_path):
    class Gone(MemoryStore):
        away = False

        def tail(self, cursor):
            if self.away:
                raise ConnectionError
            return super().tail(cursor)

    store = Gone()
    worker = Worker(wiring(tmp_path, store), T0_MS, FEW)
    twin = counting(worker)
    store.write_events([starting(T0_MS + TICK_MS)])
    store.away = True
    with pytest.raises(ConnectionError):
        worker.look(T0_MS + TICK_MS)
    store.away = False
    worker.look(T0_MS + 2 * TICK_MS)
    assert len(twin.told) == 1
