"""The plant controls of an emulated site behind PlantPort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from plant.action_kinds import ActionKind, ParamValue
from plant.actions import Action
from plant.errors import ForetwinError
from recovery.plant_port import SetPoint
from scheduler.port import Receipt

Call = Callable[[str, dict[str, Any]], Any]


class EmulatedPlant:
    """Set-points and standby units of the emulator; what it cannot do it rejects in words. Exactly-once."""

    def __init__(self, call: Call) -> None:
        """Speak through `call(verb, arguments)`."""
        self._call = call

    def fence(self, epoch: int) -> bool:
        """Shut out every older epoch."""
        return bool(self._call("fence", {"epoch": epoch}))

    def set_point(self, key: str, epoch: int, components: Sequence[str], name: SetPoint, value: float) -> Receipt:
        """Set a supply temperature [C] or a fan speed (fraction)."""
        return self._step(key, epoch, "set_cooling", components, **{name: value})

    def standby(self, key: str, epoch: int, units: Sequence[str], on: bool) -> Receipt:
        """Start standby units."""
        return self._step(key, epoch, "start_standby", units) if on else self._cannot(key, epoch, "standby off")

    def feed(self, key: str, epoch: int, components: Sequence[str], to_feed: str) -> Receipt:
        """Put UPS, or halls with their cooling, on another feed."""
        return self._step(key, epoch, "transfer_feed", components, to_feed=to_feed)

    def link(self, key: str, epoch: int, links: Sequence[str], enabled: bool) -> Receipt:
        """Take links out of service where the others carry on; putting back is the undo of that call."""
        return (
            self._cannot(key, epoch, "link switching on") if enabled else self._step(key, epoch, "disable_link", links)
        )

    def power(self, key: str, epoch: int, components: Sequence[str], on: bool) -> Receipt:
        """Not emulated yet: rejected."""
        return self._cannot(key, epoch, "power switching")

    def undo(self, key: str, epoch: int, of_key: str) -> Receipt:
        """Put back what a set-point call changed."""
        return self._command("undo_plant", key, epoch, {"of_key": of_key})

    def query(self, key: str) -> Receipt | None:
        """Return what became of a call."""
        answer = self._call("query", {"key": key})
        return None if answer is None else _receipt(answer)

    def _step(self, key: str, epoch: int, kind: ActionKind, scope: Sequence[str], **params: ParamValue) -> Receipt:
        """Send a step; one that is no valid step is still a call with a key, and answered as one."""
        try:
            step = Action.of(kind, scope, **params)
        except ForetwinError as error:
            return self._command("plant_refused", key, epoch, {"why": str(error)})
        return self._command("plant", key, epoch, {"step": step.as_dict()})

    def _cannot(self, key: str, epoch: int, what: str) -> Receipt:
        return self._command("plant_cannot", key, epoch, {"what": what})

    def _command(self, verb: str, key: str, epoch: int, args: dict[str, Any]) -> Receipt:
        return _receipt(self._call("command", {"verb": verb, "key": key, "epoch": epoch, "args": args}))


def _receipt(answer: dict[str, Any]) -> Receipt:
    return Receipt(answer["key"], answer["status"], answer["detail"], answer["at_ms"], answer["code"])
