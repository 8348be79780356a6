"""What nodes draw and how fast they may run; what their racks must watch for. A part of `Derived`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plant import power
from twin.airpaths import refresh_air
from twin.layout import Array, Rows, segment_sum
from twin.nodephase import ON, STARTING
from twin.occupancy import refresh_jobs
from twin.supply import load_sides, supplied_rows, supplies_live, watch_nodes

if TYPE_CHECKING:
    from twin.derived import Derived


def refresh_power(d: Derived, rows: Rows) -> None:
    """Compute power, speed and margins of all nodes of some member rows, and what follows from them."""
    site, s = d.site, d.state
    demand, cap_kw = d.heat.limit(rows, *_asked(d, rows))
    changed = bool(d.nodes_dirty[rows].any())
    if changed:
        _watch(d, rows)
    whole = bool(d.supplied[rows].all())
    live = s.node_psu_ok[rows] if whole else supplies_live(d, rows)
    if not whole:
        braked = site.chain.node_psu_brake & (live > 0) & (live < site.psu_per_node) & (site.node_psu_rated_kw > 0.0)
        cap_kw = np.where(braked, np.minimum(cap_kw, site.node_psu_rated_kw * live), cap_kw)
    drawn = np.empty_like(demand)
    d.kernels.settle_nodes(
        d.numbers(rows), demand, cap_kw, live, s.node_phase, site.node_psu_rated_kw, d.layout.psu_loss,
        site.node_peak_kw, site.rack_start, s.rack_psu_loss_scale, drawn, d.node_kw, d.node_ratio,
        d.rack_kw,
    )  # fmt: skip
    d.heat.refresh(rows, drawn, demand)
    if whole:
        d.node_short[rows] = False
    else:
        d.drawn_kw[rows] = drawn
        watch_nodes(d, rows, drawn, live)
    d.look_dark = d.dark or bool(d.node_short.any())
    rack_kw = d.rack_kw[rows]
    d.hall_kw[rows] = segment_sum(rack_kw, d.layout.hall_racks)
    if site.chain.two_sided:
        load_sides(d, rows, d.node_kw[rows], rack_kw, whole)
    refresh_jobs(d, rows)
    if changed or d.heat.fans:  # load alone moves no air
        d.air_frac[rows] = _air_frac(d, rows)
        refresh_air(d, rows)
    d.power_dirty[rows] = d.nodes_dirty[rows] = False


def _watch(d: Derived, rows: Rows) -> None:
    """Look again at what follows from the nodes themselves, whatever their load: margins, supplies."""
    site, s = d.site, d.state
    d.kernels.watch_racks(
        d.numbers(rows), s.node_phase, site.rack_start, s.node_fails_at, s.node_stop_c, site.node_inlet_offset_k,
        s.node_until_ms, d.racks, d.next_up_ms,
    )  # fmt: skip
    d.supplied[rows] = supplied_rows(d, rows)


def _air_frac(d: Derived, rows: Rows) -> Array:
    """Return the share of its design air flow that the nodes of each rack move (rows, R)."""
    if not d.heat.fans:
        return d.racks.powered[rows] / d.layout.nodes_per_rack
    phase = d.state.node_phase[rows]
    powered = ((phase == ON) | (phase == STARTING)).astype(np.float64)
    return segment_sum(d.heat.air_share(rows, powered), d.layout.rack_nodes) / d.layout.nodes_per_rack


def _asked(d: Derived, rows: Rows) -> tuple[Array, Array]:
    """Return what the nodes of some rows ask for and what their caps allow [kW], both (rows, N)."""
    site, s = d.site, d.state
    numbers = d.numbers(rows)
    demand, cap_kw = np.empty((2, len(numbers), len(site.node_ids)))
    d.kernels.node_demand(
        numbers, d.util_frac, site.node_idle_kw, site.node_peak_kw, site.node_concave_frac, s.node_power_scale,
        s.rack_idle_scale, s.rack_bend_scale, site.rack_start, s.node_cap_frac, demand, cap_kw,
    )  # fmt: skip
    for curve in site.node_curves:  # nodes with a law of their own
        at = curve.nodes
        share = power.curve_share_frac(d.util_frac[rows].take(at, axis=1), curve)
        idle_kw = site.node_idle_kw[at] * s.rack_idle_scale[rows].take(site.node_rack[at], axis=1)
        asked = idle_kw + (site.node_peak_kw[at] - idle_kw) * share
        demand[:, at] = asked * s.node_power_scale[rows].take(at, axis=1)
    return demand, cap_kw
