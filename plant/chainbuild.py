"""Compiles the power-chain tables of a site file into a `PowerChain`; runs after racks, halls and cooling are built."""

from __future__ import annotations

from typing import Any

import numpy as np

from plant import ups as upslaw
from plant.chain import Flags, Floats, Ints, PowerChain, SagRule, order_of
from plant.chainfile import Pdu
from plant.power import PSU_CURVES
from plant.ranges import expand
from plant.sitefile import SiteFile
from plant.units import minutes_s


def build_chain(file: SiteFile, parts: dict[str, Any]) -> PowerChain:
    """Return the chain; `parts` holds the site's other arrays by name."""
    made: dict[str, Any] = {}
    _supplies(file, parts, made)
    _feeds(file, parts, made)
    _ups(file, parts, made)
    _pdus(file, parts, made)
    _generators(file, parts, made)
    _cooling(file, parts, made)
    made["sag"] = SagRule(
        file.sag.hold_in_frac,
        file.sag.hold_s,
        file.sag.manual_reset_prob,
        (minutes_s(file.sag.manual_reset_min[0]), minutes_s(file.sag.manual_reset_min[1])),
    )
    made["hall_design_loss_kw"] = _design_loss_kw(parts, made)
    for value in made.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return PowerChain(**made)


def _supplies(file: SiteFile, parts: dict[str, Any], made: dict[str, Any]) -> None:
    """Curve, side and start rule of the power supplies of each node."""
    of, types = parts["node_type"], file.node_type
    curves = [PSU_CURVES[kind.psu_curve] for kind in types]
    if len(set(curves)) == 1:
        made["psu_loss"] = curves[0]
    else:
        long = max(len(curve) for curve in curves)
        padded = np.array([[*curve, *[0.0] * (long - len(curve))] for curve in curves])
        made["psu_loss"] = tuple(np.ascontiguousarray(padded[of, i]) for i in range(long))
    made["node_psus_b"] = (parts["psu_per_node"] // 2).astype(np.int32)
    needed = [int(kind.psu_redundancy.split("+")[0]) for kind in types]
    boot = [n if kind.psu_boot is None else kind.psu_boot for kind, n in zip(types, needed, strict=True)]
    made["node_psu_boot"] = np.array(boot, dtype=np.int32)[of]
    made["node_psu_brake"] = np.array([kind.psu_brake for kind in types], dtype=np.bool_)[of]


def _feeds(file: SiteFile, parts: dict[str, Any], made: dict[str, Any]) -> None:
    """Which feed hangs behind which; `feed_order` leaves out what stands in a circle, which the checks refuse."""
    ids = parts["feed_ids"]
    behind = np.array([ids.index(f.behind) if f.behind in ids else -1 for f in file.feed], dtype=np.int32)
    order: list[int] = []
    while True:
        ready = [f for f in range(len(ids)) if f not in order and (behind[f] < 0 or int(behind[f]) in order)]
        if not ready:
            break
        order += ready
    regions = [parts["region_ids"].index(f.id.split("/")[0]) for f in file.feed]
    trips = [np.inf if f.trip_kw is None else f.trip_kw for f in file.feed]
    made["feed_trip_kw"] = np.array(trips, dtype=np.float64)
    made["feed_reset_s"] = np.array([minutes_s(f.reset_min) for f in file.feed], dtype=np.float64)
    made["feed_region"] = np.array(regions, dtype=np.int32)
    made |= {"feed_behind": behind, "feed_order": tuple(order)}


def _ups(file: SiteFile, parts: dict[str, Any], made: dict[str, Any]) -> None:
    """Modules, staging, charging, feeds in order of preference."""
    feeds, regions = parts["feed_ids"], parts["region_ids"]
    made["ups_module_kw"] = np.array([u.module_kw for u in file.ups])
    made["ups_spare"] = np.array([float(u.modules - u.needed) for u in file.ups])
    stage = [np.inf if u.stage_load_frac is None else u.stage_load_frac for u in file.ups]
    made |= {"ups_stage_frac": np.array(stage), "ups_mixed": bool(np.isfinite(stage).any())}
    tenth = upslaw.RECHARGE_FRAC
    charge = [tenth * u.module_kw * u.modules if u.charge_kw is None else u.charge_kw for u in file.ups]
    made["ups_charge_kw"] = np.array(charge)
    halls = [np.flatnonzero(parts["hall_ups"] == i) for i in range(len(file.ups))]
    own = [
        int(parts["hall_region"][h[0]]) if len(h) else regions.index(u.id.split("/")[0])
        for h, u in zip(halls, file.ups, strict=True)
    ]
    made["ups_region"] = np.array(own, dtype=np.int32)
    order = np.full((len(file.ups), len(feeds)), -1, dtype=np.int32)
    for i, ups in enumerate(file.ups):
        listed = list(dict.fromkeys(feeds.index(f) for f in ups.feeds))
        order[i, : len(listed)] = listed
    made["ups_order"] = order


def _pdus(file: SiteFile, parts: dict[str, Any], made: dict[str, Any]) -> None:
    """Rack PDUs in the order of the racks, A before B; racks without any hang on their hall's UPS with both sides."""
    racks, sources = parts["rack_ids"], (*parts["ups_ids"], *parts["feed_ids"])
    own = parts["hall_ups"][parts["rack_hall"]].astype(np.int32)
    source = np.ascontiguousarray(np.stack([own, own], axis=1))
    rack_pdu, loss = np.full((len(racks), 2), -1, dtype=np.int32), np.zeros(len(racks))
    rows: list[tuple[str, int, int, float, float]] = []
    for rack, group in sorted(_groups(file, racks).items()):
        loss[rack] = group.loss_frac
        for side, name in enumerate((group.a, group.b)):
            source[rack, side] = -1 if name is None else sources.index(name)
            if name is not None:
                rack_pdu[rack, side] = len(rows)
                reset_s = minutes_s(group.reset_min)
                rows.append((f"{racks[rack]}/pdu-{'ab'[side]}", rack, side, group.breaker_kw, reset_s))
    ids, rack_of, sides, rated, reset = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    made |= {"pdu_ids": tuple(ids), "pdu_rack": np.array(rack_of, np.int32), "pdu_side": np.array(sides, np.int32)}
    made |= {"pdu_rated_kw": np.array(rated, np.float64), "pdu_reset_s": np.array(reset, np.float64)}
    made |= {"rack_pdu": rack_pdu, "rack_source": source, "rack_loss_frac": loss}
    first = parts["rack_start"][:-1]
    made["rack_b_frac"] = made["node_psus_b"][first] / parts["psu_per_node"][first]


def _groups(file: SiteFile, racks: tuple[str, ...]) -> dict[int, Pdu]:
    """Rack index -> the PDU group that serves it."""
    row = {name: i for i, name in enumerate(racks)}
    named = ((f"{group.hall}/{rack}", group) for group in file.pdu for rack in expand(group.racks))
    return {row[name]: group for name, group in named if name in row}


def _generators(file: SiteFile, parts: dict[str, Any], made: dict[str, Any]) -> None:
    """Generators with their times added up: until the start order, until they carry load, until a person helped."""
    all_ = file.generator
    made["generator_ids"] = tuple(g.id for g in all_)
    backs = [[feed in g.feeds for feed in parts["feed_ids"]] for g in all_]
    made["generator_feed"] = np.array(backs, dtype=np.bool_).reshape(len(all_), len(parts["feed_ids"]))
    values = {
        "capacity_kw": [g.capacity_kw for g in all_],
        "wait_s": [g.detect_s + g.delay_s for g in all_],
        "start_s": [g.crank_s + g.load_s for g in all_],
        "fail_prob": [g.start_failure_prob for g in all_],
        "manual_s": [minutes_s(g.manual_start_min) for g in all_],
        "back_s": [minutes_s(g.back_min) for g in all_],
    }
    made |= {f"generator_{name}": np.array(value, dtype=np.float64) for name, value in values.items()}


def _cooling(file: SiteFile, parts: dict[str, Any], made: dict[str, Any]) -> None:
    """Cooling hangs on the feeds of its hall's UPS, machine by machine in turn, behind a transfer switch."""
    reach = parts["ups_feed"][parts["hall_ups"]]
    loops = len(parts["loop_ids"])
    of_loop = np.array([reach[parts["hall_loop"] == i].any(axis=0) for i in range(loops)]).reshape(loops, -1)
    made |= {"hall_feed": np.ascontiguousarray(reach), "loop_feed": np.ascontiguousarray(of_loop, dtype=np.bool_)}
    plant = parts["cooling"]
    groups = {"unit": (parts["unit_hall"], reach), "cdu": (plant.cdu_hall, reach)}
    groups |= {"chiller": (parts["chiller_loop"], of_loop), "pump": (plant.pump_loop, of_loop)}
    groups |= {"loop": (np.arange(loops), of_loop)}
    for name, (group, reached) in groups.items():
        made[f"{name}_order"] = order_of(reached[group], _in_turn(group, reached))


def _in_turn(group: Any, reach: Flags) -> Ints:
    """Feed of each member of a sorted group, dealt out in turn among the feeds that reach the group."""
    seen: dict[int, int] = {}
    on = np.full(len(group), -1, dtype=np.int32)
    for i, g in enumerate(group):
        feeds = np.flatnonzero(reach[int(g)])
        if len(feeds):
            on[i] = feeds[seen.get(int(g), 0) % len(feeds)]
        seen[int(g)] = seen.get(int(g), 0) + 1
    return on


def _design_loss_kw(parts: dict[str, Any], made: dict[str, Any]) -> Floats:
    """(H,) loss of the UPS and PDUs that serve each hall at the design point; a shared UPS counts by load."""
    n_ups, halls = len(parts["ups_ids"]), len(parts["hall_ids"])
    design, of_hall = parts["rack_design_kw"], parts["rack_hall"]
    load = np.zeros((n_ups, halls))
    for side, share in ((0, 1.0 - made["rack_b_frac"]), (1, made["rack_b_frac"])):
        source = made["rack_source"][:, side]
        mine = (source >= 0) & (source < n_ups)
        kw = design * share * (1.0 + made["rack_loss_frac"])
        np.add.at(load, (source[mine], of_hall[mine]), kw[mine])
    total = load.sum(axis=1)
    ok = parts["ups_modules"].astype(np.float64)
    running = upslaw.modules_running(total, made["ups_module_kw"], ok, made["ups_spare"], made["ups_stage_frac"])
    losses = [parts[f"ups_loss{i}"] for i in range(3)]
    loss = upslaw.loss_kw(total, made["ups_module_kw"], running, *losses)
    share_of = load / np.where(total > 0.0, total, 1.0)[:, None]
    pdu_kw = np.bincount(of_hall, design * made["rack_loss_frac"], halls)
    return np.asarray((share_of * loss[:, None]).sum(axis=0) + pdu_kw)
