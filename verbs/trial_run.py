"""One trial: an emulated site lives through a story, twins follow it through store and ports, and forecast. Simulated.

Beside the twin that is corrected stand two that are not: one hears which machines run and gets no measured value, the
other follows the scheduler alone. None is told that a set-point was changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from recovery.livetwin import LiveTwin
from scheduler.emulated import EmulatedScheduler
from twin.emulator import Emulator
from twin.engine import Engine
from twin.sensors import Sensors
from twin.state import State
from twin.telemetry.admit import Gate
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.store import Batch, Event
from verbs.trial_story import MINUTE_MS, SENSORS, START_MS, Story

Array = NDArray[np.float64]

TICK_MS = 15_000
FIRST_MIN, EVERY_MIN = 20, 5  # forecasts from this minute on, every so many minutes
HORIZONS_MIN = (10, 60)
LONG_EVERY_MIN = 15  # the long ones are fewer: they cost more
TWIN_SEED = 1_000_000  # the luck of twins is none of the emulated sites'
STATES = ("running", "ok")  # channels that say which machines run


@dataclass(frozen=True)
class Forecast:
    """Inlets of all racks said at an instant for a later one: mean, spread over members, what its sensors err (R,)."""

    made_ms: int
    for_ms: int
    mean_c: Array
    sd_k: Array
    bias_k: Array
    read_sd_k: Array
    """Of the reading that will come, without its noise."""


@dataclass
class Following:
    """A twin and what it said: forecasts, and its State at the start and at the end of the telemetry."""

    twin: LiveTwin
    corrected: bool
    hears: bool = True
    """Which machines run and what the site announces."""
    forecasting: bool = True
    trace: list[tuple[Array, Array, Array]] | None = None
    """Inlets, outlets and water of all members, once a minute, where somebody asked."""
    forecasts: list[Forecast] = field(default_factory=list)
    prior: State = field(init=False)
    told: State = field(init=False)

    def __post_init__(self) -> None:
        """Keep what was believed before the first reading."""
        self.prior = self.told = self.twin.state.fork()

    def live(self, scheduler: EmulatedScheduler, now_ms: int, version: object) -> None:
        """Advance to an instant and look at the jobs."""
        self.twin.advance(now_ms)
        self.twin.follow(scheduler, now_ms, version)

    def listen(self, good: Batch, events: list[Event], now_ms: int) -> None:
        """Hear what this twin is let hear of readings and events."""
        if self.hears:
            self.twin.hear(events)
            self.twin.correct(good if self.corrected else good.take(np.isin(good.channel, STATES)), now_ms)
        if self.trace is not None and now_ms % MINUTE_MS == 0:
            s = self.twin.state
            self.trace.append((s.rack_inlet_c.copy(), s.rack_air_c.copy(), s.loop_supply_c.copy()))


@dataclass
class Trial:
    """What was true, what sensors without gaps and outliers would have said, and what each twin said."""

    story: Story
    true_c: Array
    """Rack inlets (ticks + 1, R), the first at the start."""
    read_c: Array
    twins: dict[str, Following]
    """By name: `with` and `without` correction, and others that were asked for."""
    refused: int
    told: State
    """The hidden State when the telemetry ended."""


def play(story: Story, twins: dict[str, Following], told_h: float) -> Trial:
    """Let a site live through its story; the twins hear it for `told_h` hours, then it goes on unheard."""
    store = MemoryStore()
    emulator = story.emulator(store)
    scheduler, gate = EmulatedScheduler(emulator.request), Gate(story.kinds())
    sensors = Sensors(story.site, story.seed, replace(SENSORS, gap_frac=0.0, late_frac=0.0, outlier_frac=0.0))
    inlets = sensor_rows(sensors)
    true_c, read_c = [emulator.engine.state.rack_inlet_c[0].copy()], [inlets(emulator)]
    cursor, refused, changes = store.tail_end(), 0, story.setpoints()
    told_ms, end_ms = START_MS + int(told_h * 3.6e6), START_MS + int(story.hours * 3.6e6)
    told = emulator.engine.state
    for now_ms in range(START_MS + TICK_MS, end_ms + 1, TICK_MS):
        while changes and changes[0].at_ms < now_ms:
            story.command(emulator, changes.pop(0))
        if now_ms > told_ms:
            emulator.advance_unread(now_ms)
        else:
            version = emulator.advance(now_ms)["jobs_version"]
            batch, cursor = store.tail(cursor)
            good, bad = gate.admit(batch, now_ms)
            refused += len(bad)
            events = store.events(now_ms - TICK_MS + 1, now_ms + 1)
            for one in twins.values():
                one.live(scheduler, now_ms, version)
                one.listen(good, events, now_ms)
                _forecast(one, now_ms)
        if now_ms == told_ms:
            told = emulator.engine.state.fork()
            for one in twins.values():
                one.told = one.twin.state.fork()
        true_c.append(emulator.engine.state.rack_inlet_c[0].copy())
        read_c.append(inlets(emulator))
    return Trial(story, np.array(true_c), np.array(read_c), twins, refused, told)


def sensor_rows(sensors: Sensors):  # type: ignore[no-untyped-def]
    """Return what reads all inlets of an emulated site at once, without gaps and outliers (R,) [C]."""
    key = ("rack", "inlet_c")
    keys, bias = sensors.keys[key], sensors.bias[key]
    yes, no = np.ones(len(keys), dtype=bool), np.zeros(len(keys), dtype=bool)

    def read(emulator: Emulator) -> Array:
        value = emulator.engine.state.rack_inlet_c[0].copy()
        return sensors._disturb(value, keys, yes, no, bias, emulator.now_ms // 1000)

    return read


def _forecast(following: Following, now_ms: int) -> None:
    """Fork the twin and let it live on, when a forecast is due."""
    minute, rest = divmod(now_ms - START_MS, MINUTE_MS)
    if not following.forecasting or rest or minute < FIRST_MIN or (minute - FIRST_MIN) % EVERY_MIN:
        return
    engine = Engine(following.twin.state.fork(), following.twin.site, drivers=following.twin.drivers)
    for horizon in HORIZONS_MIN:
        if horizon > HORIZONS_MIN[0] and (minute - FIRST_MIN) % LONG_EVERY_MIN:
            continue
        s = engine.run(now_ms + horizon * MINUTE_MS)
        inlet, bias = s.rack_inlet_c, s.rack_inlet_bias_k
        read_sd = (inlet + bias).std(axis=0, ddof=1)
        following.forecasts.append(
            Forecast(now_ms, s.now_ms, inlet.mean(axis=0), inlet.std(axis=0, ddof=1), bias.mean(axis=0), read_sd)
        )


def followers(site: Site, seed: int, members: int) -> dict[str, Following]:
    """Three twins, equal before the first reading: corrected; told which machines run; told nothing but the jobs."""

    def twin() -> LiveTwin:
        return LiveTwin(site, START_MS, members, TWIN_SEED + seed)

    return {
        "with": Following(twin(), corrected=True),
        "states only": Following(twin(), corrected=False),
        "without": Following(twin(), corrected=False, hears=False),
    }
