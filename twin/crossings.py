"""What happens to populations after each step: nodes stop, fail, start; jobs advance, save, move, finish (rule 3).

A crossing is found over all members at once and handled as one cohort of (row, component) pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import streams
from twin import jobs as J
from twin.derived import DARK, FAILED, ON, STARTING, STOPPED, Derived
from twin.dispatch import Dispatcher
from twin.placement import interrupt, place, release

Flags = NDArray[np.bool_]

NODE_FAILURES_PER_S = 4.0 / 1000.0 / 86400.0  # 4 per 1,000 node-days: four sources agree on 2-7 (notes/predict.md 2)
HAZARD_DOUBLES_PER_K = 10.0  # hazard doubles for each 10 K of inlet temperature [assumed]
HAZARD_REFERENCE_C = 22.0
REPAIR_MEDIAN_S, REPAIR_SIGMA = 21 * 3600.0, 1.9  # repair median 21 h, mean 6 x that (gpu_cluster_faults)
RESTART_INLET_C = 27.0  # stopped nodes are let on again below the recommended limit (ASHRAE TC 9.9)
RESTART_WATER_K = 2.0  # and once the chilled water is back near its set-point
START_MEDIAN_S, START_SIGMA = 480.0, 0.4  # node start 5-20 min (notes/incidents.md C)
SERVICE_LIMIT_FRAC = 0.9  # below this share of demanded service the indicator is outside its limit


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
        _stop(d, (inlet >= s.node_stop_c) & ((s.node_phase == ON) | (s.node_phase == STARTING)))
    _end_phases(d)
    _darken(d)


def _stop(d: Derived, stopped: Flags) -> None:
    s = d.state
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
    if cool.any():
        _start(d, (s.node_phase == STOPPED) & cool.take(d.site.node_rack, axis=1))


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


def _start(d: Derived, start: Flags) -> None:
    s = d.state
    row, node = np.nonzero(start)
    delay_s = streams.lognormal(
        s.seed, "node start", s.member[row], d.node_keys[node], s.node_episode[row, node], START_MEDIAN_S, START_SIGMA
    )
    s.node_phase[row, node] = STARTING
    s.node_until_ms[row, node] = s.grid_ms + np.ceil(delay_s * 1000.0).astype(np.int64)
    d.mark(row)


def _darken(d: Derived) -> None:
    """Nodes lose power when no feed is left and the batteries of their hall are empty; they return with the feed."""
    s = d.state
    if not s.feed_ok.shape[1]:
        return
    dead_site = ~s.feed_ok.any(axis=1, keepdims=True)
    if not dead_site.any() and not (s.node_phase == DARK).any():
        return
    empty = (s.ups_battery_kwh <= 0.0).take(d.site.hall_ups, axis=1).take(d.layout.node_hall, axis=1)
    dark = empty & dead_site & (s.node_phase != DARK) & (s.node_phase != FAILED)
    back = (s.node_phase == DARK) & ~dead_site
    if dark.any():
        s.node_phase[dark] = DARK
        interrupt(d, dark)
        d.mark()
    if back.any():
        _start(d, back)


def note_service(d: Derived) -> None:
    """Remember when service was last below its limit."""
    s = d.state
    s.low_service_ms[s.service_frac < SERVICE_LIMIT_FRAC] = s.grid_ms


def cross_jobs(d: Derived, dt_s: float, choose: Dispatcher) -> None:
    """Advance work, save, drain, move, restart and finish jobs."""
    s = d.state
    if not len(d.live):
        return
    live = d.live
    work = s.job_work_s.take(live, axis=1) + d.speed * dt_s
    saved = s.job_saved_s.take(live, axis=1)
    running = d.live_phase == J.RUNNING
    save = running & (work - saved >= s.jobs.checkpoint_s[live])
    saved = np.where(save, work, saved)
    s.job_work_s[:, live], s.job_saved_s[:, live] = work, saved
    done = running & (work >= s.jobs.work_s[live])
    drained = save & s.job_drain.take(live, axis=1) & ~done
    up = (d.live_phase == J.RESTARTING) & (s.job_until_ms.take(live, axis=1) <= s.grid_ms)
    if done.any():
        _each(d, done, _finish)
    if drained.any():
        _each(d, drained, _drain)
    if up.any():
        row, column = np.nonzero(up)
        s.job_phase[row, live[column]] = J.RUNNING
        d.mark(row, load=True)
    _advance_moves(d, dt_s, choose)


def _each(d: Derived, flags: Flags, act: object) -> None:
    for column in np.flatnonzero(flags.any(axis=0)):
        act(d, int(d.live[column]), np.flatnonzero(flags[:, column]))  # type: ignore[operator]


def _finish(d: Derived, job: int, rows: NDArray[np.int64]) -> None:
    d.state.job_phase[rows, job] = J.DONE
    release(d, job, rows)
    d.mark(rows, live=True)


def _drain(d: Derived, job: int, rows: NDArray[np.int64]) -> None:
    d.state.job_phase[rows, job] = J.WAITING
    d.state.job_drain[rows, job] = False
    release(d, job, rows)


def _advance_moves(d: Derived, dt_s: float, choose: Dispatcher) -> None:
    s = d.state
    live = d.live
    target = s.job_target.take(live, axis=1)
    if (target < 0).all():
        return
    phase = s.job_phase.take(live, axis=1)
    moving = phase == J.MOVING
    count = moving.sum(axis=1)
    if moving.any():
        _copy(d, moving, target, count, dt_s)
    wants = (target >= 0) & ((phase == J.RUNNING) | (phase == J.WAITING))
    if wants.any():
        source = _sources(d)
        wants &= ~_drop_idle_moves(d, wants, source, target)
        _start_moves(d, wants, source, target, s.move_limit - count, choose)


def _sources(d: Derived) -> NDArray[np.int64]:
    """Return the hall that holds each live job's state (M, live): its home, else where it runs; -1 where neither."""
    s, live = d.state, d.live
    home = s.job_hall.take(live, axis=1)
    node = s.slot_node.take(d.slot_start[live], axis=1)
    return np.where(home >= 0, home, np.where(node >= 0, d.layout.node_hall[np.maximum(node, 0)], -1))


def _drop_idle_moves(d: Derived, wants: Flags, source: NDArray[np.int64], target: NDArray[np.int64]) -> Flags:
    """Forget moves to where the job already is (it is done) and to where no link leads (it stays); return which."""
    linked = d.site.link_gb_per_s[np.maximum(source, 0), np.maximum(target, 0)] > 0.0
    idle = wants & (source >= 0) & ((source == target) | ~linked)
    row, column = np.nonzero(idle)
    d.state.job_target[row, d.live[column]] = -1
    return np.asarray(idle)


def _copy(d: Derived, moving: Flags, target: NDArray[np.int64], count: NDArray[np.int64], dt_s: float) -> None:
    """Copy state over the link between the halls, shared equally by the jobs of that member that move."""
    s, live = d.state, d.live
    source = s.job_hall.take(live, axis=1)
    gb_per_s = d.site.link_gb_per_s[np.maximum(source, 0), np.maximum(target, 0)] / np.maximum(count, 1)[:, None]
    left = s.job_copy_gb.take(live, axis=1)
    step = np.where(moving, np.minimum(left, gb_per_s * dt_s), 0.0)
    s.moved_gb[...] += step.sum(axis=1)
    left = left - step
    s.job_copy_gb[:, live] = left
    row, column = np.nonzero(moving & (left <= 0.0))
    if len(row):
        jobs = live[column]
        s.job_phase[row, jobs] = J.RESTARTING
        s.job_until_ms[row, jobs] = s.grid_ms + (s.jobs.restart_s[jobs] * 1000).astype(np.int64)
        s.job_hall[row, jobs] = s.job_target[row, jobs]
        s.job_target[row, jobs] = -1
        d.mark(row, load=True)


def _start_moves(
    d: Derived,
    wants: Flags,
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    room: NDArray[np.int64],
    choose: Dispatcher,
) -> None:
    """Start the most important moves first while there is room for concurrent ones; a job that finds no place stays."""
    s = d.state
    order = np.argsort(-s.jobs.priority[d.live], kind="stable")
    ranked = wants[:, order]
    go = np.zeros_like(wants)
    go[:, order] = ranked & (np.cumsum(ranked, axis=1) <= room[:, None])
    for column in order[go[:, order].any(axis=0)]:
        rows, job = np.flatnonzero(go[:, column]), int(d.live[column])
        got = _start_move(d, job, rows, target[rows, column], choose)
        # the copy is read from here; state that lies nowhere yet (no home, never placed) need not be copied
        held = source[got, column]
        s.job_hall[got, job] = held
        s.job_copy_gb[got, job] = np.where(held >= 0, s.jobs.state_gb[job], 0.0)


def _start_move(
    d: Derived, job: int, rows: NDArray[np.int64], halls: NDArray[np.int64], choose: Dispatcher
) -> NDArray[np.int64]:
    """Stop the job, save it, and reserve its place in the target hall; return the rows where it found one."""
    s = d.state
    first, last = int(d.slot_start[job]), int(d.slot_start[job + 1])
    old = s.slot_node[rows, first:last].copy()
    got, _ = place(d, job, rows, halls, choose)
    missed = ~np.isin(rows, got)
    s.slot_node[rows[missed], first:last] = old[missed]
    s.job_target[rows[missed], job] = -1
    if not len(got):
        return got
    was_running = s.job_phase[got, job] == J.RUNNING
    saved = np.where(was_running, s.job_work_s[got, job], s.job_saved_s[got, job])
    s.job_work_s[got, job] = s.job_saved_s[got, job] = saved
    s.job_phase[got, job] = J.MOVING
    s.job_drain[got, job] = False
    s.dispatch_due[got] = True
    d.mark(got, load=True)
    return got
