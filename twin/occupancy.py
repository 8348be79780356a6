"""Where jobs are and what they ask of nodes; what nodes leave of their speed. Parts of `Derived`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plant import gpu
from twin import jobs as J
from twin.fabric import refresh_traffic
from twin.layout import Array, Rows

if TYPE_CHECKING:
    from twin.derived import Derived


def refresh_live(d: Derived) -> None:
    """Find the jobs that are there in any member: none before `first_open` is any more, none from `arrived` on yet."""
    s = d.state
    first, last = d.first_open, d.arrived
    phase = s.job_phase[:, first:last]
    d.live = first + np.flatnonzero(((phase > J.NOT_ARRIVED) & (phase < J.DONE)).any(axis=0))
    d.first_open = int(d.live[0]) if len(d.live) else last
    d.live_phase = s.job_phase.take(d.live, axis=1)
    d.demand, d.speed = np.zeros(d.live_phase.shape), np.zeros(d.live_phase.shape)
    d.fabric.fit(len(d.live))
    d.load_dirty[...] = True
    d.live_dirty = False


def refresh_load(d: Derived, rows: Rows) -> None:
    """Compute what is taken and used of each node (rows, N)."""
    s, t = d.state, d.state.jobs
    phase = s.job_phase.take(d.live, axis=1)[rows]
    d.live_phase[rows] = phase
    d.slot_view = None
    d.kernels.occupancy(
        d.numbers(rows), d.live, s.job_phase, d.slot_start, s.slot_node, t.share_frac,
        _activity(d, rows), d.used_frac, d.util_frac,
    )  # fmt: skip
    if s.job_ahead.any():
        _keep(d, rows)
    d.load_dirty[rows], d.fabric.traffic_dirty[rows] = False, True
    d.power_dirty[rows] = True


def _keep(d: Derived, rows: Rows) -> None:
    """Count the nodes kept at the other end of copies ahead as taken."""
    s = d.state
    row, node = np.nonzero(s.node_kept_by[rows] >= 0)
    row = d.numbers(rows)[row]
    d.used_frac[row, node] += s.jobs.share_frac[s.node_kept_by[row, node]]


def _activity(d: Derived, rows: Rows) -> Array:
    """Return node utilisation that each live job causes while it runs, (rows, live), or (1, live) for all rows."""
    t = d.state.jobs
    use = d.use_frac.take(d.live)
    if d.services is not None:  # replicas work as much as people ask, at most all the time
        of = t.service[d.live]
        swing = np.where(of >= 0, t.services.swing(d.state.grid_ms)[np.maximum(of, 0)], 1.0)
        use = np.minimum(use * swing, t.share_frac[d.live])
    flat = use[None, :]
    if not d.has_profiles:
        return flat  # one row for all
    first, last = t.profile_start[:-1][d.live], t.profile_start[1:][d.live]
    step_ms = int(t.profile_step_s * 1000)
    age_ms = d.state.grid_ms - d.state.job_start_ms.take(d.live, axis=1)[rows]
    d.profile_due_ms = d.state.grid_ms + int((step_ms - age_ms % step_ms).min(initial=step_ms))
    place = np.clip(first + age_ms // step_ms, first, np.maximum(last - 1, first))
    values = t.profile_frac.take(np.minimum(place, len(t.profile_frac) - 1))
    return np.ascontiguousarray(np.where(last > first, values, flat))


def refresh_jobs(d: Derived, rows: Rows) -> None:
    """Compute the speed of each live job and the service that it gives (rows, live)."""
    s, phase = d.state, d.live_phase[rows]
    slowest = np.zeros(d.live_phase.shape)
    if len(d.live):
        d.kernels.slowest(
            d.numbers(rows), d.live, s.job_phase, d.slot_start, s.slot_node, d.node_ratio, slowest
        )  # fmt: skip
    slowest = slowest[rows]
    speed = np.ones_like(slowest)
    held = slowest < 1.0  # few are, and a power is dear
    speed[held] = slowest[held] ** np.broadcast_to(s.jobs.cap_exponent[d.live], held.shape)[held]
    if len(d.live) and s.gpu_mem_slow.any():
        speed = speed * _bandwidth(d, rows)
    if d.fabric.net.present:
        refresh_traffic(d, rows)
        speed = np.minimum(speed, d.fabric.job_share[rows])  # a gang computes no faster than it is told of its mates
    d.speed[rows] = np.where(phase == J.RUNNING, speed, 0.0)
    _refresh_service(d, rows)


def _bandwidth(d: Derived, rows: Rows) -> Array:
    """Return what hot memory leaves of the speed of each live job: its slowest member holds all others up."""
    s, good = d.state, np.zeros(d.live_phase.shape)
    d.kernels.slowest(
        d.numbers(rows), d.live, s.job_phase, d.slot_start, s.slot_node, d.heat.bandwidth_ok(), good
    )  # fmt: skip
    return np.where(good[rows] < 1.0, gpu.bandwidth_speed_frac(s.jobs.cap_exponent[d.live]), 1.0)


def _refresh_service(d: Derived, rows: Rows) -> None:
    """Compute what is demanded of the live jobs and what they give.

    Queueing is not an outage, nor is a hold in the queue: a job counts from its first start on, and while it is
    interrupted.
    """
    s = d.state
    share = d.speed if d.services is None else _share(d, rows)
    d.kernels.service(
        d.numbers(rows), d.live, s.job_phase, s.job_start_ms, d.weight, s.jobs.gpus, d.speed, share, d.demand,
        d.demand_total, d.service_frac, d.lost_gpus,
    )  # fmt: skip


def _share(d: Derived, rows: Rows) -> Array:
    """Return what live jobs give of what is demanded (M, live), of these rows: a replica what its service delivers."""
    assert d.services is not None
    phase, out = d.live_phase[rows], d.speed.copy()
    begun = d.state.job_start_ms.take(d.live, axis=1)[rows] >= 0
    in_queue = (phase == J.WAITING) | (phase == J.HELD)
    asked = (phase > J.NOT_ARRIVED) & (phase < J.DONE) & (~in_queue | begun)
    out[rows] = d.services.share(d, rows, asked, d.speed[rows])
    return out


def sum_in_order(values: Array) -> Array:
    """Add up live jobs one after another: jobs that live only in other members add nothing, not even a rounding."""
    if not values.shape[1]:
        return np.zeros(len(values))
    return np.ascontiguousarray(np.cumsum(values, axis=1)[:, -1])
