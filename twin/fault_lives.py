"""The life of a node that a story names, as a SimPy process that owns nothing; others are cohorts (node_faults.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twin.node_faults import fail_named, show_signs
from twin.node_repairs import return_named

if TYPE_CHECKING:
    from twin.processes import Life, Turn


def node(w: Turn) -> Life:
    """A node shows signs, fails, and is back when its repair is done."""
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        e, n, rows, d = w.entry, w.index("node"), w.rows, w.engine.derived
        if w.at("signs"):
            show_signs(d, rows, n, int(e.number("fails_ms")))
            w.next("fail", e.number("fails_ms"))
        elif w.at("fail"):
            fail_named(d, rows, n)
            w.next("back", e.number("repaired_ms"))
        else:
            return_named(d, rows, n)
            w.end()


FAULT_LIVES: dict[str, Callable[[Turn], Life]] = {"node": node}
