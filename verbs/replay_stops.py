"""When does the first server stop if nobody acts? Many possible worlds of an incident, set beside what was recorded.

A world is played without sensors, only until its first forced stop. The record's minute is read after all worlds have
been played, for comparison; no run sees it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plant.incident import Incident
from plant.site import Site
from twin.emulator import Emulator
from twin.telemetry.memory_store import MemoryStore
from verbs.replay_run import Case, onset_ms

WORLDS = 24  # enough that the median of a world's minutes moves by less than a tenth with other seeds
CHUNK_MS = 300_000


@dataclass(frozen=True)
class FirstStop:
    """The first forced stop of one world [s], from the fault and from the record's minute 0; None: none stopped."""

    after_fault_s: float | None
    after_zero_s: float | None


def first_stop(site: Site, incident: Incident, seed: int) -> FirstStop:
    """Play the world of a seed until its first forced stop, at the latest until the window of its replay ends."""
    return play_to_stop(Case(site, incident, seed))


def play_to_stop(case: Case) -> FirstStop:
    """Play one world without sensors until its first forced stop."""
    emulator = Emulator(case.site, case.scenario(), MemoryStore(), case.drivers())
    end_ms, stop_ms = case.window_ms[1], -1
    while emulator.now_ms < end_ms and stop_ms < 0:
        stop_ms = emulator.advance_unread(min(end_ms, emulator.now_ms + CHUNK_MS))["first_stop_ms"]
    return of_instant(case, stop_ms)


def of_instant(case: Case, stop_ms: int) -> FirstStop:
    """The first stop of a world from its instant [Unix ms], -1 for none."""
    if stop_ms < 0:
        return FirstStop(None, None)
    return FirstStop((stop_ms - onset_ms(case)) / 1000.0, (stop_ms - case.world.at_ms(0.0)) / 1000.0)


def quantile_s(found: Sequence[float | None], level: float) -> float | None:
    """Return a quantile of times of which some never came; None where that quantile never came."""
    if not found:
        return None
    ordered = sorted(math.inf if one is None else one for one in found)
    place = level * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    value = low if low == high else low + (place - math.floor(place)) * (high - low)
    return value if np.isfinite(value) else None


def row(incident: Incident, found: Sequence[FirstStop]) -> dict[str, Any]:
    """One line of the report: median and spread of the worlds, the record, and the factor between them."""
    fault = [one.after_fault_s for one in found]
    zero_s = quantile_s([one.after_zero_s for one in found], 0.5)
    recorded = None if incident.outcome is None else incident.outcome.first_stop_min
    factor = (
        None if recorded is None or not zero_s or zero_s <= 0 else max(zero_s / 60 / recorded, recorded * 60 / zero_s)
    )
    return {
        "incident": incident.id,
        "worlds": len(found),
        "stopped": sum(one is not None for one in fault),
        "t_first_stop_s": quantile_s(fault, 0.5),
        "t_first_stop_p10_s": quantile_s(fault, 0.1),
        "t_first_stop_p90_s": quantile_s(fault, 0.9),
        "since_record_zero_s": zero_s,
        "recorded_s": None if recorded is None else recorded * 60.0,
        "factor": factor,
        "within_factor_2": None if factor is None else factor <= 2.0,
    }
