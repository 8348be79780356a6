"""The racks of a hall as the laws of `plant/thermal.py` see them, stepped through a day, many parameter sets at once.

    servers -> rack air -> chassis behind them -> outlet sensor

and with the air between racks and coolers (`twin/realdata/hallair.py`) and at their intakes
(`twin/realdata/hallinlet.py`), where the inlets are modelled too. First axis: the parameter set (m). Steps are exact
for inputs held over a cell of the grid; nothing is read but inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from plant import thermal
from twin.realdata.hallair import HallAir, HallParams, cooler_flow, hot_flow_kw_per_k
from twin.realdata.hallinlet import InletParams, Intakes
from twin.realdata.tables import Floats

UA_EXPONENT = 0.8  # of fan speed, turbulent convection along plates (Nusselt number ~ Re^0.8) [assumed for servers]
CHUNK = 500  # cells whose coefficients are made at once


@dataclass(frozen=True)
class HallInputs:
    """What is known from outside, one row per cell of the grid.

    power_kw, speed_frac, inlet_c (cells, racks): drawn power, fan speed over its reference, measured mean inlet.
    cooler_frac, discharge_c (cells, coolers): fan signal over its reference, discharge temperature.
    """

    dt_s: float
    power_kw: Floats
    speed_frac: Floats
    inlet_c: Floats
    cooler_frac: Floats
    discharge_c: Floats

    @property
    def surplus(self) -> Floats:
        """What the coolers blow over what the racks draw, each over its reference, less 1 (cells, 1)."""
        drawn = np.maximum(self.speed_frac.mean(axis=1, keepdims=True), 1e-9)
        return np.asarray(self.cooler_frac.mean(axis=1, keepdims=True) / drawn - 1.0)


@dataclass(frozen=True)
class RackParams:
    """Racks: (m, 1) for what all racks share per server times `servers`, (m, racks) for what each has of its own.

    equipment, chassis: capacities [kJ/K] and conductances to the air [kW/K]; flow_kw_per_k at reference fan speed;
    offset_k: what the outlet sensors read above the air; lag_s: of those sensors.
    """

    equipment_kj_per_k: Floats
    equipment_kw_per_k: Floats
    chassis_kj_per_k: Floats
    chassis_kw_per_k: Floats
    air_kj_per_k: Floats
    flow_kw_per_k: Floats
    offset_k: Floats
    lag_s: Floats


@dataclass(frozen=True)
class HallSaid:
    """What the model says at the end of each cell: outlets as their sensors read and inlets (cells, m, racks) [C],
    heat as its meter reads (cells, m) [kW], hot air and mean discharge (cells, m) [C], heat out of the racks [kW] and
    flow of hot air [kW/K] (cells, m); exhausts like outlets. m is 1 where inlets are modelled.
    """

    outlet_c: Floats
    inlet_c: Floats
    exhaust_c: Floats
    heat_kw: Floats
    hot_c: Floats
    cold_c: Floats
    out_kw: Floats
    flow_kw_per_k: Floats


@dataclass
class Racks:
    """Temperatures of the racks on the way through the day, each (m, racks); inlet_c: of the last step."""

    equipment_c: Floats
    air_c: Floats
    chassis_c: Floats
    reading_c: Floats
    exhaust_c: Floats
    inlet_c: Floats

    @property
    def rise_k(self) -> Floats:
        """What each rack adds to its air."""
        return np.asarray(self.exhaust_c - self.inlet_c)


@dataclass(frozen=True)
class Cell:
    """Coefficients of one cell for all racks."""

    step: thermal.RackStep
    flow_kw_per_k: Floats
    chassis_frac: Floats


def members(params: RackParams) -> int:
    """Return the number of parameter sets."""
    return max(len(np.atleast_2d(getattr(params, f.name))) for f in fields(params))


class RackRow:
    """Racks with their parameters, ready to be stepped through the inputs."""

    def __init__(self, inputs: HallInputs, params: RackParams) -> None:
        self.inputs, self.params = inputs, params
        self._from, self._cells = -1, _no_cells()
        self.reading_frac = thermal.reading_frac(params.lag_s, inputs.dt_s)
        self.m, self.n = members(params), inputs.power_kw.shape[1]

    def at_rest(self, inlet_c: Floats) -> Racks:
        """Return the racks at rest with the first cell's power and fan speed."""
        return racks_at_rest(self.params, self.inputs.power_kw[0], self.inputs.speed_frac[0], inlet_c, self.m)

    def cell(self, i: int) -> Cell:
        """Return the coefficients of cell i; made for many cells at once."""
        if not self._from <= i < self._from + CHUNK or self._from < 0:
            self._from = i - i % CHUNK
            self._cells = self._make(slice(self._from, self._from + CHUNK))
        return Cell(
            thermal.RackStep(*(c[i - self._from] for c in self._cells.step)),
            self._cells.flow_kw_per_k[i - self._from],
            self._cells.chassis_frac[i - self._from],
        )

    def _make(self, cells: slice) -> Cell:
        return cell_of(self.params, self.inputs.speed_frac[cells, None, :], self.inputs.dt_s)

    def advance(self, racks: Racks, i: int, inlet_c: Floats) -> Floats:
        """Step all racks through cell i in place; return the heat their exhaust carries into the hall [kW]."""
        power, dt_s = self.inputs.power_kw[i], self.inputs.dt_s
        return advance_racks(self.params, self.cell(i), self.reading_frac, racks, power, inlet_c, dt_s)


def cell_of(params: RackParams, speed_frac: Floats, dt_s: float) -> Cell:
    """Return the coefficients of a step at given fan speeds (..., m or 1, racks)."""
    p, flow = params, params.flow_kw_per_k * speed_frac
    step = thermal.rack_step(
        p.equipment_kj_per_k, p.air_kj_per_k, p.equipment_kw_per_k * speed_frac**UA_EXPONENT, flow, dt_s
    )
    washed = thermal.washed_ua_kw_per_k(p.chassis_kw_per_k, flow)
    frac = thermal.structure_frac(p.chassis_kj_per_k, washed, dt_s)
    return Cell(step, flow, np.broadcast_to(frac, flow.shape))


def racks_at_rest(params: RackParams, power_kw: Floats, speed_frac: Floats, inlet_c: Floats, m: int) -> Racks:
    """Return racks (m, racks) at rest with constant power, fan speed and inlets."""
    flow, ua = params.flow_kw_per_k * speed_frac, params.equipment_kw_per_k * speed_frac**UA_EXPONENT
    inlet = np.broadcast_to(inlet_c, (m, flow.shape[1])).copy()
    air = inlet + power_kw / np.maximum(flow, 1e-9)
    return Racks(air + power_kw / ua, air, air.copy(), air.copy(), air.copy(), inlet)


def advance_racks(
    params: RackParams, cell: Cell, reading_frac: Floats, racks: Racks, power: Floats, inlet_c: Floats, dt_s: float
) -> Floats:
    """Step racks in place; power, inlet_c (m or 1, racks); return what their exhaust carries into the hall [kW]."""
    p = params
    equipment, air = thermal.advance_rack(cell.step, racks.equipment_c, racks.air_c, power, inlet_c)
    carried_kw = (
        power - (p.equipment_kj_per_k * (equipment - racks.equipment_c) + p.air_kj_per_k * (air - racks.air_c)) / dt_s
    )
    flow = np.maximum(cell.flow_kw_per_k, 1e-9)
    behind = inlet_c + carried_kw / flow
    into_kj = thermal.structure_heat_kj(behind, racks.chassis_c, p.chassis_kj_per_k, cell.chassis_frac)
    racks.equipment_c, racks.air_c, racks.inlet_c = equipment, air, inlet_c
    racks.chassis_c = racks.chassis_c + into_kj / np.maximum(p.chassis_kj_per_k, 1e-9)
    out_kw = carried_kw - into_kj / dt_s
    racks.exhaust_c = inlet_c + out_kw / flow
    racks.reading_c = racks.reading_c + reading_frac * (racks.exhaust_c - racks.reading_c)
    return np.asarray(out_kw)


def _no_cells() -> Cell:
    nothing = np.empty((0, 0, 0))
    return Cell(thermal.RackStep(*(nothing,) * 6), nothing, nothing)


def run_racks(inputs: HallInputs, params: RackParams) -> Floats:
    """Return the outlets as their sensors read (cells, m, racks), the measured inlets being given."""
    row = RackRow(inputs, params)
    racks = row.at_rest(inputs.inlet_c[0])
    said = np.empty((len(inputs.power_kw), row.m, row.n))
    for i in range(len(said)):
        row.advance(racks, i, inputs.inlet_c[i])
        said[i] = racks.reading_c
    return said + params.offset_k


def run_hall(inputs: HallInputs, rack: RackParams, hall: HallParams, inlet: InletParams) -> HallSaid:
    """Return what racks and hall do together for one parameter set, inlets modelled: measured ones are not used."""
    row, model, intakes = RackRow(inputs, rack), HallAir(hall, inputs.dt_s), Intakes(inlet, inputs.dt_s)
    cells, surplus = len(inputs.power_kw), inputs.surplus[:, :, None]
    said = HallSaid(*(np.empty((cells, 1, row.n)) for _ in range(3)), *(np.empty((cells, 1)) for _ in range(5)))
    blown, cold = cooler_flow(inputs.cooler_frac, inputs.discharge_c, hall)
    flow = hot_flow_kw_per_k(rack.flow_kw_per_k * inputs.speed_frac[:, None, :], blown, inlet.cold_share_frac)
    racks = row.at_rest(cold[0])
    intake = intakes.at_rest(cold[0], racks.rise_k, surplus[0])
    racks = row.at_rest(intakes.inlet_c(intake))
    air = model.at_rest(inputs.power_kw[0].sum()[None, None], flow[0], cold[0])
    for i, step in enumerate(zip(*model.steps(flow), strict=True)):
        intakes.advance(intake, cold[i], racks.rise_k, surplus[i])
        drawn = intakes.inlet_c(intake)
        out_kw = row.advance(racks, i, drawn).sum(axis=1, keepdims=True)
        model.advance(air, thermal.AirStep(*step), out_kw, flow[i], cold[i])
        said.outlet_c[i], said.inlet_c[i], said.exhaust_c[i] = racks.reading_c, drawn, racks.exhaust_c
        said.heat_kw[i], said.hot_c[i], said.cold_c[i] = air.read_kw[:, 0], air.hot_c[:, 0], cold[i][:, 0]
        said.out_kw[i], said.flow_kw_per_k[i] = out_kw[:, 0], flow[i][:, 0]
    return replace(said, outlet_c=said.outlet_c + rack.offset_k)
