"""`foretwin site explain SITE [COMPONENT]`: what the twin holds a component to be, what serves it, what hangs on it."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from plant import wiring
from plant.errors import SiteFileError
from plant.references import did_you_mean
from plant.site import KINDS, Site, load_site
from plant.units import WATER_KG_PER_M3, WATER_KJ_PER_KG_K
from verbs import fault_explain

DOCS = Path(__file__).resolve().parent.parent / "docs"
PREFIX = {"cooling_unit": "unit"}
EQUATIONS = {
    "region": "weather", "hall": "hall-air", "rack": "racks", "node": "power-of-a-node",
    "cooling_unit": "cooling-units", "loop": "water-loops", "chiller": "chillers", "pump": "pumps",
    "cdu": "coolant-units", "ups": "ups", "feed": "feeds-and-generators", "psu": "power-supplies",
    "switch": "network", "link": "network", "pdu": "breakers", "generator": "feeds-and-generators",
}  # fmt: skip
"""The heading of docs/twin.md under which the equations of each kind stand."""
GPU_NOT_SHOWN = ("node", "rack", "kind", "offset_k", "node_idle_kw", "node_peak_kw")  # indices, and what the node shows
UNITS = (
    ("_kgco2_per_kwh", "kgCO2/kWh"), ("_kj_per_k", "kJ/K"), ("_kw_per_k", "kW/K"), ("_gb_per_s", "GB/s"),
    ("_k_per_kw", "K/kW"), ("_per_k", "1/K"), ("_per_s", "1/s"), ("_frac", "fraction"), ("_prob", "probability"),
    ("_kwh", "kWh"), ("_kw", "kW"), ("_ms", "ms"), ("_s", "s"), ("_k", "K"), ("_c", "C"),
)  # fmt: skip
RISE_K = 10.0  # warming of the water that ends a ride-through (notes on incidents, B.1)


def run(file: str, component: str = "") -> dict[str, Any]:
    """Return the `results`: of one component, or of every kind; raises SiteFileError for one that is not there."""
    site = load_site(file)
    head = {"ok": True, "site": site.name, "equations": "docs/twin.md"}
    if not component:
        return head | _whole(site)
    kind = site.kind_of(component)
    if kind is None:
        known = tuple(name for one in KINDS for name in site.components(one))
        raise SiteFileError(f"site {site.name}", f"no component '{component}'", cure=did_you_mean(component, known))
    return head | {"equations": equations_of(kind)} | _one(site, kind, component)


def equations_of(kind: str) -> str:
    """Return the page and heading that say how components of a kind are computed."""
    return f"docs/twin.md#{EQUATIONS[kind]}"


def _whole(site: Site) -> dict[str, Any]:
    """How many of each kind there are, and the range of each of their parameters."""
    kinds = [kind for kind in KINDS if site.components(kind)]
    rows = [
        {"kind": kind, "name": name, "unit": unit_of(name), "low": _plain(values.min()), "high": _plain(values.max()),
         "meaning": meaning}
        for kind in kinds
        for name, values, meaning in _arrays(site, kind)
    ]  # fmt: skip
    ids = {kind: site.components(kind) for kind in kinds}
    return {
        "faults": fault_explain.of_site(site),
        "items": [
            {"kind": kind, "count": len(v), "first": v[0], "last": v[-1], "equations": f"#{EQUATIONS[kind]}"}
            for kind, v in ids.items()
        ],
        "parameters": rows,
    }


def _one(site: Site, kind: str, component: str) -> dict[str, Any]:
    """What serves a component, what hangs on it, and its parameters."""
    row = site.index(kind, component)
    reach = wiring.reach(site, kind, row)
    return {
        "component": component,
        "kind": kind,
        "served_by": [name for _, name in wiring.served_by(site, kind, row)],
        "serves": [name for _, name in wiring.serves(site, kind, row)],
        "hangs_on_it": {to: len(rows) for to, rows in reach.items()},
        "design_kw_on_it": _design_kw(site, kind, row, reach),
        **_ride_through(site, kind, row, reach),
        **({"faults": fault_explain.of_node(site, row)} if kind == "node" else {}),
        "items": [
            {"name": name, "value": _plain(values[row]), "unit": unit_of(name), "meaning": meaning}
            for name, values, meaning in _arrays(site, kind)
        ]
        + (_gpu_rows(site, row) if kind == "node" else []),
    }


def _design_kw(site: Site, kind: str, row: int, reach: dict[str, Any]) -> float:
    """IT power at the design point of the racks that hang on a component [kW]."""
    racks = {row} if kind == "rack" else set(reach.get("rack", ()))
    return float(sum(site.rack_design_kw[r] for r in racks))


def _ride_through(site: Site, kind: str, row: int, reach: dict[str, Any]) -> dict[str, Any]:
    """Minutes that a loop's water carries its halls at the design point: V rho c dT / P (closed form)."""
    if kind != "loop" or not _design_kw(site, kind, row, reach):
        return {}
    seconds = float(site.loop_water_kj_per_k[row]) * RISE_K / _design_kw(site, kind, row, reach)
    water_m3 = float(site.loop_water_kj_per_k[row]) / (WATER_KG_PER_M3 * WATER_KJ_PER_KG_K)
    return {"ride_through_min": seconds / 60.0, "ride_through_rise_k": RISE_K, "water_and_metal_as_m3": water_m3}


def _arrays(site: Site, kind: str) -> list[tuple[str, Any, str]]:
    """Return (name, values, meaning) of every number that the site holds for each component of a kind."""
    count, prefix, words = len(site.components(kind)), PREFIX.get(kind, kind), meanings()
    parts = (getattr(site, f.name) for f in fields(site) if f.name != "gpus")  # those have columns of their own
    owners = [site, *(part for part in parts if is_dataclass(part))]
    found = []
    for owner in owners:
        for f in fields(owner):  # type: ignore[arg-type]
            values = getattr(owner, f.name)
            named = f.name.startswith(f"{prefix}_") or (f.name == "other_kw_frac" and kind == "region")
            if named and f.name != "link_each_gb_per_s" and isinstance(values, np.ndarray) and values.shape == (count,):
                found.append((f.name, values, words.get(type(owner).__name__, {}).get(f.name, "")))
    return found + _capacities(site, kind)


def _gpu_rows(site: Site, node: int) -> list[dict[str, Any]]:
    """Return the numbers of a node's accelerators and fans; none where it has no such tables."""
    gpus, words = site.gpus, meanings().get("Gpus", {})
    at = np.flatnonzero(gpus.node == node)
    columns = {f.name: getattr(gpus, f.name) for f in fields(gpus) if f.name not in GPU_NOT_SHOWN}
    return [
        {"name": f"gpus.{name}", "value": _plain(values[at[0]]), "unit": unit_of(name), "meaning": words.get(name, "")}
        for name, values in columns.items()
        if len(at) and values.shape == gpus.node.shape
    ]


def _capacities(site: Site, kind: str) -> list[tuple[str, Any, str]]:
    """Return what links carry, and what the links of each switch carry together: the fabrics hold them by their own."""
    net = site.network
    if kind == "link" and site.components("link"):
        each = np.concatenate([site.link_each_gb_per_s, net.uplink_gb_per_s])
        return [("link_each_gb_per_s", each, "what the link carries in each direction")]
    if kind == "switch" and net.present:
        up = np.bincount(net.uplink_leaf, net.uplink_gb_per_s, len(net.leaf_ids))
        down = np.bincount(net.uplink_spine, net.uplink_gb_per_s, len(net.spine_ids))
        both = np.concatenate([up, down])
        return [("switch_gb_per_s", both, "what its links between leaf and spine carry together")]
    return []


def unit_of(name: str) -> str:
    """Return the unit that a name carries, or an empty text."""
    return next((unit for suffix, unit in UNITS if name.endswith(suffix)), "")


@lru_cache(maxsize=1)
def meanings() -> dict[str, dict[str, str]]:
    """Return what each name means by the class that holds it, from the page on words: its tables name their class."""
    if not (DOCS / "nomenclature.md").is_file():
        return {}
    parts = re.split(r"^## ", (DOCS / "nomenclature.md").read_text(encoding="utf-8"), flags=re.M)
    found = [(re.search(r"`[a-z.]+\.([A-Z]\w+)`", part.split("\n", 1)[0]), part) for part in parts]
    row = re.compile(r"^\| `(\w+)` \| [^|]+ \| (.*) \|$", flags=re.M)
    return {owner[1]: dict(row.findall(part)) for owner, part in found if owner}


def _plain(value: Any) -> Any:
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not np.isfinite(number) else number
