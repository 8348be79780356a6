"""Rehearse plans in forks of the live ensemble: same members, same futures, once per plan. No path to a port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant.actions import Plan
from plant.site import Site
from recovery.futures import write_futures
from twin import effects, fanout
from twin.coming import with_coming
from twin.drivers import Drivers
from twin.engine import Engine
from twin.jobs import service_weight
from twin.services import late_min
from twin.state import State

Array = NDArray[np.float64]

HORIZON_S = 12 * 3600.0
HOLD_S = 600.0
LOOK_EVERY_S = 1800.0
CALM_STEP_MS = 60_000
NOT_CALM_K = 1e3  # nothing is known of the step before the first: it is a short one
HOUR_MS = 3_600_000
BLOCK_ROWS = fanout.BLOCK_ROWS  # smaller blocks settle sooner
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
    coming: bool = False
    """Let batch jobs end and others arrive as the mix at hand says, where the job table does not know (live twins)."""


def rehearse(
    question: Question, plans: Sequence[Plan], members: int, workers: int = 1, backend: str = "loky", first: int = 0
) -> list[Rehearsal]:
    """Rehearse each plan on `members` members (copies of the live ones beyond their number), from the `first` on.

    Members are played in blocks whose repairs end at about the same time: rows are independent, and a block that has
    settled, or in which nothing moves, costs little. Order and bits do not depend on workers or backend.
    """
    state = question.state
    if question.coming:
        state = with_coming(state, question.site, question.horizon_s, question.seed)
    base = widen(state, members)
    write_futures(base, question.site, question.cause, question.p_fail, question.seed)
    order = _by_last_repair(base)
    order = order[order >= first]
    blocks = [order[at : at + BLOCK_ROWS] for at in range(0, len(order), BLOCK_ROWS)]
    forks = [base.rows([int(row) for row in block]) for block in blocks]
    told = (question.site, question.drivers, question.horizon_s)  # a worker needs its block, not the whole snapshot
    played = fanout.each(_play, [(fork, plan, *told) for plan in plans for fork in forks], workers, backend)
    back = np.argsort(order)
    return [
        _join(plan, played[at * len(blocks) : (at + 1) * len(blocks)], back, question.horizon_s)
        for at, plan in enumerate(plans)
    ]


def _by_last_repair(base: State) -> NDArray[np.int64]:
    """Return the member rows in the order in which the last thing that is due for them happens."""
    last_ms = np.zeros(base.members, dtype=np.int64)
    for entry in base.agenda.entries.values():
        if entry.rows is not None:
            ends = max((int(v) for name, v in entry.data if name.endswith("_ms")), default=entry.due_ms)
            last_ms[list(entry.rows)] = np.maximum(last_ms[list(entry.rows)], ends)
    return np.argsort(last_ms, kind="stable")


def _join(plan: Plan, parts: list[Rehearsal], back: NDArray[np.int64], horizon_s: float) -> Rehearsal:
    """Return one rehearsal of all blocks, members in their own order again."""

    def whole(name: str) -> Array:
        return np.asarray(np.concatenate([getattr(p, name) for p in parts])[back])

    costs = {name: np.concatenate([p.costs[name] for p in parts])[back] for name in parts[0].costs}
    stop, recovery, peak = whole("first_stop_s"), whole("recovery_s"), whole("peak_inlet_c")
    return Rehearsal(plan, costs, peak, recovery, stop, len(back), horizon_s)


def together(some: Rehearsal, more: Rehearsal) -> Rehearsal:
    """Return one rehearsal of the members of two of the same plan: what was screened need not be played again."""

    def both(name: str) -> Array:
        return np.concatenate([getattr(some, name), getattr(more, name)])

    costs = {name: np.concatenate([some.costs[name], more.costs[name]]) for name in some.costs}
    stop, recovery, peak = both("first_stop_s"), both("recovery_s"), both("peak_inlet_c")
    return Rehearsal(some.plan, costs, peak, recovery, stop, some.members + more.members, some.horizon_s)


def widen(state: State, members: int) -> State:
    """Return a fork with that many rows: live members first, then copies under new member ids."""
    live = state.members
    if members <= live:
        return state.rows(range(members))
    fork = state.rows([i % live for i in range(members)])
    fork.member[live:] = FRESH_MEMBERS_FROM + np.arange(live, members)
    return fork


def _play(block: State, plan: Plan, site: Site, drivers: Drivers | None, horizon_s: float) -> Rehearsal:
    """Run one plan in one block of members to recovery, or to the horizon."""
    fork = block.fork()
    fork.calm_step_ms = CALM_STEP_MS
    fork.temp_moved_k[...] = NOT_CALM_K
    start_ms = fork.now_ms
    fork.first_stop_ms[...] = -1
    fork.low_service_ms[...] = -1
    fork.peak_inlet_c[...] = fork.rack_inlet_c.max(axis=1)
    before = counters(fork)
    for step in plan.steps:
        effects.schedule(fork, step, start_ms)
    engine = Engine(fork, site, drivers=drivers)
    end_ms = start_ms + int(horizon_s * 1000)
    while fork.now_ms < end_ms and not _settled(fork, start_ms):
        engine.run(min(end_ms, fork.now_ms + int(LOOK_EVERY_S * 1000)))
    low = fork.low_service_ms.copy()
    unresolved = (low >= 0) & (fork.now_ms - low < HOLD_S * 1000)
    _go_on(engine, end_ms)
    after = counters(fork)
    costs = {name: after[name] - before[name] for name in after}
    costs["people_paged"] = np.full(fork.members, float(sum(step.tier >= PAGED_FROM_TIER for step in plan.steps)))
    recovery_s = np.where(low < 0, 0.0, (low - start_ms) / 1000.0 + HOLD_S)
    stop = np.where(fork.first_stop_ms < 0, np.nan, (fork.first_stop_ms - start_ms) / 1000.0)
    return Rehearsal(
        plan, costs, fork.peak_inlet_c.copy(), np.where(unresolved, np.nan, recovery_s), stop, fork.members,
        horizon_s,
    )  # fmt: skip


def _go_on(engine: Engine, end_ms: int) -> None:
    """Count the rest of the horizon at the last step's rates: all plans are compared over one span."""
    s, d, now_ms = engine.state, engine.derived, engine.state.now_ms
    while now_ms < end_ms:
        hours = min(end_ms - now_ms, HOUR_MS) / HOUR_MS
        s.energy_kwh[...] += d.facility_kw * hours
        s.carbon_kgco2[...] += (d.facility_kw * hours * engine.drivers.at(now_ms)[1]).sum(axis=1)
        s.lost_service_s[...] += (1.0 - s.service_frac) * hours * 3600.0
        s.lost_gpu_h[...] += d.lost_gpus * hours
        if d.services is not None:
            s.service_late_s[...] += d.services.late * (hours * 3600.0)
        now_ms += HOUR_MS


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
        "qos_late_min": late_min(s.service_late_s, service_weight(s.jobs)),
    }
