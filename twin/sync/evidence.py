"""Is it the plant or the sensor? Who else is surprised in the same hall, on the same component, just now.

A failure of the plant shows in several sensors: neighbours in its hall, the other channel of its rack, a machine that
reports its stop. A failed sensor stands alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.sync.names import Names

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

FRESH_MS = 180_000  # what was heard so long ago still belongs to the same happening
SURPRISED = 3.0  # |innovation| over its expected size
SIBLING = 2.0  # ... of the other channel of the same component
PERSISTENT = 1.25  # ... in its running mean
LEAST_NEIGHBOURS, SHARE = 2, 0.25
DISTURBED_MS = 1_200_000  # after a machine started or stopped the whole plant may be anywhere
MANY = 0.05  # share of a hall's nodes that change its air
TELLING = ("rack", "hall", "cooling_unit")  # kinds whose sensors see the air of a hall
SIBLINGS = {("rack", "inlet_c"): ("rack", "outlet_c"), ("rack", "outlet_c"): ("rack", "inlet_c")}


class Board:
    """Newest innovations of all sensors over their expected size, by sensor number."""

    def __init__(self, site: Site, names: Names) -> None:
        """Find the hall of each sensor (-1 none) and its sibling (-1 none)."""
        self.scaled, self.heard_ms = np.zeros(names.count), np.full(names.count, -(2**62), dtype=np.int64)
        self.hall, self.sibling = np.full((2, names.count), -1, dtype=np.int64)
        self.temperature = np.zeros(names.count, dtype=bool)
        of_kind: dict[str, NDArray[np.integer]]
        of_kind = {"rack": site.rack_hall, "hall": np.arange(len(site.hall_ids)), "cooling_unit": site.unit_hall}
        for kind, channel in names.keys:
            start, n = names.first[kind, channel], names.size[kind, channel]
            if kind in TELLING and channel.endswith("_c"):
                self.hall[start : start + n] = of_kind[kind]
            other = SIBLINGS.get((kind, channel))
            if other is not None and other in names.first:
                self.sibling[start : start + n] = names.first[other] + np.arange(n)
        self.disturbed_ms = -(2**62)
        self.since_ms = np.full(names.count, -(2**62), dtype=np.int64)
        """When each sensor was last disturbed, by its number."""
        self.site, self.rack = site, _racks(site, names)
        self.hall_nodes = np.bincount(site.node_hall, minlength=len(site.hall_ids))

    def disturb(self, now_ms: int) -> None:
        """A machine of the plant has reported that it starts or stops: everything may be anywhere."""
        self.disturbed_ms = now_ms
        self.since_ms[...] = now_ms

    def disturb_nodes(self, nodes: Ints, now_ms: int) -> None:
        """Nodes have come up or gone down: their racks may be anywhere; so may a hall that has lost a share of them.

        Nodes of a large site do so all the time: were that to disturb everybody, nobody would ever be judged.
        """
        if not len(nodes):
            return
        self.disturbed_ms = now_ms
        self.since_ms[np.isin(self.rack, self.site.node_rack[nodes])] = now_ms
        many = np.bincount(self.site.node_hall[nodes], minlength=len(self.hall_nodes)) >= MANY * self.hall_nodes
        self.since_ms[(self.hall >= 0) & np.append(many, False)[self.hall]] = now_ms

    def disturbed(self, now_ms: int) -> bool:
        """Tell whether machines or nodes have changed so lately that something of the plant may be anywhere."""
        return now_ms - self.disturbed_ms < DISTURBED_MS

    def restless(self, sensor: Ints, now_ms: int) -> Flags:
        """Tell for some sensors whether that concerns them."""
        return np.asarray(now_ms - self.since_ms[sensor] < DISTURBED_MS)

    def post(self, sensor: Ints, scaled: Array, time_ms: int) -> None:
        """Put up the newest innovations of some sensors."""
        self.scaled[sensor], self.heard_ms[sensor] = scaled, time_ms

    def agree(self, sensor: Ints, sign: Array, time_ms: int, out: Flags, drift: Array) -> Flags:
        """Tell for some surprised sensors whether others say the same; `out`: shut out ones say nothing.

        drift: running means of the scaled innovations of all sensors.
        """
        fresh = (np.abs(time_ms - self.heard_ms) <= FRESH_MS) & ~out
        sibling = self.sibling[sensor]
        there = (sibling >= 0) & fresh[sibling]
        same = (self.scaled[sibling] * sign > SIBLING) | (drift[sibling] * sign > PERSISTENT)
        return np.asarray((there & same) | self._neighbours(sensor, sign, fresh))

    def _neighbours(self, sensor: Ints, sign: Array, fresh: Flags) -> Flags:
        """A quarter of the sensors of its hall, two at least, are surprised the same way, itself not counted."""
        hall = self.hall[sensor]
        counted = fresh & (self.hall >= 0)
        halls = int(self.hall.max(initial=-1)) + 1
        if halls == 0:
            return np.zeros(len(sensor), dtype=bool)
        all_of = np.bincount(self.hall[counted], minlength=halls)
        out = np.zeros(len(sensor), dtype=bool)
        for way in (1.0, -1.0):
            moved = counted & (self.scaled * way > SURPRISED)
            many = np.bincount(self.hall[moved], minlength=halls)
            others = many[hall] - moved[sensor]
            enough = (others >= LEAST_NEIGHBOURS) & (others >= SHARE * (all_of[hall] - counted[sensor]))
            out |= (hall >= 0) & (sign == way) & enough
        return out


def _racks(site: Site, names: Names) -> Ints:
    """The rack of each sensor, -1 for none."""
    racks = np.full(names.count, -1, dtype=np.int64)
    of_node = dict(zip(site.node_ids, site.node_rack.tolist(), strict=True))
    for key in names.keys:
        span = names.of(key)
        if key[0] == "rack":
            racks[span] = np.arange(names.size[key])
        elif key[0] == "node":
            racks[span] = [of_node[name] for name in names.ids[span]]
    return racks
