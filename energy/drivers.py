"""Input series as the twin takes them: outdoor temperature and carbon intensity of each region, hour by hour."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from energy.carbon import KIND as CARBON
from energy.series import HOUR_MS, Series, cuts_ms, values_at
from plant.errors import ConfigError, Fault
from plant.site import Site
from twin.drivers import Drivers

WEATHER = "weather"


def drivers_of(
    site: Site,
    start_ms: int,
    hours: float,
    carbon: Series | None = None,
    weather: Series | None = None,
    zones: Mapping[str, str] | None = None,
) -> Drivers:
    """Drivers of a site for `hours` from an instant (Unix ms), from hourly series.

    Where no weather series is given a region keeps that of its site file, looked at hour by hour, else its mean.
    `zones` says which zone a region lies in (default: the zone of the region's own name). A region without a zone keeps
    the mean of the site file. Raises ConfigError, all faults at once, for a series of another kind, one that knows no
    region of the site, an unknown name in `zones`, or an hour that is not covered.
    """
    times_ms = cuts_ms(start_ms, start_ms + round(hours * HOUR_MS))[:-1]
    faults = [Fault("drivers", f"region '{r}' in zones", f"one of {' '.join(site.region_ids)}")
              for r in (zones or {}) if r not in site.region_ids]  # fmt: skip
    named = {region: (zones or {}).get(region, region) for region in site.region_ids}
    outdoor = _columns(site, times_ms, weather, WEATHER, named, set(zones or {}), site.region_outdoor_c, faults)
    for g, own in enumerate(site.cooling.region_weather):
        if weather is None and own is not None:
            outdoor[:, g] = [own.at(int(at_ms)) for at_ms in times_ms]
    intensity = _columns(
        site, times_ms, carbon, CARBON, named, set(zones or {}), site.region_carbon_kgco2_per_kwh, faults
    )
    if faults:
        raise ConfigError(faults=faults)
    return Drivers(times_ms, outdoor, intensity)


def _columns(
    site: Site,
    times_ms: NDArray[np.int64],
    series: Series | None,
    kind: str,
    named: Mapping[str, str],
    asked: set[str],
    means: NDArray[np.float64],
    faults: list[Fault],
) -> NDArray[np.float64]:
    """Values (T, regions): of the series where it knows the region's zone, else the site file's mean."""
    out = np.tile(np.asarray(means, dtype=np.float64), (len(times_ms), 1))
    if series is None:
        return out
    if series.kind != kind:
        faults.append(Fault("drivers", f"a series of kind '{series.kind}'", kind))
        return out
    where, known = f"{kind} series", " ".join(sorted(series.zones))
    faults += [Fault(where, f"no zone '{named[r]}' for region '{r}'", f"one of {known}")
               for r in sorted(asked) if r in named and named[r] not in series.zones]  # fmt: skip
    if not asked and not set(named.values()) & set(series.zones):
        faults.append(
            Fault(where, f"no zone of {' '.join(site.region_ids)}", f"zones {known}", "say which zone is whose")
        )
    for g, region in enumerate(site.region_ids):
        if named[region] in series.zones:
            out[:, g] = values_at(series, times_ms, named[region])
            gaps = int(np.isnan(out[:, g]).sum())
            if gaps:
                found = f"{gaps} of {len(times_ms)} hours of zone '{named[region]}' missing"
                faults.append(Fault(where, found, "every hour of the run", "give a file that covers it"))
    return out
