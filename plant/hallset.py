"""One set of assumed constants for all halls that lose their cooling, and the rules that build a site file from it.

A record publishes how many chillers a hall had, hardly ever how much water; what is not public is the same for all
incidents. `ruled` writes the constants of the set into a site file, sized by its design heat: a shipped stage is what
the rules give (a test holds it to them), and the sensitivity table moves one constant at a time through the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from plant.coolingfile import ChillerControl, Structure
from plant.errors import Fault, IncidentFileError
from plant.files import load_toml, shipped
from plant.incidentfile import Assumed
from plant.keys import Part, text
from plant.pue import node_design_kw
from plant.ranges import expand
from plant.sitefile import CoolingUnit, Hall, Loop, NodeType, Rack, Region, SiteFile

KW_PER_MW = 1000.0
GPU_NODE_SERVERS = 3.0  # an 8-GPU node of 6U weighs as much as three 2U servers [assumed]


class HallSetFile(Part):
    """A set as written."""

    id: str = text("name, the same as the file's", pattern=r"^[A-Za-z0-9._-]+$")
    title: str = text("one line")
    assumed: tuple[Assumed, ...] = Field(min_length=1, description="numbers nobody published")


@dataclass(frozen=True)
class HallSet:
    """A set, checked; `likeliest` are the values a stage is built from."""

    id: str
    title: str
    assumed: tuple[Assumed, ...]

    @property
    def likeliest(self) -> dict[str, float]:
        """The most likely value of each constant."""
        return {one.name: one.value for one in self.assumed}


def check_values(file: HallSetFile) -> list[Fault]:
    """Names occur once and each value lies in its range."""
    names = [one.name for one in file.assumed]
    faults = [
        Fault(f"assumed[{i}].name", f"'{name}' is already at assumed[{names.index(name)}]", "unique names")
        for i, name in enumerate(names)
        if name in names[:i]
    ]
    return faults + [
        Fault(f"assumed[{i}].value", f"is {one.value:g} {one.unit}", f"low {one.low:g} .. high {one.high:g}")
        for i, one in enumerate(file.assumed)
        if not one.low <= one.value <= one.high
    ]


def load_hall_set(name: str | Path) -> HallSet:
    """Read a set by path or as the name of a shipped one; raises IncidentFileError with every fault at once."""
    path = shipped("assumed", name)
    read = load_toml(path, HallSetFile, IncidentFileError, (check_values,), folder="assumed")
    return HallSet(read.id, read.title, read.assumed)


def ruled(file: SiteFile, values: Mapping[str, float]) -> SiteFile:
    """Return the site file with every constant of the set in its place; what the set does not name stays.

    values: by the names in data/assumed/; those of the utilisation and of single incidents have no place in a site.
    """
    kinds = tuple(_node_type(kind, values) for kind in file.node_type)
    racks = tuple(_rack(rack, values, {kind.id: kind for kind in kinds}) for rack in file.rack)
    changed = file.model_copy(update={"node_type": kinds, "rack": racks})
    changed = changed.model_copy(update={"cooling_unit": tuple(_unit(unit, values) for unit in file.cooling_unit)})
    design_mw = hall_design_mw(changed)
    changed = changed.model_copy(
        update={
            "region": tuple(_region(region, values, design_mw) for region in file.region),
            "hall": tuple(_hall(hall, values, design_mw[f"{hall.region}/{hall.id}"]) for hall in file.hall),
        }
    )
    return changed.model_copy(
        update={
            "loop": tuple(_loop(loop, changed, values, design_mw) for loop in file.loop),
            "structure": tuple(_structure(one, values, design_mw[one.hall]) for one in file.structure),
            "chiller_control": tuple(_control(one, values) for one in file.chiller_control),
        }
    )


def hall_design_mw(file: SiteFile) -> dict[str, float]:
    """Return the IT power of each hall at design utilisation [MW]."""
    kinds = {kind.id: kind for kind in file.node_type}
    found = {name: 0.0 for name, _ in file.halls()}
    for rack in file.rack:
        one_kw = node_design_kw(kinds[rack.node_type], file.design_util_frac)
        found[rack.hall] += len(expand(rack.nodes)) * one_kw / KW_PER_MW
    return found


def _put(part: Any, values: Mapping[str, float], keys: Mapping[str, tuple[str, Callable[[float], float]]]) -> Any:
    """A copy of one part with `key` = rule(values[name]) for every name the set has."""
    found = {key: rule(values[name]) for key, (name, rule) in keys.items() if name in values}
    return part.model_copy(update=found)


def _same(value: float) -> float:
    return value


def _node_type(kind: NodeType, values: Mapping[str, float]) -> NodeType:
    servers = GPU_NODE_SERVERS if kind.gpus else 1.0
    keys = {"mass_kj_per_k": ("server_kj_per_k", lambda v: v * servers), "stop_c": ("stop_c", _same)}
    return _put(kind, values, keys)  # type: ignore[no-any-return]


def _rack(rack: Rack, values: Mapping[str, float], kinds: Mapping[str, NodeType]) -> Rack:
    keys: dict[str, tuple[str, Callable[[float], float]]] = {
        "air_kj_per_k": ("air_kj_per_k", _same),
        "air_rise_k": ("air_rise_k", _same),
    }
    if kinds[rack.node_type].gpus:
        keys["recirc_frac"] = ("gpu_recirc_frac", _same)
    return _put(rack, values, keys)  # type: ignore[no-any-return]


def _unit(unit: CoolingUnit, values: Mapping[str, float]) -> CoolingUnit:
    return _put(unit, values, {"effectiveness_frac": ("coil_effectiveness_frac", _same)})  # type: ignore[no-any-return]


def _region(region: Region, values: Mapping[str, float], design_mw: Mapping[str, float]) -> Region:
    halls = tuple(_hall(hall, values, design_mw[f"{region.id}/{hall.id}"]) for hall in region.hall)
    return region.model_copy(update={"hall": halls})


def _hall(hall: Hall, values: Mapping[str, float], design_mw: float) -> Hall:
    return _put(hall, values, {"supply_c": ("air_supply_c", _same)})  # type: ignore[no-any-return]


def _structure(one: Structure, values: Mapping[str, float], design_mw: float) -> Structure:
    keys = {
        "mass_kj_per_k": ("structure_kj_per_k_per_mw", lambda v: v * design_mw),
        "ua_kw_per_k": ("structure_kw_per_k_per_mw", lambda v: v * design_mw),
    }
    return _put(one, values, keys)  # type: ignore[no-any-return]


def _control(one: ChillerControl, values: Mapping[str, float]) -> ChillerControl:
    keys = {
        "design_outdoor_c": ("heat_design_c", _same),
        "derate_per_k": ("heat_derate_per_k", _same),
        "capacity_per_k": ("warm_water_gain_per_k", _same),
        "capacity_most_frac": ("warm_water_gain_most", _same),
        "stage_up_min": ("standby_call_min", _same),
    }
    return _put(one, values, keys)  # type: ignore[no-any-return]


def _loop(loop: Loop, file: SiteFile, values: Mapping[str, float], design_mw: Mapping[str, float]) -> Loop:
    """Water, metal and chillers by the design heat of the halls that hang on the loop."""
    mine = {name for name, hall in file.halls() if hall.loop == loop.id}
    mw = sum(design_mw[name] for name in mine)
    fans_kw = sum(unit.fan_kw * len(expand(unit.ids)) for unit in file.cooling_unit if unit.hall in mine)
    heat_kw = mw * KW_PER_MW + fans_kw + loop.pump_kw
    chillers = _put(
        loop.chillers,
        values,
        {
            "capacity_kw": ("chiller_margin", lambda v: v * heat_kw / loop.chillers.running),
            "restart_min": ("restart_min", _same),
        },
    )
    changed = _put(
        loop,
        values,
        {
            "water_m3": ("water_m3_per_mw", lambda v: v * mw),
            "metal_kj_per_k": ("metal_kj_per_k_per_mw", lambda v: v * mw),
            "supply_c": ("water_supply_c", _same),
        },
    )
    return changed.model_copy(update={"chillers": chillers})  # type: ignore[no-any-return]
