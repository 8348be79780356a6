"""What an effect may touch: the engine as happenings and plan steps see it."""

from __future__ import annotations

from typing import Protocol

from plant.site import Site
from twin.agenda import Entry, Scalar
from twin.derived import Derived
from twin.state import State


class World(Protocol):
    """The state, its site, what is derived from it, and follow-up entries."""

    state: State
    site: Site
    derived: Derived

    def put(self, due_ms: int, kind: str, component: str, phase: str, **data: Scalar | tuple[int, ...]) -> Entry:
        """Write a follow-up entry."""
        ...
