"""Compiles the `[[network]]` tables of a site file into the arrays of a `Network`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from plant.network import GB_PER_GBIT, Network
from plant.networkfile import Fabric
from plant.ranges import expand


def compile_network(fabrics: tuple[Fabric, ...], parts: Mapping[str, Any]) -> Network:
    """Return the network of a site whose halls, racks and nodes stand in `parts`; checks have run before."""
    halls = list(parts["hall_ids"])
    ordered = sorted(fabrics, key=lambda fabric: halls.index(fabric.hall))
    leaves = [(f, leaf) for f in ordered for leaf in expand(f.leaves)]
    spines = [(f, spine) for f in ordered for spine in expand(f.spines)]
    spine_row = {f"{f.hall}/{name}": i for i, (f, name) in enumerate(spines)}
    links = [(row, f, leaf, spine) for row, (f, leaf) in enumerate(leaves) for spine in wired(f, leaf)]
    rack_leaf = _rack_leaf(ordered, halls, parts["rack_hall"])
    node_leaf = rack_leaf[parts["node_rack"]] if len(ordered) else np.zeros(0, dtype=np.int32)
    port = {halls.index(f.hall): f.node_gbit_per_s * GB_PER_GBIT for f in ordered}
    arrays: dict[str, Any] = {
        "leaf_hall": _ints([halls.index(f.hall) for f, _ in leaves]),
        "spine_hall": _ints([halls.index(f.hall) for f, _ in spines]),
        "rack_leaf": rack_leaf,
        "node_leaf": node_leaf,
        "node_gb_per_s": np.array([port[h] for h in parts["node_hall"].tolist()] if port else [], dtype=np.float64),
        "uplink_leaf": _ints([row for row, *_ in links]),
        "uplink_spine": _ints([spine_row[f"{f.hall}/{spine}"] for _, f, _, spine in links]),
        "uplink_gb_per_s": np.array([f.uplink_gbit_per_s * GB_PER_GBIT for _, f, *_ in links], dtype=np.float64),
        "uplink_bit": np.array([1 << expand(f.spines).index(s) for _, f, _, s in links], dtype=np.uint64),
        "leaf_start": _ints(np.searchsorted([row for row, *_ in links], np.arange(len(leaves) + 1)).tolist()),
        "leaf_keep": _ints([max(1, math.ceil(f.keep_frac * len(wired(f, leaf)))) for f, leaf in leaves]),
    }
    for array in arrays.values():
        array.flags.writeable = False
    return Network(
        leaf_ids=tuple(f"{f.hall}/{leaf}" for f, leaf in leaves),
        spine_ids=tuple(spine_row),
        uplink_ids=tuple(f"{f.hall}/{leaf}/{spine}" for _, f, leaf, spine in links),
        **arrays,
    )


def wired(fabric: Fabric, leaf: str) -> list[str]:
    """Return the spines that a leaf hangs on, in the order of the spines."""
    every = expand(fabric.spines)
    some = fabric.uplinks.get(leaf)
    return list(every) if some is None else [spine for spine in every if spine in some]


def _rack_leaf(fabrics: list[Fabric], halls: list[str], rack_hall: Any) -> Any:
    """Leaf of each rack: the racks of a hall in their order, racks_per_leaf to a leaf."""
    out = np.zeros(len(rack_hall) if fabrics else 0, dtype=np.int32)
    first = 0
    for fabric in fabrics:
        racks = np.flatnonzero(rack_hall == halls.index(fabric.hall))
        out[racks] = first + np.arange(len(racks)) // fabric.racks_per_leaf
        first += len(expand(fabric.leaves))
    return out


def _ints(values: list[int]) -> Any:
    return np.ascontiguousarray(values, dtype=np.int32)
