"""What a run costs: CPU seconds of this process and its children, wall seconds, memory."""

from __future__ import annotations

import os
import time
from pathlib import Path


def cpu_s() -> float:
    """User plus system time of this process and all its descendants, living or gone [s].

    Living ones are read from /proc, for pools of worker processes outlive the work; where there is no /proc they count
    only once they are gone.
    """
    gone = os.times()
    return time.process_time() + gone.children_user + gone.children_system + _living_s()


def _living_s() -> float:
    """CPU seconds of the living descendants, those they have buried included."""
    ticks = os.sysconf("SC_CLK_TCK")
    rows: dict[int, tuple[int, float]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # the name in brackets may hold spaces, so count from behind it
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        rows[int(stat.parent.name)] = (int(fields[1]), sum(map(int, fields[11:15])) / ticks)
    mine, found = {os.getpid()}, True
    while found:
        found = {pid for pid, (parent, _) in rows.items() if parent in mine} - mine
        mine |= found
    return sum(rows[pid][1] for pid in mine - {os.getpid()})


def peak_rss_mb() -> float:
    """The most memory this process ever held [MB]."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


class Meter:
    """CPU and wall time since it was made; `setup_cpu_s` is what the process had used before: imports."""

    def __init__(self) -> None:
        """Start counting now."""
        self.setup_cpu_s, self._wall_s = cpu_s(), time.perf_counter()

    def read(self) -> dict[str, float]:
        """cpu_s, setup_cpu_s and wall_s, by the names of the contracts."""
        return {
            "cpu_s": round(cpu_s() - self.setup_cpu_s, 4),
            "setup_cpu_s": round(self.setup_cpu_s, 4),
            "wall_s": round(time.perf_counter() - self._wall_s, 4),
        }
