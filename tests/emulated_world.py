"""An emulated tiny site in this process, and a live twin beside it: what tests of sync and of the emulator share."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

from twin_stories import T0_MS, tiny

from plant.site import Site
from recovery.livetwin import LiveTwin
from scheduler.emulated import EmulatedScheduler
from twin.commands import Commands
from twin.emulator import Emulator, Scenario
from twin.engine import Engine
from twin.sensors import Quality, Sensors
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.store import Batch

SITE = tiny()
TICK_MS = 15_000
PERFECT = Quality(temp_k=0.0, bias_k=0.0, relative=0.0, gap_frac=0.0, late_frac=0.0)


def emulated(hidden_seed: int = 5, site: Site = SITE, hours: float = 2.0, **more: Any) -> tuple[Emulator, MemoryStore]:
    """An emulated site that has settled, and the store it writes to; halls 60 % busy."""
    store = MemoryStore()
    return Emulator(site, scenario(hidden_seed, site, hours, **more), store), store


def scenario(hidden_seed: int, site: Site, hours: float, **more: Any) -> Scenario:
    return Scenario(hidden_seed, T0_MS, hours, dict.fromkeys(site.hall_ids, 0.6), **more)


@lru_cache(maxsize=4)
def settled(hidden_seed: int, hours: float) -> Emulator:
    return emulated(hidden_seed, SITE, hours)[0]


def quickly(hidden_seed: int = 5, hours: float = 2.0, **more: Any) -> tuple[Emulator, MemoryStore]:
    """What `emulated` gives on the tiny site, from a copy of one that settled once: for tests of what comes after."""
    was, store = settled(hidden_seed, hours), MemoryStore()
    new = copy.copy(was)
    new.scenario, new.store, new._late = scenario(hidden_seed, SITE, hours, **more), store, []
    new.engine = Engine(was.engine.state.fork(), SITE)
    new.sensors, new.commands = Sensors(SITE, hidden_seed, new.scenario.quality), Commands(new.engine)
    return new, store


class Beside:
    """A live twin that follows an emulated site through its store and its scheduler, as the worker does."""

    def __init__(self, emulator: Emulator, store: MemoryStore, members: int = 8, seed: int = 1) -> None:
        """Start at the emulator's present, at rest."""
        self.emulator, self.store, self.cursor = emulator, store, 0
        self.scheduler = EmulatedScheduler(emulator.request)
        self.twin = LiveTwin(emulator.site, emulator.now_ms, members, seed)

    def tick(self) -> Batch:
        """Fifteen seconds pass on the site and in the twin, then the twin hears what has arrived."""
        now_ms = self.emulator.now_ms + TICK_MS
        truth = self.emulator.advance(now_ms)
        self.twin.advance(now_ms)
        self.twin.follow(self.scheduler, now_ms, truth["jobs_version"])
        batch, self.cursor = self.store.tail(self.cursor)
        self.twin.correct(batch, now_ms)
        return batch
