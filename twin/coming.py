"""Work that will come and go: the run times of jobs whose end nobody told, and the jobs that will arrive meanwhile.

A scheduler shows what is there, not what will be. What is there tells the mix: each class of batch work in each hall is
taken to keep its size (Little's law), new jobs are like those that are there, run times are those of the class. The
luck follows names and the seed, so that every member and every plan meets the same arrivals (simulated).
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant import streams
from plant.site import Site
from twin import jobs as J
from twin.emulated_jobs import RUN_MEDIAN_S, RUN_SIGMA
from twin.fields import FIELDS
from twin.jobs import Jobs
from twin.state import State, axis_shape

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MEAN_OVER_MEDIAN = float(np.exp(RUN_SIGMA**2 / 2.0))
AT_HAND = (J.WAITING, J.RUNNING, J.MOVING, J.RESTARTING)


def knows_arrivals(state: State) -> bool:
    """Tell whether the job table holds jobs that have not arrived yet: then nothing need be drawn."""
    return bool(len(state.jobs)) and bool((state.job_phase == J.NOT_ARRIVED).any())


def with_coming(state: State, site: Site, horizon_s: float, seed: int) -> State:
    """Return a State whose batch jobs end and in which others arrive within horizon_s; `state` stays as it is.

    A table that knows its arrivals, or without batch work, comes back as it is.
    """
    there = batch_jobs(state)
    if knows_arrivals(state) or not len(there):
        return state
    ended = replace(state.jobs, work_s=_ends(state, there, seed))
    more = _arrivals(ended, state, there, horizon_s, seed)
    return _grown(state, site, ended.joined(more) if len(more) else ended, len(more))


def batch_jobs(state: State) -> Ints:
    """Return the jobs (index) of classes that end and are at hand; schedulers tell all members the same."""
    if not len(state.jobs):
        return np.zeros(0, dtype=np.int64)
    ends = np.array([kind in RUN_MEDIAN_S for kind in state.jobs.kinds], dtype=bool)
    return np.flatnonzero(ends & np.isin(state.job_phase[0], AT_HAND))


def _medians(jobs: Jobs, index: Ints) -> Floats:
    return np.array([RUN_MEDIAN_S[jobs.kinds[j]] for j in index], dtype=np.float64)


def _keys(jobs: Jobs, index: Ints) -> NDArray[np.uint64]:
    return streams.component_keys(jobs.ids[j] for j in index)


def _ends(state: State, there: Ints, seed: int) -> Floats:
    """Return the work of every job: one whose end nobody told is somewhere in a life of its class."""
    t, untold = state.jobs, there[state.jobs.work_s[there] >= J.ENDLESS_WORK_S]
    keys = _keys(t, untold)
    life_s = _medians(t, untold) * np.exp(RUN_SIGMA * streams.normal(seed, "rehearsed length", 0, keys))
    left_s = life_s * streams.uniform(seed, "rehearsed age", 0, keys)
    work_s = t.work_s.copy()
    work_s[untold] = state.job_work_s[:, untold].min(axis=0) + np.maximum(left_s, 60.0)
    return work_s


def _arrivals(jobs: Jobs, state: State, there: Ints, horizon_s: float, seed: int) -> Jobs:
    """Return the jobs that arrive: for each class and hall a Poisson stream of jobs like those at hand."""
    homes = state.job_hall[0, there]
    like: list[int] = []
    at_s: list[float] = []
    for kind in sorted({jobs.kinds[j] for j in there}):
        for home in np.unique(homes).tolist():
            group = there[[jobs.kinds[j] == kind and h == home for j, h in zip(there, homes.tolist(), strict=True)]]
            if len(group):
                rate = len(group) / (RUN_MEDIAN_S[kind] * MEAN_OVER_MEDIAN)
                for at, luck in _stream(seed, f"{kind}/{home}", rate, horizon_s):
                    at_s.append(at)
                    like.append(int(group[int(luck * len(group))]))
    order = np.argsort(np.array(at_s), kind="stable")
    return _copies(jobs, np.array(like, dtype=np.int64)[order], state.now_ms, np.array(at_s)[order], seed)


def _stream(seed: int, name: str, rate_per_s: float, horizon_s: float) -> list[tuple[float, float]]:
    """Return (arrival [s], which of the jobs at hand it is like, 0..1) of one Poisson stream."""
    key, out, at_s = streams.component_key(name), [], 0.0
    for draw in range(int(10 + 4 * rate_per_s * horizon_s)):
        at_s += float(streams.exponential(seed, "rehearsed arrival", 0, key, draw)) / rate_per_s
        if at_s >= horizon_s:
            break
        out.append((at_s, float(streams.uniform(seed, "rehearsed kind", 0, key, draw))))
    return out


def _copies(jobs: Jobs, like: Ints, now_ms: int, at_s: Floats, seed: int) -> Jobs:
    """Return new jobs like some of a table, with their own arrivals and run times; profiles are not copied."""
    ids = tuple(f"coming-{now_ms}-{k}" for k in range(len(like)))
    luck = streams.normal(seed, "coming length", 0, streams.component_keys(ids))
    columns: dict[str, Any] = {
        f.name: np.ascontiguousarray(getattr(jobs, f.name)[like])
        for f in fields(Jobs)
        if isinstance(getattr(jobs, f.name), np.ndarray) and not f.name.startswith("profile")
    }
    columns["arrival_ms"] = now_ms + 1 + (at_s * 1000.0).astype(np.int64)
    columns["work_s"] = _medians(jobs, like) * np.exp(RUN_SIGMA * luck)
    return Jobs(
        ids=ids,
        kinds=tuple(jobs.kinds[j] for j in like),
        profile_start=np.zeros(len(like) + 1, dtype=np.int64),
        profile_frac=np.zeros(0),
        profile_step_s=jobs.profile_step_s,
        **columns,
    )


def _grown(state: State, site: Site, jobs: Jobs, more: int) -> State:
    """Return the State with a longer job table, whose last `more` jobs have not arrived yet."""
    out = state.fork()
    out.jobs = jobs
    for f in FIELDS:
        if f.axis in ("job", "slot"):
            old = state.arrays[f.name]
            new = np.zeros((state.members, *axis_shape(site, jobs, f.axis)), dtype=f.dtype)
            new[:, : old.shape[1]] = old
            out.arrays[f.name] = new
    first, slot = len(jobs) - more, int(jobs.slot_start[len(jobs) - more])
    for name in ("job_target", "job_start_ms", "job_stall_ms"):
        out.arrays[name][:, first:] = -1
    out.job_hall[:, first:], out.job_mode[:, first:] = jobs.home[first:], jobs.move_mode[first:]
    out.slot_node[:, slot:] = -1
    if more:
        out.agenda.add(int(jobs.arrival_ms[first]), "arrivals", "jobs", "next", {"next": first})
    return out
