"""Propose candidates for one cause: a small closed set over the halls it threatens; doing nothing is always there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plant.actions import Action, Plan, do_nothing
from plant.errors import PlanRejected
from plant.site import Site

CAP_FRAC = 0.6  # the alarm ladder of the incident notes caps to 60 % first
CONCURRENT_MOVES = 8
PLAN_LIFE_MS = 10 * 60_000  # long enough for a person to decide; freshness is checked again before every step


@dataclass(frozen=True)
class Context:
    """What a proposal stands on: cause, evidence in words, hashes of snapshot and policy, instant."""

    cause: str
    evidence: tuple[tuple[str, str | float], ...]
    snapshot_hash: str
    policy_hash: str
    now_ms: int

    @property
    def expires_ms(self) -> int:
        """When the plans lapse."""
        return self.now_ms + PLAN_LIFE_MS


def threatened_halls(site: Site, cause: str) -> tuple[str, ...]:
    """Return the halls that a component's failure threatens: those on its loop, or the one it stands in."""
    kind = site.kind_of(cause)
    if kind in ("loop", "chiller"):
        loop = site.index("loop", cause) if kind == "loop" else int(site.chiller_loop[site.index("chiller", cause)])
        return tuple(site.hall_ids[h] for h in np.flatnonzero(site.hall_loop == loop))
    inside = tuple(h for h in site.hall_ids if cause == h or cause.startswith(h + "/"))
    if not inside:
        raise PlanRejected("propose", f"cause '{cause}' threatens no hall", "a component of a hall or its loop")
    return inside


def landing_hall(site: Site, halls: tuple[str, ...]) -> str | None:
    """Return the hall best linked to the threatened ones that is not on a threatened loop, None when there is none."""
    from_index = [site.index("hall", h) for h in halls]
    loops = {int(site.hall_loop[h]) for h in from_index}
    free = [h for h in range(len(site.hall_ids)) if int(site.hall_loop[h]) not in loops]
    best = max(free, key=lambda h: float(site.link_gb_per_s[from_index[0], h]), default=None)
    if best is None or site.link_gb_per_s[from_index[0], best] <= 0.0:
        return None
    return site.hall_ids[best]


def propose(site: Site, context: Context) -> list[Plan]:
    """Return the candidates, do_nothing first."""
    halls = threatened_halls(site, context.cause)
    landing = landing_hall(site, halls)
    cap, fence = Action.of("cap_power", halls, cap_frac=CAP_FRAC), Action.of("cordon", halls)
    drain = Action.of("drain_at_checkpoint", halls)
    back = Action.of("ordered_return", halls, when="cooling_back")
    steps: dict[str, list[Action]] = {"cap": [cap, back], "drain": [fence, drain, back]}
    if landing is not None:
        move = Action.of("migrate", halls, to_hall=landing, concurrent=CONCURRENT_MOVES)
        steps["migrate"] = [fence, move, back]
        steps["cap + migrate"] = [fence, cap, move, back]
    nothing = do_nothing(context.cause, context.now_ms, context.expires_ms, context.snapshot_hash, context.policy_hash)
    return [nothing, *(_plan(label, tuple(each), context) for label, each in steps.items())]


def _plan(label: str, steps: tuple[Action, ...], context: Context) -> Plan:
    return Plan(
        label=label,
        steps=steps,
        cause=context.cause,
        evidence=context.evidence,
        snapshot_hash=context.snapshot_hash,
        policy_hash=context.policy_hash,
        created_ms=context.now_ms,
        expires_ms=context.expires_ms,
    )
