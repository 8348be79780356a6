"""The kernels of racks compiled by numba: one pass over the racks of a row (twin/kernels.py). No fastmath."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from plant.thermal import RackStep
from twin.columns import Floats, Ints


@njit(cache=True, nogil=True)
def rack_coefficients(
    rows: Ints, mass_kj_per_k: Floats, air_kj_per_k: Floats, ua_kw_per_k: Floats, flow_kw_per_k: Floats, dt_s: float,
    seen_out: Floats, step_out: RackStep,
) -> None:  # fmt: skip
    """Compute the coefficients of an exact step for racks whose parameters are not those they were computed for."""
    for i in range(len(rows)):
        row = rows[i]
        for r in range(mass_kj_per_k.shape[1]):
            mass, air = mass_kj_per_k[row, r], air_kj_per_k[row, r]
            ua, flow = ua_kw_per_k[row, r], flow_kw_per_k[row, r]
            if (
                seen_out[0, row, r] == mass
                and seen_out[1, row, r] == air
                and seen_out[2, row, r] == ua
                and seen_out[3, row, r] == flow
            ):
                continue
            seen_out[0, row, r], seen_out[1, row, r] = mass, air
            seen_out[2, row, r], seen_out[3, row, r] = ua, flow
            a, b, c = ua / mass, ua / air, flow / air
            total = a + b + c
            fast = -0.5 * (total + np.sqrt(max(total * total - 4.0 * a * c, 0.0)))
            slow = a * c / fast
            e_fast, e_slow = np.exp(fast * dt_s), np.exp(slow * dt_s)
            gap = slow - fast
            e1 = (e_slow - e_fast) / gap
            e0 = (slow * e_fast - fast * e_slow) / gap
            i_fast = (e_fast - 1.0) / fast
            i_slow = dt_s if abs(slow * dt_s) < 1e-12 else np.expm1(slow * dt_s) / slow
            g1 = (i_slow - i_fast) / gap
            g0 = (slow * i_fast - fast * i_slow) / gap
            step_out.ss[row, r], step_out.sa[row, r] = e0 - a * e1, a * e1
            step_out.sp[row, r], step_out.as_[row, r] = (g0 - a * g1) / mass, b * e1
            step_out.aa[row, r], step_out.ap[row, r] = e0 - (b + c) * e1, b * g1 / mass


@njit(cache=True, nogil=True)
def rack_air(
    step: RackStep, rack_hall: Any, heat_kw: Floats, inlet_c: Floats, mass_kj_per_k: Floats, air_kj_per_k: Floats,
    dt_s: float, mass_out: Floats, air_out: Floats, inlet_out: Floats, peak_out: Floats, carried_out: Floats,
) -> None:  # fmt: skip
    """Advance equipment and air of all racks by one step; carried_out: the heat that leaves each hall's racks [kJ]."""
    carried_out[:, :] = 0.0
    for row in range(len(mass_out)):
        peak = peak_out[row]
        for r in range(mass_out.shape[1]):
            heat, inlet = heat_kw[row, r], inlet_c[row, r]
            old_mass, old_air = mass_out[row, r], air_out[row, r]
            s, a = old_mass - inlet, old_air - inlet
            mass = inlet + step.ss[row, r] * s + step.sa[row, r] * a + step.sp[row, r] * heat
            air = inlet + step.as_[row, r] * s + step.aa[row, r] * a + step.ap[row, r] * heat
            carried_out[row, rack_hall[r]] += (
                heat * dt_s - mass_kj_per_k[row, r] * (mass - old_mass) - air_kj_per_k[row, r] * (air - old_air)
            )
            mass_out[row, r], air_out[row, r], inlet_out[row, r] = mass, air, inlet
            peak = max(peak, inlet)
        peak_out[row] = peak
