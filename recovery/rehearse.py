"""Rehearse plans in forks of the live ensemble: same members, same futures, once per plan. No path to a port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import joblib
import numpy as np
from numpy.typing import NDArray

from plant.actions import Plan
from plant.site import Site
from recovery.futures import write_futures
from twin import effects
from twin.drivers import Drivers
from twin.engine import Engine
from twin.state import State

Array = NDArray[np.float64]

HORIZON_S = 12 * 3600.0
HOLD_S = 600.0
LOOK_EVERY_S = 1800.0
CALM_STEP_MS = 60_000
PAGED_FROM_TIER = 2
FRESH_MEMBERS_FROM = 1_000  # member ids of copies: new luck, never that of the live members


@dataclass(frozen=True)
class Rehearsal:
    """What became of one plan in every member: costs (members,) by name, peak inlet [C], time to recovery [s]."""

    plan: Plan
    costs: dict[str, Array]
    peak_inlet_c: Array
    recovery_s: Array
    first_stop_s: Array
    members: int
    horizon_s: float

    @property
    def lost_service_min(self) -> Array:
        """Priority-weighted lost service minutes of each member: what plans are ranked by."""
        return self.costs["lost_service_min"]


@dataclass(frozen=True)
class Question:
    """What is rehearsed: the snapshot, its site, the cause with its P(fail within h), the seed of the futures."""

    state: State
    site: Site
    cause: str
    p_fail: dict[int, float]
    seed: int
    drivers: Drivers | None = None
    horizon_s: float = HORIZON_S


def rehearse(question: Question, plans: Sequence[Plan], members: int, workers: int = 1) -> list[Rehearsal]:
    """Rehearse each plan on `members` members (copies of the live ones beyond their number); order and bits do not
    depend on the number of workers."""
    base = widen(question.state, members)
    write_futures(base, question.site, question.cause, question.p_fail, question.seed)
    if workers == 1 or len(plans) == 1:
        return [_play(question, base, plan) for plan in plans]
    calls = (joblib.delayed(_play)(question, base, plan) for plan in plans)
    return list(joblib.Parallel(n_jobs=workers)(calls))


def widen(state: State, members: int) -> State:
    """Return a fork with that many rows: live members first, then copies under new member ids."""
    live = state.members
    if members <= live:
        return state.rows(range(members))
    fork = state.rows([i % live for i in range(members)])
    fork.member[live:] = FRESH_MEMBERS_FROM + np.arange(live, members)
    return fork


def _play(question: Question, base: State, plan: Plan) -> Rehearsal:
    """Run one plan to recovery in all members, or to the horizon."""
    fork = base.fork()
    fork.calm_step_ms = CALM_STEP_MS
    start_ms = fork.now_ms
    fork.first_stop_ms[...] = -1
    fork.low_service_ms[...] = -1
    fork.peak_inlet_c[...] = fork.rack_inlet_c.max(axis=1)
    before = counters(fork)
    for step in plan.steps:
        effects.schedule(fork, step, start_ms)
    engine = Engine(fork, question.site, drivers=question.drivers)
    end_ms = start_ms + int(question.horizon_s * 1000)
    while fork.now_ms < end_ms and not _settled(fork, start_ms):
        engine.run(min(end_ms, fork.now_ms + int(LOOK_EVERY_S * 1000)))
    after = counters(fork)
    costs = {name: after[name] - before[name] for name in after}
    costs["people_paged"] = np.full(fork.members, float(sum(step.tier >= PAGED_FROM_TIER for step in plan.steps)))
    low = fork.low_service_ms
    recovery_s = np.where(low < 0, 0.0, (low - start_ms) / 1000.0 + HOLD_S)
    unresolved = (low >= 0) & (fork.now_ms - low < HOLD_S * 1000)
    stop = np.where(fork.first_stop_ms < 0, np.nan, (fork.first_stop_ms - start_ms) / 1000.0)
    return Rehearsal(
        plan, costs, fork.peak_inlet_c.copy(), np.where(unresolved, np.nan, recovery_s), stop, fork.members,
        (fork.now_ms - start_ms) / 1000.0,
    )  # fmt: skip


def _settled(fork: State, start_ms: int) -> bool:
    """Nothing more is due but arrivals, and service has been inside its limit long enough in every member."""
    if any(e.kind != "arrivals" for e in fork.agenda.entries.values()) or fork.now_ms == start_ms:
        return False
    held = (fork.low_service_ms < 0) | (fork.now_ms - fork.low_service_ms >= HOLD_S * 1000)
    return bool(held.all())


def counters(s: State) -> dict[str, Array]:
    """Return the cumulative counters of each member, in the units of the cost vector."""
    return {
        "lost_service_min": s.lost_service_s / 60.0,
        "lost_gpu_h": s.lost_gpu_h.copy(),
        "energy_kwh": s.energy_kwh.sum(axis=1),
        "carbon_kgco2": s.carbon_kgco2.copy(),
        "moved_gb": s.moved_gb.copy(),
        "node_stops": s.node_stops.copy(),
    }
