"""Things that will happen: immutable entries of the agenda in `State` (design section 1, rules 1 and 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Scalar = float | int | str


class Entry(NamedTuple):
    """One thing that happens at due_ms, in the order (due_ms, seq); never changed, only replaced.

    rows: the member rows it concerns, or None for all. phase: where in its life its component is. data: sorted pairs.
    """

    due_ms: int
    seq: int
    kind: str
    component: str
    rows: tuple[int, ...] | None
    phase: str
    data: tuple[tuple[str, Scalar], ...] = ()

    def get(self, name: str, default: Scalar) -> Scalar:
        """Return one value of the entry's data, or the default."""
        return dict(self.data).get(name, default)

    def number(self, name: str, default: float = 0.0) -> float:
        """Return one value of the entry's data as a number."""
        return float(self.get(name, default))


def pack(data: Mapping[str, Scalar]) -> tuple[tuple[str, Scalar], ...]:
    """Return data as sorted pairs, the form that an entry carries."""
    return tuple(sorted(data.items()))


class Agenda:
    """The entries by their sequence number, and the next number to give. Copying it copies one dictionary."""

    __slots__ = ("entries", "next_seq")

    def __init__(self, entries: dict[int, Entry] | None = None, next_seq: int = 0) -> None:
        """Take over the entries as they are."""
        self.entries = entries if entries is not None else {}
        self.next_seq = next_seq

    def add(
        self,
        due_ms: int,
        kind: str,
        component: str,
        phase: str,
        data: Mapping[str, Scalar] | None = None,
        rows: tuple[int, ...] | None = None,
    ) -> Entry:
        """Write a new entry and return it."""
        entry = Entry(int(due_ms), self.next_seq, kind, component, rows, phase, pack(data or {}))
        self.entries[entry.seq] = entry
        self.next_seq += 1
        return entry

    def remove(self, seq: int) -> Entry | None:
        """Take an entry out; None when it is already gone."""
        return self.entries.pop(seq, None)

    def copy(self) -> Agenda:
        """Return an independent agenda that shares the immutable entries."""
        return Agenda(dict(self.entries), self.next_seq)

    def due_before(self, until_ms: int) -> list[Entry]:
        """Return the entries due before until_ms in the order in which they happen."""
        return sorted(e for e in self.entries.values() if e.due_ms < until_ms)

    def of_kind(self, kind: str) -> list[Entry]:
        """Return the entries of a kind in order."""
        return sorted(e for e in self.entries.values() if e.kind == kind)

    def restrict(self, rows: list[int]) -> Agenda:
        """Return the agenda of a State made of these member rows, row numbers translated."""
        place: dict[int, list[int]] = {}
        for new, old in enumerate(rows):
            place.setdefault(old, []).append(new)
        kept = {}
        for seq, entry in self.entries.items():
            if entry.rows is None:
                kept[seq] = entry
            else:
                moved = tuple(sorted(n for old in entry.rows for n in place.get(old, [])))
                if moved:
                    kept[seq] = entry._replace(rows=moved)
        return Agenda(kept, self.next_seq)
