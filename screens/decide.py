"""The one thing a screen may change: a decision in the ledger. Nothing here executes; the worker does."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from plant.errors import ForetwinError
from recovery.approve import Autonomy, is_person
from recovery.guards import YES, Verdict, no
from recovery.ledger import Ledger
from screens.identity import HOW, Identity
from screens.look import Look, look


def may_decide(now: Look, identity: Identity | None) -> Verdict:
    """May this person decide anything on this screen? The reasons are shown in place of the buttons."""
    reasons = []
    if identity is None:
        reasons.append(f"this screen is read-only because it does not know who you are: {HOW}")
    elif identity.demo and now.mode != "demo":
        reasons.append(f"the demo operator decides on emulated sites only: {HOW}")
    elif not is_person(identity.name):
        reasons.append(f"{identity.name!r} is a name of the program itself: {HOW}")
    if now.now_ms is None:
        reasons.append("the site's time is unknown, so nothing can be judged as expired or not")
    return no(*reasons) if reasons else YES


def may_approve(now: Look) -> Verdict:
    """Is what the screen shows good enough to approve on? Rejecting is always safe."""
    reasons = []
    if now.dead:
        reasons.append("the worker is silent, so nothing would carry the plan out")
    elif now.freshness == "stale":
        reasons.append("the telemetry is stale, so the rehearsal may no longer hold")
    if (now.status or {}).get("autonomy") == "observe":
        reasons.append("the site is set to observe: nothing is executed")
    return no(*reasons) if reasons else YES


def decide(
    folder: Path, wall_ms: int, identity: Identity | None, plan_id: str, what: str, reason: str
) -> tuple[str, ...]:
    """Write 'approve' or 'reject' with its reason into the ledger; returns why it was refused, nothing if it was not.

    Everything is judged anew at this moment, not as it was when the page was drawn.
    """
    now = look(folder, wall_ms)
    verdicts = [may_decide(now, identity), may_approve(now) if what == "approve" else YES]
    reasons = tuple(one for verdict in verdicts for one in verdict.reasons)
    if reasons or identity is None or now.now_ms is None:
        return reasons
    autonomy = (now.status or {}).get("autonomy")
    try:
        # an autonomy nobody knows must not grant anything
        ledger = Ledger(folder / "ledger.sqlite", autonomy=autonomy if autonomy in get_args(Autonomy) else "observe")
        try:
            if what == "approve" and (against := _gate(ledger, plan_id)):
                return against
            return ledger.decide(plan_id, identity.name, what, reason, now.now_ms).reasons
        finally:
            ledger.close()
    except ForetwinError as error:
        return (str(error),)


def _gate(ledger: Ledger, plan_id: str) -> tuple[str, ...]:
    """What the rehearsal's gate holds against a plan: no press of a button overrides it."""
    row = ledger.plan(plan_id)
    reasons = ((row.rehearsal or {}) if row is not None else {}).get("gate_reasons") or ()
    return tuple(f"the gate does not let this plan through: {reason}" for reason in reasons)
