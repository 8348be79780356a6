"""How busy each host was: tasks placed first-fit on hosts, their profiles summed to node utilisation, sample by sample.

This is the direct, vectorised way from jobs to node utilisation; the engine's run of the same jobs is compared with it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.realdata.week import WeekData

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Placement:
    """Where tasks ran: slot s puts task slot_task[s] on host slot_host[s]; `unplaced` tasks found no room."""

    slot_task: Ints
    slot_host: Ints
    unplaced: Ints


def place_first_fit(week: WeekData) -> Placement:
    """Put each task at its submission on the lowest-numbered hosts with enough free cores.

    A task wider than one host takes whole hosts. Tasks start when submitted, as the data says; there is no queue.
    """
    hosts = week.mapping.hosts
    free = np.full(hosts.count, hosts.cores, dtype=np.int64)
    ends: list[tuple[int, int, int]] = []
    tasks: list[int] = []
    where: list[int] = []
    unplaced: list[int] = []
    need = np.where(week.width > 1, hosts.cores, week.cores)
    span_ms = np.maximum(week.duration_ms, np.diff(week.profile_start) * week.step_ms)
    for j, (start, width) in enumerate(zip(week.start_ms.tolist(), week.width.tolist(), strict=True)):
        while ends and ends[0][0] <= start:
            _, host, cores = heapq.heappop(ends)
            free[host] += cores
        chosen = np.flatnonzero(free >= need[j])[:width].tolist()
        if len(chosen) < width:
            unplaced.append(j)
            continue
        for host in chosen:
            free[host] -= need[j]
            heapq.heappush(ends, (start + int(span_ms[j]), host, int(need[j])))
            tasks.append(j)
            where.append(host)
    as_ints = [np.asarray(v, dtype=np.int64) for v in (tasks, where, unplaced)]
    return Placement(*as_ints)


def node_util(week: WeekData, placement: Placement, samples: int) -> Floats:
    """Return node utilisation (samples, hosts), 0..1: what each host does just before sample i, at (i + 1) * step.

    A task without a profile counts as idle or busy for its run time, as the mapping says.
    """
    count = week.mapping.hosts.count
    task, host = placement.slot_task, placement.slot_host
    length = np.diff(week.profile_start)[task]
    # the sample at (i + 1) * step sees profile row i - floor(start / step)
    first = week.start_ms[task] // week.step_ms
    row = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    sample = np.repeat(first, length) + row
    frac = week.profile_frac[np.repeat(week.profile_start[task], length) + row]
    keep = sample < samples
    cell = (sample * count + np.repeat(host, length))[keep]
    util = np.bincount(cell, frac[keep], samples * count).astype(np.float64)
    if week.mapping.fragments.missing == "busy":
        util = util + _busy(week, placement, samples)
    return np.minimum(util, 1.0).reshape(samples, count)


def _busy(week: WeekData, placement: Placement, samples: int) -> Floats:
    """Utilisation by the tasks without a profile, each at full use of its share; flat (samples * hosts,)."""
    count = week.mapping.hosts.count
    slots = np.flatnonzero(week.no_profile[placement.slot_task])
    task, host = placement.slot_task[slots], placement.slot_host[slots]
    first = week.start_ms[task] // week.step_ms
    length = -(-week.duration_ms[task] // week.step_ms)
    row = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    sample = np.repeat(first, length) + row
    keep = sample < samples
    cell = (sample * count + np.repeat(host, length))[keep]
    return np.asarray(
        np.bincount(cell, np.repeat(week.share_frac[task], length)[keep], samples * count), dtype=np.float64
    )
