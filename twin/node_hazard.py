"""The hazard that nodes accrue: one number for each rack, whatever the kind of fault (design section 1, rule 4)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from plant import faults
from plant.site import Site
from twin.derived import Derived
from twin.layout import segment_sum
from twin.state import State

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

HAZARD_MS = 60_000  # hazard is accrued on whole minutes: it changes by less than a tenth within one
DAY_S = 86_400.0


@lru_cache(maxsize=64)
def rack_rates(site: Site, day: int) -> tuple[Array, ...]:
    """Rate of the first faults of one average node of each rack [1/s], by class of acceleration, at an age in days."""
    laws = site.faults
    kinds = laws.type_rate_per_s * faults.wear((day + 0.5) * DAY_S, laws)
    of_rack = faults.class_rates(kinds, laws)[site.node_type[site.rack_start[:-1]]]
    return tuple(np.ascontiguousarray(of_rack[:, c]) for c in range(of_rack.shape[1]))


def rack_load_frac(d: Derived) -> Array:
    """Load of each rack (M, R): mean utilisation of its nodes."""
    return segment_sum(d.util_frac, d.layout.rack_nodes) / d.layout.nodes_per_rack


def age_day(s: State) -> int:
    """Age of the fleet in whole days; the same in every row."""
    return int(s.fleet_age_s[0] // DAY_S)


def rack_rate_per_s(d: Derived) -> Array:
    """Rate of the first faults of one average node of each rack (M, R) [1/s], at its temperature, load and age."""
    laws, load = d.site.faults, rack_load_frac(d)
    total = np.zeros(d.rack_kw.shape)
    for c, rate in enumerate(rack_rates(d.site, age_day(d.state))):
        if laws.doublings_per_k[c] or laws.load_doublings[c]:
            total += rate * faults.acceleration(d.state.rack_inlet_c, load, laws, c)
        else:
            total += rate
    return total


def accrue(d: Derived, dt_s: float) -> bool:
    """Add the hazard of the whole minutes that ended in this step; False where none did."""
    s = d.state
    marks = s.grid_ms // HAZARD_MS - (s.grid_ms - round(dt_s * 1000.0)) // HAZARD_MS
    if not marks:
        return False
    spent_s = marks * HAZARD_MS / 1000.0
    s.rack_hazard[...] += rack_rate_per_s(d) * spent_s
    s.fleet_age_s[...] += spent_s
    return True


def node_rates(d: Derived, row: Ints, node: Ints) -> Array:
    """Rates of every kind of fault of some nodes now (n, K) [1/s]."""
    laws, site = d.site.faults, d.site
    rack = site.node_rack[node]
    load, inlet_c = rack_load_frac(d)[row, rack], d.state.rack_inlet_c[row, rack]
    classes = range(len(laws.doublings_per_k))
    faster = np.stack([faults.acceleration(inlet_c, load, laws, c) for c in classes], axis=1)
    worn = faults.wear((age_day(d.state) + 0.5) * DAY_S, laws)
    return np.asarray(laws.type_rate_per_s[site.node_type[node]] * worn * faster[:, laws.kind_class])
