"""Checks of the `[[network]]` tables against the rest of a site file; each returns the faults it finds."""

from __future__ import annotations

from collections.abc import Iterator

from plant.errors import Fault
from plant.network import MOST_SPINES
from plant.networkbuild import wired
from plant.networkfile import Fabric
from plant.ranges import collapse, expand
from plant.references import did_you_mean, unknown
from plant.sitefile import SiteFile


def check_network(file: SiteFile) -> list[Fault]:
    """Every hall or none has one fabric; names are new and known; leaves are wired to spines and reach each other."""
    faults = _halls(file)
    for i, fabric in enumerate(file.network):
        where = f"network[{i}]"
        known = [*_names(file, fabric, where), *_leaf_count(file, fabric, where), *_wires(fabric, where)]
        # whether leaves meet can be asked only of wires that make sense
        faults += known or [*_meet(fabric, where), *_idle_spines(fabric, where)]
    return faults


def _halls(file: SiteFile) -> list[Fault]:
    """A hall has one fabric at most, and all halls have one as soon as one has."""
    halls = [name for name, _ in file.halls()]
    faults, first = [], dict[str, int]()
    for i, fabric in enumerate(file.network):
        if fabric.hall not in halls:
            faults += unknown(f"network[{i}].hall", "hall", fabric.hall, halls)
        elif fabric.hall in first:
            found = f"hall '{fabric.hall}' already has network[{first[fabric.hall]}]"
            faults.append(Fault(f"network[{i}].hall", found, "one network a hall", "merge the two"))
        first.setdefault(fabric.hall, i)
    bare = [name for name in halls if name not in first]
    if file.network and bare and not faults:
        found = f"{', '.join(bare)} has no network while other halls have one"
        faults.append(Fault("network", found, "a network in every hall or in none", "add a [[network]] for it"))
    return faults


def _names(file: SiteFile, fabric: Fabric, where: str) -> list[Fault]:
    """Switches have names of their own inside the hall."""
    taken: dict[str, str] = {}
    for kind in ("rack", "cooling_unit"):
        for group in getattr(file, kind):
            if group.hall == fabric.hall:
                taken |= dict.fromkeys(expand(group.ids), kind)
    faults = []
    for key in ("leaves", "spines"):
        names = expand(getattr(fabric, key))
        clash = [name for name in names if name in taken]
        if clash:
            found = f"{collapse(clash)} already names a {taken[clash[0]]} of '{fabric.hall}'"
            faults.append(Fault(f"{where}.{key}", found, "names that occur once in a hall", "rename the switches"))
        taken |= dict.fromkeys(names, key.replace("leaves", "leaf").replace("spines", "spine"))
    if len(expand(fabric.spines)) > MOST_SPINES:
        faults.append(Fault(f"{where}.spines", f"{len(expand(fabric.spines))} spines", f"1..{MOST_SPINES}"))
    return faults


def _leaf_count(file: SiteFile, fabric: Fabric, where: str) -> list[Fault]:
    """The leaves carry the racks of the hall, and none stands empty."""
    racks = sum(len(expand(group.ids)) for group in file.rack if group.hall == fabric.hall)
    need, have = -(-racks // fabric.racks_per_leaf), len(expand(fabric.leaves))
    if racks == 0 or need == have:
        return []
    found = f"'{fabric.leaves}' names {have} leaves for {racks} racks, {fabric.racks_per_leaf} to a leaf"
    return [Fault(f"{where}.leaves", found, f"{need} leaves", "correct the range or racks_per_leaf")]


def _wires(fabric: Fabric, where: str) -> list[Fault]:
    """Uplinks go from a leaf that exists to spines that exist; a leaf has at least one."""
    leaves, spines = expand(fabric.leaves), expand(fabric.spines)
    faults = []
    for leaf, ends in fabric.uplinks.items():
        at = f"{where}.uplinks.{leaf}"
        if leaf in spines:
            faults.append(Fault(at, f"'{leaf}' is a spine", "leaf = [spines]", "an uplink upwards makes a circle"))
        elif leaf not in leaves:
            faults.append(Fault(at, f"no leaf '{leaf}'", f"one of {fabric.leaves}", did_you_mean(leaf, leaves)))
        elif not ends:
            faults.append(Fault(at, f"leaf '{leaf}' hangs on no spine", f"some of {fabric.spines}", "name its spines"))
        faults += _ends(leaves, spines, fabric, at, ends)
    return faults


def _ends(
    leaves: tuple[str, ...], spines: tuple[str, ...], fabric: Fabric, at: str, ends: tuple[str, ...]
) -> Iterator[Fault]:
    for end in ends:
        if end in leaves:
            yield Fault(at, f"'{end}' is a leaf", f"some of {fabric.spines}", "links between leaves make a circle")
        elif end not in spines:
            yield Fault(at, f"no spine '{end}'", f"some of {fabric.spines}", did_you_mean(end, spines))
    for end in sorted({end for end in ends if ends.count(end) > 1}):
        yield Fault(
            at, f"names '{end}' twice", "each spine once", "a second cable is capacity: raise uplink_gbit_per_s"
        )


def _meet(fabric: Fabric, where: str) -> list[Fault]:
    """Any two leaves share a spine: there is no second hop up."""
    some = {leaf: set(wired(fabric, leaf)) for leaf in expand(fabric.leaves)}
    odd = [leaf for leaf in fabric.uplinks if leaf in some]
    for leaf in odd:
        apart = [other for other, ends in some.items() if not ends & some[leaf]]
        if apart:
            found = f"leaves '{leaf}' and '{apart[0]}' share no spine"
            return [Fault(f"{where}.uplinks", found, "a spine in common for any two leaves", "wire one spine to both")]
    return []


def _idle_spines(fabric: Fabric, where: str) -> list[Fault]:
    """No spine stands without a leaf."""
    used = {spine for leaf in expand(fabric.leaves) for spine in wired(fabric, leaf)}
    idle = [spine for spine in expand(fabric.spines) if spine not in used]
    if not idle:
        return []
    return [Fault(f"{where}.spines", f"{collapse(idle)} is wired to no leaf", cure="remove it, or wire it")]
