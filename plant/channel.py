"""One row of the table of channels: what can be measured on one kind of component, and how a value is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from plant.units import probable_slip, shown

SOURCES = ("telegraf", "dcgm", "redfish", "ipmi", "nut", "node_exporter")
REASONS = ("", "not_a_number", "below_range", "above_range", "unknown_channel")


@dataclass(frozen=True)
class Channel:
    """One thing that can be measured on one kind of component."""

    name: str
    kind: str
    unit: str
    low: float
    high: float
    cadence_s: float
    meaning: str
    aliases: Mapping[str, tuple[str, ...]] = field(hash=False)
    typical: tuple[float, float] | None = None
    """Where healthy values of any site lie; None where the site's own ratings alone can tell. For checks of units."""

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name, unique in the table."""
        return self.kind, self.name

    def reason(self, value: float) -> str | None:
        """Why a value is refused, one of REASONS, or None when it is possible."""
        if not np.isfinite(value):
            return REASONS[1]
        return REASONS[2] if value < self.low else REASONS[3] if value > self.high else None

    def sentence(self, value: float) -> str:
        """What is wrong with a value, for people: found, allowed and the probable slip of unit.

        >>> row("rack.inlet_c", "C", -20, 90, 15, "air at the front").sentence(295.15)
        '295.15 C is outside -20..90 C; looks like kelvin, that would be 22 C'
        """
        unit = f" {self.unit}" if self.unit not in ("fraction", "flag") else ""
        said = f"{shown(value)}{unit} is outside {shown(self.low)}..{shown(self.high)}{unit}"
        slip = probable_slip(value, self.unit, self.low, self.high) if np.isfinite(value) else None
        return f"{said}; looks like {slip[0]}, that would be {shown(slip[1])}{unit}" if slip else said


def row(
    key: str,
    unit: str,
    low: float,
    high: float,
    cadence_s: float,
    meaning: str,
    typical: tuple[float, float] | None = None,
    **names: str,
) -> Channel:
    """One row of the table; `names` gives each source's names, several separated by a bar."""
    kind, name = key.split(".")
    aliases = MappingProxyType({source: tuple(text.split("|")) for source, text in names.items()})
    return Channel(name, kind, unit, low, high, cadence_s, meaning, aliases, typical)
