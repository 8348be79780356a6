"""The engine's job table from a table of jobs as `plant/jobsample.py` makes and reads it."""

from __future__ import annotations

import numpy as np

from plant.jobsample import SampleJob
from plant.network import GB_PER_GBIT
from plant.workload import job_class
from twin.jobs import Jobs, make_jobs


def jobs_of(rows: tuple[SampleJob, ...], start_ms: int) -> Jobs:
    """Return the jobs with arrivals counted from start_ms (Unix); costs of a class come from `plant/workload.py`."""
    kinds = [job_class(row.job_class) for row in rows]
    # an interval of 0 saves on every step: such a class loses nothing by a stop
    return make_jobs(
        [row.id for row in rows],
        kinds=[row.job_class for row in rows],
        arrival_ms=start_ms + np.array([round(row.arrival_s * 1000.0) for row in rows], dtype=np.int64),
        work_s=np.array([row.run_s for row in rows]),
        width=np.array([row.width_nodes for row in rows], dtype=np.int64),
        share_frac=np.array([row.share_frac for row in rows]),
        activity_frac=np.array([row.activity_frac for row in rows]),
        gpus=np.array([float(row.gpus) for row in rows]),
        priority=np.array([kind.weight for kind in kinds]),
        cap_exponent=np.array([kind.cap_exponent for kind in kinds]),
        checkpoint_s=np.array([kind.checkpoint_interval_s for kind in kinds]),
        restart_s=np.array([kind.restart_s for kind in kinds]),
        net_gb_per_s=np.array([kind.net_gbit_per_s for kind in kinds])
        * np.array([row.share_frac for row in rows])
        * GB_PER_GBIT,
        state_gb=np.array([kind.state_gb for kind in kinds]) * np.array([row.width_nodes for row in rows]),
    )
