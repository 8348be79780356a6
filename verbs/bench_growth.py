"""`foretwin bench growth`: the cost of a node's step from a hundred nodes to a hundred thousand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from plant import streams
from plant.site import Site
from plant.sitebuild import compile_site
from plant.sitefile import SiteFile
from plant.streams import component_keys
from twin.engine import Engine
from twin.ensemble import make_state
from twin.jobs import RUNNING, Jobs, make_jobs
from twin.state import State
from verbs.bench_scene import START_MS
from verbs.meter import Meter

SIZES = (100, 1_000, 10_000, 100_000)
FROM_NODES = 1_000  # the ratio counts from here
HALL_NODES, RACK_NODES = 1_000, 10
WARM_STEPS, NODE_STEPS, LEAST_STEPS, TRIES = 20, 6_000_000, 60, 3
# bench twin's frontier-day: a job each 10 s on 9,600 nodes, 1 to 64 nodes wide, 600 to 4,800 s of work
NODE_S_PER_JOB, WIDTH, WORK_S = 96_000.0, 64, (600.0, 4800.0)
BUSY_FRAC = 0.9
PEAK_KW = 1.2
NODE = {"id": "node", "idle_kw": 0.35, "peak_kw": PEAK_KW, "gpus": 0, "cores": 104, "psus": 2, "psu_rated_kw": 1.3}


def run(
    seed: int = 0,
    sizes: tuple[int, ...] = SIZES,
    tries: int = TRIES,
    node_steps: int = NODE_STEPS,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Return the `results` of contracts.md; the same arrivals a node at every size, the best of several runs."""
    rows = []
    for done, nodes in enumerate(sizes):
        rows.append(_row(nodes, seed, tries, node_steps))
        told(done + 1, len(sizes))
    from_here = [row for row in rows if row["nodes"] >= FROM_NODES]
    base = from_here[0]["ns_per_node_step"] if from_here else float("nan")
    return {
        "rows": rows,
        "worst_ratio": max((row["ns_per_node_step"] / base for row in from_here), default=float("nan")),
        "step_ms_100": next((row["step_ms"] for row in rows if row["nodes"] == SIZES[0]), float("nan")),
        "step_s": 15.0,
        "members": 1,
        "tries": tries,
        "simulated": True,
    }


def _row(nodes: int, seed: int, tries: int, node_steps: int) -> dict[str, Any]:
    site = compile_site(site_file(nodes))
    steps = max(LEAST_STEPS, min(2_000, node_steps // nodes))
    start = _busy(site, seed, steps)
    best = {"cpu_s": float("inf"), "wall_s": float("inf")}
    for _ in range(tries):
        state = start.fork()
        engine = Engine(state, site)
        engine.run(state.now_ms + state.step_ms)  # a step for what is built once
        meter = Meter()
        engine.run(state.now_ms + steps * state.step_ms)
        cost = meter.read()
        best = cost if cost["cpu_s"] < best["cpu_s"] else best
    step_s = best["cpu_s"] / steps
    return {
        "nodes": nodes,
        "halls": len(site.hall_ids),
        "steps": steps,
        "jobs_running": int((start.job_phase == RUNNING).sum()),
        "ns_per_node_step": step_s / nodes * 1e9,
        "step_ms": step_s * 1000.0,
        "cpu_s": best["cpu_s"],
        "wall_s": best["wall_s"],
    }


def _busy(site: Site, seed: int, steps: int) -> State:
    """The site a few minutes after enough jobs for BUSY_FRAC of it arrived; then they come as others end."""
    from twin.engine import run as advance

    warm_ms = WARM_STEPS * 15_000
    jobs = _jobs(site, seed, (steps + 2) * 15.0 + warm_ms / 1000.0)
    return advance(make_state(site, START_MS, jobs=jobs, seed=seed), site, START_MS + warm_ms)


def _jobs(site: Site, seed: int, span_s: float) -> Jobs:
    """Jobs that fill the site at once, part of their work done, and a stream of arrivals in proportion to its size."""
    nodes, halls = len(site.node_ids), len(site.hall_ids)
    widest = min(WIDTH, nodes // 2)
    mean = (1 + widest) / 2
    there = int(BUSY_FRAC * nodes / mean)
    # narrower jobs on a small site come as many times more often: the same node-seconds of work for each node
    gap_s = NODE_S_PER_JOB / nodes * mean / ((1 + WIDTH) / 2)
    count = there + int(1.2 * span_s / gap_s) + 5
    keys = component_keys(f"job{i}" for i in range(count))

    def luck(purpose: str) -> Any:
        return streams.uniform(seed, f"bench growth {purpose}", 0, keys)

    arrival_s = np.concatenate([np.zeros(there), np.cumsum(-gap_s * np.log(luck("gap")[there:]))])
    work_s = WORK_S[0] + (WORK_S[1] - WORK_S[0]) * luck("work")
    work_s[:there] *= luck("done")[:there]
    return make_jobs(
        [f"job{i}" for i in range(count)],
        arrival_ms=START_MS + (arrival_s * 1000.0).astype(np.int64),
        work_s=work_s,
        width=1 + (luck("width") * widest).astype(np.int64),
        activity_frac=0.3 + 0.7 * luck("activity"),
        net_gb_per_s=np.full(count, 1.0),
        home=(luck("home") * halls).astype(np.int64),
    )


def site_file(nodes: int, node: dict[str, Any] = NODE, peak_kw: float = PEAK_KW) -> SiteFile:
    """A made-up site of that many nodes: halls of a thousand, each with its cooling, power and leaf-spine fabric."""
    halls = [f"h{i:03d}" for i in range(-(-nodes // HALL_NODES))]
    each = -(-nodes // len(halls) // RACK_NODES) * RACK_NODES
    parts: dict[str, list[dict[str, Any]]] = {"rack": [], "cooling_unit": [], "loop": [], "ups": [], "network": []}
    for hall in halls:
        for kind, part in _hall(f"made/{hall}", each, peak_kw).items():
            parts[kind].append(part)
    region = {"id": "made", "carbon_kgco2_per_kwh": 0.3, "outdoor_c": 15.0}
    named = [{"id": hall, "loop": f"made/{hall}/loop", "ups": f"made/{hall}/ups"} for hall in halls]
    links = [
        {"id": f"made/link{i:03d}", "between": (f"made/{a}", f"made/{b}"), "gbit_per_s": 400.0}
        for i, (a, b) in enumerate(pairwise(halls))
    ]
    feed = {"id": "made/feed", "capacity_kw": 2.5 * peak_kw * nodes}
    return SiteFile.model_validate(
        {
            "name": f"made-{nodes}",
            "region": [{**region, "hall": named}],
            "node_type": [node],
            "feed": [feed],
            "link": links,
            **parts,
        }
    )


def _hall(hall: str, nodes: int, peak_kw: float) -> dict[str, dict[str, Any]]:
    """The parts of one hall, all in proportion to its nodes."""
    racks, design_kw = nodes // RACK_NODES, peak_kw * nodes
    chillers = {"ids": "ch[1-5]", "running": 4, "standby": 1, "capacity_kw": 0.35 * design_kw, "cop": 4.8}
    return {
        "rack": {
            "hall": hall, "ids": f"r[001-{racks:03d}]", "nodes": f"n[0001-{nodes:04d}]", "nodes_per_rack": RACK_NODES,
            "node_type": "node",
        },
        "cooling_unit": {"hall": hall, "ids": "crah[1-9]", "spare": 1, "fan_kw": 0.005 * design_kw},
        "loop": {
            "id": f"{hall}/loop", "water_m3": 0.015 * nodes, "supply_c": 11.0, "pump_kw": 0.02 * design_kw,
            "chillers": chillers,
        },
        "ups": {
            "id": f"{hall}/ups", "module_kw": 0.3 * design_kw, "modules": 5, "needed": 4,
            "battery_kwh": 0.1 * design_kw, "feeds": ("made/feed",),
        },
        "network": {
            "hall": hall, "leaves": f"leaf[001-{-(-racks // 2):03d}]", "racks_per_leaf": 2, "spines": "spine[1-4]",
            "uplink_gbit_per_s": 400.0, "node_gbit_per_s": 100.0,
        },
    }  # fmt: skip
