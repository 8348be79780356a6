"""What a step says to a port, and how it is taken back: one table from action kind to calls, one from verb to undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plant.action_kinds import ActionKind
from plant.actions import Action, within
from recovery.plant_port import PlantPort
from recovery.rows import Call, StepRow
from scheduler.port import JobView, NodeView, Receipt, SchedulerPort


@dataclass(frozen=True)
class View:
    """What the scheduler shows at the moment a step is resolved, and what the plan has done so far."""

    nodes: tuple[NodeView, ...]
    jobs: tuple[JobView, ...]
    done: tuple[StepRow, ...] = ()
    plan_id: str = ""

    def nodes_in(self, scope: Sequence[str]) -> tuple[str, ...]:
        """Ids of the nodes that are in the scope: named themselves, below a named path, or in a named hall."""
        return tuple(n.id for n in self.nodes if any(within(n.id, one) or n.hall == one for one in scope))

    def jobs_in(self, scope: Sequence[str]) -> tuple[JobView, ...]:
        """Running jobs with at least one node in the scope."""
        inside = set(self.nodes_in(scope))
        return tuple(job for job in self.jobs if job.phase == "running" and inside.intersection(job.nodes))

    def halls_of(self, nodes: Sequence[str]) -> tuple[str, ...]:
        """The failure domains of these nodes."""
        wanted = set(nodes)
        return tuple(sorted({node.hall for node in self.nodes if node.id in wanted}))

    def free_in(self, hall: str, gpu: bool | None = None) -> int:
        """Nodes of a hall that could take a job now: all, or only those with (without) accelerators."""
        wanted = (n for n in self.nodes if n.hall == hall and (gpu is None or bool(n.gpus) == gpu))
        return sum(n.free and n.up and not n.cordoned_by for n in wanted)


NOTHING = Call("none", "nothing", {})
"""The resolved form of a step that finds nothing to do, such as moving jobs out of an idle hall."""


def _on_nodes(verb: str, action: Action, view: View, **args: Any) -> list[Call]:
    nodes = view.nodes_in(action.scope)
    call = Call("scheduler", verb, {"nodes": list(nodes), **args}, nodes, view.halls_of(nodes))
    return [call] if nodes else []


def _on_jobs(verb: str, jobs: Sequence[JobView], view: View, to_hall: str = "", **args: Any) -> list[Call]:
    if not jobs:
        return []
    nodes = tuple(sorted({node for job in jobs for node in job.nodes}))
    named: dict[str, Any] = {"jobs": [job.id for job in jobs], **args}
    homes = tuple((job.id, job.hall) for job in jobs)
    if not to_hall:
        return [Call("scheduler", verb, named, nodes, view.halls_of(nodes), homes=homes)]
    named["to_hall"] = to_hall
    size = sum(len(job.nodes) for job in jobs)
    return [Call("scheduler", verb, named, nodes, view.halls_of(nodes), (), to_hall, size, homes)]


def _on_plant(verb: str, action: Action, **args: Any) -> list[Call]:
    names = {"link": "links", "standby": "units"}
    named = {names.get(verb, "components"): list(action.scope), **args}
    return [Call("plant", verb, named, components=action.scope)]


def _migrate(action: Action, view: View) -> list[Call]:
    to_hall = str(action.get("to_hall"))
    wanted = [job for job in view.jobs_in(action.scope) if job.hall != to_hall]
    # with room for none the whole request goes on, for the landing guard to refuse: a full hall is not a step done
    jobs = landable(wanted, view, to_hall) or wanted
    how = {} if action.get("mode") is None else {"mode": action.get("mode")}
    return _on_jobs("move", jobs, view, to_hall, concurrent=action.get("concurrent"), **how)


def landable(jobs: Sequence[JobView], view: View, to_hall: str) -> list[JobView]:
    """The jobs that find room in a hall, the most important first; the others stay where they are.

    Checked before the jump: a move that does not fit would be refused as a whole.
    """
    room = {gpu: view.free_in(to_hall, gpu) for gpu in (False, True)}
    chosen = []
    for job in sorted(jobs, key=lambda one: (-one.priority, one.id)):
        gpu, need = bool(job.gpus), len(job.nodes)
        if need <= room[gpu]:
            room[gpu] -= need
            chosen.append(job)
    return chosen


def _set_cooling(action: Action, view: View) -> list[Call]:
    wanted = [(name, action.get(name)) for name in ("supply_c", "fan_frac") if action.get(name) is not None]
    return [call for name, value in wanted for call in _on_plant("set_point", action, name=name, value=value)]


def _ordered_return(action: Action, view: View) -> list[Call]:
    """First the nodes may take jobs again, then jobs come home where asked, last the caps go."""
    verbs = {row.call.verb for row in view.done}
    calls = _on_nodes("uncordon", action, view) if "cordon" in verbs else []
    if action.get("jobs_home"):
        calls += _homeward(action, view)
    return calls + (_on_nodes("uncap", action, view) if "cap" in verbs else [])


def _homeward(action: Action, view: View) -> list[Call]:
    homes = {job: home for row in view.done if row.call.verb == "move" for job, home in row.call.homes}
    away = [job for job in view.jobs if job.phase == "running" and homes.get(job.id, job.hall) != job.hall]
    halls = sorted({homes[job.id] for job in away if any(within(homes[job.id], one) for one in action.scope)})
    calls: list[Call] = []
    for hall in halls:
        mine = [job for job in away if homes[job.id] == hall]
        calls += _on_jobs("move", mine, view, hall, concurrent=action.get("concurrent"))
    return calls


TABLE: dict[ActionKind, Callable[[Action, View], list[Call]]] = {
    "cap_power": lambda a, v: _on_nodes("cap", a, v, cap_frac=a.get("cap_frac")),
    "cordon": lambda a, v: _on_nodes("cordon", a, v, reason=f"foretwin {v.plan_id}"),
    "drain_at_checkpoint": lambda a, v: _on_jobs("drain", v.jobs_in(a.scope), v),
    "migrate": _migrate,
    "requeue": lambda a, v: _on_jobs("requeue", v.jobs_in(a.scope), v),
    "start_standby": lambda a, v: _on_plant("standby", a, on=True),
    "transfer_feed": lambda a, v: _on_plant("feed", a, to_feed=a.get("to_feed")),
    "set_cooling": _set_cooling,
    "disable_link": lambda a, v: _on_plant("link", a, enabled=False),
    "ordered_return": _ordered_return,
}

UNDO: Mapping[str, Callable[[StepRow], Call]] = {
    "cap": lambda row: replace(row.call, verb="uncap", args={"nodes": row.call.args["nodes"]}),
    "cordon": lambda row: replace(row.call, verb="uncordon", args={"nodes": row.call.args["nodes"]}),
    **dict.fromkeys(
        ("standby", "feed", "set_point", "link"),
        lambda row: replace(row.call, verb="undo", args={"of_key": row.key}),
    ),
}
"""Verbs not listed leave nothing that must be taken back: a moved, drained or requeued job runs on where it is."""


def resolve(action: Action, view: View) -> list[Call]:
    """The calls of one step, in order, for the site as it is now; [NOTHING] if there is nothing to act on."""
    return TABLE[action.kind](action, view) or [NOTHING]


def refresh(call: Call, view: View) -> Call:
    """The call as it stands now: jobs that ended since the step was resolved drop out."""
    if "jobs" not in call.args:
        return call
    alive = {job.id: job for job in view.jobs if job.phase == "running"}
    jobs = [job for job in call.args["jobs"] if job in alive]
    size = sum(len(alive[job].nodes) for job in jobs) if call.landing else 0
    return replace(call, args={**call.args, "jobs": jobs}, landing_nodes=size) if jobs else NOTHING


def send(call: Call, key: str, epoch: int, scheduler: SchedulerPort, plant: PlantPort) -> Receipt:
    """Make the call. The verbs come from the tables above, never from a file."""
    if call.port == "none":
        return Receipt(key, "done", "nothing to do: no running job or no such node in scope")
    port = scheduler if call.port == "scheduler" else plant
    receipt: Receipt = getattr(port, call.verb)(key, epoch, **call.args)
    return receipt
