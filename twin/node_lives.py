"""What happens to nodes after each step: they stop, fail, start and return (design section 1, rule 3).

A crossing is found over all members at once and handled as one cohort of (row, component) pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import streams
from twin.derived import Derived
from twin.nodephase import FAILED, ON, STARTING, STOPPED
from twin.placement import interrupt

Flags = NDArray[np.bool_]

NODE_FAILURES_PER_S = 4.0 / 1000.0 / 86400.0  # 4 per 1,000 node-days: four sources agree on 2-7 (notes/predict.md 2)
HAZARD_DOUBLES_PER_K = 10.0  # hazard doubles for each 10 K of inlet temperature [assumed]
HAZARD_REFERENCE_C = 22.0
REPAIR_MEDIAN_S, REPAIR_SIGMA = 21 * 3600.0, 1.9  # repair median 21 h, mean 6 x that (gpu_cluster_faults)
RESTART_INLET_C = 27.0  # stopped nodes are let on again below the recommended limit (ASHRAE TC 9.9)
RESTART_WATER_K = 2.0  # and once the chilled water is back near its set-point
START_MEDIAN_S, START_SIGMA = 480.0, 0.4  # node start 5-20 min (notes/incidents.md C)


def cross_nodes(d: Derived, dt_s: float) -> None:
    """Stop, fail, restart and repair nodes; single nodes are looked at only where their rack says one may cross."""
    s = d.state
    warmer = (s.rack_inlet_c - HAZARD_REFERENCE_C) / HAZARD_DOUBLES_PER_K
    s.rack_hazard[...] += NODE_FAILURES_PER_S * np.exp2(warmer) * dt_s
    worn, hot = s.rack_hazard >= d.rack_fails_at, s.rack_inlet_c >= d.rack_stop_c
    if worn.any():
        nodes = s.rack_hazard.take(d.site.node_rack, axis=1) >= s.node_fails_at
        _fail(d, nodes & (s.node_phase == ON))
    if hot.any():
        inlet = s.rack_inlet_c.take(d.site.node_rack, axis=1) + d.site.node_inlet_offset_k
        stop_nodes(d, inlet >= s.node_stop_c)
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


def _fail(d: Derived, failed: Flags) -> None:
    s = d.state
    row, node = np.nonzero(failed)
    keys = d.node_keys[node]
    episode = s.node_episode[row, node]
    repair_s = streams.lognormal(s.seed, "node repair", s.member[row], keys, episode, REPAIR_MEDIAN_S, REPAIR_SIGMA)
    s.node_phase[row, node] = FAILED
    s.node_until_ms[row, node] = s.grid_ms + np.ceil(repair_s * 1000.0).astype(np.int64)
    s.node_failures[...] += failed.sum(axis=1)
    interrupt(d, failed)
    d.mark(np.flatnonzero(failed.any(axis=1)))


def _end_phases(d: Derived) -> None:
    """Let failed nodes return after repair, stopped ones start when it is cool again, starting ones come up."""
    s = d.state
    rows = np.flatnonzero(d.next_up_ms <= s.grid_ms)
    if len(rows):
        _come_up(d, rows)
    water = (s.loop_supply_c < s.loop_setpoint_c + RESTART_WATER_K).take(d.site.hall_loop, axis=1)
    cool = (s.rack_inlet_c < RESTART_INLET_C) & water.take(d.site.rack_hall, axis=1) & (d.stopped_in_rack > 0.0)
    plant = d.site.cooling
    if plant.has_liquid:  # a rack whose coolant does not move would only stop again
        dry = (s.cdu_off != 0).take(np.maximum(plant.rack_cdu, 0), axis=1) & (plant.rack_cdu >= 0)
        cool &= ~dry
    if cool.any():
        start(d, (s.node_phase == STOPPED) & cool.take(d.site.node_rack, axis=1) & d.heat.may_start())


def _come_up(d: Derived, rows: NDArray[np.int64]) -> None:
    """Nodes whose start or repair is over run again and may take jobs."""
    s = d.state
    up = np.zeros(s.node_phase.shape, dtype=bool)
    phase = s.node_phase[rows]
    up[rows] = (s.node_until_ms[rows] <= s.grid_ms) & ((phase == STARTING) | (phase == FAILED))
    _renew(d, up & (s.node_phase == FAILED))
    s.node_phase[up] = ON
    s.dispatch_due[rows] = True
    d.mark(rows)


def _renew(d: Derived, back: Flags) -> None:
    """Give repaired nodes a new life: next episode, new threshold above what their rack has accrued."""
    s = d.state
    row, node = np.nonzero(back)
    if not len(row):
        return
    s.node_episode[row, node] += 1
    life = streams.exponential(s.seed, "node life", s.member[row], d.node_keys[node], s.node_episode[row, node])
    s.node_fails_at[row, node] = s.rack_hazard[row, d.site.node_rack[node]] + life


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
