"""The engine runs the real jobs; what each host does is read from its State just before every power sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.engine import Engine
from twin.ensemble import STEP_MS, make_state
from twin.week import WeekData
from twin.weeksite import week_jobs

Floats = NDArray[np.float64]


def run_week(week: WeekData, site: Site, samples: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Return node utilisation (samples, nodes) and IT power [kW] (samples,) of a run from the first submission on.

    Jobs start on the step of their submission. Sample i is the last step before (i + 1) * step: a run is
    half-open, so the step that ends at the sample is the newest that its State knows the loads of.
    """
    step_ms = min(STEP_MS, week.step_ms)
    state = make_state(site, week.epoch_ms - step_ms, jobs=week_jobs(week), seed=seed, step_ms=step_ms)
    engine = Engine(state, site)
    util = np.empty((samples, len(site.node_ids)))
    power_kw = np.empty(samples)
    for i in range(samples):
        engine.run(week.epoch_ms + (i + 1) * week.step_ms)
        engine.derived.refresh()
        util[i] = engine.derived.util_frac[0]
        power_kw[i] = engine.derived.node_kw[0].sum()
    return util, power_kw
