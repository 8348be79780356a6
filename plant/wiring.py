"""What hangs on what: who serves whom on a site, read from its index arrays (`rack_hall`, `chiller_loop`, ...).

Serving goes from the outside in: a feed serves UPS groups, a UPS its halls, a chiller or pump its loop, a loop its
halls and coolant units, a coolant unit its racks, a hall its racks, a rack its nodes, a node its power supplies. In the
network a spine serves its links, a link its leaf switch, a leaf its racks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from plant.site import Site

Ints = NDArray[np.int64]
# (served kind, array that names its servant, servant kind, owner of the array)
SERVED = (
    ("hall", "hall_loop", "loop", ""),
    ("hall", "hall_ups", "ups", ""),
    ("hall", "hall_region", "region", ""),
    ("rack", "rack_hall", "hall", ""),
    ("node", "node_rack", "rack", ""),
    ("rack", "rack_cdu", "cdu", "cooling"),
    ("cdu", "cdu_loop", "loop", "cooling"),
)
# (servant kind, array that names whom it serves, served kind, owner of the array)
SERVES = (
    ("cooling_unit", "unit_hall", "hall", ""),
    ("chiller", "chiller_loop", "loop", ""),
    ("pdu", "pdu_rack", "rack", "chain"),
    ("pump", "pump_loop", "loop", "cooling"),
)


def served_by(site: Site, kind: str, row: int) -> list[tuple[str, str]]:
    """Return (kind, id) of what serves a component directly."""
    return [(servant, site.components(servant)[k]) for servant, k, (to, r) in _edges(site, to=kind) if r == row]


def serves(site: Site, kind: str, row: int) -> list[tuple[str, str]]:
    """Return (kind, id) of what a component serves directly."""
    return [(to, site.components(to)[r]) for servant, k, (to, r) in _edges(site, servant=kind) if k == row]


def reach(site: Site, kind: str, row: int) -> dict[str, Ints]:
    """Return the rows of everything, by kind, that a component serves directly or through others."""
    found: dict[str, set[int]] = {}
    edge = [(kind, row)]
    while edge:
        here, at = edge.pop()
        for servant, k, (to, r) in _edges(site, servant=here):
            if (servant, k) == (here, at) and r not in found.setdefault(to, set()):
                found[to].add(r)
                edge.append((to, r))
    return {to: np.array(sorted(rows), dtype=np.int64) for to, rows in found.items()}


def _edges(site: Site, servant: str = "", to: str = "") -> Iterator[tuple[str, int, tuple[str, int]]]:
    """Yield (servant kind, its row, (served kind, its row)) for one servant kind or one served kind."""
    for served, name, by, owner in SERVED:
        if servant in ("", by) and to in ("", served):
            for r, k in enumerate(_array(site, owner, name)):
                if k >= 0:
                    yield by, int(k), (served, r)
    for by, name, served, owner in SERVES:
        if servant in ("", by) and to in ("", served):
            for k, r in enumerate(_array(site, owner, name)):
                if r >= 0:
                    yield by, k, (served, int(r))
    if servant in ("", "feed") and to in ("", "ups"):
        for u, f in zip(*np.nonzero(site.ups_feed), strict=True):
            yield "feed", int(f), ("ups", int(u))
    yield from _chain_edges(site, servant, to)
    if servant in ("", "generator") and to in ("", "feed"):
        for g, f in zip(*np.nonzero(site.chain.generator_feed), strict=True):
            yield "generator", int(g), ("feed", int(f))
    yield from _network(site, servant, to)


def _network(site: Site, servant: str, to: str) -> Iterator[tuple[str, int, tuple[str, int]]]:
    """A spine serves its links, a link its leaf, a leaf its racks; links between halls serve nobody alone."""
    net, first = site.network, len(site.link_ids)
    if servant in ("", "switch") and to in ("", "link"):
        for u, spine in enumerate(net.uplink_spine.tolist()):
            yield "switch", len(net.leaf_ids) + spine, ("link", first + u)
    if servant in ("", "link") and to in ("", "switch"):
        for u, leaf in enumerate(net.uplink_leaf.tolist()):
            yield "link", first + u, ("switch", leaf)
    if servant in ("", "switch") and to in ("", "rack"):
        for rack, leaf in enumerate(net.rack_leaf.tolist()):
            yield "switch", leaf, ("rack", rack)


def _chain_edges(site: Site, servant: str, to: str) -> Iterator[tuple[str, int, tuple[str, int]]]:
    """Yield what stands behind each rack PDU, a UPS or a feed, and which feed hangs behind which."""
    chain, ups = site.chain, len(site.ups_ids)
    if to in ("", "pdu") and servant in ("", "ups", "feed"):
        for p, (rack, side) in enumerate(zip(chain.pdu_rack, chain.pdu_side, strict=True)):
            source = int(chain.rack_source[rack, side])
            kind, row = ("ups", source) if source < ups else ("feed", source - ups)
            if servant in ("", kind):
                yield kind, row, ("pdu", p)
    if to in ("", "feed") and servant in ("", "feed"):
        for f, behind in enumerate(chain.feed_behind):
            if behind >= 0:
                yield "feed", int(behind), ("feed", f)


def _array(site: Site, owner: str, name: str) -> list[int]:
    return [int(v) for v in getattr(getattr(site, owner) if owner else site, name)]
