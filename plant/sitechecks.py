"""Checks between the parts of a site file, one named function each; every one returns the faults it finds.

The paths in `where` are those of the file. `NAMES` need only the file; `SIZES` also need the compiled arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from plant import coolingchecks
from plant.errors import Fault
from plant.networkchecks import check_network
from plant.nodechecks import check_node_types
from plant.pue import design_pue
from plant.ranges import collapse, expand
from plant.references import unknown
from plant.sitefile import Hall, SiteFile
from plant.units import shown
from plant.water import DESIGN_RANGE_K


def placed_halls(file: SiteFile) -> Iterator[tuple[str, str, Hall]]:
    """(path in the file, hall id, hall) of every hall."""
    for i, region in enumerate(file.region):
        for j, hall in enumerate(region.hall):
            yield f"region[{i}].hall[{j}]", f"{region.id}/{hall.id}", hall
    for j, hall in enumerate(file.hall):
        yield f"hall[{j}]", f"{hall.region}/{hall.id}", hall


def check_duplicate_ids(file: SiteFile) -> list[Fault]:
    """No two parts of one kind share an id; no two racks, nodes or cooling units of one hall share a name."""
    parts: list[tuple[str, str]] = [(f"region[{i}].id", region.id) for i, region in enumerate(file.region)]
    faults = _twice(parts, "region")
    faults += _twice([(f"{where}.id", name) for where, name, _ in placed_halls(file)], "hall")
    for kind in ("node_type", "loop", "ups", "feed", "link"):
        faults += _twice([(f"{kind}[{i}].id", part.id) for i, part in enumerate(getattr(file, kind))], kind)
    for kind, key in (("rack", "ids"), ("rack", "nodes"), ("cooling_unit", "ids")):
        faults += _overlaps(file, kind, key)
    return faults


def _twice(parts: Iterable[tuple[str, str]], kind: str) -> list[Fault]:
    """A fault for every id that was already used."""
    first: dict[str, str] = {}
    faults = []
    for where, name in parts:
        if name in first:
            faults.append(Fault(where, f"{kind} '{name}' is already at {first[name]}", "unique ids", "rename one"))
        first.setdefault(name, where)
    return faults


def _overlaps(file: SiteFile, kind: str, key: str) -> list[Fault]:
    """A fault for every group that names something another group of its hall already names."""
    seen: dict[tuple[str, str], int] = {}
    faults = []
    for i, group in enumerate(getattr(file, kind)):
        names = expand(getattr(group, key))
        shared = [name for name in names if (group.hall, name) in seen]
        if shared:
            other = seen[group.hall, shared[0]]
            found = f"{collapse(shared)} already stands in {kind}[{other}] of {group.hall}"
            faults.append(Fault(f"{kind}[{i}].{key}", found, "names that occur once in a hall", "shift one range"))
        for name in names:
            seen.setdefault((group.hall, name), i)
    return faults


def check_references(file: SiteFile) -> list[Fault]:
    """Everything that is named exists."""
    regions = [region.id for region in file.region]
    known = {kind: [part.id for part in getattr(file, kind)] for kind in ("node_type", "loop", "ups", "feed")}
    known |= {"region": regions, "hall": [name for _, name, _ in placed_halls(file)]}
    wanted: list[tuple[str, str, str]] = []
    for where, _, hall in placed_halls(file):
        wanted += [(f"{where}.loop", "loop", hall.loop), (f"{where}.ups", "ups", hall.ups)]
    for i, rack in enumerate(file.rack):
        wanted += [(f"rack[{i}].hall", "hall", rack.hall), (f"rack[{i}].node_type", "node_type", rack.node_type)]
    wanted += [(f"cooling_unit[{i}].hall", "hall", unit.hall) for i, unit in enumerate(file.cooling_unit)]
    wanted += [(f"ups[{i}].feeds[{j}]", "feed", x) for i, ups in enumerate(file.ups) for j, x in enumerate(ups.feeds)]
    wanted += [(f"link[{i}].between[{j}]", "hall", x) for i, y in enumerate(file.link) for j, x in enumerate(y.between)]
    for kind in ("loop", "ups", "feed", "link"):
        parts = enumerate(getattr(file, kind))
        wanted += [(f"{kind}[{i}].id", "region", part.id.split("/")[0]) for i, part in parts]
    return [fault for where, kind, name in wanted for fault in unknown(where, kind, name, known[kind])]


def check_regions_of_halls(file: SiteFile) -> list[Fault]:
    """A hall inside a region does not name one; a hall outside names one that exists."""
    regions = [region.id for region in file.region]
    faults = []
    for where, _, hall in placed_halls(file):
        if where.startswith("region") and hall.region is not None:
            found = f"hall '{hall.id}' already stands inside a region"
            faults.append(
                Fault(f"{where}.region", found, cure="remove the key, or write the hall as a top-level [[hall]]")
            )
        if where.startswith("hall") and hall.region not in regions:
            found = "missing" if hall.region is None else f"no region '{hall.region}'"
            faults.append(Fault(f"{where}.region", found, f"one of {' '.join(regions)}", "name the hall's region"))
    return faults


def check_counts(file: SiteFile) -> list[Fault]:
    """Ranges name as many things as the numbers beside them say."""
    faults = []
    for i, rack in enumerate(file.rack):
        racks, nodes = len(expand(rack.ids)), len(expand(rack.nodes))
        if nodes != racks * rack.nodes_per_rack:
            found = f"'{rack.nodes}' names {nodes} nodes for {racks} racks of {rack.nodes_per_rack}"
            faults.append(
                Fault(f"rack[{i}].nodes", found, f"{racks * rack.nodes_per_rack} nodes", "correct one of the three")
            )
    for i, loop in enumerate(file.loop):
        group = loop.chillers
        named = len(expand(group.ids))
        if named != group.running + group.standby:
            found = f"'{group.ids}' names {named} chillers for {group.running} running + {group.standby} standby"
            faults.append(Fault(f"loop[{i}].chillers", found, f"{group.running + group.standby} names", "correct one"))
    return faults


def check_redundancy(file: SiteFile) -> list[Fault]:
    """No redundancy that contradicts the number of parts."""
    faults = []
    for i, ups in enumerate(file.ups):
        if ups.needed > ups.modules:
            found = f"{ups.needed} modules needed, {ups.modules} installed"
            faults.append(Fault(f"ups[{i}].needed", found, f"1..{ups.modules}", "install more modules or need fewer"))
    for i, unit in enumerate(file.cooling_unit):
        units = len(expand(unit.ids))
        if unit.spare >= units:
            found = f"{unit.spare} spare of {units} units"
            faults.append(Fault(f"cooling_unit[{i}].spare", found, f"0..{units - 1}", "keep at least one needed unit"))
    return faults


def check_orphans(file: SiteFile) -> list[Fault]:
    """Nothing stands alone: every loop, UPS, feed and node type is used, every hall has racks and cooling."""
    if check_references(file):
        return []  # a misspelt name also leaves an orphan; one line for one mistake
    halls = list(placed_halls(file))
    used = {"loop": {hall.loop for *_, hall in halls}, "ups": {hall.ups for *_, hall in halls}}
    sides = {source for pdu in file.pdu for source in (pdu.a, pdu.b) if source is not None}
    used["ups"] |= sides
    used["loop"] |= {cdu.loop for cdu in file.cdu}
    used |= {
        "feed": {feed for ups in file.ups for feed in ups.feeds}
        | sides
        | {feed.behind for feed in file.feed if feed.behind},
        "node_type": {rack.node_type for rack in file.rack},
    }
    faults = [
        Fault(f"{kind}[{i}]", f"{kind} '{part.id}' is used by nothing", cure="remove it, or name it where it belongs")
        for kind, names in used.items()
        for i, part in enumerate(getattr(file, kind))
        if part.id not in names
    ]
    for where, name, _ in halls:
        for key in ("rack", "cooling_unit"):
            if not any(group.hall == name for group in getattr(file, key)):
                faults.append(Fault(where, f"hall '{name}' has no {key}", cure=f"add a [[{key}]] with hall = '{name}'"))
    regions = {name.split("/")[0] for _, name, _ in halls}
    faults += [
        Fault(f"region[{i}]", f"region '{region.id}' has no hall", cure="add a [[region.hall]] below it")
        for i, region in enumerate(file.region)
        if region.id not in regions
    ]
    return faults


def check_links(file: SiteFile) -> list[Fault]:
    """A link joins two different halls."""
    return [
        Fault(f"link[{i}].between", f"joins '{link.between[0]}' with itself", "two different halls")
        for i, link in enumerate(file.link)
        if link.between[0] == link.between[1]
    ]


Parts = Mapping[str, Any]


def check_chiller_capacity(file: SiteFile, parts: Parts) -> list[Fault]:
    """The chillers in service carry the heat of the design point."""
    faults = []
    for i, loop in enumerate(file.loop):
        heat_kw = float(parts["cooling"].loop_flow_kw_per_k[i]) * DESIGN_RANGE_K
        have_kw = loop.chillers.running * loop.chillers.capacity_kw
        if have_kw < heat_kw:
            found = f"{loop.chillers.running} running x {shown(loop.chillers.capacity_kw)} kW = {shown(have_kw)} kW"
            cure = "run more chillers, choose larger ones, or place fewer racks"
            faults.append(Fault(f"loop[{i}].chillers", found, f"at least the design heat of {heat_kw:.0f} kW", cure))
    return faults


def check_ups_capacity(file: SiteFile, parts: Parts) -> list[Fault]:
    """The needed modules of a UPS carry the design load."""
    faults = []
    for i, ups in enumerate(file.ups):
        load_kw = float(parts["hall_design_kw"][parts["hall_ups"] == i].sum())
        have_kw = ups.needed * ups.module_kw
        if have_kw < load_kw:
            found = f"{ups.needed} needed x {shown(ups.module_kw)} kW = {shown(have_kw)} kW"
            faults.append(Fault(f"ups[{i}]", found, f"at least the design load of {load_kw:.0f} kW", "add modules"))
    return faults


def check_cooling_flow(file: SiteFile, parts: Parts) -> list[Fault]:
    """The needed cooling units of a hall move as much air as its racks draw."""
    faults = []
    flow = parts["rack_flow_kw_per_k"] * (1.0 - parts["rack_recirc_frac"])
    for h, (where, name, _) in enumerate(placed_halls(file)):
        need = float(flow[parts["rack_hall"] == h].sum())
        groups = [group for group in file.cooling_unit if group.hall == name]
        if any(group.flow_kw_per_k is None for group in groups):
            continue  # a group without a stated flow is sized to fit
        have = sum((len(expand(group.ids)) - group.spare) * (group.flow_kw_per_k or 0.0) for group in groups)
        if have < need:
            found = f"needed cooling units of '{name}' move {have:.1f} kW/K"
            cure = "raise flow_kw_per_k, add units, or leave flow_kw_per_k out to have it sized"
            faults.append(Fault(where, found, f"at least the {need:.1f} kW/K its racks draw", cure))
    return faults


def check_coil_reach(file: SiteFile, parts: Parts) -> list[Fault]:
    """The coils can bring the air to its set-point with the water at its own."""
    faults = []
    for h, (where, name, hall) in enumerate(placed_halls(file)):
        racks, units = parts["rack_hall"] == h, parts["unit_hall"] == h
        flow = float((parts["rack_flow_kw_per_k"] * (1.0 - parts["rack_recirc_frac"]))[racks].sum())
        liquid_kw = float((parts["rack_design_kw"] * parts["cooling"].rack_liquid_frac)[racks].sum())
        hot_c = hall.supply_c + (float(parts["hall_design_kw"][h]) - liquid_kw) / flow
        if parts["cooling"].unit_dx[units].any():
            continue  # compressors need no cold water
        effectiveness = float(np.mean(parts["unit_effectiveness_frac"][units]))
        water_c = float(parts["loop_supply_c"][parts["hall_loop"][h]])
        best_c = hot_c - effectiveness * (hot_c - water_c)
        if best_c > hall.supply_c:
            found = f"coils of '{name}' give {best_c:.1f} C at best with water of {shown(water_c)} C"
            cure = "lower the loop's supply_c, raise effectiveness_frac or the hall's supply_c"
            faults.append(Fault(f"{where}.supply_c", found, f"at most {shown(hall.supply_c)} C", cure))
    return faults


def check_plenum(file: SiteFile, parts: Parts) -> list[Fault]:
    """The hot-side air holds at least a minute of flow; a smaller one would be stiffer than the grid step."""
    flow = np.bincount(parts["rack_hall"], weights=parts["rack_flow_kw_per_k"], minlength=len(parts["hall_ids"]))
    return [
        Fault(f"{where}.plenum_kj_per_k", f"is {shown(hall.plenum_kj_per_k)} kJ/K",
              f"at least {60.0 * flow[h]:.0f} kJ/K", "air and structure together; leave it out to have it sized")
        for h, (where, _, hall) in enumerate(placed_halls(file))
        if hall.plenum_kj_per_k is not None and hall.plenum_kj_per_k < 60.0 * flow[h]
    ]  # fmt: skip


def check_pue(file: SiteFile, parts: Parts) -> list[Fault]:
    """A stated PUE leaves room for UPS, fans, pumps and chillers."""
    faults = []
    for i, region in enumerate(file.region):
        chain = design_pue(parts, i).pue
        if region.pue is not None and region.pue < chain:
            found = f"states {region.pue:.3f}, but UPS, fans, pumps and chillers alone give {chain:.3f}"
            cure = "raise pue, or lower fan_kw, pump_kw or UPS losses, or raise cop"
            faults.append(Fault(f"region[{i}].pue", found, f"at least {chain:.3f}", cure))
    return faults


NAMES: tuple[Callable[[SiteFile], list[Fault]], ...] = (
    check_duplicate_ids,
    check_references,
    check_regions_of_halls,
    check_counts,
    check_redundancy,
    check_orphans,
    check_links,
    check_network,
    check_node_types,
    *coolingchecks.NAMES,
)
SIZES: tuple[Callable[[SiteFile, Parts], list[Fault]], ...] = (
    check_chiller_capacity,
    check_ups_capacity,
    check_cooling_flow,
    check_coil_reach,
    check_plenum,
    check_pue,
    *coolingchecks.SIZES,
)
