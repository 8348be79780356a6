"""Classes of work (C3O Table 2): priority, how they bear a power cap, what a stop or a move costs.

The shares, localities and QoS levels are C3O's; the rest are our defaults, built on notes/incidents.md C and D.2.
Checkpoint sizes follow 14 bytes per parameter, cap exponents how compute-bound a class is, restart times and recovery
limits (RTO, RPO) the usual way to recover. All may be overridden job by job.
"""

from __future__ import annotations

from dataclasses import dataclass

from plant.errors import ConfigError


@dataclass(frozen=True)
class JobClass:
    """One class of work.

    weight: priority weight of a lost minute of service. cap_exponent: speed = (power above the floor) ** cap_exponent.
    checkpoint_interval_s: most work a stop can lose; 0 means that a stop loses none. state_gb: to move, per node.
    shed_rank: 1 is shed first. max_latency_ms: longest one-way delay its users bear, None when nobody waits for it.

    QoS: a stop may last rto_s and lose rpo_s of work. A service answers all but tail_frac of its requests within
    response_s, each taking request_s of one server on average, servers of them to a node (None: nobody asks it).
    Moving: mode is the usual way (`plant/migration.py`), dirty_gb_per_s what a node rewrites of its state as it runs,
    replicated_frac what other halls hold already. async_save: checkpoints are written while the job works on.
    net_gbit_per_s: what a whole node exchanges with the other nodes of its gang at full speed.
    """

    name: str
    title: str
    share_frac: float
    uses: str
    locality: str
    qos: str
    weight: float
    cap_exponent: float
    checkpoint_interval_s: float
    checkpoint_cost_s: float
    state_gb: float
    restart_s: float
    recovery: str
    shed_rank: int
    max_latency_ms: float | None = None
    rto_s: float = 3600.0
    rpo_s: float = 3600.0
    response_s: float | None = None
    request_s: float | None = None
    servers: int = 1
    tail_frac: float = 0.01
    move_mode: str = "stop_and_copy"
    dirty_gb_per_s: float = 0.0
    replicated_frac: float = 0.0
    async_save: bool = False
    net_gbit_per_s: float = 0.0

    @property
    def is_service(self) -> bool:
        """Tell whether people wait for its answers."""
        return self.response_s is not None


# Traffic between the nodes of a gang [assumed]: gradients every few seconds, halo exchanges, shuffles, caches.
# Dirty rates [assumed]: training rewrites weights and optimiser every few seconds, so copying ahead wins nothing; a web
# server writes little. Response limits and request times [assumed]: a chat answer of some hundred tokens takes seconds
# (azure_llm_2023: 211 generated tokens on average in conversation), a page tenths of a second.
JOB_CLASSES: tuple[JobClass, ...] = (
    JobClass(
        name="training",
        title="AI training",
        share_frac=0.35,
        uses="gpu",
        locality="low",
        qos="medium: may pause, must not lose more than one checkpoint interval",
        weight=2.0,
        cap_exponent=0.75,
        checkpoint_interval_s=1800.0,
        checkpoint_cost_s=30.0,
        state_gb=60.0,
        restart_s=300.0,
        recovery="restart from checkpoint",
        shed_rank=3,
        rto_s=900.0,
        rpo_s=1800.0,
        dirty_gb_per_s=20.0,
        net_gbit_per_s=40.0,
    ),
    JobClass(
        name="inference",
        title="AI inference",
        share_frac=0.25,
        uses="cpu gpu",
        locality="high",
        qos="high: people wait for the answer",
        weight=4.0,
        cap_exponent=0.4,
        checkpoint_interval_s=0.0,
        checkpoint_cost_s=0.0,
        state_gb=5.0,
        restart_s=60.0,
        recovery="re-route to a warm replica",
        shed_rank=4,
        max_latency_ms=50.0,
        rto_s=60.0,
        rpo_s=0.0,
        response_s=30.0,
        request_s=4.0,
        servers=4,
        move_mode="restart",
        dirty_gb_per_s=0.5,
        replicated_frac=1.0,
        net_gbit_per_s=1.0,
    ),
    JobClass(
        name="big_data",
        title="Big data",
        share_frac=0.20,
        uses="cpu",
        locality="medium",
        qos="low: may be deferred",
        weight=1.0,
        cap_exponent=0.5,
        checkpoint_interval_s=600.0,
        checkpoint_cost_s=0.0,
        state_gb=40.0,
        restart_s=120.0,
        recovery="retry the lost tasks",
        shed_rank=1,
        rto_s=1800.0,
        rpo_s=600.0,
        dirty_gb_per_s=1.0,
        net_gbit_per_s=5.0,
    ),
    JobClass(
        name="scientific",
        title="Scientific computing",
        share_frac=0.15,
        uses="cpu gpu",
        locality="low",
        qos="variable: by contract of the project",
        weight=1.5,
        cap_exponent=0.6,
        checkpoint_interval_s=3600.0,
        checkpoint_cost_s=120.0,
        state_gb=50.0,
        restart_s=300.0,
        recovery="restart from the application's checkpoint",
        shed_rank=2,
        rto_s=3600.0,
        rpo_s=3600.0,
        dirty_gb_per_s=5.0,
        net_gbit_per_s=20.0,
    ),
    JobClass(
        name="web",
        title="Web services",
        share_frac=0.05,
        uses="cpu",
        locality="high",
        qos="high: last to be moved",
        weight=4.0,
        cap_exponent=0.3,
        checkpoint_interval_s=0.0,
        checkpoint_cost_s=0.0,
        state_gb=2.0,
        restart_s=60.0,
        recovery="fail over to a replica",
        shed_rank=5,
        max_latency_ms=35.0,
        rto_s=300.0,
        rpo_s=0.0,
        response_s=0.5,
        request_s=0.05,
        servers=8,
        move_mode="pre_copy",
        dirty_gb_per_s=0.05,
        net_gbit_per_s=0.5,
    ),
)

_BY_NAME = {each.name: each for each in JOB_CLASSES}


def job_class(name: str) -> JobClass:
    """The class by name. Raises ConfigError that lists the names."""
    found = _BY_NAME.get(name)
    if found is None:
        raise ConfigError(f"job class {name}", "no such class", f"one of {' '.join(_BY_NAME)}")
    return found


def shed_order() -> tuple[JobClass, ...]:
    """All classes, the one to shed first at the head."""
    return tuple(sorted(JOB_CLASSES, key=lambda each: each.shed_rank))
