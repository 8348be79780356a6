"""An incident: causes, repairs and assumptions that a run may use, and the outcome that it may not.

`Incident` is what the file says; `resolve` draws the assumed values of one possible world from a callable and gives
concrete minutes. The same callable gives the same world, so plans meet the same luck.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist

from plant import incidentchecks
from plant.errors import IncidentFileError
from plant.files import load_toml, shipped
from plant.hallset import load_hall_set
from plant.incidentfile import Assumed, Cause, IncidentFile, Outcome, Precursor, Repair, Triple, Weather
from plant.ranges import expand_path
from plant.site import Site

Uniform = Callable[[str, str], float]
"""(purpose, name) -> a number in (0, 1); the same two words always give the same number."""

PURPOSE = "incident"
NO_WARNING_LEAD_MIN = 0.0
# low and high of a lead are read as its 5 % and 95 % quantiles
LEAD_QUANTILE = 1.6448536269514722
# kinds that befall several machines at once: the severity is the share of them that fails, in the order of the list
SHARED_KINDS = ("chiller_trip", "standby_fails", "cooling_unit_stop")


@dataclass(frozen=True)
class ResolvedCause:
    """One failure in one possible world: components, minute, severity, and the minute its first sign shows."""

    name: str
    kind: str
    components: tuple[str, ...]
    at_min: float
    severity: float
    group: str
    onset_min: float
    """When the drift begins; equal to at_min when there is no warning."""
    shape: str

    @property
    def lead_min(self) -> float:
        """Minutes from the first sign to the failure."""
        return self.at_min - self.onset_min


@dataclass(frozen=True)
class ResolvedRepair:
    """Something that comes back."""

    components: tuple[str, ...]
    at_min: float
    what: str
    clears: tuple[str, ...]


@dataclass(frozen=True)
class ResolvedIncident:
    """One possible world of an incident: every number concrete. Minutes count from the first alarm `at`."""

    id: str
    at: datetime.datetime
    hash: str
    causes: tuple[ResolvedCause, ...]
    repairs: tuple[ResolvedRepair, ...]
    values: tuple[tuple[str, float], ...]
    outdoor_c: tuple[tuple[str, float], ...] = ()
    """Outdoor temperature of the day by region, where it is not the site's mean."""

    def value(self, name: str) -> float:
        """A drawn `[[assumed]]` value. Raises IncidentFileError that lists the names."""
        found = dict(self.values)
        if name not in found:
            raise IncidentFileError(f"incident {self.id}", f"no assumed value '{name}'", f"one of {' '.join(found)}")
        return found[name]

    def cause(self, name: str) -> ResolvedCause:
        """A cause by name. Raises IncidentFileError that lists the names."""
        for each in self.causes:
            if each.name == name:
                return each
        known = " ".join(each.name for each in self.causes)
        raise IncidentFileError(f"incident {self.id}", f"no cause '{name}'", f"one of {known}")

    @property
    def first_sign_min(self) -> float:
        """The earliest minute at which anything can be seen."""
        return min(each.onset_min for each in self.causes)

    def at_ms(self, minute: float) -> int:
        """A minute of the incident as Unix milliseconds."""
        return round(self.at.timestamp() * 1000) + round(minute * 60000)


@dataclass(frozen=True)
class Incident:
    """An incident file, checked. Runs read causes, repairs and assumed; `outcome` is for comparison only."""

    id: str
    title: str
    at: datetime.datetime
    site: str
    component_kind: str
    summary: str
    causes: tuple[Cause, ...]
    repairs: tuple[Repair, ...]
    assumed: tuple[Assumed, ...]
    facts: tuple[tuple[str, str], ...]
    sources: tuple[tuple[str, str], ...]
    outcome: Outcome | None
    weather: tuple[Weather, ...] = ()

    def without_outcome(self) -> Incident:
        """The same incident as a run sees it."""
        return replace(self, outcome=None)

    @property
    def hash(self) -> str:
        """sha256 of what a run may read; title, facts, sources and outcome do not enter."""
        seen = [self.id, self.at.isoformat(), self.site, *(x.model_dump(mode="json") for x in self.causes)]
        seen += [x.model_dump(mode="json") for x in (*self.repairs, *self.assumed, *self.weather)]
        return hashlib.sha256(json.dumps(seen, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def resolve(self, uniform: Uniform) -> ResolvedIncident:
        """One possible world: each assumed range drawn by `uniform(purpose, name)`, names `<incident>:<part>.<key>`."""
        draw = _Draw(self.id, uniform)
        values = tuple((x.name, triangular(draw(f"assumed.{x.name}"), (x.low, x.value, x.high))) for x in self.assumed)
        causes: dict[str, ResolvedCause] = {}
        while len(causes) < len(self.causes):  # the checks refuse circles, so each round places at least one
            for cause in self.causes:
                if cause.name not in causes and (cause.after is None or cause.after in causes):
                    causes[cause.name] = _cause(cause, causes, dict(values), draw)
        repairs = tuple(_repair(repair, draw, f"repair{i}") for i, repair in enumerate(self.repairs))
        ordered = tuple(causes[cause.name] for cause in self.causes)
        outdoor = tuple(
            (w.region, _drawn(w.outdoor_c, w.outdoor_c_assumed, 0.0, draw, f"weather.{w.region}")) for w in self.weather
        )
        return ResolvedIncident(self.id, self.at, self.hash, ordered, repairs, values, outdoor)

    def likeliest(self) -> ResolvedIncident:
        """The world in which every draw is 1/2: median times, with warning if warning is more likely than not."""
        return self.resolve(lambda purpose, name: 0.5)


@dataclass(frozen=True)
class _Draw:
    """Uniform numbers by the name of what they decide."""

    incident: str
    uniform: Uniform

    def __call__(self, name: str) -> float:
        return self.uniform(PURPOSE, f"{self.incident}:{name}")


def _repair(repair: Repair, draw: _Draw, name: str) -> ResolvedRepair:
    at_min = _drawn(repair.at_min, repair.at_min_assumed, 0.0, draw, f"{name}.at_min")
    return ResolvedRepair(expand_path(repair.component), at_min, repair.what, repair.clears)


def _cause(
    cause: Cause, placed_causes: dict[str, ResolvedCause], values: dict[str, float], draw: _Draw
) -> ResolvedCause:
    """One cause with concrete numbers; the causes it comes after are placed already."""
    start = placed_causes[cause.after].at_min if cause.after is not None else 0.0
    at_min = start + _drawn(cause.at_min, cause.at_min_assumed, 0.0, draw, f"{cause.name}.at_min")
    severity = _drawn(cause.severity, cause.severity_assumed, 1.0, draw, f"{cause.name}.severity")
    if cause.severity_from is not None:
        severity = values[cause.severity_from]
    lead_min = NO_WARNING_LEAD_MIN if cause.precursor is None else _lead_min(cause.precursor, draw, cause.name)
    shape = "step" if cause.precursor is None else cause.precursor.shape
    names, group = expand_path(cause.component), cause.group or cause.name
    if cause.kind in SHARED_KINDS:
        names = names[: max(1, round(severity * len(names)))]
    return ResolvedCause(cause.name, cause.kind, names, at_min, severity, group, at_min - lead_min, shape)


def _drawn(public: float | None, assumed: Triple | None, default: float, draw: _Draw, name: str) -> float:
    """The public value, else a draw from the assumed range, else the default."""
    if public is not None:
        return public
    return default if assumed is None else triangular(draw(name), assumed)


def _lead_min(precursor: Precursor, draw: _Draw, name: str) -> float:
    """Minutes of warning, 0 in the share of worlds without any."""
    if draw(f"{name}.no_warning") < precursor.no_warning_share:
        return NO_WARNING_LEAD_MIN
    if precursor.lead_min is not None or precursor.lead_min_assumed is None:
        return precursor.lead_min or NO_WARNING_LEAD_MIN
    return lognormal_between(draw(f"{name}.lead_min"), precursor.lead_min_assumed)


def triangular(u: float, span: Triple) -> float:
    """Quantile u of the triangular distribution over [low, mode, high].

    >>> triangular(0.5, (-15.0, -10.0, -5.0))
    -10.0
    """
    low, mode, high = span
    if high <= low:
        return mode
    split = (mode - low) / (high - low)
    if u < split:
        return low + math.sqrt(u * (high - low) * (mode - low))
    return high - math.sqrt((1.0 - u) * (high - low) * (high - mode))


def lognormal_between(u: float, span: Triple) -> float:
    """Quantile u of a lognormal with median `mode` that has low and high near its 5 % and 95 % quantiles, cut to them.

    >>> round(lognormal_between(0.5, (8.0, 27.0, 90.0)), 6)
    27.0
    """
    low, median, high = span
    if low <= 0.0 or high <= low:
        return triangular(u, span)
    sigma = math.log(high / low) / (2.0 * LEAD_QUANTILE)
    return min(high, max(low, median * math.exp(sigma * NormalDist().inv_cdf(u))))


def load_incident(path: str | Path, site: Site | None = None) -> Incident:
    """Read and check an incident file, given as a path or as the id of a shipped one; with a site, also its components.

    Raises IncidentFileError with every fault at once.
    """
    file = shipped("incidents", path)
    site_checks = [] if site is None else [lambda read: incidentchecks.check_site(read, site)]
    checks = (*incidentchecks.NAMES, *site_checks)
    read = load_toml(file, IncidentFile, IncidentFileError, checks, folder="incidents")
    return from_file(read)


def from_file(read: IncidentFile) -> Incident:
    """The incident of a checked file, the values it takes from a common set among its assumed ones."""
    shared: tuple[Assumed, ...] = ()
    if read.common is not None:
        known = {one.name: one for one in load_hall_set(read.common.set).assumed}
        shared = tuple(known[name] for name in read.common.names)
    return Incident(
        id=read.id,
        title=read.title,
        at=read.at_utc,
        site=read.site,
        component_kind=read.component_kind,
        summary=read.summary or "",
        causes=read.cause,
        repairs=read.repair,
        assumed=(*read.assumed, *shared),
        facts=tuple(read.facts.items()),
        sources=tuple(read.sources.items()),
        outcome=read.outcome,
        weather=read.weather,
    )
