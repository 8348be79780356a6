"""One trial: an emulated site lives through a story, twins follow it through store and ports, and forecast. Simulated.

Beside the twin that is corrected stands one that is not: it follows the scheduler and hears which machines run, as the
other does, and gets no measured value.
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
from verbs.trial_story import MINUTE_MS, SENSORS, START_MS, Story

Array = NDArray[np.float64]

TICK_MS = 15_000
FIRST_MIN, EVERY_MIN = 20, 5  # forecasts from this minute on, every so many minutes
HORIZONS_MIN = (10, 60)
LONG_EVERY_MIN = 15  # the long ones are fewer: they cost more
STATES = ("running", "ok")  # channels that say which machines run


@dataclass(frozen=True)
class Forecast:
    """Inlets of all racks said at an instant for a later one, mean and spread over members (R,) [C]."""

    made_ms: int
    for_ms: int
    mean_c: Array
    sd_k: Array
    bias_k: Array


@dataclass
class Following:
    """A twin and what it said: forecasts, and its State at the start and at the end of the telemetry."""

    twin: LiveTwin
    corrected: bool
    forecasts: list[Forecast] = field(default_factory=list)
    prior: State = field(init=False)

    def __post_init__(self) -> None:
        """Keep what was believed before the first reading."""
        self.prior = self.twin.state.fork()


@dataclass
class Trial:
    """What was true, what sensors without gaps and outliers would have said, and what each twin said."""

    story: Story
    emulator: Emulator
    true_c: Array
    """Rack inlets (ticks + 1, R), the first at the start."""
    read_c: Array
    twins: dict[str, Following]
    """By name: `with` and `without` correction, and others that were asked for."""
    refused: int


def play(story: Story, twins: dict[str, Following], told_h: float, emulator: Emulator, store: MemoryStore) -> Trial:
    """Let a site live through its story; the twins hear it for `told_h` hours, then it goes on unheard."""
    site = story.site
    scheduler = EmulatedScheduler(emulator.request)
    gate = Gate({c: kind for kind in site.kinds for c in site.components(kind)})
    sensors = Sensors(site, story.seed, replace(SENSORS, gap_frac=0.0, late_frac=0.0, outlier_frac=0.0))
    inlets = sensor_rows(sensors)
    true_c, read_c = [emulator.engine.state.rack_inlet_c[0].copy()], [inlets(emulator)]
    cursor, refused, setpoints = store.tail_end(), 0, story.setpoints()
    told_ms, end_ms = START_MS + int(told_h * 3.6e6), START_MS + int(story.hours * 3.6e6)
    for now_ms in range(START_MS + TICK_MS, end_ms + 1, TICK_MS):
        while setpoints and setpoints[0][0] < now_ms:
            at_ms, hall, supply_c = setpoints.pop(0)
            story.command(emulator, f"{at_ms:016d}:{hall}", hall, supply_c)
        if now_ms > told_ms:
            emulator.advance_unread(now_ms)
        else:
            version = emulator.advance(now_ms)["jobs_version"]
            batch, cursor = store.tail(cursor)
            good, bad = gate.admit(batch, now_ms)
            refused += len(bad)
            events = store.events(now_ms - TICK_MS + 1, now_ms + 1)
            for following in twins.values():
                following.twin.advance(now_ms)
                following.twin.follow(scheduler, now_ms, version)
                following.twin.hear(events)
                heard = good if following.corrected else good.take(np.isin(good.channel, STATES))
                following.twin.correct(heard, now_ms)
                _forecast(following, now_ms, story)
        true_c.append(emulator.engine.state.rack_inlet_c[0].copy())
        read_c.append(inlets(emulator))
    return Trial(story, emulator, np.array(true_c), np.array(read_c), twins, refused)


def sensor_rows(sensors: Sensors):  # type: ignore[no-untyped-def]
    """Return what reads all inlets of an emulated site at once, without gaps and outliers (R,) [C]."""
    key = ("rack", "inlet_c")
    keys, bias = sensors.keys[key], sensors.bias[key]
    yes, no = np.ones(len(keys), dtype=bool), np.zeros(len(keys), dtype=bool)

    def read(emulator: Emulator) -> Array:
        value = emulator.engine.state.rack_inlet_c[0].copy()
        return sensors._disturb(value, keys, yes, no, bias, emulator.now_ms // 1000)

    return read


def _forecast(following: Following, now_ms: int, story: Story) -> None:
    """Fork the twin and let it live on, when a forecast is due; planned set-points are set in the fork as planned."""
    minute, rest = divmod(now_ms - START_MS, MINUTE_MS)
    if rest or minute < FIRST_MIN or (minute - FIRST_MIN) % EVERY_MIN:
        return
    engine = Engine(following.twin.state.fork(), following.twin.site, drivers=following.twin.drivers)
    for horizon in HORIZONS_MIN:
        if horizon > HORIZONS_MIN[0] and (minute - FIRST_MIN) % LONG_EVERY_MIN:
            continue
        until_ms = now_ms + horizon * MINUTE_MS
        for at_ms, hall, supply_c in story.setpoints():
            if engine.state.now_ms <= at_ms < until_ms:
                engine.run(at_ms)
                engine.state.hall_setpoint_c[:, hall] = supply_c
        s = engine.run(until_ms)
        inlet = s.rack_inlet_c
        bias = _bias(following.twin, len(s.rack_inlet_c[0]))
        following.forecasts.append(Forecast(now_ms, s.now_ms, inlet.mean(axis=0), inlet.std(axis=0, ddof=1), bias))


def _bias(twin: LiveTwin, racks: int) -> Array:
    """What the twin takes for the error of each inlet sensor [K]."""
    told = getattr(twin.sync, "bias_k", None)
    return told("rack", "inlet_c") if told is not None else np.zeros(racks)


def followers(site: Site, seed: int, members: int) -> dict[str, Following]:
    """The twin that is corrected and the one that is not, equal before the first reading."""
    return {
        "with": Following(LiveTwin(site, START_MS, members, seed), corrected=True),
        "without": Following(LiveTwin(site, START_MS, members, seed), corrected=False),
    }
