"""From nodes of a list to groups of equal racks whose names and nodes are written as ranges."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from plant.errors import ConfigError
from plant.nodelist import NodeFound, Note, natural, shortened
from plant.ranges import expand

RACK_KW = 12.0  # peak power of an air-cooled rack where nobody says how many nodes it holds [assumed]
MOST_PER_RACK = 40
_DIGITS = re.compile(r"(\d+)")


def fold(names: Sequence[str]) -> str | None:
    """One range text that `expand` turns back into these names in this order, or None when there is none.

    >>> fold(["r1-n01", "r1-n02", "r2-n01", "r2-n02"])
    'r[1-2]-n[01-02]'
    """
    rows = [_DIGITS.split(name) for name in names]
    first = rows[0]
    if any(len(row) != len(first) or row[::2] != first[::2] for row in rows):
        return None
    moving = [i for i in range(1, len(first), 2) if any(row[i] != first[i] for row in rows)]
    axes = {i: list(dict.fromkeys(row[i] for row in rows)) for i in moving}
    many = 1
    for axis in axes.values():
        many *= len(axis)
    if many != len(names):
        return None
    if any(tuple(row[i] for i in moving) != each for row, each in zip(rows, product(*axes.values()), strict=True)):
        return None
    return "".join(f"[{_pieces(axes[i])}]" if i in axes else piece for i, piece in enumerate(first))


def _pieces(numbers: Sequence[str]) -> str:
    """Numbers as `a-b,c`: a run goes on while the next is one more, written as wide as the run's first."""
    runs: list[list[str]] = []
    for text in numbers:
        if runs and text == str(int(runs[-1][-1]) + 1).zfill(len(runs[-1][0])):
            runs[-1].append(text)
        else:
            runs.append([text])
    return ",".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


@dataclass(frozen=True)
class Finder:
    """Where a rack's or a hall's name is read: `feature:REGEX`, `name:REGEX`, or `` for the list's own column."""

    source: str = ""
    pattern: re.Pattern[str] | None = None

    @classmethod
    def parse(cls, text: str, option: str) -> Finder:
        """The finder of one option. Raises ConfigError."""
        source, colon, pattern = text.partition(":")
        if not colon or source not in ("feature", "name"):
            source, pattern = "name", text
        try:
            return cls(source, re.compile(pattern))
        except re.error as error:
            allowed = "feature:REGEX or name:REGEX, such as 'feature:rack(\\d+)'"
            raise ConfigError(option, f"'{pattern}' is no pattern: {error}", allowed) from None

    def of(self, node: NodeFound) -> str:
        """The name found for a node, its groups joined by a dash; an empty text where there is none."""
        if self.pattern is None:
            return ""
        for word in node.features if self.source == "feature" else (node.name,):
            match = self.pattern.search(word)
            if match:
                parts = [part for part in match.groups() if part] or [match.group()]
                return "-".join(parts)
        return ""


RACK_FEATURE = re.compile(r"^(?:rack|cabinet)[-_]?(\w+)$", re.IGNORECASE)


def find_racks(nodes: Sequence[NodeFound], rack_from: str) -> tuple[Finder, list[Note]]:
    """How racks are named: as asked, else by features such as rack7 where every node has one; and what to say of it."""
    if rack_from:
        return Finder.parse(rack_from, "--rack-from"), []
    if not any(node.rack for node in nodes):
        finder = Finder("feature", RACK_FEATURE)
        if nodes and all(finder.of(node) for node in nodes):
            return finder, [Note("racks", "by feature", "every node has a feature such as rack7")]
    return Finder(), []


@dataclass(frozen=True)
class Placed:
    """One node with hall, rack (empty: unknown) and node type."""

    name: str
    hall: str
    rack: str
    kind: str


def rack_name(text: str) -> str:
    """A rack's name as a site file may hold it; a bare number gets an r in front.

    >>> rack_name("07"), rack_name("Row A / 3")
    ('r07', 'Row-A-3')
    """
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")
    return f"r{clean}" if clean[:1].isdigit() else clean


@dataclass(frozen=True)
class RackGroup:
    """Equal racks of one hall: their names, all their nodes, nodes in each, node type."""

    hall: str
    ids: str
    nodes: str
    nodes_per_rack: int
    kind: str


def rack_groups(
    placed: Sequence[Placed], peak_kw: Mapping[str, float], nodes_per_rack: int = 0
) -> tuple[list[RackGroup], list[Note]]:
    """Groups of equal racks over all halls, in order of names; nodes without a rack are put into racks of one type."""
    notes: list[Note] = []
    groups: list[RackGroup] = []
    for hall in dict.fromkeys(node.hall for node in placed):
        racks: dict[tuple[str, str], list[str]] = {}
        here = sorted((node for node in placed if node.hall == hall), key=lambda node: natural(node.name))
        for node in here:
            if node.rack:
                racks.setdefault((node.rack, node.kind), []).append(node.name)
        loose = [node for node in here if not node.rack]
        racks = _split_mixed(racks, hall, notes)
        racks |= _invented(loose, hall, {name for name, _ in racks}, peak_kw, nodes_per_rack, notes)
        made = _grouped(hall, racks)
        groups += made
        apart = sorted({group.ids.rpartition(".")[0] for group in made} & {name for name, _ in racks})
        if apart:
            notes.append(Note("racks split", shortened(apart), f"{hall}: their nodes' names fit no single range"))
    return groups, notes


def _split_mixed(
    racks: Mapping[tuple[str, str], list[str]], hall: str, notes: list[Note]
) -> dict[tuple[str, str], list[str]]:
    """Racks of one node type each: what a rack holds of further types stands in a rack of its own beside it."""
    types: dict[str, list[str]] = {}
    for name, kind in racks:
        types.setdefault(name, []).append(kind)
    out = {}
    for name, kinds in types.items():
        for n, kind in enumerate(sorted(kinds, key=lambda k: -len(racks[name, k]))):
            out[f"{name}-{chr(97 + n)}" if n else name, kind] = racks[name, kind]
    mixed = [name for name, kinds in types.items() if len(kinds) > 1]
    if mixed:
        notes.append(Note("racks split", shortened(mixed), f"{hall}: nodes of several types in one rack"))
    return dict(sorted(out.items(), key=lambda item: natural(item[0][0])))


def _invented(
    loose: Sequence[Placed], hall: str, taken: set[str], peak_kw: Mapping[str, float], per_rack: int, notes: list[Note]
) -> dict[tuple[str, str], list[str]]:
    """Racks for nodes of which nobody says where they stand, filled in order of names."""
    if not loose:
        return {}
    chunks: list[tuple[str, list[str]]] = []
    sizes: dict[str, int] = {}
    for kind in dict.fromkeys(node.kind for node in loose):
        n = per_rack or min(max(int(RACK_KW / peak_kw[kind]), 1), MOST_PER_RACK)
        names = [node.name for node in loose if node.kind == kind]
        chunks += [(kind, names[i : i + n]) for i in range(0, len(names), n)]
        sizes[kind] = n
    width, prefix = max(len(str(len(chunks))), 2), "x" if taken else "r"
    how = "as asked" if per_rack else f"{RACK_KW:g} kW a rack"
    said = ", ".join(f"{n} of {kind}" for kind, n in sizes.items())
    notes.append(Note("racks", f"{len(chunks)} made up in {hall}", f"no rack is known: {said} to a rack, {how}"))
    return {(f"{prefix}{i:0{width}d}", kind): names for i, (kind, names) in enumerate(chunks, 1)}


def _grouped(hall: str, racks: Mapping[tuple[str, str], list[str]]) -> list[RackGroup]:
    """As many neighbouring racks to a group as ranges can hold."""
    rows = [(name, kind, nodes) for (name, kind), nodes in racks.items()]
    groups = []
    at = 0
    while at < len(rows):
        _, kind, nodes = rows[at]
        alike = at + 1
        while alike < len(rows) and rows[alike][1] == kind and len(rows[alike][2]) == len(nodes):
            alike += 1
        many, ids, folded = _longest(rows[at:alike])
        groups += [RackGroup(hall, rack, text, n, kind) for rack, text, n in _as_ranges(ids, folded, rows[at], many)]
        at += many
    return groups


Row = tuple[str, str, list[str]]


def _longest(rows: Sequence[Row]) -> tuple[int, str | None, str | None]:
    """How many racks from the first fold together, with the two texts: by doubling, then halving the step."""
    best = 1, fold([rows[0][0]]), fold(rows[0][2])
    step = 1
    while step and best[0] < len(rows):
        n = min(best[0] + step, len(rows))
        ids, nodes = fold([row[0] for row in rows[:n]]), fold([name for row in rows[:n] for name in row[2]])
        if ids is not None and nodes is not None:
            best, step = (n, ids, nodes), step * 2
        else:
            step //= 2
    return best


def _as_ranges(ids: str | None, nodes: str | None, row: Row, many: int) -> list[tuple[str, str, int]]:
    """(racks, nodes, nodes in each) of one group; a rack whose nodes fit no single range becomes several."""
    if ids is not None and nodes is not None:
        return [(ids, nodes, len(expand(nodes)) // many)]
    parts: list[list[str]] = []
    for name in row[2]:
        if parts and fold([*parts[-1], name]) is not None:
            parts[-1].append(name)
        else:
            parts.append([name])
    return [(row[0] if not n else f"{row[0]}.{n + 1}", str(fold(part)), len(part)) for n, part in enumerate(parts)]
