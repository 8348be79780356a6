"""The engine's job table from a table of jobs as `plant/jobsample.py` makes and reads it.

A job of a class that people wait for is a service: each of its nodes becomes a replica, a job of its own, and the
service is offered as many requests as keep its replicas as busy as the table says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plant.jobsample import SampleJob
from plant.network import GB_PER_GBIT
from plant.workload import JobClass, job_class
from twin.jobs import Jobs, make_jobs, move_columns
from twin.services import Services, make_services

Floats = NDArray[np.float64]


class Replicas(NamedTuple):
    """Rows of a table, services taken apart; for each row its service (-1: none) and its servers."""

    rows: list[SampleJob]
    service: NDArray[np.int64]
    servers: NDArray[np.int64]
    services: Services


def jobs_of(rows: Sequence[SampleJob], start_ms: int, *, factor: Floats | None = None, step_s: float = 3600.0) -> Jobs:
    """Return the jobs with arrivals counted from start_ms (Unix); costs of a class come from `plant/workload.py`.

    factor: how the requests to all services swing around their mean, see `twin/services.py` (none: steady).
    """
    parts = replicas(rows, factor, step_s)
    kinds = [job_class(row.job_class) for row in parts.rows]
    width = np.array([row.width_nodes for row in parts.rows], dtype=np.int64)
    # an interval of 0 saves on every step: such a class loses nothing by a stop
    return make_jobs(
        [row.id for row in parts.rows],
        kinds=[row.job_class for row in parts.rows],
        arrival_ms=start_ms + np.array([round(row.arrival_s * 1000.0) for row in parts.rows], dtype=np.int64),
        work_s=np.array([row.run_s for row in parts.rows]),
        width=width,
        share_frac=np.array([row.share_frac for row in parts.rows]),
        activity_frac=np.array([row.activity_frac for row in parts.rows]),
        gpus=np.array([float(row.gpus) for row in parts.rows]),
        priority=np.array([kind.weight for kind in kinds]),
        cap_exponent=np.array([kind.cap_exponent for kind in kinds]),
        checkpoint_s=np.array([kind.checkpoint_interval_s for kind in kinds]),
        save_s=np.array([kind.checkpoint_cost_s for kind in kinds]),
        save_async=np.array([kind.async_save for kind in kinds], dtype=bool),
        restart_s=np.array([kind.restart_s for kind in kinds]),
        net_gb_per_s=np.array(
            [k.net_gbit_per_s * row.share_frac * GB_PER_GBIT for k, row in zip(kinds, parts.rows, strict=True)]
        ),
        state_gb=np.array([kind.state_gb for kind in kinds]) * width,
        service=parts.service,
        servers=parts.servers,
        services=parts.services,
        **move_columns(kinds, width),
    )


def replicas(rows: Sequence[SampleJob], factor: Floats | None = None, step_s: float = 3600.0) -> Replicas:
    """Take services apart into one row per replica; batch jobs stay as they are."""
    out: list[SampleJob] = []
    service: list[int] = []
    servers: list[int] = []
    names: list[str] = []
    offered: list[float] = []
    kinds: list[JobClass] = []
    for row in rows:
        kind = job_class(row.job_class)
        if not kind.is_service:
            out.append(row)
            service.append(-1)
            servers.append(0)
            continue
        count = servers_of(kind, row.share_frac)
        for k in range(row.width_nodes):
            name = row.id if row.width_nodes == 1 else f"{row.id}/{k + 1}"
            out.append(replace(row, id=name, width_nodes=1, gpus=row.gpus // row.width_nodes))
            service.append(len(names))
            servers.append(count)
        names.append(row.id)
        kinds.append(kind)
        offered.append(row.activity_frac * count * row.width_nodes / float(kind.request_s or 1.0))
    table = services_of(names, kinds, np.array(offered), factor, step_s)
    return Replicas(out, np.array(service, dtype=np.int64), np.array(servers, dtype=np.int64), table)


def servers_of(kind: JobClass, share_frac: float) -> int:
    """Return the servers of a replica of a class on such a share of a node, at least one."""
    return max(1, round(kind.servers * share_frac))


def services_of(
    names: list[str], kinds: Sequence[JobClass], offered_per_s: Floats, factor: Floats | None, step_s: float
) -> Services:
    """Return the table of services of these classes."""
    return make_services(
        names,
        offered_per_s=offered_per_s,
        request_s=np.array([float(kind.request_s or 1.0) for kind in kinds]),
        limit_s=np.array([float(kind.response_s or np.inf) for kind in kinds]),
        tail_frac=np.array([kind.tail_frac for kind in kinds]),
        factor=factor,
        step_s=step_s,
    )


def services_seen(
    ids: Sequence[str], kinds: Sequence[JobClass], nodes: Floats, activity_frac: Sequence[float]
) -> dict[str, Any]:
    """Return columns for `make_jobs` that say which jobs are replicas of one service: those called `SERVICE/REPLICA`.

    nodes: what each job has, in whole nodes; activity_frac: how busy the requests keep it. Jobs that nobody asks are
    no replicas; a job without a mate is a service of one.
    """
    names: dict[str, int] = {}
    served: list[JobClass] = []
    offered: list[float] = []
    service, servers = np.full(len(ids), -1), np.zeros(len(ids), dtype=np.int64)
    for j, (name, kind) in enumerate(zip(ids, kinds, strict=True)):
        if kind.is_service:
            group = name.rpartition("/")[0] or name
            at = service[j] = names.setdefault(group, len(names))
            if at == len(served):
                served.append(kind)
                offered.append(0.0)
            servers[j] = servers_of(kind, float(nodes[j]))
            offered[at] += float(activity_frac[j] * servers[j]) / float(kind.request_s or 1.0)
    table = services_of(list(names), served, np.array(offered), None, 3600.0)
    return {"service": service, "servers": servers, "services": table}
