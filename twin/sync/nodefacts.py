"""Whether nodes run is a fact, the same in every member: their states, what the site announces, their meters.

The rule, also in docs/sync.md:
- A node that is said to run is on; one that is said not to is off. Between two such words the twin decides.
- One that is said not to run and draws power is starting. One that is said so twice and draws none, in cool air,
  has failed: it stays off until it is said to run.
- A site that announces what its nodes do (events) says by its silence that nothing changed, for ten minutes after the
  last word on a node.
- Where nobody says whether a node runs its meter does: half of its idle power is on, a tenth, said twice, is off.
- At which inlet temperature a node stops itself is learned from it (`twin.sync.heatlimits`): otherwise members would
  stop it again at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.derived import Derived
from twin.node_lives import RESTART_INLET_C, start
from twin.node_repairs import found_up
from twin.nodephase import DARK, FAILED, HEALTHY, NEVER_MS, ON, STARTING, STOPPED
from twin.sync.events import newest_of
from twin.sync.heatlimits import gave_way, inlets_c, outlived
from twin.sync.lateness import Past, Round, Said
from twin.sync.names import Key
from twin.telemetry.store import Event

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

OK: Key = ("node", "ok")
METER: Key = ("node", "power_kw")
UP, DOWN = "node_up", "node_down"  # types of events; the code of the second is the node's phase
UNKNOWN, NOT, RUNS = -1, 0, 1
SILENT_MS = 600_000  # silence of a site that announces stops says no more when the last word is so old
SOON_MS = 60_000  # one that a member has up too early is asked about again after this
SAID_MS = 900_000  # a word so old says nothing beside a meter
STEP_MS = 15_000
FRESH_MS = 30_000  # an older word says nothing about the air of now
DRAWS_FRAC, NONE_FRAC = 0.5, 0.1  # of idle power


class NodeFacts:
    """The last word on each node, and how to take the next."""

    def __init__(self, site: Site) -> None:
        """Nobody has said anything."""
        n = len(site.node_ids)
        self.site, self.place = site, {name: i for i, name in enumerate(site.node_ids)}
        self.word, self.draws = np.full((2, n), UNKNOWN, dtype=np.int8)
        self.word_ms, self.draws_ms = np.zeros((2, n), dtype=np.int64)
        self.heat = np.zeros(n, dtype=bool)
        """Which stand still because of the heat, as far as anybody knows (N,)."""
        self.announces = False
        self.ran_c = np.full(n, -np.inf)
        """Hottest inlet at which each is known to have run (N,)."""

    def announced(self, d: Derived, events: Sequence[Event], past: Past, now_ms: int) -> bool:
        """Take nodes that went down or came up as the site announces them; tell whether any member changed."""
        told = [(self.place[name], e) for name, e in newest_of(events, (UP, DOWN)).items() if name in self.place]
        if not told:
            return False
        self.announces = True
        at = np.array([i for i, _ in told], dtype=np.int64)
        time_ms = np.minimum(np.array([e.time_ms for _, e in told], dtype=np.int64), now_ms)
        codes = np.array([int(e.code) if e.type == DOWN and e.code.isdecimal() else STOPPED for _, e in told])
        runs = np.array([e.type == UP for _, e in told])
        # readings count as of the end of their step: what happened within it is newer
        new = past.is_newest(OK, at, np.where(now_ms - time_ms < STEP_MS, now_ms + 1, time_ms))
        changed = self._say(d, at[new], runs[new], time_ms[new], now_ms, at_once=True)
        for phase in (FAILED, DARK):
            down = at[new & ~runs & (codes == phase)]
            if len(down):
                d.state.node_phase[:, down] = phase
                d.state.node_until_ms[:, down] = NEVER_MS
                d.dark = d.dark or phase == DARK
        failed = at[new & ~runs & (codes == FAILED)]
        d.state.node_fault[:, failed] = HEALTHY  # no crew of a member mends it by its own luck
        return changed

    def silent(self, d: Derived, now_ms: int) -> bool:
        """A site that announces what its nodes do has each where the last word left it; tell whether a member changed.

        A node that is off in a member runs, one that came up in a member is still starting. Call once a tick.
        """
        s, changed = d.state, False
        if not self.announces:
            return changed
        lately = now_ms - self.word_ms <= SILENT_MS
        at = np.flatnonzero(lately & (self.word == NOT))
        if len(at):
            early = s.node_phase[:, at] == ON
            if early.any():
                s.node_until_ms[:, at] = np.where(early, s.grid_ms + SOON_MS, s.node_until_ms[:, at])
                s.node_phase[:, at] = np.where(early, STARTING, s.node_phase[:, at])
                changed = True
        at = np.flatnonzero(lately & (self.word == RUNS) & (s.node_phase != ON).any(axis=0))
        if len(at):
            told_ms, now = self.word_ms[at], np.full(len(at), now_ms)
            changed |= self._say(d, at, np.ones(len(at), dtype=bool), now, now_ms)
            self.word_ms[at] = told_ms  # silence is no new word
        return changed

    def hear(self, d: Derived, r: Round, past: Past, shut_out: Flags, now_ms: int) -> bool:
        """Take a round of readings; shut_out: meters that nobody believes (N,). Tell whether any member changed."""
        changed = False
        if OK in r:
            said = r[OK]
            said = said.take(past.is_newest(OK, said.at, said.time_ms))
            changed = self._say(d, said.at, said.value > 0.5, said.time_ms, now_ms)
        if METER in r:
            said = r[METER]
            changed |= self._metered(
                d, said.take((said.time_ms >= self.draws_ms[said.at]) & ~shut_out[said.at]), now_ms
            )
        return changed

    def _say(self, d: Derived, at: Ints, runs: Flags, time_ms: Ints, now_ms: int, *, at_once: bool = False) -> bool:
        """Take words on some nodes; at_once: any stop is announced as it happens. Tell whether any member changed."""
        s = d.state
        before = self.word[at]
        self.word[at], self.word_ms[at] = runs, time_ms
        fresh = now_ms - time_ms <= FRESH_MS
        changed = self._learn(d, at[fresh], runs[fresh], at_once)
        on = s.node_phase[:, at] == ON
        if not np.array_equal(on, np.broadcast_to(runs, on.shape)):
            changed = True
            _on(d, at[runs])
            off = at[~runs]
            phase = s.node_phase[:, off]
            s.node_phase[:, off] = np.where(phase == ON, STOPPED, phase)
        self.heat[at[runs]] = False
        again = at[~runs & (before == NOT) & (self.draws[at] == NOT) & ~self.heat[at]]
        return self._fail(d, again) or changed

    def _learn(self, d: Derived, at: Ints, runs: Flags, at_once: bool) -> bool:
        """Learn from words of now at which temperature nodes stop, before they are obeyed; tell whether any changed."""
        inlet_c = inlets_c(d, at)
        hot = (inlet_c >= RESTART_INLET_C).all(axis=0)
        if not hot.any():
            return False
        phase = d.state.node_phase[:, at]
        up, down = runs & hot, ~runs & hot & (phase == ON).any(axis=0)
        self.heat[at[~runs & hot]] = True
        self.ran_c[at[up]] = np.maximum(self.ran_c[at[up]], inlet_c[:, up].mean(axis=0))
        ran_c = np.full(int(down.sum()), np.inf) if at_once else self.ran_c[at[down]]
        gave_way(d, at[down], inlet_c[:, down], ran_c)
        return outlived(d, at[up], inlet_c[:, up], phase[:, up] == STOPPED)

    def _fail(self, d: Derived, at: Ints) -> bool:
        """Nodes that stay off and draw nothing in cool air have failed; tell whether any member took them otherwise."""
        s = d.state
        at = at[(inlets_c(d, at) < RESTART_INLET_C).all(axis=0)]
        phase = s.node_phase[:, at]
        failed = np.isin(phase, (STOPPED, STARTING))
        if not failed.any():
            return False
        s.node_phase[:, at] = np.where(failed, FAILED, phase)
        s.node_until_ms[:, at] = np.where(failed, NEVER_MS, s.node_until_ms[:, at])
        s.node_fault[:, at] = np.where(failed, HEALTHY, s.node_fault[:, at])
        return True

    def _metered(self, d: Derived, said: Said, now_ms: int) -> bool:
        """Take what meters say of nodes; tell whether any member changed."""
        idle_kw, at, before = self.site.node_idle_kw[said.at], said.at, self.draws[said.at]
        draws, none = said.value >= DRAWS_FRAC * idle_kw, said.value <= NONE_FRAC * idle_kw
        self.draws[at], self.draws_ms[at] = np.where(draws, RUNS, np.where(none, NOT, UNKNOWN)), said.time_ms
        told = (self.word[at] != UNKNOWN) & (now_ms - self.word_ms[at] <= SAID_MS)
        starts = _starts(d, at[told & draws & (self.word[at] == NOT)])
        word = ~told & (draws | (none & (before == NOT)))
        if not word.any():
            return starts
        kept = self.word[at[word]], self.word_ms[at[word]]
        changed = self._say(d, at[word], draws[word], said.time_ms[word], now_ms)
        self.word[at[word]], self.word_ms[at[word]] = kept  # a meter is no word
        return starts or changed


def _on(d: Derived, at: Ints) -> None:
    """Nodes run, whatever members took them for."""
    s = d.state
    off = s.node_phase[:, at] != ON
    if off.any():
        up = np.zeros(s.node_phase.shape, dtype=bool)
        up[:, at] = off
        found_up(d, up)
        s.node_phase[:, at] = ON


def _starts(d: Derived, at: Ints) -> bool:
    """Nodes that draw power and do not run yet are starting in the members that have them off; tell whether any."""
    s = d.state
    stands = np.isin(s.node_phase[:, at], (STOPPED, FAILED))
    if not stands.any():
        return False
    begin = np.zeros(s.node_phase.shape, dtype=bool)
    begin[:, at] = stands
    start(d, begin)
    return True
