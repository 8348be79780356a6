"""What happenings and plan steps do to `State`, for some member rows; the emulator obeys commands by the same rules."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from plant import cooling
from plant.actions import Action
from plant.errors import PlanRejected
from plant.migration import MODES
from plant.site import Site
from twin import jobs as J
from twin.agenda import Entry
from twin.cooling_bits import CHILLER_ON, STANDBY, STANDING_BY
from twin.cooling_effects import start_pump, start_standby
from twin.derived import Derived
from twin.link_lives import disable_link
from twin.placement import requeue
from twin.state import State
from twin.waterside import water_flow_frac
from twin.world import World

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

RETURN_POLL_MS = 60_000
BACK_WATER_K = 1.5  # cooling counts as back when the water is this near its set-point
BACK_CAPACITY_FRAC = 0.7  # and this share of the duty chillers' capacity runs
MODELLED = (
    "cap_power",
    "cordon",
    "drain_at_checkpoint",
    "migrate",
    "requeue",
    "start_standby",
    "transfer_feed",
    "set_cooling",
    "disable_link",
    "ordered_return",
)


@lru_cache(maxsize=256)
def nodes_in(site: Site, scope: tuple[str, ...]) -> Flags:
    """Return which nodes (N,) lie in a scope of regions, halls, racks or nodes."""
    prefixes = tuple(f"{one}/" for one in scope)
    names = set(scope)
    return np.array([n in names or n.startswith(prefixes) for n in site.node_ids], dtype=bool)


def jobs_on(d: Derived, rows: Ints, nodes: Flags) -> Flags:
    """Return which live jobs have a share on these nodes, or wait for their hall (len(rows), live)."""
    s = d.state
    d.refresh()
    if not len(d.live):
        return np.zeros((len(rows), 0), dtype=bool)
    at = d.slots.node[rows]
    on = nodes[np.maximum(at, 0)] & (at >= 0)
    held = np.logical_or.reduceat(on, d.slots.start[:-1], axis=1)
    halls = np.unique(d.layout.node_hall[nodes])
    waits = (d.live_phase[rows] == J.WAITING) & np.isin(s.job_hall[rows][:, d.live], halls)
    return np.asarray(held | waits)


def cooling_back(w: World, rows: Ints, nodes: Flags) -> Flags:
    """Tell for each row whether the cooling of all halls of these nodes is back: water cold, capacity running, and
    nothing still due that will take it away."""
    s, site, plant = w.state, w.site, w.site.cooling
    good = ~_doomed(w, nodes)[rows]
    flow = water_flow_frac(w.derived)
    cdus = np.unique(plant.rack_cdu[np.unique(site.node_rack[nodes])])
    cdus = cdus[cdus >= 0]
    good &= ((s.cdu_off == 0) & (s.cdu_coolant_c < plant.cdu_supply_c + BACK_WATER_K))[rows][:, cdus].all(axis=1)
    halls = np.unique(w.derived.layout.node_hall[nodes])
    for loop in np.unique(np.concatenate([site.hall_loop[halls], plant.cdu_loop[cdus]])):
        k = np.flatnonzero(site.chiller_loop == loop)
        duty_kw = site.chiller_capacity_kw[k][~site.chiller_standby[k]].sum()
        phase = s.chiller_phase[rows][:, k]
        able = phase == CHILLER_ON
        if plant.loop_controlled[loop]:  # its control starts and stops chillers by load
            able |= (phase == STANDBY) & (s.chiller_off[rows][:, k] == 0)
        on_kw = np.where(able, site.chiller_capacity_kw[k], 0.0).sum(axis=1)
        cold = s.loop_supply_c[rows, loop] < s.loop_setpoint_c[rows, loop] + BACK_WATER_K
        good &= cold & (on_kw * cooling.flow_capacity_frac(flow[rows, loop]) >= BACK_CAPACITY_FRAC * duty_kw)
    return good


def power_back(w: World, rows: Ints, nodes: Flags) -> Flags:
    """Tell for each row whether all sides of the racks of these nodes live, their UPS on a feed with its utility."""
    d, site = w.derived, w.site
    d.refresh()
    racks = np.unique(site.node_rack[nodes])
    ups = np.unique(site.hall_ups[np.unique(site.rack_hall[racks])])
    has_b = site.chain.rack_source[racks, 1] >= 0
    sides = d.supply.side_a[rows][:, racks].all(axis=1) & (d.supply.side_b[rows][:, racks] | ~has_b).all(axis=1)
    on = d.supply.ups_on[rows][:, ups]
    if not d.supply.feed_live.shape[1]:
        return np.asarray(sides)
    utility = np.take_along_axis(d.supply.feed_utility[rows], np.maximum(on, 0), axis=1) & (on >= 0)
    return np.asarray(sides & (utility & ~w.state.ups_bypass[rows][:, ups]).all(axis=1))


def _doomed(w: World, nodes: Flags) -> Flags:
    """Return the rows (M,) in which a failure of a loop of these nodes is under way or still to come."""
    halls = np.unique(w.derived.layout.node_hall[nodes])
    loops = {w.site.loop_ids[int(loop)] for loop in np.unique(w.site.hall_loop[halls])}
    doomed = np.zeros(w.state.members, dtype=bool)
    for entry in w.state.agenda.entries.values():
        if entry.kind == "loop_airlock" and entry.component in loops:
            doomed[list(entry.rows) if entry.rows is not None else slice(None)] = True
    return doomed


def schedule(state: State, step: Action, at_ms: int) -> Entry:
    """Write a plan step into the agenda of a fork; raises PlanRejected for a kind that the twin does not model."""
    if step.kind not in MODELLED:
        raise PlanRejected(
            "rehearsal", f"step kind '{step.kind}'", "one of " + " ".join(MODELLED), "leave the step out"
        )
    due_ms = at_ms + int(float(step.get("after_s", 0.0) or 0.0) * 1000)
    text = json.dumps(step.as_dict(), sort_keys=True)
    return state.agenda.add(due_ms, "action", step.scope[0], "start", {"step": text})


def apply(w: World, entry: Entry, rows: Ints) -> Ints:
    """Let a plan step take effect in the rows whose trigger holds; return the rows that must look again later."""
    step = _step(str(entry.get("step", "")))
    nodes = nodes_in(w.site, step.scope)
    ready = rows
    if step.get("when") == "cooling_back" or step.kind == "ordered_return":
        ready = rows[cooling_back(w, rows, nodes)]
    if step.get("when") == "power_back":
        ready = ready[power_back(w, ready, nodes)]
    if len(ready):
        perform(w, step, ready, nodes, entry.due_ms)
    return np.setdiff1d(rows, ready)


@lru_cache(maxsize=64)
def _step(text: str) -> Action:
    """The step that an entry holds; a return that waits is looked at every minute."""
    return Action.from_dict(json.loads(text))


def perform(w: World, step: Action, rows: Ints, nodes: Flags, at_ms: int) -> None:
    """Do what a step says at at_ms in these rows."""
    s, d = w.state, w.derived
    at = np.ix_(rows, np.flatnonzero(nodes))
    if step.kind == "cap_power":
        s.node_cap_frac[at] = float(step.get("cap_frac") or 1.0)
        d.mark(rows)
    elif step.kind == "cordon":
        s.node_cordon[at] = True
    elif step.kind == "ordered_return":
        s.node_cordon[at], s.node_cap_frac[at] = False, 1.0
        s.dispatch_due[rows] = True
        d.mark(rows)
    elif step.kind == "drain_at_checkpoint":
        _flag_jobs(d, rows, nodes, "job_drain", 1)
    elif step.kind == "migrate":
        target = w.site.index("hall", str(step.get("to_hall")))
        s.move_limit[rows] = int(step.get("concurrent") or 1)
        _flag_jobs(d, rows, nodes, "job_target", target)
        mode = None if step.get("mode") is None else MODES.index(str(step.get("mode")))
        _flag_jobs(d, rows, nodes, "job_mode", s.jobs.move_mode if mode is None else mode)
    elif step.kind == "requeue":
        flags = jobs_on(d, rows, nodes)
        row, column = np.nonzero(flags)
        requeue(d, rows[row], d.live[column])
    elif step.kind == "start_standby":
        _start_named(w, step, rows, at_ms)
    elif step.kind == "transfer_feed":
        transfer_feed(w, step, rows)
    elif step.kind == "set_cooling":
        _set_cooling(w, step, rows)
    elif step.kind == "disable_link":
        for one in step.scope:
            disable_link(d, w.site.index("link", one), rows)


def transfer_feed(w: World, step: Action, rows: Ints) -> None:
    """Put UPS, and the cooling of halls that are named, on another feed without interruption, while that feed lives.

    Racks and nodes go by the UPS of their hall. What cannot reach the feed stays where it is.
    """
    s, site, feed = w.state, w.site, w.site.index("feed", str(step.get("to_feed")))
    w.derived.refresh()
    rows = rows[w.derived.supply.feed_live[rows, feed]]
    for one in step.scope:
        kind = site.kind_of(one)
        if kind == "ups":
            taken = [site.index("ups", one)]
        else:
            hall = int(site.index("hall", "/".join(one.split("/")[:2])))
            taken = [int(site.hall_ups[hall])]
            if kind == "hall" and site.chain.hall_feed[hall, feed]:
                s.hall_on_feed[rows, hall] = feed
                s.loop_on_feed[rows, int(site.hall_loop[hall])] = feed
        for u in taken:
            if site.ups_feed[u, feed]:
                s.ups_on_feed[rows, u] = feed
    w.derived.mark_supply()


def _flag_jobs(d: Derived, rows: Ints, nodes: Flags, name: str, value: int | Ints) -> None:
    """Write one value, or one for each job of the table, to the jobs that have a share on these nodes."""
    row, column = np.nonzero(jobs_on(d, rows, nodes))
    job = d.live[column]
    d.state.arrays[name][rows[row], job] = value if isinstance(value, int) else value[job]


def _start_named(w: World, step: Action, rows: Ints, at_ms: int) -> None:
    """Start each standby chiller or pump that the step names; where a named chiller cannot, another of its loop."""
    for one in step.scope:
        if w.site.kind_of(one) == "pump":
            p = w.site.index("pump", one)
            start_pump(w, p, rows[w.state.pump_off[rows, p] == STANDING_BY], at_ms)
            continue
        k = w.site.index("chiller", one)
        start_standby(w, int(w.site.chiller_loop[k]), rows, at_ms, np.array([k]))


def _set_cooling(w: World, step: Action, rows: Ints) -> None:
    supply_c = step.get("supply_c")
    for one in step.scope:
        kind = w.site.kind_of(one)
        if supply_c is not None and kind == "hall":
            w.state.hall_setpoint_c[rows, w.site.index("hall", one)] = float(supply_c)
        elif supply_c is not None and kind == "loop":
            w.state.loop_setpoint_c[rows, w.site.index("loop", one)] = float(supply_c)
