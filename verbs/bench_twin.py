"""`foretwin bench twin --case C`: how fast the twin lives, and whether its energy balance closes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from plant.errors import ConfigError
from plant.site import load_site
from twin.engine import Engine
from twin.flows import stored_heat_kj
from twin.jobs import DONE, NOT_ARRIVED
from twin.state import State
from verbs.bench_scene import START_MS, day
from verbs.meter import Meter, peak_rss_mb


@dataclass(frozen=True)
class Case:
    """A site and how long it lives [s]."""

    site: str
    sim_s: int


CASES = {"small": Case("tiny", 6 * 3600), "hall": Case("hall", 24 * 3600)}
PARTS = 24


def run(
    case: str, members: int = 1, seed: int = 0, told: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, Any]:
    """Return the `results` of contracts.md; raises ConfigError for a case that does not exist."""
    if case not in CASES:
        raise ConfigError("--case", f"'{case}'", f"one of {' '.join(CASES)}", "choose one of them")
    chosen = CASES[case]
    site = load_site(chosen.site)
    state = day(site, members, seed)
    before_kj = stored_heat_kj(site.hall_plenum_kj_per_k, state)
    engine, meter = Engine(state, site), Meter()
    for part in range(1, PARTS + 1):
        engine.run(START_MS + chosen.sim_s * 1000 * part // PARTS)
        told(part, PARTS)
    cost = meter.read()
    phase = state.job_phase[0]
    return {
        "case": case,
        "nodes": len(site.node_ids),
        "members": members,
        "sim_s": chosen.sim_s,
        "step_s": state.step_ms / 1000.0,
        "jobs_in": int((phase != NOT_ARRIVED).sum()),
        "jobs_done": int((phase == DONE).sum()),
        "cpu_s": cost["cpu_s"],
        "wall_s": cost["wall_s"],
        "peak_rss_mb": round(peak_rss_mb(), 1),
        "sim_s_per_cpu_s": chosen.sim_s / max(cost["cpu_s"], 1e-9),
        "energy_balance_rel": balance_rel(site.hall_plenum_kj_per_k, state, before_kj),
        "simulated": True,
    }


def balance_rel(plenum_kj_per_k: Any, state: State, before_kj: Any) -> float:
    """Heat in minus out minus stored since the state's start, relative to what went in; the worst member's."""
    stored = stored_heat_kj(plenum_kj_per_k, state) - before_kj
    gap = np.abs(stored - (state.heat_in_kj - state.heat_out_kj))
    return float((gap / np.maximum(state.heat_in_kj, 1.0)).max())
