"""The engine: SimPy is the clock and the order of happenings, `State` is the memory (design section 1).

At one instant the order is flows, crossings, entries by `seq`: the grid has SimPy priority 1, an entry 2 + seq. A run
is half-open: what is due exactly at `until` happens first in the next run. A run holds nothing that `State` does not.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from plant.errors import SnapshotMismatch
from plant.site import Site
from twin import flows
from twin.agenda import Entry
from twin.cooling_watch import is_needed, watch_cooling
from twin.derived import Derived
from twin.dispatch import Dispatcher, first_fit
from twin.drivers import Drivers, of_site
from twin.gpu_lives import cross_gpus
from twin.job_lives import cross_jobs, note_service
from twin.layout import layout_of
from twin.link_lives import cross_network
from twin.node_lives import cross_nodes
from twin.placement import dispatch
from twin.power_cross import cross_power
from twin.processes import CUTS, LIVES, Turn
from twin.state import State

GRID_PRIORITY = 1
FIRST_ENTRY_PRIORITY = 2
MAX_CALM_STEP_MS = 60_000
MAX_STEP_MS = 15_000  # supply air and flow lag one step: at 30 s a crisis is 3-5 K off


class Engine:
    """One run of one State; built anew for each run from State alone."""

    def __init__(
        self, state: State, site: Site, *, choose: Dispatcher = first_fit, drivers: Drivers | None = None
    ) -> None:
        """Prepare a run; raises SnapshotMismatch when the state belongs to another site or its step is too long."""
        if state.site_hash != site.hash:
            state.check(site)
        if not 0 < state.step_ms <= MAX_STEP_MS or not 0 <= state.calm_step_ms <= MAX_CALM_STEP_MS:
            raise SnapshotMismatch(
                "state.step_ms",
                f"{state.step_ms} ms, calm {state.calm_step_ms} ms",
                f"1 to {MAX_STEP_MS} ms, calm 0 to {MAX_CALM_STEP_MS} ms",
                "choose a shorter step",
            )
        self.state, self.site, self.choose = state, site, choose
        self.drivers = drivers or of_site(site)
        self.derived = Derived(site, state, layout_of(site))
        self.env = simpy.Environment(initial_time=state.now_ms)
        self.until_ms = state.now_ms
        self.watched = is_needed(self)

    def run(self, until_ms: int) -> State:
        """Advance to until_ms and return the same State; running to a past or present instant does nothing."""
        if until_ms <= self.state.now_ms:
            return self.state
        self.until_ms = until_ms
        self.env = simpy.Environment(initial_time=self.state.now_ms)
        self.env.process(self._grid())
        for entry in self.state.agenda.due_before(until_ms):
            self.start(entry)
        self.env.run(until=until_ms)
        self.state.now_ms = until_ms
        return self.state

    def at(self, due_ms: int, priority: int) -> simpy.Event:
        """Return an event that happens at due_ms in its place in line."""
        event = simpy.Event(self.env)
        event._ok, event._value = True, None
        self.env.schedule(event, priority=priority, delay=due_ms - int(self.env.now))  # type: ignore[arg-type]
        return event

    def start(self, entry: Entry) -> None:
        """Create the process of an entry that is due within this run."""
        if entry.due_ms < self.until_ms:
            self.env.process(LIVES[entry.kind](Turn(self, entry)))

    def wait(self, entry: Entry) -> simpy.Event:
        """Return the event of an entry's instant; a site-wide cut brings the flows to that instant first."""
        due_ms = max(entry.due_ms, int(self.env.now))
        if entry.kind in CUTS and entry.rows is None and due_ms < self.until_ms:
            cut = self.at(due_ms, GRID_PRIORITY)
            assert cut.callbacks is not None
            cut.callbacks.append(lambda _: self._advance() if entry.seq in self.state.agenda.entries else None)
        return self.at(due_ms, FIRST_ENTRY_PRIORITY + entry.seq)

    def put(self, due_ms: int, kind: str, component: str, phase: str, **data: Any) -> Entry:
        """Write a follow-up entry and start its process if it is due within this run."""
        rows = data.pop("rows", None)
        entry = self.state.agenda.add(due_ms, kind, component, phase, data, rows)
        self.start(entry)
        return entry

    def _grid(self) -> Generator[simpy.Event, None, None]:
        """Walk the grid from the last grid point that State knows; a cut moves the anchor and the wait begins again."""
        while True:
            yield self.at(self.state.next_grid_ms, GRID_PRIORITY)
            if self.state.next_grid_ms == self.env.now:
                self._advance()

    def outdoor_c(self) -> NDArray[np.float64]:
        """Return the outdoor temperature of each region [C] at the last grid point: the drivers' and what drifted."""
        return self._drifted(self.drivers.at(self.state.grid_ms)[0])

    def _drifted(self, outdoor_c: NDArray[np.float64]) -> NDArray[np.float64]:
        drift_k = self.state.region_outdoor_k
        return outdoor_c + drift_k if drift_k.any() else outdoor_c

    def _advance(self) -> None:
        """Bring flows, then crossings, to the present instant."""
        s, d = self.state, self.derived
        dt_s = (int(self.env.now) - s.grid_ms) / 1000.0
        if dt_s <= 0.0:
            return
        outdoor_c, carbon = self.drivers.at(s.grid_ms)
        d.refresh()
        flows.advance(d, dt_s, self._drifted(outdoor_c), carbon)
        s.grid_ms = int(self.env.now)
        note_service(d)
        cross_jobs(d, dt_s, self.choose)
        cross_nodes(d, dt_s)
        cross_gpus(d)
        cross_network(d)
        if self.watched:
            watch_cooling(self, dt_s)
        cross_power(self, dt_s)
        dispatch(d, self.choose)


def run(
    state: State, site: Site, until_ms: int, *, choose: Dispatcher = first_fit, drivers: Drivers | None = None
) -> State:
    """Advance a State in place to until_ms (Unix milliseconds) and return it."""
    return Engine(state, site, choose=choose, drivers=drivers).run(until_ms)
