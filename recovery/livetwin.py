"""The live twin of the worker: one ensemble, advanced to now, corrected by readings, following the scheduler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from plant.site import Site
from scheduler.port import SchedulerPort, Watched
from twin import effects
from twin.drivers import Drivers
from twin.engine import Engine
from twin.ensemble import LIVE, NONE, make_state
from twin.state import State
from twin.sync.activity import Activity, set_told
from twin.sync.ahead import Lookout
from twin.sync.divergence import Divergence, halls_behind
from twin.sync.follow import adopt_jobs, adopt_nodes, doubt_power, strayed
from twin.sync.nodestates import adopt_up
from twin.sync.report import sync_rows
from twin.sync.restarts import Starts
from twin.sync.synchronise import Synchroniser
from twin.telemetry.store import Batch, Event

NODES_EVERY_MS = 300_000
JOBS_EVERY_MS = 60_000


class LiveTwin:
    """Members 0..M-1 of one site; `follow` and `correct` are the only ways in."""

    def __init__(
        self,
        site: Site,
        now_ms: int,
        members: int,
        seed: int,
        drivers: Drivers | None = None,
        state: State | None = None,
        *,
        doubts: bool = True,
    ) -> None:
        """Start from a snapshot, or at rest; doubts: new work makes the power of its nodes uncertain."""
        self.site, self.drivers, self.doubts = site, drivers, doubts
        self.sync = Synchroniser(site)
        self.divergence, self.lookout = Divergence(site, self.sync), Lookout(self.sync)
        self.activity, self.starts = Activity(site), Starts()
        spread = LIVE if members > 1 else NONE
        begun = state or make_state(site, now_ms, members=members, seed=seed, spread=spread)
        self.engine = Engine(begun, site, drivers=drivers)
        self._jobs_version: object = None
        self._jobs_ms = self._nodes_ms = 0

    @property
    def state(self) -> State:
        """The ensemble's State."""
        return self.engine.state

    def advance(self, now_ms: int) -> None:
        """Let the twin live to now."""
        self.engine.run(now_ms)

    def follow(self, scheduler: SchedulerPort, now_ms: int, version: object = None) -> None:
        """Take jobs, cordons and caps from the scheduler: once a minute, at once where it can tell that they changed.

        A rack whose work began a minute before the twin knew of it would pass for one that warms faster. One that is
        watched live (`look_ms`) is asked as often as it may be, also for nodes that went down or came back.
        """
        if isinstance(scheduler, Watched):
            self._watch(scheduler, now_ms)
            return
        old_ms = now_ms - self._jobs_ms
        due = old_ms >= JOBS_EVERY_MS if version is None else version != self._jobs_version
        if due or old_ms >= NODES_EVERY_MS:
            used = self.engine.derived.util_frac
            seen = scheduler.observe()
            state = adopt_jobs(self.state, self.site, seen, self.starts.look(seen, now_ms))
            self.engine = Engine(state, self.site, drivers=self.drivers)
            if self.doubts:
                doubt_power(self.engine.derived, used)
            self._jobs_version, self._jobs_ms = version, now_ms
        if now_ms - self._nodes_ms >= NODES_EVERY_MS:
            adopt_nodes(self.state, self.site, scheduler.nodes())
            self.engine.derived.mark()
            self._nodes_ms = now_ms

    def _watch(self, scheduler: Watched, now_ms: int) -> None:
        """Take jobs where they changed or the twin went its own way, what they use, and the states of nodes."""
        if now_ms - self._jobs_ms < scheduler.look_ms:
            return
        version, seen = scheduler.version(), scheduler.observe()
        if version != self._jobs_version or strayed(self.state, seen):
            state = adopt_jobs(self.state, self.site, seen, self.starts.look(seen, now_ms))
            self.engine = Engine(state, self.site, drivers=self.drivers)
            self.activity.apply(self.engine.derived, now_ms)
        set_told(self.engine.derived, {job.id: job.activity_frac for job in seen})
        nodes = scheduler.nodes()
        adopt_nodes(self.state, self.site, nodes)
        self.engine.derived.mark()
        if scheduler.tells_up:
            adopt_up(self.engine.derived, nodes)
        self._jobs_version, self._jobs_ms = version, now_ms

    def acted(self) -> None:
        """Somebody acted on the site: look at nodes and jobs again at the next opportunity."""
        self._nodes_ms = self._jobs_ms = 0

    def correct(self, batch: Batch, now_ms: int) -> None:
        """Correct the ensemble by readings, what nodes use first, since it explains what they draw; judge how well."""
        if self.activity.hear(batch):
            self.activity.apply(self.engine.derived, now_ms)
        self.sync.correct(self.engine.derived, batch, now_ms)
        self.divergence.note(now_ms)

    def look_ahead(self, batch: Batch, now_ms: int) -> None:
        """Hold earlier forecasts against the readings of now, and every ten minutes make new ones."""
        self.lookout.tick(self.state, self.drivers, batch, now_ms)

    def in_sync(self, component: str | None = None) -> tuple[bool, str]:
        """Tell whether the twin follows the site, or the halls that a component has to do with; if not, why not."""
        halls = None if component is None else halls_behind(self.site, component)
        return self.divergence.in_sync(halls)

    def sync_report(self, refused: Mapping[str, int]) -> list[dict[str, object]]:
        """Return the rows of the sync report; refused: readings refused by `kind.channel`."""
        return sync_rows(self.sync, self.lookout, self.state.now_ms, refused)

    def hear(self, events: Sequence[Event]) -> None:
        """Take what the site announces: a chiller that is starting will run when its start is over; a node is down.

        Events are news: each is told once (`twin/sync/events.py`). Readings of the same tick come after them.
        """
        self.sync.hear(self.engine.derived, events, self.state.now_ms)

    def service_frac(self) -> float:
        """Return the delivered share of demanded service in the last step, mean over members."""
        return float(self.state.service_frac.mean())

    def cooling_back(self, scope: tuple[str, ...]) -> bool:
        """Tell whether the cooling behind a scope is back, by the count of most members."""
        rows = np.arange(self.state.members)
        return float(effects.cooling_back(self.engine, rows, effects.nodes_in(self.site, scope)).mean()) > 0.5
