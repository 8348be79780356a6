"""The kernels of water loops compiled by numba: one pass over the loops of a row (twin/kernels.py). No fastmath."""

from __future__ import annotations

from typing import Any

from numba import njit

from plant.chillers import LEAST_CAPACITY_FRAC, LEAST_PART_LOAD
from plant.cooling import COP_MIN, COP_REFERENCE_OUTDOOR_C, FULL_CAPACITY_FLOW_FRAC
from twin.columns import Floats, LoopColumns
from twin.cooling_bits import CHILLER_ON, STARTING


@njit(cache=True, nogil=True)
def loop_step(
    of: LoopColumns, dt_s: float, outdoor_c: Floats, heat_kw: Floats, flow_frac: Floats, phase: Any,
    chiller_kw: Floats, chiller_cop: Floats, setpoint_c: Floats, water_kj_per_k: Floats, supply_out: Floats,
    free_out: Floats, taken_out: Floats, capacity_out: Floats, electric_out: Floats,
) -> None:  # fmt: skip
    """Let chillers and free cooling take heat out of the loops for one step."""
    for row in range(len(supply_out)):
        for loop in range(supply_out.shape[1]):
            rated, weight = 0.0, 0.0
            for k in range(of.chiller_start[loop], of.chiller_start[loop + 1]):
                if phase[row, k] == CHILLER_ON:
                    rated += chiller_kw[row, k]
                    weight += chiller_kw[row, k] * chiller_cop[row, k]
            outdoor, supply = outdoor_c[row, loop], supply_out[row, loop]
            above = supply - setpoint_c[row, loop]
            capacity = rated * min(max(flow_frac[row, loop] / FULL_CAPACITY_FLOW_FRAC, 0.0), 1.0)
            hotter = max(outdoor - of.design_outdoor_c[loop], 0.0)
            capacity *= max(LEAST_CAPACITY_FRAC, 1.0 - of.derate_per_k[loop] * hotter)
            gain = max(1.0 + of.capacity_per_k[loop] * above, 1.0)
            capacity *= min(gain, max(of.capacity_most_frac[loop], 1.0))
            heat, free = heat_kw[row, loop], free_out[row, loop]
            wanted = heat + water_kj_per_k[row, loop] * above / dt_s
            taken = min(max(wanted, 0.0), capacity + free)
            supply_out[row, loop] = supply + (heat - taken) * dt_s / water_kj_per_k[row, loop]
            free = min(free, taken)
            by_chillers = taken - free
            free_out[row, loop], taken_out[row, loop], capacity_out[row, loop] = free, by_chillers, capacity
            cop = weight / max(rated, 1e-9) - of.cop_per_k[loop] * (outdoor - COP_REFERENCE_OUTDOOR_C)
            cop = max(COP_MIN, cop)
            electric = by_chillers / cop
            if of.controlled[loop]:
                x = min(max(by_chillers / max(capacity, 1e-9), 0.0), 1.0)
                held = max(x, LEAST_PART_LOAD)
                c = of.part_load[loop]
                curve = c[0] + held * (c[1] + held * c[2])
                electric = capacity / cop * (curve * min(1.0, x / LEAST_PART_LOAD))
            electric_out[row, loop] = electric


@njit(cache=True, nogil=True)
def endangered(
    of: LoopColumns, outdoor_c: Floats, flow_frac: Floats, taken_kw: Floats, capacity_kw: Floats, fouling_k: float
) -> tuple[bool, bool]:
    """Tell whether any loop has too little water, and whether any chiller may condense too hot."""
    dry, hot = False, False
    for row in range(len(taken_kw)):
        for loop in range(taken_kw.shape[1]):
            dry |= flow_frac[row, loop] < of.low_flow_frac[loop]
            load = min(max(taken_kw[row, loop] / max(capacity_kw[row, loop], 1e-9), 0.0), 1.0)
            hot_c = outdoor_c[row, loop] + of.condenser_k[loop] * load
            hot |= hot_c + fouling_k > of.condensing_trip_c[loop]
    return dry, hot


@njit(cache=True, nogil=True)
def stage(
    of: LoopColumns, dt_s: float, phase: Any, held: Any, supply_c: Floats, setpoint_c: Floats, taken_kw: Floats,
    capacity_kw: Floats, call_out: Floats, spare_out: Floats, up_out: Any, down_out: Any,
) -> bool:  # fmt: skip
    """Count how long loops have asked for one chiller more or fewer; tell whether any is due."""
    due = False
    for row in range(len(call_out)):
        for loop in range(call_out.shape[1]):
            on, coming = 0.0, 0
            for k in range(of.chiller_start[loop], of.chiller_start[loop + 1]):
                on += phase[row, k] == CHILLER_ON
                coming += phase[row, k] == STARTING
            capacity = capacity_kw[row, loop]
            load = taken_kw[row, loop] / max(capacity, 1e-9) if capacity > 0.0 else 1.0
            above = supply_c[row, loop] - setpoint_c[row, loop]
            ours = of.controlled[loop] and not held[row, loop] and coming == 0
            more = ours and (load > of.stage_up_frac[loop] or above > of.stage_up_k[loop])
            spare = on > 1.0 and load * on / max(on - 1.0, 1.0) < of.stage_down_frac[loop] and above < 0.2
            fewer = ours and spare
            call = call_out[row, loop] + dt_s if more else 0.0
            idle = spare_out[row, loop] + dt_s if fewer else 0.0
            call_out[row, loop], spare_out[row, loop] = call, idle
            up, down = more and call >= of.stage_up_s[loop], fewer and idle >= of.stage_down_s[loop]
            up_out[row, loop], down_out[row, loop] = up, down
            due |= up or down
    return due
