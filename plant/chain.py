"""The power chain of a site: from feeds and generators over UPS and rack PDUs to the two sides of every rack.

A *source* is what can stand behind a side of a rack: the UPS of the site first, then its feeds. Side 0 is A, 1 is B.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class SagRule:
    """What a voltage sag does to cooling machines; see plant.chainfile.Sag."""

    hold_in_frac: float
    hold_s: float
    manual_reset_prob: float
    manual_reset_s: tuple[float, float]

    def trips(self, depth_frac: float, lasts_s: float) -> bool:
        """Tell whether a sag by depth_frac of the voltage drops contactors and drives out."""
        return 1.0 - depth_frac < self.hold_in_frac and lasts_s > self.hold_s


@dataclass(frozen=True, eq=False)
class PowerChain:
    """Shapes: N nodes, R racks, H halls, U UPS, F feeds, P PDUs, D generators, C cooling units, L loops, K chillers."""

    psu_loss: tuple[float | Floats, ...]
    """Coefficients of the loss of a supply: numbers, or (N,) where node types differ."""
    node_psus_b: Ints
    """(N,) supplies that hang on side B."""
    node_psu_boot: Ints
    """(N,) supplies that a node needs to start."""
    node_psu_brake: Flags
    """(N,) slows down to what its supplies carry."""

    ups_module_kw: Floats
    ups_spare: Floats
    """(U,) modules beyond those needed."""
    ups_stage_frac: Floats
    """(U,) load of a module above which one more wakes; infinite: all run."""
    ups_charge_kw: Floats
    ups_region: Ints
    ups_order: Ints
    """(U, F) feeds of each UPS, the preferred one first, then -1."""
    ups_mixed: bool
    """Some UPS lets modules sleep."""

    feed_behind: Ints
    """(F,) feed it hangs behind, -1 none."""
    feed_trip_kw: Floats
    """(F,) setting of the main breaker, infinite where it holds."""
    feed_reset_s: Floats
    feed_order: tuple[int, ...]
    """Feeds so that each comes after the one it hangs behind."""

    pdu_ids: tuple[str, ...]
    pdu_rack: Ints
    pdu_side: Ints
    pdu_rated_kw: Floats
    pdu_reset_s: Floats
    rack_pdu: Ints
    """(R, 2) PDU of each side, -1 none."""
    rack_source: Ints
    """(R, 2) source of each side, -1 none."""
    rack_b_frac: Floats
    """(R,) share of the load on side B while all is well."""
    rack_loss_frac: Floats
    """(R,) loss of its PDUs over the load."""

    generator_ids: tuple[str, ...]
    generator_capacity_kw: Floats
    generator_feed: Flags
    """(D, F) feeds it backs."""
    generator_wait_s: Floats
    generator_start_s: Floats
    generator_fail_prob: Floats
    generator_manual_s: Floats
    generator_back_s: Floats

    hall_feed: Flags
    """(H, F) feeds that reach the cooling of a hall."""
    loop_feed: Flags
    """(L, F) feeds that reach pumps and chillers of a loop."""
    unit_order: Ints
    """(C, F) feeds a cooling unit can hang on behind its transfer switch, that of the builder first, then -1."""
    chiller_order: Ints
    """(K, F) likewise."""
    pump_order: Ints
    """(P, F) likewise, P pumps."""
    cdu_order: Ints
    """(D, F) likewise, D coolant distribution units."""
    loop_order: Ints
    """(L, F) likewise, the pumps of a loop where the file does not list them."""
    sag: SagRule
    hall_design_loss_kw: Floats
    """(H,) loss of UPS and PDUs at the design point."""
    feed_region: Ints

    @property
    def two_sided(self) -> bool:
        """Tell whether any rack has PDUs of its own."""
        return bool(len(self.pdu_ids))

    @cached_property
    def feeds_watched(self) -> bool:
        """Tell whether it matters what a feed carries: a generator backs one, or its main breaker can trip."""
        return bool(len(self.generator_ids) or np.isfinite(self.feed_trip_kw).any())


def feeds_live(chain: PowerChain, feed_ok: Flags, generator_runs: Flags) -> tuple[Flags, Flags]:
    """Return (which feeds carry power, which of them from the utility), both (M, F).

    feed_ok (M, F): the feed itself works; it is dead when the one it hangs behind is, unless a generator backs it.
    """
    live, utility = feed_ok.copy(), feed_ok.copy()
    backed: Flags = np.asarray((generator_runs[:, :, None] & chain.generator_feed).any(axis=1))
    for f in chain.feed_order:
        behind = int(chain.feed_behind[f])
        if behind >= 0:
            live[:, f] &= live[:, behind]
            utility[:, f] &= utility[:, behind]
        live[:, f] |= backed[:, f]
    return live, utility


def feed_of(order: Ints, preferred: NDArray[np.int8], live: Flags) -> NDArray[np.int64]:
    """Return the feed each taker (M, X) draws from: the preferred one while it lives, else the first live one, else -1.

    order (X, F): feeds of each taker, the built-in preference first, then -1. preferred (M, X): -1 none.
    """
    chosen = np.full(preferred.shape, -1, dtype=np.int64)
    if not live.shape[1]:  # a site without feeds
        return chosen
    for column in range(order.shape[1] - 1, -1, -1):
        feed = order[:, column]
        there = (feed >= 0) & live.take(np.maximum(feed, 0), axis=1)
        chosen = np.where(there, feed, chosen)
    if not live.shape[1]:
        return chosen
    wished = np.maximum(preferred, 0).astype(np.int64)
    there = (preferred >= 0) & np.take_along_axis(live, wished, axis=1)
    return np.where(there, wished, chosen)


def order_of(reach: Flags, first: Ints) -> Ints:
    """Return the order (X, F) of takers that `reach` (X, F) some feeds and hang on `first` (X,) as built."""
    order = np.full(reach.shape, -1, dtype=np.int32)
    for x, row in enumerate(reach):
        feeds = [f for f in np.flatnonzero(row) if f != first[x]]
        listed = ([int(first[x])] if first[x] >= 0 else []) + [int(f) for f in feeds]
        order[x, : len(listed)] = listed
    return order


def sides_live(chain: PowerChain, source_live: Flags, pdu_open: Flags) -> tuple[Flags, Flags]:
    """Return which racks (M, R) have power on side A and on side B: source alive and breaker closed."""
    sides = []
    for side in (0, 1):
        source = chain.rack_source[:, side]
        live = (source >= 0) & source_live.take(np.maximum(source, 0), axis=1)
        if chain.two_sided:
            pdu = chain.rack_pdu[:, side]
            live &= ~((pdu >= 0) & pdu_open.take(np.maximum(pdu, 0), axis=1))
        sides.append(live)
    return sides[0], sides[1]
