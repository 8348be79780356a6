"""The lives of chillers, cooling units, pumps, CDUs, their controls and the weather, as processes that own nothing.

Same rules as `twin/processes.py`: a process yields first and reads its entry again; the entry's phase says where in its
life the component stands. Plan and protection act through `twin/cooling_effects.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import numpy as np
import simpy

from twin import cooling_effects as effects
from twin.cooling_bits import BROKEN, COMING_UP, LOCKED
from twin.unitside import held_valve_frac

if TYPE_CHECKING:
    from twin.processes import Turn

Life = Generator[simpy.Event, None, None]
STAFF_POLL_MS = 60_000


def chiller(w: Turn) -> Life:
    """A chiller fails or trips, a standby one is ordered to start, it is repaired, reset by a person, or restarts.

    `trip` and `out` are failures until a repair (`out` orders no stand-in); `shock` trips it for an instant: it
    restarts by itself or locks out; `locked` waits for one of the plant's people, `hands_on` is being reset.
    """
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        e, k, rows = w.entry, w.index("chiller"), w.rows
        if w.at("trip") or w.at("out"):
            effects.break_chiller(w.engine, k, rows)
            if w.at("trip"):
                effects.stand_in(w.engine, k, rows, e.due_ms)
            w.next("repair", e.number("repaired_ms"))
        elif w.at("shock"):
            effects.trip_chiller(w.engine, k, rows, BROKEN)
            effects.stand_in(w.engine, k, rows, e.due_ms)
            effects.release_chiller(w.engine, k, rows, BROKEN, e.due_ms)
            w.end()
        elif w.at("start"):
            effects.end_chiller_start(w.engine, k, rows, e.due_ms)
            w.end()
        elif w.at("locked") or w.at("hands_on"):
            _by_hand(w, k)
        else:
            effects.return_chiller(w.engine, k, rows)
            w.end()


def _by_hand(w: Turn, k: int) -> None:
    """Take a free person for each row that has one; the others ask again in a minute, in the order of their trips."""
    e, rows, s = w.entry, w.rows, w.engine.state
    assert e is not None
    plant = w.engine.site.cooling
    region = int(plant.loop_region[w.engine.site.chiller_loop[k]])
    if w.at("hands_on"):
        s.staff_busy[rows, region] -= 1
        effects.release_chiller(w.engine, k, rows, LOCKED, e.due_ms)
        w.end()
        return
    limit = int(plant.region_staff[region])
    free = np.ones(len(rows), dtype=bool) if limit == 0 else s.staff_busy[rows, region] < limit
    got, left = rows[free], rows[~free]
    if len(got):
        s.staff_busy[got, region] += 1
        done_ms = e.due_ms + int(plant.region_hands_on_s[region] * 1000)
        w.engine.put(done_ms, "chiller", e.component, "hands_on", rows=tuple(int(r) for r in got))
    if len(left):
        w.next("locked", e.due_ms + STAFF_POLL_MS, rows=tuple(int(r) for r in left))
    else:
        w.end()


def cooling_unit(w: Turn) -> Life:
    """A cooling unit stops and is repaired; after a loss of power it comes up."""
    return _fan_life(w, "cooling_unit")


def pump(w: Turn) -> Life:
    """A pump trips and is repaired; a started one comes up."""
    return _fan_life(w, "pump")


def cdu(w: Turn) -> Life:
    """The pumps of a coolant distribution unit fail and are repaired."""
    return _fan_life(w, "cdu")


def _fan_life(w: Turn, kind: str) -> Life:
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        e, i, rows = w.entry, w.index(kind), w.rows
        if w.at("stop"):
            effects.stop(w.engine, kind, i, rows, BROKEN)
            w.next("repair", e.number("repaired_ms"))
        elif w.at("up"):
            effects.clear(w.engine, kind, i, rows, COMING_UP)
            w.end()
        else:
            if kind == "pump":
                effects.return_pump(w.engine, i, rows)
            else:
                effects.clear(w.engine, kind, i, rows, BROKEN)
            w.end()


def control(w: Turn) -> Life:
    """The control of a hall freezes: units keep speed and valve, the loop starts nothing by itself; then a reset."""
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        e, hall, rows, engine = w.entry, w.index("hall"), w.rows, w.engine
        s, at = engine.state, np.flatnonzero(engine.site.unit_hall == hall)
        here = np.ix_(rows, at)
        if w.at("freeze"):
            engine.derived.refresh()
            s.unit_valve_frac[here] = held_valve_frac(engine.derived, engine.outdoor_c())[here]
            s.unit_held_frac[here] = engine.derived.fan_speed[rows, hall][:, None]
        else:
            s.unit_held_frac[here] = -1.0
        s.loop_held[rows, int(engine.site.hall_loop[hall])] = w.at("freeze")
        engine.derived.mark(rows)
        if w.at("freeze"):
            w.next("reset", e.number("repaired_ms"))
        else:
            w.end()


def weather(w: Turn) -> Life:
    """A heat wave comes, stays and goes: the outdoor temperature of a region drifts above that of the drivers."""
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        e, g, rows, s = w.entry, w.index("region"), w.rows, w.engine.state
        peak_k = e.number("peak_k")
        if w.at("rise"):
            over_ms = max(e.number("peak_ms") - e.due_ms, 1.0)
            s.region_outdoor_k_per_s[rows, g] = (peak_k - s.region_outdoor_k[rows, g]) * 1000.0 / over_ms
            w.next("peak", e.number("peak_ms"))
        elif w.at("peak"):
            s.region_outdoor_k_per_s[rows, g], s.region_outdoor_k[rows, g] = 0.0, peak_k
            w.next("fall", e.number("over_ms"))
        elif w.at("fall"):
            over_ms = max(e.number("fall_ms"), 1.0)
            s.region_outdoor_k_per_s[rows, g] = -s.region_outdoor_k[rows, g] * 1000.0 / over_ms
            w.next("over", e.due_ms + over_ms)
        else:
            s.region_outdoor_k_per_s[rows, g], s.region_outdoor_k[rows, g] = 0.0, 0.0
            w.end()


LIVES: dict[str, Callable[[Turn], Life]] = {
    "chiller": chiller,
    "cooling_unit": cooling_unit,
    "pump": pump,
    "cdu": cdu,
    "control": control,
    "weather": weather,
}
