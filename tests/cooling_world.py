"""A tiny site with every cooling table, its load, and short ways to run it: shared by the cooling tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from twin_stories import DATA, MINUTE_MS, T0_MS

from plant.site import Site
from plant.sitebuild import compile_site, file_hash, read_site_file
from twin.ensemble import make_state
from twin.jobs import Jobs, make_jobs
from twin.state import State

TINY = (DATA / "sites" / "tiny.toml").read_text()
TABLES = """
[[chiller_control]]
loop = "lab/a/loop"
stage_up_min = 2.0
stage_down_min = 10.0
quick_start_min = 4.0

[[pump]]
loop = "lab/a/loop"
ids = "p[1-3]"
running = 2
standby = 1

[[free_cooling]]
loop = "lab/b/loop"
capacity_kw = 30.0
fan_kw = 1.0

[[cdu]]
hall = "lab/b"
id = "cdu1"
racks = "r[03-04]"
loop = "lab/b/loop"

[[recirculation]]
hall = "lab/a"
from_racks = "r[01-03]"
to_racks = "r[02-04]"
frac = 0.05

[[structure]]
hall = "lab/a"
mass_kj_per_k = 4000.0
ua_kw_per_k = 1.0

[[plant_staff]]
region = "lab"
count = 1
restart_min = 12.0
"""


def site_of(folder: Path, extra: str = TABLES, *changes: tuple[str, str]) -> Site:
    """Compile the tiny site with more tables and some texts replaced."""
    text = TINY + extra
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "site.toml"
    path.write_text(text)
    return compile_site(read_site_file(path), "site.toml")


def work(share: float = 0.8) -> Jobs:
    """Jobs that keep all 32 nodes busy at one activity from the start on."""
    n = 32
    return make_jobs(
        [f"j{i}" for i in range(n)],
        arrival_ms=np.full(n, T0_MS),
        work_s=np.full(n, 1e12),
        width=np.full(n, 1),
        activity_frac=np.full(n, share),
    )


def at_work(site: Site, share: float = 0.8, members: int = 1, **kwargs: object) -> State:
    """A state whose nodes work, never fail and never stop from heat."""
    s = make_state(site, T0_MS, jobs=work(share), members=members, **kwargs)  # type: ignore[arg-type]
    s.node_stop_c[...], s.node_fails_at[...] = 500.0, 1e9
    return s


__all__ = ["MINUTE_MS", "T0_MS", "TABLES", "at_work", "file_hash", "site_of", "work"]
