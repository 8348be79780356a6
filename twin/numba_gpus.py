"""The kernels of accelerators compiled by numba: one pass over the columns of a row (twin/kernels.py). No fastmath."""

from __future__ import annotations

from typing import Any

from numba import njit

from twin.columns import Floats, GpuColumns, GpuOut, Ints


@njit(cache=True, nogil=True)
def gpu_rises(
    rows: Ints, of: GpuColumns, drawn_kw: Floats, extra_kw: Floats, speed: Floats, resistance: Floats, rise_out: Floats,
    above_out: Floats,
) -> None:  # fmt: skip
    """Find how far above what cools them accelerators settle, and their memory above them."""
    for i in range(len(rows)):
        row = rows[i]
        for g in range(len(of.node)):
            node_kw = drawn_kw[i, of.node[g]]
            gpu_kw, above = 0.0, 0.0
            if node_kw > 0.0:
                gpu_kw = max(of.base_kw[g] + of.gain[g] * (node_kw - extra_kw[row, g]), 0.0)
                above = of.mem_idle_k[g] + of.mem_gain_k_per_kw[g] * gpu_kw
            rise = of.preheat_k_per_kw[g] / speed[row, g] * node_kw + gpu_kw * resistance[row, g]
            rise_out[row, g], above_out[row, g] = of.offset_k[g] + rise, above


@njit(cache=True, nogil=True)
def gpu_step(
    of: GpuColumns, cold_c: Floats, rise_k: Floats, above_k: Floats, keep: Floats, mem_keep: Floats, up_c: Floats,
    down_c: Floats, gpu_out: Any, mem_out: Any,
) -> GpuOut:  # fmt: skip
    """Advance the temperatures by one step; tell whether any has reached a threshold."""
    up, down, memory = False, False, False
    for row in range(len(gpu_out)):
        for g in range(len(of.rack)):
            steady = cold_c[row, of.rack[g]] + rise_k[row, g]
            gpu_c = steady + (gpu_out[row, g] - steady) * keep[row, g]
            steady += above_k[row, g]
            mem_c = steady + (mem_out[row, g] - steady) * mem_keep[g]
            gpu_out[row, g], mem_out[row, g] = gpu_c, mem_c
            up |= gpu_c >= up_c[row, g]
            down |= gpu_c < down_c[row, g]
            memory |= mem_c >= of.mem_slow_c[g]
    return GpuOut(up, down, memory)
