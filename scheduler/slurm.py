"""Slurm behind SchedulerPort, read only: real jobs and nodes for the twin to follow.

Nothing is asked of Slurm but what there is: every call that would change something is refused, a person does it with
Slurm's own commands. What Slurm does not know of a job comes from its class (`slurm_classes`) and from how long it has
run: work since the last checkpoint is taken as the run time modulo the class's interval.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from plant.errors import SourceUnavailable
from plant.site import Site
from plant.workload import job_class
from scheduler.port import JobView, NodeView, Receipt
from scheduler.slurm_classes import ClassRule, class_of
from scheduler.slurm_commands import Commands
from scheduler.slurm_jobs import SlurmJob, jobs_of
from scheduler.slurm_names import NodeNames
from scheduler.slurm_nodes import SlurmNode, nodes_of
from scheduler.slurm_profile import Use

LOOK_MS = 15_000
AGAIN_MS = 60_000  # a controller that is silent holds every question up: not asked at every tick
NEVER_BEGUN_MS = -1
READ_ONLY = "Slurm is only read: use scontrol, scancel or sbatch, or run with another scheduler"


class Profile(Protocol):
    """Something that measures what jobs use."""

    def read(self, now_ms: int) -> Mapping[tuple[int, str], Use]:
        """CPUs busy by (job number, host)."""
        ...


class SlurmScheduler:
    """A read-only SchedulerPort. `now_ms` is the clock [Unix ms], `look_ms` how often Slurm is asked at most.

    profile: what measures the CPUs that jobs keep busy. When Slurm stops answering, what it said last stands and
    `trouble` says since when.
    """

    tells_up = True

    def __init__(
        self,
        now_ms: Callable[[], int],
        site: Site,
        *,
        commands: Commands | None = None,
        classes: Sequence[ClassRule] = (),
        halls: Sequence[str] = (),
        look_ms: int = LOOK_MS,
        profile: Profile | None = None,
    ) -> None:
        """Ask once. Raises SourceUnavailable where Slurm does not answer, ConfigError where names cannot be joined."""
        self._now_ms, self._site, self.look_ms = now_ms, site, look_ms
        self._commands, self._classes = commands or Commands(), tuple(classes)
        self._names, self._profile = NodeNames(site, halls), profile
        self._epoch, self._due_ms, self._answered_ms = 0, 0, 0
        self.jobs: tuple[SlurmJob, ...] = ()
        self.machines: dict[str, SlurmNode] = {}
        self._largest_cpus = 0
        self.trouble = ""
        self._ask(now_ms())

    @property
    def outside(self) -> tuple[str, ...]:
        """Nodes of Slurm that the site does not have."""
        return tuple(name for name in self.machines if self._names.row(name) is None)

    def cpus_of(self, node: str) -> int | None:
        """Logical CPUs of a node by Slurm's name for it."""
        machine = self.machines.get(node) or self.machines.get(node.partition(".")[0])
        return None if machine is None else machine.cpus

    @property
    def profile_trouble(self) -> str:
        """Why nobody knows what jobs use, or an empty text."""
        return getattr(self._profile, "trouble", "")

    def running(self) -> tuple[SlurmJob, ...]:
        """The jobs that ran when Slurm was last asked."""
        return tuple(job for job in self.jobs if job.phase == "running")

    def version(self) -> str:
        """A hash of who runs where: it changes when a job came, went, moved or was held."""
        self._fresh()
        seen = [(job.id, job.phase, job.nodes, job.limit_s) for job in self.jobs]
        return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]

    def observe(self) -> list[JobView]:
        """The jobs that wait, are held or run."""
        now_ms = self._fresh()
        used = {} if self._profile is None else self._activity(self._profile.read(now_ms))
        return [self._view(job, now_ms, used) for job in self.jobs]

    def nodes(self) -> list[NodeView]:
        """The nodes of the site that Slurm runs."""
        self._fresh()
        found = [(self._names.row(machine.name), machine) for machine in self.machines.values()]
        return [self._node(row, machine) for row, machine in found if row is not None]

    def fence(self, epoch: int) -> bool:
        """Remember the newest epoch: there is nothing to shut out."""
        newest, self._epoch = epoch >= self._epoch, max(epoch, self._epoch)
        return newest

    def query(self, key: str) -> Receipt | None:
        """No call ever arrived."""
        return None

    def close(self) -> None:
        """Nothing is held."""

    def cordon(self, key: str, epoch: int, nodes: Sequence[str], reason: str) -> Receipt:
        """Refused."""
        return self._refused(key, epoch)

    def uncordon(self, key: str, epoch: int, nodes: Sequence[str]) -> Receipt:
        """Refused."""
        return self._refused(key, epoch)

    def cap(self, key: str, epoch: int, nodes: Sequence[str], cap_frac: float) -> Receipt:
        """Refused."""
        return self._refused(key, epoch)

    def uncap(self, key: str, epoch: int, nodes: Sequence[str]) -> Receipt:
        """Refused."""
        return self._refused(key, epoch)

    def move(self, key: str, epoch: int, jobs: Sequence[str], to_hall: str, concurrent: int, mode: str = "") -> Receipt:
        """Refused."""
        return self._refused(key, epoch)

    def drain(self, key: str, epoch: int, jobs: Sequence[str]) -> Receipt:
        """Refused."""
        return self._refused(key, epoch)

    def requeue(self, key: str, epoch: int, jobs: Sequence[str]) -> Receipt:
        """Refused."""
        return self._refused(key, epoch)

    def hold_job(self, key: str, epoch: int, jobs: Sequence[str], held: bool = True) -> Receipt:
        """Refused."""
        return self._refused(key, epoch)

    def _refused(self, key: str, epoch: int) -> Receipt:
        if epoch < self._epoch:
            return Receipt(key, "rejected", f"epoch {epoch} is older than {self._epoch}", self._now_ms(), "fenced")
        self._epoch = epoch
        return Receipt(key, "rejected", READ_ONLY, self._now_ms())

    def _fresh(self) -> int:
        """Ask again when the last answer is older than `look_ms`, later after a failure; the instant."""
        now_ms = self._now_ms()
        if now_ms >= self._due_ms:
            try:
                self._ask(now_ms)
            except SourceUnavailable as problem:
                said = f"{problem.where}: {problem.found}"
                self.trouble = f"no answer for {(now_ms - self._answered_ms) // 1000} s ({said})"
                self._due_ms = self._now_ms() + max(AGAIN_MS, self.look_ms)
        return now_ms

    def _ask(self, now_ms: int) -> None:
        self._due_ms = now_ms + self.look_ms
        try:
            jobs = tuple(jobs_of(self._commands.jobs()))
            machines = {node.name: node for node in nodes_of(self._commands.nodes())}
        except (ValueError, TypeError, AttributeError, KeyError) as problem:
            raise SourceUnavailable("slurm", f"an answer nobody understands: {problem}", "jobs and nodes") from problem
        self.jobs, self.machines, self._answered_ms, self.trouble = jobs, machines, now_ms, ""
        self._largest_cpus = max((node.cpus or 0 for node in machines.values()), default=0)

    def _view(self, job: SlurmJob, now_ms: int, used: Mapping[str, float]) -> JobView:
        kind = class_of(job.words, job.gpus, self._classes)
        rows = [row for row in map(self._names.row, job.nodes) if row is not None]
        started_ms = job.start_s * 1000 if job.start_s is not None and job.phase == "running" else NEVER_BEGUN_MS
        run_s = max(now_ms - started_ms, 0) / 1000.0 if started_ms >= 0 else 0.0
        every_s = job_class(kind).checkpoint_interval_s
        return JobView(
            job.id,
            kind,
            self._names.hall(rows[0]) if rows else "",
            tuple(self._site.node_ids[row] for row in rows),
            # one whose nodes all stand elsewhere holds none of ours, nor does it wait for any
            "held" if job.phase == "running" and not rows else job.phase,
            job_class(kind).weight,
            # one that asks for more nodes than there are never starts; how many more says nothing
            width=len(rows) or min(job.width, len(self._site.node_ids) + 1),
            share_frac=self._share_frac(job),
            gpus=job.gpus,
            arrived_ms=None if job.submit_s is None else job.submit_s * 1000,
            started_ms=started_ms,
            unsaved_s=run_s % every_s if every_s > 0.0 else run_s,
            left_s=None if job.limit_s is None else max(job.limit_s - run_s, look_s(self.look_ms)),
            activity_frac=used.get(job.id),
        )

    def _activity(self, uses: Mapping[tuple[int, str], Use]) -> dict[str, float]:
        """What each running job uses of the CPUs it was given, by the nodes that told; jobs with accelerators left out.

        CPU use says nothing about what accelerators do.
        """
        out = {}
        for job in self.running():
            begun_ms = (job.start_s or 0) * 1000
            told = [uses[job.number, host] for host in job.nodes if (job.number, host) in uses]
            busy = [use.busy_cpus for use in told if use.until_ms > begun_ms]  # a requeued job keeps its number
            if busy and job.cpus and not job.gpus:
                out[job.id] = min(sum(busy) / len(busy) * job.width / job.cpus, 1.0)
        return out

    def _share_frac(self, job: SlurmJob) -> float | None:
        """Share of its nodes that a job was given: of their CPUs, or of their accelerators where that is more."""
        if job.alone:
            return 1.0
        machines = [self.machines[name] for name in job.nodes if name in self.machines]
        cpus, gpus = sum(m.cpus or 0 for m in machines), sum(m.gpus for m in machines)
        if not machines:
            cpus = job.width * self._largest_cpus
        shares = [job.cpus / cpus if job.cpus and cpus else 0.0, job.gpus / gpus if gpus else 0.0]
        return min(max(shares), 1.0) if max(shares) > 0.0 else None

    def _node(self, row: int, machine: SlurmNode) -> NodeView:
        kept_off = (f"slurm {machine.kept_off}",) if machine.kept_off else ()
        return NodeView(
            self._site.node_ids[row], self._names.hall(row), machine.up, kept_off, 1.0, machine.free, machine.gpus
        )


def look_s(look_ms: int) -> float:
    """The least that a job over its time limit is given: until Slurm is asked again [s]."""
    return look_ms / 1000.0
