"""Checks between the parts of an incident file, and of the file against a site; each returns the faults it finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from plant.errors import Fault, IncidentFileError
from plant.hallset import load_hall_set
from plant.incidentfile import FAULT_KINDS, IncidentFile, Triple
from plant.ranges import collapse, expand_path
from plant.references import circles, did_you_mean
from plant.site import KINDS, Site
from plant.units import probable_slip, shown


def _triples(file: IncidentFile) -> Iterator[tuple[str, Any, str, Triple | None]]:
    """(path, part, key, values) of every assumed range."""
    for i, cause in enumerate(file.cause):
        yield f"cause[{i}]", cause, "at_min_assumed", cause.at_min_assumed
        yield f"cause[{i}]", cause, "severity_assumed", cause.severity_assumed
        if cause.precursor is not None:
            yield f"cause[{i}].precursor", cause.precursor, "lead_min_assumed", cause.precursor.lead_min_assumed
    for i, repair in enumerate(file.repair):
        yield f"repair[{i}]", repair, "at_min_assumed", repair.at_min_assumed
    for i, day in enumerate(file.weather):
        yield f"weather[{i}]", day, "outdoor_c_assumed", day.outdoor_c_assumed


def check_ranges(file: IncidentFile) -> list[Fault]:
    """Every assumed range rises from low over mode to high, lies within its bounds and has a reason."""
    faults = []
    for where, part, key, values in _triples(file):
        if values is None:
            continue
        extra = type(part).model_fields[key].json_schema_extra
        unit, low, high = extra["unit"], extra["range_low"], extra["range_high"]
        said = f"is [{', '.join(shown(value) for value in values)}]"
        suffix = "" if unit == "fraction" else f" {unit}"
        if not all(math.isfinite(value) for value in values):
            faults.append(Fault(f"{where}.{key}", said, "three finite numbers"))
        elif not (low <= values[0] and values[2] <= high):
            worst = values[2] if values[2] > high else values[0]
            slip = probable_slip(worst, unit, low, high)
            cure = f"looks like {slip[0]}: write {shown(slip[1])}" if slip else ""
            faults.append(Fault(f"{where}.{key}", said, f"within {shown(low)}..{shown(high)}{suffix}", cure))
        if not values[0] <= values[1] <= values[2]:
            faults.append(Fault(f"{where}.{key}", said, "low <= mode <= high", "put the three in rising order"))
        if part.reason is None:
            faults.append(
                Fault(where, f"{key} without reason", "a reason beside each assumed range", "add reason = '...'")
            )
    for i, each in enumerate(file.assumed):
        if not each.low <= each.value <= each.high:
            said = f"is {shown(each.value)} {each.unit}"
            faults.append(Fault(f"assumed[{i}].value", said, f"low {shown(each.low)} .. high {shown(each.high)}"))
    return faults


def check_one_of_two(file: IncidentFile) -> list[Fault]:
    """A value is either public or assumed, not both; a time is one of them."""
    faults = []
    for i, cause in enumerate(file.cause):
        if cause.at_min is None and cause.at_min_assumed is None and cause.after is None:
            cure = "add at_min = ... or at_min_assumed = [low, mode, high] or after = '...'"
            faults.append(Fault(f"cause[{i}]", f"cause '{cause.name}' has no time", "one time", cure))
        for key in ("at_min", "severity"):
            if getattr(cause, key) is not None and getattr(cause, f"{key}_assumed") is not None:
                faults.append(
                    Fault(f"cause[{i}]", f"both {key} and {key}_assumed", "one of them", "keep the public one")
                )
        lead = cause.precursor
        if lead is not None and (lead.lead_min is None) == (lead.lead_min_assumed is None):
            found = "neither" if lead.lead_min is None else "both"
            faults.append(Fault(f"cause[{i}].precursor", f"{found} of lead_min and lead_min_assumed", "one of them"))
        said = [key for key in ("severity", "severity_assumed", "severity_from") if getattr(cause, key) is not None]
        if "severity_from" in said and len(said) > 1:
            faults.append(Fault(f"cause[{i}]", f"both {said[0]} and severity_from", "one of them"))
    parts: list[tuple[str, Any, str]] = [(f"repair[{i}]", x, "at_min") for i, x in enumerate(file.repair)]
    parts += [(f"weather[{i}]", x, "outdoor_c") for i, x in enumerate(file.weather)]
    for where, part, key in parts:
        if (getattr(part, key) is None) == (getattr(part, f"{key}_assumed") is None):
            found = "neither" if getattr(part, key) is None else "both"
            faults.append(Fault(where, f"{found} of {key} and {key}_assumed", "one of them"))
        elif getattr(part, key) is not None and part.source is None:
            faults.append(Fault(where, f"{key} without source", "a key of [sources] beside each public value"))
    return faults


def check_names(file: IncidentFile) -> list[Fault]:
    """Names are unique, and what is named exists."""
    causes = [cause.name for cause in file.cause]
    faults = []
    for key, names in (("cause", causes), ("assumed", [each.name for each in file.assumed])):
        faults += [
            Fault(
                f"{key}[{i}].name", f"'{name}' is already at {key}[{names.index(name)}]", "unique names", "rename one"
            )
            for i, name in enumerate(names)
            if name in names[:i]
        ]
    wanted = [(f"cause[{i}].after", cause.after, causes) for i, cause in enumerate(file.cause)]
    wanted += [
        (f"repair[{i}].clears[{j}]", x, causes) for i, rep in enumerate(file.repair) for j, x in enumerate(rep.clears)
    ]
    values = [each.name for each in file.assumed] + ([] if file.common is None else list(file.common.names))
    wanted += [(f"cause[{i}].severity_from", cause.severity_from, values) for i, cause in enumerate(file.cause)]
    sources = list(file.sources)
    wanted += [(f"cause[{i}].source", cause.source, sources) for i, cause in enumerate(file.cause)]
    wanted += [(f"repair[{i}].source", repair.source, sources) for i, repair in enumerate(file.repair)]
    wanted += [(f"weather[{i}].source", day.source, sources) for i, day in enumerate(file.weather)]
    for where, name, known in wanted:
        if name is not None and name not in known:
            kind = "source" if known is sources else "assumed value" if known is values else "cause"
            faults.append(
                Fault(
                    where,
                    f"no {kind} '{name}'",
                    f"one of {' '.join(dict.fromkeys(known)) or 'none'}",
                    did_you_mean(name, known),
                )
            )
    if file.component_kind not in KINDS:
        near = did_you_mean(file.component_kind, KINDS)
        faults.append(
            Fault("component_kind", f"no component kind '{file.component_kind}'", f"one of {' '.join(KINDS)}", near)
        )
    return faults


def check_cycles(file: IncidentFile) -> list[Fault]:
    """No cause comes after itself; a circle is said once."""
    after = {cause.name: cause.after for cause in file.cause}
    if len(after) < len(file.cause):
        return []  # two causes of one name are said by check_names
    place = {cause.name: i for i, cause in enumerate(file.cause)}
    return [
        Fault(
            f"cause[{place[circle[0]]}].after",
            f"goes in a circle: {' after '.join(circle)}",
            cure="give one a time",
        )
        for circle in circles(after)
    ]


def check_common(file: IncidentFile) -> list[Fault]:
    """The common set exists, has the names that are drawn from it, and none of them is assumed here as well."""
    if file.common is None:
        return []
    try:
        known = [one.name for one in load_hall_set(file.common.set).assumed]
    except IncidentFileError as error:
        return [Fault("common.set", f"'{file.common.set}': {error.found}", error.allowed, error.cure)]
    own = {each.name for each in file.assumed}
    faults = []
    for i, name in enumerate(file.common.names):
        where = f"common.names[{i}]"
        if name not in known:
            faults.append(Fault(where, f"no value '{name}' in the set", " ".join(known), did_you_mean(name, known)))
        elif name in own or name in file.common.names[:i]:
            faults.append(Fault(where, f"'{name}' is assumed twice", "one place for each value", "remove one"))
    return faults


NAMES: tuple[Callable[[IncidentFile], list[Fault]], ...] = (
    check_ranges,
    check_one_of_two,
    check_names,
    check_cycles,
    check_common,
)


def check_site(file: IncidentFile, site: Site) -> list[Fault]:
    """Every component exists on the site and is of the kind its fault befalls."""
    faults = []
    parts = [(f"cause[{i}].component", cause.component, cause.kind) for i, cause in enumerate(file.cause)]
    wanted: list[tuple[str, str, str | None]] = [(a, b, c) for a, b, c in parts]
    wanted += [(f"repair[{i}].component", repair.component, None) for i, repair in enumerate(file.repair)]
    for where, pattern, fault in wanted:
        names = expand_path(pattern)
        missing = [name for name in names if site.kind_of(name) is None]
        if missing:
            near = _nearest_component(missing[0], site, FAULT_KINDS[fault][0] if fault else None)
            faults.append(Fault(where, f"site '{site.name}' has no component '{collapse(missing)}'", cure=near))
        elif fault is not None:
            kind, need = site.kind_of(names[0]), FAULT_KINDS[fault][0]
            if kind != need:
                faults.append(Fault(where, f"'{pattern}' is a {kind}", f"a {need}, which {fault} befalls"))
    regions = list(site.region_ids)
    faults += [
        Fault(f"weather[{i}].region", f"site '{site.name}' has no region '{day.region}'", f"one of {' '.join(regions)}")
        for i, day in enumerate(file.weather)
        if day.region not in regions
    ]
    return faults


def _nearest_component(name: str, site: Site, kind: str | None) -> str:
    """`did you mean` over the components of the wanted kind, or of the kinds that are few."""
    kinds = [kind] if kind else [each for each in KINDS if each not in ("node", "psu")]
    known = [component for each in kinds for component in site.components(each)]
    return did_you_mean(name, known) or f"one of {collapse(known[:60])}"
