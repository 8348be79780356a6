"""What crosses in the power chain after each step: batteries run out, inverters and breakers trip, parts are mended."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant.breaker import RACK_BREAKER, UPS_OVERLOAD, advance_heat
from twin.derived import Derived
from twin.outages import change, darken, generators_asked, set_feed
from twin.supply import GEN_FAILED, GEN_RUNNING, GEN_STANDBY, is_sound
from twin.world import World

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

COLD_HEAT = 1e-3  # below this a breaker or inverter counts as cold again
BACK_HEAT = 0.5  # inverters take their load back once they have cooled to this share
GENERATOR_OVERLOAD_FRAC = 1.1  # standby rating: 10 % above is borne, more trips it [assumed]
GENERATOR_MEND_S = 3600.0  # an overloaded generator is checked and let on again after an hour [assumed]


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
    capacity = chain.ups_module_kw * s.ups_modules_ok
    if not ((d.ups_load_kw > capacity).any() or s.ups_heat.any() or s.ups_bypass.any()):
        return
    carried = np.where(d.supply.ups_out, d.ups_load_kw, 0.0)
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
