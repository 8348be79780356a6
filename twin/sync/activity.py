"""Measured utilisation sets what jobs do: node readings are shared out among the jobs of each node.

A job's activity is the share of its own share that it keeps busy, one number for all its nodes. Readings of nodes say
sums over jobs, so activities are moved step by step (simultaneous algebraic reconstruction) until the nodes add up;
what readings cannot tell apart keeps the proportion it had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin import jobs as J
from twin.derived import Derived
from twin.telemetry.store import Batch

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

CHANNEL = "util_frac"
STALE_MS = 600_000  # an older reading says nothing about what a job does now
ROUNDS = 12
LEAST_STEP = 0.005  # a smaller change of every activity is not worth computing power anew
LEAST_SHARE = 1e-6


def set_activity(d: Derived, activity_frac: Array) -> bool:
    """Give every job (J,) of the twin its activity, in place; tell whether anything changed enough to count."""
    jobs = d.state.jobs
    new = np.clip(activity_frac, 0.0, 1.0)
    if not len(jobs) or float(np.abs(new - jobs.activity_frac).max()) < LEAST_STEP:
        return False
    d.state.jobs = replace(jobs, activity_frac=new)
    d.use_frac = d.state.jobs.share_frac * new
    d.mark(load=True)
    return True


def set_told(d: Derived, told: Mapping[str, float | None]) -> bool:
    """Give jobs the activity that somebody measured job by job; those not named keep theirs."""
    jobs = d.state.jobs
    new = jobs.activity_frac.copy()
    for j, name in enumerate(jobs.ids):
        value = told.get(name)
        if value is not None:
            new[j] = value
    return set_activity(d, new)


class Activity:
    """The newest utilisation of every node, and how it is shared out."""

    def __init__(self, site: Site) -> None:
        """Nothing is known."""
        self._row = {name: i for i, name in enumerate(site.node_ids)}
        self.util_frac: Array = np.full(len(site.node_ids), np.nan)
        self.at_ms: Ints = np.zeros(len(site.node_ids), dtype=np.int64)
        self.known: dict[str, float] = {}

    def hear(self, batch: Batch) -> bool:
        """Take the readings of `node.util_frac`, the newest of each node; tell whether there was one."""
        heard = False
        for i in np.flatnonzero(batch.channel == CHANNEL).tolist():
            node = self._row.get(str(batch.component[i]))
            if node is not None and batch.time_ms[i] >= self.at_ms[node]:
                self.at_ms[node], self.util_frac[node] = batch.time_ms[i], batch.value[i]
                heard = True
        return heard

    def apply(self, d: Derived, now_ms: int) -> bool:
        """Bring the jobs of the twin to what their nodes said; tell whether anything changed.

        Only readings that are newer than the start of every job on their node, and not stale, are taken.
        """
        s, jobs = d.state, d.state.jobs
        runs = np.flatnonzero((s.job_phase[0] == J.RUNNING) & (jobs.share_frac > LEAST_SHARE))
        job, node = _pairs(s.slot_node[0], jobs.slot_start, runs)
        fresh = np.isfinite(self.util_frac) & (now_ms - self.at_ms <= STALE_MS)
        since_ms = np.zeros(len(fresh), dtype=np.int64)
        np.maximum.at(since_ms, node, s.job_start_ms[0][job])
        use = fresh & (self.at_ms >= since_ms)
        keep = use[node]
        new = np.array([self.known.get(name, a) for name, a in zip(jobs.ids, jobs.activity_frac, strict=True)])
        new = shared_out(new, jobs.share_frac, job[keep], node[keep], self.util_frac)
        self.known = {name: self.known[name] for name in jobs.ids if name in self.known}
        self.known |= {jobs.ids[j]: float(new[j]) for j in np.unique(job[keep]).tolist()}
        return set_activity(d, new)


def _pairs(slot_node: NDArray[np.integer], start: Ints, runs: Ints) -> tuple[Ints, Ints]:
    """Return (job, node) of every share of a node that these jobs hold."""
    job = np.repeat(np.arange(len(start) - 1), np.diff(start))
    there = np.isin(job, runs) & (slot_node >= 0)
    return job[there], slot_node[there].astype(np.int64)


def shared_out(activity: Array, share: Array, job: Ints, node: Ints, util: Array) -> Array:
    """Return activities (J,) that make the shares on each node add up to its utilisation (N,), as far as 0..1 lets.

    job, node: pairs (P,) of a job with a share on a node that was read.
    """
    out = activity.copy()
    if not len(job):
        return out
    of_job, of_node = share[job], np.bincount(node, share[job], len(util))
    per_job = np.bincount(job, of_job, len(out))
    moved = per_job > 0.0
    for _ in range(ROUNDS):
        missing = util - np.bincount(node, of_job * out[job], len(util))
        step = np.bincount(job, of_job * (missing / np.maximum(of_node, LEAST_SHARE))[node], len(out))
        out[moved] = np.clip(out[moved] + step[moved] / per_job[moved], 0.0, 1.0)
    return out
