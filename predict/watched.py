"""What is watched: the channels of each component kind, which way they go wrong, and the rows they are kept in.

All components of a site stand in one table of rows, kind after kind; each row has the same number of columns, and
what a kind does not measure stays missing. So one array operation serves every kind at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

COLUMNS = 4


class Watch(NamedTuple):
    """How one channel of one kind is judged, in the channel's unit (a fraction of its reference if `relative`)."""

    channel: str
    worse: int  # +1 rising is worse, -1 falling is worse, 0 carries no blame by itself
    floor: float  # smallest scale believed: sensor noise of one reading
    tolerance: float  # deviation that counts as clearly abnormal
    limit: float  # deviation at which the component no longer does its work
    tau_h: float  # how slowly its reference follows [h]
    unit: str
    relative: bool = False


REGULATED_H = 12.0
FOLLOWS_LOAD_H = 1.0

# Regulated channels get tight tolerances and slow references; channels that follow the load get wide ones.
# Noise floors: 0.15 K and 1 % [assumed, as sensor data sheets state them]; limits: notes/incidents.md B.3 for the
# air (18-27 C recommended, 35 C drained) and half of the nominal flow for the water.
WATCHES: dict[str, tuple[Watch, ...]] = {
    "loop": (
        Watch("supply_c", +1, 0.15, 1.0, 6.0, REGULATED_H, "K"),
        Watch("flow_frac", -1, 0.01, 0.05, 0.4, REGULATED_H, ""),
        Watch("pressure_kpa", -1, 0.01, 0.08, 0.6, REGULATED_H, "kPa", relative=True),
        Watch("return_c", 0, 0.5, 3.0, 10.0, FOLLOWS_LOAD_H, "K"),
    ),
    "chiller": (
        Watch("running", -1, 0.05, 0.6, 1.2, REGULATED_H, ""),
        Watch("power_kw", 0, 0.1, 0.5, 1.0, FOLLOWS_LOAD_H, "kW", relative=True),
    ),
    "cooling_unit": (
        Watch("supply_c", +1, 0.2, 2.0, 8.0, REGULATED_H, "K"),
        Watch("running", -1, 0.05, 0.6, 1.2, REGULATED_H, ""),
        Watch("fan_frac", 0, 0.05, 0.3, 1.0, FOLLOWS_LOAD_H, ""),
    ),
    "rack": (
        Watch("inlet_c", +1, 0.4, 3.0, 10.0, FOLLOWS_LOAD_H, "K"),
        Watch("outlet_c", 0, 1.0, 8.0, 20.0, FOLLOWS_LOAD_H, "K"),
    ),
    "ups": (
        Watch("battery_frac", -1, 0.01, 0.05, 0.6, REGULATED_H, ""),
        Watch("load_frac", 0, 0.05, 0.3, 0.5, FOLLOWS_LOAD_H, ""),
    ),
    "feed": (Watch("ok", -1, 0.05, 0.6, 1.2, REGULATED_H, ""),),
    "link": (Watch("ok", -1, 0.05, 0.6, 1.2, REGULATED_H, ""),),
    "psu": (Watch("ok", -1, 0.05, 0.6, 1.2, REGULATED_H, ""),),
    "node": (
        Watch("inlet_c", +1, 0.4, 3.0, 10.0, FOLLOWS_LOAD_H, "K"),
        Watch("ok", -1, 0.05, 0.6, 1.2, REGULATED_H, ""),
        Watch("gpu_c", 0, 1.0, 20.0, 40.0, FOLLOWS_LOAD_H, "K"),
        Watch("power_kw", 0, 0.05, 0.5, 1.0, FOLLOWS_LOAD_H, "kW", relative=True),
    ),
}
# Nodes, their power supplies and links mostly fail without a sign; they are scored where asked for. A hall has no
# channel of its own that is regulated: its hot air follows the load. It is named when several of its racks warm.
DEFAULT_KINDS = ("loop", "chiller", "cooling_unit", "rack", "ups", "feed")


def judged(kind: str) -> int:
    """Return how many channels of the kind can carry blame."""
    return sum(1 for watch in WATCHES[kind] if watch.worse)


@dataclass(frozen=True)
class Watched:
    """The rows: component ids by kind, and where each of them gets its heat removed or power from (`parent`)."""

    components: Mapping[str, Sequence[str]]
    parent: Mapping[str, str]

    @classmethod
    def of_site(cls, site: Any, kinds: Sequence[str] | None = None) -> Watched:
        """Take the watched kinds of a site (or those named); parents by chilled water for heat, by UPS for power."""
        names = tuple(kinds) if kinds is not None else DEFAULT_KINDS
        found = {kind: tuple(site.components(kind)) for kind in names if kind in site.kinds}
        return cls({kind: ids for kind, ids in found.items() if ids}, parents_of(site))

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that have rows, in row order."""
        return tuple(self.components)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The component of every row, (rows,)."""
        return tuple(name for kind in self.kinds for name in self.components[kind])

    @cached_property
    def kind_of_row(self) -> tuple[str, ...]:
        """The kind of every row, (rows,)."""
        return tuple(kind for kind in self.kinds for _ in self.components[kind])

    @cached_property
    def rows(self) -> dict[str, slice]:
        """The rows of each kind."""
        ends = np.cumsum([len(self.components[kind]) for kind in self.kinds]).tolist()
        starts = [0, *ends[:-1]]
        return {kind: slice(start, end) for kind, start, end in zip(self.kinds, starts, ends, strict=True)}

    @cached_property
    def cells(self) -> dict[tuple[str, str], int]:
        """The flat cell (row * COLUMNS + column) of each (component, channel)."""
        columns = {kind: [watch.channel for watch in WATCHES[kind]] for kind in self.kinds}
        return {
            (name, channel): row * COLUMNS + column
            for row, (name, kind) in enumerate(zip(self.ids, self.kind_of_row, strict=True))
            for column, channel in enumerate(columns[kind])
        }

    def field(self, name: str, absent: float) -> NDArray[np.float64]:
        """Spread one field of the watch table over the cells, (rows, COLUMNS); `absent` where nothing is measured."""
        out = np.full((len(self.ids), COLUMNS), absent)
        for kind in self.kinds:
            for column, watch in enumerate(WATCHES[kind]):
                out[self.rows[kind], column] = getattr(watch, name)
        return out


def parents_of(site: Any) -> dict[str, str]:
    """Return who each component depends on: rack and cooling unit on the hall, hall on its loop, chiller to its loop.

    A chiller and its loop share a cause either way round, so the chiller is filed under the loop.
    """
    halls, loops = site.hall_ids, site.loop_ids
    parent = {name: loops[loop] for name, loop in zip(halls, site.hall_loop, strict=True)}
    parent.update({name: halls[hall] for name, hall in zip(site.rack_ids, site.rack_hall, strict=True)})
    parent.update({name: halls[hall] for name, hall in zip(site.unit_ids, site.unit_hall, strict=True)})
    parent.update({name: loops[loop] for name, loop in zip(site.chiller_ids, site.chiller_loop, strict=True)})
    parent.update({name: site.rack_ids[rack] for name, rack in zip(site.node_ids, site.node_rack, strict=True)})
    return parent
