"""Units that sources use, and the line from a number of theirs to one of ours.

A unit may carry a factor in front: "0.1 V" are tenths of volts, "10 W" tens of watts. A counter's unit is that of the
count; its rate is in that unit each second.
"""

from __future__ import annotations

import re

# unit -> (dimension, scale, offset) to the first unit of its dimension
_TABLE: dict[str, tuple[str, float, float]] = {
    "C": ("temperature", 1.0, 0.0),
    "K": ("temperature", 1.0, -273.15),
    "F": ("temperature", 5.0 / 9.0, -160.0 / 9.0),
    "kW": ("power", 1.0, 0.0),
    "W": ("power", 1e-3, 0.0),
    "mW": ("power", 1e-6, 0.0),
    "uW": ("power", 1e-9, 0.0),
    "MW": ("power", 1e3, 0.0),
    "J/s": ("power", 1e-3, 0.0),
    "mJ/s": ("power", 1e-6, 0.0),
    "uJ/s": ("power", 1e-9, 0.0),
    "kJ/s": ("power", 1.0, 0.0),
    "Wh/s": ("power", 3.6, 0.0),
    "kWh/s": ("power", 3600.0, 0.0),
    "fraction": ("share", 1.0, 0.0),
    "%": ("share", 1e-2, 0.0),
    "ns/s": ("share", 1e-9, 0.0),
    "us/s": ("share", 1e-6, 0.0),
    "ms/s": ("share", 1e-3, 0.0),
    "s/s": ("share", 1.0, 0.0),
    "flag": ("flag", 1.0, 0.0),
    "V": ("voltage", 1.0, 0.0),
    "mV": ("voltage", 1e-3, 0.0),
    "kV": ("voltage", 1e3, 0.0),
    "A": ("current", 1.0, 0.0),
    "mA": ("current", 1e-3, 0.0),
    "Hz": ("frequency", 1.0, 0.0),
    "kHz": ("frequency", 1e3, 0.0),
    "MHz": ("frequency", 1e6, 0.0),
    "GHz": ("frequency", 1e9, 0.0),
    "s": ("time", 1.0, 0.0),
    "ms": ("time", 1e-3, 0.0),
    "us": ("time", 1e-6, 0.0),
    "ns": ("time", 1e-9, 0.0),
    "min": ("time", 60.0, 0.0),
    "h": ("time", 3600.0, 0.0),
    "kPa": ("pressure", 1.0, 0.0),
    "Pa": ("pressure", 1e-3, 0.0),
    "bar": ("pressure", 1e2, 0.0),
    "mbar": ("pressure", 0.1, 0.0),
    "hPa": ("pressure", 0.1, 0.0),
    "psi": ("pressure", 6.894757, 0.0),
    "rpm": ("speed", 1.0, 0.0),
    "L/min": ("flow", 1.0, 0.0),
    "L/s": ("flow", 60.0, 0.0),
    "m3/h": ("flow", 1000.0 / 60.0, 0.0),
    "gpm": ("flow", 3.785411784, 0.0),
    "1/s": ("rate", 1.0, 0.0),
    "1/min": ("rate", 1.0 / 60.0, 0.0),
    "1/h": ("rate", 1.0 / 3600.0, 0.0),
    "count": ("count", 1.0, 0.0),
    "kgCO2/kWh": ("emission", 1.0, 0.0),
    "g/kWh": ("emission", 1e-3, 0.0),
}

# other spellings: UCUM, IPMI listings, Telegraf's tags, plain words
_SPELLINGS = {
    "Cel": "C", "degC": "C", "degrees_c": "C", "degrees C": "C", "celsius": "C", "°C": "C",
    "degF": "F", "degrees_f": "F", "degrees F": "F", "fahrenheit": "F", "°F": "F", "kelvin": "K",
    "watts": "W", "Watts": "W", "watt": "W", "VA": "W", "kVA": "kW", "volts": "V", "Volts": "V",
    "percent": "%", "pct": "%", "1": "fraction", "ratio": "fraction", "RPM": "rpm", "amps": "A", "Amps": "A",
    "hz": "Hz", "seconds": "s", "minutes": "min", "hours": "h", "1/s/s": "1/s", "count/s": "1/s",
}  # fmt: skip
_WITH_FACTOR = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s+(.+)")

Line = tuple[float, float]


def conversion(theirs: str, ours: str) -> Line | None:
    """Scale and offset from a number in the unit `theirs` to one in `ours`; None where the one never becomes the other.

    >>> conversion("0.1 V", "V")
    (0.1, 0.0)
    >>> [round(x, 3) for x in conversion("F", "C")]
    [0.556, -17.778]
    """
    first, second = _read(theirs), _read(ours)
    if first is None or second is None or first[0] != second[0]:
        return None
    return first[1] / second[1], (first[2] - second[2]) / second[1]


def known_units(ours: str) -> list[str]:
    """Units that can become `ours`, sorted."""
    found = _read(ours)
    return sorted({ours, *(name for name, row in _TABLE.items() if found is not None and row[0] == found[0])})


def canonical(unit: str) -> str:
    """The unit in our spelling.

    >>> canonical("degrees_c")
    'C'
    """
    return _SPELLINGS.get(unit, unit)


def per_second(unit: str) -> str:
    """The unit of a counter's rate: "mJ" gives "mJ/s", a plain count "1/s"."""
    plain = canonical(unit)
    return "1/s" if plain in ("count", "fraction", "1/s", "") else f"{plain}/s"


def _read(unit: str) -> tuple[str, float, float] | None:
    """Dimension, scale and offset of a unit, with a factor before it or not."""
    row = _TABLE.get(canonical(unit))
    match = None if row else _WITH_FACTOR.fullmatch(unit)
    if match is None:
        return row
    inner = _TABLE.get(canonical(match.group(2)))
    return None if inner is None else (inner[0], inner[1] * float(match.group(1)), inner[2])
