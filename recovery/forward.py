"""Forward: resolve what is open, wait for what is asked, write the intent, send the next call; in the end, verify."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from plant.actions import Action, Plan
from recovery import calls, gate, journal
from recovery.calls import View
from recovery.rows import UNRESOLVED, StepRow
from recovery.turn import Outcome, Turn

PLANT_KINDS = ("start_standby", "transfer_feed", "set_cooling", "disable_link")


def forward(turn: Turn) -> Outcome:
    """Advance an approved or executing plan: settle the open call if there is one, then send at most one."""
    for row in turn.rows("do"):
        if row.status in UNRESOLVED:
            what, reasons = _follow(turn, row)
            if what != "done":
                return what, reasons
        if row.status == "rejected":
            return turn.end("rolling_back", f"{row.key} was rejected: {row.detail}")
    rows = turn.rows("do")
    planned = next((row for row in rows if row.status == "planned"), None)
    if planned is not None:
        return _send_planned(turn, planned, rows)
    number = max((row.no for row in rows), default=-1) + 1
    return _begin(turn, number, rows) if number < len(turn.plan.steps) else _finish(turn, rows)


def verify(turn: Turn) -> Outcome:
    """Verified only by new readings that stay good, taken from the service itself, not from our own success.

    A verification that fails calls a person and leaves the protection in place: undoing a cap in a hall that is still
    hot would add a second accident.
    """
    ended_ms = max((row.receipt_ms or 0 for row in turn.rows("do")), default=0) or turn.origin_ms(())
    since, newest, patience = turn.facts.service_ok_since_ms, turn.facts.service_read_ms, turn.do.patience
    if since is not None and newest is not None and newest - max(since, ended_ms) >= patience.hold_s * 1000:
        return turn.end("verified", f"inside its limit for {patience.hold_s:g} s")
    if turn.now_ms - ended_ms > patience.verify_s * 1000:
        return turn.end("failed_needs_human", f"the service did not come back within {patience.verify_s:g} s")
    return "verifying", ()


def _finish(turn: Turn, rows: Sequence[StepRow]) -> Outcome:
    if turn.row.state == "approved":  # doing nothing has no first step to start with
        verdict = gate.to_start(turn)
        if not verdict.ok:
            return turn.blocked(verdict.reasons, rows)
        turn.end("executing", "nothing to do")
    return turn.end("verifying", "all steps done")


def _begin(turn: Turn, number: int, rows: Sequence[StepRow]) -> Outcome:
    """Resolve the next step against the site as it is now, write its intent, send its first call."""
    action = turn.plan.steps[number]
    waits = _waits_for(turn, action, rows)
    if waits and turn.row.state != "approved":  # the scheduler need not be asked to go on waiting
        return turn.blocked((waits,), rows, "waiting")
    view = turn.view(rows)
    if isinstance(view, str):
        return turn.blocked((view,), rows)
    if turn.row.state == "approved" and (gone := _lost_its_sense(turn, view)):
        return turn.end("stale", gone)
    if waits:
        return turn.blocked((waits,), rows, "waiting")
    new = journal.do_rows(turn.row.id, number, calls.resolve(action, view))
    check = gate.to_send(turn, new[0].key, new[0].call, action, view)
    verdict = journal.intend(turn.do.ledger, turn.row, new, turn.now_ms, turn.do.epoch, check)
    return turn.send(new[0]) if verdict.ok else turn.blocked(verdict.reasons, rows)


def _send_planned(turn: Turn, row: StepRow, rows: Sequence[StepRow]) -> Outcome:
    """The next call of a step that has several."""
    view = turn.view(rows)
    if isinstance(view, str):
        return turn.blocked((view,), rows)
    return _intend_and_send(turn, replace(row, call=calls.refresh(row.call, view)), view, rows)


def _send_again(turn: Turn, row: StepRow) -> Outcome:
    """The port never saw the call: it has had no effect, so it may be sent, if it still may be sent at all."""
    if row.sends >= turn.do.patience.sends:
        return turn.end("rolling_back", f"{row.key} never arrived, sent {row.sends} times")
    view = turn.view(())
    return turn.blocked((view,), [row]) if isinstance(view, str) else _intend_and_send(turn, row, view, [row])


def _intend_and_send(turn: Turn, row: StepRow, view: View, rows: Sequence[StepRow]) -> Outcome:
    check = gate.to_send(turn, row.key, row.call, turn.plan.steps[row.no], view)
    verdict = journal.intend_again(turn.do.ledger, row, turn.now_ms, turn.do.epoch, check)
    return turn.send(row) if verdict.ok else turn.blocked(verdict.reasons, rows)


def _follow(turn: Turn, row: StepRow) -> Outcome:
    """Ask what became of an open call: done, still going, overdue, or never arrived."""
    receipt, answered = turn.ask(row)
    if receipt is None and answered:
        return _send_again(turn, row)
    if receipt is not None and receipt.status in ("done", "rejected"):
        return turn.take_receipt(row, receipt)
    if receipt is not None and receipt.status != row.status:
        turn.take_receipt(row, receipt)
    action = turn.plan.steps[row.no]
    if turn.overdue(row, action):
        return turn.end("rolling_back", f"{row.key} is not done after {action.timeout_s:g} s")
    return ("running", ()) if answered else ("unknown", (f"{row.key}: the port does not answer",))


def _waits_for(turn: Turn, action: Action, rows: Sequence[StepRow]) -> str:
    """What a step is waiting for, or nothing. A condition that cannot be read does not hold."""
    after_s, when = action.get("after_s"), action.get("when")
    if after_s is not None and turn.now_ms < turn.origin_ms(rows) + float(after_s) * 1000:
        return f"starts {after_s:g} s after the first step"
    if when is None:
        return ""
    try:
        holds = turn.facts.triggered(str(when))
    except Exception:
        holds = False
    return "" if holds else f"waits for {when}"


def _lost_its_sense(turn: Turn, view: View) -> str:
    """Why a plan that has not started should not: its cause is gone, or a target is."""
    try:
        moot = turn.facts.moot(turn.plan)
    except Exception:
        moot = None  # not known: the guards, which fail closed, decide
    return moot or _unknown_target(turn.plan, view)


def _unknown_target(plan: Plan, view: View) -> str:
    halls = {node.hall for node in view.nodes}
    for action in plan.steps:
        to_hall = action.get("to_hall")
        named = () if action.kind in PLANT_KINDS else action.scope
        missing = [one for one in named if not view.nodes_in((one,))]
        if to_hall is not None and to_hall not in halls:
            missing.append(str(to_hall))
        if missing:
            return f"{missing[0]} is not known to the scheduler any more"
    return ""
