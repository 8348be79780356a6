"""Checks of the cooling tables of a site file against the rest of it; each returns the faults it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from plant.errors import Fault
from plant.ranges import collapse, expand
from plant.references import unknown
from plant.units import shown

if TYPE_CHECKING:
    from plant.sitefile import SiteFile

Parts = Mapping[str, Any]
TABLES_OF_A_LOOP = ("chiller_control", "free_cooling", "pump")
MAX_DRAWN_FRAC = 0.95


def check_cooling_references(file: SiteFile) -> list[Fault]:
    """Loops, halls, regions and racks that the cooling tables name exist."""
    loops, halls = [x.id for x in file.loop], [name for name, _ in file.halls()]
    faults: list[Fault] = []
    for table in (*TABLES_OF_A_LOOP, "cdu"):
        for i, part in enumerate(getattr(file, table)):
            faults += unknown(f"{table}[{i}].loop", "loop", part.loop, loops)
    for table in ("cdu", "recirculation", "structure"):
        for i, part in enumerate(getattr(file, table)):
            faults += unknown(f"{table}[{i}].hall", "hall", part.hall, halls)
    for i, staff in enumerate(file.plant_staff):
        faults += unknown(f"plant_staff[{i}].region", "region", staff.region, (x.id for x in file.region))
    return faults + _missing_racks(file)


def _missing_racks(file: SiteFile) -> list[Fault]:
    wanted = [(f"cdu[{i}].racks", x.hall, x.racks) for i, x in enumerate(file.cdu)]
    for i, x in enumerate(file.recirculation):
        wanted += [(f"recirculation[{i}].{key}", x.hall, getattr(x, key)) for key in ("from_racks", "to_racks")]
    faults = []
    for where, hall, names in wanted:
        have = {rack for group in file.rack if group.hall == hall for rack in expand(group.ids)}
        missing = [name for name in expand(names) if name not in have]
        if missing:
            said = f"hall '{hall}' has no rack {collapse(missing)}"
            faults.append(Fault(where, said, "racks of that hall", "correct the range"))
    return faults


def check_cooling_once(file: SiteFile) -> list[Fault]:
    """One control, free cooling, structure or staff row for each; a rack has one CDU; names occur once."""
    faults: list[Fault] = []
    for table, key in (
        ("chiller_control", "loop"), ("free_cooling", "loop"), ("pump", "loop"), ("structure", "hall"),
        ("plant_staff", "region"),
    ):  # fmt: skip
        seen: dict[str, int] = {}
        for i, part in enumerate(getattr(file, table)):
            name = getattr(part, key)
            if name in seen:
                found = f"{key} '{name}' is already at {table}[{seen[name]}]"
                faults.append(Fault(f"{table}[{i}].{key}", found, "one row each", "merge the two"))
            seen.setdefault(name, i)
    served: dict[tuple[str, str], int] = {}
    for i, cdu in enumerate(file.cdu):
        if any((other.hall, other.id) == (cdu.hall, cdu.id) for other in file.cdu[:i]):
            faults.append(Fault(f"cdu[{i}].id", f"'{cdu.id}' stands twice in {cdu.hall}", "unique ids", "rename one"))
        twice = [rack for rack in expand(cdu.racks) if (cdu.hall, rack) in served]
        if twice:
            found = f"{collapse(twice)} already hang on cdu[{served[cdu.hall, twice[0]]}]"
            faults.append(Fault(f"cdu[{i}].racks", found, "racks without a CDU", "shift one range"))
        served |= {(cdu.hall, rack): i for rack in expand(cdu.racks)}
    return faults


def check_cooling_counts(file: SiteFile) -> list[Fault]:
    """Ranges name as many things as the numbers beside them say, and no rack draws in its own air twice."""
    faults = []
    for i, pump in enumerate(file.pump):
        named, want = len(expand(pump.ids)), pump.running + pump.standby
        if named != want:
            found = f"'{pump.ids}' names {named} pumps for {pump.running} running + {pump.standby} standby"
            faults.append(Fault(f"pump[{i}].ids", found, f"{want} names", "correct one"))
    for i, path in enumerate(file.recirculation):
        sources, targets = expand(path.from_racks), expand(path.to_racks)
        if len(sources) != len(targets):
            found = f"{len(sources)} from_racks, {len(targets)} to_racks"
            faults.append(Fault(f"recirculation[{i}].to_racks", found, "as many as from_racks", "pair them"))
        same = [a for a, b in zip(sources, targets, strict=False) if a == b]
        if same:
            found = f"{collapse(same)} would draw in its own air in a circle"
            faults.append(Fault(f"recirculation[{i}].to_racks", found, "other racks", "use recirc_frac of the rack"))
    for i, control in enumerate(file.chiller_control):
        if abs(sum(control.part_load) - 1.0) > 0.02:
            found = f"sums to {shown(sum(control.part_load))}"
            faults.append(Fault(f"chiller_control[{i}].part_load", found, "a sum of 1", "full load draws full power"))
        if control.stage_down_frac >= control.stage_up_frac:
            found = f"is {shown(control.stage_down_frac)}, stage_up_frac is {shown(control.stage_up_frac)}"
            cure = "leave a gap, or chillers start and stop in turn"
            faults.append(Fault(f"chiller_control[{i}].stage_down_frac", found, "below stage_up_frac", cure))
        hot_c = control.design_outdoor_c + control.condenser_k
        if hot_c >= control.condensing_trip_c:
            found = f"is {shown(control.condensing_trip_c)} C, full load at design is already {shown(hot_c)} C"
            faults.append(Fault(f"chiller_control[{i}].condensing_trip_c", found, f"above {shown(hot_c)} C"))
    return faults


def check_drawn_air(file: SiteFile, parts: Parts) -> list[Fault]:
    """A rack draws in some cold air: its own and its neighbours' hot air stay below a share."""
    drawn = parts["cooling"].rack_drawn_frac + parts["rack_recirc_frac"]
    worst = int(np.argmax(drawn))
    if drawn[worst] <= MAX_DRAWN_FRAC:
        return []
    found = f"rack '{parts['rack_ids'][worst]}' draws in {shown(float(drawn[worst]))} hot air"
    return [Fault("recirculation", found, f"at most {MAX_DRAWN_FRAC}", "lower frac or recirc_frac")]


def check_unit_capacity(file: SiteFile, parts: Parts) -> list[Fault]:
    """The needed cooling units of a hall take the heat that its racks give the air."""
    plant, faults = parts["cooling"], []
    for h, (name, _) in enumerate(file.halls()):
        groups = [group for group in file.cooling_unit if group.hall == name]
        each = [g.compressor.capacity_kw if g.compressor else g.capacity_kw for g in groups]
        if any(kw is None for kw in each):
            continue
        racks = parts["rack_hall"] == h
        heat_kw = float((parts["rack_design_kw"] * (1.0 - plant.rack_liquid_frac))[racks].sum())
        have_kw = sum((len(expand(g.ids)) - g.spare) * float(kw or 0.0) for g, kw in zip(groups, each, strict=True))
        if have_kw < heat_kw:
            found = f"needed cooling units of '{name}' take {have_kw:.1f} kW"
            cure = "raise capacity_kw or add units"
            faults.append(Fault("cooling_unit", found, f"at least the {heat_kw:.0f} kW of its racks", cure))
    return faults


NAMES: tuple[Callable[[Any], list[Fault]], ...] = (
    check_cooling_references,
    check_cooling_once,
    check_cooling_counts,
)
SIZES: tuple[Callable[[Any, Parts], list[Fault]], ...] = (check_drawn_air, check_unit_capacity)
