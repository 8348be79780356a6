"""The kernels of nodes compiled by numba: one pass over the nodes of a row (twin/kernels.py). No fastmath."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from plant.power import CAP_FLOOR_FRAC
from twin.columns import Floats, Ints, RackOut
from twin.nodephase import NEVER_MS, ON, STARTING, STOPPED


@njit(cache=True, nogil=True)
def node_demand(
    rows: Ints, util_frac: Floats, idle_kw: Floats, peak_kw: Floats, concave_frac: Floats, scale: Floats,
    idle_scale: Floats, bend_scale: Floats, rack_start: Any, cap_frac: Floats, demand_out: Floats, cap_out: Floats,
) -> None:  # fmt: skip
    """Find what nodes ask for and what their caps allow."""
    for i in range(len(rows)):
        row = rows[i]
        for r in range(len(rack_start) - 1):
            idle_by, bend_by = idle_scale[row, r], bend_scale[row, r]
            for n in range(rack_start[r], rack_start[r + 1]):
                util, bend, idle = min(util_frac[row, n], 1.0), concave_frac[n] * bend_by, idle_kw[n] * idle_by
                share = util if bend == 0.0 else (1.0 - bend) * util + bend * np.sqrt(util)
                demand_out[i, n] = (idle + (peak_kw[n] - idle) * share) * scale[row, n]
                cap = cap_frac[row, n]
                cap_out[i, n] = np.inf if cap >= 1.0 else cap * peak_kw[n]


@njit(cache=True, nogil=True)
def settle_nodes(
    rows: Ints, demand_kw: Floats, cap_kw: Floats, live: Any, node_phase: Any, psu_rated_kw: Floats,
    psu_loss: Floats, peak_kw: Floats, rack_start: Any, loss_scale: Floats, drawn_out: Floats, node_kw_out: Floats,
    ratio_out: Floats, rack_kw_out: Floats,
) -> None:  # fmt: skip
    """Find what nodes draw, how fast they run, and what their racks draw."""
    degree = len(psu_loss) - 1
    for i in range(len(rows)):
        row = rows[i]
        for r in range(len(rack_start) - 1):
            rack_kw = 0.0
            for n in range(rack_start[r], rack_start[r + 1]):
                phase = node_phase[row, n]
                fed, drawn, ratio = 0.0, 0.0, 0.0
                if phase in (ON, STARTING):
                    demand, cap = demand_kw[i, n], cap_kw[i, n]
                    fed = drawn = min(demand, cap)
                    if phase == ON:
                        ratio = 1.0
                        if demand > cap:
                            floor = CAP_FLOOR_FRAC * peak_kw[n]
                            ratio = min(max((cap - floor) / max(demand - floor, 1e-9), 0.0), 1.0)
                    rating = psu_rated_kw[n] * live[i, n]
                    if drawn > 0.0 and rating > 0.0:
                        x = drawn / rating
                        loss = psu_loss[degree, n]
                        for c in range(degree - 1, -1, -1):
                            loss = psu_loss[c, n] + x * loss
                        fed = drawn + rating * loss * loss_scale[row, r]
                drawn_out[i, n], node_kw_out[row, n], ratio_out[row, n] = drawn, fed, ratio
                rack_kw += fed
            rack_kw_out[row, r] = rack_kw


@njit(cache=True, nogil=True)
def watch_racks(
    rows: Ints, node_phase: Any, rack_start: Any, fails_at: Floats, stop_c: Floats, offset_k: Floats, until_ms: Ints,
    rack_out: RackOut, next_up_out: Ints,
) -> None:  # fmt: skip
    """Find how many nodes of each rack run, and the least margins at which one of them fails or stops."""
    for i in range(len(rows)):
        row = rows[i]
        next_up = NEVER_MS
        for r in range(len(rack_start) - 1):
            powered, stopped, fails, stop = 0.0, 0.0, np.inf, np.inf
            for n in range(rack_start[r], rack_start[r + 1]):
                phase = node_phase[row, n]
                if phase in (ON, STARTING):
                    powered += 1.0
                    stop = min(stop, stop_c[row, n] - offset_k[n])
                    if phase == ON:
                        fails = min(fails, fails_at[row, n])
                elif phase == STOPPED:
                    stopped += 1.0
                next_up = min(next_up, until_ms[row, n])
            rack_out.powered[row, r], rack_out.stopped[row, r] = powered, stopped
            rack_out.fails_at[row, r], rack_out.stop_c[row, r] = fails, stop
        next_up_out[row] = next_up
