"""Checks of one node type: power, supplies, accelerators, fans. Each returns the faults it finds at `where`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from plant import gpu
from plant.errors import Fault
from plant.gpubuild import mem_gain_k_per_kw
from plant.sitefile import NodeType, SiteFile
from plant.units import shown


def check_power_range(kind: NodeType, where: str) -> list[Fault]:
    """A node needs less at rest than at work."""
    if kind.idle_kw < kind.peak_kw:
        return []
    allowed = f"below peak_kw {shown(kind.peak_kw)} kW"
    return [Fault(f"{where}idle_kw", f"is {shown(kind.idle_kw)} kW", allowed, "swap them?")]


def check_power_supplies(kind: NodeType, where: str) -> list[Fault]:
    """The power supplies that are needed carry the node, and needed and spare ones are those installed."""
    needed, spare = (int(part) for part in kind.psu_redundancy.split("+"))
    if needed + spare != kind.psus or needed == 0:
        total = f"{needed} needed + {spare} spare = {needed + spare}"
        found = f"'{kind.psu_redundancy}' is {total}, but psus is {kind.psus}"
        cure = "make needed + spare equal psus, with at least 1 needed"
        return [Fault(f"{where}psu_redundancy", found, f"a sum of {kind.psus}", cure)]
    if 0 < kind.psu_rated_kw * needed < kind.peak_kw:
        found = f"{needed} needed x {shown(kind.psu_rated_kw)} kW carry less than peak_kw {shown(kind.peak_kw)} kW"
        return [Fault(f"{where}psu_rated_kw", found, f"at least {shown(kind.peak_kw / needed)} kW")]
    return []


def check_power_laws(kind: NodeType, where: str) -> list[Fault]:
    """A measured curve rises from (0, 0) to (1, 1); wake-ups name cores that exist and share out all of the power."""
    faults = []
    if kind.power_curve and kind.wake_cores:
        found, cure = "both power_curve and wake_cores", "keep the one that was measured"
        faults.append(Fault(f"{where}power_curve", found, "one law", cure))
    if kind.power_curve and not _is_curve(kind.power_curve):
        allowed = "points [utilisation, share] from [0, 0] to [1, 1]; utilisation rises, share never falls"
        faults.append(Fault(f"{where}power_curve", f"is {[list(p) for p in kind.power_curve]}", allowed))
    if not _rising(kind.wake_cores) or not all(1 <= c <= kind.cores for c in kind.wake_cores):
        found = f"is {list(kind.wake_cores)}"
        faults.append(Fault(f"{where}wake_cores", found, f"rising numbers of cores, 1..{kind.cores}"))
    n, total = len(kind.wake_cores), sum(kind.wake_frac)
    if len(kind.wake_frac) != n or min(kind.wake_frac, default=0.0) < 0.0 or (n and abs(total - 1.0) > 1e-6):
        allowed = f"{n} shares of at least 0 that add up to 1, one for each of wake_cores"
        faults.append(Fault(f"{where}wake_frac", f"is {list(kind.wake_frac)}", allowed))
    return faults


def _rising(values: Sequence[float]) -> bool:
    return all(a < b for a, b in itertools.pairwise(values))


def _is_curve(points: tuple[tuple[float, float], ...]) -> bool:
    at, share = np.array(points, dtype=np.float64).T
    ends = (at[0], share[0], at[-1], share[-1]) == (0.0, 0.0, 1.0, 1.0)
    return bool(ends and (np.diff(at) > 0.0).all() and (np.diff(share) >= 0.0).all())


def check_gpus(kind: NodeType, where: str) -> list[Fault]:
    """Accelerators draw less than their node, their thresholds rise, and more power never cools their memory."""
    table, at = kind.gpu, f"{where}gpu"
    if table is None:
        return []
    faults = []
    if kind.gpus == 0:
        found = f"'{kind.id}' has no accelerator"
        faults.append(Fault(at, found, "no gpu table", "set gpus, or drop the table"))
    for what in ("idle", "peak"):
        own, of_all = getattr(kind, f"{what}_kw"), kind.gpus * getattr(table, f"{what}_kw")
        if of_all > own:
            found = f"{kind.gpus} accelerators at {what} draw {shown(of_all)} kW"
            faults.append(Fault(f"{at}.{what}_kw", found, f"at most the node's {shown(own)} kW"))
    if table.idle_kw >= table.peak_kw:
        faults.append(Fault(f"{at}.idle_kw", f"is {shown(table.idle_kw)} kW", f"below {shown(table.peak_kw)} kW"))
    if not table.slow_c < table.hard_c < table.stop_c:
        found = f"slow_c {shown(table.slow_c)}, hard_c {shown(table.hard_c)}, stop_c {shown(table.stop_c)} C"
        faults.append(Fault(at, found, "slow_c < hard_c < stop_c", "put the three in rising order"))
    resistance = table.chip_k_per_kw + table.air_k_per_kw
    if table.idle_kw < table.peak_kw and resistance + mem_gain_k_per_kw(kind) <= 0.0:
        found = f"memory that cools by {shown(-mem_gain_k_per_kw(kind) - resistance)} K for each kW more"
        faults.append(Fault(f"{at}.mem_above_peak_k", found, "memory that warms with power", "raise it"))
    return faults


def check_fans(kind: NodeType, where: str) -> list[Fault]:
    """Fan speeds and their thresholds rise together and end below the slowdown; fans draw less than their node."""
    fans, at = kind.fans, f"{where}fans"
    if fans is None:
        return []
    faults = []
    wanted = len(fans.speed_frac) - 1
    if len(fans.above_c) != wanted or not _rising(fans.above_c):
        found = f"{list(fans.above_c)} for {wanted + 1} speeds"
        faults.append(Fault(f"{at}.above_c", found, f"{wanted} rising temperatures"))
    if not _rising(fans.speed_frac) or fans.speed_frac[0] < gpu.DRAUGHT_FRAC or fans.speed_frac[-1] != 1.0:
        allowed = f"rising from at least {gpu.DRAUGHT_FRAC} to 1"
        faults.append(Fault(f"{at}.speed_frac", f"is {list(fans.speed_frac)}", allowed))
    last_c = max(fans.above_c, default=0.0)
    if kind.gpu is not None and last_c >= kind.gpu.slow_c:
        found, allowed = f"full speed from {shown(last_c)} C", f"below gpu.slow_c {shown(kind.gpu.slow_c)} C"
        faults.append(Fault(f"{at}.above_c", found, allowed, "fans first, then the clock"))
    if fans.kw >= kind.peak_kw - kind.idle_kw:
        allowed = f"below peak_kw - idle_kw, {shown(kind.peak_kw - kind.idle_kw)} kW"
        faults.append(Fault(f"{at}.kw", f"is {shown(fans.kw)} kW", allowed))
    return faults


CHECKS: tuple[Callable[[NodeType, str], list[Fault]], ...] = (
    check_power_range,
    check_power_supplies,
    check_power_laws,
    check_gpus,
    check_fans,
)


def check_node_type(kind: NodeType, where: str = "") -> list[Fault]:
    """All faults of one node type; `where` is its path in the file, with a dot behind."""
    return [fault for check in CHECKS for fault in check(kind, where)]


def check_node_types(file: SiteFile) -> list[Fault]:
    """All faults of all node types of a site file."""
    return [f for i, kind in enumerate(file.node_type) for f in check_node_type(kind, f"node_type[{i}].")]
