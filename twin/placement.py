"""Jobs and nodes: start, requeue, release. The queue is `job_phase == WAITING` in `State`; order is arrival order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin import jobs as J
from twin.derived import Derived
from twin.dispatch import Dispatcher, first_fit
from twin.layout import segment_sum
from twin.nodephase import ON
from twin.plain_kernels import ROOM

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]


def node_fits(d: Derived, job: int, rows: Ints, halls: Ints) -> Flags:
    """Return where one share of a job fits (len(rows), N): running, not cordoned, room, right hall (-1: any)."""
    s = d.state
    fits = (s.node_phase[rows] == ON) & ~d.fabric.closed_nodes()[rows]
    fits &= d.used_frac[rows] + s.jobs.share_frac[job] <= ROOM
    fits &= d.site.node_gpus * s.jobs.width[job] >= s.jobs.gpus[job]
    return np.asarray(fits & ((halls[:, None] < 0) | (d.layout.node_hall == halls[:, None])))


def place(
    d: Derived, job: int, rows: Ints, halls: Ints, choose: Dispatcher, *, moved: bool = False
) -> tuple[Ints, Ints]:
    """Give nodes to a job in the rows where it fits; return those rows and the others. Room is taken at once.

    For a job that is moved, nodes kept for another that is copied ahead are full: each is kept for one.
    """
    fits = node_fits(d, job, rows, halls)
    if moved and d.state.job_ahead.any():
        fits &= d.state.node_kept_by[rows] < 0
    served, nodes = choose(fits, int(d.state.jobs.width[job]))
    got = rows[served]
    if not len(got):
        return got, rows
    first = int(d.slot_start[job])
    d.state.slot_node[got, first : first + nodes.shape[1]] = nodes
    d.used_frac[got[:, None], nodes] += d.state.jobs.share_frac[job]
    return got, rows[~served]


def release(d: Derived, row: Ints, job: Ints) -> None:
    """Take jobs off their nodes, and off those kept for them elsewhere, given as pairs (row, job)."""
    first = d.slot_start[job]
    widths = d.slot_start[job + 1] - first
    before = np.cumsum(widths) - widths
    slots = np.arange(widths.sum()) + np.repeat(first - before, widths)
    d.state.slot_node[np.repeat(row, widths), slots] = -1
    if d.state.job_ahead[row, job].any():
        keep_no_more(d, row, job)
    d.state.dispatch_due[row] = True
    d.mark(row, load=True)


def keep_no_more(d: Derived, row: Ints, job: Ints) -> None:
    """Give back the nodes kept at the other end of copies ahead, given as pairs (row, job): nothing is copied ahead."""
    kept = d.state.node_kept_by
    for r, j in zip(row.tolist(), job.tolist(), strict=True):
        kept[r, kept[r] == j] = -1
    d.state.job_ahead[row, job] = False
    d.state.dispatch_due[row] = True
    d.mark(row, load=True)


def dispatch(d: Derived, choose: Dispatcher) -> None:
    """Start waiting jobs in order of arrival; one that does not fit is passed over (backfill without reservation)."""
    s, t = d.state, d.state.jobs
    due = np.flatnonzero(s.dispatch_due)
    if not len(due):
        return
    d.fabric.refresh()
    d.refresh_load()
    if (d.live_phase[due] == J.WAITING).any():
        started = np.zeros((len(due), len(d.live)), dtype=bool)
        if choose is first_fit:
            d.kernels.place_queue(
                due, d.live, s.job_phase, s.job_hall, t.share_frac, d.job_need, t.width, d.job_shape, d.slot_start,
                s.slot_node, s.node_phase, d.fabric.closed_nodes(), d.site.node_gpus, d.layout.hall_start, d.used_frac,
                started,
            )  # fmt: skip
        else:
            _place_queue(d, due, choose, started)
        row, column = np.nonzero(started)
        if len(row):
            _begin(d, due[row], d.live[column])
    s.dispatch_due[...] = False


def _place_queue(d: Derived, due: Ints, choose: Dispatcher, started_out: Flags) -> None:
    """Place waiting jobs in order by a dispatcher of the scheduler's."""
    s = d.state
    full = Full(s.members, len(d.site.hall_ids))
    hopeful = (d.live_phase[due] == J.WAITING) & _room(d, due)
    for column in np.flatnonzero(hopeful.any(axis=0)):
        job = int(d.live[column])
        rows = full.without(d, job, due[hopeful[:, column]])
        if len(rows):
            got, missed = place(d, job, rows, s.job_hall[rows, job], choose)
            if len(missed):
                full.note(d, job, missed)
            started_out[np.searchsorted(due, got), column] = True


def _room(d: Derived, rows: Ints) -> Flags:
    """Return which live jobs might fit (len(rows), live): enough nodes with some room there; never too strict."""
    s, t = d.state, d.state.jobs
    least = float(t.share_frac[d.live].min())
    open_ = (s.node_phase[rows] == ON) & ~d.fabric.closed_nodes()[rows] & (d.used_frac[rows] + least <= ROOM)
    halls = segment_sum(open_.astype(np.float64), d.layout.hall_nodes)
    count = np.concatenate([halls, halls.sum(axis=1, keepdims=True)], axis=1)
    hall = s.job_hall.take(d.live, axis=1)[rows]  # -1 takes the last column: any hall
    return np.asarray(
        np.take_along_axis(count, np.where(hall < 0, count.shape[1] - 1, hall), axis=1) >= t.width[d.live]
    )


def _begin(d: Derived, row: Ints, job: Ints) -> None:
    """Start jobs that got their nodes, given as pairs (row, job): anew, or from their last checkpoint."""
    s = d.state
    saved, begun = s.job_saved_s[row, job], s.job_start_ms[row, job] >= 0
    s.job_work_s[row, job] = saved
    s.job_phase[row, job] = np.where((saved > 0.0) | begun, J.RESTARTING, J.RUNNING)
    s.job_until_ms[row, job] = s.grid_ms + (s.jobs.restart_s[job] * 1000).astype(np.int64)
    s.job_start_ms[row, job] = s.grid_ms
    d.mark(row, load=True)


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
    at = d.slots.node[rows]
    hit = np.take_along_axis(lost_node[rows], np.maximum(at, 0), axis=1) & (at >= 0)
    jobs_hit = np.logical_or.reduceat(hit, d.slots.start[:-1], axis=1) & (d.live_phase[rows] > J.WAITING)
    row, column = np.nonzero(jobs_hit)
    requeue(d, rows[row], d.live[column])
    if d.state.job_ahead.any():
        _lose_kept(d, lost_node)


def _lose_kept(d: Derived, lost_node: Flags) -> None:
    """A node kept for a copy ahead is lost: the job works on where it is and begins its move anew."""
    s = d.state
    row, node = np.nonzero(lost_node & (s.node_kept_by >= 0))
    if len(row):
        pairs = np.unique(np.stack([row, s.node_kept_by[row, node]]), axis=1)
        keep_no_more(d, pairs[0], pairs[1])


def requeue(d: Derived, row: Ints, job: Ints) -> None:
    """Send jobs back to the queue from their last checkpoint, given as pairs (row, job); lost work is lost service."""
    if not len(row):
        return
    s = d.state
    saved = J.saved_s(s, row, job)
    lost_s = s.job_work_s[row, job] - saved
    np.add.at(s.lost_service_s, row, lost_s * d.weight[job] / d.demand_total[row])
    np.add.at(s.lost_gpu_h, row, lost_s * s.jobs.gpus[job] / 3600.0)
    s.job_work_s[row, job] = s.job_saved_s[row, job] = saved
    s.job_phase[row, job] = J.WAITING
    s.job_target[row, job] = -1
    s.job_drain[row, job] = False  # it has left what it was to leave; where it starts again it may stay
    release(d, row, job)
