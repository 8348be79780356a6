"""How nodes fail and come back: healthy, degrading, failed, repairing, healthy; as cohorts (design section 1, rule 3).

    healthy     on; its rack accrues hazard, and the node's life ends where that reaches its threshold
    degrading   on; its first fault is coming and perhaps shows (node_fault, node_onset_ms), due at node_fault_ms
    failed      off; waits for a crew and a part while node_until_ms is NEVER_MS
    repairing   off until node_until_ms; then healthy with a new threshold, or, where the repair only seemed to work,
                degrading again with the same fault

One hazard per rack serves every kind of fault: it grows by the sum of their rates, and which kind ended a life is drawn
in proportion to the rates of that moment. A lemon's threshold is divided by its factor, so it costs nothing either.
Luck is a function of (seed, purpose, member, node, episode); laws and figures: `plant/faults.py` and data/faults.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import faults, precursor, streams
from plant.site import Site
from twin.derived import Derived
from twin.node_hazard import node_rates
from twin.nodephase import FAILED, HEALTHY, NEVER_MS, ON, SPENT
from twin.placement import interrupt
from twin.standbys import let_go, set_aside
from twin.state import State

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

NAMED_KIND = "board"  # what a node of a story suffers from: it stops and says nothing more


def end_lives(d: Derived) -> None:
    """Lives whose threshold is reached end: a kind is drawn, its signs begin; what gives none fails at once."""
    s = d.state
    over = s.rack_hazard.take(d.site.node_rack, axis=1) >= s.node_fails_at
    row, node = np.nonzero(over & (s.node_phase == ON))
    if not len(row):
        return
    laws, (member, key, draw) = d.site.faults, luck(d, row, node)
    kind = faults.choose(node_rates(d, row, node), streams.uniform(s.seed, "fault kind", member, key, draw))
    lead_s = precursor.lead_s(
        laws,
        kind,
        streams.uniform(s.seed, "fault warning", member, key, draw),
        streams.normal(s.seed, "fault lead", member, key, draw),
    )
    shared = streams.uniform(s.seed, "fault shared", member, key, draw) < laws.beta[kind]
    lead_s[shared] = 0.0
    degrade(s, row, node, kind, s.grid_ms + np.ceil(lead_s * 1000.0).astype(np.int64))
    for i in np.flatnonzero(shared):
        _strike_neighbours(d, int(row[i]), int(node[i]), int(kind[i]))
    d.mark(np.unique(row))
    fail_due(d, np.unique(row))


def degrade(s: State, row: Ints, node: Ints, kind: Ints, due_ms: Ints) -> None:
    """Let signs of a fault begin in nodes that are on; it strikes at due_ms."""
    s.node_fault[row, node], s.node_onset_ms[row, node] = kind, s.grid_ms
    s.node_fault_ms[row, node] = s.node_until_ms[row, node] = due_ms
    s.node_fails_at[row, node] = SPENT


def _strike_neighbours(d: Derived, row: int, node: int, kind: int) -> None:
    """A shared cause strikes other nodes of the rack at the same moment, each with the same probability."""
    s, rack = d.state, int(d.site.node_rack[node])
    first, last = int(d.site.rack_start[rack]), int(d.site.rack_start[rack + 1])
    prob = faults.strike_prob(d.site.faults, np.array([kind]), np.array([last - first - 1]))
    # the pair of names is the component: each shock has luck of its own with every neighbour
    pair = d.node_keys[first:last] ^ d.node_keys[node]
    u = streams.uniform(s.seed, "fault strikes", s.member[row], pair, s.node_episode[row, node])
    hit = first + np.flatnonzero((u < prob) & (s.node_phase[row, first:last] == ON))
    hit = hit[hit != node]
    degrade(s, np.full(len(hit), row), hit, np.full(len(hit), kind), np.full(len(hit), s.grid_ms))


def luck(d: Derived, row: Ints, node: Ints) -> tuple[Ints, Keys, Ints]:
    """Member ids, component keys and draw numbers of nodes: what their random numbers are a function of."""
    return d.state.member[row], d.node_keys[node], d.state.node_episode[row, node]


def fail_due(d: Derived, rows: Ints) -> None:
    """Faults that are due strike in these rows: the node is off and its jobs stop."""
    s = d.state
    struck = np.zeros(s.node_phase.shape, dtype=bool)
    struck[rows] = (s.node_until_ms[rows] <= s.grid_ms) & (s.node_phase[rows] == ON) & (s.node_fault[rows] >= 0)
    if struck.any():
        fail(d, struck)


def fail(d: Derived, struck: NDArray[np.bool_]) -> None:
    """Nodes (M, N) fail: they wait for a crew and a part."""
    s = d.state
    s.node_phase[struck] = FAILED
    s.node_until_ms[struck] = NEVER_MS
    s.node_failures[...] += struck.sum(axis=1)
    interrupt(d, struck)
    let_go(d, *np.nonzero(struck))
    d.mark(np.flatnonzero(struck.any(axis=1)))


def scale(site: Site, s: State, row: Ints | slice, node: Ints | slice) -> Array:
    """Hazard of nodes over that of an average node of their rack: lemons have more."""
    good, lemon = faults.lemon_scale(site.faults)
    return np.where(s.node_lemon[row, node], lemon, good)


def first_faults(site: Site, s: State) -> None:
    """Draw lemons and thresholds, and the faults that are already on their way: the fleet was not born today."""
    laws, member, key = site.faults, s.member[:, None], streams.component_keys(site.node_ids)[None, :]
    s.fleet_age_s[...] = laws.age_s
    s.node_until_ms[...] = s.node_onset_ms[...] = s.node_fault_ms[...] = NEVER_MS
    s.node_fault[...] = HEALTHY
    s.node_lemon[...] = streams.uniform(s.seed, "node lemon", member, key) < laws.lemon_frac
    life = streams.exponential(s.seed, "node life", member, key, 0)
    s.node_fails_at[...] = life / scale(site, s, slice(None), slice(None))
    _already_degrading(site, s)
    set_aside(site, s)


def _already_degrading(site: Site, s: State) -> None:
    """Nodes whose fault is under way at the start: rate times mean lead of them, anywhere along their lead.

    A lead met at a random moment is drawn in proportion to its length: a lognormal's median grows by e^(sigma^2).
    """
    laws, keys = site.faults, streams.component_keys(site.node_ids)
    weight = (laws.type_rate_per_s * faults.wear(laws.age_s, laws) * precursor.mean_lead_s(laws))[site.node_type]
    share = weight.sum(axis=1) * scale(site, s, slice(None), slice(None))
    u = streams.uniform(s.seed, "fault under way", s.member[:, None], keys[None, :])
    row, node = np.nonzero(u < -np.expm1(-share))
    if not len(row):
        return
    member, key = s.member[row], keys[node]
    kind = faults.choose(weight[node], streams.uniform(s.seed, "fault kind", member, key, 0))
    sigma = laws.lead_sigma[kind]
    z = streams.normal(s.seed, "fault lead", member, key, 0) + sigma
    lead_ms = laws.lead_median_s[kind] * np.exp(sigma * z) * 1000.0
    past_ms = lead_ms * streams.uniform(s.seed, "fault progress", member, key)
    degrade(s, row, node, kind, s.grid_ms + np.ceil(lead_ms - past_ms).astype(np.int64))
    s.node_onset_ms[row, node] = s.grid_ms - past_ms.astype(np.int64)


# --- nodes that a story names ---------------------------------------------------------------------


def show_signs(d: Derived, rows: Ints, node: int, due_ms: int) -> None:
    """Signs of a fault begin in a named node where it is well; the story itself lets it strike."""
    s, names = d.state, d.site.faults.kinds
    rows = rows[(s.node_phase[rows, node] == ON) & (s.node_fault[rows, node] == HEALTHY)]
    kind = names.index(NAMED_KIND) if NAMED_KIND in names else 0
    at = np.full(len(rows), node)
    degrade(s, rows, at, np.full(len(rows), kind), np.full(len(rows), due_ms))
    s.node_until_ms[rows, node] = NEVER_MS
    d.mark(rows)


def fail_named(d: Derived, rows: Ints, node: int) -> None:
    """A named node fails, whatever it was doing; no crew takes it on: the story says when it is back."""
    s = d.state
    struck = np.zeros(s.node_phase.shape, dtype=bool)
    struck[rows, node] = s.node_phase[rows, node] != FAILED
    if struck.any():
        fail(d, struck)
    s.node_until_ms[rows, node], s.node_fault[rows, node] = NEVER_MS, HEALTHY
    s.node_onset_ms[rows, node] = s.node_fault_ms[rows, node] = NEVER_MS
    d.mark(rows)


def severity(site: Site, s: State) -> Array:
    """Strength of the signs of a coming fault (M, N): 0 where none shows, 1 when it strikes."""
    out = np.zeros(s.node_phase.shape)
    row, node = np.nonzero((s.node_phase == ON) & (s.node_fault >= 0) & (s.node_onset_ms != NEVER_MS))
    if len(row):
        onset, due = s.node_onset_ms[row, node], s.node_fault_ms[row, node]
        progress = (s.grid_ms - onset) / np.maximum(due - onset, 1)
        out[row, node] = precursor.severity(site.faults, s.node_fault[row, node].astype(np.int64), progress)
    return out
