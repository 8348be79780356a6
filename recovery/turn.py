"""One plan's turn in one call of the executor: what moving forward and undoing share."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from plant.actions import Action, Plan
from recovery import calls, guards, journal, lease
from recovery.approve import AUTHOR
from recovery.calls import View
from recovery.facts import Facts
from recovery.guards import Limits, Verdict
from recovery.ledger import Ledger
from recovery.plant_port import PlantPort
from recovery.rows import PlanRow, Purpose, StepRow
from recovery.states import PlanState
from scheduler.port import Receipt, SchedulerPort

Outcome = tuple[str, tuple[str, ...]]
"""What happened in a word, and why nothing did."""


@dataclass(frozen=True)
class Patience:
    """How long and how often the executor waits before it gives up; seconds and counts.

    hold_s: the indicator must stay good this long. verify_s: then a person is called. wait_s: longest wait for a
    trigger or a guard. sends: how often a call that never arrives is sent. undo_tries: attempts per undo.
    """

    hold_s: float = 300.0
    verify_s: float = 7_200.0
    wait_s: float = 172_800.0
    sends: int = 5
    undo_tries: int = 3


@dataclass
class Hands:
    """What acting takes: the ledger, the two ports, the pause switch, the epoch of the lease, limits and patience."""

    ledger: Ledger
    scheduler: SchedulerPort
    plant: PlantPort
    pause_path: Path
    epoch: int
    limits: Limits = field(default_factory=Limits)
    patience: Patience = field(default_factory=Patience)


@dataclass
class Turn:
    """One plan as it was read, the moment [Unix ms] and the facts; nothing here outlives the call."""

    do: Hands
    row: PlanRow
    now_ms: int
    facts: Facts

    @property
    def plan(self) -> Plan:
        return self.row.plan

    def end(self, state: PlanState, detail: str) -> Outcome:
        """Move the plan on, if we still hold the lease."""
        self.do.ledger.move(self.row.id, state, AUTHOR, detail, self.now_ms, check=self._mine)
        return state, ()

    def _mine(self, db: sqlite3.Connection) -> Verdict:
        return guards.fencing(self.do.epoch, lease.current(db))

    def rows(self, purpose: Purpose) -> list[StepRow]:
        """The plan's journal rows of one purpose, in the order of the plan."""
        return [row for row in self.do.ledger.steps(self.row.id) if row.purpose == purpose]

    def origin_ms(self, rows: Sequence[StepRow]) -> int:
        """The first step's start; before that, the decision."""
        starts = [row.intent_ms for row in rows if row.intent_ms is not None]
        decided = [one.at_ms for one in self.do.ledger.decisions(self.row.id)]
        return min(starts) if starts else max(decided, default=self.now_ms)

    def view(self, rows: Sequence[StepRow]) -> View | str:
        """The scheduler's view of nodes and jobs, or why there is none."""
        try:
            nodes, jobs = tuple(self.do.scheduler.nodes()), tuple(self.do.scheduler.observe())
        except Exception as error:
            return f"the scheduler does not answer: {type(error).__name__}: {error}"
        return View(nodes, jobs, tuple(rows), self.row.id)

    def blocked(self, reasons: Sequence[str], rows: Sequence[StepRow], what: str = "blocked") -> Outcome:
        """Nothing may be sent now. A plan under way does not wait for ever: then a person is called."""
        moments = [ms for row in rows for ms in (row.intent_ms, row.receipt_ms) if ms is not None]
        waited_s = (self.now_ms - max(moments, default=self.now_ms)) / 1000
        if self.row.state == "executing" and waited_s > self.do.patience.wait_s:
            return self.end("failed_needs_human", f"no progress for {waited_s:.0f} s: {'; '.join(reasons)}")
        return what, tuple(reasons)

    def send(self, row: StepRow) -> Outcome:
        """Make the call whose intent is durable. Any failure on the way is `unknown`, to be asked for by key."""
        try:
            receipt = calls.send(row.call, row.key, self.do.epoch, self.do.scheduler, self.do.plant)
        except Exception as error:
            receipt = Receipt(row.key, "unknown", f"{type(error).__name__}: {error}")
        return self.take_receipt(row, receipt)

    def take_receipt(self, row: StepRow, receipt: Receipt) -> Outcome:
        """Write a receipt down and draw the consequence."""
        if receipt.code == "fenced":
            # not ours any more: the row stays open for the one who took over
            return "fenced", (receipt.detail,)
        if receipt.code == "key_reused":
            journal.record(self.do.ledger, row, "unknown", receipt.detail, self.now_ms, self.do.epoch)
            return self.end("failed_needs_human", f"{row.key}: {receipt.detail}")
        journal.record(self.do.ledger, row, receipt.status, receipt.detail, self.now_ms, self.do.epoch)
        if receipt.status == "rejected" and row.purpose == "do":
            return self.end("rolling_back", f"{row.key} was rejected: {receipt.detail}")
        return receipt.status, ()

    def ask(self, row: StepRow) -> tuple[Receipt | None, bool]:
        """(receipt, or None if the port never saw the key; whether the port answered at all)."""
        if row.call.port == "none":
            return Receipt(row.key, "done", "nothing to do"), True
        port: SchedulerPort | PlantPort = self.do.scheduler if row.call.port == "scheduler" else self.do.plant
        try:
            return port.query(row.key), True
        except Exception:
            return None, False

    def overdue(self, row: StepRow, action: Action) -> bool:
        """Has an open call used up its step's timeout?"""
        return self.now_ms - (row.intent_ms or self.now_ms) > action.timeout_s * 1000
