"""How the first forced stop moves with each assumed constant over its stated range: what the replays rest on.

The likeliest world of each incident, every draw at its median, on three hidden sites, with one constant moved at a
time; each stage is built anew by the rules of the set. Outcomes are not read. Simulated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plant.errors import SiteFileError
from plant.files import shipped
from plant.hallset import HallSet, load_hall_set, ruled
from plant.incident import Incident, load_incident
from plant.incidentfile import Assumed
from plant.sitebuild import compile_site, read_site_file
from twin import fanout
from verbs.replay_run import Case
from verbs.replay_stops import play_to_stop

SET = "cooling-halls"
NEVER, NO_SITE = "no stop before the repair", "no such site"
SITES = 3  # hidden sites; the row tells the middle one


@dataclass(frozen=True)
class Moved:
    """One constant of the set, or of an incident, at one value; name '' moves nothing."""

    incident: str
    name: str = ""
    value: float = 0.0


def run(
    ids: Sequence[str], seed: int = 0, workers: int = 2, say: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """Return a row for each incident and constant: its range, and the first stop [s] at low, likely and high end."""
    rows = [(i, one) for i in ids for one in constants(load_incident(i))]
    asked = [Moved(i) for i in ids] + [Moved(i, one.name, end) for i, one in rows for end in (one.low, one.high)]
    say(f"{len(asked)} x {SITES} worlds, one constant moved in each (simulated)")
    calls = [(one, seed + k) for one in asked for k in range(SITES)]
    stops = fanout.each(stop_s, calls, workers)
    found = {one: middle(stops[SITES * n : SITES * (n + 1)]) for n, one in enumerate(asked)}
    return [_row(found, incident, one) for incident, one in rows]


def constants(incident: Incident) -> list[Assumed]:
    """Return what may be moved for an incident: what it draws itself, and what its stage is built from."""
    drawn = {one.name for one in incident.assumed}
    shares = {one.name for one in load_hall_set(SET).assumed if one.name.endswith("_lost_frac")}
    built = [one for one in load_hall_set(SET).assumed if one.name not in drawn | shares]
    return [*incident.assumed, *built]


def middle(stops: Sequence[float | str]) -> float | str:
    """Return the median of first stops; a world without one counts as later than all others."""
    numbers = [one if isinstance(one, float) else math.inf for one in stops]
    found = sorted(numbers)[len(numbers) // 2]
    return found if math.isfinite(found) else next(one for one in stops if isinstance(one, str))


def stop_s(moved: Moved, seed: int) -> float | str:
    """Return the first stop after the fault [s], or in words why there is none."""
    incident, hall_set = load_incident(moved.incident), load_hall_set(SET)
    try:
        site = compile_site(ruled(read_site_file(shipped("sites", incident.site)), built_from(hall_set, moved)))
    except SiteFileError:
        return NO_SITE
    stop = play_to_stop(Case(site, pinned(incident, moved), seed, likeliest=True))
    return NEVER if stop.after_fault_s is None else stop.after_fault_s


def built_from(hall_set: HallSet, moved: Moved) -> dict[str, float]:
    """Return the values a stage is built from."""
    likeliest = hall_set.likeliest
    return likeliest | {moved.name: moved.value} if moved.name in likeliest else likeliest


def pinned(incident: Incident, moved: Moved) -> Incident:
    """Return the incident with what it draws held at its most likely value, the moved one at its own."""
    values = {one.name: one.value for one in incident.assumed} | {moved.name: moved.value}
    held = [
        one.model_copy(update=dict.fromkeys(("value", "low", "high"), values[one.name])) for one in incident.assumed
    ]
    return replace(incident, assumed=tuple(held))


def _row(found: dict[Moved, float | str], incident: str, one: Assumed) -> dict[str, Any]:
    ends = {
        "low": Moved(incident, one.name, one.low),
        "likely": Moved(incident),
        "high": Moved(incident, one.name, one.high),
    }
    row: dict[str, Any] = {"incident": incident, "name": one.name, "unit": one.unit}
    for end, value in zip(("low", "likely", "high"), (one.low, one.value, one.high), strict=True):
        stop = found[ends[end]]
        row |= {end: value, f"t_first_stop_{end}_s": stop if isinstance(stop, float) else None}
        if isinstance(stop, str):
            row[f"t_first_stop_{end}_reason"] = stop
    return row
