"""Undo: take back, in reverse order, every step that was or may have been done. What cannot be is a person's."""

from __future__ import annotations

from collections.abc import Sequence

from recovery import calls, gate, journal
from recovery.rows import UNRESOLVED, StepRow
from recovery.turn import Outcome, Turn

_NOTHING_LEFT = ""
_GIVEN_UP = "failed"


def roll_back(turn: Turn) -> Outcome:
    """Advance the undo of one plan by at most one call; one undo that fails does not keep the earlier ones."""
    undone = turn.rows("undo")
    failed = []
    for row in reversed(turn.rows("do")):
        tries = [one for one in undone if (one.no, one.part) == (row.no, row.part)]
        what = _undo_one(turn, _settle(turn, row) if row.status in UNRESOLVED else row, tries)
        if what == _GIVEN_UP:
            failed.append(row.key)
        elif what != _NOTHING_LEFT:
            return what, ()
    if failed:
        return turn.end("failed_needs_human", f"could not be undone or settled: {', '.join(failed)}")
    return turn.end("rolled_back", "everything that can be undone is undone")


def _settle(turn: Turn, row: StepRow) -> StepRow:
    """Learn what became of an open step before undoing it; silence leaves it as it is."""
    receipt, answered = turn.ask(row)
    if receipt is not None and receipt.status in ("done", "rejected"):
        journal.record(turn.do.ledger, row, receipt.status, receipt.detail, turn.now_ms, turn.do.epoch)
    elif receipt is None and answered and row.call.verb not in calls.UNDO:
        journal.record(turn.do.ledger, row, "skipped", "never arrived", turn.now_ms, turn.do.epoch)
    return next(one for one in turn.rows("do") if one.key == row.key)


def _undo_one(turn: Turn, row: StepRow, tries: Sequence[StepRow]) -> str:
    """What is going on for this step: nothing left, given up, or a word for the call under way."""
    if row.status in ("planned", "rejected", "skipped"):
        return _NOTHING_LEFT
    if row.call.verb not in calls.UNDO:
        # done or still running: it runs on where it is; not known: nobody can say, so a person looks
        return _GIVEN_UP if row.status in ("intent", "unknown") else _NOTHING_LEFT
    last = tries[-1] if tries else None
    if last is not None and last.status == "done":
        return _NOTHING_LEFT
    if last is not None and last.status in UNRESOLVED:
        return _follow(turn, last)
    if len(tries) >= turn.do.patience.undo_tries:
        return _GIVEN_UP
    undo = journal.undo_row(row, calls.UNDO[row.call.verb](row), len(tries) + 1)
    verdict = journal.intend(turn.do.ledger, turn.row, [undo], turn.now_ms, turn.do.epoch, gate.to_undo(turn))
    return f"undo {turn.send(undo)[0]}" if verdict.ok else "undo blocked"


def _follow(turn: Turn, undo: StepRow) -> str:
    """Ask what became of an undo; one that never arrived is sent again, one that takes too long counts as failed."""
    receipt, answered = turn.ask(undo)
    never_arrived = receipt is None and answered
    if never_arrived and undo.sends < turn.do.patience.sends:
        verdict = journal.intend_again(turn.do.ledger, undo, turn.now_ms, turn.do.epoch, gate.to_undo(turn))
        return f"undo {turn.send(undo)[0]}" if verdict.ok else "undo blocked"
    if receipt is not None and receipt.status in ("done", "rejected"):
        return f"undo {turn.take_receipt(undo, receipt)[0]}"
    if never_arrived or turn.overdue(undo, turn.plan.steps[undo.no]):
        journal.record(turn.do.ledger, undo, "rejected", "no answer in time", turn.now_ms, turn.do.epoch)
        return "undo overdue"
    return "undo running"
