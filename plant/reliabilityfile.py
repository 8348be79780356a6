"""Reliability cases, data in data/reliability: one gang job on a pool of servers that fail and are repaired."""

from __future__ import annotations

from pathlib import Path

from plant.errors import ConfigError, Fault
from plant.files import load_toml, shipped
from plant.keys import Part, count, number, text
from plant.repair import RepairPath

FOLDER = "reliability"
MOST = 10_000_000


class JobTable(Part):
    """The gang job: how many servers it needs at once and for how long; what a stop costs."""

    servers: int = count(1, MOST, "servers it needs at once")
    compute_d: float = number("d", 1e-3, 1e5, "uninterrupted compute it needs")
    recovery_min: float = number("min", 0, 1e5, "reload of the checkpoint after each stop")
    host_selection_min: float = number("min", 0, 1e5, "choice of servers when no standby is left")


class PoolTable(Part):
    """Where servers come from: a working pool, standbys kept warm, spares that do other work until they are fetched."""

    working: int = count(1, MOST, "servers in the working pool at the start")
    spares: int = count(0, MOST, "servers that do other work until they are fetched")
    standbys: int = count(0, 62, "servers of the pool kept warm for the job")
    spare_move_min: float = number("min", 1e-3, 1e5, "time to fetch one spare; one at a time")


class FailureTable(Part):
    """How servers fail while they run the job; lemons fail at the sum of both rates until a repair cures them."""

    rate_per_d: float = number("1/d", 1e-9, 1e3, "failures of a good server per day of compute")
    lemon_extra_per_d: float = number("1/d", 0, 1e3, "what a lemon adds to that")
    lemon_frac: float = number("fraction", 0, 1, "share of lemons among all servers at the start")
    weibull_shape: float = number("ratio", 0.1, 20, "shape of the life drawn anew after every stop", 1.0)


class RepairTable(Part):
    """Automatic repair, then perhaps manual repair; each may fail without anyone noticing."""

    auto_mean_min: float = number("min", 1e-3, 1e6, "mean of the automatic stage")
    manual_mean_min: float = number("min", 1e-3, 1e6, "mean of the manual stage")
    p_manual: float = number("fraction", 0, 1, "probability that a person is needed")
    p_auto_fails: float = number("fraction", 0, 1, "probability that an automatic repair leaves the cause in place")
    p_manual_fails: float = number("fraction", 0, 1, "probability that a manual repair leaves the cause in place")

    def path(self) -> RepairPath:
        """The law of this table."""
        return RepairPath(
            self.auto_mean_min * 60.0,
            self.manual_mean_min * 60.0,
            self.p_manual,
            self.p_auto_fails,
            self.p_manual_fails,
        )


class PeerTable(Part):
    """What a peer measured on the same case: printed beside ours, never read by a run."""

    name: str = text("who measured")
    histories: int = count(2, MOST, "histories behind the means")
    training_min_mean: float = number("min", 0, 1e12, "mean wall-clock time of the job")
    training_min_sd: float = number("min", 0, 1e12, "its standard deviation between histories")
    failures_mean: float = number("1", 0, 1e12, "mean failures per history")
    failures_sd: float = number("1", 0, 1e12, "their standard deviation between histories")
    cpu_s_per_history: float = number("s", 1e-9, 1e9, "CPU seconds of one history")


class ReliabilityCase(Part):
    """One case file."""

    name: str = text("name for people")
    source: str = text("where the case and the figures of the peer come from")
    job: JobTable
    pool: PoolTable
    failures: FailureTable
    repair: RepairTable
    peer: PeerTable | None = None


def load_case(name: str | Path) -> ReliabilityCase:
    """Read a case by path or shipped name; raises ConfigError with every fault."""
    return load_toml(shipped(FOLDER, name), ReliabilityCase, ConfigError, [_enough], FOLDER)


def _enough(case: ReliabilityCase) -> list[Fault]:
    """The job and its standbys must fit into the working pool at the start."""
    need = case.job.servers + case.pool.standbys
    if case.pool.working >= need:
        return []
    return [
        Fault(
            "pool.working", f"{case.pool.working} servers", f"at least job.servers + pool.standbys = {need}", "add some"
        )
    ]
