"""Electricity over one step of the grid: energy, carbon, lost service, batteries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import power
from twin.derived import Derived
from twin.layout import gather_sum

Array = NDArray[np.float64]


def advance_electricity(d: Derived, loop_kw: Array, dt_s: float, carbon_kgco2_per_kwh: Array) -> None:
    """Add up energy, carbon and lost service of the step; run UPS batteries of halls without a feed."""
    site, s, lay = d.site, d.state, d.layout
    hours = dt_s / 3600.0
    it_kw = d.hall_kw
    loads = gather_sum(it_kw, lay.ups_halls)
    loss = power.ups_loss_kw(loads, site.ups_rated_kw, site.ups_loss0, site.ups_loss1, site.ups_loss2)
    region_it = gather_sum(it_kw, lay.region_halls)
    ups_region = _ups_to_region(d, loss)
    total = region_it * (1.0 + site.other_kw_frac) + gather_sum(d.fan_kw, lay.region_halls)
    total = total + gather_sum(loop_kw, lay.region_loops) + ups_region
    if d.any_by_unit or site.cooling.has_liquid:
        total = total + _extra_cooling_kw(d, dt_s)
    d.facility_kw = total
    s.energy_it_kwh[...] += it_kw.sum(axis=1) * hours
    s.energy_kwh[...] += total * hours
    s.carbon_kgco2[...] += (total * hours * carbon_kgco2_per_kwh).sum(axis=1)
    s.lost_service_s[...] += (1.0 - d.service_frac) * dt_s
    s.lost_gpu_h[...] += d.lost_gpus * hours
    s.service_frac[...] = d.service_frac
    if s.feed_ok.shape[1] and not s.feed_ok.any(axis=1).all():
        dead = ~s.feed_ok.any(axis=1, keepdims=True)
        drawn = np.where(dead, (loads + loss) * hours, 0.0)
        np.maximum(s.ups_battery_kwh - drawn, 0.0, out=s.ups_battery_kwh)


def _ups_to_region(d: Derived, loss_kw: Array) -> Array:
    out = np.zeros((d.state.members, len(d.site.region_ids)))
    for u, halls in enumerate(d.layout.ups_halls):
        if len(halls):
            out[:, int(d.site.hall_region[halls[0]])] += loss_kw[:, u]
    return out


def _extra_cooling_kw(d: Derived, dt_s: float) -> Array:
    """Return the power of the compressors of CRACs and of the pumps of CDUs, by region [kW]."""
    site = d.site
    out = gather_sum(d.dx_kw / dt_s, d.layout.region_halls)
    for c, hall in enumerate(site.cooling.cdu_hall):
        out[:, int(site.hall_region[hall])] += d.cdu_pump_kw[:, c]
    return np.asarray(out)
