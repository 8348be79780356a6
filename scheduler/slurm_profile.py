"""What Slurm's profile plugin wrote into InfluxDB: CPU use of every task, added up by job and node.

`acct_gather_profile/influxdb` writes one measurement for each quantity with the field `value` and the tags host, job
(Slurm's number), step and task. CPUUtilization is in percent of one CPU. A task's samples arrive in bundles of about
34, or when it ends: with JobAcctGatherFrequency=task=1 up to 34 s late, with the usual 30 s up to 17 min. So what is
younger than such a bundle is not used: some tasks would have spoken and others not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from plant.errors import StoreUnavailable
from twin.telemetry.influx_query import InfluxQuery

MEASUREMENT = "CPUUtilization"
BUNDLE = 40  # samples after which every living task has spoken: 34 were seen with Slurm 22.05
LEAST_BIN_MS = 15_000
MEAN_BINS = 4  # a job's use is its mean over so many bins
WINDOW_BINS = 20  # what a job did before them tells only that it ran
Place = tuple[int, str]
Bins = dict[int, float]


@dataclass(frozen=True)
class Use:
    """CPUs that one job keeps busy on one node, the mean over its newest bins, and the end of the newest [Unix ms]."""

    busy_cpus: float
    until_ms: int


class SlurmProfile:
    """One database that the plugin writes into; `every_s` is the interval of its samples (JobAcctGatherFrequency)."""

    def __init__(
        self, url: str, database: str, token: str = "", *, every_s: float = 30.0, timeout_s: float = 10.0
    ) -> None:
        self._query = InfluxQuery(url, database, token, timeout_s=timeout_s)
        self.sampled(every_s)
        self.bins: dict[Place, Bins] = {}
        self.trouble = ""

    def sampled(self, every_s: float) -> None:
        """Take the interval of samples [s]: bins hold one at least, and it decides what is old enough to be whole."""
        self.bin_ms = max(LEAST_BIN_MS, round(every_s * 1000))
        self.lag_ms = round(BUNDLE * every_s * 1000)

    def read(self, now_ms: int) -> dict[Place, Use]:
        """CPUs that each job keeps busy on each node, by (job number, host), as of `lag_ms` ago.

        An empty answer, and `trouble`, where the database is silent.
        """
        end_ms = self.edge_ms(now_ms)
        try:
            self.bins = self.between(end_ms - WINDOW_BINS * self.bin_ms, end_ms)
        except (StoreUnavailable, ValueError, KeyError, TypeError) as problem:
            self.trouble = str(problem).splitlines()[0]
            return {}
        self.trouble = ""
        return {place: newest(bins, end_ms, self.bin_ms) for place, bins in self.bins.items()}

    def between(self, begin_ms: int, end_ms: int) -> dict[Place, Bins]:
        """CPUs busy by (job number, host) and bin, for bins that begin in [begin, end). Raises StoreUnavailable."""
        statement = (
            f'SELECT mean("value") FROM "{MEASUREMENT}" WHERE time >= {begin_ms}ms AND time < {end_ms}ms'
            f" GROUP BY time({self.bin_ms}ms), host, job, step, task fill(none)"
        )
        return added_up(self._query.series(statement))

    def edge_ms(self, now_ms: int) -> int:
        """The end of the newest bin in which every task has spoken."""
        return (now_ms - self.lag_ms) // self.bin_ms * self.bin_ms

    def check(self) -> list[str]:
        """Measurements that are there; raises StoreUnavailable where the database does not answer."""
        return [str(row[0]) for series in self._query.series("SHOW MEASUREMENTS") for row in series["values"]]

    def close(self) -> None:
        """Let go of the connections."""
        self._query.close()


def added_up(series: Iterable[Mapping[str, Any]]) -> dict[Place, Bins]:
    """CPUs busy by (job, host) and bin [Unix ms]: the sum over steps and tasks; series without a job are left out."""
    out: dict[Place, Bins] = {}
    for one in series:
        tags = one.get("tags") or {}
        job, host = str(tags.get("job") or ""), str(tags.get("host") or "")
        if not job.isdigit() or not host:
            continue
        bins = out.setdefault((int(job), host), {})
        for at_ms, percent in one["values"]:
            if percent is not None:
                bins[int(at_ms)] = bins.get(int(at_ms), 0.0) + max(float(percent), 0.0) / 100.0
    return {place: bins for place, bins in out.items() if bins}


def newest(bins: Bins, end_ms: int, bin_ms: int) -> Use:
    """The mean over the last bins before `end_ms`; one without any sample is idle.

    The bin in which a job began counts only while there is no other: its first samples say 0.
    """
    first = min(bins)
    last = [at for at in range(end_ms - MEAN_BINS * bin_ms, end_ms, bin_ms) if at > first] or [first]
    return Use(sum(bins.get(at, 0.0) for at in last) / len(last), end_ms)
