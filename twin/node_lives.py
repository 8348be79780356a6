"""What happens to nodes after each step: they stop, fail, start and return (design section 1, rule 3).

A crossing is found over all members at once and handled as one cohort of (row, component) pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import streams
from twin.derived import Derived
from twin.node_faults import end_lives, fail_due
from twin.node_hazard import accrue
from twin.node_repairs import begin_repairs, renew
from twin.nodephase import FAILED, NEVER_MS, ON, STARTING, STOPPED
from twin.placement import interrupt

Flags = NDArray[np.bool_]

RESTART_INLET_C = 27.0  # stopped nodes are let on again below the recommended limit (ASHRAE TC 9.9)
RESTART_WATER_K = 2.0  # and once the chilled water is back near its set-point
START_MEDIAN_S, START_SIGMA = 480.0, 0.4  # node start 5-20 min (notes/incidents.md C)


def cross_nodes(d: Derived, dt_s: float) -> None:
    """Stop, fail, restart and repair nodes; single nodes are looked at only where their rack says one may cross."""
    s = d.state
    if accrue(d, dt_s) and (s.rack_hazard >= d.rack_fails_at).any():
        end_lives(d)
        begin_repairs(d)
    if (s.rack_inlet_c >= d.rack_stop_c).any():
        inlet = s.rack_inlet_c.take(d.site.node_rack, axis=1) + d.site.node_inlet_offset_k
        stop_nodes(d, inlet >= s.node_stop_c)
    if d.site.faults.spares >= 0:
        begin_repairs(d)  # a part may have come
    _end_phases(d)


def stop_nodes(d: Derived, hot: Flags) -> None:
    """Nodes that are up or starting and too hot (M, N) stop themselves."""
    s = d.state
    stopped = hot & ((s.node_phase == ON) | (s.node_phase == STARTING))
    s.node_phase[stopped] = STOPPED
    count = stopped.sum(axis=1)
    s.node_stops[...] += count
    first = (count > 0) & (s.first_stop_ms < 0)
    s.first_stop_ms[first] = s.grid_ms
    interrupt(d, stopped)
    d.mark(np.flatnonzero(stopped.any(axis=1)))


def _end_phases(d: Derived) -> None:
    """Let failed nodes return after repair, stopped ones start when it is cool again, starting ones come up."""
    s = d.state
    rows = np.flatnonzero(d.next_up_ms <= s.grid_ms)
    if len(rows):
        _end_due(d, rows)
    if not d.stopped_in_rack.any():
        return
    water = (s.loop_supply_c < s.loop_setpoint_c + RESTART_WATER_K).take(d.site.hall_loop, axis=1)
    cool = (s.rack_inlet_c < RESTART_INLET_C) & water.take(d.site.rack_hall, axis=1) & (d.stopped_in_rack > 0.0)
    plant = d.site.cooling
    if plant.has_liquid:  # a rack whose coolant does not move would only stop again
        dry = (s.cdu_off != 0).take(np.maximum(plant.rack_cdu, 0), axis=1) & (plant.rack_cdu >= 0)
        cool &= ~dry
    if cool.any():
        start(d, (s.node_phase == STOPPED) & cool.take(d.site.node_rack, axis=1) & d.heat.may_start())


def _end_due(d: Derived, rows: NDArray[np.int64]) -> None:
    """Phases that are over: faults strike, repairs end, nodes come up; what is off keeps its fault for later."""
    s = d.state
    fail_due(d, rows)
    due = np.zeros(s.node_phase.shape, dtype=bool)
    due[rows] = s.node_until_ms[rows] <= s.grid_ms
    back = due & (s.node_phase == FAILED)
    up = back | (due & (s.node_phase == STARTING))
    s.node_phase[up] = ON
    if back.any():
        renew(d, *np.nonzero(back))
    s.node_until_ms[due] = np.where(up, s.node_fault_ms, NEVER_MS)[due]
    begin_repairs(d)
    s.dispatch_due[rows] = True
    d.mark(rows)


def start(d: Derived, start: Flags) -> None:
    """Let nodes start: each comes up after a delay of its own."""
    s = d.state
    row, node = np.nonzero(start)
    delay_s = streams.lognormal(
        s.seed, "node start", s.member[row], d.node_keys[node], s.node_episode[row, node], START_MEDIAN_S, START_SIGMA
    )
    s.node_phase[row, node] = STARTING
    s.node_until_ms[row, node] = s.grid_ms + np.ceil(delay_s * 1000.0).astype(np.int64)
    d.mark(row)
