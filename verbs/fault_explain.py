"""What `foretwin site explain` says about how nodes fail: the table of the site, kind by kind."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

from plant.faultbuild import HOUR_S, YEAR_S
from plant.site import Site


def of_site(site: Site) -> dict[str, Any]:
    """Which table holds and who repairs; -1 stands for no limit."""
    laws = site.faults
    return {
        "table": laws.name,
        "crews": laws.crews,
        "spares": laws.spares,
        "standbys": laws.standbys,
        "lemon_frac": laws.lemon_frac,
        "lemon_factor": laws.lemon_factor,
        "p_repair_fails": laws.p_repair_fails,
        "inlet_c": laws.inlet_c,
        "load_frac": laws.load_frac,
    }


def of_node(site: Site, node: int) -> list[dict[str, Any]]:
    """Each kind of fault of one node at the reference temperature, load and age, most frequent first."""
    laws = site.faults
    rate = laws.type_rate_per_s[site.node_type[node]]
    every = rate * (1.0 + laws.beta * laws.struck_mean) / (1.0 - laws.p_repair_fails)
    return [
        {
            "kind": laws.kinds[k],
            "per_year": float(every[k] * YEAR_S),
            "no_warning_frac": float(laws.warning_none_frac[k]),
            "lead_median_h": float(laws.lead_median_s[k] / HOUR_S) if laws.warning_none_frac[k] < 1.0 else None,
            "repair_median_h": repair_median_h(site, int(k)),
            "doubles_per_k": _doubling_k(site, int(k)),
        }
        for k in np.argsort(-every, kind="stable")
        if every[k] > 0.0
    ]


def repair_median_h(site: Site, kind: int) -> float:
    """Median of a mixture of lognormals [h], by halving."""
    laws = site.faults
    share = np.diff(laws.stage_share[kind], prepend=0.0)
    stages = [(w, np.log(m / HOUR_S), s) for w, m, s in
              zip(share, laws.stage_median_s[kind], laws.stage_sigma[kind], strict=True)]  # fmt: skip
    low, high = -15.0, 15.0
    for _ in range(60):
        middle = (low + high) / 2.0
        below = sum(w * NormalDist(m, s).cdf(middle) for w, m, s in stages)
        low, high = (middle, high) if below < 0.5 else (low, middle)
    return float(np.exp((low + high) / 2.0))


def _doubling_k(site: Site, kind: int) -> float | None:
    per_k = float(site.faults.doublings_per_k[site.faults.kind_class[kind]])
    return 1.0 / per_k if per_k else None
