"""Compiles the cooling tables of a site file into a `CoolingPlant`; sizes what the file leaves open."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plant import units
from plant.coolingplant import CoolingPlant, Flags, Floats, Ints
from plant.errors import SiteFileError
from plant.files import placed
from plant.ranges import expand
from plant.water import DESIGN_RANGE_K
from plant.weather import read_weather

if TYPE_CHECKING:
    from plant.sitefile import CoolingUnit, SiteFile

NO_PART_LOAD = (0.0, 1.0, 0.0)  # a COP that does not depend on load
NEVER_TRIPS_C = np.inf
NO_STAFF_LIMIT = 0


def _floats(values: Iterable[float]) -> Floats:
    return np.ascontiguousarray(list(values), dtype=np.float64)


def _ints(values: Iterable[int]) -> Ints:
    return np.ascontiguousarray(list(values), dtype=np.int32)


def _flags(values: Iterable[bool]) -> Flags:
    return np.ascontiguousarray(list(values), dtype=np.bool_)


def liquid_racks(file: SiteFile, parts: dict[str, Any]) -> None:
    """Find which racks hang on a CDU; what they give the coolant needs no air flow and no air coupling."""
    row = {name: r for r, name in enumerate(parts["rack_ids"])}
    cdu = np.full(len(row), -1, dtype=np.int32)
    liquid, plate = np.zeros(len(row)), np.zeros(len(row))
    for i, unit in enumerate(file.cdu):
        for name in expand(unit.racks):
            r = row[f"{unit.hall}/{name}"]
            cdu[r], liquid[r] = i, unit.liquid_frac
            plate[r] = unit.liquid_frac * parts["rack_design_kw"][r] / unit.plate_k
    parts |= {"rack_cdu": cdu, "rack_liquid_frac": liquid, "rack_plate_kw_per_k": plate}
    parts["rack_flow_kw_per_k"] = parts["rack_flow_kw_per_k"] * (1.0 - liquid)
    parts["rack_ua_kw_per_k"] = parts["rack_ua_kw_per_k"] * (1.0 - liquid)


def region_weather(file: SiteFile, parts: dict[str, Any]) -> None:
    """Read the weather files that regions name; raises SiteFileError with every fault of all of them."""
    path, series, faults = Path(parts.pop("where")), [], []
    for i, region in enumerate(file.region):
        one, wrong = (
            (None, []) if region.weather is None else read_weather(path.parent / region.weather, f"region[{i}].weather")
        )
        series.append(one)
        faults += wrong
    if faults:
        raise SiteFileError(faults=placed(faults, path.name))
    parts["region_weather"] = tuple(series)
    told = "".join(one.digest for one in series if one is not None)
    if told:
        parts["hash"] = hashlib.sha256(f"{parts['hash']}{told}".encode()).hexdigest()


def cooling_plant(file: SiteFile, parts: dict[str, Any]) -> None:
    """Compile the tables into parts["cooling"]; the arrays of `liquid_racks` move into it."""
    made: dict[str, Any] = {key: parts.pop(key) for key in ("rack_cdu", "rack_liquid_frac", "rack_plate_kw_per_k")}
    made["region_weather"] = parts.pop("region_weather")
    made |= _units(file, parts) | _pumps(file) | _controls(file, parts) | _free(file)
    made |= _cdus(file, parts, made) | _recirculation(file, parts) | _staff(file) | _structure(file, parts)
    one_by_one = np.zeros(len(parts["hall_ids"]), dtype=np.bool_)
    one_by_one[parts["unit_hall"][made["unit_dx"] | np.isfinite(made["unit_capacity_kw"])]] = True
    made["hall_detail"] = one_by_one
    regions = [region.id for region in file.region]
    made["loop_region"] = _ints(regions.index(loop.id.split("/")[0]) for loop in file.loop)
    made["loop_flow_kw_per_k"] = loop_design_kw(parts, made) / DESIGN_RANGE_K
    for value in made.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    parts["cooling"] = CoolingPlant(**made)


def loop_design_kw(parts: dict[str, Any], made: Any) -> Floats:
    """Heat each loop takes at the design point [kW]: its halls' air by the share of coils, its CDUs, its pumps."""
    liquid = parts["rack_design_kw"] * made["rack_liquid_frac"]
    halls = len(parts["hall_ids"])
    air = parts["hall_design_kw"] - np.bincount(parts["rack_hall"], liquid, halls)
    water = np.where(made["unit_dx"], 0.0, parts["unit_flow_kw_per_k"])
    share = np.bincount(parts["unit_hall"], water, halls) / np.bincount(
        parts["unit_hall"], parts["unit_flow_kw_per_k"], halls
    )
    heat = np.bincount(parts["hall_loop"], air * share, len(parts["loop_ids"])) + parts["loop_pump_kw"]
    on_cdu = made["rack_cdu"] >= 0
    if on_cdu.any():
        heat = heat + np.bincount(made["cdu_loop"][made["rack_cdu"][on_cdu]], liquid[on_cdu], len(parts["loop_ids"]))
        heat = heat + np.bincount(made["cdu_loop"], made["cdu_pump_kw"], len(parts["loop_ids"]))
    return _floats(heat)


def _each_unit(file: SiteFile, parts: dict[str, Any]) -> Iterator[CoolingUnit]:
    """The group of each cooling unit, in index order."""
    halls = list(parts["hall_ids"])
    for group in sorted(file.cooling_unit, key=lambda group: halls.index(group.hall)):
        for _ in expand(group.ids):
            yield group


def _units(file: SiteFile, parts: dict[str, Any]) -> dict[str, Any]:
    each = list(_each_unit(file, parts))
    capacity = [
        g.compressor.capacity_kw if g.compressor else np.inf if g.capacity_kw is None else g.capacity_kw for g in each
    ]
    return {
        "unit_capacity_kw": _floats(capacity),
        "unit_dx": _flags(g.compressor is not None for g in each),
        "unit_cop": _floats(g.compressor.cop if g.compressor else 1.0 for g in each),
        "unit_cop_per_k": _floats(g.compressor.cop_per_k if g.compressor else 0.0 for g in each),
        "unit_restart_s": _floats(g.restart_s for g in each),
    }


def _pumps(file: SiteFile) -> dict[str, Any]:
    loops = [loop.id for loop in file.loop]
    groups = sorted(file.pump, key=lambda group: loops.index(group.loop))
    each = [(g, name, k) for g in groups for k, name in enumerate(expand(g.ids))]
    of = {g.loop: g for g in groups}
    return {
        "pump_ids": tuple(f"{g.loop}/{name}" for g, name, _ in each),
        "pump_loop": _ints(loops.index(g.loop) for g, *_ in each),
        "pump_standby": _flags(k >= g.running for g, _, k in each),
        "pump_start_s": _floats(g.start_s for g, *_ in each),
        "loop_pumps": _ints(of[x].running if x in of else 0 for x in loops),
        "loop_follows": _flags(x in of and of[x].follow_chillers for x in loops),
    }


def _controls(file: SiteFile, parts: dict[str, Any]) -> dict[str, Any]:
    of = {control.loop: control for control in file.chiller_control}
    rows = [of.get(loop.id) for loop in file.loop]
    quick = [None if row is None else row.quick_start_min for row in rows]
    made = {
        "loop_controlled": _flags(row is not None for row in rows),
        "loop_stage_up_s": _floats(0.0 if row is None else units.minutes_s(row.stage_up_min) for row in rows),
        "loop_stage_down_s": _floats(0.0 if row is None else units.minutes_s(row.stage_down_min) for row in rows),
        "loop_part_load": _floats(x for row in rows for x in (NO_PART_LOAD if row is None else row.part_load)).reshape(
            len(rows), 3
        ),
        "chiller_retry_s": _floats(
            parts["chiller_restart_s"][k] if quick[loop] is None else units.minutes_s(quick[loop] or 0.0)
            for k, loop in enumerate(parts["chiller_loop"])
        ),
    }
    without = {
        "stage_up_frac": 1.0, "stage_up_k": 0.0, "stage_down_frac": 0.0, "design_outdoor_c": 100.0, "derate_per_k": 0.0,
        "capacity_per_k": 0.0, "capacity_most_frac": 1.0,
        "condenser_k": 0.0, "condensing_trip_c": NEVER_TRIPS_C, "low_flow_frac": 0.0, "lockout_frac": 0.0,
    }  # fmt: skip
    for key, default in without.items():
        made[f"loop_{key}"] = _floats(default if row is None else getattr(row, key) for row in rows)
    return made


def _free(file: SiteFile) -> dict[str, Any]:
    of = {free.loop: free for free in file.free_cooling}
    keys = {"capacity_kw": 0.0, "approach_k": 0.0, "range_k": 1.0, "fan_kw": 0.0}
    return {
        f"free_{key}": _floats(getattr(of[x.id], key) if x.id in of else default for x in file.loop)
        for key, default in keys.items()
    }


def _cdus(file: SiteFile, parts: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    loops, halls = [loop.id for loop in file.loop], list(parts["hall_ids"])
    liquid = parts["rack_design_kw"] * made["rack_liquid_frac"]
    heat = [float(liquid[made["rack_cdu"] == i].sum()) + x.pump_kw for i, x in enumerate(file.cdu)]
    return {
        "cdu_ids": tuple(f"{x.hall}/{x.id}" for x in file.cdu),
        "cdu_hall": _ints(halls.index(x.hall) for x in file.cdu),
        "cdu_loop": _ints(loops.index(x.loop) for x in file.cdu),
        "cdu_supply_c": _floats(x.supply_c for x in file.cdu),
        # sized so that at design the coolant stands approach_k above the loop's water with the valve fully open
        "cdu_ua_kw_per_k": _floats(kw / x.approach_k for kw, x in zip(heat, file.cdu, strict=True)),
        "cdu_water_kj_per_k": _floats(units.water_kj_per_k(x.water_m3) for x in file.cdu),
        "cdu_pump_kw": _floats(x.pump_kw for x in file.cdu),
        "cdu_restart_s": _floats(x.restart_s for x in file.cdu),
        "cdu_stop_c": _floats(x.stop_c for x in file.cdu),
    }


def _recirculation(file: SiteFile, parts: dict[str, Any]) -> dict[str, Any]:
    row = {name: r for r, name in enumerate(parts["rack_ids"])}
    paths = sorted(
        (row[f"{x.hall}/{b}"], row[f"{x.hall}/{a}"], x.frac)
        for x in file.recirculation
        for a, b in zip(expand(x.from_racks), expand(x.to_racks), strict=True)
    )
    to, frac = _ints(b for b, *_ in paths), _floats(f for *_, f in paths)
    drawn = np.bincount(to, frac, len(row)) if len(to) else np.zeros(len(row))
    return {
        "recirc_to": to,
        "recirc_from": _ints(a for _, a, _ in paths),
        "recirc_frac": frac,
        "rack_drawn_frac": _floats(drawn),
    }


def _staff(file: SiteFile) -> dict[str, Any]:
    of = {staff.region: staff for staff in file.plant_staff}
    return {
        "region_staff": _ints(of[x.id].count if x.id in of else NO_STAFF_LIMIT for x in file.region),
        "region_hands_on_s": _floats(units.minutes_s(of[x.id].restart_min) if x.id in of else 0.0 for x in file.region),
    }


def _structure(file: SiteFile, parts: dict[str, Any]) -> dict[str, Any]:
    of = {structure.hall: structure for structure in file.structure}
    halls = parts["hall_ids"]
    return {
        "hall_structure_kj_per_k": _floats(of[x].mass_kj_per_k if x in of else 0.0 for x in halls),
        "hall_structure_kw_per_k": _floats(of[x].ua_kw_per_k if x in of else 0.0 for x in halls),
    }
