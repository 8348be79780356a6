"""Arrays that kernels take or give together (twin/kernels.py): constants of components, and what racks must know."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Parts(NamedTuple):
    """A correction by readings as plain arrays: what follows from predictions (M, n) and what was read."""

    deviation: Floats
    """Of members from their mean (M, n)."""
    table: Floats
    """(5, n): difference of means, variance, variance of all, by how much deviations shrink, push of model noise."""

    @property
    def difference(self) -> Floats:
        """What was read less what was predicted (n,)."""
        return np.asarray(self.table[0])

    @property
    def variance(self) -> Floats:
        """Of the members (n,)."""
        return np.asarray(self.table[1])

    @property
    def push(self) -> Floats:
        """What the model noise adds to the quantity itself (n,)."""
        return np.asarray(self.table[4])


class RackOut(NamedTuple):
    """What a rack must know of its nodes, each (M, R)."""

    powered: Floats
    """Nodes that have power and are on or starting."""
    stopped: Floats
    fails_at: Floats
    """Least hazard at which a running node of it fails."""
    stop_c: Floats
    """Least inlet temperature at which a powered node of it stops [C]."""


class GpuColumns(NamedTuple):
    """What is constant of the accelerators of a site, each (G,); see plant/gpu.py and plant/gpubuild.py."""

    node: Ints
    rack: Ints
    gain: Floats
    """Power of an accelerator per power of its node."""
    base_kw: Floats
    """... and what it draws beyond that."""
    offset_k: Floats
    preheat_k_per_kw: Floats
    mem_idle_k: Floats
    mem_gain_k_per_kw: Floats
    mem_slow_c: Floats


class GpuOut(NamedTuple):
    """Whether any accelerator, of any member, has come to a threshold."""

    up: bool
    down: bool
    memory: bool


class JobColumns(NamedTuple):
    """What is constant of jobs while they advance, each (J,); see plant/checkpoint.py."""

    pace_frac: Floats
    checkpoint_s: Floats
    save_due_s: Floats
    """Work since the last complete save when the next one is; infinite where nothing is saved."""
    save_lag_s: Floats
    stall_gpu_s: Floats
    """GPU-seconds that a save costs."""
    work_s: Floats


class LoopColumns(NamedTuple):
    """What is constant of water loops, each (L,) unless said; see plant/chillers.py and plant/coolingfile.py."""

    chiller_start: Ints
    """(L+1,): chillers of loop l are chiller_start[l] .. chiller_start[l+1]-1."""
    cop_per_k: Floats
    design_outdoor_c: Floats
    derate_per_k: Floats
    capacity_per_k: Floats
    capacity_most_frac: Floats
    part_load: Floats
    """(L, 3)."""
    controlled: Flags
    low_flow_frac: Floats
    condenser_k: Floats
    condensing_trip_c: Floats
    stage_up_frac: Floats
    stage_up_k: Floats
    stage_up_s: Floats
    stage_down_frac: Floats
    stage_down_s: Floats
