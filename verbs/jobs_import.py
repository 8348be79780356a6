"""`foretwin jobs import TRACE`: a real trace of jobs as a job table of ours, scaled to a site."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from plant.errors import ConfigError
from plant.jobsample import SampleJob, read_sample, to_csv
from plant.site import Site, load_site
from twin.tracefile import read_trace
from twin.tracejobs import BUSY_FRAC, GRAIN_FRAC, site_jobs


def run(
    trace: str,
    site: str = "hall",
    hours: float = 24.0,
    from_h: float = 0.0,
    busy_frac: float = BUSY_FRAC,
    grain_frac: float = GRAIN_FRAC,
    out: str = "jobs.csv",
    seed: int = 0,
) -> dict[str, Any]:
    """Write the table; return its path, how many jobs it holds by class and what they keep at work.

    Raises TelemetryError for a trace that cannot be read, ConfigError where the table cannot be written.
    """
    there = load_site(site)
    rows = site_jobs(
        read_trace(trace), there, hours=hours, from_h=from_h, busy_frac=busy_frac, grain_frac=grain_frac, seed=seed
    )
    path = Path(out)
    try:
        path.write_text(to_csv(rows), encoding="utf-8")
    except OSError as error:
        cure = "name a file in a folder that exists and may be written"
        raise ConfigError("--out", f"{out}: {error.strerror}", "a file", cure) from None
    counts = Counter(row.job_class for row in rows)
    return {
        "ok": bool(rows),
        "path": str(path),
        "site": there.name,
        "jobs": len(rows),
        "hours": hours,
        "mean_busy_frac": round(mean_nodes(rows, hours * 3600.0) / len(there.node_ids), 4),
        "items": [{"job_class": name, "jobs": n} for name, n in sorted(counts.items())],
    }


def mean_nodes(rows: tuple[SampleJob, ...], length_s: float) -> float:
    """Whole nodes that these jobs keep at work on average if none waits."""
    inside = (min(r.arrival_s + r.run_s, length_s) - r.arrival_s for r in rows)
    return sum(r.width_nodes * r.share_frac * s for r, s in zip(rows, inside, strict=True)) / length_s


def table_for(site: Site, path: str, hours: float, seed: int) -> tuple[SampleJob, ...]:
    """The jobs of a file for a site: a table of ours as it is, a Parquet trace scaled to the site."""
    if Path(path).suffix == ".parquet":
        return site_jobs(read_trace(path), site, hours=hours, seed=seed)
    return tuple(job for job in read_sample(path) if job.width_nodes <= len(site.node_ids))
