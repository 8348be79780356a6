"""Which jobs start once more: a scheduler shows them running, and they load their checkpoint first.

A job that was at work before and has a newer start, or works on other nodes than before without one (it was moved),
does nothing for its restart time. Whoever takes it for working expects twice the power of its nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

WAITS = ("queued", "held", "done")
ARRIVES = "moving"


class Again(NamedTuple):
    """Since when a job starts once more [Unix ms], and whether it was moved there."""

    since_ms: int
    moved: bool


class _Last(NamedTuple):
    started_ms: int
    nodes: frozenset[str]
    again: Again | None


NOBODY: Mapping[str, Again] = {}


class Starts:
    """When and where each job was last at work, as a scheduler told; begins anew with each worker."""

    def __init__(self) -> None:
        """No job has been seen."""
        self._last: dict[str, _Last] = {}

    def look(self, seen: Sequence[Any], now_ms: int) -> Mapping[str, Again]:
        """Take what a scheduler shows now; return the jobs whose present start is not the first that was seen."""
        last = dict[str, _Last]()
        for v in seen:
            before, started_ms = self._last.get(v.id), int(told(v, "started_ms", -1))
            if v.phase in WAITS or v.phase == ARRIVES or started_ms < 0:
                if before is not None:
                    last[v.id] = before
                continue
            nodes = frozenset(v.nodes)
            again = None if before is None else before.again
            if before is not None and started_ms > before.started_ms:
                again = Again(started_ms, False)
            elif before is not None and not nodes & before.nodes:
                again = Again(now_ms, True)
            last[v.id] = _Last(started_ms, nodes, again)
        self._last = last
        return {name: one.again for name, one in last.items() if one.again is not None}


def told(view: Any, name: str, default: Any) -> Any:
    """Return what a view of a job says, or the default where it does not."""
    value = getattr(view, name, None)
    return default if value is None else value
