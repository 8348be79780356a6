"""What became of a decided plan: its state, every call with its receipt, and the outcome when it is over. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from recovery.approve import approvals_needed
from recovery.rows import DecisionRow, StepRow
from screens import words
from screens.comparison import Candidate, step_words
from screens.look import Look
from screens.view import STATES

MARKS = {
    "planned": "○ planned",
    "intent": "… sent, no answer yet",
    "accepted": "… accepted",
    "unknown": "? unknown, being asked again",
    "done": "● done",
    "rejected": "✕ refused",
    "skipped": "– skipped",
}
PARTS = (
    ("detect_s", "Detect"),
    ("diagnose_s", "Diagnose"),
    ("plan_s", "Plan"),
    ("rehearse_s", "Rehearse"),
    ("decide_s", "Decide"),
    ("start_s", "Start"),
    ("act_s", "Act"),
    ("verify_s", "Verify"),
)
"""The eight parts of the time to recovery, in order."""
VERDICTS = {
    "averted": "Averted: service never fell below its limit",
    "recovered": "Recovered: service fell and came back",
    "unresolved": "Unresolved: service has not come back",
}


@dataclass(frozen=True)
class Progress:
    """A decided plan on its way: a sentence, who decided, and rows of steps, of calls with receipts, of the audit."""

    label: str
    verdict: str
    decisions: tuple[str, ...]
    steps: pd.DataFrame
    calls: pd.DataFrame
    history: pd.DataFrame


@dataclass(frozen=True)
class Outcome:
    """How an incident ended, from the worker's accounting: everything in minutes, all of it simulated in a demo."""

    verdict: str
    chosen: str
    lost_min: float | None
    lost_nothing_min: float | None
    mttr: str
    mttr_nothing: str
    lead: str
    parts: tuple[tuple[str, float], ...]
    simulated: bool

    @property
    def saved(self) -> str:
        """The difference the plan made, with both numbers beside it."""
        if self.lost_min is None or self.lost_nothing_min is None:
            return words.NONE
        return f"{words.number(self.lost_nothing_min - self.lost_min, 1)} min"

    @property
    def table(self) -> pd.DataFrame:
        """The eight parts and their sum in minutes."""
        rows = [(name, words.number(length, 1)) for name, length in self.parts]
        rows.append(("Sum", words.number(sum(length for _, length in self.parts), 1)))
        return pd.DataFrame(rows, columns=["Part of the time to recovery", "min"])


def progress(now: Look, one: Candidate) -> Progress:
    """Where a decided plan stands."""
    row, record = one.row, now.record
    calls = record.steps.get(row.id, ())
    decisions = record.decisions.get(row.id, ())
    missing = approvals_needed(row.tier) - sum(1 for each in decisions if each.what == "approve")
    verdict = words.label(STATES.get(row.state, row.state))
    if row.state == "rehearsed" and decisions and missing > 0:
        verdict = f"One more person must approve (tier {row.tier})"
    return Progress(
        label=words.label(row.label),
        verdict=verdict,
        decisions=tuple(_decision(each) for each in decisions),
        steps=_steps(one, calls),
        calls=pd.DataFrame([_call(call) for call in calls], columns=CALL_COLUMNS),
        history=pd.DataFrame(
            [
                (words.clock(a.at_ms), a.actor, a.what, a.after or a.before, a.detail)
                for a in record.history.get(row.id, ())
            ],
            columns=["At", "Who", "What", "State", "Detail"],
        ),
    )


def _decision(each: DecisionRow) -> str:
    done = "Approved" if each.what == "approve" else "Rejected"
    return f"{done} by {each.who}, {words.clock(each.at_ms)}: {each.reason}"


STEP_COLUMNS = ["Step", "What", "Status", "Sent", "Answered"]
CALL_COLUMNS = ["Call", "What", "Status", "Sent", "Answered", "Receipt"]


def _steps(one: Candidate, calls: Sequence[StepRow]) -> pd.DataFrame:
    """A row per step of the plan, with how many of its calls have which status; what is undone has a row of its own."""
    rows = []
    for n, step in enumerate(one.steps):
        rows.append((f"{n + 1}", words.label(step_words(step)), *_together(calls, n, "do")))
        if any(call.no == n and call.purpose == "undo" for call in calls):
            rows.append((f"{n + 1}", f"Undo: {step.compensation or step.kind}", *_together(calls, n, "undo")))
    return pd.DataFrame(rows, columns=STEP_COLUMNS)


def _together(calls: Sequence[StepRow], n: int, purpose: str) -> tuple[str, str, str]:
    """(statuses with their numbers, first sent, last answered) of the calls of one step."""
    mine = [call for call in calls if call.no == n and call.purpose == purpose]
    if not mine:
        return MARKS["planned"], "", ""
    statuses = Counter(call.status for call in mine)
    said = ", ".join(MARKS.get(s, s) + (f" {k} of {len(mine)}" if len(mine) > 1 else "") for s, k in statuses.items())
    sent = [call.intent_ms for call in mine if call.intent_ms is not None]
    answered = [call.receipt_ms for call in mine if call.receipt_ms is not None]
    return said, words.clock(min(sent)) if sent else "", words.clock(max(answered)) if answered else ""


def _call(step: StepRow) -> tuple[str, ...]:
    touched = list(step.call.args.get("jobs") or step.call.nodes or step.call.components)
    what = f"{words.label(step.call.verb)}" + (f", {words.listed(touched, 1)}" if touched else "")
    sent = words.clock(step.intent_ms) if step.intent_ms else ""
    again = f" ({step.sends} sends)" if step.sends > 1 else ""
    answered = words.clock(step.receipt_ms) if step.receipt_ms else ""
    status = MARKS.get(step.status, step.status)
    return step.key.partition(":")[2], what, status, f"{sent}{again}", answered, step.detail


def outcome(posted: dict[str, Any] | None) -> Outcome | None:
    """The end of the incident, None while it lasts."""
    if not posted:
        return None
    parts = posted.get("parts") or {}
    lead_s = None
    if words.known(posted.get("t_first_alert_s")) and words.known(posted.get("t_static_alert_s")):
        lead_s = posted["t_static_alert_s"] - posted["t_first_alert_s"]
    averted = posted.get("outcome") == "averted"
    mttr = words.minutes(posted.get("mttr_s"))
    return Outcome(
        verdict=VERDICTS.get(str(posted.get("outcome")), words.label(str(posted.get("outcome") or "unknown"))),
        chosen=words.label(str(posted.get("chosen") or "no plan")),
        lost_min=_number(posted.get("lost_service_min")),
        lost_nothing_min=_number(posted.get("lost_service_min_do_nothing")),
        mttr="nothing to recover from" if averted and mttr == words.NONE else mttr,
        mttr_nothing=words.minutes(posted.get("mttr_do_nothing_s")),
        lead=_lead(lead_s),
        parts=tuple((name, parts[key] / 60) for key, name in PARTS if words.known(parts.get(key))),
        simulated=bool(posted.get("simulated", True)),
    )


def _lead(lead_s: float | None) -> str:
    if lead_s is None:
        return words.NONE
    return f"{words.minutes(abs(lead_s))} {'before' if lead_s >= 0 else 'after'}"


def _number(value: object) -> float | None:
    return float(value) if words.known(value) else None
