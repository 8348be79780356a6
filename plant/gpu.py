"""Heat of accelerators, their memory and node fans as pure functions over arrays (members, nodes with GPUs or fans).

One accelerator stands for its node, the hottest. It relaxes exactly to its steady state; its memory stands above it:

    T*  = inlet + rise,      rise = offset + preheat (node kW / peak) / v + P (chip + air / v^0.8)
    T   = T* + (T0 - T*) exp(-dt / tau),             tau grows with the resistance: the heat capacity stays
    Tm* = T* + above(P),     Tm likewise with its own time constant

v is the air speed of the node's fans as a share of full speed (fan laws: flow ~ v, power ~ v^3; forced convection over
a heat sink ~ v^0.8, Dittus-Boelter). The heat itself is the node's power, which the rack balance holds in full; what
an accelerator stores (some 10 kJ) is inside the rack's equipment. Thresholds and costs: notes/incidents.md B.5.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Tiny = NDArray[np.int8]
Flags = NDArray[np.bool_]

CONVECTION_EXPONENT = 0.8
DRAUGHT_FRAC = 0.08  # air that passes a node whose fans stand: its neighbours and the room push a little [assumed]
RELEASE_K = 5.0  # a threshold is left only this far below it [assumed; drivers: 2 to 10 K]
SETTLE_K = 2.0  # ... and only where the temperature would then settle this far below it
# Power left of what is asked for, above the floor of the cap law (plant/power.py), at no, light and hard slowdown. With
# the cap exponents 0.75 / 0.5 / 0.3 speed falls by 10 / 7 / 4 % and 41 / 29 / 19 %: 5-10 % at 85 C, 30-40 % near 90 C.
STAGE_RATIO = np.array([1.0, 0.87, 0.5])
# HBM at 95 C: 3.1 -> 2.3 TB/s while chip and power look well (notes B.5).
HOT_MEMORY_BANDWIDTH_FRAC = 2.3 / 3.1


def air_speed_frac(level: Tiny, ok_frac: Array, speeds_frac: Array, kind: Ints) -> Array:
    """Return the air speed of each node: that of its fan level, less what its fans have lost."""
    return np.maximum(speeds_frac[kind, level] * ok_frac, DRAUGHT_FRAC)


def resistance_k_per_kw(chip_k_per_kw: Array, air_k_per_kw: Array, speed_frac: Array) -> Array:
    """Return the resistance from the chip to the air in front of it at an air speed."""
    return np.asarray(chip_k_per_kw + air_k_per_kw * speed_frac**-CONVECTION_EXPONENT)


def rise_k(power_kw: Array, node_kw: Array, preheat_k_per_kw: Array, speed_frac: Array, resistance: Array) -> Array:
    """Return how far above the inlet an accelerator settles that draws power_kw in a node that draws node_kw."""
    return np.asarray(preheat_k_per_kw / speed_frac * node_kw + power_kw * resistance)


class Step(NamedTuple):
    """Temperatures after a step [C]."""

    gpu_c: Array
    mem_c: Array


def advance(
    gpu_c: Array, mem_c: Array, inlet_c: Array, rise_k: Array, above_k: Array, keep_frac: Array, mem_keep_frac: Array
) -> Step:
    """Return the temperatures after a step, with inlet and power held over it; exact for any length.

    keep_frac: exp(-dt / tau), the share of the distance to the steady state that is left; rise_k, above_k: steady state
    of the accelerator above the inlet and of its memory above it.
    """
    steady = inlet_c + rise_k
    gpu = steady + (gpu_c - steady) * keep_frac
    steady = steady + above_k
    return Step(gpu, steady + (mem_c - steady) * mem_keep_frac)


def release_c(threshold_c: Array, jump_k: Array) -> Array:
    """Return below which temperature a threshold is left: only where it would not be reached again.

    jump_k: how much hotter it becomes at the fan speed or the power that is then allowed. A plain hysteresis narrower
    than that jump would hunt around the threshold.
    """
    return np.asarray(np.minimum(threshold_c - RELEASE_K, threshold_c - SETTLE_K - jump_k))


def next_level(level: Tiny, sensor_c: Array, up_c: Array, down_c: Array) -> Tiny:
    """Return the fan level after a step: one up from up_c on, one down below down_c."""
    return np.asarray(level + (sensor_c >= up_c) - (sensor_c < down_c), dtype=np.int8)


def next_stage(stage: Tiny, gpu_c: Array, slow_c: Array, hard_c: Array, down_c: Array) -> Tiny:
    """Return the slowdown stage after a step: 0 none, 1 light from slow_c on, 2 hard from hard_c on; one down below
    down_c.
    """
    wanted = (gpu_c >= slow_c).astype(np.int8) + (gpu_c >= hard_c)
    return np.asarray(np.maximum(stage - (gpu_c < down_c), wanted), dtype=np.int8)


def next_memory(slow: Flags, mem_c: Array, mem_slow_c: Array) -> Flags:
    """Return where the memory has lost bandwidth, with hysteresis."""
    return np.asarray(mem_c >= mem_slow_c - np.where(slow, RELEASE_K, 0.0))


def bandwidth_speed_frac(cap_exponent: Array) -> Array:
    """Return the speed left to a job on hot memory: the less it is bound by compute, the more it loses.

    The cap exponent says how much a job is bound by compute (0.3 memory, 0.75 compute); what is left is memory.
    """
    return np.asarray(HOT_MEMORY_BANDWIDTH_FRAC ** (1.0 - cap_exponent))
