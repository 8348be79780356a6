"""`foretwin bench network`: what the network costs, the same site, jobs and hours with and without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from plant import streams
from plant.files import shipped
from plant.network import GB_PER_GBIT
from plant.site import Site
from plant.sitebuild import compile_site, read_site_file
from plant.streams import component_keys
from plant.workload import job_class
from twin.engine import Engine
from twin.ensemble import make_state
from twin.jobs import DONE, NOT_ARRIVED, Jobs, make_jobs
from twin.state import State
from verbs.bench_scene import START_MS
from verbs.meter import Meter

SITE = "fabric"
SIM_S, TRIES = 12 * 3600, 5
EVERY_S, WIDTH, WORK_S, ACTIVITY = 66.0, 32, (600.0, 4800.0), (0.3, 1.0)  # about 85 % of 792 nodes are busy
AGED = 2000.0  # parts are so much nearer to their first fault, so that some fail within hours


def run(
    seed: int = 0, sim_s: int = SIM_S, tries: int = TRIES, told: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, Any]:
    """Return the `results` of contracts.md: the least CPU time of several alternating runs, and their ratio."""
    file = read_site_file(shipped("sites", SITE))
    sites = {"with": compile_site(file), "without": compile_site(file.model_copy(update={"network": ()}))}
    states = {name: _state(site, seed, sim_s) for name, site in sites.items()}
    best: dict[str, dict[str, float]] = {}
    for turn in range(2 * tries + 2):
        # the first turn of each warms caches and compiled code and does not count
        name = ("with", "without")[turn % 2]
        state = states[name].fork()
        engine, meter = Engine(state, sites[name]), Meter()
        engine.run(START_MS + sim_s * 1000)
        cost = meter.read()
        if turn >= 2 and (name not in best or cost["cpu_s"] < best[name]["cpu_s"]):
            best[name] = cost
        if name == "with":
            lived = state
        told(turn + 1, 2 * tries + 2)
    return {
        "site": SITE,
        "nodes": len(sites["with"].node_ids),
        "links": len(sites["with"].components("link")),
        "switches": len(sites["with"].components("switch")),
        "sim_s": sim_s,
        "step_s": lived.step_ms / 1000.0,
        "jobs_in": int((lived.job_phase[0] != NOT_ARRIVED).sum()),
        "jobs_done": int((lived.job_phase[0] == DONE).sum()),
        "faults": int(lived.net_faults[0]),
        "requeues": int(lived.net_requeues[0]),
        "cpu_s": best["with"]["cpu_s"],
        "wall_s": best["with"]["wall_s"],
        "cpu_s_without": best["without"]["cpu_s"],
        "wall_s_without": best["without"]["wall_s"],
        "ratio": best["with"]["cpu_s"] / max(best["without"]["cpu_s"], 1e-9),
        "tries": tries,
        "simulated": True,
    }


def _state(site: Site, seed: int, sim_s: int) -> State:
    """The site at the start, its links and switches aged."""
    state = make_state(site, START_MS, jobs=jobs(site, seed, sim_s), seed=seed)
    if site.network.present:
        for until in (state.link_until_ms, state.switch_until_ms):
            until[...] = START_MS + ((until - START_MS) / AGED).astype(np.int64)
    return state


def jobs(site: Site, seed: int, sim_s: int) -> Jobs:
    """Gangs of 1 to 32 nodes that arrive all the time, each in one hall, every node talking as training does."""
    count = int(sim_s / EVERY_S)
    keys = component_keys(f"gang{i}" for i in range(count))

    def luck(purpose: str) -> Any:
        return streams.uniform(seed, f"bench network {purpose}", 0, keys)

    def between(purpose: str, low: float, high: float) -> Any:
        return low + (high - low) * luck(purpose)

    width = 1 + (luck("width") * WIDTH).astype(np.int64)
    gap_s = -EVERY_S * np.log(luck("gap"))
    return make_jobs(
        [f"gang{i}" for i in range(count)],
        arrival_ms=START_MS + (np.cumsum(gap_s) * 1000.0).astype(np.int64),
        work_s=between("work", *WORK_S),
        width=width,
        gpus=float(site.node_gpus.min()) * width,
        activity_frac=between("activity", *ACTIVITY),
        net_gb_per_s=np.full(count, job_class("training").net_gbit_per_s * GB_PER_GBIT),
        home=(luck("home") * len(site.hall_ids)).astype(np.int64),
    )
