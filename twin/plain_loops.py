"""The kernels of water loops in plain NumPy: chillers over a step, protection and staging after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from plant import chillers, cooling
from twin.columns import Floats, LoopColumns
from twin.cooling_bits import CHILLER_ON, STARTING
from twin.layout import segment_sum, segments


def _loops(of: LoopColumns) -> Any:
    count = len(of.chiller_start) - 1
    return segments(np.repeat(np.arange(count), np.diff(of.chiller_start)), count)


def loop_step(
    of: LoopColumns, dt_s: float, outdoor_c: Floats, heat_kw: Floats, flow_frac: Floats, phase: Any,
    chiller_kw: Floats, chiller_cop: Floats, setpoint_c: Floats, water_kj_per_k: Floats, supply_out: Floats,
    free_out: Floats, taken_out: Floats, capacity_out: Floats, electric_out: Floats,
) -> None:  # fmt: skip
    """Let chillers and free cooling take heat out of the loops for one step."""
    running, of_loop = phase == CHILLER_ON, _loops(of)
    rated = segment_sum(np.where(running, chiller_kw, 0.0), of_loop)
    capacity = rated * cooling.flow_capacity_frac(flow_frac)
    capacity = capacity * chillers.ambient_capacity_frac(outdoor_c, of.design_outdoor_c, of.derate_per_k)
    gain = chillers.warm_water_capacity_frac(supply_out - setpoint_c, of.capacity_per_k, of.capacity_most_frac)
    capacity = capacity * gain
    taken = cooling.chiller_heat_kw(supply_out, setpoint_c, heat_kw, capacity + free_out, water_kj_per_k, dt_s)
    supply_out += (heat_kw - taken) * dt_s / water_kj_per_k
    free_out[...] = np.minimum(free_out, taken)
    taken_out[...], capacity_out[...] = taken - free_out, capacity
    weight = segment_sum(np.where(running, chiller_kw * chiller_cop, 0.0), of_loop)
    cop = cooling.chiller_cop(weight / np.maximum(rated, 1e-9), of.cop_per_k, outdoor_c)
    load = taken_out / np.maximum(capacity, 1e-9)
    curve_kw = capacity / cop * chillers.part_load_power_frac(load, of.part_load)
    electric_out[...] = np.where(of.controlled, curve_kw, taken_out / cop)


def endangered(
    of: LoopColumns, outdoor_c: Floats, flow_frac: Floats, taken_kw: Floats, capacity_kw: Floats, fouling_k: float
) -> tuple[bool, bool]:
    """Tell whether any loop has too little water, and whether any chiller may condense too hot."""
    hot_c = chillers.condensing_c(outdoor_c, taken_kw / np.maximum(capacity_kw, 1e-9), of.condenser_k)
    return bool((flow_frac < of.low_flow_frac).any()), bool((hot_c + fouling_k > of.condensing_trip_c).any())


def stage(
    of: LoopColumns, dt_s: float, phase: Any, held: Any, supply_c: Floats, setpoint_c: Floats, taken_kw: Floats,
    capacity_kw: Floats, call_out: Floats, spare_out: Floats, up_out: Any, down_out: Any,
) -> bool:  # fmt: skip
    """Count how long loops have asked for one chiller more or fewer; tell whether any is due."""
    of_loop = _loops(of)
    on = segment_sum((phase == CHILLER_ON).astype(np.float64), of_loop)
    coming = segment_sum((phase == STARTING).astype(np.float64), of_loop)
    load = np.where(capacity_kw > 0.0, taken_kw / np.maximum(capacity_kw, 1e-9), 1.0)
    above_k = supply_c - setpoint_c
    ours = of.controlled & ~held & (coming == 0.0)
    more = ours & chillers.wants_more(load, above_k, of.stage_up_frac, of.stage_up_k)
    fewer = ours & chillers.wants_fewer(load, on, above_k, of.stage_down_frac)
    call_out[...] = np.where(more, call_out + dt_s, 0.0)
    spare_out[...] = np.where(fewer, spare_out + dt_s, 0.0)
    up_out[...] = more & (call_out >= of.stage_up_s)
    down_out[...] = fewer & (spare_out >= of.stage_down_s)
    return bool(up_out.any() or down_out.any())
