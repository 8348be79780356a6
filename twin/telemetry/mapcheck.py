"""What a mapping makes of samples: what it covers, what lies out of range, in a wrong unit, in two places, in gaps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from plant.channels import check_many
from plant.site import Site
from twin.telemetry.agreeing import Finding, disagreements
from twin.telemetry.combining import RANGES
from twin.telemetry.counting import Counters
from twin.telemetry.expecting import Band, Expected
from twin.telemetry.mapping import Mapping, load_shipped
from twin.telemetry.mappingfile import UNITS
from twin.telemetry.matching import Meaning, name_of
from twin.telemetry.samples import NO_TIME_MS, Samples, Series
from twin.telemetry.slips import slips_of
from twin.telemetry.timecheck import Beat, beat_of, clock_finding
from twin.telemetry.unitcheck import Doubt, Line, Numbers, doubts, short
from twin.telemetry.unitnames import by_name

Floats = NDArray[np.float64]
LISTED = 20
TURNS = 3
GROWN = 5
NEARLY_ALL = 0.9


@dataclass(frozen=True)
class Placed:
    """One series with its place in our tables: numbers as the source gave them, rates where it is a counter."""

    series: Series
    meaning: Meaning
    kind: str
    raw: Floats
    time_ms: NDArray[np.int64]

    @property
    def beat(self) -> Beat:
        """How often it comes."""
        return beat_of(self.time_ms)

    @property
    def unit(self) -> str:
        """Unit of its channel."""
        return UNITS.get(self.meaning.channel, "")

    @property
    def value(self) -> Floats:
        """Its numbers in our unit."""
        return self.raw * self.meaning.scale + self.meaning.offset


@dataclass
class Report:
    """What was found; see `check`."""

    samples: int = 0
    series: int = 0
    coverage: float = 1.0
    unmatched: list[tuple[str, int]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    out_of_range: dict[str, float] = field(default_factory=dict)
    duplicates: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    unreadable: int = 0
    events: int = 0
    dropped: int = 0
    placed: list[Placed] = field(default_factory=list)


def check(samples: Samples, mapping: Mapping, site: Site | None, now_ms: int) -> Report:
    """Judge a mapping by samples; `now_ms` (Unix) tells times of the future."""
    kind_of = {} if site is None else {c: kind for kind in site.kinds for c in site.components(kind)}
    told = mapping.translate(samples)
    found = Report(len(samples), len(samples.series), events=len(told.events), dropped=told.dropped)
    found.unreadable = len(told.refused)
    names: Counter[str] = Counter()
    for series, n in told.unmatched.items():
        names[name_of(series)] += n
    found.unmatched = names.most_common(LISTED)
    found.coverage = 1.0 - sum(names.values()) / len(samples) if len(samples) else 1.0
    found.placed = _placed(samples, mapping, kind_of)
    found.out_of_range = _out_of_range(found.placed)
    found.duplicates = _duplicates(found.placed)
    if site is not None:
        strange = Counter(one.meaning.component for one in found.placed if not one.kind)
        found.unknown = dict(strange.most_common())
    clock = clock_finding(samples, now_ms)
    units = _unit_findings(found.placed, Expected(site))
    odd = _impossible(found.placed, {(one.rule, one.channel) for one in units})
    found.findings = [*clock, *units, *odd, *disagreements(_medians(found.placed), site)]
    return found


def _placed(samples: Samples, mapping: Mapping, kind_of: Table[str, str]) -> list[Placed]:
    """Every series that a rule gives a reading, with its numbers."""
    meanings = [mapping.meaning(series) for series in samples.series]
    order = np.argsort(samples.which, kind="stable")
    edges = np.searchsorted(samples.which[order], np.arange(len(samples.series) + 1))
    found = []
    for n, meaning in enumerate(meanings):
        rows = order[edges[n] : edges[n + 1]]
        if meaning is None or meaning.drop_all or not len(rows):
            continue
        at, raw = samples.time_ms[rows], samples.value[rows]
        if meaning.counter:
            which = np.zeros(len(rows), dtype=np.int64)
            _, at, raw = Counters().rates([samples.series[n]], [meaning], which, at, raw)
        keep = np.isfinite(raw) & ~np.isin(raw, meaning.drop)
        kind, times = kind_of.get(meaning.component, ""), samples.time_ms[rows]
        found.append(Placed(samples.series[n], meaning, kind, raw[keep], np.unique(times[times != NO_TIME_MS])))
    return found


def _out_of_range(placed: list[Placed]) -> dict[str, float]:
    """Share of the values of each channel that the gate would refuse; channels without any are left out."""
    bad: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one in placed:
        if one.kind and not one.meaning.numbers and not one.meaning.words:
            codes = check_many(one.kind, one.meaning.channel, one.value)
            tally = bad[f"{one.kind}.{one.meaning.channel}"]
            tally[0] += int((codes != 0).sum())
            tally[1] += len(codes)
    return {name: n / of for name, (n, of) in sorted(bad.items()) if n}


def _impossible(placed: list[Placed], told: set[tuple[str, str]]) -> list[Finding]:
    """Series of which nearly nothing is possible, where no unit explained it."""
    groups: dict[tuple[str, str], list[Placed]] = defaultdict(list)
    for one in placed:
        key = (one.meaning.rule, f"{one.kind}.{one.meaning.channel}")
        plain = one.kind and len(one.raw) and not one.meaning.words and not one.meaning.numbers
        if plain and key not in told and _impossible_frac(one) >= NEARLY_ALL:
            groups[key].append(one)
    return [
        Finding(rule, channel, len(group), len(group), str(group[0].series),
                f"median {short(float(np.median(group[0].value)))} {group[0].unit}", "no usual unit explains it",
                "outside what is possible, all of it", "look at the source, or state scale and offset", "range")
        for (rule, channel), group in groups.items()
    ]  # fmt: skip


def _impossible_frac(one: Placed) -> float:
    return float(np.mean(check_many(one.kind, one.meaning.channel, one.value) != 0))


def _duplicates(placed: list[Placed]) -> dict[str, list[str]]:
    """Places that several series are given to at the same time without being combined."""
    owners: dict[str, list[Placed]] = defaultdict(list)
    for one in placed:
        if not one.meaning.combine:
            owners[f"{one.meaning.component}/{one.meaning.channel}"].append(one)
    several = {place: group for place, group in sorted(owners.items()) if len(group) > 1}
    return {place: [str(one.series) for one in group] for place, group in several.items() if _at_once(group)}


def _at_once(group: list[Placed]) -> bool:
    """Whether two series speak at one instant, or take turns; a tag that changed once ends one and begins the next."""
    order = sorted(group, key=lambda one: int(one.time_ms[0]) if len(one.time_ms) else 0)
    return any(_turns(one.time_ms, other.time_ms) for one, other in pairwise(order))


def _turns(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    if not len(one) or not len(other):
        return False
    start, end = max(one[0], other[0]), min(one[-1], other[-1])
    inside = min(int(((times >= start) & (times <= end)).sum()) for times in (one, other))
    return inside >= TURNS or len(np.intersect1d(one, other)) > 0


def _medians(placed: list[Placed]) -> dict[tuple[str, str, str], float]:
    """Median by (kind, component, channel); sums of series are added up."""
    parts: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    how: dict[tuple[str, str, str], str] = {}
    for one in placed:
        if len(one.raw) and one.kind:
            key = (one.kind, one.meaning.component, one.meaning.channel)
            parts[key].append(float(np.median(one.value)))
            how[key] = one.meaning.combine or ""
    return {key: sum(values) if how[key] == "sum" else float(np.median(values)) for key, values in parts.items()}


def _unit_findings(placed: list[Placed], expected: Expected) -> list[Finding]:
    """Series that are probably in another unit, gathered by rule, channel and what they look like."""
    members = Counter((one.meaning.rule, one.meaning.component, one.meaning.channel) for one in placed)
    groups: dict[tuple[str, str, str], list[Placed]] = defaultdict(list)
    counts = [one for one in placed if _only_grows(one, expected, members)]
    for one in placed:
        if len(one.raw) and not one.meaning.words and not one.meaning.numbers and one not in counts:
            groups[one.meaning.rule, one.kind, one.meaning.channel].append(one)
    shipped, found = load_shipped(), _counter_findings(counts)
    for group in groups.values():
        meaning = group[0].meaning
        line = Line(meaning.scale, meaning.offset, group[0].unit, meaning.channel, meaning.counter)
        numbers = [Numbers(one.raw, _band_of(one, expected, members)) for one in group]
        seen = [(one, "values") for one in doubts(numbers, line)]
        told = {n for one, _ in seen for n in one.which}
        for n, one in enumerate(group):
            named = None if n in told else by_name(n, one.series, meaning, numbers[n], line, shipped)
            seen += [] if named is None else [named]
        found += _findings(group, seen)
    return found


def _only_grows(one: Placed, expected: Expected, members: Counter[tuple[str, str, str]]) -> bool:
    """A count taken for a power or a rate: it never falls, it is far too much, and no usual unit explains it."""
    meaning = one.meaning
    if meaning.counter or one.unit not in ("kW", "1/s", "fraction") or len(one.raw) < GROWN:
        return False
    band = expected.band(one.kind, meaning.component, meaning.channel)
    most = band.high if band is not None else RANGES.get(meaning.channel, (0.0, np.inf))[1]
    if not (np.all(np.diff(one.raw) > 0.0) and np.min(one.value) > 3.0 * most):
        return False
    line = Line(meaning.scale, meaning.offset, one.unit, meaning.channel)
    known = {slip.unit for slip in slips_of(one.unit, False) if slip.usual}
    return all(seen.unit not in known for seen in doubts([Numbers(one.raw, _band_of(one, expected, members))], line))


def _counter_findings(counts: list[Placed]) -> list[Finding]:
    groups: dict[tuple[str, str, str], list[Placed]] = defaultdict(list)
    for one in counts:
        groups[one.meaning.rule, one.kind, one.meaning.channel].append(one)
    return [
        Finding(rule, f"{kind}.{channel}" if kind else channel, len(group), len(group), str(group[0].series),
                f"grows all the time, to {short(float(group[0].value[-1]))} {group[0].unit}",
                "a counter, of energy where a power is meant", "a count never falls; a power does",
                f'counter = true in rule {rule}, and the unit of the count, for example "mJ"', "values")
        for (rule, kind, channel), group in groups.items()
    ]  # fmt: skip


def _band_of(one: Placed, expected: Expected, members: Counter[tuple[str, str, str]]) -> Band | None:
    """The band of a series; where several are summed up, that of a part."""
    meaning = one.meaning
    band = expected.band(one.kind, meaning.component, meaning.channel)
    if band is None or meaning.combine != "sum":
        return band
    parts = 3.0 * members[meaning.rule, meaning.component, meaning.channel]
    return Band(band.low / parts, band.high, band.quiet / parts, band.faint / parts, band.said)


def _findings(group: list[Placed], seen: list[tuple[Doubt, str]]) -> list[Finding]:
    """One finding for each thing that series of a group look like."""
    alike: dict[tuple[str, str], list[tuple[Doubt, str]]] = defaultdict(list)
    for doubt, witness in seen:
        alike[doubt.looks_like.split(" (or")[0], witness].append((doubt, witness))
    return [_finding(group, same) for same in alike.values()]


def _finding(group: list[Placed], same: list[tuple[Doubt, str]]) -> Finding:
    doubt, witness = same[0]
    which = [n for one, _ in same for n in one.which]
    one = group[which[0]]
    found = float(np.median([each.found for each, _ in same]))
    would = float(np.median([each.would_be for each, _ in same]))
    unit = "" if one.unit in ("fraction", "flag") else f" {one.unit}"
    then = "" if np.isnan(would) else f", that would be {short(would)}{unit}"
    rule = "a rule of its own" if one.meaning.rule == "ours" else f"rule {one.meaning.rule}"
    cure = f'unit = "{doubt.unit}" in {rule}' if doubt.unit and not np.isnan(would) else doubt.why
    return Finding(
        rule=one.meaning.rule,
        channel=f"{one.kind}.{one.meaning.channel}" if one.kind else one.meaning.channel,
        series=len(which),
        of=len(group),
        example=str(one.series),
        found=f"median {short(found)}{unit}",
        looks_like=f"{doubt.looks_like}{then}",
        why=doubt.why,
        cure=cure,
        witness=witness,
    )
