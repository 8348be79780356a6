"""What nodes draw and how fast they may run; what their racks must watch for. A part of `Derived`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plant import power
from twin.airpaths import refresh_air
from twin.layout import Rows, segment_min, segment_sum
from twin.nodephase import FAILED, ON, STARTING, STOPPED
from twin.occupancy import refresh_jobs
from twin.supply import all_supplied, load_sides, supplies_live, watch_nodes

if TYPE_CHECKING:
    from twin.derived import Derived

NEVER_MS = 2**62


def refresh_power(d: Derived, rows: Rows) -> None:
    """Compute power, speed and margins of all nodes of some member rows, and what follows from them."""
    site, s, lay = d.site, d.state, d.layout
    phase = s.node_phase[rows]
    on = phase == ON
    demand = power.demand_kw(
        d.util_frac[rows], site.node_idle_kw, site.node_peak_kw, site.node_concave_frac, site.node_curves
    )
    demand = demand * s.node_power_scale[rows]
    # a cap of 1 means no cap: a member whose nodes draw more than the site file says is not held at its peak
    cap_frac = s.node_cap_frac[rows]
    cap_kw = np.where(cap_frac >= 1.0, np.inf, cap_frac * site.node_peak_kw)
    demand, cap_kw = d.heat.limit(rows, demand, cap_kw)
    powered = on | (phase == STARTING)
    whole = all_supplied(d, rows)
    live = s.node_psu_ok[rows] if whole else supplies_live(d, rows)
    if not whole:
        braked = site.chain.node_psu_brake & (live > 0) & (live < site.psu_per_node) & (site.node_psu_rated_kw > 0.0)
        cap_kw = np.where(braked, np.minimum(cap_kw, site.node_psu_rated_kw * live), cap_kw)
    drawn = np.where(powered, np.minimum(demand, cap_kw), 0.0)
    d.heat.refresh(rows, drawn, demand)
    if whole:
        d.node_short[rows] = False
    else:
        d.drawn_kw[rows] = drawn
        watch_nodes(d, rows, drawn, live)
    d.look_dark = d.dark or bool(d.node_short.any())
    node_kw = power.psu_input_kw(drawn, site.node_psu_rated_kw, live.astype(np.float64), site.chain.psu_loss)
    ratio = power.cap_speed_frac(demand, cap_kw, site.node_peak_kw, np.ones(1))
    d.node_kw[rows], d.node_ratio[rows] = node_kw, np.where(on, ratio, 0.0)
    rack_kw = segment_sum(node_kw, lay.rack_nodes)
    d.rack_kw[rows], d.hall_kw[rows] = rack_kw, segment_sum(rack_kw, lay.hall_racks)
    if site.chain.two_sided:
        load_sides(d, rows, node_kw, rack_kw, whole)
    moved = d.heat.air_share(rows, powered.astype(np.float64))
    d.air_frac[rows] = segment_sum(moved, lay.rack_nodes) / lay.nodes_per_rack
    d.stopped_in_rack[rows] = segment_sum((phase == STOPPED).astype(np.float64), lay.rack_nodes)
    # the least margins in each rack: while they hold, no node of it can cross
    running = np.where(on, s.node_fails_at[rows], np.inf)
    d.rack_fails_at[rows] = segment_min(running, lay.rack_nodes)
    stop_c = np.where(powered, s.node_stop_c[rows] - site.node_inlet_offset_k, np.inf)
    d.rack_stop_c[rows] = segment_min(stop_c, lay.rack_nodes)
    ends = np.where((phase == STARTING) | (phase == FAILED), s.node_until_ms[rows], NEVER_MS)
    d.next_up_ms[rows] = ends.min(axis=1)
    refresh_jobs(d, rows)
    refresh_air(d, rows)
    d.power_dirty[rows] = False
