"""The lives of feeds, generators, UPS modules and power supplies, as SimPy processes that own nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from twin import outages
from twin.cooling_effects import power_back
from twin.sags import sag
from twin.supply import GEN_RUNNING, GEN_STANDBY, GEN_STARTING

if TYPE_CHECKING:
    from twin.processes import Life, Turn


def feed(w: Turn) -> Life:
    """A feed is lost and returns; halls live on batteries until it does, or until a generator carries them."""
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        e, f = w.entry, w.index("feed")
        if w.at("sag"):
            sag(w.engine, f, w.rows, e.number("depth_frac", 1.0), e.number("lasts_s", 1.0), e.due_ms)
            w.end()
            return
        outages.set_feed(w.engine, f, w.rows, not w.at("lost"), e.due_ms, e.rows)
        if w.at("lost"):
            w.next("back", e.number("back_ms"))
        else:
            w.end()


def generator(w: Turn) -> Life:
    """A generator is asked to start, carries the load, and is let go when the utility is back; or it fails."""
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        e, g, rows, site = w.entry, w.index("generator"), w.rows, w.engine.site
        if w.at("fail"):
            outages.fail_generator(w.engine, g, rows, e.due_ms, int(e.number("repaired_ms")))
        elif w.at("demand"):
            if outages.order_start(w.engine, g, rows, e.due_ms):
                w.next("carry", e.due_ms + site.chain.generator_start_s[g] * 1000)
                continue
        elif w.at("carry"):
            outages.set_generator(w.engine, g, rows, GEN_STARTING, GEN_RUNNING, e.due_ms)
            w.next("release", e.due_ms + site.chain.generator_back_s[g] * 1000)
            continue
        else:
            asked = outages.generators_asked(w.engine.derived)[rows, g]
            outages.set_generator(w.engine, g, rows[~asked], GEN_RUNNING, GEN_STANDBY, e.due_ms)
        w.end()


def ups(w: Turn) -> Life:
    """A module of a UPS drops out and is replaced."""
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        e, u = w.entry, w.index("ups")
        out = w.at("module_out")
        outages.set_modules(w.engine, u, w.rows, -1 if out else 1, e.due_ms)
        if out:
            w.next("module_back", e.number("repaired_ms"))
        else:
            w.end()


def psu(w: Turn) -> Life:
    """A power supply of a node fails; the others carry its share until it is replaced."""
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        e, rows, s = w.entry, w.rows, w.engine.state
        name, number = e.component.rsplit("/psu", 1)
        node, more = w.engine.site.index("node", name), -1 if w.at("fail") else 1
        s.node_psu_ok[rows, node] += more
        if int(number) % 2 == 0:  # even ones hang on side B
            s.node_psu_b_ok[rows, node] += more
        w.engine.derived.mark(rows)
        if w.at("fail"):
            w.next("replace", e.number("replaced_ms"))
        else:
            w.end()


def reset(w: Turn) -> Life:
    """A person has reset a cooling machine that a sag tripped; the entry's phase is the kind of machine."""
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        e = w.entry
        power_back(w.engine, e.phase, np.array([w.index(e.phase)]), w.rows, e.due_ms)
        w.end()


POWER_LIVES: dict[str, Callable[[Turn], Life]] = {
    "feed": feed,
    "generator": generator,
    "ups": ups,
    "psu": psu,
    "reset": reset,
}
# Site-wide happenings that act at their exact instant: flows are advanced to it first. Their rows are always all rows.
POWER_CUTS = frozenset({"feed", "generator"})
