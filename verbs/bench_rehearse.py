"""`foretwin bench rehearse`: eight plans times 32 members times half an hour of a hall that loses its cooling."""

from __future__ import annotations

from typing import Any

from plant.actions import Action, Plan
from recovery.propose import Context, propose
from recovery.rehearse import Question, rehearse
from twin import fanout
from verbs.bench_scene import busy
from verbs.meter import Meter

SITE, CAUSE = "hall", "hk/zone-c/loop"
HALL, LANDING = "hk/zone-c", "hk/zone-b"
MEMBERS, HORIZON_S, STEP_MS = 32, 1800.0, 10_000
TRIES = 3
CAPS = (0.5, 0.7, 0.8)
P_FAIL = {60: 1.0}  # at once and in every member: nothing is calm, so every step is the short one


def run(
    members: int = MEMBERS, workers: int = 2, seed: int = 0, tries: int = TRIES, backend: str = "loky"
) -> dict[str, Any]:
    """Return the `results` of contracts.md; the best wall time of several tries, with the CPU time of that try."""
    site, state = busy(SITE, members, seed, STEP_MS)
    plans = candidates(site, state.digest(), state.now_ms)
    question = Question(state, site, CAUSE, P_FAIL, seed + 1, horizon_s=HORIZON_S)
    fanout.warm(workers, backend, 4)
    best: dict[str, float] = {}
    for _ in range(tries):
        meter = Meter()
        rehearsals = rehearse(question, plans, members, workers, backend)
        cost = meter.read()
        best = cost if not best or cost["wall_s"] < best["wall_s"] else best
    return {
        "case": "loop",
        "plans": len(plans),
        "members": members,
        "horizon_s": max(one.horizon_s for one in rehearsals),
        "step_s": STEP_MS / 1000.0,
        "nodes": len(site.node_ids),
        "workers": workers,
        "backend": backend,
        "wall_s": best["wall_s"],
        "cpu_s": best["cpu_s"],
        "tries": tries,
        "labels": [one.plan.label for one in rehearsals],
        "simulated": True,
    }


def candidates(site: Any, snapshot_hash: str, now_ms: int) -> list[Plan]:
    """The five candidates of a proposal and three more caps: eight."""
    context = Context(CAUSE, (), snapshot_hash, "bench", now_ms)
    plans = propose(site, context)
    back = Action.of("ordered_return", (HALL,), when="cooling_back")
    for cap_frac in CAPS:
        steps = (Action.of("cap_power", (HALL,), cap_frac=cap_frac), back)
        plans.append(
            Plan(
                label=f"cap {cap_frac:.0%}", steps=steps, cause=CAUSE, evidence=(), snapshot_hash=snapshot_hash,
                policy_hash="bench", created_ms=now_ms, expires_ms=context.expires_ms,
            )
        )  # fmt: skip
    return plans
