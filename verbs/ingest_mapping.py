"""The mapping file of telemetry: which source name means which component and channel, in which unit.

A rule's `match` is a shell pattern over `<component>/<channel>` as the source writes them; the first match wins, what
matches none is listed. Without a file every name is ours already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import Field

from plant.channels import CHANNELS
from plant.errors import ConfigError, Fault
from plant.files import load_toml
from plant.keys import Part, text

# (unit of the file, unit of the channel) -> scale, offset
CONVERSIONS: dict[tuple[str, str], tuple[float, float]] = {
    ("K", "C"): (1.0, -273.15),
    ("F", "C"): (5.0 / 9.0, -160.0 / 9.0),
    ("W", "kW"): (1e-3, 0.0),
    ("MW", "kW"): (1e3, 0.0),
    ("%", "fraction"): (1e-2, 0.0),
    ("g/kWh", "kgCO2/kWh"): (1e-3, 0.0),
    ("Pa", "kPa"): (1e-3, 0.0),
    ("bar", "kPa"): (1e2, 0.0),
}
UNITS = {channel.name: channel.unit for channel in CHANNELS}


class Source(Part):
    """Columns of the file and the clock of its times."""

    time: str = text("column with the time", "time")
    component: str = text("column with the component", "component")
    channel: str = text("column with the channel", "channel")
    value: str = text("column with the value", "value")
    time_unit: Literal["iso", "s", "ms", "us", "ns"] | None = Field(
        None, description="iso, or the unit of a Unix time; absent: iso for text and instants, ms for numbers"
    )


class Rule(Part):
    """What one source name means."""

    match: str = text("shell pattern over <component>/<channel> of the source")
    component: str = text("component id; {component} and {channel} stand for the source's words", "{component}")
    channel: str = text("channel of our table; the same words may stand in it", "{channel}")
    unit: str | None = text("unit in the file; absent: the channel's own", None)
    scale: float | None = Field(None, description="factor from the file's number to the channel's unit")
    offset: float | None = Field(None, description="added after the factor, in the channel's unit")
    drop: bool | tuple[float, ...] = Field(False, description="true: leave these out; numbers: leave out these values")
    enum: dict[str, float] = Field(default_factory=dict, description="number of each word in the value column")


class MappingFile(Part):
    """A whole mapping file."""

    source: dict[str, Source] = Field(default_factory=dict, description="files by name; the first one is read")
    rule: tuple[Rule, ...] = Field((), description="in order; the first match wins")


@dataclass(frozen=True)
class Meaning:
    """Where readings of one source name go: ours = theirs * scale + offset, values of `drop` left out."""

    component: str
    channel: str
    scale: float = 1.0
    offset: float = 0.0
    drop: tuple[float, ...] = ()
    drop_all: bool = False
    words: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Names:
    """A checked mapping."""

    source: Source
    rules: tuple[Rule, ...]

    def meaning(self, component: str, channel: str) -> Meaning | None:
        """What a source name means; None when no rule matches. Without rules every name is ours already."""
        if not self.rules:
            return Meaning(component, channel)
        name = f"{component}/{channel}"
        rule = next((one for one in self.rules if fnmatchcase(name, one.match)), None)
        if rule is None:
            return None
        ours = _filled(rule.channel, component, channel)
        scale, offset = _conversion(rule, UNITS.get(ours, ""))
        values = () if isinstance(rule.drop, bool) else rule.drop
        where = _filled(rule.component, component, channel)
        return Meaning(where, ours, scale, offset, values, rule.drop is True, rule.enum or None)


def load_mapping(path: str | None) -> Names:
    """Read a mapping file, or give the plain one where there is none. Raises ConfigError with every fault at once."""
    if path is None:
        return Names(Source(), ())
    read: MappingFile = load_toml(path, MappingFile, ConfigError)
    faults = [fault for n, rule in enumerate(read.rule) for fault in _faults(rule, f"{Path(path).name}: rule[{n}]")]
    if faults:
        raise ConfigError(faults=faults)
    return Names(next(iter(read.source.values()), Source()), read.rule)


def _faults(rule: Rule, where: str) -> list[Fault]:
    """A channel nobody knows, a unit that does not lead to it, a factor that contradicts the unit."""
    if rule.drop is True or "{" in rule.channel:
        return []
    unit = UNITS.get(rule.channel)
    if unit is None:
        return [Fault(f"{where}.channel", f"'{rule.channel}'", f"one of {' '.join(sorted(UNITS))}", "correct the name")]
    if rule.unit is None or rule.unit == unit:
        return []
    usual = CONVERSIONS.get((rule.unit, unit))
    if usual is None:
        known = " ".join(sorted({unit, *(theirs for theirs, ours in CONVERSIONS if ours == unit)}))
        return [Fault(f"{where}.unit", f"'{rule.unit}' for {rule.channel}", f"one of {known}", "correct the unit")]
    if rule.scale is not None and abs(rule.scale - usual[0]) > 1e-9 * abs(usual[0]):
        allowed = f"{usual[0]:g}, the factor from {rule.unit} to {unit}"
        return [
            Fault(f"{where}.scale", f"{rule.scale:g} for unit {rule.unit}", allowed, "correct the unit or the scale")
        ]
    return []


def _conversion(rule: Rule, unit: str) -> tuple[float, float]:
    usual = CONVERSIONS.get((rule.unit or unit, unit), (1.0, 0.0))
    scale = usual[0] if rule.scale is None else rule.scale
    return scale, usual[1] if rule.offset is None else rule.offset


def _filled(template: str, component: str, channel: str) -> str:
    return template.replace("{component}", component).replace("{channel}", channel)
