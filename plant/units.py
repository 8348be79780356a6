"""Constants, conversions between units, and the slips of unit people make.

Inside we use kW, kWh, kJ/K, kW/K, degrees Celsius, seconds and fractions 0..1; conversions happen here and at borders.
"""

from __future__ import annotations

import math

WATER_KJ_PER_KG_K = 4.19
WATER_KG_PER_M3 = 997.0
AIR_KJ_PER_M3_K = 1.206
KELVIN_AT_0C = 273.15
S_PER_MIN = 60.0
MS_PER_S = 1000
S_PER_H = 3600.0


def water_kj_per_k(volume_m3: float) -> float:
    """Heat capacity [kJ/K] of a volume of water [m3].

    >>> round(water_kj_per_k(10.0))
    41774
    """
    return volume_m3 * WATER_KG_PER_M3 * WATER_KJ_PER_KG_K


def gb_per_s(gbit_per_s: float) -> float:
    """Bytes per second [GB/s] of a link rated in bits [Gbit/s].

    >>> gb_per_s(400.0)
    50.0
    """
    return gbit_per_s / 8.0


def minutes_s(minutes: float) -> float:
    """Seconds in a number of minutes."""
    return minutes * S_PER_MIN


# How a value outside its bounds was probably meant: unit -> (name of the wrong unit, its value in ours).
_SLIPS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "kW": (("watts", 1e-3, 0.0), ("megawatts", 1e3, 0.0)),
    "kWh": (("Wh", 1e-3, 0.0), ("MWh", 1e3, 0.0)),
    "C": (("kelvin", 1.0, -KELVIN_AT_0C), ("fahrenheit", 5.0 / 9.0, -160.0 / 9.0)),
    "fraction": (("percent", 1e-2, 0.0),),
    "kgCO2/kWh": (("grams", 1e-3, 0.0),),
    "m3": (("litres", 1e-3, 0.0),),
    "min": (("seconds", 1.0 / 60.0, 0.0),),
    "s": (("milliseconds", 1e-3, 0.0),),
    "kJ/K": (("J/K", 1e-3, 0.0),),
    "Gbit/s": (("Mbit/s", 1e-3, 0.0), ("bit/s", 1e-9, 0.0)),
}


def probable_slip(value: float, unit: str, low: float, high: float) -> tuple[str, float] | None:
    """The unit the writer probably used and the value in ours, or None when no usual slip fits the bounds.

    >>> probable_slip(6500.0, "kW", 0.05, 200.0)
    ('watts', 6.5)
    """
    for name, scale, offset in _SLIPS.get(unit, ()):
        meant = value * scale + offset
        if low <= meant <= high:
            return name, float(f"{meant:.6g}")
    return None


# Endings of keys that carry a unit, and what they say; used to spot `peak_w` where `peak_kw` was meant.
UNIT_ENDINGS: dict[str, str] = {
    "w": "W", "watt": "W", "watts": "W", "kw": "kW", "mw": "MW", "kilowatt": "kW", "kilowatts": "kW",
    "wh": "Wh", "kwh": "kWh", "mwh": "MWh", "c": "C", "k": "K", "f": "F", "celsius": "C", "kelvin": "K",
    "s": "s", "sec": "s", "seconds": "s", "ms": "ms", "min": "min", "minutes": "min", "h": "h", "hours": "h",
    "pct": "%", "percent": "%", "frac": "fraction", "m3": "m3", "l": "l", "litres": "l", "liters": "l",
}  # fmt: skip


def key_stem(key: str) -> str:
    """A key without its unit ending: `peak_kw`, `peak_w` and `peak_watts` all give `peak`."""
    head, _, tail = key.rpartition("_")
    return head if head and tail.lower() in UNIT_ENDINGS else key


def shown(value: float) -> str:
    """A number as a person writes it: no float noise, no exponent where it can be avoided."""
    if isinstance(value, bool) or not math.isfinite(value):
        return str(value).lower()
    return f"{value:.10g}"
