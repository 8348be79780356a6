"""Names that one part of a file gives another: do they exist, what was probably meant, do they go in a circle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from plant.errors import Fault

MOST_SHOWN = 12


def did_you_mean(word: str, known: tuple[str, ...] | list[str]) -> str:
    """`did you mean 'x'?` for the nearest known word, or empty when none is near."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else ""


def unknown(where: str, kind: str, name: str, known: Iterable[str]) -> list[Fault]:
    """Return the fault of a name that does not exist, with what does and the nearest; none when it exists."""
    names = list(dict.fromkeys(known))
    if name in names:
        return []
    allowed = f"one of {' '.join(names[:MOST_SHOWN]) or 'none'}"
    return [Fault(where, f"no {kind} '{name}'", allowed, did_you_mean(name, names))]


def circles(parent: Mapping[str, str | None]) -> Iterator[list[str]]:
    """Yield each circle of names that hang on each other, once: from the first of it listed back to itself."""
    said: set[str] = set()
    for name, now in parent.items():
        chain = [name]
        while now is not None and now not in chain:
            chain.append(now)
            now = parent.get(now)
        if now == name and name not in said:
            said.update(chain)
            yield [*chain, name]
