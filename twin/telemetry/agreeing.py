"""Channels that must agree: a sum with its parts, load with power, run time with charge, front with back."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from plant.site import Site

Medians = Mapping[tuple[str, str, str], float]

# Two meters of one thing may differ by this factor before they are told.
FACTOR = 2.5
RUNTIME_FACTOR = 8.0
COLDER_K = 3.0


@dataclass(frozen=True)
class Finding:
    """One thing that is probably wrong, for people: where, what was found, what it looks like, why, the cure."""

    rule: str
    channel: str
    series: int
    of: int
    example: str
    found: str
    looks_like: str
    why: str
    cure: str
    witness: str

    def as_dict(self) -> dict[str, object]:
        """Its parts by name, what a person reads first in front; the rest stands in `where`."""
        first = ("channel", "found", "looks_like", "cure", "series", "of")
        rest = ("rule", "example", "why", "witness")
        return {name: getattr(self, name) for name in first} | {"where": [{name: getattr(self, name) for name in rest}]}


def disagreements(medians: Medians, site: Site | None) -> list[Finding]:
    """Findings of channels against each other, from the median of each (kind, component, channel)."""
    found = _front_and_back(medians, "rack") + _front_and_back(medians, "node")
    if site is not None:
        found += _sums(medians, site) + _ups(medians, site)
    return found


def _front_and_back(medians: Medians, kind: str) -> list[Finding]:
    """Air that leaves colder than it came in: front and back are swapped, or one is in another unit."""
    inlets = {c: v for (k, c, channel), v in medians.items() if (k, channel) == (kind, "inlet_c")}
    cold = [
        (c, medians[kind, c, "outlet_c"] - v)
        for c, v in inlets.items()
        if medians.get((kind, c, "outlet_c"), np.inf) < v - COLDER_K
    ]
    both = sum((kind, c, "outlet_c") in medians for c in inlets)
    if len(cold) < max(1, both // 2):
        return []
    component, by_k = cold[0]
    return [Finding("", f"{kind}.outlet_c", len(cold), both, component, f"outlet {-by_k:.3g} K colder than inlet",
                    "front and back swapped, or one of them in another unit", "air leaves warmer than it came",
                    "correct the rules of inlet_c and outlet_c", "other channels")]  # fmt: skip


def _sums(medians: Medians, site: Site) -> list[Finding]:
    """Nodes against their rack, racks and nodes against their hall."""
    pairs = (
        ("node", "rack", site.node_ids, site.node_rack, site.rack_ids),
        ("node", "hall", site.node_ids, site.node_hall, site.hall_ids),
        ("rack", "hall", site.rack_ids, site.rack_hall, site.hall_ids),
    )
    found = []
    for small, large, ids, owner, owners in pairs:
        parts: dict[int, list[float]] = defaultdict(list)
        for name, row in zip(ids, owner.tolist(), strict=True):
            if (small, name, "power_kw") in medians:
                parts[row].append(medians[small, name, "power_kw"])
        sizes = np.bincount(owner, minlength=len(owners))
        ratios = {
            owners[row]: medians[large, owners[row], "power_kw"] / sum(values)
            for row, values in parts.items()
            if (large, owners[row], "power_kw") in medians and len(values) == sizes[row] and sum(values) > 0
        }
        bad = {c: ratio for c, ratio in ratios.items() if ratio > 0 and not 1 / FACTOR <= ratio <= FACTOR}
        if bad:
            component, ratio = next(iter(bad.items()))
            found.append(Finding("", f"{large}.power_kw", len(bad), len(ratios), component,
                                 f"{ratio:.3g} x the sum of its {small}s", "one of the two in another unit",
                                 f"a {large} draws what its {small}s draw",
                                 f"compare {small}.power_kw and {large}.power_kw", "other channels"))  # fmt: skip
    return found


def _ups(medians: Medians, site: Site) -> list[Finding]:
    """Power against load and rating, run time against the energy left and the load."""
    found = []
    for u, name in enumerate(site.ups_ids):
        rated = float(site.ups_rated_kw[u])
        load, power = medians.get(("ups", name, "load_frac")), medians.get(("ups", name, "power_kw"))
        if load is None or not 0.02 < load < 1.5:
            continue
        if power is not None and power > 0 and not 1 / FACTOR <= power / (load * rated) <= FACTOR:
            found.append(_odd(name, "power_kw", f"{power:.4g} kW at a load of {load:.3g}",
                              f"{load * rated:.4g} kW from load times rating", load * rated / power))  # fmt: skip
        left = float(site.ups_battery_kwh[u]) * medians.get(("ups", name, "battery_frac"), 1.0)
        runtime = medians.get(("ups", name, "runtime_s"))
        expected = 3600.0 * left / (load * rated)
        if runtime is not None and runtime > 0 and expected > 30 and not (
            1 / RUNTIME_FACTOR <= runtime / expected <= RUNTIME_FACTOR
        ):  # fmt: skip
            found.append(_odd(name, "runtime_s", f"{runtime:.4g} s at a load of {load:.3g}",
                              f"{expected:.4g} s from charge and load", expected / runtime))  # fmt: skip
    return found


def _odd(component: str, channel: str, said: str, instead: str, short_of: float) -> Finding:
    """short_of: how many times what was said goes into what belongs there."""
    unit, slip = _read_as(channel, short_of)
    cure = f'unit = "{unit}" in its rule, or correct the UPS in the site file' if unit else (
        f"check the unit of {channel} and the UPS in the site file"
    )  # fmt: skip
    looks_like = f"{slip or 'another unit, or another rating'}: {instead}"
    return Finding("", f"ups.{channel}", 1, 1, component, said, looks_like,
                   "load, power, charge and run time belong together", cure, "other channels")  # fmt: skip


_SLIPS: dict[str, tuple[tuple[float, str, str], ...]] = {
    "runtime_s": (
        (1e9, "s", "seconds read as nanoseconds"), (1e6, "ms", "milliseconds read as nanoseconds"),
        (1e3, "s", "seconds read as milliseconds"), (60.0, "min", "minutes read as seconds"),
        (1e-3, "ms", "milliseconds read as seconds"), (1e-9, "ns", "nanoseconds read as seconds"),
    ),
    "power_kw": ((1e3, "kW", "kilowatts read as watts"), (1e-3, "W", "watts read as kilowatts")),
}  # fmt: skip


def _read_as(channel: str, short_of: float) -> tuple[str, str]:
    """The unit that a source meant and how it was read, from how far off it is; nothing where no unit is so far off."""
    factor, unit, words = min(_SLIPS[channel], key=lambda slip: abs(math.log(short_of / slip[0])))
    return (unit, words) if abs(math.log(short_of / factor)) < math.log(RUNTIME_FACTOR) else ("", "")
