"""The engine runs the real jobs; what each host does is read from its State just before every power sample.

A week is run in parts of some hours that can run side by side: a part begins with the tasks that are under way, each at
its place in its profile. The cut changes which host a task is on, and nothing else. Parts do not depend on the workers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin import fanout
from twin.engine import Engine
from twin.ensemble import STEP_MS, make_state
from twin.jobs import Jobs
from twin.realdata.week import WeekData
from twin.realdata.weeksite import week_jobs

Floats = NDArray[np.float64]
PART_S = 15 * 3600.0


@dataclass(frozen=True)
class Part:
    """One stretch of a week: `samples` power samples from start_ms (Unix) on, and the jobs that run in it."""

    start_ms: int
    samples: int
    sample_ms: int
    jobs: Jobs


def run_week(
    week: WeekData, site: Site, first: int, last: int, *, seed: int = 0, workers: int = 1
) -> tuple[Floats, Floats]:
    """Run samples first..last - 1; return node utilisation (samples, nodes) and IT power [kW] (samples,).

    Sample i is the last step before (i + 1) * step. The answer is the same for any number of worker processes.
    """
    parts = _parts(week, first, last)
    done = fanout.each(run_part, [(part, site, seed) for part in parts], workers)
    return np.concatenate([util for util, _ in done]), np.concatenate([kw for _, kw in done])


def run_part(part: Part, site: Site, seed: int = 0) -> tuple[Floats, Floats]:
    """Run one part through the engine; return utilisation (samples, nodes) and IT power [kW] (samples,)."""
    step_ms = min(STEP_MS, part.sample_ms)
    # one step earlier, so that what starts with the part is placed by the grid point at its start
    state = make_state(site, part.start_ms - step_ms, jobs=part.jobs, seed=seed, step_ms=step_ms)
    engine = Engine(state, site)
    util = np.empty((part.samples, len(site.node_ids)))
    power_kw = np.empty(part.samples)
    for i in range(part.samples):
        # a run is half-open: the step that ends at the sample is the newest whose loads State knows
        engine.run(part.start_ms + (i + 1) * part.sample_ms)
        engine.derived.refresh()
        util[i] = engine.derived.util_frac[0]
        power_kw[i] = engine.derived.node_kw[0].sum()
    return util, power_kw


def _parts(week: WeekData, first: int, last: int) -> list[Part]:
    size = max(1, round(PART_S * 1000.0 / week.step_ms))
    return [
        Part(
            start_ms=week.epoch_ms + begin * week.step_ms,
            samples=min(size, last - begin),
            sample_ms=week.step_ms,
            jobs=week_jobs(week, begin, min(begin + size, last)),
        )
        for begin in range(first, last, size)
    ]
