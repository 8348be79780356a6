"""Jobs of Slurm as `squeue --json` tells them, in the shapes of 21.08 to 25.11, brought into one.

| Slurm says | phase here |
|---|---|
| PENDING for room (None, Resources, Priority) | queued |
| PENDING for anything else (held, begin time, dependency, limits, partition down) | held |
| SUSPENDED, STOPPED, REQUEUE_HOLD | held |
| RUNNING, CONFIGURING, RESIZING, SIGNALING, STAGE_OUT | running |
| COMPLETING, and every state in which a job is over | not shown |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plant.slurmtext import accelerators, hosts, states, tres, whole
from scheduler.port import JobPhase

FOR_ROOM = frozenset({"", "None", "Resources", "Priority", "WaitingForScheduling"})
RUNNING = frozenset({"RUNNING", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT"})
ASIDE = frozenset({"SUSPENDED", "STOPPED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"})
MOST_TASKS = 64  # of a job array that wait are shown one by one; more of them would say nothing new


@dataclass(frozen=True)
class SlurmJob:
    """One job, or one task of an array, or one part of a heterogeneous job.

    number: Slurm's own job id, by which its profile plugin names it. cpus, gpus: allocated in all, or asked for. width:
    nodes, alone: shared with nobody. start_s, submit_s: Unix seconds; limit_s: time limit [s], None without one.
    """

    id: str
    number: int
    phase: JobPhase
    words: Mapping[str, str]
    nodes: tuple[str, ...]
    width: int
    cpus: int | None
    gpus: float
    submit_s: int | None
    start_s: int | None
    limit_s: int | None
    alone: bool


def jobs_of(told: Mapping[str, Any]) -> list[SlurmJob]:
    """Every job that waits or runs. Raises ValueError where the answer holds no list of jobs."""
    rows = told.get("jobs")
    if not isinstance(rows, list):
        raise ValueError("no list of jobs")
    return [job for row in rows if isinstance(row, dict) for job in _jobs(row)]


def _jobs(row: Mapping[str, Any]) -> list[SlurmJob]:
    """The jobs of one row: none when it is over, several for the waiting tasks of an array."""
    number, phase = whole(row.get("job_id")), phase_of(row)
    if number is None or phase is None:
        return []
    nodes = _nodes(row) if phase == "running" else ()
    amounts = tres(row.get("tres_alloc_str")) or tres(row.get("tres_req_str"))
    width = len(nodes) or whole(row.get("node_count")) or int(amounts.get("node", 1)) or 1
    cpus = whole(row.get("cpus")) or int(amounts.get("cpu", 0)) or None
    return [
        SlurmJob(
            name, number, phase, _words(row), nodes, max(width, 1), cpus, _gpus(row, amounts, width),
            _instant(row.get("submit_time")), _instant(row.get("start_time")), _limit_s(row), _alone(row),
        )
        for name in _names(row, number)
    ]  # fmt: skip


def phase_of(row: Mapping[str, Any]) -> JobPhase | None:
    """The phase of a row by the table above; None for one that is over."""
    words = set(states(row.get("job_state")))
    if words & ASIDE:
        return "held"
    if "PENDING" in words:
        held = str(row.get("state_reason") or "") not in FOR_ROOM or whole(row.get("priority")) == 0
        return "held" if held else "queued"
    return "running" if words & RUNNING and "COMPLETING" not in words else None


def _names(row: Mapping[str, Any], number: int) -> list[str]:
    """The names that people use: 3_1 for a task, 7+1 for a part of a heterogeneous job."""
    array, task = whole(row.get("array_job_id")), whole(row.get("array_task_id"))
    together = whole(row.get("het_job_id"))
    waiting = str(row.get("array_task_string") or "")
    if array and task is not None:
        return [f"{array}_{task}"]
    if array and waiting:
        return [f"{array}_{one}" for one in _tasks(waiting)] or [str(number)]
    if together:
        return [f"{together}+{whole(row.get('het_job_offset')) or 0}"]
    return [str(number)]


def _tasks(text: str) -> list[int]:
    """Tasks of an array such as 4-10:2,15%3, the first MOST_TASKS of them."""
    out: list[int] = []
    for piece in text.partition("%")[0].strip("[]").split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", piece.strip())
        if match:
            low, high, step = int(match[1]), int(match[2] or match[1]), max(int(match[3] or 1), 1)
            out += range(low, min(high, low + step * MOST_TASKS) + 1, step)
    return out[:MOST_TASKS]


def _nodes(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The nodes it runs on; the list stands in three places, by version."""
    inner = row.get("job_resources")
    found = inner.get("nodes") if isinstance(inner, dict) else None
    listed = found.get("list") if isinstance(found, dict) else found
    for text in (row.get("nodes"), listed):
        if isinstance(text, str) and text:
            try:
                return hosts(text)
            except ValueError:
                continue
    return ()


def _gpus(row: Mapping[str, Any], amounts: Mapping[str, float], width: int) -> float:
    """Accelerators in all: as allocated, else as asked for."""
    if "gres/gpu" in amounts:
        return amounts["gres/gpu"]
    kinds = sum(amount for name, amount in amounts.items() if name.startswith("gres/gpu:"))
    if kinds:
        return kinds
    detail = row.get("gres_detail")
    if isinstance(detail, list) and detail:
        return float(sum(accelerators(str(one))[0] for one in detail))
    for key, times in (("tres_per_job", 1), ("tres_per_node", width)):
        many = accelerators(re.sub(r"gres[:/]", "", str(row.get(key) or "")))[0]
        if many:
            return float(many * times)
    return 0.0


def _alone(row: Mapping[str, Any]) -> bool:
    """Whether its nodes are shared with nobody: `shared` is none, or `exclusive` is true, each a word or a list."""
    words = {
        key: [told] if isinstance(told, str) else told if isinstance(told, list) else []
        for key in ("shared", "exclusive")
        for told in (row.get(key),)
    }
    return "none" in words["shared"] or "true" in words["exclusive"]


def _instant(told: Any) -> int | None:
    return whole(told) or None


def _limit_s(row: Mapping[str, Any]) -> int | None:
    minutes = whole(row.get("time_limit"))
    return 60 * minutes if minutes else None


def _words(row: Mapping[str, Any]) -> dict[str, str]:
    """What rules of classes may look at; a comment is a text, or a table of them."""
    comment = row.get("comment")
    said = comment.get("job") if isinstance(comment, dict) else comment
    plain = {
        "partition": row.get("partition"), "name": row.get("name"), "user": row.get("user_name"),
        "account": row.get("account"), "qos": row.get("qos"), "comment": said, "features": row.get("features"),
        "reservation": row.get("resv_name"),
    }  # fmt: skip
    return {key: value for key, value in plain.items() if isinstance(value, str)}


def parts(jobs: Sequence[SlurmJob]) -> dict[int, str]:
    """Slurm's job number -> name here, for jobs that run: the profile plugin knows the number only."""
    return {job.number: job.id for job in jobs if job.phase == "running"}
