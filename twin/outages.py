"""What loses power and what gets it back when feeds, UPS, generators or breakers change (design section 1, rule 3).

`change` is the one door: it lets something happen, computes the supply again, darkens the nodes that are left with too
few supplies, and tells the cooling plant which machines stopped, were interrupted by a transfer switch, or may start.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from plant import streams
from plant.breaker import RACK_BREAKER, UPS_OVERLOAD, advance_heat
from twin.cooling_effects import power_back, power_lost
from twin.derived import Derived
from twin.electricity import ups_loads
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
    is_sound,
    supplies_live,
    too_few,
)
from twin.world import World

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

COLD_HEAT = 1e-3  # below this a breaker or inverter counts as cold again
BACK_HEAT = 0.5  # inverters take their load back once they have cooled to this share
GENERATOR_OVERLOAD_FRAC = 1.1  # standby rating: 10 % above is borne, more trips it [assumed]
GENERATOR_MEND_S = 3600.0  # an overloaded generator is checked and let on again after an hour [assumed]
UNDERVOLTAGE_S = 0.5  # IT without a UPS rides out a deep sag so long (ITIC: 0.02 s at 0 V, 0.5 s at 70 %)
IT_HOLD_IN_FRAC = 0.7


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
            _lose_power(d, dark)
    if d.dark:
        there = np.zeros(s.node_phase.shape, dtype=bool)
        there[rows] = (s.node_phase[rows] == DARK) & (supplies_live(d, rows) >= d.site.chain.node_psu_boot)
        if there.any():
            start(d, there)
        d.dark = any_dark(d)


def _lose_power(d: Derived, dark: Flags) -> None:
    """These nodes (M, N) go dark and lose what ran on them."""
    d.state.node_phase[dark] = DARK
    interrupt(d, dark)
    d.mark(np.flatnonzero(dark.any(axis=1)))
    d.dark = True


def cross_power(w: World, dt_s: float) -> None:
    """Let batteries run out, inverters and breakers trip and be closed, generators be mended; all on the grid."""
    d = w.derived
    amiss = not d.supply.quiet or d.ups_over
    if d.look_dark:
        d.look_dark = False
        darken(d, d.all_rows)
    if d.pdu_busy or d.pdu_warm:
        _cross_breakers(w, dt_s)
    if amiss:
        _cross_feeds(w, dt_s)
        _cross_ups(w, dt_s)
        _cross_generators(w)
        empty = _changed_output(d)
        if empty.any():
            change(w, w.state.grid_ms, _rows(empty), _nothing)
        if is_sound(d):
            d.mark_supply()  # quiet again: batteries are full and all is mended


def _rows(flags: Flags) -> Ints:
    return np.flatnonzero(flags.any(axis=1))


def _nothing() -> None:
    """Only look again: a battery ran out."""


def _changed_output(d: Derived) -> Flags:
    """Tell which UPS (M, U) no longer give what the supply says: their battery ran out."""
    s = d.state
    able = (s.ups_modules_ok > 0) & ~s.ups_bypass
    out = np.where(able, d.supply.ups_in | (s.ups_battery_kwh > 0.0), d.supply.ups_in)
    return np.asarray(out != d.supply.ups_out)


def _cross_breakers(w: World, dt_s: float) -> None:
    d, s, chain = w.derived, w.state, w.site.chain
    heat = advance_heat(RACK_BREAKER, s.pdu_heat, d.pdu_kw / chain.pdu_rated_kw, dt_s)
    tripped, closed = heat >= 1.0, (s.pdu_until_ms > 0) & (s.pdu_until_ms <= s.grid_ms)
    s.arrays["pdu_heat"] = np.where((heat < COLD_HEAT) | tripped, 0.0, heat)
    if tripped.any() or closed.any():

        def act() -> None:
            s.pdu_until_ms[closed] = 0
            until = s.grid_ms + (chain.pdu_reset_s * 1000.0).astype(np.int64)
            s.pdu_until_ms[...] = np.where(tripped, until, s.pdu_until_ms)

        change(w, s.grid_ms, _rows(tripped | closed), act)
    d.pdu_warm = bool(s.pdu_heat.any() or s.pdu_until_ms.any())


def _cross_feeds(w: World, dt_s: float) -> None:
    """The main breaker of a feed that carries the load of a dead one may trip; a person closes it later."""
    d, s, chain = w.derived, w.state, w.site.chain
    if not np.isfinite(chain.feed_trip_kw).any():
        return
    # while all feeds live their loads are what the site was built for, and are not computed
    alone = ~d.supply.feed_live.all(axis=1, keepdims=True)
    load_frac = np.where(alone & d.supply.feed_utility, d.feed_kw / chain.feed_trip_kw, 0.0)
    heat = advance_heat(RACK_BREAKER, s.feed_heat, load_frac, dt_s)
    trips, closed = heat >= 1.0, (s.feed_until_ms > 0) & (s.feed_until_ms <= s.grid_ms)
    s.arrays["feed_heat"] = np.where((heat < COLD_HEAT) | trips, 0.0, heat)
    for f in np.flatnonzero((trips | closed).any(axis=0)):
        for flags, works in ((trips[:, f], False), (closed[:, f], True)):
            rows = np.flatnonzero(flags)
            if len(rows):
                s.feed_until_ms[rows, f] = 0 if works else s.grid_ms + int(chain.feed_reset_s[f] * 1000)
                set_feed(w, int(f), rows, works, s.grid_ms, tuple(int(r) for r in rows))


def _cross_ups(w: World, dt_s: float) -> None:
    """An overload heats the inverters; when they give up the load hangs on the feed, if that lives, until they cool."""
    d, s, chain = w.derived, w.state, w.site.chain
    carried = np.where(d.supply.ups_out, d.ups_load_kw, 0.0)
    capacity = chain.ups_module_kw * s.ups_modules_ok
    load_frac = np.where(carried > 0.0, carried / np.maximum(capacity, 1e-9), 0.0)
    borne = np.where(s.ups_bypass, 0.0, load_frac)
    heat = advance_heat(UPS_OVERLOAD, s.ups_heat, borne, dt_s)
    heat = np.where(heat < COLD_HEAT, 0.0, heat)
    trips = (heat >= 1.0) & ~s.ups_bypass
    back = s.ups_bypass & (heat < BACK_HEAT) & (load_frac <= 1.0) & (s.ups_modules_ok > 0)
    s.arrays["ups_heat"] = heat
    if trips.any() or back.any():

        def act() -> None:
            s.ups_bypass[...] = (s.ups_bypass | trips) & ~back

        change(w, s.grid_ms, _rows(trips | back), act)


def _cross_generators(w: World) -> None:
    """An overloaded generator trips; a failed one that a person mended takes the load if it is still asked for."""
    d, s, chain = w.derived, w.state, w.site.chain
    if not len(chain.generator_ids):
        return
    over = (s.generator_phase == GEN_RUNNING) & (d.generator_load_frac > GENERATOR_OVERLOAD_FRAC)
    mended = (s.generator_phase == GEN_FAILED) & (s.generator_until_ms > 0) & (s.generator_until_ms <= s.grid_ms)
    if over.any() or mended.any():

        def act() -> None:
            asked = generators_asked(d)
            s.generator_phase[mended] = np.where(asked, GEN_RUNNING, GEN_STANDBY)[mended]
            s.generator_until_ms[mended] = 0
            s.generator_phase[over] = GEN_FAILED
            s.generator_until_ms[over] = s.grid_ms + int(GENERATOR_MEND_S * 1000)

        change(w, s.grid_ms, _rows(over | mended), act)


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


# --- UPS and sags -----------------------------------------------------------------------------


def set_modules(w: World, u: int, rows: Ints, more: int, at_ms: int) -> None:
    """Modules of a UPS drop out (negative) or come back."""
    s, most = w.state, int(w.site.ups_modules[u])

    def act() -> None:
        s.ups_modules_ok[rows, u] = np.clip(s.ups_modules_ok[rows, u] + more, 0, most)

    change(w, at_ms, rows, act)


def sag(w: World, f: int, rows: Ints, depth_frac: float, lasts_s: float, at_ms: int) -> None:
    """The voltage of a feed sags: cooling machines drop out, IT behind a UPS rides through, IT without one may not."""
    d, s, rule = w.derived, w.state, w.site.chain.sag
    d.refresh()
    on_battery = (d.supply.ups_on[rows] == f) & d.supply.ups_out[rows] & ~s.ups_bypass[rows]
    loads = np.where(on_battery, ups_loads(d)[rows], 0.0)
    s.ups_battery_kwh[rows] -= loads * (depth_frac * lasts_s / 3600.0)
    d.mark_supply()
    if 1.0 - depth_frac < IT_HOLD_IN_FRAC and lasts_s > UNDERVOLTAGE_S:
        _drop_unprotected(w, f, rows)
    if not rule.trips(depth_frac, lasts_s):
        return
    end_ms = at_ms + int(lasts_s * 1000)
    for kind, on in d.supply.machines.items():
        for i in range(on.shape[1]):
            hit = rows[on[rows, i] == f]
            if len(hit):
                power_lost(w, kind, np.array([i]), hit)
                _come_back(w, kind, i, hit, end_ms)


def _come_back(w: World, kind: str, i: int, rows: Ints, end_ms: int) -> None:
    """A machine that a sag tripped starts by itself, or waits for a person: one draw a member and instant.

    Chillers whose control has a lock-out share of its own go by that and by the plant's people.
    """
    s, rule, site = w.state, w.site.chain.sag, w.site
    if kind == "chiller" and site.cooling.loop_lockout_frac[site.chiller_loop[i]] > 0.0:
        power_back(w, kind, np.array([i]), rows, end_ms)
        return
    name = site.components(kind)[i]
    key = streams.component_key(name)
    instant = end_ms // 1000 % 2**32
    waits = streams.uniform(s.seed, "sag reset", s.member[rows], key, instant) < rule.manual_reset_prob
    if (~waits).any():
        power_back(w, kind, np.array([i]), rows[~waits], end_ms)
    low_s, high_s = rule.manual_reset_s
    when = streams.uniform(s.seed, "sag reset time", s.member[rows], key, instant)
    for row, u in zip(rows[waits], when[waits], strict=True):
        due_ms = end_ms + int((low_s + (high_s - low_s) * float(u)) * 1000)
        w.put(due_ms, "reset", name, kind, rows=(int(row),))


def _drop_unprotected(w: World, f: int, rows: Ints) -> None:
    """Racks whose UPS is on bypass, or that hang straight on the feed with both sides, lose their nodes."""
    d, s, chain = w.derived, w.state, w.site.chain
    bare = (d.supply.ups_on == f) & s.ups_bypass
    feeds = np.zeros_like(s.feed_ok)
    feeds[rows, f] = True
    hit = np.concatenate([bare & np.isin(np.arange(s.members), rows)[:, None], feeds], axis=1)
    dead = np.ones((s.members, len(w.site.rack_ids)), dtype=bool)
    for side, live in ((0, d.supply.side_a), (1, d.supply.side_b)):
        source = chain.rack_source[:, side]
        dead &= ~live | (source < 0) | hit.take(np.maximum(source, 0), axis=1)
    nodes = dead.take(w.site.node_rack, axis=1) & ((s.node_phase == ON) | (s.node_phase == STARTING))
    if nodes.any():
        _lose_power(d, nodes)
