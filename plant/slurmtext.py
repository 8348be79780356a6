"""How Slurm writes things, in every version we know: host lists, generic resources, states, numbers of its JSON.

Shapes seen: 22.05 (openapi v0.0.38, plain numbers and null), 23.02 to 23.11 (`{"set", "infinite", "number"}`, states as
lists), 24.05 to 25.11 (allocations as lists of nodes with their CPUs).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from plant.ranges import expand

NO_VALUES = (4294967294, 4294967295, 18446744073709551614, 18446744073709551615)
"""Slurm's NO_VALUE and INFINITE in 32 and 64 bits."""

_BASE = "UNKNOWN DOWN IDLE ALLOCATED ERROR MIXED FUTURE INVALID"
_FLAGS = (
    "BLOCKED CLOUD COMPLETING DRAIN DRAINED DRAINING DYNAMIC_FUTURE DYNAMIC_NORM EXTERNAL FAIL FAILING INVALID_REG"
    " MAINT MAINTENANCE NOT_RESPONDING NO_RESPOND PARTIAL PERFCTRS PLANNED POWERED_DOWN POWERING_DOWN POWERING_UP"
    " POWERED_UP POWER_DOWN POWER_DOWN_FORCE POWER_DRAIN POWER_DRAINED POWER_UP POWERED REBOOT REBOOT_CANCELED"
    " REBOOT_ISSUED REBOOT_REQUESTED RES RESERVED RESUME UNDRAIN UPDATE CANCEL_REBOOT ALLOC"
)
BASE_STATES, FLAG_STATES = frozenset(_BASE.split()), frozenset(_FLAGS.split())
"""Words that stand for the state of a node, beside a base state or alone."""

_MARKS = {"*": "NOT_RESPONDING", "~": "POWERED_DOWN", "#": "POWERING_UP", "!": "POWER_DOWN", "%": "POWERING_DOWN",
          "$": "MAINTENANCE", "@": "REBOOT_REQUESTED", "^": "REBOOT_ISSUED", "-": "PLANNED"}  # fmt: skip


def hosts(text: str) -> tuple[str, ...]:
    """Every node of a host list, in its order. Raises ValueError with what is wrong.

    >>> hosts("n[1-2,4],gpu-a")
    ('n1', 'n2', 'n4', 'gpu-a')
    """
    return tuple(name for part in host_parts(text) for name in expand(part))


def host_parts(text: str) -> list[str]:
    """The parts of a host list, split at the commas outside brackets.

    >>> host_parts("n[1-2,4],gpu-a")
    ['n[1-2,4]', 'gpu-a']
    """
    return [part for part in re.split(r",(?![^\[]*\])", text.strip()) if part]


def states(told: Any) -> tuple[str, ...]:
    """The words of a node's state, upper case: from `IDLE+DRAIN*`, from a list, or from a word with marks.

    >>> states("IDLE+DRAIN*")
    ('IDLE', 'DRAIN', 'NOT_RESPONDING')
    """
    words: list[str] = []
    for word in [told] if isinstance(told, str) else told if isinstance(told, list | tuple) else ():
        for piece in str(word).upper().split("+"):
            bare = piece.rstrip("".join(_MARKS)) if piece else ""
            words += [bare] if bare else []
            words += [_MARKS[mark] for mark in piece[len(bare) :]]
    return tuple(dict.fromkeys(words))


def unknown_states(words: Iterable[str]) -> tuple[str, ...]:
    """Those words that no Slurm we know says of a node."""
    return tuple(word for word in words if word not in BASE_STATES and word not in FLAG_STATES)


def accelerators(gres: str) -> tuple[int, str]:
    """How many GPUs a Gres text names and what they are called; several kinds add up under the name of the first.

    >>> accelerators("gpu:a100:4(S:0-1),shard:8")
    (4, 'a100')
    """
    total, name = 0, ""
    for item in re.sub(r"\([^)]*\)", "", gres or "").split(","):
        words = item.strip().split(":")
        if words[0].removeprefix("gres/") != "gpu":
            continue
        last = words[-1]
        many = int(last) if last.isdigit() and len(words) > 1 else 1
        kind = ":".join(words[1:-1] if last.isdigit() else words[1:])
        total, name = total + many, name or kind
    return total, name


def tres(text: Any) -> dict[str, float]:
    """The amounts of a TRES text by name; what carries a unit of memory is left out.

    >>> tres("cpu=8,mem=64G,node=2,gres/gpu=4,gres/gpu:a100=4")["gres/gpu"]
    4.0
    """
    found = {}
    for item in text.split(",") if isinstance(text, str) else ():
        name, _, amount = item.partition("=")
        if re.fullmatch(r"\d+(\.\d+)?", amount):
            found[name.strip()] = float(amount)
    return found


def whole(told: Any) -> int | None:
    """A number of Slurm's JSON in either form, or None where it is not set, infinite or no number.

    >>> whole({"set": True, "infinite": False, "number": 60}), whole(60), whole(None)
    (60, 60, None)
    """
    if isinstance(told, dict):
        told = told.get("number") if told.get("set", True) and not told.get("infinite") else None
    if isinstance(told, bool) or not isinstance(told, int | float) or not math.isfinite(told) or told in NO_VALUES:
        return None
    return int(told)
