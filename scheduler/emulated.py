"""The scheduler of an emulated site behind SchedulerPort; `call` carries a verb and its arguments to the emulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from scheduler.port import JobView, NodeView, Receipt

Call = Callable[[str, dict[str, Any]], Any]


def receipt(answer: dict[str, Any]) -> Receipt:
    """Return the receipt that the emulator sent as plain data."""
    return Receipt(answer["key"], answer["status"], answer["detail"], answer["at_ms"], answer["code"])


class EmulatedScheduler:
    """Exactly-once: the emulator keeps effect and receipt together and answers the same key with the same receipt."""

    def __init__(self, call: Call) -> None:
        """Speak through `call(verb, arguments)`."""
        self._call = call

    def fence(self, epoch: int) -> bool:
        """Shut out every older epoch."""
        return bool(self._call("fence", {"epoch": epoch}))

    def observe(self) -> list[JobView]:
        """List the jobs that are there."""
        return [JobView(**{**job, "nodes": tuple(job["nodes"])}) for job in self._call("observe", {})]

    def nodes(self) -> list[NodeView]:
        """List the nodes."""
        return [NodeView(**{**node, "cordoned_by": tuple(node["cordoned_by"])}) for node in self._call("nodes", {})]

    def query(self, key: str) -> Receipt | None:
        """Return what became of a call."""
        answer = self._call("query", {"key": key})
        return None if answer is None else receipt(answer)

    def cordon(self, key: str, epoch: int, nodes: Sequence[str], reason: str) -> Receipt:
        """Keep new jobs off nodes."""
        return self._command("cordon", key, epoch, nodes=list(nodes), reason=reason)

    def uncordon(self, key: str, epoch: int, nodes: Sequence[str]) -> Receipt:
        """Let new jobs on nodes that this plan had cordoned."""
        return self._command("uncordon", key, epoch, nodes=list(nodes))

    def cap(self, key: str, epoch: int, nodes: Sequence[str], cap_frac: float) -> Receipt:
        """Cap nodes to a fraction of peak power."""
        return self._command("cap", key, epoch, nodes=list(nodes), cap_frac=cap_frac)

    def uncap(self, key: str, epoch: int, nodes: Sequence[str]) -> Receipt:
        """Lift caps that this plan had set."""
        return self._command("uncap", key, epoch, nodes=list(nodes))

    def move(self, key: str, epoch: int, jobs: Sequence[str], to_hall: str, concurrent: int, mode: str = "") -> Receipt:
        """Bring jobs to another hall, at most `concurrent` at a time."""
        how = {"mode": mode} if mode else {}
        return self._command("move", key, epoch, jobs=list(jobs), to_hall=to_hall, concurrent=concurrent, **how)

    def drain(self, key: str, epoch: int, jobs: Sequence[str]) -> Receipt:
        """Put jobs back into the queue at their next checkpoint."""
        return self._command("drain", key, epoch, jobs=list(jobs))

    def requeue(self, key: str, epoch: int, jobs: Sequence[str]) -> Receipt:
        """Put jobs back into the queue now."""
        return self._command("requeue", key, epoch, jobs=list(jobs))

    def hold_job(self, key: str, epoch: int, jobs: Sequence[str], held: bool = True) -> Receipt:
        """Keep queued jobs from starting, or let them."""
        return self._command("hold_job", key, epoch, jobs=list(jobs), held=held)

    def _command(self, verb: str, key: str, epoch: int, **args: Any) -> Receipt:
        return receipt(self._call("command", {"verb": verb, "key": key, "epoch": epoch, "args": args}))
