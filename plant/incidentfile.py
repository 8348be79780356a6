"""The models of an incident file: what failed when, dated and sourced, with facts, assumptions and outcomes kept apart.

Times are minutes from the first alarm (0); negative is before it. What is not public is given as `[low, mode, high]`
with a reason. `outcome` is there to compare a replay with; nothing that runs may read it.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field

from plant.keys import Part, number, text
from plant.ranges import expand_path

EARLIEST_MIN, LATEST_MIN = -10080.0, 20160.0  # a week before the first alarm, two weeks after

# Which kind of component a fault can befall, and what it does.
FAULT_KINDS: dict[str, tuple[str, str]] = {
    "loop_airlock": ("loop", "air in the water: flow falls, then the chillers in service trip on low flow"),
    "chiller_trip": ("chiller", "a chiller in service stops"),
    "standby_fails": ("chiller", "a standby chiller does not start when asked"),
    "cooling_unit_stop": ("cooling_unit", "a cooling unit moves no air"),
    "pump_trip": ("pump", "a pump stops; its loop's flow falls, and chillers trip where it falls too low"),
    "cdu_pump_fails": ("cdu", "a coolant distribution unit moves no coolant: its racks heat up"),
    "control_freeze": ("hall", "controls freeze: units keep speed and valve, the loop starts nothing by itself"),
    "heatwave": ("region", "it grows hot outdoors: severity 1 is 20 K, or the assumed heatwave_c"),
    "feed_sag": ("feed", "a voltage sag: cooling trips, the load rides through on the UPS"),
    "feed_loss": ("feed", "a utility feed carries no power"),
    "ups_module_fails": ("ups", "a UPS module drops out"),
    "generator_fails": ("generator", "a generator trips, or will not start when asked"),
    "psu_fails": ("psu", "a power supply delivers nothing"),
    "fan_fails": ("node", "its fans lose air (severity): accelerators slow down, then the node shuts itself down"),
    "node_fails": ("node", "a node stops and loses its work"),
    "link_degrades": ("link", "a link loses frames; severity 0 to 1 is a loss of 1e-5 to 1e-2"),
    "link_flaps": ("link", "a link goes down for seconds again and again"),
    "link_fails": ("link", "a link carries nothing"),
    "switch_fails": ("switch", "a leaf or spine switch carries nothing"),
    "grey_switch": ("switch", "a switch loses frames and nothing takes over; severity as for link_degrades"),
}
FaultKind = Literal[
    "loop_airlock", "chiller_trip", "standby_fails", "cooling_unit_stop", "pump_trip", "cdu_pump_fails",
    "control_freeze", "heatwave", "feed_sag", "feed_loss",
    "ups_module_fails", "generator_fails", "psu_fails", "fan_fails", "node_fails", "link_degrades", "link_flaps",
    "link_fails",
    "switch_fails", "grey_switch",
]  # fmt: skip


def _path_range(pattern: str) -> str:
    expand_path(pattern)
    return pattern


ComponentRange = Annotated[str, AfterValidator(_path_range)]
Triple = tuple[float, float, float]


def range_of(unit: str, low: float, high: float, meaning: str) -> Any:
    """A field for an assumed `[low, mode, high]` in `unit`; `incidentchecks` checks the bounds of the numbers."""
    extra: dict[str, Any] = {"unit": unit, "range_low": low, "range_high": high}
    return Field(default=None, description=meaning, json_schema_extra=extra)


class Precursor(Part):
    """What can be seen before the fault: a drift that begins `lead` minutes earlier, or nothing."""

    shape: Literal["linear", "exponential", "step"] = Field("linear", description="how the drift grows to the fault")
    lead_min: float | None = number("min", 0, 43200, "time from the first sign to the fault", None)
    lead_min_assumed: Triple | None = range_of("min", 0, 43200, "[low, median, high] when not public")
    no_warning_share: float = number("fraction", 0, 1, "share of such faults that show no sign at all", 0.0)
    reason: str | None = text("why this shape, lead and share", None)


class Cause(Part):
    """One thing that failed."""

    name: str = text("name inside this file", pattern=r"^[A-Za-z0-9._-]+$")
    component: ComponentRange = text("component id of the site, ranges allowed: 'hk/zone-c/loop/ch[1-4]'")
    kind: FaultKind = Field(description="what failed")
    at_min: float | None = number("min", EARLIEST_MIN, LATEST_MIN, "when, if public", None)
    at_min_assumed: Triple | None = range_of("min", EARLIEST_MIN, LATEST_MIN, "[low, mode, high] when not public")
    after: str | None = text("name of the cause whose time at_min counts from", None)
    severity: float | None = number(
        "fraction", 0, 1, "1 is a complete failure; of several chillers or cooling units, the share that fails", None
    )
    severity_assumed: Triple | None = range_of("fraction", 0, 1, "[low, mode, high] when not public")
    severity_from: str | None = text("name of the assumed value that is the severity", None)
    group: str | None = text("shared-cause group: one repair, one luck", None)
    precursor: Precursor | None = Field(None, description="what can be seen before; absent: nothing")
    reason: str | None = text("why the assumed values", None)
    source: str | None = text("key of [sources]", None)


class Repair(Part):
    """Something that came back."""

    component: ComponentRange = text("component id of the site, ranges allowed")
    at_min: float | None = number("min", EARLIEST_MIN, LATEST_MIN, "when it works again, if public", None)
    at_min_assumed: Triple | None = range_of("min", EARLIEST_MIN, LATEST_MIN, "[low, mode, high] when not public")
    what: str = text("what was done")
    clears: tuple[str, ...] = Field((), description="names of the causes that end with it")
    reason: str | None = text("why the assumed time", None)
    source: str | None = text("key of [sources]", None)


class Weather(Part):
    """Outdoor temperature of a region while the incident lasts, where it is not the site's mean."""

    region: str = text("region of the site", pattern=r"^[A-Za-z0-9._-]+$")
    outdoor_c: float | None = number("C", -40, 60, "dry-bulb temperature, if public", None)
    outdoor_c_assumed: Triple | None = range_of("C", -40, 60, "[low, mode, high] when not public")
    reason: str | None = text("why the assumed value", None)
    source: str | None = text("key of [sources]", None)


class Common(Part):
    """Assumed values that all incidents of a family share, taken from a set in data/assumed/."""

    set: str = text("name of the set", pattern=r"^[A-Za-z0-9._-]+$")
    names: tuple[str, ...] = Field(min_length=1, description="which of its values a run of this incident draws")


class Assumed(Part):
    """A number the story needs and nobody published."""

    name: str = text("name by which a run asks for it", pattern=r"^[a-z][a-z0-9_]*$")
    value: float = Field(strict=True, description="most likely value", json_schema_extra={"unit": "as `unit` says"})
    low: float = Field(strict=True, description="least value", json_schema_extra={"unit": "as `unit` says"})
    high: float = Field(strict=True, description="greatest value", json_schema_extra={"unit": "as `unit` says"})
    unit: str = text("unit of the three")
    reason: str = text("why this range")


class Happening(Part):
    """One line of the public timeline."""

    at_min: float = number("min", EARLIEST_MIN, LATEST_MIN, "when")
    what: str = text("what was seen or done")


class Outcome(Part):
    """What the real incident led to: for comparison only, never read by a run."""

    first_stop_min: float | None = number("min", EARLIEST_MIN, LATEST_MIN, "first server stopped", None)
    load_shed_min: float | None = number("min", EARLIEST_MIN, LATEST_MIN, "operators began to shed load", None)
    cause_fixed_min: float | None = number("min", EARLIEST_MIN, LATEST_MIN, "cooling or power fully back", None)
    recovered_min: float | None = number("min", EARLIEST_MIN, LATEST_MIN, "most service back", None)
    closed_min: float | None = number("min", EARLIEST_MIN, LATEST_MIN, "last service back", None)
    peak_inlet_c: float | None = number("C", 10, 200, "highest inlet temperature", None)
    timeline: tuple[Happening, ...] = Field((), description="public timeline")


class IncidentFile(Part):
    """A whole incident, as written."""

    id: str = text("name, the same as the file's", pattern=r"^[A-Za-z0-9._-]+$")
    title: str = text("one line")
    at: AwareDatetime = Field(description="instant of the first alarm, with offset")
    site: str = text("site file it plays on", pattern=r"^[A-Za-z0-9._-]+$")
    component_kind: str = text("kind of component that failed first")
    summary: str | None = text("the story in a few sentences", None)
    cause: tuple[Cause, ...] = Field(min_length=1, description="what failed")
    repair: tuple[Repair, ...] = Field((), description="what came back")
    assumed: tuple[Assumed, ...] = Field((), description="numbers nobody published, of this incident alone")
    common: Common | None = Field(None, description="numbers nobody published, the same for a family of incidents")
    weather: tuple[Weather, ...] = Field((), description="outdoor temperatures of the day")
    facts: dict[str, str] = Field(default_factory=dict, description="public facts behind the causes")
    outcome: Outcome | None = Field(None, description="what it led to, for comparison")
    sources: dict[str, str] = Field(default_factory=dict, description="where the facts stand")

    @property
    def at_utc(self) -> datetime.datetime:
        """The first alarm in UTC."""
        return self.at.astimezone(datetime.UTC)
