"""A first site file from a list of nodes: racks and node types as told, cooling and power sized to carry them.

A list of nodes says nothing of air, water and power supply. What is drafted is the plainest site that passes
`site check`: one chilled-water loop, one UPS and N + 1 of everything for each hall, sized by the twin's own rules.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from plant.errors import ConfigError, Fault, SiteFileError
from plant.nodekinds import Kind, TypeRule, kinds_of, notes_of
from plant.nodelist import NodeFound, NodeList, Note
from plant.nodetypes import with_node_types
from plant.pue import design_pue
from plant.rackfold import Finder, Placed, RackGroup, find_racks, rack_groups, rack_name
from plant.rewording import reword
from plant.site import Site
from plant.sitefile import SiteFile
from plant.water import DESIGN_RANGE_K

OUTDOOR_C = 15.0
CARBON_KGCO2_PER_KWH = 0.4
UNIT_KW, CHILLER_KW, MODULE_KW = 90.0, 400.0, 300.0  # size of one cooling unit, chiller, UPS module [assumed]
ROOM = 1.15  # of chillers and UPS modules over the design load [assumed]
BATTERY_H = 10.0 / 60.0  # at design load [assumed]
LARGEST_KW = 1e5  # of a hall, while its design power is not yet known
WATER_M3_PER_KW = 0.011  # buffer and pipes, as in the shipped halls [assumed]


@dataclass(frozen=True)
class Cooling:
    """How well a site cools: fan and pump power over design IT power, COP at 25 C and its fall, UPS losses."""

    name: str
    fan_frac: float
    pump_frac: float
    cop: float
    cop_per_k: float
    ups_loss: tuple[float, float, float]


COOLING = (
    Cooling("chilled water", 0.06, 0.02, 4.5, 0.08, (0.0133, 0.0064, 0.0108)),
    Cooling("efficient chilled water", 0.035, 0.012, 7.0, 0.12, (0.0133, 0.0064, 0.0108)),
    Cooling("mostly free cooling", 0.02, 0.006, 16.0, 0.4, (0.008, 0.005, 0.008)),
    Cooling("free cooling", 0.01, 0.003, 40.0, 1.0, (0.004, 0.004, 0.005)),
)
"""From the usual to the best; a stated PUE takes the first whose chain stays below it. All [assumed]."""


@dataclass(frozen=True)
class Wish:
    """What the person who imports says beside the list; empty and None: nothing."""

    name: str
    region: str = "site"
    rack_from: str = ""
    hall_from: str = ""
    nodes_per_rack: int = 0
    pue: float | None = None
    types: tuple[TypeRule, ...] = ()


@dataclass(frozen=True)
class Draft:
    """The content of a site file, the site it makes, and what was assumed on the way."""

    raw: dict[str, Any]
    site: Site
    kinds: tuple[Kind, ...]
    notes: tuple[Note, ...]


def draft(found: NodeList, wish: Wish) -> Draft:
    """Make a site of a list. Raises ConfigError (list, wishes) or SiteFileError (sizes out of bounds), all at once."""
    notes = list(found.notes)
    kinds, of = kinds_of(found.nodes, wish.types)
    notes += notes_of(kinds, of)
    placed, said = _places(found.nodes, of, wish)
    groups, invented = rack_groups(placed, {kind.id: kind.peak_kw for kind in kinds}, wish.nodes_per_rack)
    notes += [*said, *invented]
    raw = _frame(groups, kinds, wish)
    raw, site, cooling = _sized(raw, wish)
    notes += _plant_notes(site, cooling, wish)
    return Draft(raw, site, tuple(kinds), tuple(notes))


def _places(nodes: Sequence[NodeFound], of: dict[str, str], wish: Wish) -> tuple[list[Placed], list[Note]]:
    """Each node with hall and rack, and what was assumed about both."""
    racks, notes = find_racks(nodes, wish.rack_from)
    halls = Finder.parse(wish.hall_from, "--hall-from") if wish.hall_from else Finder()
    placed = []
    without = []
    for node in nodes:
        hall = _id(halls.of(node) if wish.hall_from else node.hall) or "hall"
        rack = rack_name(racks.of(node) if racks.pattern else node.rack)
        if not rack:
            without.append(node.name)
        region = wish.region if not node.region else _id(node.region)
        placed.append(Placed(node.name, f"{region}/{hall}", rack, of[node.name]))
    if wish.rack_from and len(without) == len(nodes):
        found = f"'{wish.rack_from}' names a rack for none of {len(nodes)} nodes, such as {_example(nodes[0], racks)}"
        raise ConfigError("--rack-from", found, "a pattern that fits", "for example 'feature:rack(\\d+)'")
    if wish.hall_from and not any(halls.of(node) for node in nodes):
        found = f"'{wish.hall_from}' names a hall for none of {len(nodes)} nodes, such as {_example(nodes[0], halls)}"
        raise ConfigError("--hall-from", found, "a pattern that fits", "for example 'name:^([a-z]+)'")
    if 0 < len(without) < len(nodes):
        notes.append(
            Note("racks", f"{len(without)} nodes in none", "the rest stands in racks; these get some of theirs")
        )
    if not any(node.hall for node in nodes) and not wish.hall_from:
        notes.append(Note("hall", "one, called hall", "the list names none; --hall-from reads it from name or feature"))
    return placed, notes


def _example(node: NodeFound, finder: Finder) -> str:
    return f"{node.name} with features {','.join(node.features) or 'none'}" if finder.source == "feature" else node.name


def _id(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")


def _frame(groups: Sequence[RackGroup], kinds: Sequence[Kind], wish: Wish) -> dict[str, Any]:
    """The site file with racks and node types, its plant not yet sized."""
    halls = list(dict.fromkeys(group.hall for group in groups))
    regions = list(dict.fromkeys(hall.split("/")[0] for hall in halls))
    stated = {} if wish.pue is None else {"pue": wish.pue}
    return {
        "name": wish.name,
        "region": [
            {
                "id": region, "carbon_kgco2_per_kwh": CARBON_KGCO2_PER_KWH, "outdoor_c": OUTDOOR_C, **stated,
                "hall": [
                    {"id": hall.split("/")[1], "loop": f"{hall}/loop", "ups": f"{hall}/ups"}
                    for hall in halls if hall.split("/")[0] == region
                ],
            }
            for region in regions
        ],
        "node_type": [dict(kind.table) for kind in kinds],
        "rack": [
            {"hall": g.hall, "ids": g.ids, "nodes": g.nodes, "nodes_per_rack": g.nodes_per_rack, "node_type": g.kind}
            for g in groups
        ],
    }  # fmt: skip


def _sized(raw: dict[str, Any], wish: Wish) -> tuple[dict[str, Any], Site, Cooling]:
    """The file with its plant, for the first way of cooling whose chain the stated PUE allows; and its site."""
    halls = [f"{region['id']}/{hall['id']}" for region in raw["region"] for hall in region["hall"]]
    bare = {**raw, "region": [{k: v for k, v in region.items() if k != "pue"} for region in raw["region"]]}
    large = dict.fromkeys(halls, LARGEST_KW)
    first = _compiled({**bare, **_plant(bare, halls, large, large, COOLING[0])})
    design = dict(zip(first.hall_ids, first.hall_design_kw.tolist(), strict=True))
    best = math.inf
    for cooling in COOLING:
        open_ended = _compiled({**bare, **_plant(bare, halls, design, large, cooling)})
        heat_kw = (open_ended.cooling.loop_flow_kw_per_k * DESIGN_RANGE_K).tolist()
        heat = {loop.rpartition("/")[0]: kw for loop, kw in zip(open_ended.loop_ids, heat_kw, strict=True)}
        plant = _plant(bare, halls, design, heat, cooling)
        site = _compiled({**bare, **plant})
        chain = max(design_pue(vars(site), g).pue for g in range(len(site.region_ids)))
        best = min(best, chain)
        if wish.pue is None or chain <= wish.pue:
            whole = {**raw, **plant}
            return whole, _compiled(whole), cooling
    raise ConfigError("--pue", f"{wish.pue:g}", f"at least {best:.3f}, what an air-cooled site can reach here")


def _plant(
    raw: dict[str, Any], halls: Sequence[str], design: dict[str, float], heat: dict[str, float], cooling: Cooling
) -> dict[str, Any]:
    """Cooling units, loops, UPS and feeds; design and heat [kW] by hall."""
    regions = [region["id"] for region in raw["region"]]
    whole = {region: sum(kw for hall, kw in design.items() if hall.split("/")[0] == region) for region in regions}
    return {
        "cooling_unit": [_units(hall, design[hall], cooling) for hall in halls],
        "loop": [_loop(hall, design[hall], heat[hall], cooling) for hall in halls],
        "ups": [_ups(hall, design[hall], cooling) for hall in halls],
        "feed": [
            {"id": f"{region}/feed-{side}", "capacity_kw": min(_nice(2.0 * kw), 1e6)}
            for region, kw in whole.items()
            for side in "ab"
        ],
    }


def _units(hall: str, design_kw: float, cooling: Cooling) -> dict[str, Any]:
    needed = max(math.ceil(design_kw / UNIT_KW), 1)
    return {
        "hall": hall,
        "ids": _range("crah", needed + 1),
        "spare": 1,
        "fan_kw": min(_nice(cooling.fan_frac * design_kw / needed), 200.0),
    }


def _loop(hall: str, design_kw: float, heat_kw: float, cooling: Cooling) -> dict[str, Any]:
    running = min(max(math.ceil(ROOM * heat_kw / CHILLER_KW), 1), 50)
    water_m3 = min(max(_nice(WATER_M3_PER_KW * design_kw), 0.05), 5000.0)
    return {
        "id": f"{hall}/loop",
        "water_m3": water_m3,
        "metal_kj_per_k": _nice(500.0 * water_m3),
        "supply_c": 12.0,
        "pump_kw": min(_nice(cooling.pump_frac * design_kw), 2000.0),
        "chillers": {
            "ids": _range("ch", running + 1),
            "running": running,
            "standby": 1,
            "capacity_kw": max(_nice(ROOM * heat_kw / running), 1.0),
            "cop": cooling.cop,
            "cop_per_k": cooling.cop_per_k,
        },
    }


def _ups(hall: str, design_kw: float, cooling: Cooling) -> dict[str, Any]:
    needed = min(max(math.ceil(ROOM * design_kw / MODULE_KW), 1), 99)
    loss = dict(zip(("loss0", "loss1", "loss2"), cooling.ups_loss, strict=True))
    region = hall.split("/")[0]
    return {
        "id": f"{hall}/ups",
        "module_kw": max(_nice(ROOM * design_kw / needed), 1.0),
        "modules": needed + 1,
        "needed": needed,
        **loss,
        "battery_kwh": _nice(BATTERY_H * design_kw),
        "feeds": [f"{region}/feed-a", f"{region}/feed-b"],
    }


def _nice(value: float) -> float:
    """The next larger number of two digits."""
    if value <= 0.0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round(math.ceil(value / step - 1e-9) * step, 6)


def _range(stem: str, n: int) -> str:
    width = len(str(n))
    return f"{stem}[{1:0{width}d}-{n:0{width}d}]"


def _compiled(raw: dict[str, Any]) -> Site:
    """The site that a raw file makes. Raises SiteFileError with every fault."""
    from pathlib import Path

    from plant import chainchecks, sitechecks
    from plant.sitebuild import compile_site

    whole = with_node_types(raw, Path())
    try:
        file = SiteFile.model_validate(whole)
    except ValidationError as error:
        raise SiteFileError(faults=_of_draft(reword(error, SiteFile, whole))) from None
    faults = [fault for check in (*sitechecks.NAMES, *chainchecks.NAMES) for fault in check(file)]
    if faults:
        raise SiteFileError(faults=_of_draft(faults))
    return compile_site(file, "the draft")


def _of_draft(faults: Sequence[Fault]) -> list[Fault]:
    return [Fault(f"the draft: {f.where}", f.found, f.allowed, f.cure) for f in faults]


def _plant_notes(site: Site, cooling: Cooling, wish: Wish) -> list[Note]:
    total = float(site.hall_design_kw.sum())
    pue = max(design_pue(vars(site), g).pue for g in range(len(site.region_ids)))
    stated = "as stated" if wish.pue is not None else "of the modelled chain; state yours with --pue"
    return [
        Note("power", f"{total:.0f} kW of IT at design", "node types at 80 % utilisation"),
        Note(
            "cooling", cooling.name, f"one loop a hall, N + 1 units and chillers of {UNIT_KW:g} and {CHILLER_KW:g} kW"
        ),
        Note("pue", f"{wish.pue or pue:.2f}", stated),
        Note("ups", f"{BATTERY_H * 60:.0f} min of battery", "one UPS a hall, N + 1 modules, two feeds"),
        Note("region", f"{OUTDOOR_C:g} C, {CARBON_KGCO2_PER_KWH:g} kgCO2/kWh", "mean outdoor air and grid carbon"),
    ]
