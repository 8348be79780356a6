"""A day of jobs of our own making: the five classes of C3O Table 2 in their shares, for users without a job table.

The shares are C3O's; sizes, run times and use are plausible, not measured [assumed]. The shipped `data/jobs/sample.csv`
is what `make_sample(400, seed=0)` gives; a test keeps it so.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from plant.errors import ConfigError, Fault, TelemetryError
from plant.streams import component_key, lognormal, uniform
from plant.workload import JOB_CLASSES, job_class

DAY_S = 86_400.0
JOBS = 400
GPUS_PER_NODE = 8


@dataclass(frozen=True)
class SampleJob:
    """One row: id, class, arrival in the day, run time, nodes (a gang), share of each, GPUs in all, use."""

    id: str
    job_class: str
    arrival_s: float
    run_s: float
    width_nodes: int
    share_frac: float
    gpus: int
    activity_frac: float


@dataclass(frozen=True)
class Shape:
    """A class's jobs: most nodes, run time (median, 0: all day; sigma of its log), share, use (low, high)."""

    most_nodes: int
    median_s: float
    sigma: float
    share_frac: float
    use: tuple[float, float]
    gpus_per_node: int = 0


# [assumed]: gangs of training jobs in powers of two; services all day; analytics short and many-sided
SHAPES = {
    "training": Shape(32, 4 * 3600.0, 1.0, 1.0, (0.80, 0.98), GPUS_PER_NODE),
    "inference": Shape(4, 0.0, 0.0, 0.5, (0.25, 0.65), GPUS_PER_NODE // 2),
    "big_data": Shape(8, 1200.0, 0.9, 0.5, (0.40, 0.85)),
    "scientific": Shape(16, 7200.0, 1.0, 1.0, (0.60, 0.95)),
    "web": Shape(2, 0.0, 0.0, 0.25, (0.10, 0.45)),
}


def make_sample(jobs: int = JOBS, seed: int = 0) -> tuple[SampleJob, ...]:
    """Return that many jobs in order of arrival; the same seed always gives the same day."""
    rows = [_job(name, k, seed) for name, count in _counts(jobs).items() for k in range(count)]
    return tuple(sorted(rows, key=lambda job: (job.arrival_s, job.id)))


def _counts(jobs: int) -> dict[str, int]:
    """Whole numbers of jobs by class, in the shares of Table 2, by largest remainder."""
    exact = {c.name: c.share_frac * jobs for c in JOB_CLASSES}
    counts = {name: math.floor(value + 1e-9) for name, value in exact.items()}
    for name in sorted(exact, key=lambda n: counts[n] - exact[n])[: jobs - sum(counts.values())]:
        counts[name] += 1
    return counts


def _job(name: str, k: int, seed: int) -> SampleJob:
    shape, job_id = SHAPES[name], f"{name}-{k + 1:03d}"
    key = component_key(job_id)
    at, size, use = (float(uniform(seed, "jobsample", 0, key, draw)) for draw in range(3))
    run_s = float(lognormal(seed, "jobsample_run", 0, key, 0, max(shape.median_s, 1.0), shape.sigma))
    service = shape.median_s == 0.0
    width = 2 ** math.floor(size * (math.log2(shape.most_nodes) + 1.0))
    return SampleJob(
        id=job_id,
        job_class=name,
        # services are there from the start, work comes over the day, more of it in working hours
        arrival_s=0.0 if service else round(_arrival_s(at), 1),
        run_s=DAY_S if service else round(min(max(run_s, 60.0), DAY_S), 1),
        width_nodes=width,
        share_frac=shape.share_frac,
        gpus=shape.gpus_per_node * width,
        activity_frac=round(shape.use[0] + use * (shape.use[1] - shape.use[0]), 3),
    )


def _arrival_s(luck: float) -> float:
    """Turn even luck into an instant of the day; the rate swings by half around its mean and is highest at 14 h."""
    t = np.linspace(0.0, DAY_S, 1441)
    rate = 1.0 + 0.5 * np.cos(2.0 * np.pi * (t - 14 * 3600.0) / DAY_S)
    share = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2.0)])
    return float(np.interp(luck, share / share[-1], t))


def to_csv(jobs: tuple[SampleJob, ...]) -> str:
    """Return the table as CSV text, one header line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([f.name for f in fields(SampleJob)])
    writer.writerows(astuple(job) for job in jobs)
    return out.getvalue()


def read_sample(path: str | Path) -> tuple[SampleJob, ...]:
    """Read such a table. Raises TelemetryError with every fault at once."""
    file = Path(path)
    if not file.is_file():
        cure = "use data/jobs/sample.csv, or write such a table from your scheduler's accounting"
        raise TelemetryError(str(file), "no such file", f"a CSV with columns {_columns()}", cure)
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        names = [f.name for f in fields(SampleJob)]
        if [n for n in names if n not in (reader.fieldnames or ())]:
            found = f"columns {', '.join(reader.fieldnames or ()) or 'none'}"
            raise TelemetryError(file.name, found, f"columns {_columns()}", "add the missing ones")
        jobs, faults = [], []
        for number, row in enumerate(reader, start=2):
            try:
                jobs.append(_checked(row))
            except (TypeError, ValueError, ConfigError) as error:
                faults.append(Fault(f"{file.name}: line {number}", str(error), LIMITS, "correct the line"))
    if faults:
        raise TelemetryError(faults=faults)
    return tuple(jobs)


LIMITS = "arrival_s >= 0, run_s > 0, width_nodes >= 1, share_frac in (0, 1], gpus >= 0, activity_frac in [0, 1]"


def _columns() -> str:
    return ", ".join(f.name for f in fields(SampleJob))


def _checked(row: dict[str, str]) -> SampleJob:
    job = SampleJob(
        id=row["id"],
        job_class=job_class(row["job_class"]).name,
        arrival_s=float(row["arrival_s"]),
        run_s=float(row["run_s"]),
        width_nodes=int(row["width_nodes"]),
        share_frac=float(row["share_frac"]),
        gpus=int(row["gpus"]),
        activity_frac=float(row["activity_frac"]),
    )
    fits = 0 <= job.arrival_s < math.inf and 0 < job.run_s < math.inf and job.width_nodes >= 1 and job.gpus >= 0
    if not (job.id and fits and 0 < job.share_frac <= 1 and 0 <= job.activity_frac <= 1):
        raise ValueError(f"job '{job.id}' with a value outside its limits")
    return job
