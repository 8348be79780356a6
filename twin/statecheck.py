"""Is this a sound State of that site? Every fault at once: where, what was found, what is allowed, what to do.

Snapshots pass through here before anything runs on them; a State that a run has made is sound by construction. What an
array may hold follows from its row in `twin/fields.py`: codes from its meaning, bounds from the unit in its name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plant.errors import Fault
from plant.references import did_you_mean
from plant.site import KINDS, Site
from twin.fields import FIELDS, Field

if TYPE_CHECKING:
    from twin.state import State

REBUILD, EARLIER = "rebuild the state from the site file", "start from an earlier snapshot"
COLDEST_C, HOTTEST_C = -60.0, 1000.0  # no air, water or metal of a site is outside, a fire's included
SLACK = 1e-9
MOST_FAULTS = 20  # a State of another program differs in everything; a reader needs no thousand lines


def faults_of(state: State, site: Site) -> list[Fault]:
    """Return what is wrong with a State of a site; another site is said alone, for then nothing else can fit."""
    if state.site_hash != site.hash:
        found, wanted = f"site hash {str(state.site_hash)[:12]}", f"site hash {site.hash[:12]} ({site.name})"
        return [Fault("state", found, wanted, "load the site file that this state was made from")]
    if "member" not in state.arrays or state.arrays["member"].ndim != 1 or not state.members:
        return [Fault("state.member", "no member rows", "one id for each member row", REBUILD)]
    faults = [*_clock(state), *_jobs(state)]
    if not faults:  # shapes and bounds of the arrays follow from the job table
        faults += [*_arrays(state, site), *_agenda(state, site)]
    return faults[:MOST_FAULTS]


def _clock(state: State) -> Iterator[Fault]:
    """The numbers are whole, the grid lies behind the clock, a step is positive."""
    for name in ("now_ms", "grid_ms", "step_ms", "calm_step_ms", "seed"):
        value: Any = getattr(state, name)
        if not isinstance(value, int) or isinstance(value, bool):
            yield Fault(f"state.{name}", f"{value!r}", "a whole number", EARLIER)
            return
    if state.step_ms <= 0 or state.calm_step_ms < 0:
        yield Fault("state.step_ms", f"{state.step_ms} ms, calm {state.calm_step_ms} ms", "above 0 ms", EARLIER)
    if state.grid_ms > state.now_ms:
        found = f"{state.grid_ms} ms, {state.grid_ms - state.now_ms} ms after the clock"
        yield Fault("state.grid_ms", found, f"at most now_ms {state.now_ms} ms", EARLIER)


def _jobs(state: State) -> Iterator[Fault]:
    """The job table has one finite value for each job, at least one node each, and arrivals in order."""
    jobs, count = state.jobs, len(state.jobs)
    for name in ("work_s", "share_frac", "activity_frac", "priority", "cap_exponent", "gpus", "checkpoint_s",
                 "restart_s", "state_gb", "arrival_ms", "width", "home"):  # fmt: skip
        column = getattr(jobs, name)
        if column.shape != (count,):
            yield Fault(f"jobs.{name}", f"shape {column.shape}", f"({count},), one value for each job", REBUILD)
        elif not np.isfinite(column).all():
            bad = int((~np.isfinite(column)).sum())
            yield Fault(f"jobs.{name}", f"{bad} values that are not finite", "finite numbers", EARLIER)
    if jobs.width.shape == (count,) and count and int(jobs.width.min()) < 1:
        yield Fault("jobs.width", f"a job of {int(jobs.width.min())} nodes", "at least 1 node", EARLIER)
    if jobs.arrival_ms.shape == (count,) and (np.diff(jobs.arrival_ms) < 0).any():
        yield Fault("jobs.arrival_ms", "arrivals out of order", "rising instants [ms]", EARLIER)


def _arrays(state: State, site: Site) -> Iterator[Fault]:
    """Every array of the table is there, of its type and shape, and holds what it may hold; no other array is."""
    from twin.state import axis_shape

    names = [f.name for f in FIELDS]
    for name in sorted(set(state.arrays) - set(names)):
        near = did_you_mean(name, names)
        yield Fault(f"state.{name}", "an array this program does not know", near, "use the program that wrote it")
    for f in FIELDS:
        a = state.arrays.get(f.name)
        shape = (state.members, *axis_shape(site, state.jobs, f.axis))
        if a is None or a.shape != shape or a.dtype != np.dtype(f.dtype) or not a.flags.c_contiguous:
            found = "nothing" if a is None else f"{a.dtype} {a.shape}"
            yield Fault(f"state.{f.name}", found, f"{f.dtype} {shape}, C order", REBUILD)
        elif f.dtype == "float64" and not np.isfinite(a).all():
            found = f"{int((~np.isfinite(a)).sum())} values that are not finite"
            yield Fault(f"state.{f.name}", found, "finite numbers", EARLIER)
        else:
            yield from _bounds(f, a, site)


def _bounds(f: Field, a: NDArray[Any], site: Site) -> Iterator[Fault]:
    """The values of one array lie where its name and meaning say."""
    limits = _limits(f, site)
    if limits is None or not a.size:
        return
    low, high, unit = limits
    worst = a.max() if a.max() > high + SLACK else a.min()
    if worst < low - SLACK or worst > high + SLACK:
        count = int(((a < low - SLACK) | (a > high + SLACK)).sum())
        found = f"{count} values outside, such as {worst:g}{unit}"
        yield Fault(f"state.{f.name}", found, f"{low:g}..{high:g}{unit}", EARLIER)


def _limits(f: Field, site: Site) -> tuple[float, float, str] | None:
    """Least and greatest value with their unit, None where anything goes."""
    if f.name.endswith("_phase"):
        codes = [int(code) for code in re.findall(r"(?:^|, )(\d+) ", f.meaning)]
        return (0.0, float(max(codes)), "") if codes else None
    places = {"slot_node": site.node_ids, "job_hall": site.hall_ids, "job_target": site.hall_ids}
    if f.name in places:
        return -1.0, len(places[f.name]) - 1.0, ""
    if f.name.endswith("_frac"):
        return -1.0 if "-1" in f.meaning else 0.0, 1.0, ""
    if f.name.endswith("_c") and f.dtype == "float64":
        return COLDEST_C, HOTTEST_C, " C"
    if f.name.endswith(("_kj_per_k", "_kw_per_k")):
        return 0.0, math.inf, " kJ/K" if f.name.endswith("_kj_per_k") else " kW/K"
    return None


def _agenda(state: State, site: Site) -> Iterator[Fault]:
    """Every entry can be acted on: a known kind, a component of the site, rows that exist, finite numbers."""
    from twin.processes import LIVES

    for seq, entry in sorted(state.agenda.entries.items()):
        where = f"agenda[{seq}]"
        if entry.seq != seq or not 0 <= seq < state.agenda.next_seq:
            yield Fault(where, f"number {entry.seq}", f"its own, below next_seq {state.agenda.next_seq}", EARLIER)
        if entry.kind not in LIVES:
            near = did_you_mean(entry.kind, list(LIVES))
            yield Fault(where, f"kind '{entry.kind}'", f"one of {' '.join(LIVES)}", near or EARLIER)
        elif entry.kind in KINDS and entry.component not in _owned(site, entry.kind):
            near = did_you_mean(entry.component, site.components(entry.kind))
            yield Fault(
                where, f"no {entry.kind} '{entry.component}'", f"a component of site {site.name}", near or EARLIER
            )
        if not isinstance(entry.due_ms, int):
            yield Fault(where, f"due at {entry.due_ms!r}", "whole milliseconds", EARLIER)
        rows = entry.rows or ()
        if any(not isinstance(row, int) or not 0 <= row < state.members for row in rows):
            yield Fault(where, f"rows {rows}", f"0..{state.members - 1}", EARLIER)
        bad = [name for name, value in entry.data if isinstance(value, float) and not math.isfinite(value)]
        if bad:
            yield Fault(where, f"'{bad[0]}' is not finite", "a finite number", EARLIER)


def _owned(site: Site, kind: str) -> frozenset[str]:
    return frozenset(site.components(kind))
