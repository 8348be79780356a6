"""Are series in the unit their mapping says? Judged by where healthy values lie, unit by unit.

A wrong unit is wrong for every value of a series: nearly all of them lie outside the band of what is healthy
(`twin.telemetry.expecting`) as mapped, and nearly all inside when the numbers are read in another unit. A fault, an
outage or a broken sensor does neither. Series that one rule gives to one channel are judged together, so that the unit
named is the one that explains most of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant.units import shown
from twin.telemetry.expecting import Band
from twin.telemetry.slips import Slip, slips_of

Floats = NDArray[np.float64]

# Shares of the values that tell something: outside as mapped at least, outside in the other unit at most.
MOSTLY, HARDLY = 0.9, 0.1
# A number read in another unit has to be loud in that unit this often.
LOUD = 0.2
# A share of time cannot exceed one for long: a tenth of the values above it is enough.
OFTEN = 0.1
SAME = 1e-6
# A unit that makes numbers too small does so for every series of a rule; one in four at least.
FEW = 0.25
FASTEST_IS_ONE = 200.0
# Temperatures of one kind swing between these from series to series and hour to hour [K].
CALM_K, WILD_K = 0.25, 12.0
ROUNDS = 3
# What is off lies this far from the middle of its band, however far it is.
OFF = 1.5


@dataclass(frozen=True)
class Numbers:
    """One series as its source gave it (finite, rates of counters), and where healthy values of its place lie."""

    raw: Floats
    band: Band | None


@dataclass(frozen=True)
class Line:
    """What a rule makes of a number: value = raw * scale + offset in the unit of the channel."""

    scale: float
    offset: float
    unit: str
    channel: str = ""
    counter: bool = False


@dataclass(frozen=True)
class Doubt:
    """Series (their positions) that are probably in another unit: median as mapped, what it looks like, the cure.

    `would_be` is the median in that unit, nan where the number is none of this channel.
    """

    which: tuple[int, ...]
    found: float
    looks_like: str
    would_be: float
    unit: str
    why: str


def doubts(group: Sequence[Numbers], line: Line) -> list[Doubt]:
    """What is wrong with the unit of series that one rule gives to one channel; empty where nothing is."""
    if line.unit in ("fraction", "flag"):
        judge = _of_share if line.unit == "fraction" else _of_flag
        judged = [judge(n, one, line) for n, one in enumerate(group) if len(one.raw)]
        return [one for one in judged if one is not None]
    left = _together(group, [n for n, one in enumerate(group) if _strange(one, line)], line)
    if line.unit == "rpm" and _slow(group, left):
        return [_percent_for_speed(group, left, line)]
    found: list[Doubt] = []
    for _ in range(ROUNDS):
        best = _best(group, left, line)
        if best is None:
            break
        found.append(best)
        left = [n for n in left if n not in best.which]
    return found


def inside_frac(raw: Floats, scale: float, offset: float, unit: str, band: Band) -> float:
    """Share of the numbers that are healthy when read on this line; what is off then tells nothing.

    0 where fewer than LOUD of them tell anything.
    """
    value = raw * scale + offset
    loud = ~band.silent(value)
    if not len(value) or float(np.mean(loud)) < LOUD:
        return 0.0
    inside = band.holds(value[loud])
    if unit == "V" and band.low >= NOMINAL_V:
        inside &= _nominal(value[loud])
    return float(np.mean(inside))


NOMINAL_V = 88.0


def _strange(one: Numbers, line: Line) -> bool:
    """Whether nearly all that tells something lies outside the band."""
    if one.band is None:
        return False
    telling = _telling(one, line)
    return len(telling) > 0 and inside_frac(telling, line.scale, line.offset, line.unit, one.band) <= 1.0 - MOSTLY


def _together(group: Sequence[Numbers], strange: list[int], line: Line) -> list[int]:
    """The strange ones without those that are merely small where most of their kind are not: those may be half off."""
    small = [n for n in strange if _is_small(group[n], line)]
    saying = sum(bool(np.any(one.raw)) for one in group)
    return strange if len(small) >= FEW * saying else [n for n in strange if n not in small]


def _is_small(one: Numbers, line: Line) -> bool:
    band = one.band
    return band is not None and band.quiet > 0.0 and float(np.median(_telling(one, line))) * line.scale < band.low


def _telling(one: Numbers, line: Line) -> Floats:
    if one.band is None:
        return one.raw
    return np.asarray(one.raw[~one.band.silent(one.raw * line.scale + line.offset)])


def _best(group: Sequence[Numbers], left: Sequence[int], line: Line) -> Doubt | None:
    """The unit that explains most of the strange series, and explains them best."""
    scored = []
    for slip in slips_of(line.unit, line.counter):
        if abs(slip.scale / line.scale - 1.0) < SAME and abs(slip.offset - line.offset) < SAME:
            continue
        fits = tuple(n for n in left if _fits(group[n], slip, line))
        if fits:
            scored.append((3.0 * len(fits) / len(left) - _distance([group[n] for n in fits], slip, line), fits, slip))
    if not scored:
        return None
    scored.sort(key=lambda one: -one[0])
    score, fits, slip = scored[0]
    middle = float(np.median([np.median(_telling(group[n], line)) for n in fits]))
    others = [one[2] for one in scored[1:2] if one[2].usual and one[0] > score - 1.0]
    also = "".join(f" (or {one.said}: {short(middle * one.scale + one.offset)})" for one in others)
    band = group[fits[0]].band or Band(0.0, 0.0)
    why = f"expected for {band.said}: {short(band.low)}..{short(band.high)}"
    found, would = middle * line.scale + line.offset, middle * slip.scale + slip.offset
    return Doubt(fits, found, slip.said + also, would, slip.unit, why)


def _fits(one: Numbers, slip: Slip, line: Line) -> bool:
    """Whether nearly all is healthy in that unit, or what a machine draws that is off."""
    band, telling = one.band, _telling(one, line)
    if band is None:
        return False
    if inside_frac(telling, slip.scale, slip.offset, line.unit, band) >= 1.0 - HARDLY:
        return True
    if band.faint <= 0.0:
        return False
    value = telling * slip.scale + slip.offset
    return float(np.mean(band.holds(value) | band.silent(value))) >= 1.0 - HARDLY


def short(value: float) -> str:
    """A number in four digits."""
    return shown(float(f"{value:.4g}"))


def _nominal(value: Floats) -> NDArray[np.bool_]:
    """Near a voltage that a grid has: 100 to 127, 200 to 277, 347 to 690 V, or more."""
    return (value > 85.0) & ~((value > 145.0) & (value < 172.0))


def _distance(series: Sequence[Numbers], slip: Slip, line: Line) -> float:
    """How far from the middle of their bands, and how odd the swing; a rare unit has to fit better."""
    pooled = [_telling(one, line) * slip.scale + slip.offset for one in series]
    bands = [one.band or Band(0.0, 1.0) for one in series]
    rare = 0.0 if slip.usual else 1.0
    middles = [float(np.median(value)) for value in pooled]
    if line.unit == "C":
        far = [abs(m - (b.low + b.high) / 2) / ((b.high - b.low) / 2) for m, b in zip(middles, bands, strict=True)]
        return float(np.mean(far)) + _odd_swing(np.concatenate(pooled)) + rare
    far = [
        abs(math.log(max(m, 1e-12) / math.sqrt(b.high * max(b.low, 1e-9)))) / (math.log(b.high / max(b.low, 1e-9)) / 2)
        for m, b in zip(middles, bands, strict=True)
    ]
    return float(np.mean(np.minimum(far, OFF))) + rare


def _odd_swing(value: Floats) -> float:
    """How much too calm or too wild temperatures are; nothing is said of a few."""
    if len(value) < 10:
        return 0.0
    swing = float(np.percentile(value, 90) - np.percentile(value, 10))
    return max(math.log(max(swing, 1e-3) / WILD_K), 0.0) + (max(math.log(CALM_K / swing), 0.0) if swing > 0 else 0.0)


def _of_share(n: int, one: Numbers, line: Line) -> Doubt | None:
    """A share above one, or one that is a hundred times too small."""
    band, value = one.band, one.raw * line.scale + line.offset
    most = max(band.high if band is not None else 1.0, 1.0) * 1.1
    telling = value[value != 0.0]
    if not len(telling):
        return None
    middle = float(np.median(telling))
    if int((telling > most).sum()) >= max(OFTEN * len(telling), 1):
        return _over_one(n, one, line, middle, most)
    if band is not None and band.low > 0.0 and line.scale < 1.0 and line.offset == 0.0:
        whole = float(np.median(one.raw[one.raw != 0.0]))
        if float(np.mean(telling < band.low)) >= MOSTLY and band.low <= whole <= most:
            why = f"expected {band.low:g}..{band.high:g}"
            return Doubt((n,), middle, "a fraction already", whole, "fraction", why)
    return None


def _over_one(n: int, one: Numbers, line: Line, middle: float, most: float) -> Doubt:
    """Percent, turns a minute, or nothing we know."""
    largest = float(np.percentile(np.abs(one.raw), 95))
    if largest > FASTEST_IS_ONE and "fan" in line.channel:
        why = (
            "a share of full speed is at most 1: use the channel fan_rpm, or divide by full speed: scale = 1 / FULL_RPM"
        )
        return Doubt((n,), middle, "turns a minute (rpm)", math.nan, "rpm", why)
    smaller = [slip for slip in slips_of("fraction", False) if slip.scale < abs(line.scale) * (1.0 - SAME)]
    slip = next((slip for slip in smaller if largest * slip.scale <= most), None)
    if slip is None:
        return Doubt((n,), middle, "no share at all", math.nan, "", "a share is at most 1")
    whole = float(np.median(one.raw[one.raw != 0.0]))
    return Doubt((n,), middle, slip.said, whole * slip.scale, slip.unit, "a share is at most 1")


def _of_flag(n: int, one: Numbers, line: Line) -> Doubt | None:
    """A flag is 0 or 1; anything else is a code."""
    value = one.raw * line.scale + line.offset
    odd = value[(value != 0.0) & (value != 1.0)]
    if len(odd) < max(OFTEN * len(value), 1):
        return None
    codes = sorted({short(value) for value in odd.tolist()})[:4]
    why = "a flag is 0 or 1: give each code its number in enum"
    return Doubt((n,), float(odd[0]), f"codes {' '.join(codes)}", math.nan, "", why)


def _slow(group: Sequence[Numbers], left: Sequence[int]) -> bool:
    return bool(left) and max(float(np.max(group[n].raw)) for n in left) <= 100.0


def _percent_for_speed(group: Sequence[Numbers], left: Sequence[int], line: Line) -> Doubt:
    middle = float(np.median([np.median(group[n].raw) for n in left])) * line.scale + line.offset
    why = "a fan turns hundreds of times a minute: percent has the channel fan_frac"
    return Doubt(tuple(left), middle, "percent of full speed", math.nan, "%", why)
