"""Checks of the power chain of a site file, one named function each; every one returns the faults it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from plant.breaker import CONTINUOUS_FRAC
from plant.errors import Fault
from plant.ranges import collapse, expand
from plant.references import circles, unknown
from plant.sitefile import SiteFile
from plant.units import shown

Parts = Mapping[str, Any]


def check_chain_names(file: SiteFile) -> list[Fault]:
    """Generators, PDUs and substations name feeds, UPS, halls and racks that exist; ids are unique."""
    feeds, ups = [feed.id for feed in file.feed], [one.id for one in file.ups]
    known = {"feed": feeds, "ups": ups, "source": [*ups, *feeds], "hall": [name for name, _ in file.halls()]}
    known["region"] = [region.id for region in file.region]
    wanted = [(f"feed[{i}].behind", "feed", feed.behind) for i, feed in enumerate(file.feed) if feed.behind]
    for i, one in enumerate(file.generator):
        wanted += [(f"generator[{i}].feeds[{j}]", "feed", feed) for j, feed in enumerate(one.feeds)]
        wanted.append((f"generator[{i}].id", "region", one.id.split("/")[0]))
    for i, pdu in enumerate(file.pdu):
        wanted += [(f"pdu[{i}].hall", "hall", pdu.hall), (f"pdu[{i}].a", "source", pdu.a)]
        wanted += [(f"pdu[{i}].b", "source", pdu.b)] if pdu.b is not None else []
    words = {"source": "ups or feed"}
    faults = [
        fault for where, kind, name in wanted for fault in unknown(where, words.get(kind, kind), name, known[kind])
    ]
    first: dict[str, int] = {}
    for i, one in enumerate(file.generator):
        if one.id in first:
            found = f"generator '{one.id}' is already at generator[{first[one.id]}].id"
            faults.append(Fault(f"generator[{i}].id", found, "unique ids", "rename one"))
        first.setdefault(one.id, i)
    return faults


def check_pdu_racks(file: SiteFile) -> list[Fault]:
    """Every rack that a PDU group names stands in its hall, and in no other group."""
    halls = {name for name, _ in file.halls()}
    known = {f"{group.hall}/{rack}" for group in file.rack for rack in expand(group.ids)}
    seen: dict[str, int] = {}
    faults = []
    for i, pdu in enumerate(file.pdu):
        if pdu.hall not in halls:
            continue  # said by check_chain_names
        names = expand(pdu.racks)
        missing = [rack for rack in names if f"{pdu.hall}/{rack}" not in known]
        if missing:
            found = f"hall '{pdu.hall}' has no rack {collapse(missing)}"
            faults.append(Fault(f"pdu[{i}].racks", found, "racks of that hall", "correct the range or the hall"))
        twice = [rack for rack in names if f"{pdu.hall}/{rack}" in seen]
        if twice:
            other = seen[f"{pdu.hall}/{twice[0]}"]
            found = f"{collapse(twice)} already hangs on pdu[{other}]"
            faults.append(Fault(f"pdu[{i}].racks", found, "racks that occur once", "shift one range"))
        for rack in names:
            seen.setdefault(f"{pdu.hall}/{rack}", i)
    return faults


def check_feed_circles(file: SiteFile) -> list[Fault]:
    """No feed hangs behind itself; a circle is said once."""
    place = {feed.id: i for i, feed in enumerate(file.feed)}
    return [
        Fault(
            f"feed[{place[circle[0]]}].behind",
            f"goes in a circle: {' behind '.join(circle)}",
            "a feed nearer to the grid",
            "remove one of them",
        )
        for circle in circles({feed.id: feed.behind for feed in file.feed})
    ]


def check_orphan_supplies(file: SiteFile) -> list[Fault]:
    """No UPS without a feed where there are feeds, no supplies on a side that their racks do not have."""
    faults = [
        Fault(
            f"ups[{i}].feeds", f"UPS '{ups.id}' hangs on no feed", "at least one feed", "name the feeds that supply it"
        )
        for i, ups in enumerate(file.ups)
        if file.feed and not ups.feeds
    ]
    types = {kind.id: kind for kind in file.node_type}
    for i, pdu in enumerate(file.pdu):
        if pdu.b is not None:
            continue
        names = {f"{pdu.hall}/{rack}" for rack in expand(pdu.racks)}
        for group in file.rack:
            kind = types.get(group.node_type)
            mine = [rack for rack in expand(group.ids) if f"{group.hall}/{rack}" in names]
            if kind is not None and kind.psus > 1 and mine:
                found = f"{kind.psus // 2} of {kind.psus} supplies of '{kind.id}' in {collapse(mine)} have no side B"
                faults.append(Fault(f"pdu[{i}]", found, "a source for every supply", "add b = '<ups or feed>'"))
                break
    return faults


def check_supply_rules(file: SiteFile) -> list[Fault]:
    """A node can start on the supplies it has, a sag's reset times rise, a UPS with sleepers keeps its order."""
    faults = [
        Fault(f"node_type[{i}].psu_boot", f"needs {kind.psu_boot} of {kind.psus} supplies", f"1..{kind.psus}")
        for i, kind in enumerate(file.node_type)
        if kind.psu_boot is not None and kind.psu_boot > kind.psus
    ]
    low, high = file.sag.manual_reset_min
    if not 0.0 <= low <= high <= 10080.0:
        found = f"is [{shown(low)}, {shown(high)}] min"
        faults.append(Fault("sag.manual_reset_min", found, "0 <= shortest <= longest <= 10080"))
    return faults


def check_breakers(file: SiteFile, parts: Parts) -> list[Fault]:
    """With both sides alive no breaker carries more than 80 % of its rating for long."""
    chain, faults = parts["chain"], []
    for i, group in enumerate(file.pdu):
        mine = {f"{group.hall}/{rack}" for rack in expand(group.racks)}
        racks = [r for r, name in enumerate(parts["rack_ids"]) if name in mine]
        share = np.maximum(chain.rack_b_frac, 1.0 - chain.rack_b_frac)[racks]
        if len(racks):
            load_kw = float((parts["rack_design_kw"][racks] * share).max())
            if load_kw > CONTINUOUS_FRAC * group.breaker_kw:
                found = f"is {shown(group.breaker_kw)} kW for a design load of {load_kw:.1f} kW a side"
                cure = "choose a larger breaker or fewer nodes a rack; twice that rides out the loss of a side"
                at_least = f"at least {load_kw / CONTINUOUS_FRAC:.1f} kW, so that it carries 80 %"
                faults.append(Fault(f"pdu[{i}].breaker_kw", found, at_least, cure))
    return faults


def check_side_capacity(file: SiteFile, parts: Parts) -> list[Fault]:
    """The needed modules of a UPS behind rack PDUs carry the design load when the other side is lost."""
    chain, faults = parts["chain"], []
    for i, ups in enumerate(file.ups):
        on = (chain.rack_source == i).any(axis=1)
        load_kw = float((parts["rack_design_kw"] * (1.0 + chain.rack_loss_frac))[on].sum())
        have_kw = ups.needed * ups.module_kw
        whole_hall_kw = float(parts["hall_design_kw"][parts["hall_ups"] == i].sum())
        if chain.two_sided and have_kw < load_kw and have_kw >= whole_hall_kw:  # else said by check_ups_capacity
            found = f"{ups.needed} needed x {shown(ups.module_kw)} kW = {shown(have_kw)} kW"
            allowed = f"at least the {load_kw:.0f} kW of its racks when their other side is lost"
            faults.append(Fault(f"ups[{i}]", found, allowed, "add modules"))
    return faults


def check_main_breakers(file: SiteFile, parts: Parts) -> list[Fault]:
    """A main breaker holds the halls that prefer its feed while all feeds live."""
    hall_kw = _facility_kw(parts)
    first = parts["chain"].ups_order[parts["hall_ups"], 0] if len(file.feed) else parts["hall_ups"]
    faults = []
    for f, feed in enumerate(file.feed):
        load_kw = float(hall_kw[first == f].sum())
        if feed.trip_kw is not None and load_kw > feed.trip_kw:
            found = f"is {shown(feed.trip_kw)} kW for halls of {load_kw:.0f} kW that hang on it"
            faults.append(Fault(f"feed[{f}].trip_kw", found, f"at least {load_kw:.0f} kW", "raise the setting"))
    return faults


def _facility_kw(parts: Parts) -> Any:
    """Facility power of each hall at the design point [kW], (H,)."""
    from plant.pue import design_pue

    pue = np.array([design_pue(parts, region).pue for region in range(len(parts["region_ids"]))])
    return parts["hall_design_kw"] * pue[parts["hall_region"]]


def check_generators(file: SiteFile, parts: Parts) -> list[Fault]:
    """The generators of a feed carry all halls that can hang on it, cooling and losses included."""
    chain, faults = parts["chain"], []
    hall_kw = _facility_kw(parts)
    said: set[int] = set()
    for f, feed in enumerate(parts["feed_ids"]):
        backing = np.flatnonzero(chain.generator_feed[:, f])
        need_kw = float(hall_kw[chain.hall_feed[:, f]].sum())
        have_kw = float(chain.generator_capacity_kw[backing].sum())
        if len(backing) and have_kw < need_kw and int(backing[0]) not in said:
            said.add(int(backing[0]))
            found = f"{len(backing)} on '{feed}' = {shown(have_kw)} kW"
            allowed = f"at least the {need_kw:.0f} kW of the halls that can hang on it"
            faults.append(Fault(f"generator[{backing[0]}].capacity_kw", found, allowed, "add or enlarge generators"))
    return faults


NAMES: tuple[Callable[[SiteFile], list[Fault]], ...] = (
    check_chain_names,
    check_pdu_racks,
    check_feed_circles,
    check_orphan_supplies,
    check_supply_rules,
)
SIZES: tuple[Callable[[SiteFile, Parts], list[Fault]], ...] = (
    check_breakers,
    check_side_capacity,
    check_main_breakers,
    check_generators,
)
