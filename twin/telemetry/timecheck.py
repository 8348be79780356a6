"""Times of samples: how often a series comes, where it has gaps, and whether the clock counts in the unit it should."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from twin.telemetry.admit import EARLIEST_MS, FUTURE_LIMIT_MS
from twin.telemetry.agreeing import Finding
from twin.telemetry.samples import NO_TIME_MS, Samples

GAP = 3.0
# (factor to what was probably meant, the unit the times seem to be in)
_CLOCKS = ((1e3, "s"), (1e-3, "us"), (1e-6, "ns"), (1.0 / 1e3, "ms"))


@dataclass(frozen=True)
class Beat:
    """How often a series comes: samples, usual step, longest step, steps above three usual ones."""

    n: int
    interval_s: float | None
    longest_s: float | None
    gaps: int


def beat_of(time_ms: NDArray[np.int64]) -> Beat:
    """The beat of a series, from its times in any order."""
    steps = np.diff(np.unique(time_ms)).astype(np.float64) / 1000.0
    if not len(steps):
        return Beat(len(time_ms), None, None, 0)
    usual = float(np.median(steps))
    return Beat(len(time_ms), usual, float(steps.max()), int((steps > GAP * usual).sum()))


def clock_finding(samples: Samples, now_ms: int) -> list[Finding]:
    """A finding where most times lie before 2000 or in the future, and would not in another unit."""
    times = samples.time_ms[samples.time_ms != NO_TIME_MS].astype(np.float64)
    if not len(times) or _sane(times, now_ms) >= 0.5:
        return []
    fits = [(factor, unit) for factor, unit in _CLOCKS if _sane(times * factor, now_ms) >= 0.9]
    if not fits:
        return []
    factor, unit = fits[0]
    said = "seconds read as milliseconds" if unit == "s" else "milliseconds read as seconds, or finer ones as coarser"
    meant = datetime.fromtimestamp(float(np.median(times)) * factor / 1000.0, UTC).isoformat(timespec="seconds")
    cure = 'time_unit = "s" in [source.NAME]' if unit == "s" else 'time_unit = "ms" (or "us", "ns") in [source.NAME]'
    return [Finding("", "time", len(samples.series), len(samples.series), str(samples.series[0]),
                    f"times around {float(np.median(times)):.4g} ms since 1970", f"{said}: {meant}",
                    "before 2000 or in the future", cure, "clock")]  # fmt: skip


def _sane(times: NDArray[np.float64], now_ms: int) -> float:
    return float(np.mean((times >= EARLIEST_MS) & (times <= now_ms + FUTURE_LIMIT_MS)))
