"""What loses power and what gets it back when feeds, UPS, generators or breakers change (design section 1, rule 3).

`change` is the one door: it lets something happen, computes the supply again, darkens the nodes that are left with too
few supplies, and tells the cooling plant which machines stopped, were interrupted by a transfer switch, or may start.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from plant import streams
from twin.cooling_effects import power_back, power_lost
from twin.derived import Derived
from twin.node_lives import start
from twin.nodephase import DARK, FAILED, ON, STARTING
from twin.placement import interrupt
from twin.supply import (
    GEN_FAILED,
    GEN_RUNNING,
    GEN_STANDBY,
    GEN_STARTING,
    Supply,
    any_dark,
    supplies_live,
    too_few,
)
from twin.world import World

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def change(w: World, at_ms: int, rows: Ints, act: Callable[[], None]) -> None:
    """Let `act` change feeds, UPS, generators or breakers of some rows in State, and let everything follow at once."""
    d = w.derived
    d.refresh()
    before = d.supply
    act()
    d.mark_supply()
    d.refresh()
    darken(d, rows)
    _follow(w, before, d.supply, at_ms)


def _follow(w: World, before: Supply, after: Supply, at_ms: int) -> None:
    """Stop and start cooling machines whose feed died, came back or was changed under them."""
    for kind, was in before.machines.items():
        now = after.machines[kind]
        if np.array_equal(was, now):
            continue
        died = (was >= 0) & ~np.take_along_axis(after.feed_live, np.maximum(was, 0), axis=1)
        # a transfer switch that leaves a dead feed interrupts the machine; one that returns to a live feed does not
        for i in np.flatnonzero((was != now).any(axis=0)):
            rows = np.flatnonzero(died[:, i])
            if len(rows):
                power_lost(w, kind, np.array([i]), rows)
            back = np.flatnonzero((now[:, i] >= 0) & (died[:, i] | (was[:, i] < 0)))
            if len(back):
                power_back(w, kind, np.array([i]), back, at_ms)


def darken(d: Derived, rows: Ints) -> None:
    """Nodes with too few supplies for what they draw lose power; dark ones start again once enough are back.

    Only these rows are looked at, as they were computed last: a row meets its fate at the same instant alone and in a
    block.
    """
    s = d.state
    short = rows[d.node_short[rows]]
    if len(short):
        phase = s.node_phase[short]
        drawn = np.where((phase == ON) | (phase == STARTING), d.drawn_kw[short], 0.0)
        hit = too_few(d, drawn, supplies_live(d, short)) & (phase != DARK) & (phase != FAILED)
        if hit.any():
            dark = np.zeros(s.node_phase.shape, dtype=bool)
            dark[short] = hit
            lose_power(d, dark)
    if d.dark:
        there = np.zeros(s.node_phase.shape, dtype=bool)
        there[rows] = (s.node_phase[rows] == DARK) & (supplies_live(d, rows) >= d.site.chain.node_psu_boot)
        if there.any():
            start(d, there)
        d.dark = any_dark(d)


def lose_power(d: Derived, dark: Flags) -> None:
    """These nodes (M, N) go dark and lose what ran on them."""
    d.state.node_phase[dark] = DARK
    interrupt(d, dark)
    d.mark(np.flatnonzero(dark.any(axis=1)))
    d.dark = True


def generators_asked(d: Derived) -> Flags:
    """Tell which generators (M, D) back a feed without utility."""
    dark = ~d.supply.feed_utility
    return np.asarray((dark[:, None, :] & d.site.chain.generator_feed).any(axis=2))


# --- feeds and generators ---------------------------------------------------------------------


def set_feed(w: World, f: int, rows: Ints, works: bool, at_ms: int, sides: tuple[int, ...] | None) -> None:
    """A feed is lost or returns in some rows; generators behind it are asked, or let go after their time.

    sides: the rows of the entry that says so, None for all: follow-up entries keep them, so that they cut the step too.
    """
    s, d, chain = w.state, w.derived, w.site.chain

    def act() -> None:
        s.feed_ok[rows, f] = works

    change(w, at_ms, rows, act)
    asked = generators_asked(d)
    for g in np.flatnonzero(chain.generator_feed.any(axis=1)):
        if not works and (asked[rows, g] & (s.generator_phase[rows, g] == GEN_STANDBY)).any():
            _put(w, at_ms + int(chain.generator_wait_s[g] * 1000), int(g), "demand", sides)
        if works and (~asked[rows, g] & (s.generator_phase[rows, g] == GEN_RUNNING)).any():
            _put(w, at_ms + int(chain.generator_back_s[g] * 1000), int(g), "release", sides)


def _put(w: World, due_ms: int, g: int, phase: str, rows: tuple[int, ...] | None) -> None:
    if rows is None:
        w.put(due_ms, "generator", w.site.chain.generator_ids[g], phase)
    else:
        w.put(due_ms, "generator", w.site.chain.generator_ids[g], phase, rows=rows)


def order_start(w: World, g: int, rows: Ints, at_ms: int) -> bool:
    """Generators that are still asked for start, or fail to; tell whether any starts."""
    s, chain = w.state, w.site.chain
    wanted = generators_asked(w.derived)[rows, g] & (s.generator_phase[rows, g] == GEN_STANDBY)
    rows = rows[wanted]
    key = streams.component_key(chain.generator_ids[g])
    draw = streams.uniform(s.seed, "generator start", s.member[rows], key, s.generator_demands[rows, g])
    s.generator_demands[rows, g] += 1
    fails = draw < chain.generator_fail_prob[g]
    s.generator_phase[rows, g] = np.where(fails, GEN_FAILED, GEN_STARTING)
    mended_ms = at_ms + int((chain.generator_start_s[g] + chain.generator_manual_s[g]) * 1000)
    s.generator_until_ms[rows, g] = np.where(fails, mended_ms, 0)
    w.derived.mark_supply()
    return bool((~fails).any())


def set_generator(w: World, g: int, rows: Ints, was: int, phase: int, at_ms: int) -> None:
    """Generators of these rows that are in phase `was` go to another."""
    s = w.state

    def act() -> None:
        mine = rows[s.generator_phase[rows, g] == was]
        s.generator_phase[mine, g] = phase

    change(w, at_ms, rows, act)


def fail_generator(w: World, g: int, rows: Ints, at_ms: int, mended_ms: int) -> None:
    """A generator trips, or will not start when asked, until it is mended."""
    s = w.state

    def act() -> None:
        s.generator_phase[rows, g] = GEN_FAILED
        s.generator_until_ms[rows, g] = mended_ms

    change(w, at_ms, rows, act)


# --- UPS --------------------------------------------------------------------------------------


def set_modules(w: World, u: int, rows: Ints, more: int, at_ms: int) -> None:
    """Modules of a UPS drop out (negative) or come back."""
    s, most = w.state, int(w.site.ups_modules[u])

    def act() -> None:
        s.ups_modules_ok[rows, u] = np.clip(s.ups_modules_ok[rows, u] + more, 0, most)

    change(w, at_ms, rows, act)
