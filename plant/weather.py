"""Outdoor temperature of a region as a series: a plain CSV of `time,outdoor_c` beside the site file.

`time` is an ISO instant with its offset (2026-07-19T12:00:00Z), or HH:MM of a typical day in UTC, which then repeats. A
value holds until the next one. Lines that begin with # are notes.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plant.errors import Fault
from plant.units import probable_slip, shown

DAY_MS = 86_400_000
LOW_C, HIGH_C = -60.0, 60.0
MOST_FAULTS = 5


@dataclass(frozen=True, eq=False)
class Weather:
    """Values held from each time to the next: times_ms (T,) ascending, outdoor_c (T,); a typical day repeats."""

    times_ms: NDArray[np.int64]
    outdoor_c: NDArray[np.float64]
    daily: bool
    digest: str

    def at(self, now_ms: int) -> float:
        """Return the temperature in force at an instant [C]: the first before the series, the last after it."""
        when = now_ms % DAY_MS if self.daily else now_ms
        i = int(np.searchsorted(self.times_ms, when, side="right")) - 1
        # a day whose first value comes after midnight begins with the last one of the day before
        return float(self.outdoor_c[i if self.daily else max(i, 0)])


def read_weather(path: Path, where: str) -> tuple[Weather | None, list[Fault]]:
    """Read one file; return it, or None and what is wrong with it. `where` is the key that names the file."""
    try:
        content = path.read_bytes()
        lines = [line for line in content.decode("utf-8").splitlines() if line and not line.startswith("#")]
    except (OSError, UnicodeDecodeError) as error:
        said = type(error).__name__ if isinstance(error, UnicodeDecodeError) else error.strerror or "cannot be read"
        return None, [Fault(where, f"{path.name}: {said}", "a CSV file beside the site file", "correct the name")]
    rows = list(csv.DictReader(lines))
    if not rows or not {"time", "outdoor_c"} <= set(rows[0]):
        found = f"{path.name} has columns {' '.join(rows[0]) if rows else 'none'}"
        return None, [Fault(where, found, "time and outdoor_c, one row at least")]
    times, values, faults = _parsed(rows, f"{where} {path.name}")
    if not faults and np.any(np.diff(times) <= 0):
        row = int(np.flatnonzero(np.diff(times) <= 0)[0]) + 2
        faults.append(Fault(f"{where} {path.name} row {row}", "its time is not after the one before", "rising times"))
    if faults:
        more = len(faults) - MOST_FAULTS
        return None, faults[:MOST_FAULTS] + ([Fault(where, f"{more} more rows are wrong")] if more > 0 else [])
    daily = ":" in rows[0]["time"] and "T" not in rows[0]["time"]
    made = np.array(times, dtype=np.int64), np.array(values)
    return Weather(*made, daily, hashlib.sha256(content).hexdigest()), []


def _parsed(rows: list[dict[str, str]], where: str) -> tuple[list[int], list[float], list[Fault]]:
    times: list[int] = []
    values: list[float] = []
    faults: list[Fault] = []
    clock = "T" not in (rows[0]["time"] or "")
    for i, row in enumerate(rows, start=1):
        at = _clock_ms(row["time"]) if clock else _instant_ms(row["time"])
        if at is None:
            allowed = "HH:MM as in the first row" if clock else "an ISO instant with its offset, as 2026-07-19T12:00Z"
            faults.append(Fault(f"{where} row {i}", f"time '{row['time']}'", allowed))
        faults += _value_fault(row["outdoor_c"], f"{where} row {i}")
        if not faults:
            times.append(at or 0)
            values.append(float(row["outdoor_c"]))
    return times, values, faults


def _value_fault(text: str | None, where: str) -> Iterator[Fault]:
    try:
        value = float(text or "")
    except ValueError:
        yield Fault(where, f"outdoor_c '{text}'", f"a number, {shown(LOW_C)}..{shown(HIGH_C)} C")
        return
    if not LOW_C <= value <= HIGH_C:
        slip = probable_slip(value, "C", LOW_C, HIGH_C) if np.isfinite(value) else None
        cure = f"looks like {slip[0]}: write {shown(slip[1])}" if slip else ""
        yield Fault(where, f"outdoor_c is {shown(value)} C", f"{shown(LOW_C)}..{shown(HIGH_C)} C", cure)


def _clock_ms(text: str | None) -> int | None:
    try:
        hour, minute = (int(part) for part in (text or "").split(":"))
    except ValueError:
        return None
    return (hour * 60 + minute) * 60_000 if 0 <= hour < 24 and 0 <= minute < 60 else None


def _instant_ms(text: str | None) -> int | None:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return None if at.tzinfo is None else round(at.timestamp() * 1000)
