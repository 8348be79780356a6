"""Carbon of energy: energy [kWh] times intensity [kgCO2/kWh], hour by hour, and nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from energy.series import Series, cuts_ms, values_at
from plant.errors import ConfigError

Floats = NDArray[np.float64]
KIND = "carbon_intensity"
UNIT = "kgCO2/kWh"


def intensity_at(series: Series, times_ms: ArrayLike, zone: str | None = None) -> Floats:
    """Carbon intensity [kgCO2/kWh] in force at instants (Unix ms); nan in a gap. ConfigError for another kind."""
    if series.kind != KIND:
        raise ConfigError("carbon", f"a series of kind '{series.kind}'", KIND, "give the carbon intensity series")
    return values_at(series, times_ms, zone)


def carbon_kgco2(energy_kwh: ArrayLike, intensity: ArrayLike) -> Floats:
    """Carbon [kg] of energy (..., T) at intensities (..., T) [kgCO2/kWh], summed over the last axis.

    >>> float(carbon_kgco2([10.0, 20.0], [0.5, 0.25]))
    10.0
    """
    return np.asarray((np.asarray(energy_kwh, dtype=np.float64) * np.asarray(intensity, dtype=np.float64)).sum(axis=-1))


def spread_kwh(energy_kwh: float, start_ms: int, end_ms: int) -> tuple[NDArray[np.int64], Floats]:
    """Energy drawn evenly over [start, end) by the hours it falls into: their first instants (T,) and kWh (T,)."""
    edges = cuts_ms(start_ms, end_ms)
    length = np.diff(edges).astype(np.float64)
    total = length.sum()
    return edges[:-1], energy_kwh * (length / total if total > 0.0 else np.ones(len(length)) / len(length))


def carbon_between_kgco2(
    series: Series, energy_kwh: float, start_ms: int, end_ms: int, zone: str | None = None
) -> float:
    """Carbon [kg] of energy drawn evenly over [start, end), each hour at its own intensity; nan over a gap."""
    times_ms, parts_kwh = spread_kwh(energy_kwh, start_ms, end_ms)
    return float(carbon_kgco2(parts_kwh, intensity_at(series, times_ms, zone)))
