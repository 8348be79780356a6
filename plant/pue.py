"""Steady-state energy of a region at its design point: what UPS, fans, pumps and chillers take on top of the servers.

One utilisation, one outdoor temperature, everything settled, supply air and water at their set-points; the same pure
functions as the running twin. What a stated PUE holds beyond this chain (lighting, transformers, towers, humidity) is
`other_kw_frac`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from plant import chillers, cooling, power, water
from plant.gpubuild import design_fan_kw, law_peak_kw, node_curves
from plant.sitefile import NodeType


@dataclass(frozen=True)
class DesignEnergy:
    """Power [kW] of each part of one region at its design point."""

    it_kw: float
    ups_loss_kw: float
    fan_kw: float
    pump_kw: float
    chiller_kw: float

    @property
    def pue(self) -> float:
        """Facility power over IT power, without what `other_kw_frac` stands for."""
        return (self.it_kw + self.ups_loss_kw + self.fan_kw + self.pump_kw + self.chiller_kw) / self.it_kw


def node_design_kw(node: NodeType, util_frac: float) -> float:
    """Power [kW] that a node draws from the UPS at a utilisation, power supply losses included."""
    idle, peak = np.array([node.idle_kw]), np.array([law_peak_kw(node)])
    demand = power.demand_kw(
        np.full((1, 1), util_frac),
        idle,
        peak,
        np.array([node.concave_frac]),
        node_curves([node], np.zeros(1, np.int32)),
    )[0, 0] + design_fan_kw(node)
    curve = power.PSU_CURVES[node.psu_curve]
    return float(power.psu_input_kw(demand, np.array(node.psu_rated_kw), np.array(float(node.psus)), curve))


def design_pue(parts: Mapping[str, Any], region: int) -> DesignEnergy:
    """Energy of one region at design utilisation and mean outdoor temperature; `.pue` is the ratio.

    `parts` are the arrays of a `Site` by name (`vars(site)` will do). A UPS shared with another region counts by its
    share of IT power, a loop where its id says that it stands.
    """
    plant = parts["cooling"]
    outdoor_c = float(parts["region_outdoor_c"][region])
    loop_kw = np.bincount(plant.cdu_loop, _cdu_heat_kw(parts), len(parts["loop_ids"]))
    sums = np.zeros(5)
    for hall in np.flatnonzero(parts["hall_region"] == region):
        it_kw, loss_kw, fan_kw, water_kw, dx_kw = _hall_energy(parts, int(hall))
        loop_kw[parts["hall_loop"][hall]] += water_kw
        sums += np.array([it_kw, loss_kw, fan_kw, 0.0, dx_kw])
    for loop in np.flatnonzero(plant.loop_region == region):
        pump_kw = float(parts["loop_pump_kw"][loop])
        sums[3] += pump_kw + float(plant.cdu_pump_kw[plant.cdu_loop == loop].sum())
        sums[4] += _loop_electric_kw(parts, int(loop), float(loop_kw[loop]) + pump_kw, outdoor_c)
    return DesignEnergy(*(float(value) for value in sums))


def _cdu_heat_kw(parts: Mapping[str, Any]) -> Any:
    """Heat that each CDU gives its loop at the design point [kW]."""
    plant, on = parts["cooling"], parts["cooling"].rack_cdu >= 0
    liquid = (parts["rack_design_kw"] * plant.rack_liquid_frac)[on]
    return np.bincount(plant.rack_cdu[on], liquid, len(plant.cdu_ids)) + plant.cdu_pump_kw


def _hall_energy(parts: Mapping[str, Any], hall: int) -> tuple[float, float, float, float, float]:
    """(IT, UPS loss, fans, heat into the water, compressors of CRACs) of one hall [kW]."""
    plant, it_kw = parts["cooling"], float(parts["hall_design_kw"][hall])
    outdoor_c = float(parts["region_outdoor_c"][parts["hall_region"][hall]])
    racks, mine = parts["rack_hall"] == hall, parts["unit_hall"] == hall
    fresh = 1.0 - parts["rack_recirc_frac"] - plant.rack_drawn_frac
    cold = float((parts["rack_flow_kw_per_k"] * fresh)[racks].sum())
    flow = parts["unit_flow_kw_per_k"][mine]
    speed_frac = min(1.0, cold / float(flow.sum()))
    fan_kw = float(parts["unit_fan_kw"][mine].sum()) * speed_frac**3
    air_kw = it_kw - float((parts["rack_design_kw"] * plant.rack_liquid_frac)[racks].sum())
    hot_c = float(parts["hall_supply_c"][hall]) + air_kw / cold
    wall_kw = float(parts["hall_wall_kw_per_k"][hall]) * (hot_c - outdoor_c)
    unit_kw = (air_kw + fan_kw - wall_kw) * flow / float(flow.sum())
    dx = plant.unit_dx[mine]
    cop = cooling.chiller_cop(plant.unit_cop[mine], plant.unit_cop_per_k[mine], np.array(outdoor_c))
    return it_kw, _ups_loss_kw(parts, hall), fan_kw, float(unit_kw[~dx].sum()), float((unit_kw / cop)[dx].sum())


def _loop_electric_kw(parts: Mapping[str, Any], loop: int, heat_kw: float, outdoor_c: float) -> float:
    """Power of free cooling and of the chillers in service of one loop that take heat_kw [kW]."""
    plant, at = parts["cooling"], slice(loop, loop + 1)
    heat, supply, out = np.array([heat_kw]), parts["loop_supply_c"][at], np.array([outdoor_c])
    back_c = water.return_c(supply, heat, np.ones(1), plant.loop_flow_kw_per_k[at])
    most_kw = water.free_cooling_kw(
        back_c, out, plant.free_capacity_kw[at], plant.free_approach_k[at], plant.free_range_k[at], np.ones(1)
    )
    free = np.minimum(most_kw, heat)
    fan_kw = cooling.fan_power_kw(plant.free_fan_kw[at], free / np.maximum(plant.free_capacity_kw[at], 1e-9))
    duty = np.flatnonzero((parts["chiller_loop"] == loop) & ~parts["chiller_standby"])
    cop = cooling.chiller_cop(parts["chiller_cop"][duty[:1]], parts["chiller_cop_per_k"][duty[:1]], out)
    if not plant.loop_controlled[loop]:
        return float((fan_kw + (heat - free) / cop)[0])
    derate = chillers.ambient_capacity_frac(out, plant.loop_design_outdoor_c[at], plant.loop_derate_per_k[at])
    capacity = parts["chiller_capacity_kw"][duty].sum() * derate
    share = chillers.part_load_power_frac((heat - free) / capacity, plant.loop_part_load[at])
    return float((fan_kw + capacity / cop * share)[0])


def _ups_loss_kw(parts: Mapping[str, Any], hall: int) -> float:
    """This hall's share of the loss of UPS and PDUs [kW]."""
    return float(parts["chain"].hall_design_loss_kw[hall])
