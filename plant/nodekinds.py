"""Node types for nodes of a list: a shipped type where it fits, else one of its numbers changed to cores, GPUs, power.

A scheduler knows no watts. What is assumed here: power of a server without accelerators grows with its cores, that of
one with accelerators by their rated power, both from the shipped types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from plant.errors import ConfigError
from plant.nodelist import NodeFound, Note, shortened
from plant.nodetypes import load_node_type, shipped_types
from plant.references import did_you_mean
from plant.sitefile import NodeType

CPU, GPU = "cpu-2s", "pcie-8"
WHOLE_SYSTEMS = {"a100": "dgx-a100", "h100": "dgx-h100", "h200": "dgx-h100"}
"""Shipped types of nodes with eight accelerators of that name."""
GPU_KW = {
    "gh200": 0.9, "gb200": 1.2, "b200": 1.0, "h200": 0.7, "h100": 0.7, "h800": 0.7, "a100": 0.4, "a800": 0.4,
    "v100": 0.3, "p100": 0.25, "k80": 0.3, "l40s": 0.35, "l40": 0.3, "l4": 0.072, "a40": 0.3, "a30": 0.165,
    "a10": 0.15, "t4": 0.07, "a6000": 0.3, "a5000": 0.23, "mi300": 0.75, "mi250": 0.5, "mi210": 0.3, "mi100": 0.3,
}  # fmt: skip
"""Rated power of accelerators by their name [kW], from the makers' data sheets, rounded; longer names first."""
OTHER_GPU_KW = 0.3
CORES = 64.0  # of the shipped server without accelerators
FIXED_SHARE = 0.4  # of its power that does not grow with cores [assumed]
MOST_PSU_KW = 50.0
PSU_ROOM = 1.1  # rated output of the needed supplies over peak power [assumed]


@dataclass(frozen=True)
class Kind:
    """One node type of the draft: the keys of its table in the site file, and what was assumed for it."""

    table: Mapping[str, Any]
    why: str

    @property
    def id(self) -> str:
        """Its name."""
        return str(self.table["id"])

    @property
    def peak_kw(self) -> float:
        """Power at full load [kW]."""
        own = self.table.get("peak_kw")
        return float(own) if own is not None else load_node_type(str(self.table["like"])).peak_kw


@dataclass(frozen=True)
class TypeRule:
    """`--type PATTERN=TYPE`: nodes whose name, type, accelerator or feature matches are of a shipped type."""

    pattern: re.Pattern[str]
    like: str

    @classmethod
    def parse(cls, text: str) -> TypeRule:
        """The rule of one option. Raises ConfigError."""
        pattern, _, like = text.rpartition("=")
        if like not in shipped_types() or not pattern:
            allowed = f"PATTERN=TYPE with a type of {' '.join(shipped_types())}"
            raise ConfigError("--type", f"'{text}'", allowed, did_you_mean(like, shipped_types()))
        try:
            return cls(re.compile(pattern), like)
        except re.error as error:
            raise ConfigError("--type", f"'{pattern}' is no pattern: {error}", "a regular expression") from None

    def fits(self, node: NodeFound) -> bool:
        """Tell whether the rule speaks of this node."""
        return any(self.pattern.search(word) for word in (node.name, node.kind, node.gpu, *node.features) if word)


def kinds_of(nodes: Sequence[NodeFound], rules: Sequence[TypeRule] = ()) -> tuple[list[Kind], dict[str, str]]:
    """The node types that a list needs, and for each node the id of its type."""
    groups: dict[tuple[str, str, int, str, int], list[NodeFound]] = {}
    for node in nodes:
        like = next((rule.like for rule in rules if rule.fits(node)), "")
        key = (like, node.kind, node.gpus or 0, node.gpu.lower(), node.cores or 0)
        groups.setdefault(key, []).append(node)
    kinds: list[Kind] = []
    of: dict[str, str] = {}
    for (like, label, gpus, gpu, cores), group in groups.items():
        kind = _kind(like, label, gpus, gpu, cores, group, {k.id for k in kinds})
        kinds.append(kind)
        of |= {node.name: kind.id for node in group}
    return kinds, of


def notes_of(kinds: Iterable[Kind], of: Mapping[str, str]) -> list[Note]:
    """One note for each type: what it was made of, and which nodes are of it."""
    return [
        Note(f"node type {kind.id}", f"{kind.peak_kw:g} kW at peak", f"{kind.why}; {_members(kind.id, of)}")
        for kind in kinds
    ]


def _members(kind: str, of: Mapping[str, str]) -> str:
    names = [name for name, its in of.items() if its == kind]
    return f"{len(names)} nodes: {shortened(names, 60)}"


def _kind(like: str, label: str, gpus: int, gpu: str, cores: int, group: Sequence[NodeFound], taken: set[str]) -> Kind:
    known = {re.sub(r"[^a-z0-9]", "", name): name for name in shipped_types()}
    named = like or known.get(re.sub(r"[^a-z0-9]", "", label.lower()), "")
    peaks = [n.peak_kw for n in group if n.peak_kw is not None]
    idles = [n.idle_kw for n in group if n.idle_kw is not None]
    peak_kw, idle_kw = (median(each) if each else None for each in (peaks, idles))
    whole = WHOLE_SYSTEMS.get(next((name for name in GPU_KW if name in gpu), "")) if gpus == 8 else None
    base = named or whole or (GPU if gpus else CPU)
    shipped = load_node_type(base)
    table: dict[str, Any] = {"id": _name(label, gpus, gpu, cores, base if named or whole else "", taken), "like": base}
    if named or whole:
        table |= {"cores": cores} if cores and cores != shipped.cores else {}
        why = f"shipped type {base}" + ("" if like else f", by its {'name' if named else 'accelerators'}")
        if gpus and shipped.gpus and gpus != shipped.gpus:
            why += f", which has {shipped.gpus} accelerators where the list says {gpus}"
        wanted = None
    elif gpus:
        gpu_kw = next((kw for name, kw in GPU_KW.items() if name in gpu), OTHER_GPU_KW)
        wanted = _with_gpus(table, shipped, gpus, cores, gpu_kw)
        why = f"like {base} with {gpus} accelerators of {gpu_kw:g} kW, assumed"
    else:
        wanted = _by_cores(table, shipped, cores)
        why = f"like {base}" + (f", power by its {cores} cores, assumed" if cores else ", assumed")
    if peak_kw is not None:
        why = f"like {base}, power from the list" + (f" ({min(peaks):g} to {max(peaks):g} kW, the median)" * (
            max(peaks) > min(peaks)))  # fmt: skip
    _fit_power(table, shipped, gpus or shipped.gpus, idle_kw, peak_kw, wanted)
    return Kind(table, why)


def _name(label: str, gpus: int, gpu: str, cores: int, base: str, taken: set[str]) -> str:
    """A name for the type that no other has: what the list calls it, the shipped type's, or what it consists of."""
    made = f"{gpu or 'gpu'}-x{gpus}" if gpus else f"cpu-{cores}" if cores else CPU
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-")[:60] or base or re.sub(r"[^A-Za-z0-9._-]+", "-", made)
    name, n = stem, 2
    while name in taken:
        name, n = f"{stem}-{n}", n + 1
    return name


def _by_cores(table: dict[str, Any], shipped: NodeType, cores: int) -> tuple[float, float] | None:
    """Idle and peak power of a server with so many cores, which go into the table."""
    if not cores:
        return None
    table["cores"] = cores
    factor = min(max(FIXED_SHARE + (1.0 - FIXED_SHARE) * cores / CORES, 0.4), 4.0)
    return shipped.idle_kw * factor, shipped.peak_kw * factor


def _with_gpus(
    table: dict[str, Any], shipped: NodeType, gpus: int, cores: int, gpu_kw: float
) -> tuple[float, float] | None:
    """Idle and peak power of a server with so many accelerators: its host grows from the plain one to the shipped."""
    plain, own = load_node_type(CPU), shipped.gpu
    assert own is not None
    share = min(gpus / shipped.gpus, 2.0)
    idle_each = gpu_kw * own.idle_kw / own.peak_kw
    host = (shipped.idle_kw - shipped.gpus * own.idle_kw, shipped.peak_kw - shipped.gpus * own.peak_kw)
    idle_kw = plain.idle_kw + (host[0] - plain.idle_kw) * share + gpus * idle_each
    peak_kw = plain.peak_kw + (host[1] - plain.peak_kw) * share + gpus * gpu_kw
    table |= {"cores": cores or shipped.cores, "gpus": gpus}
    if gpus <= 2:
        table |= {"psus": 2, "psu_redundancy": "1+1"}
    table["mass_kj_per_k"] = _up(plain.mass_kj_per_k + (shipped.mass_kj_per_k - plain.mass_kj_per_k) * share, 1)
    table["gpu"] = {"peak_kw": gpu_kw}
    return idle_kw, peak_kw


def _fit_power(
    table: dict[str, Any],
    shipped: NodeType,
    gpus: int,
    idle_kw: float | None,
    peak_kw: float | None,
    wanted: tuple[float, float] | None,
) -> None:
    """Put power into the table and change what hangs on it: supplies that carry it, accelerators and fans within it."""
    if wanted is None and idle_kw is None and peak_kw is None:
        return
    base = wanted or (shipped.idle_kw, shipped.peak_kw)
    peak = peak_kw if peak_kw is not None else max(base[1], 1.2 * (idle_kw or 0.0))
    idle = min(idle_kw if idle_kw is not None else base[0] * peak / base[1], 0.95 * peak)
    table |= {"idle_kw": min(max(_up(idle, 3), 0.01), 100.0), "peak_kw": max(_up(peak, 3), 0.05)}
    needed = int(str(table.get("psu_redundancy", shipped.psu_redundancy)).split("+")[0])
    if shipped.psu_rated_kw and needed * shipped.psu_rated_kw < PSU_ROOM * table["peak_kw"]:
        rated = _up(PSU_ROOM * table["peak_kw"] / needed, 1)
        table["psu_rated_kw"] = rated if rated <= MOST_PSU_KW else 0.0  # larger ones are metered at the wall
    if shipped.fans is not None:
        room = 0.25 * (table["peak_kw"] - table["idle_kw"])
        table |= {"fans": {"kw": _down(room, 4)}} if shipped.fans.kw > room else {}
    if shipped.gpu is not None and gpus:
        _fit_gpus(table, shipped, gpus)


def _fit_gpus(table: dict[str, Any], shipped: NodeType, gpus: int) -> None:
    """Accelerators that draw no more than their node; resistances against power, so that temperatures stay."""
    own = shipped.gpu
    assert own is not None
    asked = float(table.get("gpu", {}).get("peak_kw", own.peak_kw))
    peak = min(asked, 0.85 * float(table["peak_kw"]) / gpus)
    idle = min(own.idle_kw * peak / own.peak_kw, 0.7 * float(table["idle_kw"]) / gpus, 0.5 * peak)
    if peak == own.peak_kw and idle == own.idle_kw:
        table.pop("gpu", None)
        return
    scale = own.peak_kw / peak
    table["gpu"] = {"idle_kw": _down(idle, 4), "peak_kw": _down(peak, 4)} | {
        key: _down(getattr(own, key) * scale, 2) for key in ("chip_k_per_kw", "air_k_per_kw") if getattr(own, key)
    }


def _up(value: float, digits: int) -> float:
    scale = float(10**digits)
    return round(math.ceil(value * scale - 1e-9) / scale, digits)


def _down(value: float, digits: int) -> float:
    scale = float(10**digits)
    return round(math.floor(value * scale + 1e-9) / scale, digits)
