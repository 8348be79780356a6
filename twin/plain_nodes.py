"""The kernels of nodes in plain NumPy: what they ask for, draw, and what their racks must watch (twin/kernels.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from plant import power
from twin.columns import Floats, Ints, RackOut
from twin.layout import Segments, segment_min, segment_sum, segments
from twin.nodephase import ON, STARTING, STOPPED


def node_demand(
    rows: Ints, util_frac: Floats, idle_kw: Floats, peak_kw: Floats, concave_frac: Floats, scale: Floats,
    idle_scale: Floats, bend_scale: Floats, rack_start: Any, cap_frac: Floats, demand_out: Floats, cap_out: Floats,
) -> None:  # fmt: skip
    """Find what nodes ask for and what their caps allow.

    A cap of 1 means no cap: a member whose nodes draw more than the site file says is not held at its peak.
    """
    width = np.diff(rack_start)
    idle = idle_kw * np.repeat(idle_scale[rows], width, axis=1)
    bend = concave_frac * np.repeat(bend_scale[rows], width, axis=1)
    demand_out[...] = power.node_demand_kw(util_frac[rows], idle, peak_kw, bend) * scale[rows]
    cap_out[...] = np.where(cap_frac[rows] >= 1.0, np.inf, cap_frac[rows] * peak_kw)


def settle_nodes(
    rows: Ints, demand_kw: Floats, cap_kw: Floats, live: Any, node_phase: Any, psu_rated_kw: Floats,
    psu_loss: Floats, peak_kw: Floats, rack_start: Any, loss_scale: Floats, drawn_out: Floats, node_kw_out: Floats,
    ratio_out: Floats, rack_kw_out: Floats,
) -> None:  # fmt: skip
    """Find what nodes draw, how fast they run, and what their racks draw."""
    phase = node_phase[rows]
    on, powered = phase == ON, (phase == ON) | (phase == STARTING)
    drawn_out[...] = np.where(powered, np.minimum(demand_kw, cap_kw), 0.0)
    fed_kw = power.psu_input_kw(drawn_out, psu_rated_kw, live.astype(np.float64), list(psu_loss))
    node_kw_out[rows] = drawn_out + (fed_kw - drawn_out) * np.repeat(loss_scale[rows], np.diff(rack_start), axis=1)
    ratio = power.cap_speed_frac(demand_kw, cap_kw, peak_kw, np.ones(1))
    ratio_out[rows] = np.where(on, ratio, 0.0)
    rack_kw_out[rows] = segment_sum(node_kw_out[rows], _racks(rack_start))


def watch_racks(
    rows: Ints, node_phase: Any, rack_start: Any, fails_at: Floats, stop_c: Floats, offset_k: Floats, until_ms: Ints,
    rack_out: RackOut, next_up_out: Ints,
) -> None:  # fmt: skip
    """Find how many nodes of each rack run, and the least margins at which one of them fails or stops."""
    phase, racks = node_phase[rows], _racks(rack_start)
    on, powered = phase == ON, (phase == ON) | (phase == STARTING)
    rack_out.powered[rows] = segment_sum(powered.astype(np.float64), racks)
    rack_out.stopped[rows] = segment_sum((phase == STOPPED).astype(np.float64), racks)
    rack_out.fails_at[rows] = segment_min(np.where(on, fails_at[rows], np.inf), racks)
    rack_out.stop_c[rows] = segment_min(np.where(powered, stop_c[rows] - offset_k, np.inf), racks)
    next_up_out[rows] = until_ms[rows].min(axis=1)


def _racks(rack_start: Any) -> Segments:
    count = len(rack_start) - 1
    return segments(np.repeat(np.arange(count), np.diff(rack_start)), count)
