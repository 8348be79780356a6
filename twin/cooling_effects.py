"""What happenings do to the cooling plant, for some member rows: trips, lock-outs, restarts, power lost and back.

`power_lost` and `power_back` are the seam to the power chain: whoever knows that a supply fails names the kind
("cooling_unit" "chiller" "pump" "cdu"), the components and the member rows. The pumps of a loop go together: for "pump"
the components are loops; a loop whose file lists no pumps has them on a supply that never fails. Reasons to stand still
add up (`twin/cooling_bits.py`), so power may come back to a broken unit without starting it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import cooling, streams
from twin.cooling_bits import (
    BROKEN,
    CHILLER_ON,
    COMING_UP,
    LOCKED,
    LOW_FLOW,
    NO_POWER,
    STANDBY,
    STANDING_BY,
    STARTING,
    TRIPPED,
)
from twin.waterside import water_flow_frac
from twin.world import World

Ints = NDArray[np.int64]
OFF = {"cooling_unit": "unit_off", "chiller": "chiller_off", "pump": "pump_off", "cdu": "cdu_off"}


# --- power ------------------------------------------------------------------------------------


def power_lost(w: World, kind: str, components: Ints, rows: Ints) -> None:
    """Some plant loses its supply in these rows: fans, pumps and CDUs stop, chillers trip."""
    for i in _machines(w, kind, components):
        if kind == "chiller":
            trip_chiller(w, int(i), rows, NO_POWER)
        else:
            stop(w, kind, int(i), rows, NO_POWER)


def power_back(w: World, kind: str, components: Ints, rows: Ints, at_ms: int) -> None:
    """The supply is back at at_ms: what else stands in no way restarts after its delay; chillers as after a trip."""
    for i in _machines(w, kind, components):
        dark = rows[(w.state.arrays[OFF[kind]][rows, i] & NO_POWER) > 0]
        if not len(dark):
            continue
        if kind == "chiller":
            release_chiller(w, int(i), dark, NO_POWER, at_ms)
        else:
            _come_up(w, kind, int(i), dark, at_ms)


def _machines(w: World, kind: str, components: Ints) -> Ints:
    """Return the machines meant: the pumps of loops, else the components themselves."""
    if kind != "pump":
        return components
    return np.flatnonzero(np.isin(w.site.cooling.pump_loop, components))


def _come_up(w: World, kind: str, i: int, rows: Ints, at_ms: int) -> None:
    """Fans, pumps and CDUs need seconds to be back at full flow."""
    plant = w.site.cooling
    delay_s = {"cooling_unit": plant.unit_restart_s, "pump": plant.pump_start_s}.get(kind, plant.cdu_restart_s)[i]
    clear(w, kind, i, rows, NO_POWER)
    stop(w, kind, i, rows, COMING_UP)
    w.put(at_ms + int(delay_s * 1000), kind, w.site.components(kind)[i], "up", rows=tuple(int(r) for r in rows))


# --- fans, pumps, CDUs ------------------------------------------------------------------------


def stop(w: World, kind: str, i: int, rows: Ints, why: int) -> None:
    """Add a reason to stand still."""
    w.state.arrays[OFF[kind]][rows, i] |= why
    _noted(w, kind, i, rows)


def clear(w: World, kind: str, i: int, rows: Ints, why: int) -> None:
    """Take a reason away; the plant runs again where it was the last."""
    w.state.arrays[OFF[kind]][rows, i] &= ~np.int8(why)
    _noted(w, kind, i, rows)


def _noted(w: World, kind: str, i: int, rows: Ints) -> None:
    if kind == "cooling_unit":
        w.state.unit_running[rows, i] = w.state.unit_off[rows, i] == 0
        w.derived.mark(rows)


def start_pump(w: World, p: int, rows: Ints, at_ms: int) -> None:
    """A standby pump is asked for: it runs after its start time."""
    clear(w, "pump", p, rows, STANDING_BY)
    stop(w, "pump", p, rows, COMING_UP)
    delay_ms = int(w.site.cooling.pump_start_s[p] * 1000)
    w.put(at_ms + delay_ms, "pump", w.site.cooling.pump_ids[p], "up", rows=tuple(int(r) for r in rows))


def return_pump(w: World, p: int, rows: Ints) -> None:
    """A repaired pump runs again, or stands by where the others already move the nominal flow."""
    s, plant, loop = w.state, w.site.cooling, int(w.site.cooling.pump_loop[p])
    mates = np.flatnonzero((plant.pump_loop == loop) & (np.arange(len(plant.pump_ids)) != p))
    enough = (s.pump_off[rows][:, mates] == 0).sum(axis=1) >= plant.loop_pumps[loop]
    clear(w, "pump", p, rows, BROKEN)
    stop(w, "pump", p, rows[enough], STANDING_BY)


# --- chillers ---------------------------------------------------------------------------------


def break_chiller(w: World, k: int, rows: Ints) -> None:
    """A chiller fails, running or standing by, and stays off until it is repaired."""
    w.state.chiller_off[rows, k] |= BROKEN
    w.state.chiller_phase[rows, k] = TRIPPED


def trip_chiller(w: World, k: int, rows: Ints, why: int) -> None:
    """A chiller stops for a reason and cannot run before that is gone; one that stands by stays there."""
    s = w.state
    phase = s.chiller_phase[rows, k]
    running = (phase == CHILLER_ON) | (phase == STARTING)
    s.chiller_off[rows, k] |= why
    s.chiller_phase[rows, k] = np.where(running, TRIPPED, phase)
    s.chiller_trips[rows, k] += running


def release_chiller(w: World, k: int, rows: Ints, why: int, at_ms: int) -> None:
    """A reason is gone: a tripped chiller with no other restarts after its delay, or locks out and waits for a person.

    Which trips lock out is one draw for each trip of each chiller and member.
    """
    s, plant = w.state, w.site.cooling
    s.chiller_off[rows, k] &= ~np.int8(why)
    ready = rows[(s.chiller_off[rows, k] == 0) & (s.chiller_phase[rows, k] == TRIPPED)]
    share = float(plant.loop_lockout_frac[w.site.chiller_loop[k]])
    if share > 0.0 and why != LOCKED and len(ready):
        key = streams.component_key(w.site.chiller_ids[k])
        draw = streams.uniform(s.seed, "chiller lock-out", s.member[ready], key, s.chiller_trips[ready, k])
        locked, ready = ready[draw < share], ready[draw >= share]
        if len(locked):
            lock_out(w, k, locked, at_ms)
    if len(ready):
        _restart(w, k, ready, at_ms + int(plant.chiller_retry_s[k] * 1000))


def lock_out(w: World, k: int, rows: Ints, at_ms: int) -> None:
    """A chiller stays off until one of the plant's people has reset it."""
    w.state.chiller_off[rows, k] |= LOCKED
    w.put(at_ms, "chiller", w.site.chiller_ids[k], "locked", rows=tuple(int(r) for r in rows))


def _restart(w: World, k: int, rows: Ints, due_ms: int) -> None:
    w.state.chiller_phase[rows, k] = STARTING
    w.state.chiller_until_ms[rows, k] = due_ms
    w.put(due_ms, "chiller", w.site.chiller_ids[k], "start", rows=tuple(int(r) for r in rows))


def idle(w: World, k: int, rows: Ints) -> NDArray[np.bool_]:
    """Tell in which rows a chiller stands by and nothing is in its way."""
    return np.asarray((w.state.chiller_phase[rows, k] == STANDBY) & (w.state.chiller_off[rows, k] == 0))


def start_standby(w: World, loop: int, rows: Ints, at_ms: int, named: Ints | None = None) -> None:
    """Order a standby chiller of a loop to start: a named one that can, else the first."""
    mine = np.flatnonzero(w.site.chiller_loop == loop)
    order = mine if named is None else np.concatenate([named, np.setdiff1d(mine, named)])
    left = rows
    for k in order:
        can = idle(w, int(k), left)
        if can.any():
            _restart(w, int(k), left[can], at_ms + int(w.site.chiller_restart_s[k] * 1000))
        left = left[~can]


def stand_in(w: World, k: int, rows: Ints, at_ms: int) -> None:
    """The control of a loop orders a standby chiller in the place of one that stopped, unless it is frozen."""
    loop = int(w.site.chiller_loop[k])
    start_standby(w, loop, rows[~w.state.loop_held[rows, loop]], at_ms)


def end_chiller_start(w: World, k: int, rows: Ints, at_ms: int) -> None:
    """A starting chiller carries load, unless its loop has too little flow: then it trips like the others.

    Rows in which it was stopped meanwhile and started anew wait for that start's own end.
    """
    s, loop = w.state, int(w.site.chiller_loop[k])
    rows = rows[(s.chiller_phase[rows, k] == STARTING) & (s.chiller_until_ms[rows, k] == at_ms)]
    dry = water_flow_frac(w.derived)[rows, loop] < cooling.FULL_CAPACITY_FLOW_FRAC / 2.0
    s.chiller_phase[rows, k] = np.where(dry, TRIPPED, CHILLER_ON)
    if w.site.cooling.loop_controlled[loop]:
        s.chiller_off[rows[dry], k] |= LOW_FLOW


def return_chiller(w: World, k: int, rows: Ints) -> None:
    """A repaired chiller goes back to its duty or to standby, as far as nothing else is in its way."""
    s = w.state
    s.chiller_off[rows, k] &= ~np.int8(BROKEN)
    free = rows[s.chiller_off[rows, k] == 0]
    s.chiller_phase[free, k] = STANDBY if w.site.chiller_standby[k] else CHILLER_ON


# --- loops ------------------------------------------------------------------------------------


def drift_flow(w: World, loop: int, rows: Ints, to_frac: float, over_s: float) -> None:
    """Let a loop's flow drift to a share of nominal over a time [s]."""
    w.state.loop_flow_per_s[rows, loop] = (to_frac - w.state.loop_flow_frac[rows, loop]) / max(over_s, 1.0)


def trip_loop(w: World, loop: int, rows: Ints, residual_flow_frac: float) -> None:
    """Low flow: every running or starting chiller of the loop trips, and the standby ones cannot start on it either."""
    s = w.state
    s.loop_flow_per_s[rows, loop] = 0.0
    s.loop_flow_frac[rows, loop] = residual_flow_frac
    for k in np.flatnonzero(w.site.chiller_loop == loop):
        phase = s.chiller_phase[rows, k]
        s.chiller_phase[rows, k] = np.where((phase == CHILLER_ON) | (phase == STARTING), TRIPPED, phase)


def restore_loop(w: World, loop: int, rows: Ints, count: int) -> None:
    """The loop is bled: flow is back and up to `count` of its duty chillers run."""
    s = w.state
    s.loop_flow_per_s[rows, loop] = 0.0
    s.loop_flow_frac[rows, loop] = 1.0
    duty = np.flatnonzero((w.site.chiller_loop == loop) & ~w.site.chiller_standby)
    for k in duty[:count]:
        s.chiller_off[rows, k] = 0
        s.chiller_phase[rows, k] = CHILLER_ON
