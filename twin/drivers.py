"""Input series that no part of the twin computes: outdoor temperature and carbon intensity of each region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from plant.weather import Weather

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


@dataclass(frozen=True)
class SiteDrivers(Drivers):
    """The site file's own values, with the weather series of the regions that name one."""

    weather: tuple[Weather | None, ...]

    def at(self, now_ms: int) -> tuple[Array, Array]:
        """Return (outdoor_c, carbon_kgco2_per_kwh), each (1, regions), in force at an instant."""
        outdoor_c = self.outdoor_c.copy()
        for g, series in enumerate(self.weather):
            if series is not None:
                outdoor_c[0, g] = series.at(now_ms)
        return outdoor_c, self.carbon_kgco2_per_kwh


def of_site(site: Site) -> Drivers:
    """Return what the site file itself says: its weather series, else its mean values for all times."""
    mean, weather = constant(site), site.cooling.region_weather
    if all(series is None for series in weather):
        return mean
    return SiteDrivers(mean.times_ms, mean.outdoor_c, mean.carbon_kgco2_per_kwh, weather)


def constant(site: Site) -> Drivers:
    """Return the site file's own mean values for all times."""
    return Drivers(
        np.zeros(1, dtype=np.int64),
        site.region_outdoor_c[None, :].copy(),
        site.region_carbon_kgco2_per_kwh[None, :].copy(),
    )
