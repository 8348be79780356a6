"""Rules proposed for series that no rule takes, from how alike their names are to names of the channel table."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass

from plant.channels import CHANNELS, Channel
from twin.telemetry.conversions import conversion
from twin.telemetry.hosts import Hosts
from twin.telemetry.matching import name_of
from twin.telemetry.samples import Series
from twin.telemetry.unitnames import unit_in_name

LEAST_ALIKE = 0.34
# a limit of the maker is no reading
LIMITS = frozenset({"threshold", "crit", "critical", "fatal", "max", "min", "limit", "nominal", "capacity", "rated"})
_STEPS = re.compile(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])")
_ALIKE = {
    "temp": "temperature", "temps": "temperature", "celsius": "temperature", "c": "temperature", "watts": "power",
    "watt": "power", "pwr": "power", "kw": "power", "intake": "inlet", "ambient": "inlet", "exhaust": "outlet",
    "percent": "", "pct": "", "frac": "", "chw": "water", "util": "utilization", "load": "load", "proc": "cpu",
    "processor": "cpu", "rpm": "fan", "volts": "voltage", "v": "voltage", "mem": "memory", "dimm": "memory",
    "err": "errors", "psu": "supply", "freq": "frequency", "hz": "frequency", "of": "", "the": "", "a": "", "its": "",
}  # fmt: skip
# one of these in a name speaks against a channel that is called by the other
_OPPOSITES = (("inlet", "outlet"), ("supply", "return"), ("input", "output"), ("idle", "utilization"))
_AGAINST = {one: other for pair in _OPPOSITES for one, other in (pair, pair[::-1])}


@dataclass(frozen=True)
class Proposal:
    """A rule that might take some series: as TOML, how alike the names are (0..1), how many series it is for."""

    toml: str
    alike_frac: float
    series: int
    channel: str


def suggest(
    unmatched: Sequence[Series], kind_of: Table[str, str] | None, table: Table[str, str] | None = None
) -> list[Proposal]:
    """A rule for each name that resembles a channel, the surest first.

    kind_of: components of the site. table: what the user's [hosts] says.
    """
    groups: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for series in unmatched:
        groups[_pattern(series), dict(series.tags).get("name", "")].append(series)
    hosts = Hosts(table or {}, kind_of)
    found = [
        one for (match, _), group in groups.items() if (one := _proposal(match, group, hosts, kind_of)) is not None
    ]
    return sorted(found, key=lambda one: (-one.alike_frac, one.toml))


def _pattern(series: Series) -> str:
    return name_of(series) if series.measurement else f"*/{series.field}"


def _proposal(match: str, group: Sequence[Series], hosts: Hosts, kind_of: Table[str, str] | None) -> Proposal | None:
    one = group[0]
    tags = dict(one.tags)
    words = _words(f"{one.measurement} {one.field} {tags.get('name', '')} {tags.get('sensor', '')}")
    kinds = set(kind_of.values()) if kind_of else {row.kind for row in CHANNELS}
    here = {kind for kind in kinds if any((kind_of or {}).get(hosts.join(kind, word)) == kind for _, word in one.tags)}
    rated = [(_alike(words, row), row.kind in here, row) for row in CHANNELS if row.kind in kinds]
    # of channels that are called alike, the one whose component the tags name
    alike, _, row = max(rated, key=lambda each: (each[0] + 0.2 * each[1], each[0]))
    if alike < LEAST_ALIKE or words & LIMITS:
        return None
    unit = unit_in_name(one)
    lines = ["[[rule]]", f"match = {_quoted(match)}"]
    lines += [f"when = {{ name = {_quoted(tags['name'])} }}"] if "name" in tags else []
    lines += [f"component = {_quoted(_component(group, row, hosts, kind_of))}", f'channel = "{row.name}"']
    lines += [f"unit = {_quoted(unit)}"] if unit and conversion(unit, row.unit) else []
    return Proposal("\n".join(lines), alike, len(group), f"{row.kind}.{row.name}")


def _component(group: Sequence[Series], row: Channel, hosts: Hosts, kind_of: Table[str, str] | None) -> str:
    """The tag whose words are components of the kind most often; else the usual one."""
    names = [name for name, _ in group[0].tags] or ["host"]
    known = kind_of or {}
    likely = (f"{row.kind}_name", "component", "source", "server", "host")
    usual = next((name for name in likely if name in names), names[0])

    def hits(tag: str) -> int:
        return sum(known.get(hosts.join(row.kind, dict(one.tags).get(tag, ""))) == row.kind for one in group)

    best = max(names, key=lambda tag: (hits(tag), tag == usual))
    return f"{{{row.kind}:{best if hits(best) else usual}}}"


def _alike(words: frozenset[str], row: Channel) -> float:
    """Share of words in common with the best of the channel's names, its own and those of sources."""
    if _words(row.name) & {_AGAINST[word] for word in words & _AGAINST.keys()} - words:
        return 0.0
    names = [f"{row.kind} {row.name}", f"{row.name}", *(name for every in row.aliases.values() for name in every)]
    return max(_overlap(words, _words(name)) for name in names)


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one and other else 0.0


def _words(text: str) -> frozenset[str]:
    """Words of a name in lower case, abbreviations written out, numbers left out."""
    plain = (word.lower() for word in _STEPS.split(text) if word)
    return frozenset(word for raw in plain if (word := _ALIKE.get(raw, raw)))


def _quoted(text: str) -> str:
    return (
        f"'{text}'" if "\\" in text and "'" not in text else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )
