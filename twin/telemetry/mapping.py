"""The mapping of telemetry: which source name means which component and channel, in which unit, and what is an event.

A rule's `match` is a pattern over `<measurement>.<field>`, or `<component>/<channel>` in a long table; the first match
wins, what matches none is listed. A series is looked up twice: once for its reading (rules with a channel or `drop`),
once for its events (rules with `event`). Without a file, and in a file without rules, every name is ours already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.errors import ConfigError, Fault
from plant.files import load_toml, shipped
from plant.references import did_you_mean
from twin.telemetry.admit import EARLIEST_MS, FUTURE_LIMIT_MS
from twin.telemetry.combining import Combiner, possible
from twin.telemetry.counting import Counters
from twin.telemetry.gathering import Gatherer
from twin.telemetry.happenings import Happenings
from twin.telemetry.hosts import Hosts
from twin.telemetry.mappingfile import MappingFile, Source, faults_of
from twin.telemetry.matching import Happening, Matcher, Meaning, name_of
from twin.telemetry.samples import NO_TIME_MS, Samples, Series
from twin.telemetry.store import LATEST_MS, Batch, Event, Refusal, names_array

BAD_TIME, BAD_VALUE = "unreadable_time", "unreadable_value"
BUILTIN = "builtin:"
FOLDER = "mappings"
SHIPPED = ("telegraf", "dcgm", "node_exporter")

# Series remembered with their meaning; beyond it they are looked up anew, so that a flood of names takes no memory.
MOST_REMEMBERED = 1_000_000

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Translated:
    """What samples mean: readings and events in order of the samples, refusals, and what nobody could place.

    unmatched: samples by series that no rule takes; dropped: samples a rule leaves out; held: samples that only open
    the interval of a counter or wait for the rest of a sum; joined: samples that became one reading with others;
    gathered: readings of wholes, made from those of their parts.
    """

    batch: Batch
    events: list[Event] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    unmatched: dict[Series, int] = field(default_factory=dict)
    dropped: int = 0
    held: int = 0
    joined: int = 0
    gathered: int = 0


class Mapping:
    """A checked mapping with what it has learnt of series, counters and last codes. One per stream of samples."""

    def __init__(self, read: MappingFile, kind_of: Table[str, str] | None = None, name: str = "") -> None:
        """Prepare the rules; `kind_of` (component id -> kind) lets the site's own names join hosts to components."""
        self.sources, self._kind_of, self.hosts = dict(read.source), kind_of, dict(read.hosts)
        hosts = Hosts(read.hosts, kind_of)
        rules = [(rule, rule.id or f"{name or 'rule'}[{n}]") for n, rule in enumerate(read.rule)]
        for included in read.include:
            stem = included.removeprefix(BUILTIN)
            rules += [(rule, f"{stem}:{rule.id or n}") for n, rule in enumerate(_builtin(stem).rule)]
        every = [Matcher(rule, said, read.site or "", hosts) for rule, said in rules]
        self.matchers = every
        self._readings = [m for m in every if m.rule.channel or m.rule.drop is True or m.rule.event is None]
        self._events = [m for m in every if m.rule.event is not None]
        self._fitting: dict[str, tuple[list[Matcher], list[Matcher]]] = {}
        self._known: dict[Series, tuple[Meaning | None, Happening | None]] = {}
        self._counters, self._combiner, self._happenings = Counters(), Combiner(), Happenings()
        self._gatherer = Gatherer(kind_of)

    @property
    def source(self) -> Source:
        """The first table the file describes, else one with our own columns."""
        return next(iter(self.sources.values()), Source())

    def source_of(self, stem: str, columns: Sequence[str]) -> Source:
        """The table of that name, else the first whose columns are all there, else the first."""
        if stem in self.sources:
            return self.sources[stem]
        fits = (s for s in self.sources.values() if {s.time, s.component, s.channel, s.value} <= set(columns))
        return next(fits, self.source)

    def meaning(self, series: Series) -> Meaning | None:
        """What the readings of a series mean; None where no rule takes it."""
        return self._looked_up(series)[0]

    def happening(self, series: Series) -> Happening | None:
        """What the events of a series are; None where no rule makes any."""
        return self._looked_up(series)[1]

    def rule_of(self, series: Series) -> Matcher | None:
        """The rule that takes a series by its name and tags, whatever component it gives."""
        name = name_of(series)
        return next((m for m in self._readings if m.fits(name) and m.words(series, name) is not None), None)

    def translate(self, samples: Samples, now_ms: int | None = None) -> Translated:
        """Readings, events and refusals of samples; keeps counters, sums and last codes for the next call.

        now_ms (Unix): what is of the future then, or of a component that the site lacks, is not combined with others,
        so that the gate refuses it sample by sample.
        """
        if not len(samples):
            return Translated(Batch.empty())
        found = [self._looked_up(series) for series in samples.series]
        meanings = [meaning for meaning, _ in found]
        in_time = samples.time_ms != NO_TIME_MS
        events = self._happenings.of(samples, [happening for _, happening in found])
        placed_, dropped, told = _placed(samples, meanings, [happening for _, happening in found])
        value, readable = _values(samples, meanings)
        dropped |= placed_ & _left_out(samples, meanings, value)
        kept = placed_ & ~dropped
        refused = _refusals(samples, meanings, kept & ~in_time, BAD_TIME)
        refused += _refusals(samples, meanings, kept & in_time & ~readable, BAD_VALUE)
        batch, counts = self._batch(samples, meanings, value, np.flatnonzero(kept & in_time & readable), now_ms)
        unmatched = _unmatched(samples, ~placed_ & ~dropped & ~told)
        return Translated(batch, events, refused, unmatched, int(dropped.sum()), *counts)

    def _batch(
        self,
        samples: Samples,
        meanings: Sequence[Meaning | None],
        value: NDArray[np.float64],
        rows: Rows,
        now_ms: int | None,
    ) -> tuple[Batch, tuple[int, int, int]]:
        """Readings of the rows in our units, rates, series combined; how many are held, joined and gathered."""
        which, time_ms, value = samples.which[rows], samples.time_ms[rows], value[rows]
        before = len(rows)
        if any(m is not None and m.counter for m in meanings):
            which, time_ms, value = self._counters.rates(samples.series, meanings, which, time_ms, value)
        scale = np.array([m.scale if m else 1.0 for m in meanings])[which]
        offset = np.array([m.offset if m else 0.0 for m in meanings])[which]
        value = value * scale + offset
        held, known = before - len(which), len(which)
        if any(m is not None and m.combine for m in meanings):
            known_here = [m is not None and (self._kind_of is None or m.component in self._kind_of) for m in meanings]
            may = np.array(known_here, dtype=bool)[which] & (time_ms <= _latest(now_ms))
            which, time_ms, value, waiting = self._combiner.joined(samples.series, meanings, which, time_ms, value, may)
            held += waiting
            known -= waiting
        component = names_array([m.component if m else "" for m in meanings])[which]
        channel = names_array([m.channel if m else "" for m in meanings])[which]
        batch = Batch(time_ms, component, channel, value)
        wholes = self._wholes(batch, meanings, which, now_ms)
        counts = (held, known - len(which), sum(len(one) for one in wholes))
        return Batch.joined([batch, *wholes]) if wholes else batch, counts

    def _wholes(self, batch: Batch, meanings: Sequence[Meaning | None], which: Rows, now_ms: int | None) -> list[Batch]:
        """Means over parts for rules that ask for them, where the whole has no sensor of its own."""
        self._gatherer.heard((m.component, m.channel) for m in meanings if m is not None and not m.drop_all)
        places: dict[tuple[str, str], int] = {}
        of = np.full(len(meanings), -1, dtype=np.int64)
        for n, m in enumerate(meanings):
            whole = self._gatherer.whole(m.component, m.also) if m is not None and m.also else None
            if m is not None and whole is not None and self._gatherer.wanted(whole, m.channel):
                of[n] = places.setdefault((whole, m.channel), len(places))
        if not places:
            return []
        sane = (batch.time_ms <= _latest(now_ms)) & (batch.time_ms >= EARLIEST_MS)
        rows = np.flatnonzero((of[which] >= 0) & sane & possible(meanings, which, batch.value))
        if not len(rows):
            return []
        return [self._gatherer.means(of[which][rows], list(places), batch.time_ms[rows], batch.value[rows])]

    def _looked_up(self, series: Series) -> tuple[Meaning | None, Happening | None]:
        known = self._known.get(series)
        if known is None:
            known = self._look(series)
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
                self._fitting.clear()
                self._counters, self._combiner, self._happenings = Counters(), Combiner(), Happenings()
            self._known[series] = known
        return known

    def _look(self, series: Series) -> tuple[Meaning | None, Happening | None]:
        if not self.matchers:
            return _already_ours(series), None
        name = name_of(series)
        if name not in self._fitting:
            self._fitting[name] = (
                [m for m in self._readings if m.fits(name)],
                [m for m in self._events if m.fits(name)],
            )
        readings, events = self._fitting[name]
        meanings = (m.meaning(series, name) for m in readings)
        happenings = (m.happening(series, name) for m in events)
        return next((one for one in meanings if one), None), next((one for one in happenings if one), None)


def load_mapping(path: str | Path | None, kind_of: Table[str, str] | None = None) -> Mapping:
    """Read a mapping file (or a shipped one by name); None gives the plain one, where all names are ours.

    kind_of: component id -> kind of the site, so that its own names join hosts to components. Raises ConfigError with
    every fault at once.
    """
    if path is None:
        return Mapping(MappingFile(), kind_of)
    file = shipped(FOLDER, path)
    read: MappingFile = load_toml(file, MappingFile, ConfigError, (faults_of, _include_faults), FOLDER)
    return Mapping(read, kind_of, file.name)


@cache
def load_shipped() -> Mapping:
    """All shipped rules of sources as one mapping, to compare others with."""
    return Mapping(MappingFile(include=tuple(BUILTIN + stem for stem in SHIPPED)))


def _builtin(stem: str) -> MappingFile:
    """Shipped rules by name."""
    file = shipped(FOLDER, stem)
    return load_toml(file, MappingFile, ConfigError, checks=(faults_of,), folder=FOLDER)


def _include_faults(read: MappingFile) -> list[Fault]:
    """Shipped rules that do not exist."""
    known = [BUILTIN + stem for stem in SHIPPED]
    return [
        Fault(f"include[{n}]", f"'{name}'", f"one of {' '.join(known)}", did_you_mean(name, known))
        for n, name in enumerate(read.include)
        if name not in known
    ]


def _latest(now_ms: int | None) -> int:
    return LATEST_MS if now_ms is None else now_ms + FUTURE_LIMIT_MS


def _already_ours(series: Series) -> Meaning | None:
    """A series that says which component it is of and calls its field as we do."""
    component = dict(series.tags).get("component")
    return None if component is None and series.measurement else Meaning(component or "", series.field, rule="ours")


def _placed(
    samples: Samples, meanings: Sequence[Meaning | None], happenings: Sequence[Happening | None]
) -> tuple[Flags, Flags, Flags]:
    """Of each sample: has it a rule for its reading, is its rule to leave it out, is it of events only."""
    has = np.array([m is not None for m in meanings], dtype=bool)
    drop = np.array([m is not None and m.drop_all for m in meanings], dtype=bool)
    tells = np.array([m is None and h is not None for m, h in zip(meanings, happenings, strict=True)], dtype=bool)
    return (has & ~drop)[samples.which], drop[samples.which], tells[samples.which]


def _values(samples: Samples, meanings: Sequence[Meaning | None]) -> tuple[NDArray[np.float64], Flags]:
    """Numbers of each sample, words turned by the rule's table, and which could be read."""
    value, readable = samples.value, np.ones(len(samples), dtype=bool)
    if samples.text:
        value = value.copy()
        for row, word in samples.text.items():
            meaning = meanings[int(samples.which[row])]
            words = (meaning.words if meaning else None) or {}
            readable[row] = word in words
            value[row] = words.get(word, np.nan)
    for numbers, mine in _grouped(meanings, lambda meaning: meaning.numbers and tuple(sorted(meaning.numbers.items()))):
        rows = np.flatnonzero(mine[samples.which] & np.isfinite(samples.value))
        value = value.copy() if value is samples.value else value
        table = dict(numbers)
        turned = [table.get(number, np.nan) for number in samples.value[rows].tolist()]
        readable[rows] = np.isfinite(turned)
        value[rows] = turned
    return value, readable


def _grouped(meanings: Sequence[Meaning | None], key: Callable[[Meaning], Any]) -> list[tuple[Any, Flags]]:
    """Each distinct key that says something, and which series have it: rules are few where series are many."""
    found: dict[Any, Flags] = {}
    for n, meaning in enumerate(meanings):
        of = None if meaning is None else key(meaning)
        if of:
            found.setdefault(of, np.zeros(len(meanings), dtype=bool))[n] = True
    return list(found.items())


def _left_out(samples: Samples, meanings: Sequence[Meaning | None], value: NDArray[np.float64]) -> Flags:
    """Samples whose value their rule leaves out."""
    out = np.zeros(len(samples), dtype=bool)
    for values, mine in _grouped(meanings, lambda meaning: meaning.drop):
        out |= mine[samples.which] & np.isin(value, values)
    return out


def _refusals(samples: Samples, meanings: Sequence[Meaning | None], which: Flags, reason: str) -> list[Refusal]:
    found = []
    for row in np.flatnonzero(which).tolist():
        meaning = meanings[int(samples.which[row])]
        component, channel = (meaning.component, meaning.channel) if meaning else ("", "")
        time_ms = max(int(samples.time_ms[row]), 0)
        found.append(Refusal(time_ms, component, channel, float(samples.value[row]), reason))
    return found


def _unmatched(samples: Samples, which: Flags) -> dict[Series, int]:
    if not which.any():
        return {}
    counts = np.bincount(samples.which[which], minlength=len(samples.series))
    return {samples.series[n]: int(counts[n]) for n in np.flatnonzero(counts).tolist()}
