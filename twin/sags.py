"""A voltage sag: cooling machines drop out, IT behind a UPS rides through, IT without one may not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import streams
from twin.cooling_effects import power_back, power_lost
from twin.electricity import ups_loads
from twin.nodephase import ON, STARTING
from twin.outages import lose_power
from twin.world import World

Ints = NDArray[np.int64]

UNDERVOLTAGE_S = 0.5  # IT without a UPS rides out a deep sag so long (ITIC: 0.02 s at 0 V, 0.5 s at 70 %)
IT_HOLD_IN_FRAC = 0.7


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
        lose_power(d, nodes)
