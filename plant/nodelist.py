"""Nodes as a list names them, before there is a site: what each is, where it stands, and which line said so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from plant.errors import ConfigError, Fault
from plant.keys import ID
from plant.ranges import collapse

MOST_NODES = 200_000
MOST_FAULTS = 20  # said one by one; a wrong column makes one in every line
_ID = re.compile(ID)


@dataclass(frozen=True)
class NodeFound:
    """One node of a list. What the list does not say is None, or an empty text.

    where: line of the list. cores: physical ones. gpus: accelerators, gpu: their name. kind: what the list calls its
    type. idle_kw, peak_kw: power. features: words a scheduler hangs on it, state: of its words.
    """

    name: str
    where: str = ""
    cores: int | None = None
    gpus: int | None = None
    gpu: str = ""
    kind: str = ""
    rack: str = ""
    hall: str = ""
    region: str = ""
    idle_kw: float | None = None
    peak_kw: float | None = None
    features: tuple[str, ...] = ()
    state: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note:
    """Something that was assumed or left out on the way from a list to a site, and why."""

    what: str
    value: str
    why: str

    def as_dict(self) -> dict[str, str]:
        """The three parts by name."""
        return {"what": self.what, "value": self.value, "why": self.why}


@dataclass
class NodeList:
    """What a file holds: its nodes, what was noted while reading, what is wrong with it."""

    nodes: list[NodeFound] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def sound(self, file: str) -> NodeList:
        """This list when nothing is wrong with it. Raises ConfigError with its faults, each with the file's name."""
        faults = [*self.faults, *check_names(self.nodes)]
        if not self.nodes and not faults:
            faults = [Fault("", "names no node", "at least one node", "give the list of the nodes that exist")]
        if len(faults) > MOST_FAULTS:
            more = Fault("", f"and {len(faults) - MOST_FAULTS} faults more", "", "cure these first")
            faults = [*faults[:MOST_FAULTS], more]
        if faults:
            raise ConfigError(faults=[Fault(_at(file, f.where), f.found, f.allowed, f.cure) for f in faults])
        return self


def _at(file: str, where: str) -> str:
    return f"{file} {where}".strip() if where.startswith("line") else f"{file}: {where}" if where else file


def check_names(nodes: Sequence[NodeFound]) -> list[Fault]:
    """Names that a site cannot hold, and nodes that stand in the list twice; one fault for all that repeat."""
    bad = [n for n in nodes if not _ID.match(n.name) or len(n.name) > 100]
    faults = [
        Fault(n.where, f"node name {ascii(n.name)[:60]}", "letters, digits, dot, _ and -, at most 100", "rename it")
        for n in bad[:20]
    ]
    seen: dict[str, NodeFound] = {}
    twice = []
    for node in nodes:
        if node.name in seen:
            twice.append(node)
        seen.setdefault(node.name, node)
    if twice:
        first = seen[twice[0].name]
        found = f"{shortened(n.name for n in twice)} stands there twice (first at {first.where or 'the start'})"
        faults.append(Fault(twice[0].where, found, "each node once", "remove the repeated lines"))
    if len(nodes) > MOST_NODES:
        faults.append(Fault("", f"names {len(nodes)} nodes", f"at most {MOST_NODES}", "import one hall at a time"))
    return faults


def shortened(names: Iterable[str], most: int = 100) -> str:
    """Names as ranges, cut to a readable length."""
    text = collapse(names)
    return text if len(text) <= most else f"{text[:most]}..."


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """The key that sorts names as people do: n2 before n10."""
    return tuple(
        (1, int(piece), piece) if piece.isdigit() else (0, 0, piece) for piece in re.split(r"(\d+)", name) if piece
    )
