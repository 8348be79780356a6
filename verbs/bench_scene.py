"""The scenes that benchmarks run: a shipped site, filled with the shipped sample of jobs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import streams
from plant.files import DATA
from plant.jobsample import SampleJob, read_sample
from plant.site import Site, load_site
from twin.ensemble import STEP_MS, make_state
from twin.jobfile import jobs_of
from twin.jobs import make_jobs
from twin.state import State
from twin.tracefile import read_swing

START_MS = 1_671_321_360_000  # any fixed instant: nothing here depends on it
BUSY_FRAC = 0.65  # share of the nodes that a busy scene asks for
SETTLE_MS = 300_000
PEER_JOBS, PEER_ARRIVAL_S, PEER_WIDTH, PEER_WORK_S = 8_640, 10.0, 64, (600.0, 4800.0)
PEER_ACTIVITY = (0.12, 0.6)  # utilisation while a job runs, uniform: its mean power then is near that of the peer
PEER_CHECKPOINT_S = 1800.0
PEER_NET_GB_PER_S = 2.0  # what each node exchanges with its mates [assumed]


def sample() -> tuple[SampleJob, ...]:
    """The shipped day of jobs."""
    return read_sample(DATA / "jobs" / "sample.csv")


def day(site: Site, members: int, seed: int, jobs: str = "", hours: float = 24.0, requests: str = "") -> State:
    """A site at the start of the sample's day, or of the day of a job table or trace; requests: a trace of rates."""
    if jobs:
        from verbs.jobs_import import table_for

        fits = table_for(site, jobs, hours, seed)
    else:
        fits = tuple(job for job in sample() if job.width_nodes <= len(site.node_ids))
    factor, step_s = read_swing(requests) if requests else (None, 3600.0)
    table = jobs_of(fits, START_MS, factor=factor, step_s=step_s)
    return make_state(site, START_MS, jobs=table, members=members, seed=seed)


def peer_day(site: Site, members: int, seed: int) -> State:
    """A site at the start of the day that the peer's benchmark runs (notes on peers, case A).

    Poisson arrivals every 10 s, 1 to 64 nodes and 600 to 4,800 s each, uniform: about 92 % of 9,600 nodes.
    """
    k = np.arange(PEER_JOBS, dtype=np.uint64)

    def luck(purpose: str) -> NDArray[np.float64]:
        return streams.uniform(seed, purpose, 0, k)

    gap_s = PEER_ARRIVAL_S * streams.exponential(seed, "bench arrival", 0, k)
    width = 1 + (PEER_WIDTH * luck("bench width")).astype(np.int64)
    jobs = make_jobs(
        [f"job{i:05d}" for i in range(PEER_JOBS)],
        arrival_ms=START_MS + (np.cumsum(gap_s) * 1000.0).astype(np.int64),
        work_s=PEER_WORK_S[0] + (PEER_WORK_S[1] - PEER_WORK_S[0]) * luck("bench work"),
        width=width,
        gpus=float(site.node_gpus.min()) * width,
        activity_frac=PEER_ACTIVITY[0] + (PEER_ACTIVITY[1] - PEER_ACTIVITY[0]) * luck("bench activity"),
        checkpoint_s=np.full(PEER_JOBS, PEER_CHECKPOINT_S),
        net_gb_per_s=np.full(PEER_JOBS, PEER_NET_GB_PER_S),
    )
    return make_state(site, START_MS, jobs=jobs, members=members, seed=seed)


def busy(site_name: str, members: int, seed: int, step_ms: int = STEP_MS) -> tuple[Site, State]:
    """A site a few minutes after enough jobs for BUSY_FRAC of its nodes arrived at once; placed and warm."""
    from twin.engine import run

    site = load_site(site_name)
    wanted, chosen = BUSY_FRAC * len(site.node_ids), []
    for job in sample():
        if job.width_nodes * job.share_frac <= wanted:
            wanted -= job.width_nodes * job.share_frac
            chosen.append(job)
    state = make_state(site, START_MS, jobs=jobs_of(tuple(chosen), START_MS - 86_400_000), members=members, seed=seed)
    state.step_ms = step_ms
    return site, run(state, site, START_MS + SETTLE_MS)
