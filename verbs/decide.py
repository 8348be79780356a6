"""`foretwin approve | reject PLAN`: a person's decision, written into the ledger. Nothing here executes."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any, get_args

from plant.errors import ConfigError, Fault, PlanRejected
from recovery.approve import Autonomy
from recovery.ledger import Ledger
from recovery.rows import PlanRow
from twin.board import Board


def run(home: Path, plan_id: str, what: str, who: str, reason: str, wall_ms: int) -> dict[str, Any]:
    """Decide and return the plan as it stands then; raises PlanRejected with every reason against the decision.

    The decision is judged at the site's own time as the worker posts it; wall_ms (Unix) counts where none is posted.
    """
    status, posted_ms = _status(home)
    now_ms = status.get("now_ms") or posted_ms or wall_ms
    autonomy = status.get("autonomy", "propose")
    ledger = _open(home, autonomy if autonomy in get_args(Autonomy) else "observe")
    try:
        row = ledger.plan(plan_id)
        reasons = _against(row) if what == "approve" else ()
        reasons = reasons or ledger.decide(plan_id, who or _login(), what, reason, int(now_ms)).reasons
        if reasons:
            raise _refused(plan_id, what, reasons, ledger.waiting())
        after = ledger.plan(plan_id)
    finally:
        ledger.close()
    assert after is not None
    item = {"plan": after.id, "label": after.label, "cause": after.cause, "state": after.state, "tier": after.tier}
    return {"ok": True, "items": [{**item, "decision": what, "at_ms": int(now_ms)}]}


def _status(home: Path) -> tuple[dict[str, Any], int | None]:
    """What the worker last posted about itself, and when; nothing where there is no board."""
    path = home / "telemetry.sqlite"
    if not path.is_file():
        return {}, None
    board = Board(path, read_only=True)
    try:
        posting = board.get_json("status")
    finally:
        board.close()
    return (dict(posting.value), posting.updated_ms) if posting and isinstance(posting.value, dict) else ({}, None)


def _open(home: Path, autonomy: Autonomy) -> Ledger:
    path = home / "ledger.sqlite"
    if not path.is_file():
        cure = "start a worker (foretwin run) or a demo, or set FORETWIN_HOME to its folder"
        raise ConfigError(str(path), "no such ledger", "the ledger of a worker", cure)
    return Ledger(path, autonomy=autonomy)


def _against(row: PlanRow | None) -> tuple[str, ...]:
    """What the rehearsal's gate holds against a plan: no word of a person overrides it."""
    found = ((row.rehearsal or {}) if row is not None else {}).get("gate_reasons") or ()
    return tuple(f"the gate does not let this plan through: {reason}" for reason in found)


def _refused(plan_id: str, what: str, reasons: tuple[str, ...], waiting: list[PlanRow]) -> PlanRejected:
    known = "waiting are " + ", ".join(f"{row.id} ({row.label})" for row in waiting[:6])
    cure = known if waiting else "no plan waits for a decision"
    return PlanRejected(faults=[Fault(f"{what} {plan_id}", reason, "", cure) for reason in reasons])


def _login() -> str:
    """The name of the account, where no other is given."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
