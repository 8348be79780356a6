"""The unit a source's own name carries: `time_left_ns`, `power_watts`, a tag unit=degrees_f; and what we ship for it.

A name speaks only where the values do not speak against it.
"""

from __future__ import annotations

import re

import numpy as np

from twin.telemetry.conversions import canonical, conversion, per_second
from twin.telemetry.mapping import Mapping
from twin.telemetry.mappingfile import line_of
from twin.telemetry.matching import Meaning
from twin.telemetry.samples import Series
from twin.telemetry.unitcheck import Doubt, Line, Numbers, inside_frac

_ENDINGS = {
    "ns": "ns", "nanoseconds": "ns", "us": "us", "microseconds": "us", "ms": "ms", "millis": "ms", "milliseconds": "ms",
    "seconds": "s", "secs": "s", "minutes": "min", "mins": "min", "hours": "h", "w": "W", "watt": "W", "watts": "W",
    "kw": "kW", "kilowatts": "kW", "milliwatts": "mW", "microwatts": "uW", "mj": "mJ", "millijoules": "mJ",
    "joules": "J", "kwh": "kWh", "wh": "Wh", "celsius": "C", "degc": "C", "fahrenheit": "F", "degf": "F", "kelvin": "K",
    "percent": "%", "pct": "%", "rpm": "rpm", "volts": "V", "mv": "mV", "millivolts": "mV", "amps": "A", "hz": "Hz",
    "mhz": "MHz", "pa": "Pa", "kpa": "kPa", "bar": "bar", "psi": "psi", "decivolts": "0.1 V", "dv": "0.1 V",
}  # fmt: skip
_STEPS = re.compile(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])")


def unit_in_name(series: Series) -> str | None:
    """The unit that the tag `unit` or the end of the field's (or metric's) name says, None where neither does.

    >>> unit_in_name(Series.of("upsd", "time_left_ns"))
    'ns'
    """
    said = dict(series.tags).get("unit")
    if said and conversion(said, said) is not None:
        return canonical(said)
    words = [word.lower() for word in _STEPS.split(series.field) if word]
    if series.field in ("gauge", "counter", "value", "untyped"):
        words = [word.lower() for word in _STEPS.split(series.measurement) if word]
    words = words[:-1] if words[-1:] == ["total"] else words
    return _ENDINGS.get(words[-1]) if len(words) > 1 else None


def by_name(
    n: int, series: Series, meaning: Meaning, numbers: Numbers, line: Line, shipped: Mapping
) -> tuple[Doubt, str] | None:
    """What a shipped rule, or a name that carries a unit, says against the mapping of series n; and which of them."""
    known = shipped.rule_of(series)
    if known is not None and known.rule.channel == meaning.channel and known.rule.counter == meaning.counter:
        theirs, unit = line_of(known.rule, line.unit), known.rule.unit or line.unit
        why, witness = f"the shipped rule {known.name} reads it so", "shipped rule"
    else:
        named = unit_in_name(series)
        way = None if named is None else conversion(per_second(named) if meaning.counter else named, line.unit)
        if named is None or way is None:
            return None
        theirs, unit, why, witness = way, named, "the name says so", "name"
    if _alike(theirs, line) or _refuted(theirs, numbers, line):
        return None
    middle = float(np.median(numbers.raw))
    found, would = middle * line.scale + line.offset, middle * theirs[0] + theirs[1]
    return Doubt((n,), found, f"unit {unit}", would, unit, why), witness


def _alike(theirs: tuple[float, float], line: Line) -> bool:
    near = abs(theirs[1] - line.offset) <= 1e-3 + 1e-3 * abs(theirs[1])
    return near and abs(theirs[0] - line.scale) <= 1e-3 * abs(theirs[0])


def _refuted(theirs: tuple[float, float], numbers: Numbers, line: Line) -> bool:
    """Whether the values fit as mapped and not the other way, or say nothing at all."""
    if not np.any(numbers.raw):
        return True
    if numbers.band is None:
        return False
    ours = inside_frac(numbers.raw, line.scale, line.offset, line.unit, numbers.band)
    return ours >= 0.5 > inside_frac(numbers.raw, *theirs, line.unit, numbers.band)
