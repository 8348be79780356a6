"""The work that an emulated site runs: jobs of our own making in the five classes of C3O Table 2 (simulated)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant import streams
from plant.network import GB_PER_GBIT
from plant.site import Site
from plant.workload import JOB_CLASSES, JobClass
from twin.jobfile import services_seen
from twin.jobs import ENDLESS_WORK_S, Jobs, make_jobs, move_columns

# Widths [nodes] and run times [s, median] by class; services run until stopped. Shapes follow the traces in
# notes/seeds_spec.md S1.6 loosely; all [assumed].
WIDTHS = {"training": (2, 4, 8), "inference": (1, 2), "big_data": (2, 4, 8), "scientific": (2, 4), "web": (1, 2, 4)}
RUN_MEDIAN_S = {"training": 20 * 3600.0, "big_data": 1.5 * 3600.0, "scientific": 6 * 3600.0}
ACTIVITY = {"training": 0.9, "inference": 0.55, "big_data": 0.7, "scientific": 0.8, "web": 0.4}
GPU_CLASSES, CPU_CLASSES = ("training", "inference"), ("big_data", "scientific", "web")
RUN_SIGMA = 0.5


@dataclass(frozen=True)
class Wave:
    """Batch work that arrives in a hall at one instant, takes a share of its nodes and ends after `run_s` [s]."""

    hall: str
    at_ms: int
    nodes_frac: float
    run_s: float


@dataclass
class _Column:
    """Rows of the table while they are drawn."""

    rows: list[tuple[str, JobClass, int, float, int, int, float]]


def emulated_jobs(
    site: Site,
    seed: int,
    start_ms: int,
    hours: float,
    busy_frac: dict[str, float],
    waves: tuple[Wave, ...] = (),
) -> Jobs:
    """Return jobs that keep each hall about as busy as `busy_frac` says (hall id -> share of its nodes).

    Services and the work in progress arrive within the first minute; batch jobs keep coming for `hours`, and each wave
    comes on top of them.
    """
    out = _Column([])
    for h, hall in enumerate(site.hall_ids):
        in_hall = site.node_hall == h
        gpu_nodes = int((in_hall & (site.node_gpus > 0)).sum())
        cpu_nodes = int(in_hall.sum()) - gpu_nodes
        for names, nodes in ((GPU_CLASSES, gpu_nodes), (CPU_CLASSES, cpu_nodes)):
            _fill(out, seed, site, h, hall, names, busy_frac.get(hall, 0.0) * nodes, start_ms, hours)
            mine = [wave for wave in waves if wave.hall == hall]
            _waves(out, seed, h, mine, next(c for c in JOB_CLASSES if c.name in names), nodes)
    return _table(site, out)


def _waves(out: _Column, seed: int, h: int, waves: list[Wave], c: JobClass, nodes: int) -> None:
    """Jobs of four nodes or fewer, until each wave has its share."""
    for number, wave in enumerate(waves):
        left, piece = round(wave.nodes_frac * nodes), 0
        while left > 0:
            key = f"{wave.hall}/{c.name}/wave"
            activity = min(
                1.0, ACTIVITY[c.name] * (0.85 + 0.3 * _draw(seed, "job activity", key, 100 * number + piece))
            )
            width = min(left, 4)
            name = f"{c.name}-{h}wave{number}-{piece}"
            out.rows.append((name, c, width, wave.run_s, wave.at_ms + 1000 * (piece % 30), h, activity))
            left, piece = left - width, piece + 1


def _fill(
    out: _Column,
    seed: int,
    site: Site,
    h: int,
    hall: str,
    names: tuple[str, ...],
    nodes: float,
    start_ms: int,
    hours: float,
) -> None:
    classes = [c for c in JOB_CLASSES if c.name in names]
    total = sum(c.share_frac for c in classes)
    for c in classes:
        wanted = nodes * c.share_frac / total
        _standing(out, seed, h, hall, c, wanted, start_ms)
        if c.name in RUN_MEDIAN_S:
            _coming(out, seed, h, hall, c, wanted, start_ms, hours)


def _draw(seed: int, what: str, name: str, draw: int) -> float:
    return float(streams.uniform(seed, what, 0, streams.component_key(name), draw))


def _row(out: _Column, seed: int, hall: str, h: int, c: JobClass, number: int, at_ms: int, age_frac: float) -> int:
    """Draw one job and return its width."""
    key = f"{hall}/{c.name}"
    width = WIDTHS[c.name][int(_draw(seed, "job width", key, number) * len(WIDTHS[c.name]))]
    work_s = ENDLESS_WORK_S
    if c.name in RUN_MEDIAN_S:
        work_s = float(
            streams.lognormal(
                seed, "job length", 0, streams.component_key(key), number, RUN_MEDIAN_S[c.name], RUN_SIGMA
            )
        ) * (1.0 - age_frac)
    activity = min(1.0, ACTIVITY[c.name] * (0.85 + 0.3 * _draw(seed, "job activity", key, number)))
    name = f"{c.name}-{h}{number:04d}"
    if c.is_service:  # each node of a service is a replica, a job of its own
        out.rows += [(f"{name}/{k + 1}", c, 1, work_s, at_ms, h, activity) for k in range(width)]
    else:
        out.rows.append((name, c, width, work_s, at_ms, h, activity))
    return width


def _standing(out: _Column, seed: int, h: int, hall: str, c: JobClass, wanted: float, start_ms: int) -> None:
    """Work in progress at the start, each job somewhere in its life."""
    number, placed = 0, 0
    while placed < wanted - 0.5:
        age = _draw(seed, "job age", f"{hall}/{c.name}", number)
        placed += _row(out, seed, hall, h, c, number, start_ms + 1000 * (number % 60), age)
        number += 1


def _coming(
    out: _Column, seed: int, h: int, hall: str, c: JobClass, wanted: float, start_ms: int, hours: float
) -> None:
    """Arrivals as a Poisson stream that keeps the class at its size (Little's law)."""
    mean_s = RUN_MEDIAN_S[c.name] * float(np.exp(RUN_SIGMA**2 / 2.0))
    rate_per_s = wanted / (float(np.mean(WIDTHS[c.name])) * mean_s)
    at_s, number = 60.0, 1000
    while rate_per_s > 0.0:
        at_s -= np.log(_draw(seed, "job arrival", f"{hall}/{c.name}", number)) / rate_per_s
        if at_s > hours * 3600.0:
            return
        _row(out, seed, hall, h, c, number, start_ms + int(at_s * 1000), 0.0)
        number += 1


def _table(site: Site, out: _Column) -> Jobs:
    rows = out.rows
    width = np.array([r[2] for r in rows], dtype=np.int64)
    gpus_per_node = float(site.node_gpus.max())
    gpu = np.array([gpus_per_node if r[1].name in GPU_CLASSES else 0.0 for r in rows])

    def column(name: str) -> NDArray[np.float64]:
        return np.array([getattr(r[1], name) for r in rows], dtype=np.float64)

    served = services_seen([r[0] for r in rows], [r[1] for r in rows], np.ones(len(rows)), [r[6] for r in rows])
    return make_jobs(
        [r[0] for r in rows],
        kinds=[r[1].name for r in rows],
        arrival_ms=np.array([r[4] for r in rows], dtype=np.int64),
        work_s=np.array([r[3] for r in rows]),
        width=width,
        activity_frac=np.array([r[6] for r in rows]),
        priority=column("weight"),
        cap_exponent=column("cap_exponent"),
        gpus=gpu * width,
        checkpoint_s=column("checkpoint_interval_s"),
        restart_s=column("restart_s"),
        **served,
        save_s=column("checkpoint_cost_s"),
        save_async=column("async_save"),
        **move_columns([r[1] for r in rows], width),
        state_gb=column("state_gb") * width,
        net_gb_per_s=column("net_gbit_per_s") * GB_PER_GBIT,
        home=np.array([r[5] for r in rows], dtype=np.float64),
    )
