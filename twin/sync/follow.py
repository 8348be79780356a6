"""The live twin follows the scheduler: jobs, cordons and caps as observed, the same in every member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from plant.migration import PRE_COPY
from plant.network import GB_PER_GBIT
from plant.site import Site
from plant.streams import component_keys, normal
from plant.workload import job_class
from twin import jobs as J
from twin.derived import Derived
from twin.emulated_jobs import ACTIVITY
from twin.fields import FIELDS
from twin.jobfile import services_seen
from twin.jobs import Jobs, make_jobs, move_columns
from twin.state import State, axis_shape
from twin.sync.restarts import NOBODY, Again, told

WORK_SD = 0.08  # of the power of unknown work, relative: the emulated jobs of a class differ by +-15 % [assumed]
SAVED_S = 1.0  # a job that has run before has something to restart from


class Seen(Protocol):
    """A job as a scheduler shows it."""

    @property
    def id(self) -> str: ...
    @property
    def job_class(self) -> str: ...
    @property
    def hall(self) -> str: ...
    @property
    def nodes(self) -> tuple[str, ...]: ...
    @property
    def phase(self) -> str: ...
    @property
    def priority(self) -> float: ...


def job_table(site: Site, seen: Sequence[Any], now_ms: int) -> Jobs:
    """Return a job table of what a scheduler shows; what it does not say comes from the job's class.

    A job that has a longest time ends then; of others run times are not known, so they are taken to go on: a forecast
    asks what becomes of the work that is there.
    """

    def column(name: str, default: Any) -> np.ndarray[Any, Any]:
        values = [getattr(v, name, None) for v in seen]
        return np.array([default(v) if x is None else x for v, x in zip(seen, values, strict=True)], dtype=np.float64)

    classes = {v.job_class: job_class(v.job_class) for v in seen}
    width = np.array([max(int(told(v, "width", len(v.nodes))), 1) for v in seen], dtype=np.int64)
    share = column("share_frac", lambda v: 1.0)
    kinds = [classes[v.job_class] for v in seen]
    activity = column("activity_frac", lambda v: ACTIVITY[v.job_class])
    left_s = column("left_s", lambda v: J.ENDLESS_WORK_S)
    served = services_seen([v.id for v in seen], kinds, share * width, activity.tolist())
    return make_jobs(
        [v.id for v in seen],
        kinds=[v.job_class for v in seen],
        arrival_ms=np.array([min(int(told(v, "arrived_ms", now_ms)), now_ms) for v in seen], dtype=np.int64),
        work_s=np.minimum(SAVED_S + column("unsaved_s", lambda v: 0.0) + left_s, J.ENDLESS_WORK_S),
        width=width,
        share_frac=share,
        **served,
        activity_frac=activity,
        priority=np.array([float(v.priority) for v in seen]),
        cap_exponent=np.array([classes[v.job_class].cap_exponent for v in seen]),
        gpus=column("gpus", lambda v: 0.0),
        checkpoint_s=column("checkpoint_s", lambda v: classes[v.job_class].checkpoint_interval_s),
        restart_s=column("restart_s", lambda v: classes[v.job_class].restart_s),
        state_gb=column("state_gb", lambda v: classes[v.job_class].state_gb * max(len(v.nodes), 1)),
        net_gb_per_s=np.array([classes[v.job_class].net_gbit_per_s * GB_PER_GBIT for v in seen]),
        save_s=np.array([classes[v.job_class].checkpoint_cost_s for v in seen]),
        save_async=np.array([classes[v.job_class].async_save for v in seen], dtype=bool),
        **move_columns(kinds, width),
        home=np.array([site.index("hall", v.hall) if v.hall else -1 for v in seen], dtype=np.float64),
    )


def adopt_jobs(state: State, site: Site, seen: Sequence[Any], again: Mapping[str, Again] = NOBODY) -> State:
    """Return a State with the observed jobs in place of its own; everything else is shared with the old one.

    again: jobs that start once more (`twin.sync.restarts`); they work when their restart time is over.
    """
    jobs = job_table(site, seen, state.now_ms)
    view = {v.id: v for v in seen}
    arrays = dict(state.arrays)
    for f in FIELDS:
        same = f.axis == "service" and jobs.services.names == state.jobs.services.names
        if f.axis in ("job", "slot", "service") and not same:
            arrays[f.name] = np.zeros((state.members, *axis_shape(site, jobs, f.axis)), dtype=f.dtype)
    out = State(
        arrays, state.agenda, jobs, now_ms=state.now_ms, grid_ms=state.grid_ms, step_ms=state.step_ms,
        calm_step_ms=state.calm_step_ms,
        seed=state.seed, site_hash=state.site_hash, backend=state.backend,
    )  # fmt: skip
    out.arrays["node_kept_by"] = np.full_like(state.node_kept_by, -1)
    out.job_mode[...] = jobs.move_mode
    out.job_target[...] = -1
    out.job_hall[...] = jobs.home
    _place(out, [view[name] for name in jobs.ids], {name: i for i, name in enumerate(site.node_ids)})
    for j, name in enumerate(jobs.ids):
        if name in again:
            _load(out, j, again[name])
    return out


def _place(s: State, seen: Sequence[Any], index: dict[str, int]) -> None:
    """Put jobs, in the order of the table, where the scheduler shows them, the same in every member."""
    begun = np.array([int(told(v, "started_ms", s.grid_ms)) for v in seen], dtype=np.int64)
    unsaved_s = np.array([float(told(v, "unsaved_s", 0.0)) for v in seen], dtype=np.float64)
    s.job_start_ms[...] = begun
    s.job_saved_s[...] = np.where(begun >= 0, SAVED_S, 0.0)
    s.job_work_s[...] = s.job_saved_s + unsaved_s
    s.job_drain[...] = np.array([v.phase == "draining" for v in seen], dtype=bool)
    s.job_phase[...] = np.array([_phase(v) for v in seen], dtype=np.int8)
    s.job_until_ms[...] = s.grid_ms + (s.jobs.restart_s * 1000).astype(np.int64)
    slots = np.full(s.slot_node.shape[1], -1, dtype=s.slot_node.dtype)
    for v, slot, width in zip(seen, s.jobs.slot_start.tolist(), s.jobs.width.tolist(), strict=False):
        nodes = [index[n] for n in v.nodes if n in index][:width]
        slots[slot : slot + len(nodes)] = nodes
    s.slot_node[...] = slots


def _phase(v: Any) -> int:
    # a job whose move was accepted but has not begun still works where it is: its nodes lie in the hall of its state
    if v.phase == "moving" and all(n.startswith(f"{v.hall}/") for n in v.nodes):
        return J.RUNNING
    return {"queued": J.WAITING, "held": J.HELD, "moving": J.RESTARTING, "done": J.DONE}.get(v.phase, J.RUNNING)


def _load(s: State, j: int, again: Again) -> None:
    """A job that starts once more loads its checkpoint first, unless its memory was copied ahead."""
    if again.moved and s.jobs.move_mode[j] == PRE_COPY:
        return
    until_ms = again.since_ms + int(s.jobs.restart_s[j] * 1000)
    loads = (s.job_phase[:, j] == J.RUNNING) & (until_ms > s.grid_ms)
    s.job_phase[loads, j], s.job_until_ms[loads, j] = J.RESTARTING, until_ms


PHASES = {"queued": J.WAITING, "held": J.HELD, "running": J.RUNNING, "draining": J.RUNNING}


def strayed(state: State, seen: Sequence[Any]) -> bool:
    """Tell whether a member has a job elsewhere in its life than the scheduler: started, ended or lost on its own."""
    expected = {v.id: PHASES.get(v.phase) for v in seen}
    wanted = [expected.get(name) for name in state.jobs.ids]
    if None in wanted or len(wanted) != len(seen):
        return True
    at_work = np.where(state.job_phase == J.RESTARTING, J.RUNNING, state.job_phase)
    return bool((at_work != np.array(wanted, dtype=np.int8)[None, :]).any())


def doubt_power(d: Derived, used_before: NDArray[np.float64]) -> None:
    """Make the power of nodes whose work changed uncertain again, in place: how busy it keeps them nobody has said.

    used_before: their utilisation before (M, N). The nodes of a rack share the doubt, as those of one job do.
    """
    s, site = d.state, d.site
    changed = np.flatnonzero((np.abs(d.util_frac - used_before) > 1e-6).any(axis=0))
    if not len(changed) or s.members < 2:
        return
    racks = site.node_rack[changed]
    keys = component_keys(tuple(site.rack_ids[r] for r in np.unique(racks)))
    z = normal(s.seed, "work of the rack", s.member[:, None], keys[None, :], s.now_ms // 1000)
    z = (z - z.mean(axis=0))[:, np.unique(racks, return_inverse=True)[1]]
    s.node_power_scale[:, changed] *= np.exp(WORK_SD * z)
    d.mark()


def adopt_nodes(state: State, site: Site, seen: Sequence[Any]) -> None:
    """Take cordons and caps as the scheduler shows them, in place."""
    index = {name: i for i, name in enumerate(site.node_ids)}
    for v in seen:
        i = index.get(v.id)
        if i is not None:
            state.node_cordon[:, i] = bool(v.cordoned_by)
            state.node_cap_frac[:, i] = v.cap_frac
