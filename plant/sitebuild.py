"""Compiles the models of a site file into the arrays of a `Site`: expands ranges, sizes what the file leaves open."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from plant import chainchecks, sitechecks, units
from plant.chainbuild import build_chain
from plant.coolingbuild import cooling_plant, liquid_racks, region_weather
from plant.errors import SiteFileError
from plant.faultbuild import compile_faults
from plant.faultfile import load_faults
from plant.files import load_toml, placed
from plant.gpubuild import build_gpus, law_peak_kw, node_curves
from plant.networkbuild import compile_network
from plant.nodetypes import with_node_types
from plant.pue import design_pue, node_design_kw
from plant.ranges import expand
from plant.site import Flags, Floats, Ints, Site
from plant.sitefile import NodeType, SiteFile

EQUIPMENT_ABOVE_AIR_K = 20.0  # incidents.md B.1: coupling UA = P / 20 K, calibrated on the Opengate study
PLENUM_S_OF_FLOW = 60.0  # keeps the hall's air slower than a 15 s grid step [assumed]
WALL_DESIGN_K = 500.0  # walls of a hall lose design power / 500 K, about 1 W/m2K of envelope [assumed]


def read_site_file(path: str | Path) -> SiteFile:
    """Read a site file and check its parts against each other. Raises SiteFileError with every fault at once."""
    checks, folder = (*sitechecks.NAMES, *chainchecks.NAMES), Path(path).parent
    return load_toml(path, SiteFile, SiteFileError, checks, "sites", lambda raw: with_node_types(raw, folder))


def file_hash(file: SiteFile) -> str:
    """sha256 of the canonical JSON of a site file and of the fault file that it names: comments do not matter."""
    told = file.model_dump(mode="json") | {"fault_file": load_faults(file.faults.table).model_dump(mode="json")}
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def compile_site(file: SiteFile, where: str = "site") -> Site:
    """Compile a checked site file. Raises SiteFileError with every size that does not fit; `where` names the file.

    A fault file that cannot be used raises ConfigError.
    """
    parts: dict[str, Any] = {"name": file.name, "hash": file_hash(file), "design_util_frac": file.design_util_frac}
    parts["where"] = where
    for add in (
        region_weather, _racks, _gpus, liquid_racks, _halls, _cooling_units, _loops, cooling_plant, _power, _links,
        _regions, _faults,
    ):  # fmt: skip
        add(file, parts)
    parts["chain"] = build_chain(file, parts)
    faults = [fault for check in (*sitechecks.SIZES, *chainchecks.SIZES) for fault in check(file, parts)]
    if faults:
        raise SiteFileError(faults=placed(faults, Path(where).name))
    parts["other_kw_frac"] = _other(parts)
    for value in parts.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return Site(**parts)


def _floats(values: Iterable[float]) -> Floats:
    return np.ascontiguousarray(list(values), dtype=np.float64)


def _ints(values: Iterable[int]) -> Ints:
    return np.ascontiguousarray(list(values), dtype=np.int32)


def _racks(file: SiteFile, parts: dict[str, Any]) -> None:
    """Racks and nodes, in the order of the file's rack groups."""
    types = {node.id: node for node in file.node_type}
    halls = [name for name, _ in file.halls()]
    rack_rows: list[tuple[str, int, float, float, float, float, float]] = []
    node_rows: list[tuple[str, int, int, int, float]] = []
    type_row = {name: i for i, name in enumerate(types)}
    # components of one hall stand together, whatever the order in the file: sums over a hall are sums over a slice
    for group in sorted(file.rack, key=lambda group: halls.index(group.hall)):
        kind, hall, n = types[group.node_type], halls.index(group.hall), group.nodes_per_rack
        design_kw = n * node_design_kw(kind, file.design_util_frac)
        nodes = expand(group.nodes)
        offsets = np.linspace(-0.5, 0.5, n) * group.inlet_spread_k if n > 1 else np.zeros(1)
        for i, rack in enumerate(expand(group.ids)):
            row = len(rack_rows)
            rack_rows.append(
                (f"{group.hall}/{rack}", hall, design_kw, group.air_kj_per_k, n * kind.mass_kj_per_k,
                 design_kw / group.air_rise_k, group.recirc_frac)
            )  # fmt: skip
            node_rows += [
                (f"{group.hall}/{rack}/{node}", row, hall, type_row[kind.id], float(offset))
                for node, offset in zip(nodes[i * n : (i + 1) * n], offsets, strict=True)
            ]
    ids, hall_of, design, air, mass, flow, recirc = zip(*rack_rows, strict=True)
    parts |= {"rack_ids": ids, "rack_hall": _ints(hall_of), "rack_design_kw": _floats(design)}
    parts |= {"rack_air_kj_per_k": _floats(air), "rack_mass_kj_per_k": _floats(mass)}
    parts |= {"rack_flow_kw_per_k": _floats(flow), "rack_recirc_frac": _floats(recirc)}
    parts["rack_ua_kw_per_k"] = parts["rack_design_kw"] / EQUIPMENT_ABOVE_AIR_K
    _nodes(node_rows, list(types.values()), len(rack_rows), parts)


def _nodes(
    rows: list[tuple[str, int, int, int, float]], types: list[NodeType], racks: int, parts: dict[str, Any]
) -> None:
    """Node arrays from (id, rack, hall, type, inlet offset) rows."""
    ids, rack, hall, kind, offset = zip(*rows, strict=True)
    of = _ints(kind)
    parts |= {"node_ids": ids, "node_rack": _ints(rack), "node_hall": _ints(hall), "node_type": of}
    parts |= {"node_type_ids": tuple(t.id for t in types), "node_inlet_offset_k": _floats(offset)}
    parts["rack_start"] = np.searchsorted(parts["node_rack"], np.arange(racks + 1)).astype(np.int32)
    for key in ("idle_kw", "concave_frac", "stop_c", "mass_kj_per_k", "psu_rated_kw"):
        parts[f"node_{key}"] = _floats(getattr(t, key) for t in types)[of]
    parts["node_peak_kw"] = _floats(law_peak_kw(t) for t in types)[of]
    parts["node_curves"] = node_curves(types, of)
    for key in ("gpus", "cores"):
        parts[f"node_{key}"] = _ints(getattr(t, key) for t in types)[of]
    parts["psu_per_node"] = _ints(t.psus for t in types)[of]
    parts["psu_needed_per_node"] = _ints(int(t.psu_redundancy.split("+")[0]) for t in types)[of]


def _gpus(file: SiteFile, parts: dict[str, Any]) -> None:
    """Accelerators and fans."""
    parts["gpus"] = build_gpus(file, parts)


def _halls(file: SiteFile, parts: dict[str, Any]) -> None:
    """Halls, with plenum and wall sized from the racks when the file leaves them open."""
    halls = file.halls()
    n, regions = len(halls), [region.id for region in file.region]
    loops, ups = [loop.id for loop in file.loop], [ups.id for ups in file.ups]
    design = np.bincount(parts["rack_hall"], weights=parts["rack_design_kw"], minlength=n)
    flow = np.bincount(parts["rack_hall"], weights=parts["rack_flow_kw_per_k"], minlength=n)
    parts |= {"hall_ids": tuple(name for name, _ in halls), "hall_design_kw": _floats(design)}
    parts["hall_region"] = _ints(regions.index(name.split("/")[0]) for name, _ in halls)
    parts["hall_loop"] = _ints(loops.index(hall.loop) for _, hall in halls)
    parts["hall_ups"] = _ints(ups.index(hall.ups) for _, hall in halls)
    parts["hall_supply_c"] = _floats(hall.supply_c for _, hall in halls)
    plenum = [hall.plenum_kj_per_k for _, hall in halls]
    wall = [hall.wall_kw_per_k for _, hall in halls]
    parts["hall_plenum_kj_per_k"] = _floats(
        f * PLENUM_S_OF_FLOW if p is None else p for p, f in zip(plenum, flow, strict=True)
    )
    parts["hall_wall_kw_per_k"] = _floats(
        d / WALL_DESIGN_K if w is None else w for w, d in zip(wall, design, strict=True)
    )


def _cooling_units(file: SiteFile, parts: dict[str, Any]) -> None:
    """Cooling units; a group without a stated flow shares its hall's rack flow among its needed units."""
    need = np.bincount(parts["rack_hall"], weights=parts["rack_flow_kw_per_k"], minlength=len(parts["hall_ids"]))
    needed_units: dict[str, int] = {}
    stated: dict[str, float] = {}
    for group in file.cooling_unit:
        n = len(expand(group.ids)) - group.spare
        if group.flow_kw_per_k is None:
            needed_units[group.hall] = needed_units.get(group.hall, 0) + n
        else:
            stated[group.hall] = stated.get(group.hall, 0.0) + n * group.flow_kw_per_k
    rows: list[tuple[str, int, float, float, float]] = []
    for group in sorted(file.cooling_unit, key=lambda group: list(parts["hall_ids"]).index(group.hall)):
        hall = parts["hall_ids"].index(group.hall)
        flow = group.flow_kw_per_k
        if flow is None:
            flow = max(0.1, float(need[hall]) - stated.get(group.hall, 0.0)) / needed_units[group.hall]
        rows += [
            (f"{group.hall}/{unit}", hall, flow, group.effectiveness_frac, group.fan_kw) for unit in expand(group.ids)
        ]
    ids, hall_of, flows, effectiveness, fan = zip(*rows, strict=True)
    parts |= {"unit_ids": ids, "unit_hall": _ints(hall_of), "unit_flow_kw_per_k": _floats(flows)}
    parts |= {"unit_effectiveness_frac": _floats(effectiveness), "unit_fan_kw": _floats(fan)}


def _loops(file: SiteFile, parts: dict[str, Any]) -> None:
    """Loops and their chillers; the first `running` chillers of a loop are in service."""
    parts["loop_ids"] = tuple(loop.id for loop in file.loop)
    parts["loop_water_kj_per_k"] = _floats(units.water_kj_per_k(x.water_m3) + x.metal_kj_per_k for x in file.loop)
    parts["loop_supply_c"] = _floats(loop.supply_c for loop in file.loop)
    parts["loop_pump_kw"] = _floats(loop.pump_kw for loop in file.loop)
    each = [(i, loop, name, k) for i, loop in enumerate(file.loop) for k, name in enumerate(expand(loop.chillers.ids))]
    parts["chiller_ids"] = tuple(f"{loop.id}/{name}" for _, loop, name, _ in each)
    parts["chiller_loop"] = _ints(i for i, *_ in each)
    parts["chiller_capacity_kw"] = _floats(loop.chillers.capacity_kw for _, loop, *_ in each)
    parts["chiller_cop"] = _floats(loop.chillers.cop for _, loop, *_ in each)
    parts["chiller_cop_per_k"] = _floats(loop.chillers.cop_per_k for _, loop, *_ in each)
    parts["chiller_restart_s"] = _floats(units.minutes_s(loop.chillers.restart_min) for _, loop, *_ in each)
    standby: Flags = np.array([k >= loop.chillers.running for _, loop, _, k in each], dtype=np.bool_)
    parts["chiller_standby"] = standby


def _power(file: SiteFile, parts: dict[str, Any]) -> None:
    """UPS and feeds."""
    parts["ups_ids"] = tuple(ups.id for ups in file.ups)
    parts["ups_rated_kw"] = _floats(ups.module_kw * ups.modules for ups in file.ups)
    parts["ups_modules"] = _ints(ups.modules for ups in file.ups)
    parts["ups_needed"] = _ints(ups.needed for ups in file.ups)
    for key in ("loss0", "loss1", "loss2", "battery_kwh"):
        parts[f"ups_{key}"] = _floats(getattr(ups, key) for ups in file.ups)
    parts["feed_ids"] = tuple(feed.id for feed in file.feed)
    parts["feed_capacity_kw"] = _floats(feed.capacity_kw for feed in file.feed)
    supplies = [[feed.id in ups.feeds for feed in file.feed] for ups in file.ups]
    parts["ups_feed"] = np.array(supplies, dtype=np.bool_).reshape(len(file.ups), len(file.feed))


def _links(file: SiteFile, parts: dict[str, Any]) -> None:
    """Links between halls; parallel links add up."""
    halls = parts["hall_ids"]
    pairs = [(halls.index(link.between[0]), halls.index(link.between[1])) for link in file.link]
    matrix = np.zeros((len(halls), len(halls)))
    for (a, b), link in zip(pairs, file.link, strict=True):
        matrix[a, b] += units.gb_per_s(link.gbit_per_s)
        matrix[b, a] += units.gb_per_s(link.gbit_per_s)
    parts |= {"link_ids": tuple(link.id for link in file.link), "link_gb_per_s": matrix}
    parts["link_halls"] = np.array(pairs, dtype=np.int32).reshape(len(pairs), 2)
    parts["link_latency_ms"] = _floats(link.latency_ms for link in file.link)
    parts["link_each_gb_per_s"] = _floats(units.gb_per_s(link.gbit_per_s) for link in file.link)
    parts["network"] = compile_network(file.network, parts)


def _faults(file: SiteFile, parts: dict[str, Any]) -> None:
    """How nodes fail; links of a modelled fabric fail there."""
    table = load_faults(file.faults.table)
    without = ("link",) if file.network else ()
    parts["faults"] = compile_faults(file.faults, table, [node.gpus for node in file.node_type], without)


def _regions(file: SiteFile, parts: dict[str, Any]) -> None:
    """Regions as stated."""
    parts["region_ids"] = tuple(region.id for region in file.region)
    parts["region_carbon_kgco2_per_kwh"] = _floats(region.carbon_kgco2_per_kwh for region in file.region)
    parts["region_outdoor_c"] = _floats(region.outdoor_c for region in file.region)
    parts["region_pue"] = _floats(np.nan if region.pue is None else region.pue for region in file.region)


def _other(parts: dict[str, Any]) -> Floats:
    """Load outside the chain as a fraction of IT power, (G,), so that each stated PUE is met at the design point."""
    stated = parts["region_pue"]
    return _floats(0.0 if np.isnan(pue) else pue - design_pue(parts, i).pue for i, pue in enumerate(stated))
