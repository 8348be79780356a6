"""The executor: carries approved plans out, one step per call, so that a crash anywhere neither loses nor repeats one.

It keeps nothing in memory. Before a call leaves, its key and content are durable; afterwards the receipt is. What has
no receipt is asked for by key and sent again, with the same key and content, only if the port never saw it. A rejected
or overdue step starts the undo of the earlier ones, in reverse order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from plant.errors import StoreUnavailable
from recovery import lease
from recovery.facts import Facts
from recovery.forward import forward, verify
from recovery.guards import YES, Limits, Verdict, no
from recovery.ledger import Ledger
from recovery.plant_port import PlantPort
from recovery.rows import PlanRow
from recovery.states import RUNNING, PlanState
from recovery.turn import Hands, Outcome, Patience, Turn
from recovery.undo import roll_back
from scheduler.port import SchedulerPort

__all__ = ["Executor", "Facts", "Patience", "Progress"]


@dataclass(frozen=True)
class Progress:
    """What one call of `step` did for one plan; `reasons` say why nothing could be done."""

    plan: str
    state: PlanState
    what: str
    reasons: tuple[str, ...] = ()


@dataclass
class Executor(Hands):
    """Acts for the holder of `epoch` (see `recovery.lease`); all that matters is in the ledger and behind the ports."""

    _announced: bool = False

    @classmethod
    def start(
        cls,
        ledger: Ledger,
        scheduler: SchedulerPort,
        plant: PlantPort,
        pause_path: Path,
        holder: str,
        now_ms: int,
        limits: Limits | None = None,
        patience: Patience | None = None,
    ) -> Executor:
        """Check the audit chain, take the lease and be the executor. Raises StoreUnavailable on a broken chain."""
        rows, ok, bad = ledger.verify()
        if not ok:
            found = f"the audit chain breaks at row {bad} of {rows}"
            raise StoreUnavailable(str(ledger.path), found, "an unbroken chain", "restore a backup")
        epoch = lease.take(ledger, holder, now_ms)
        return cls(ledger, scheduler, plant, pause_path, epoch, limits or Limits(), patience or Patience())

    def step(self, now_ms: int, facts: Facts) -> list[Progress]:
        """Advance every plan in hand by at most one step. One plan's trouble does not stop the others."""
        self.ledger.expire(now_ms)
        verdict = self._announce(now_ms)
        rows = self.ledger.plans("approved", *RUNNING)
        if not verdict.ok:
            return [Progress(row.id, row.state, "blocked", verdict.reasons) for row in rows]
        return [self._advance(row, now_ms, facts) for row in rows]

    def _announce(self, now_ms: int) -> Verdict:
        """Renew the lease, and before the first act shut older executors out at the ports."""
        verdict = lease.heartbeat(self.ledger, self.epoch, now_ms)
        if not verdict.ok or self._announced:
            return verdict
        try:
            self._announced = self.scheduler.fence(self.epoch) and self.plant.fence(self.epoch)
        except Exception as error:
            return no(f"a port does not answer: {type(error).__name__}: {error}")
        return YES if self._announced else no("a port knows a newer executor")

    def _advance(self, row: PlanRow, now_ms: int, facts: Facts) -> Progress:
        turn = Turn(self, row, now_ms, facts)
        try:
            what, reasons = _take(turn)
        except StoreUnavailable:
            raise
        except Exception as error:  # a poisonous plan ends with a person, the others go on
            what, reasons = "failed", (f"{type(error).__name__}: {error}",)
            turn.end("failed_needs_human" if row.state in RUNNING else "cancelled", reasons[0])
        if reasons:
            self.ledger.note(row.id, what, "; ".join(reasons), now_ms)
        after = self.ledger.plan(row.id)
        return Progress(row.id, after.state if after else row.state, what, reasons)


def _take(turn: Turn) -> Outcome:
    if turn.row.state == "verifying":
        return verify(turn)
    return roll_back(turn) if turn.row.state == "rolling_back" else forward(turn)
