"""What happens to links and switches: they fail, flap, lose frames, are repaired (rule 3); what plans do to them.

A phase ends at its `until`: that of a part that is up ends with its next fault, any other with its repair. So one
comparison a member tells whether anything is due, and nothing is spent while nothing is.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from plant import network as N
from plant import networkfaults as F
from plant.site import Site
from plant.streams import component_keys
from twin.derived import Derived
from twin.jobs import RUNNING
from twin.placement import requeue
from twin.state import State

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
STALL_TIMEOUT_MS = 600_000  # a collective gives up after about 10 min (NCCL, notes/incidents.md C)


@lru_cache(maxsize=8)
def _luck(site: Site, kind: str) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    """Return (keys, faults a year) of all links or switches; without a [[network]] none fails by itself."""
    ids = site.components(kind)
    rate = np.full(len(ids), F.LINK_PER_YEAR)
    if kind == "switch":
        rate = np.where(np.arange(len(ids)) < len(site.network.leaf_ids), F.LEAF_PER_YEAR, F.SPINE_PER_YEAR)
    return component_keys(ids), rate if site.network.present else np.zeros(len(ids))


def first_lives(site: Site, s: State) -> None:
    """Give every link and switch its first life."""
    for kind in ("link", "switch"):
        until = s.arrays[f"{kind}_until_ms"]
        row, part = np.nonzero(np.ones(until.shape, dtype=bool))
        _renew(site, s, kind, row, part, s.grid_ms)


def _renew(site: Site, s: State, kind: str, row: Ints, part: Ints, now_ms: int) -> None:
    """Parts are up and without fault; their next one comes after a new life."""
    keys, rate = _luck(site, kind)
    until = np.full(len(row), N.NEVER_MS)
    if site.network.present:
        episode = s.arrays[f"{kind}_episode"][row, part]
        until = now_ms + F.life_ms(s.seed, s.member[row], keys[part], episode, rate[part])
    s.arrays[f"{kind}_until_ms"][row, part] = until
    s.arrays[f"{kind}_phase"][row, part] = N.UP
    s.arrays[f"{kind}_loss_frac"][row, part] = 0.0


def cross_network(d: Derived) -> None:
    """Let links and switches fail and return where their time has come; give up on jobs they left standing."""
    s = d.state
    if d.fabric.watch.any():
        _watch_stalls(d)
    rows = np.flatnonzero(d.fabric.next_ms <= s.grid_ms)
    if len(rows):
        for kind in ("link", "switch"):
            _cross(d, kind, rows)
        touched(d, rows)


def _watch_stalls(d: Derived) -> None:
    """Note since when the network lets nothing through to a job; after the time-out it goes back to the queue."""
    s = d.state
    rows = np.flatnonzero(d.fabric.watch)
    standing = d.fabric.stalled[rows] & (s.job_phase.take(d.live, axis=1)[rows] == RUNNING)
    since = s.job_stall_ms.take(d.live, axis=1)[rows]
    since = np.where(standing, np.where(since < 0, s.grid_ms, since), -1)
    over = standing & (s.grid_ms - since >= STALL_TIMEOUT_MS)
    s.job_stall_ms[rows[:, None], d.live] = np.where(over, -1, since)
    d.fabric.watch[rows] = (since >= 0).any(axis=1)
    at, column = np.nonzero(over)
    requeue(d, rows[at], d.live[column])
    np.add.at(s.net_requeues, rows[at], 1.0)


def _cross(d: Derived, kind: str, rows: Ints) -> None:
    s = d.state
    due = s.arrays[f"{kind}_until_ms"][rows] <= s.grid_ms
    at, part = np.nonzero(due)
    if not len(at):
        return
    row = rows[at]
    up = s.arrays[f"{kind}_phase"][row, part] == N.UP
    if up.any():
        _fail(d, kind, row[up], part[up])
    if not up.all():
        back, back_part = row[~up], part[~up]
        s.arrays[f"{kind}_episode"][back, back_part] += 1
        _renew(d.site, s, kind, back, back_part, s.grid_ms)


def _fail(d: Derived, kind: str, row: Ints, part: Ints) -> None:
    """Draw which fault a part has and how long it lasts."""
    s, keys = d.state, _luck(d.site, kind)[0][part]
    member, episode = s.member[row], s.arrays[f"{kind}_episode"][row, part]
    phase = (F.switch_fault if kind == "switch" else F.link_fault)(s.seed, member, keys, episode)
    lasts = F.lasts_ms(s.seed, member, keys, episode, phase, switch=kind == "switch")
    loss = np.where(phase == N.LOSSY, F.loss_frac(s.seed, member, keys, episode), 0.0)
    s.arrays[f"{kind}_phase"][row, part] = phase
    s.arrays[f"{kind}_loss_frac"][row, part] = loss
    s.arrays[f"{kind}_until_ms"][row, part] = s.grid_ms + lasts
    np.add.at(s.net_faults, row, 1.0)


def touched(d: Derived, rows: Ints) -> None:
    """Links or switches of these rows changed: what they carry and who is slowed is computed anew."""
    d.fabric.mark(rows)
    d.mark(rows)
    d.state.dispatch_due[rows] = True


def befall(d: Derived, kind: str, part: int, rows: Ints, phase: int, loss_frac: float, until_ms: int) -> None:
    """A fault of a story hits one link or switch until its repair."""
    s = d.state
    s.arrays[f"{kind}_phase"][rows, part] = phase
    s.arrays[f"{kind}_loss_frac"][rows, part] = loss_frac
    s.arrays[f"{kind}_until_ms"][rows, part] = until_ms
    np.add.at(s.net_faults, rows, 1.0)
    touched(d, rows)


def disable_link(d: Derived, link: int, rows: Ints) -> Ints:
    """Take a link out of service where the others carry on (CorrOpt's rule); return the rows in which it was done.

    A leaf keeps its least number of live paths; two halls keep another live link between them. A link with a fault is
    repaired in its time and comes back with it; a sound one stays out until somebody puts it back.
    """
    s, site = d.state, d.site
    d.fabric.refresh()
    phase = s.link_phase[rows, link]
    works = (phase != N.DOWN) & (phase != N.DISABLED)
    first = len(site.link_ids)
    if link >= first:
        leaf = int(site.network.uplink_leaf[link - first])
        others = N.may_disable(d.fabric.live_paths(rows)[:, leaf], int(site.network.leaf_keep[leaf]))
    else:
        pair = np.sort(site.link_halls, axis=1)
        twins = np.flatnonzero((pair == pair[link]).all(axis=1) & (np.arange(first) != link))
        others = np.asarray((N.link_share(s.link_phase[rows][:, twins]) > 0.0).any(axis=1))
    done: Ints = rows[works & others]
    sound = done[s.link_phase[done, link] == N.UP]
    s.link_until_ms[sound, link] = N.NEVER_MS
    s.link_phase[done, link] = N.DISABLED
    if len(done):
        touched(d, done)
    return done
