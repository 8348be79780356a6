"""Where jobs are and what they ask of nodes; what nodes leave of their speed. Parts of `Derived`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from twin import jobs as J
from twin.layout import Array, Ints, Rows

if TYPE_CHECKING:
    from twin.derived import Derived


def _node_sum(flat: Ints, values: Array, nodes: int) -> Array:
    """Add up one value per slot on its node: (rows, nodes)."""
    rows = len(flat)
    return np.asarray(np.bincount(flat.ravel(), values.ravel(), rows * nodes), np.float64).reshape(rows, nodes)


def refresh_live(d: Derived) -> None:
    """Find the jobs that are there in any member, and their slots."""
    s = d.state
    d.live = np.flatnonzero(((s.job_phase > J.NOT_ARRIVED) & (s.job_phase < J.DONE)).any(axis=0))
    widths = s.jobs.width[d.live]
    d.live_start = np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)
    d.slots = np.repeat(d.slot_start[d.live] - d.live_start[:-1], widths) + np.arange(d.live_start[-1])
    d.slot_job = np.repeat(np.arange(len(d.live)), widths)
    d.live_phase = s.job_phase.take(d.live, axis=1)
    d.slot_at = s.slot_node.take(d.slots, axis=1)
    d.demand, d.speed = np.zeros(d.live_phase.shape), np.zeros(d.live_phase.shape)
    d.load_dirty[...] = True
    d.live_dirty = False


def refresh_load(d: Derived, rows: Rows) -> None:
    """Compute what is taken and used of each node (rows, N)."""
    s, nodes = d.state, len(d.site.node_ids)
    phase = s.job_phase[rows].take(d.live, axis=1)
    node = s.slot_node[rows].take(d.slots, axis=1)
    d.live_phase[rows], d.slot_at[rows] = phase, node
    held = (node >= 0) & (phase > J.WAITING).take(d.slot_job, axis=1)
    flat = np.where(held, node, 0) + np.arange(len(node))[:, None] * nodes
    taken = np.where(held, s.jobs.share_frac[d.live][d.slot_job], 0.0)
    d.used_frac[rows] = _node_sum(flat, taken, nodes)
    activity = np.where(phase == J.RUNNING, _activity(d, rows, len(node)), 0.0).take(d.slot_job, axis=1)
    d.util_frac[rows] = _node_sum(flat, np.where(held, activity, 0.0), nodes)
    d.load_dirty[rows] = False
    d.power_dirty[rows] = True


def _activity(d: Derived, rows: Rows, count: int) -> Array:
    """Return node utilisation that each live job causes while it runs (rows, live)."""
    t = d.state.jobs
    flat = np.broadcast_to((t.share_frac * t.activity_frac)[d.live], (count, len(d.live)))
    if not d.has_profiles:
        return flat
    first, last = t.profile_start[:-1][d.live], t.profile_start[1:][d.live]
    step_ms = int(t.profile_step_s * 1000)
    age_ms = d.state.grid_ms - d.state.job_start_ms[rows].take(d.live, axis=1)
    d.profile_due_ms = d.state.grid_ms + int((step_ms - age_ms % step_ms).min(initial=step_ms))
    place = np.clip(first + age_ms // step_ms, first, np.maximum(last - 1, first))
    values = t.profile_frac.take(np.minimum(place, len(t.profile_frac) - 1))
    return np.where(last > first, values, flat)


def refresh_jobs(d: Derived, rows: Rows) -> None:
    """Compute the speed of each live job and the service that it gives (rows, live)."""
    s, phase, at = d.state, d.live_phase[rows], d.slot_at[rows]
    if len(d.live):
        ratio = np.take_along_axis(d.node_ratio[rows], np.maximum(at, 0), axis=1)
        slowest = np.minimum.reduceat(np.where(at >= 0, ratio, 0.0), d.live_start[:-1], axis=1)
        speed = np.where(slowest < 1.0, slowest ** s.jobs.cap_exponent[d.live], 1.0)
    else:
        speed = np.zeros(phase.shape)
    speed = np.where(phase == J.RUNNING, speed, 0.0)
    # queueing is not an outage, nor is a hold in the queue: a job counts from its first start on, and while it is
    # interrupted
    begun = s.job_start_ms[rows].take(d.live, axis=1) >= 0
    in_queue = (phase == J.WAITING) | (phase == J.HELD)
    asked = (phase > J.NOT_ARRIVED) & (phase < J.DONE) & (~in_queue | begun)
    demand = np.where(asked, d.weight[d.live], 0.0)
    total = demand.sum(axis=1)
    served = (demand * speed).sum(axis=1)
    d.speed[rows], d.demand[rows] = speed, demand
    d.demand_total[rows] = np.where(total > 0.0, total, 1.0)
    d.service_frac[rows] = np.where(total > 0.0, served / np.where(total > 0.0, total, 1.0), 1.0)
    d.lost_gpus[rows] = (np.where(asked, s.jobs.gpus[d.live], 0.0) * (1.0 - speed)).sum(axis=1)
