"""Where the fleet's risks stand: racks in rows of their hall, the plant of each hall in a row of its own. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from screens.risks import Band, Scored

WIDTH = 24
"""Cells in a row for a site of up to a few hundred racks; larger ones get wider rows, so that rows stay few."""
MOST_ROWS = 18


@dataclass(frozen=True)
class Cell:
    """One component's place: column, row, the worst that is known of it and its parts (None: unknown)."""

    x: int
    y: int
    component: str
    p: float | None
    band: Band


@dataclass(frozen=True)
class Heat:
    """Cells and the names of the rows, top first."""

    cells: tuple[Cell, ...]
    rows: tuple[str, ...]
    width: int


def heat(scored: Sequence[Scored]) -> Heat:
    """Lay out the components: nodes and power supplies count to their rack, everything else has its own cell."""
    worst = _worst(scored)
    racks = [name for name, one in worst.items() if one.kind == "rack"]
    width = WIDTH
    while len(racks) / width > MOST_ROWS - 6 and width < 96:
        width += WIDTH
    cells: list[Cell] = []
    rows: list[str] = []
    for group in sorted({_hall_of(name) for name in worst}, key=lambda name: ("/" not in name, name)):
        inside = [worst[name] for name in worst if _hall_of(name) == group]
        for what, members in (("racks", _of(inside, rack=True)), ("plant", _of(inside, rack=False))):
            for start in range(0, len(members), width):
                row = members[start : start + width]
                first, last = start + 1, start + len(row)
                rows.append(f"{group} {what} {first}–{last}" if what == "racks" else f"{group} {what}")
                cells += [Cell(x, len(rows) - 1, one.component, one.p, one.band) for x, one in enumerate(row)]
    return Heat(tuple(cells), tuple(rows), width)


def _worst(scored: Sequence[Scored]) -> dict[str, Scored]:
    """The worst of each rack and its parts, and every other component; in the order of their names."""
    racks = {one.component for one in scored if one.kind == "rack"}
    found: dict[str, Scored] = {}
    for one in scored:
        place = next((rack for rack in _ancestors(one.component) if rack in racks), one.component)
        held = found.get(place)
        # scored is worst first, so the first to come stays
        if held is None:
            found[place] = Scored(place, "rack" if place in racks else one.kind, one.p, None, one.band, "", "", {})
    return dict(sorted(found.items(), key=lambda item: (_hall_of(item[0]), _natural(item[0]))))


def _ancestors(component: str) -> list[str]:
    parts = component.split("/")
    return ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]


def _hall_of(component: str) -> str:
    """The part of the site a component is filed under: its hall, or its region for what no hall owns."""
    parts = component.split("/")
    return "/".join(parts[:2]) if len(parts) > 1 and not parts[1].startswith(("feed", "link")) else parts[0]


def _natural(component: str) -> tuple[int, str, int]:
    """Loops before their chillers, ch2 before ch10."""
    digits = "".join(c for c in component.rsplit("/", 1)[-1] if c.isdigit())
    return component.count("/"), component.rstrip("0123456789"), int(digits or 0)


def _of(inside: Sequence[Scored], *, rack: bool) -> list[Scored]:
    return [one for one in inside if (one.kind == "rack") == rack]
