"""Input series that no part of the twin computes: outdoor temperature and carbon intensity of each region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant.site import Site

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Drivers:
    """Values held from each time to the next: times_ms (T,), outdoor_c and carbon_kgco2_per_kwh (T, regions)."""

    times_ms: NDArray[np.int64]
    outdoor_c: Array
    carbon_kgco2_per_kwh: Array

    def at(self, now_ms: int) -> tuple[Array, Array]:
        """Return (outdoor_c, carbon_kgco2_per_kwh), each (1, regions), in force at an instant."""
        i = max(int(np.searchsorted(self.times_ms, now_ms, side="right")) - 1, 0)
        return self.outdoor_c[i : i + 1], self.carbon_kgco2_per_kwh[i : i + 1]


def constant(site: Site) -> Drivers:
    """Return the site file's own mean values for all times."""
    return Drivers(
        np.zeros(1, dtype=np.int64),
        site.region_outdoor_c[None, :].copy(),
        site.region_carbon_kgco2_per_kwh[None, :].copy(),
    )
