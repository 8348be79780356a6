"""Names written as ranges: `r[01-96]` stands for r01 .. r96, `n[001-004,010]` for five nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST_NAMES = 1_000_000
_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_PIECE = re.compile(r"^(\d+)(?:-(\d+))?$")
_NAME = re.compile(r"^[A-Za-z0-9._-]+$")


def expand(pattern: str) -> tuple[str, ...]:
    """All names a range stands for, in order; a name without brackets stands for itself.

    Digits keep the width of the lower bound. Raises ValueError with what is wrong and how to write it.

    >>> expand("r[08-11]")
    ('r08', 'r09', 'r10', 'r11')
    """
    names = [""]
    at = 0
    for bracket in _BRACKET.finditer(pattern):
        literal, numbers = pattern[at : bracket.start()], _numbers(bracket.group(1), pattern)
        if len(names) * len(numbers) > MOST_NAMES:
            raise ValueError(f"'{pattern}' stands for more than {MOST_NAMES} names; write a smaller range")
        names = [name + literal + number for name in names for number in numbers]
        at = bracket.end()
    names = [name + pattern[at:] for name in names]
    if not _NAME.match(names[0]):
        raise ValueError(f"'{pattern}' is no name or range; write for example 'r[01-96]'")
    if len(set(names)) != len(names):
        raise ValueError(f"'{pattern}' names the same thing twice; let the pieces not overlap")
    return tuple(names)


def expand_path(pattern: str) -> tuple[str, ...]:
    """All component ids a path with ranges stands for.

    >>> expand_path("hk/zone-c/loop/ch[1-2]")
    ('hk/zone-c/loop/ch1', 'hk/zone-c/loop/ch2')
    """
    paths = [""]
    for step in pattern.split("/"):
        names = expand(step)
        if len(paths) * len(names) > MOST_NAMES:
            raise ValueError(f"'{pattern}' stands for more than {MOST_NAMES} names; write a smaller range")
        paths = [f"{path}/{name}" if path else name for path in paths for name in names]
    return tuple(paths)


def _numbers(inside: str, pattern: str) -> list[str]:
    """The numbers inside one pair of brackets, zero-padded."""
    numbers: list[str] = []
    for piece in inside.split(","):
        match = _PIECE.match(piece.strip())
        if match is None:
            raise ValueError(f"'{pattern}' has the piece '{piece}'; write for example '[01-96]' or '[01-08,12]'")
        low, high = match.group(1), match.group(2) or match.group(1)
        if int(high) < int(low):
            raise ValueError(f"'{pattern}' runs backwards; write '[{high}-{low}]'")
        if int(high) - int(low) >= MOST_NAMES:
            raise ValueError(f"'{pattern}' stands for more than {MOST_NAMES} names; write a smaller range")
        numbers += [str(i).zfill(len(low)) for i in range(int(low), int(high) + 1)]
    return numbers


def collapse(names: Iterable[str]) -> str:
    """The shortest range text for names that differ in their last number, for messages and screens.

    Names that do not fit one pattern are joined by commas; `expand` undoes each part.

    >>> collapse(["r01", "r02", "r03", "r07"])
    'r[01-03,07]'
    """
    groups: dict[tuple[str, int], list[int]] = {}
    parts: list[str | tuple[str, int]] = []
    for name in dict.fromkeys(names):
        match = re.match(r"^(.*?)(\d+)$", name)
        if match is None:
            parts.append(name)
            continue
        key = (match.group(1), len(match.group(2)))
        if key not in groups:
            parts.append(key)
        groups.setdefault(key, []).append(int(match.group(2)))
    return ",".join(part if isinstance(part, str) else _bracketed(part, groups[part]) for part in parts)


def _bracketed(key: tuple[str, int], numbers: list[int]) -> str:
    """One prefix with its numbers as `[a-b,c]`, or the plain name when there is one number."""
    prefix, width = key
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    if len(runs) == 1 and runs[0][0] == runs[0][1]:
        return f"{prefix}{runs[0][0]:0{width}d}"
    inside = ",".join(f"{a:0{width}d}" if a == b else f"{a:0{width}d}-{b:0{width}d}" for a, b in runs)
    return f"{prefix}[{inside}]"
