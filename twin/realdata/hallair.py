"""The air of a hall between its racks and its coolers, stepped by the laws of `plant/thermal.py`.

    rack exhausts + base heat -> hot air <-> structures -> coolers <-> their coils -> heat meter

Coolers that blow more than the racks draw send the rest past them: what passes the racks carries the heat, the rest
only dilutes the return air. So the hot air leaves at the lesser of the two flows. First axis: the parameter set (m).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plant import thermal
from twin.realdata.tables import Floats

TINY = 1e-9


@dataclass(frozen=True)
class HallParams:
    """The hall, each (m, 1), structures (m, structures).

    heat_gain: heat of a rack over the power its servers report; base_kw: heat of what reports nothing; air: capacity
    of the hot air; structure: metal, walls, floor; flow_kw_per_k: of all coolers at reference fan signal (fan law: flow
    follows speed); coil: metal and water of all coils, kept near their discharge temperatures; lag_s: of the meter.
    """

    heat_gain: Floats
    base_kw: Floats
    air_kj_per_k: Floats
    structure_kj_per_k: Floats
    structure_kw_per_k: Floats
    flow_kw_per_k: Floats
    coil_kj_per_k: Floats
    coil_kw_per_k: Floats
    lag_s: Floats


@dataclass
class Air:
    """What the hall holds on the way through the day: hot air, coil, meter (m, 1), structures (m, structures)."""

    hot_c: Floats
    structure_c: Floats
    coil_c: Floats
    read_kw: Floats


class HallAir:
    """A hall with its parameters, ready to be stepped; out_kw is the heat that leaves the racks (m, 1)."""

    def __init__(self, hall: HallParams, dt_s: float) -> None:
        self.hall, self.dt_s = hall, dt_s
        self.structure_frac = thermal.structure_frac(hall.structure_kj_per_k, hall.structure_kw_per_k, dt_s)
        self.coil_frac = thermal.structure_frac(hall.coil_kj_per_k, hall.coil_kw_per_k, dt_s)
        self.meter_frac = thermal.reading_frac(hall.lag_s, dt_s)
        self.per_structure = 1.0 / np.maximum(hall.structure_kj_per_k, TINY)
        self.per_coil = 1.0 / np.maximum(hall.coil_kj_per_k, TINY)

    def at_rest(self, out_kw: Floats, flow: Floats, cold_c: Floats) -> Air:
        """Return the hall at rest."""
        heat = self.hall.heat_gain * out_kw + self.hall.base_kw
        hot = cold_c + heat / flow
        return Air(hot, np.repeat(hot, self.hall.structure_kj_per_k.shape[1], axis=1), cold_c + 0.0 * hot, heat)

    def steps(self, flow: Floats) -> thermal.AirStep:
        """Return the coefficients of the hot air for flows to the coolers (cells, m, 1) [kW/K]."""
        return thermal.AirStep(*np.broadcast_arrays(*thermal.air_step(self.hall.air_kj_per_k, flow, self.dt_s)))

    def advance(self, air: Air, step: thermal.AirStep, out_kw: Floats, flow: Floats, cold_c: Floats) -> None:
        """Step the hall by one cell in place; flow: of the hot air to the coolers [kW/K]."""
        hall, dt_s = self.hall, self.dt_s
        into_kj = thermal.structure_heat_kj(air.hot_c, air.structure_c, hall.structure_kj_per_k, self.structure_frac)
        air.structure_c = air.structure_c + into_kj * self.per_structure
        gained = hall.heat_gain * out_kw + hall.base_kw - into_kj.sum(axis=1, keepdims=True) / dt_s
        air.hot_c, mean_c = thermal.advance_air(step, air.hot_c, gained, cold_c)
        kept_kj = thermal.structure_heat_kj(cold_c, air.coil_c, hall.coil_kj_per_k, self.coil_frac)
        air.coil_c = air.coil_c + kept_kj * self.per_coil
        to_water_kw = flow * (mean_c - cold_c) - kept_kj / dt_s
        air.read_kw = air.read_kw + self.meter_frac * (to_water_kw - air.read_kw)


def hot_flow_kw_per_k(rack_flow_kw_per_k: Floats, cooler_kw_per_k: Floats, cold_share_frac: Floats) -> Floats:
    """Return the flow of hot air to the coolers: what the racks draw from them, or all they blow where that is less.

    rack_flow_kw_per_k, cold_share_frac (..., racks), cooler_kw_per_k (..., 1) -> (..., 1).
    """
    drawn = (rack_flow_kw_per_k * cold_share_frac).sum(axis=-1, keepdims=True)
    return np.asarray(np.maximum(TINY, np.minimum(drawn, cooler_kw_per_k)))


def cooler_flow(cooler_frac: Floats, discharge_c: Floats, hall: HallParams) -> tuple[Floats, Floats]:
    """Return the coolers' air flow [kW/K] (cells, m, 1) and its mean discharge temperature [C] (cells, 1, 1)."""
    each = cooler_frac / cooler_frac.shape[1]
    total = each.sum(axis=1)
    cold = (each * discharge_c).sum(axis=1) / np.maximum(total, TINY)
    return hall.flow_kw_per_k[None] * total[:, None, None], cold[:, None, None]


def run_air(out_kw: Floats, flow: Floats, cold_c: Floats, hall: HallParams, dt_s: float) -> Floats:
    """Return the heat as its meter reads (cells, m) for given heat out of the racks, hot-air flow and cold air."""
    model = HallAir(hall, dt_s)
    air = model.at_rest(out_kw[0], flow[0], cold_c[0])
    read = np.empty((len(out_kw), len(air.hot_c)))
    for i, step in enumerate(zip(*model.steps(flow), strict=True)):
        model.advance(air, thermal.AirStep(*step), out_kw[i], flow[i], cold_c[i])
        read[i] = air.read_kw[:, 0]
    return read
