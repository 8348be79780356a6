"""The kernels of accelerators in plain NumPy: where they settle and one step towards it (twin/kernels.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from plant import gpu
from plant.gpubuild import Gpus
from twin.columns import Floats, GpuColumns, GpuOut, Ints


def gpu_columns(of: Gpus) -> GpuColumns:
    """Return what the kernels need to know of the columns of a site, each (G,)."""
    base_kw = of.idle_kw - of.gain * of.node_idle_kw
    return GpuColumns(
        of.node, of.rack, of.gain, base_kw, of.offset_k, np.asarray(of.preheat_k / of.node_peak_kw), of.mem_idle_k,
        of.mem_gain_k_per_kw, of.mem_slow_c,
    )  # fmt: skip


def gpu_rises(
    rows: Ints, of: GpuColumns, drawn_kw: Floats, extra_kw: Floats, speed: Floats, resistance: Floats, rise_out: Floats,
    above_out: Floats,
) -> None:  # fmt: skip
    """Find how far above what cools them accelerators settle, and their memory above them."""
    node_kw = drawn_kw.take(of.node, axis=1)
    gpu_kw = np.maximum(of.base_kw + of.gain * (node_kw - extra_kw[rows]), 0.0)
    above_k = of.mem_idle_k + of.mem_gain_k_per_kw * gpu_kw
    off = node_kw <= 0.0
    gpu_kw[off] = above_k[off] = 0.0
    rise = gpu.rise_k(gpu_kw, node_kw, of.preheat_k_per_kw, speed[rows], resistance[rows])
    rise_out[rows], above_out[rows] = of.offset_k + rise, above_k


def gpu_step(
    of: GpuColumns, cold_c: Floats, rise_k: Floats, above_k: Floats, keep: Floats, mem_keep: Floats, up_c: Floats,
    down_c: Floats, gpu_out: Any, mem_out: Any,
) -> GpuOut:  # fmt: skip
    """Advance the temperatures by one step; tell whether any has reached a threshold."""
    step = gpu.advance(gpu_out, mem_out, cold_c.take(of.rack, axis=1), rise_k, above_k, keep, mem_keep)
    gpu_out[...], mem_out[...] = step
    up, down, memory = step.gpu_c >= up_c, step.gpu_c < down_c, step.mem_c >= of.mem_slow_c
    return GpuOut(bool(up.any()), bool(down.any()), bool(memory.any()))
