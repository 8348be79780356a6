"""The guards before every step: small pure functions that answer with a Verdict, never with an exception.

Each stops one way of doing harm that peers have shown: acting on old data, too much at once, after expiry, from two
processes, on targets another plan holds, into a hall without room. Undo passes all of them but fencing: a system that
blocks doing must not block undoing. What cannot be read counts as refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plant.actions import within


@dataclass(frozen=True)
class Verdict:
    """May it happen? Reasons are for people: complete sentences without a full stop, empty when ok."""

    ok: bool
    reasons: tuple[str, ...] = ()


YES = Verdict(True)


def no(*reasons: str) -> Verdict:
    """A refusal with its reasons."""
    return Verdict(False, reasons)


@dataclass(frozen=True)
class Limits:
    """Site settings of the guards; times in seconds, fractions of 1.

    The defaults are the strictest published ones: 10 % of nodes or one failure domain in 10 minutes.
    """

    fresh_s: float = 120.0
    window_s: float = 600.0
    nodes_frac: float = 0.10
    domains: int = 1
    plant_components: int = 8
    alarming_frac: float = 0.30


@dataclass(frozen=True)
class Touch:
    """What a step touches: nodes, the failure domains (halls) they stand in, plant components."""

    nodes: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()
    components: frozenset[str] = frozenset()

    def __or__(self, other: Touch) -> Touch:
        return Touch(self.nodes | other.nodes, self.domains | other.domains, self.components | other.components)


def freshness(targets: Sequence[str], age_s: Callable[[str], float | None], limit_s: float) -> Verdict:
    """Every target must have telemetry younger than the limit [s]; no telemetry is not good news."""
    if not targets:
        return no("no target named")
    old = []
    for target in targets:
        age = age_s(target)
        if age is None or not 0 <= age <= limit_s:  # NaN fails both comparisons
            old.append(f"{target}: no usable telemetry" if age is None else f"{target}: newest reading {age:.0f} s old")
    more = f" and {len(old) - 3} more" if len(old) > 3 else ""
    return no(f"{'; '.join(old[:3])}{more} (limit {limit_s:g} s)") if old else YES


def budget(request: Touch, spent: Iterable[Touch], total_nodes: int, limits: Limits, by_person: bool) -> Verdict:
    """Blast radius within the window, what may have happened included.

    Two rules. Never more failure domains than the limit, whoever approved. Never more nodes than the floor of the
    fraction of all nodes, unless a person approved this plan and everything stays within one failure domain: the
    approval showed exactly that hall. The same node touched twice counts once.
    """
    total = request
    for touch in spent:
        total = total | touch
    reasons = []
    if len(total.domains) > limits.domains:
        reasons.append(f"{len(total.domains)} failure domains within {limits.window_s:g} s, allowed {limits.domains}")
    # floor: in a site of three nodes "10 %" is none
    allowed = math.floor(limits.nodes_frac * total_nodes + 1e-9)
    lifted = by_person and len(total.domains) <= 1
    if request.nodes and len(total.nodes) > allowed and not lifted:
        reasons.append(f"{len(total.nodes)} nodes within {limits.window_s:g} s, allowed {allowed} of {total_nodes}")
    if len(total.components) > limits.plant_components:
        reasons.append(f"{len(total.components)} plant components, allowed {limits.plant_components}")
    return no(*reasons) if reasons else YES


def breaker(open_reason: str | None) -> Verdict:
    """An open breaker stops every new step until a person resets it."""
    return YES if open_reason is None else no(f"breaker open: {open_reason}")


def storm(alarming: int, total: int, limits: Limits) -> Verdict:
    """Not ok when so large a share alarms at once that sensors or software are likelier than faults."""
    if total <= 0 or alarming > limits.alarming_frac * total:
        return no(f"{alarming} of {total} nodes alarm at once, more than {limits.alarming_frac:.0%}")
    return YES


def paused(path: Path) -> Verdict:
    """The pause switch is a file: there, or not provably absent, means paused."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return YES
    except OSError as error:
        return no(f"paused: the switch cannot be read ({type(error).__name__})")
    return no("paused: " + (" ".join(text.split())[:200] or "no reason given"))


def expiry(now_ms: int, expires_ms: int) -> Verdict:
    """A plan may start only before its expiry; at the very instant it is over."""
    return YES if now_ms < expires_ms else no(f"expired {(now_ms - expires_ms) / 1000:.0f} s ago")


def fencing(mine: int, current: int) -> Verdict:
    """Only the executor that holds the newest epoch may act."""
    return YES if mine == current else no(f"another executor took over (epoch {current}, mine {mine})")


def overlap(targets: Sequence[str], active: Iterable[tuple[str, Sequence[str]]]) -> Verdict:
    """At most one active plan per target; a hall and a node in it are the same target. Rows are (plan id, targets)."""
    for plan, held in active:
        for mine in targets:
            if any(within(mine, theirs) or within(theirs, mine) for theirs in held):
                return no(f"{mine} is held by plan {plan}")
    return YES


def landing(need: int, free: int, reserved: int, hall: str) -> Verdict:
    """Jump only where there is room: free nodes less those promised to calls whose outcome is not known yet."""
    room = free - reserved
    return YES if need <= room else no(f"{hall} has room for {max(room, 0)} nodes, {need} needed")


def approval(needed: int, approvers: Sequence[str], hash_ok: bool) -> Verdict:
    """No step without a recorded approval of exactly this content."""
    if not hash_ok:
        return no("the stored content does not match the plan's id")
    return YES if len(set(approvers)) >= needed else no(f"{len(set(approvers))} approvals, {needed} needed")


def every(checks: Mapping[str, Callable[[], Verdict]]) -> Verdict:
    """All of them, all reasons together; a check that cannot be made is a refusal (fail closed)."""
    reasons: list[str] = []
    for name, check in checks.items():
        try:
            verdict = check()
        except Exception as error:  # whatever went wrong, the answer is "not now"
            verdict = no(f"{name} cannot be checked: {type(error).__name__}: {error}")
        if not verdict.ok:
            reasons += verdict.reasons or (f"{name} refuses",)
    return no(*reasons) if reasons else YES


def for_undo(checks: Mapping[str, Callable[[], Verdict]]) -> Verdict:
    """What an undo must pass: only that no other executor has taken over."""
    return every({name: check for name, check in checks.items() if name == "fencing"})


def for_return(checks: Mapping[str, Callable[[], Verdict]]) -> Verdict:
    """What giving capacity back must pass: an open breaker or a spent budget is no reason to keep nodes locked."""
    return every({name: check for name, check in checks.items() if name not in ("breaker", "budget")})
