"""What Slurm's profile plugin wrote into InfluxDB: CPU use of every task, added up by job and node.

`acct_gather_profile/influxdb` writes one measurement for each quantity with the field `value` and the tags host, job
(Slurm's number), step and task. CPUUtilization is in percent of one CPU. A task's samples arrive in bundles of about 34,
or when it ends: with JobAcctGatherFrequency=task=1 up to 34 s late, with the usual 30 s up to 17 min.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from plant.errors import StoreUnavailable
from twin.telemetry.influx_query import InfluxQuery

MEASUREMENT = "CPUUtilization"
BIN_MS = 15_000
WINDOW_MS = 300_000
MEAN_BINS = 4  # a job's use is its mean over the newest minute that was told
Place = tuple[int, str]
Bins = dict[int, float]


@dataclass(frozen=True)
class Use:
    """CPUs that one job keeps busy on one node, the mean over its newest bins, and the end of the newest [Unix ms]."""

    busy_cpus: float
    until_ms: int


class SlurmProfile:
    """One database that the plugin writes into. `window_ms`: how far back samples are looked for."""

    def __init__(self, url: str, database: str, token: str = "", *, window_ms: int = WINDOW_MS) -> None:
        self._query, self._window_ms = InfluxQuery(url, database, token, timeout_s=10.0), window_ms
        self.bins: dict[Place, Bins] = {}
        self.trouble = ""

    def read(self, now_ms: int) -> dict[Place, Use]:
        """What each running job uses on each of its nodes; an empty answer and `trouble` where the database is silent.

        CPUs busy, by (job number, host).
        """
        begin_ms = (now_ms - self._window_ms) // BIN_MS * BIN_MS
        statement = (
            f'SELECT mean("value") FROM "{MEASUREMENT}" WHERE time >= {begin_ms}ms AND time < {now_ms}ms'
            f" GROUP BY time({BIN_MS}ms), host, job, step, task fill(none)"
        )
        try:
            self.bins = added_up(self._query.series(statement))
        except (StoreUnavailable, ValueError, KeyError, TypeError) as problem:
            self.trouble = str(problem).splitlines()[0]
            return {}
        self.trouble = ""
        return {place: _newest(bins) for place, bins in self.bins.items()}

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


def _newest(bins: Bins) -> Use:
    last = max(bins)
    recent = [busy for at, busy in bins.items() if at > last - MEAN_BINS * BIN_MS]
    return Use(sum(recent) / len(recent), last + BIN_MS)
