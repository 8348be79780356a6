"""`foretwin bench twin --case C`: how fast the twin lives, and whether its energy balance closes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from plant.errors import ConfigError
from plant.site import Site, load_site
from twin.engine import Engine
from twin.flows import stored_heat_kj
from twin.jobs import DONE, NOT_ARRIVED
from twin.state import State
from verbs.bench_scene import START_MS, STEP_MS, day, peer_day
from verbs.meter import Meter, peak_rss_mb


@dataclass(frozen=True)
class Case:
    """A site, how long it lives [s], its step [ms], and whether it runs the peer's jobs or the shipped sample's."""

    site: str
    sim_s: int
    step_ms: int = STEP_MS
    peer_jobs: bool = False


CASES = {
    "small": Case("tiny", 6 * 3600),
    "hall": Case("hall", 24 * 3600),
    "frontier-day": Case("frontier", 24 * 3600, peer_jobs=True),
    "frontier-hour-1s": Case("frontier", 3600, step_ms=1000, peer_jobs=True),
}
HEAVY = ("pandas", "scipy", "torch")
PARTS = 24
WARM_STEPS = 20


def run(
    case: str,
    members: int = 1,
    seed: int = 0,
    told: Callable[[int, int], None] = lambda done, of: None,
    jobs: str = "",
    requests: str = "",
) -> dict[str, Any]:
    """Return the `results` of contracts.md; jobs: a job table or trace to run in place of the case's;
    requests: a trace of rates that the requests to services follow.

    Raises ConfigError for a case that does not exist, TelemetryError for a table that cannot be read.
    """
    if case not in CASES:
        raise ConfigError("--case", f"'{case}'", f"one of {' '.join(CASES)}", "choose one of them")
    chosen = CASES[case]
    site = load_site(chosen.site)
    if chosen.peer_jobs and not jobs and not requests:
        state = peer_day(site, members, seed)
    else:
        state = day(site, members, seed, jobs, chosen.sim_s / 3600.0, requests)
    state.step_ms = chosen.step_ms
    before_kj = stored_heat_kj(site.hall_plenum_kj_per_k, state)
    kernels_warm(site, state)
    engine, meter = Engine(state, site), Meter()
    for part in range(1, PARTS + 1):
        engine.run(START_MS + chosen.sim_s * 1000 * part // PARTS)
        told(part, PARTS)
    cost, heavy = meter.read(), [name for name in HEAVY if name in sys.modules]
    phase = state.job_phase[0]
    return {
        "case": case,
        "nodes": len(site.node_ids),
        "members": members,
        "sim_s": chosen.sim_s,
        "step_s": state.step_ms / 1000.0,
        "jobs_in": int((phase != NOT_ARRIVED).sum()),
        "jobs_done": int((phase == DONE).sum()),
        "services": len(state.jobs.services),
        "service_late_min": float(state.service_late_s[0].sum()) / 60.0,
        "requests_lost": float(state.requests_lost[0].sum()),
        "backend": state.backend,
        "mean_it_kw": round(float(state.energy_it_kwh[0]) * 3600.0 / chosen.sim_s, 1),
        "heavy_imports": heavy,
        "setup_cpu_s": cost["setup_cpu_s"],
        "cpu_s": cost["cpu_s"],
        "wall_s": cost["wall_s"],
        "peak_rss_mb": round(peak_rss_mb(), 1),
        "sim_s_per_cpu_s": chosen.sim_s / max(cost["cpu_s"], 1e-9),
        "energy_balance_rel": balance_rel(site.hall_plenum_kj_per_k, state, before_kj),
        "simulated": True,
    }


def kernels_warm(site: Site, state: State) -> None:
    """Let a fork live a few steps: kernels are compiled or loaded once, and count as set-up."""
    fork = state.fork()
    Engine(fork, site).run(fork.now_ms + WARM_STEPS * fork.step_ms)


def balance_rel(plenum_kj_per_k: Any, state: State, before_kj: Any) -> float:
    """Heat in minus out minus stored since the state's start, relative to what went in; the worst member's."""
    stored = stored_heat_kj(plenum_kj_per_k, state) - before_kj
    gap = np.abs(stored - (state.heat_in_kj - state.heat_out_kj))
    return float((gap / np.maximum(state.heat_in_kj, 1.0)).max())
