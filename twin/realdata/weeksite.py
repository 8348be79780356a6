"""The site and the job table of a real week, for the engine: the mapping's hosts, the tasks with their own profiles.

Only the hosts are known. Racks, cooling and UPS around them are sized by the rules of the site file [assumed]; the
power that is compared is that of the hosts, which none of it changes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from plant.power import Curve, wake_curve
from plant.site import Site
from plant.sitebuild import compile_site
from plant.sitefile import SiteFile
from twin.jobs import Jobs, make_jobs
from twin.realdata.powerfit import PowerLaw
from twin.realdata.week import WeekData

NODES_PER_RACK = 32
# typical two-socket server, used only until the law is fitted [assumed]
START_IDLE_KW, START_PEAK_KW = 0.1, 0.3


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


def week_jobs(week: WeekData, first: int, last: int) -> Jobs:
    """Return the tasks that run during the samples first..last - 1 as the engine's job table.

    A task lasts as long as its profile, or its run time where it has none (idle or busy, as the mapping says), in whole
    steps; one that is under way at the start goes on at its place in its profile. Jobs arrive 1 ms before their step:
    the engine places jobs at grid points, and so starts them on it.
    """
    rows = np.diff(week.profile_start)
    begin = week.start_ms // week.step_ms
    length = np.where(rows > 0, rows, -(-week.duration_ms // week.step_ms))
    runs = np.flatnonzero((begin < last) & (begin + length > first) & (length > 0))
    skipped = np.maximum(0, first - begin[runs])
    left = np.where(rows[runs] > 0, rows[runs] - skipped, 0)
    start = np.concatenate([[0], np.cumsum(left)]).astype(np.int64)
    source = np.arange(start[-1]) + np.repeat(week.profile_start[runs] + skipped - start[:-1], left)
    activity = 1.0 if week.mapping.fragments.missing == "busy" else 0.0
    return make_jobs(
        [week.task_ids[j] for j in runs],
        arrival_ms=week.epoch_ms + np.maximum(begin[runs], first) * week.step_ms - 1,
        work_s=(length[runs] - skipped) * (week.step_ms / 1000.0),
        width=week.width[runs],
        share_frac=week.share_frac[runs],
        activity_frac=np.full(len(runs), activity),
        profile_start=start,
        profile_frac=week.profile_frac[source],
        profile_step_s=week.step_ms / 1000.0,
    )


def with_law(site: Site, law: PowerLaw) -> Site:
    """Return the site with a fitted node law in place of the assumed one.

    The base of the whole site is shared equally by its hosts: what is off or not in the jobs cannot be told apart.
    """
    n = len(site.node_ids)
    idle_kw = np.full(n, law.base_kw / n)
    return replace(
        site,
        node_idle_kw=idle_kw,
        node_peak_kw=idle_kw + law.span_kw,
        node_concave_frac=np.full(n, law.concave_frac or 0.0),
        node_curves=() if law.concave_frac is not None else (_packages(site, law),),
    )


def _packages(site: Site, law: PowerLaw) -> Curve:
    """The law of packages as the engine takes it: shares of what a host draws beyond its base."""
    cores = [int(part.removeprefix("wake_")) for part in law.parts]
    shares = [weight / law.span_kw if law.span_kw > 0.0 else 0.0 for weight in law.weight_kw]
    return wake_curve(np.arange(len(site.node_ids)), cores, shares, int(site.node_cores[0]))
