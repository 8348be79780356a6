"""Hourly series by zone: carbon intensity, electricity price, outdoor temperature. A value holds for its whole hour.

What a file does not say stays a gap (nan), never 0 and never a neighbour. Times are Unix milliseconds, UTC. Files are
found by their prefix (`contracts.md`); how they are read: `energy/seriesfile.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plant.errors import ConfigError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, eq=False)
class Zone:
    """One zone's hours: times_ms (T,) ascending, values (T,) finite, and their unit."""

    times_ms: Ints
    values: Floats
    unit: str

    def __len__(self) -> int:
        return len(self.times_ms)


@dataclass(frozen=True, eq=False)
class Series:
    """Values of one kind by zone. `daily`: one made-up or typical day, times 0..23 h, that repeats every day.

    column: where in the file the values come from; source: what the file says about its origin.
    """

    kind: str
    column: str
    source: str
    zones: Mapping[str, Zone]
    daily: bool = False

    def zone(self, name: str | None = None) -> Zone:
        """One zone by name; without a name the only one. Raises ConfigError that lists the names."""
        if name is None and len(self.zones) == 1:
            return next(iter(self.zones.values()))
        if name is None or name not in self.zones:
            found = "no zone named" if name is None else f"no zone '{name}'"
            raise ConfigError(f"{self.kind} series", found, f"one of {' '.join(sorted(self.zones))}", "name the zone")
        return self.zones[name]


def values_at(series: Series, times_ms: ArrayLike, zone: str | None = None) -> Floats:
    """Values in force at instants (Unix ms, any shape), in the zone's unit; nan where no hour covers one."""
    hours, when = series.zone(zone), np.asarray(times_ms, dtype=np.int64)
    if not len(hours):
        return np.full(when.shape, np.nan)
    if series.daily:
        when = when % DAY_MS
    at = np.searchsorted(hours.times_ms, when, side="right") - 1
    known = (at >= 0) & (when - hours.times_ms[np.maximum(at, 0)] < HOUR_MS)
    return np.where(known, hours.values[np.maximum(at, 0)], np.nan)


def cuts_ms(start_ms: int, end_ms: int) -> Ints:
    """The instants in [start, end] between which hourly values hold: start, every whole hour inside, end."""
    if end_ms < start_ms:
        raise ConfigError("series", f"an interval that ends {start_ms - end_ms} ms before it starts", "start <= end")
    first = (start_ms // HOUR_MS + 1) * HOUR_MS
    return np.array([start_ms, *range(first, end_ms, HOUR_MS), end_ms], dtype=np.int64)


def mean_between(series: Series, start_ms: int, end_ms: int, zone: str | None = None) -> float:
    """Mean over time of the values in force in [start, end), in the zone's unit; nan where a part is not covered."""
    edges = cuts_ms(start_ms, end_ms)
    values, length = values_at(series, edges[:-1], zone), np.diff(edges).astype(np.float64)
    return float(values[0]) if end_ms == start_ms else float((values * length).sum() / length.sum())
