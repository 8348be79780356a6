"""The job table: what each job asks for. It never changes; how far each job has come stands in `State`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.migration import MODES
from plant.workload import JobClass
from twin.services import NONE as NO_SERVICES
from twin.services import Services

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ENDLESS_WORK_S = 1e12  # work of a service: it runs until somebody stops it

# job_phase in State
NOT_ARRIVED, WAITING, RUNNING, MOVING, RESTARTING, HELD, DONE = range(7)
PHASE_NAMES = ("not_arrived", "waiting", "running", "moving", "restarting", "held", "done")


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs in order of arrival, one value per job (J,).

    arrival_ms; work_s at full speed; width: nodes (a gang); share_frac: of each node's cores; activity_frac:
    utilisation of its share while it runs; priority weight; cap_exponent; gpus in all; checkpoint_s interval;
    restart_s; state_gb; net_gb_per_s: what each node exchanges with its mates at full speed; home: index of the hall
    that holds its data (-1: any). A profile, if given, replaces activity_frac by one value of node utilisation for
    every profile_step_s since the job's start: profile_frac of profile_start[j]:profile_start[j + 1].

    save_s: how long a checkpoint takes, save_async: written while the job works on. move_mode (`plant/migration.py`),
    dirty_gb_per_s rewritten while it runs, replicated_frac of its state other halls hold. service: index of the service
    whose replica the job is, -1 for none, with so many servers.
    """

    ids: tuple[str, ...]
    kinds: tuple[str, ...]
    arrival_ms: Ints
    work_s: Floats
    width: Ints
    share_frac: Floats
    activity_frac: Floats
    priority: Floats
    cap_exponent: Floats
    gpus: Floats
    checkpoint_s: Floats
    restart_s: Floats
    state_gb: Floats
    net_gb_per_s: Floats
    home: Ints
    save_s: Floats
    save_async: NDArray[np.bool_]
    move_mode: Ints
    dirty_gb_per_s: Floats
    replicated_frac: Floats
    service: Ints
    servers: Ints
    profile_start: Ints
    profile_frac: Floats
    profile_step_s: float = 30.0
    services: Services = NO_SERVICES

    def __len__(self) -> int:
        """Return the number of jobs."""
        return len(self.ids)

    @property
    def slot_start(self) -> Ints:
        """Return the first slot of each job (J + 1,): job j owns slots slot_start[j]:slot_start[j + 1]."""
        return np.concatenate([[0], np.cumsum(self.width)]).astype(np.int64)

    @property
    def weight(self) -> Floats:
        """Return the service weight of each job: priority times nodes' worth of share."""
        return np.asarray(self.priority * self.width * self.share_frac)

    def digest(self) -> str:
        """Return a hash of the whole table."""
        h = hashlib.sha256("\n".join((*self.ids, *self.kinds)).encode())
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                h.update(np.ascontiguousarray(value).tobytes())
        h.update(self.services.digest().encode())
        return h.hexdigest()

    def joined(self, more: Jobs) -> Jobs:
        """Return one table with `more` after this one (ids must be new)."""
        merged: dict[str, Any] = {}
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(more, f.name)
            if f.name == "profile_start":
                merged[f.name] = np.concatenate([mine, theirs[1:] + mine[-1]])
            elif f.name == "services":
                merged[f.name] = mine.joined(theirs)
            elif f.name == "service":
                merged[f.name] = np.concatenate([mine, np.where(theirs >= 0, theirs + len(self.services), -1)])
            elif isinstance(mine, np.ndarray):
                merged[f.name] = np.concatenate([mine, theirs])
            else:
                merged[f.name] = mine + theirs if isinstance(mine, tuple) else mine
        return Jobs(**merged)


def make_jobs(
    ids: list[str],
    *,
    arrival_ms: Ints,
    work_s: Floats,
    kinds: list[str] | None = None,
    width: Ints | None = None,
    profile_start: Ints | None = None,
    profile_frac: Floats | None = None,
    profile_step_s: float = 30.0,
    services: Services = NO_SERVICES,
    **columns: NDArray[Any],
) -> Jobs:
    """Return a job table sorted by arrival; columns left out take their neutral value (one whole node, priority 1)."""
    n = len(ids)
    order = np.argsort(np.asarray(arrival_ms, dtype=np.int64), kind="stable")
    defaults = {
        "share_frac": 1.0,
        "activity_frac": 1.0,
        "priority": 1.0,
        "cap_exponent": 0.5,
        "gpus": 0.0,
        "checkpoint_s": 1800.0,
        "restart_s": 60.0,
        "state_gb": 1.0,
        "net_gb_per_s": 0.0,
        "save_s": 0.0,
        "dirty_gb_per_s": 0.0,
        "replicated_frac": 0.0,
    }
    floats: dict[str, Any] = {
        name: np.asarray(columns.get(name, np.full(n, value)), dtype=np.float64)[order]
        for name, value in defaults.items()
    }
    whole: dict[str, Any] = {
        name: np.asarray(columns.get(name, np.full(n, value)), dtype=np.int64)[order]
        for name, value in {"home": -1, "move_mode": 0, "service": -1, "servers": 0}.items()
    }
    widths = np.asarray(width if width is not None else np.ones(n), dtype=np.int64)[order]
    start, values = _reorder_profiles(profile_start, profile_frac, order)
    return Jobs(
        ids=tuple(ids[i] for i in order),
        kinds=tuple(kinds[i] for i in order) if kinds else ("",) * n,
        arrival_ms=np.asarray(arrival_ms, dtype=np.int64)[order],
        work_s=np.asarray(work_s, dtype=np.float64)[order],
        width=widths,
        save_async=np.asarray(columns.get("save_async", np.zeros(n)), dtype=np.bool_)[order],
        services=services,
        profile_start=start,
        profile_frac=values,
        profile_step_s=profile_step_s,
        **floats,
        **whole,
    )


def _reorder_profiles(start: Ints | None, values: Floats | None, order: NDArray[np.intp]) -> tuple[Ints, Floats]:
    if start is None or values is None:
        return np.zeros(len(order) + 1, dtype=np.int64), np.zeros(0)
    lengths = np.diff(start)[order]
    first = np.asarray(start[:-1])[order]
    new_start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    index = np.repeat(first - new_start[:-1], lengths) + np.arange(new_start[-1])
    return new_start, np.asarray(values, dtype=np.float64)[index]


def move_columns(kinds: Sequence[JobClass], width: Ints) -> dict[str, Any]:
    """Return how jobs of these classes move, as columns for `make_jobs`; dirty rates are per node in a class."""
    return {
        "move_mode": np.array([MODES.index(kind.move_mode) for kind in kinds], dtype=np.int64),
        "dirty_gb_per_s": np.array([kind.dirty_gb_per_s for kind in kinds]) * width,
        "replicated_frac": np.array([kind.replicated_frac for kind in kinds]),
    }


def saved_s(state: Any, row: Ints, job: Ints) -> Floats:
    """Return the work that a stop leaves to jobs, given as pairs (row, job) [s]: all of it where nothing is saved."""
    return np.asarray(
        np.where(state.jobs.checkpoint_s[job] > 0.0, state.job_saved_s[row, job], state.job_work_s[row, job])
    )


def service_weight(jobs: Jobs) -> Floats:
    """Return the weight of each service (S,): that of its replicas."""
    there = jobs.service >= 0
    return np.bincount(jobs.service[there], jobs.weight[there], len(jobs.services)).astype(np.float64)


EMPTY = make_jobs([], arrival_ms=np.zeros(0, dtype=np.int64), work_s=np.zeros(0))
