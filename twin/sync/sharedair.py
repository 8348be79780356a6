"""The air that racks of a hall share: what all their inlets say beyond what was predicted is no rack's and no sensor's.

A set-point that was changed, a coil that gives less than the twin believes, an error of the water's sensor show in all
inlets of a hall alike, and in the outlets behind them. Taken for the racks' own they would bend flows, time constants
and the errors of sensors; so each reading of a rack is held against the others of its hall.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.sync.asked import Asked
from twin.sync.names import Key, Names
from twin.sync.sensorfaults import FOLLOWS_FRAC, TRIM

Array = NDArray[np.float64]
Places = NDArray[np.int64]

INLET: Key = ("rack", "inlet_c")
SHARING: tuple[Key, ...] = (INLET, ("rack", "outlet_c"))
HOT: Key = ("hall", "hot_c")
FRESH_MS = 60_000  # inlets take turns: what was said within so long counts as of now
LEAST_RACKS = 4


class SharedAir:
    """The newest surprise of every rack inlet, and what those of a hall have in common."""

    def __init__(self, site: Site, names: Names) -> None:
        """Nothing has been heard."""
        racks = len(site.rack_ids)
        self.hall = np.asarray(site.rack_hall, dtype=np.int64)
        self.surprise_k, self.heard_ms = np.zeros(racks), np.full(racks, -(2**62), dtype=np.int64)
        self.common_k = np.zeros(len(site.hall_ids))
        self.hall_of = np.full(names.count, -1, dtype=np.int64)
        """The hall whose shared air a sensor sees, by its number, -1 for none."""
        for key in (*SHARING, HOT):
            if key in names.first:
                self.hall_of[names.of(key)] = self.hall if key != HOT else np.arange(len(site.hall_ids))

    def hear(self, racks: Places, difference_k: Array, time_ms: int) -> None:
        """Take what inlets read beyond the prediction [K]; the common part of each hall is their median."""
        self.surprise_k[racks], self.heard_ms[racks] = difference_k, time_ms
        fresh = np.abs(self.heard_ms - time_ms) <= FRESH_MS
        for h in range(len(self.common_k)):
            here = fresh & (self.hall == h)
            said = np.sort(self.surprise_k[here])
            middle = said[(len(said) - 1) // 2 : len(said) // 2 + 1]
            self.common_k[h] = middle.sum() / len(middle) if len(said) >= LEAST_RACKS else 0.0

    def shared(self, sensors: Places) -> Array:
        """Return what the hall of each sensor has in common, by its number; 0 of what does not see such air."""
        hall = self.hall_of[sensors]
        return np.where(hall >= 0, self.common_k[hall], 0.0)

    def less_common(self, a: Asked) -> Asked:
        """Return readings of racks less what their hall has in common; how an outlet follows that is not quite sure."""
        common_k = self.common_k[self.hall[a.at]]
        return replace(a, value=a.value - common_k, error_var=a.error_var + (FOLLOWS_FRAC * common_k) ** 2)


def agreed_weight(heard: Asked, group: Places, weight: Array) -> Array:
    """Return by how much the error variance of each reading grows (n,); not where most of its group say the same."""
    if not (weight > 1.0).any():
        return weight
    scaled = (heard.value - heard.mean) / np.sqrt(heard.var)
    out = weight.copy()
    for g in np.unique(group[weight > 1.0]).tolist():
        here = group == g
        common = np.median(scaled[here])
        if here.sum() > 1 and abs(common) > TRIM:
            out[here & (np.abs(scaled - common) <= TRIM)] = 1.0
    return out
