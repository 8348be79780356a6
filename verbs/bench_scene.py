"""The scenes that benchmarks run: a shipped site, filled with the shipped sample of jobs."""

from __future__ import annotations

from plant.files import DATA
from plant.jobsample import SampleJob, read_sample
from plant.site import Site, load_site
from twin.ensemble import STEP_MS, make_state
from twin.jobfile import jobs_of
from twin.state import State

START_MS = 1_671_321_360_000  # any fixed instant: nothing here depends on it
BUSY_FRAC = 0.65  # share of the nodes that a busy scene asks for
SETTLE_MS = 300_000


def sample() -> tuple[SampleJob, ...]:
    """The shipped day of jobs."""
    return read_sample(DATA / "jobs" / "sample.csv")


def day(site: Site, members: int, seed: int) -> State:
    """A site at the start of the sample's day."""
    fits = tuple(job for job in sample() if job.width_nodes <= len(site.node_ids))
    return make_state(site, START_MS, jobs=jobs_of(fits, START_MS), members=members, seed=seed)


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
