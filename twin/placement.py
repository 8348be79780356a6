"""Jobs and nodes: start, requeue, release. The queue is `job_phase == WAITING` in `State`; order is arrival order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin import jobs as J
from twin.derived import Derived
from twin.dispatch import Dispatcher
from twin.layout import segment_sum
from twin.nodephase import ON

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
ROOM = 1.0 + 1e-9  # shares are sums of fractions


def node_fits(d: Derived, job: int, rows: Ints, halls: Ints) -> Flags:
    """Return where one share of a job fits (len(rows), N): running, not cordoned, room, right hall (-1: any)."""
    s = d.state
    fits = (s.node_phase[rows] == ON) & ~s.node_cordon[rows]
    fits &= d.used_frac[rows] + s.jobs.share_frac[job] <= ROOM
    fits &= d.site.node_gpus * s.jobs.width[job] >= s.jobs.gpus[job]
    return np.asarray(fits & ((halls[:, None] < 0) | (d.layout.node_hall == halls[:, None])))


def place(d: Derived, job: int, rows: Ints, halls: Ints, choose: Dispatcher) -> tuple[Ints, Ints]:
    """Give nodes to a job in the rows where it fits; return those rows and the others. Room is taken at once."""
    served, nodes = choose(node_fits(d, job, rows, halls), int(d.state.jobs.width[job]))
    got = rows[served]
    if not len(got):
        return got, rows
    first = int(d.slot_start[job])
    d.state.slot_node[got, first : first + nodes.shape[1]] = nodes
    d.used_frac[got[:, None], nodes] += d.state.jobs.share_frac[job]
    return got, rows[~served]


def release(d: Derived, job: int, rows: Ints) -> None:
    """Take a job off its nodes in some rows."""
    first, last = int(d.slot_start[job]), int(d.slot_start[job + 1])
    d.state.slot_node[rows, first:last] = -1
    d.state.dispatch_due[rows] = True
    d.mark(rows, load=True)


def dispatch(d: Derived, choose: Dispatcher) -> None:
    """Start waiting jobs in order of arrival; one that does not fit is passed over (backfill without reservation)."""
    s = d.state
    due = np.flatnonzero(s.dispatch_due)
    if not len(due):
        return
    d.refresh_load()
    waiting = d.live_phase[due] == J.WAITING
    if waiting.any():
        hopeful = waiting & _room(d, due)
        full = Full(s.members, len(d.site.hall_ids))
        for column in np.flatnonzero(hopeful.any(axis=0)):
            job = int(d.live[column])
            rows = full.without(d, job, due[hopeful[:, column]])
            if len(rows):
                got, missed = place(d, job, rows, s.job_hall[rows, job], choose)
                if len(missed):
                    full.note(d, job, missed)
                if len(got):
                    _begin(d, job, got)
    s.dispatch_due[...] = False


def _room(d: Derived, rows: Ints) -> Flags:
    """Return which live jobs might fit (len(rows), live): enough nodes with some room there; never too strict."""
    s, t = d.state, d.state.jobs
    least = float(t.share_frac[d.live].min())
    open_ = (s.node_phase[rows] == ON) & ~s.node_cordon[rows] & (d.used_frac[rows] + least <= ROOM)
    halls = segment_sum(open_.astype(np.float64), d.layout.hall_nodes)
    count = np.concatenate([halls, halls.sum(axis=1, keepdims=True)], axis=1)
    hall = s.job_hall[rows].take(d.live, axis=1)  # -1 takes the last column: any hall
    return np.asarray(
        np.take_along_axis(count, np.where(hall < 0, count.shape[1] - 1, hall), axis=1) >= t.width[d.live]
    )


def _begin(d: Derived, job: int, rows: Ints) -> None:
    """Start a placed job: at once when it is new, after its restart time when it goes on from a checkpoint."""
    s = d.state
    s.job_work_s[rows, job] = s.job_saved_s[rows, job]
    again = (s.job_saved_s[rows, job] > 0.0) | (s.job_start_ms[rows, job] >= 0)
    s.job_phase[rows, job] = np.where(again, J.RESTARTING, J.RUNNING)
    s.job_until_ms[rows, job] = s.grid_ms + int(s.jobs.restart_s[job] * 1000)
    s.job_start_ms[rows, job] = s.grid_ms
    d.mark(rows, load=True)


class Full:
    """What did not fit during one dispatch: room only shrinks, so an equal or wider job need not be tried again."""

    def __init__(self, members: int, halls: int) -> None:
        """Nothing has failed yet."""
        self.shape = (members, halls + 1)
        self.width: dict[int, Ints] = {}

    def _failed(self, d: Derived, job: int) -> Ints:
        key = int(d.job_shape[job])
        if key not in self.width:
            self.width[key] = np.full(self.shape, np.iinfo(np.int64).max)
        return self.width[key]

    def without(self, d: Derived, job: int, rows: Ints) -> Ints:
        """Return the rows in which no job like this one has failed."""
        if int(d.job_shape[job]) not in self.width:
            return rows
        failed_width = self._failed(d, job)[rows, d.state.job_hall[rows, job]]
        return np.asarray(rows[failed_width > d.state.jobs.width[job]])

    def note(self, d: Derived, job: int, rows: Ints) -> None:
        """Remember rows in which this job found no room."""
        self._failed(d, job)[rows, d.state.job_hall[rows, job]] = d.state.jobs.width[job]


def interrupt(d: Derived, lost_node: Flags) -> None:
    """Put every job that has a share on a lost node (M, N) back into the queue; work since its checkpoint is lost."""
    d.refresh_load()
    rows = np.flatnonzero(lost_node.any(axis=1))
    if not len(d.live) or not len(rows):
        return
    at = d.slot_at[rows]
    hit = np.take_along_axis(lost_node[rows], np.maximum(at, 0), axis=1) & (at >= 0)
    jobs_hit = np.logical_or.reduceat(hit, d.live_start[:-1], axis=1) & (d.live_phase[rows] > J.WAITING)
    for column in np.flatnonzero(jobs_hit.any(axis=0)):
        requeue(d, int(d.live[column]), rows[jobs_hit[:, column]])


def requeue(d: Derived, job: int, rows: Ints) -> None:
    """Send a job back to the queue from its last checkpoint and count the lost work as lost service."""
    s = d.state
    lost_s = s.job_work_s[rows, job] - s.job_saved_s[rows, job]
    s.lost_service_s[rows] += lost_s * d.weight[job] / d.demand_total[rows]
    s.lost_gpu_h[rows] += lost_s * s.jobs.gpus[job] / 3600.0
    s.job_work_s[rows, job] = s.job_saved_s[rows, job]
    s.job_phase[rows, job] = J.WAITING
    s.job_target[rows, job] = -1
    release(d, job, rows)
