"""The lives of named things as SimPy processes that read like stories and own nothing (design section 1, rule 3).

A process yields first and reads its entry again when it wakes; the entry's phase is its program counter, so it can be
killed and rebuilt at any rung. No local survives a `yield`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import numpy as np
import simpy
from numpy.typing import NDArray

from twin import cooling_effects, cooling_lives, effects, link_lives
from twin import jobs as J
from twin.agenda import Entry, Scalar
from twin.fault_lives import FAULT_LIVES
from twin.gpu_lives import GPU_LIVES
from twin.power_lives import POWER_CUTS, POWER_LIVES

if TYPE_CHECKING:
    from twin.engine import Engine

Life = Generator[simpy.Event, None, None]
EVERY_CHILLER = 1_000_000


class Turn:
    """One entry's place in line: what its process may read and write."""

    __slots__ = ("engine", "seq")

    def __init__(self, engine: Engine, entry: Entry) -> None:
        """Bind a process to an entry and to those that will follow it."""
        self.engine, self.seq = engine, entry.seq

    @property
    def entry(self) -> Entry | None:
        """The entry as it stands in the agenda now; None when somebody took it out."""
        return self.engine.state.agenda.entries.get(self.seq)

    def due(self) -> simpy.Event:
        """Wait until the entry's instant."""
        entry = self.entry
        assert entry is not None
        return self.engine.wait(entry)

    def next(self, phase: str, due_ms: float, rows: tuple[int, ...] | None = None, **data: Scalar) -> None:
        """Replace the entry by its successor: same component, new place in line; rows may be narrowed."""
        entry = self.engine.state.agenda.remove(self.seq)
        assert entry is not None
        merged = {**dict(entry.data), **data}
        kept = entry.rows if rows is None else rows
        self.seq = self.engine.state.agenda.add(int(due_ms), entry.kind, entry.component, phase, merged, kept).seq

    def end(self) -> None:
        """Take the entry out: nothing more will happen here."""
        self.engine.state.agenda.remove(self.seq)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The member rows concerned."""
        entry = self.entry
        assert entry is not None
        if entry.rows is None:
            return np.arange(self.engine.state.members)
        return np.asarray(entry.rows, dtype=np.int64)

    def index(self, kind: str) -> int:
        """The array index of the entry's component."""
        entry = self.entry
        assert entry is not None
        return self.engine.site.index(kind, entry.component)

    def at(self, phase: str) -> bool:
        """Tell whether the story stands at this rung."""
        entry = self.entry
        return entry is not None and entry.phase == phase


def arrivals(w: Turn) -> Life:
    """Jobs arrive in the order of the table; one entry waits for the last arrival before the next grid point.

    Placement is a matter of the grid, so those that arrive within one step come in together.
    """
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        d, s, table = w.engine.derived, w.engine.state, w.engine.state.jobs.arrival_ms
        first, last = int(w.entry.number("next")), int(table.searchsorted(w.entry.due_ms, side="right"))
        new = s.job_phase[:, first:last]
        new[new == J.NOT_ARRIVED] = J.WAITING
        s.dispatch_due[...] = True
        d.arrived = last
        d.mark(load=True, live=True)
        if last >= len(table):
            w.end()
            return
        due_ms = int(table[last])
        grid_ms = s.grid_ms - (s.grid_ms - due_ms) // s.step_ms * s.step_ms
        together = int(table.searchsorted(grid_ms, side="left"))
        w.next("next", max(due_ms, int(table[together - 1])), next=last)


def loop_airlock(w: Turn) -> Life:
    """Air enters a water loop: flow drifts down, chillers trip on low flow and none can start, the vendor bleeds it.

    chillers_back of its chillers run at once when it is bled, all of them at all_back_ms if that is given.
    """
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        e, loop, rows = w.entry, w.index("loop"), w.rows
        if w.at("ingress"):
            trip_ms = int(e.number("trip_ms"))
            cooling_effects.drift_flow(
                w.engine, loop, rows, e.number("trip_flow_frac", 0.45), (trip_ms - e.due_ms) / 1000.0
            )
            w.next("low_flow", trip_ms)
        elif w.at("low_flow"):
            cooling_effects.trip_loop(w.engine, loop, rows, e.number("residual_flow_frac", 0.05))
            w.next("bled", e.number("bled_ms"))
        elif w.at("bled"):
            cooling_effects.restore_loop(w.engine, loop, rows, int(e.number("chillers_back")))
            if e.number("all_back_ms") <= e.due_ms:
                w.end()
                return
            w.next("all_back", e.number("all_back_ms"))
        else:
            cooling_effects.restore_loop(w.engine, loop, rows, EVERY_CHILLER)
            w.end()


def link(w: Turn) -> Life:
    """A link or switch of a story degrades, flaps or fails; the end of that phase is its repair."""
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        e, rows = w.entry, w.rows
        link_lives.befall(
            w.engine.derived, e.kind, w.index(e.kind), rows, int(e.number("fault")), e.number("loss_frac"),
            int(e.number("repaired_ms")),
        )  # fmt: skip
        w.end()


def action(w: Turn) -> Life:
    """A step of a plan takes effect; an ordered return looks every minute until cooling is back."""
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        left = effects.apply(w.engine, w.entry, w.rows)
        if len(left):
            w.next("wait", w.entry.due_ms + effects.RETURN_POLL_MS, rows=tuple(int(r) for r in left))
        else:
            w.end()


LIVES: dict[str, Callable[[Turn], Life]] = {
    "arrivals": arrivals,
    "loop_airlock": loop_airlock,
    **cooling_lives.LIVES,
    "link": link,
    "switch": link,
    "action": action,
    **POWER_LIVES,
    **GPU_LIVES,
    **FAULT_LIVES,
}
CUTS: frozenset[str] = POWER_CUTS
