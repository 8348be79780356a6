"""SchedulerPort: what Foretwin may see of and ask from the scheduler that runs the real jobs.

The laws every implementation keeps (`tests/test_scheduler_port.py` holds each one to them):
1. `key` names one call for ever. The same key with the same content answers the same receipt and has no second effect;
   with other content it is refused (`code` "key_reused") and changes nothing.
2. `epoch` is a fencing number. A call older than the newest epoch seen is refused ("fenced"), leaves no trace and does
   not use up its key. `fence(epoch)` announces a new epoch before its first call; False: a newer one is known.
3. `query(key)` tells what became of a call, None if it never arrived. A long call answers "accepted" first.
4. `uncordon` and `uncap` remove only what calls of the same plan set; what a person set stays.
5. A call is all or nothing, and an empty or unknown list is refused: it never comes to mean "everything".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

ReceiptStatus = Literal["done", "accepted", "rejected", "unknown"]
ReceiptCode = Literal["", "fenced", "key_reused"]
JobPhase = Literal["queued", "running", "moving", "draining", "held", "done"]


@dataclass(frozen=True)
class Receipt:
    """What a port answered to one call; `code` tells a refusal of the call itself from a refusal of its content."""

    key: str
    status: ReceiptStatus
    detail: str = ""
    at_ms: int = 0
    code: ReceiptCode = ""


@dataclass(frozen=True)
class JobView:
    """One job as the scheduler sees it; a larger priority is more important, a moving job still holds its old nodes.

    What a scheduler does not say is None and taken from the job's class: nodes wanted, share of each node, accelerators
    and state in all, checkpoint interval and restart time [s], when it arrived and last started (-1: never), work not
    saved [s], the longest it may go on [s], what it uses of its share as measured.
    """

    id: str
    job_class: str
    hall: str
    nodes: tuple[str, ...]
    phase: JobPhase
    priority: float = 0
    width: int | None = None
    share_frac: float | None = None
    gpus: float | None = None
    state_gb: float | None = None
    checkpoint_s: float | None = None
    restart_s: float | None = None
    arrived_ms: int | None = None
    started_ms: int | None = None
    unsaved_s: float | None = None
    left_s: float | None = None
    activity_frac: float | None = None


@dataclass(frozen=True)
class NodeView:
    """One node: who keeps new jobs off it (plan ids and people), the power cap in force (1.0: none), free for a job."""

    id: str
    hall: str
    up: bool = True
    cordoned_by: tuple[str, ...] = ()
    cap_frac: float = 1.0
    free: bool = True
    gpus: int = 0


class SchedulerPort(Protocol):
    """See the laws above. Jobs and nodes are ids; `cap_frac` is a fraction of peak power."""

    def fence(self, epoch: int) -> bool:
        """Take this worker's epoch as the newest; False when a newer one has been here: then nothing more is done."""
        ...

    def observe(self) -> list[JobView]:
        """All jobs that run, wait or are held."""
        ...

    def nodes(self) -> list[NodeView]:
        """All nodes that the scheduler knows."""
        ...

    def cordon(self, key: str, epoch: int, nodes: Sequence[str], reason: str) -> Receipt:
        """Keep new jobs off these nodes; running ones stay. reason: for people."""
        ...

    def uncordon(self, key: str, epoch: int, nodes: Sequence[str]) -> Receipt:
        """Take back this plan's cordon; somebody else's stays."""
        ...

    def cap(self, key: str, epoch: int, nodes: Sequence[str], cap_frac: float) -> Receipt:
        """Hold each node's power to this fraction of its peak."""
        ...

    def uncap(self, key: str, epoch: int, nodes: Sequence[str]) -> Receipt:
        """Take back this plan's cap."""
        ...

    def move(self, key: str, epoch: int, jobs: Sequence[str], to_hall: str, concurrent: int, mode: str = "") -> Receipt:
        """Bring running jobs to another hall, the most important first, at most `concurrent` at a time.

        mode: one of `plant.migration.MODES`, "" for the scheduler's own way; one that knows a single way takes it.
        """
        ...

    def drain(self, key: str, epoch: int, jobs: Sequence[str]) -> Receipt:
        """Put each job back into the queue at its next checkpoint."""
        ...

    def requeue(self, key: str, epoch: int, jobs: Sequence[str]) -> Receipt:
        """Put each job back into the queue now; work since its last checkpoint is lost."""
        ...

    def hold_job(self, key: str, epoch: int, jobs: Sequence[str], held: bool = True) -> Receipt:
        """Keep queued jobs from starting, or with held=False let them start again."""
        ...

    def query(self, key: str) -> Receipt | None:
        """What became of the call with this key; None when it never arrived."""
        ...


@runtime_checkable
class Watched(Protocol):
    """What a scheduler also has that a twin watches live.

    look_ms: how often it may be asked. tells_up: its nodes' `up` is known by its own watch, for the twin to take as a
    fact. version: changes when a job came, went, moved or was held.
    """

    look_ms: int
    tells_up: bool

    def version(self) -> str:
        """A text that changes when a job came, went, moved or was held."""
        ...

    def observe(self) -> list[JobView]:
        """All jobs that run, wait or are held."""
        ...

    def nodes(self) -> list[NodeView]:
        """All nodes that the scheduler knows."""
        ...


def owner(key: str) -> str:
    """Whose call this is: the plan id before the step number of a key such as `9f2c…:0`."""
    return key.partition(":")[0]
