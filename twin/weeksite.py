"""The site and the job table of a real week, for the engine: the mapping's hosts, the tasks with their own profiles.

Only the hosts are known. Racks, cooling and UPS around them are sized by the rules of the site file [assumed]; the
power that is compared is that of the hosts, which none of it changes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from plant.site import Site
from plant.sitebuild import compile_site
from plant.sitefile import SiteFile
from twin.jobs import Jobs, make_jobs
from twin.powerfit import PowerLaw
from twin.week import WeekData

NODES_PER_RACK = 32
# typical two-socket server, used only until the law is fitted [assumed]
START_IDLE_KW, START_PEAK_KW = 0.1, 0.3
LEAST_WORK_S = 1.0


def week_site(week: WeekData) -> Site:
    """Return a site with the hosts of the mapping in one hall; node power is metered at the wall."""
    hosts = week.mapping.hosts
    design_kw = hosts.count * START_PEAK_KW
    racks, rest = divmod(hosts.count, NODES_PER_RACK)
    groups = []
    if racks:
        last = racks * NODES_PER_RACK
        groups.append(_racks(f"r[00001-{racks:05d}]", f"n[0000001-{last:07d}]", NODES_PER_RACK))
    if rest:
        first = racks * NODES_PER_RACK + 1
        groups.append(_racks("rest", f"n[{first:07d}-{hosts.count:07d}]", rest))
    file = {
        "name": "week",
        "note": "the hosts of a mapping file; everything around them is assumed",
        "region": [{"id": "site", "carbon_kgco2_per_kwh": 0.4, "outdoor_c": 15.0, "hall": [_hall()]}],
        "node_type": [_node_type(hosts.cores)],
        "rack": groups,
        "cooling_unit": [{"hall": "site/hall", "ids": "crah[1-4]", "spare": 1, "fan_kw": 0.02 * design_kw}],
        "loop": [_loop(design_kw)],
        "ups": [
            {"id": "site/hall/ups", "module_kw": max(1.0, design_kw), "modules": 2, "needed": 1, "battery_kwh": 1.0}
        ],
    }
    return compile_site(SiteFile.model_validate(file), "week")


def _racks(ids: str, nodes: str, each: int) -> dict[str, object]:
    return {"hall": "site/hall", "ids": ids, "nodes": nodes, "nodes_per_rack": each, "node_type": "host"}


def _hall() -> dict[str, object]:
    return {"id": "hall", "loop": "site/hall/loop", "ups": "site/hall/ups"}


def _node_type(cores: int) -> dict[str, object]:
    kw = {"idle_kw": START_IDLE_KW, "peak_kw": START_PEAK_KW, "psu_rated_kw": 0.0}
    return {"id": "host", "gpus": 0, "cores": cores, "psus": 1, "psu_redundancy": "1+0", **kw}


def _loop(design_kw: float) -> dict[str, object]:
    chillers = {"ids": "ch[1-2]", "running": 1, "standby": 1, "capacity_kw": max(1.0, 1.5 * design_kw), "cop": 4.0}
    sizes = {"water_m3": max(0.05, 0.01 * design_kw), "supply_c": 11.0, "pump_kw": 0.01 * design_kw}
    return {"id": "site/hall/loop", **sizes, "chillers": chillers}


def week_jobs(week: WeekData) -> Jobs:
    """Return the tasks as the engine's job table; a task without a profile is idle or busy as the mapping says.

    A task lasts as long as its profile, or its run time where it has none; it holds its nodes for that long. It arrives
    1 ms before the start of its step, so that the engine, which places jobs at grid points, starts it on that step.
    """
    length = np.diff(week.profile_start)
    work_s = np.where(length > 0, length * week.step_ms / 1000.0, week.duration_ms / 1000.0)
    activity = 1.0 if week.mapping.fragments.missing == "busy" else 0.0
    return make_jobs(
        list(week.task_ids),
        arrival_ms=week.epoch_ms + week.start_ms // week.step_ms * week.step_ms - 1,
        work_s=np.maximum(work_s, LEAST_WORK_S),
        width=week.width,
        share_frac=week.share_frac,
        activity_frac=np.full(len(length), activity),
        profile_start=week.profile_start,
        profile_frac=week.profile_frac,
        profile_step_s=week.step_ms / 1000.0,
    )


def with_law(site: Site, law: PowerLaw) -> Site:
    """Return the site with a fitted linear or concave node law in place of the assumed one.

    The base of the whole site is shared equally by its hosts: what is off or not in the job table cannot be told apart.
    """
    n = len(site.node_ids)
    idle_kw = np.full(n, law.base_kw / n)
    return replace(
        site,
        node_idle_kw=idle_kw,
        node_peak_kw=idle_kw + law.span_kw,
        node_concave_frac=np.full(n, law.concave_frac or 0.0),
    )
