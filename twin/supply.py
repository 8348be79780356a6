"""What has power, and through what: feeds, UPS, rack sides, supplies of a node, cooling machines. A part of `Derived`.

All of it follows from `State`; it is computed again when a happening marks the supply dirty. A site on which nothing is
amiss is *quiet*: its rack sides all live, its UPS run on all modules, and nothing here costs time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plant.breaker import RACK_BREAKER
from plant.chain import feed_of, feeds_live, sides_live
from twin.layout import Rows, segment_sum
from twin.nodephase import DARK

if TYPE_CHECKING:
    from twin.derived import Derived

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]

GEN_STANDBY, GEN_STARTING, GEN_RUNNING, GEN_FAILED = range(4)


class Supply(NamedTuple):
    """M members, F feeds, U UPS, R racks, C cooling units, K chillers, L loops."""

    feed_live: Flags
    feed_utility: Flags
    """Alive by its utility."""
    ups_on: Ints
    """(M, U) feed it draws from, -1 none."""
    ups_in: Flags
    """(M, U) its input lives; always where a site file names no feed."""
    ups_out: Flags
    side_a: Flags
    side_b: Flags
    whole: Flags
    """(M,) both sides of all racks live."""
    quiet: bool
    machines: dict[str, Ints]
    """(M, machines) feed of each machine by component kind, -1 none."""
    loop_on: Ints
    """(M, L) feed that the pumps and chillers of a loop are counted on."""


def refresh_supply(d: Derived) -> None:
    """Compute the supply again; rows whose rack sides changed get their power computed again."""
    old, new = d.supply, supply_of(d)
    d.supply, d.supply_dirty = new, False
    changed = (old.side_a != new.side_a) | (old.side_b != new.side_b)
    if changed.any():
        d.mark(np.flatnonzero(changed.any(axis=1)))


def supply_of(d: Derived) -> Supply:
    """Return the supply of a state."""
    s, chain = d.state, d.site.chain
    live, utility = feeds_live(chain, s.feed_ok, s.generator_phase == GEN_RUNNING)
    on = feed_of(chain.ups_order, s.ups_on_feed, live)
    fed = (on >= 0) | (chain.ups_order < 0).all(axis=1)
    able = (s.ups_modules_ok > 0) & ~s.ups_bypass
    out = np.where(able, fed | (s.ups_battery_kwh > 0.0), fed)
    a, b = sides_live(chain, np.concatenate([out, live], axis=1), s.pdu_until_ms > 0)
    has_b = chain.rack_source[:, 1] >= 0
    whole: Flags = np.asarray(a.all(axis=1) & (b | ~has_b).all(axis=1))
    loop_on = feed_of(chain.loop_order, s.loop_on_feed, live)
    return Supply(live, utility, on, fed, out, a, b, whole, is_sound(d), _machines(d, live), loop_on)


def is_sound(d: Derived) -> bool:
    """Tell whether nothing is amiss in any member: feeds, modules, batteries, generators, breakers."""
    s = d.state
    return bool(
        s.feed_ok.all()
        and (s.ups_modules_ok == d.site.ups_modules).all()
        and not s.ups_bypass.any()
        and not s.feed_heat.any()
        and not s.ups_heat.any()
        and not s.generator_phase.any()
        and (s.ups_battery_kwh >= d.site.ups_battery_kwh).all()
        and not s.pdu_until_ms.any()
    )


def _machines(d: Derived, live: Flags) -> dict[str, Ints]:
    """Feed of each cooling machine: as built, or as a plan asked for its hall or loop, else any that lives."""
    site, s, chain = d.site, d.state, d.site.chain
    hall, loop = s.hall_on_feed, s.loop_on_feed
    return {
        "cooling_unit": feed_of(chain.unit_order, hall.take(site.unit_hall, axis=1), live),
        "chiller": feed_of(chain.chiller_order, loop.take(site.chiller_loop, axis=1), live),
        "pump": feed_of(chain.pump_order, loop.take(site.cooling.pump_loop, axis=1), live),
        "cdu": feed_of(chain.cdu_order, hall.take(site.cooling.cdu_hall, axis=1), live),
    }


def supplies_live(d: Derived, rows: Rows) -> NDArray[np.int8]:
    """Return how many supplies of each node (rows, N) work and have power."""
    s, rack = d.state, d.site.node_rack
    ok = s.node_psu_ok[rows]
    if d.supply.whole[rows].all():
        return ok
    b = s.node_psu_b_ok[rows]
    on_a, on_b = d.supply.side_a[rows].take(rack, axis=1), d.supply.side_b[rows].take(rack, axis=1)
    return np.asarray(np.where(on_a, ok - b, 0) + np.where(on_b, b, 0), dtype=np.int8)


def supplied_rows(d: Derived, rows: Rows) -> Flags:
    """Tell in which of these rows every supply works and has power, the usual case."""
    return np.asarray(d.supply.whole[rows] & (d.state.node_psu_ok[rows] == d.site.psu_per_node).all(axis=1))


def watch_nodes(d: Derived, rows: Rows, drawn_kw: Array, live: NDArray[np.int8]) -> None:
    """Note in which rows a node asks more of its supplies than they carry, or waits dark for them."""
    d.node_short[rows] = too_few(d, drawn_kw, live).any(axis=1)


def too_few(d: Derived, drawn_kw: Array, live: NDArray[np.int8]) -> Flags:
    """Tell which nodes have lost supplies and are left with too few for what they draw."""
    rated = d.site.node_psu_rated_kw
    over = (rated > 0.0) & (drawn_kw > rated * live * (1.0 + 1e-9))
    return np.asarray((live < d.site.psu_per_node) & ((live == 0) | over))


def load_sides(d: Derived, rows: Rows, node_kw: Array, rack_kw: Array, whole: bool) -> None:
    """Compute what each source and each PDU carries; only sites with rack PDUs need it."""
    chain, lay = d.site.chain, d.layout
    b_kw = rack_kw * chain.rack_b_frac
    if not whole:
        live = supplies_live(d, rows)
        b_live = np.where(d.supply.side_b[rows].take(d.site.node_rack, axis=1), d.state.node_psu_b_ok[rows], 0)
        split_kw = segment_sum(node_kw * (b_live / np.maximum(live, 1)), lay.rack_nodes)
        sound = segment_sum((live == d.site.psu_per_node).astype(np.float64), lay.rack_nodes) == lay.nodes_per_rack
        b_kw = np.where(sound, b_kw, split_kw)  # a rack has the same bits whatever happens to the others
    gross = 1.0 + chain.rack_loss_frac
    a_kw, b_kw = (rack_kw - b_kw) * gross, b_kw * gross
    sides = np.concatenate([a_kw, b_kw], axis=1)
    d.source_kw[rows] = segment_sum(sides.take(lay.source_columns, axis=1), lay.source_sides)
    d.pdu_kw[rows] = sides.take(lay.pdu_columns, axis=1)
    d.pdu_busy = bool((d.pdu_kw > RACK_BREAKER.from_frac * chain.pdu_rated_kw).any())


def any_dark(d: Derived) -> bool:
    """Tell whether a node waits for power."""
    return bool((d.state.node_phase == DARK).any())
