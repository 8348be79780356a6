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

from plant import cooling, power
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

    `parts` are the arrays of a `Site` by name (`vars(site)` will do). A loop or UPS shared with another region counts
    by its share of IT power.
    """
    sums = np.zeros(5)
    for hall in np.flatnonzero(parts["hall_region"] == region):
        sums += _hall_energy(parts, int(hall))
    return DesignEnergy(*(float(value) for value in sums))


def _hall_energy(parts: Mapping[str, Any], hall: int) -> Any:
    """(IT, UPS loss, fans, pumps, chillers) of one hall [kW]."""
    it_kw = float(parts["hall_design_kw"][hall])
    outdoor_c = float(parts["region_outdoor_c"][parts["hall_region"][hall]])
    racks, mine = parts["rack_hall"] == hall, parts["unit_hall"] == hall
    cold = float((parts["rack_flow_kw_per_k"] * (1.0 - parts["rack_recirc_frac"]))[racks].sum())
    speed_frac = min(1.0, cold / float(parts["unit_flow_kw_per_k"][mine].sum()))
    fan_kw = float(parts["unit_fan_kw"][mine].sum()) * speed_frac**3
    hot_c = float(parts["hall_supply_c"][hall]) + it_kw / cold
    wall_kw = float(parts["hall_wall_kw_per_k"][hall]) * (hot_c - outdoor_c)
    pump_kw = float(parts["loop_pump_kw"][parts["hall_loop"][hall]]) * _share(parts, hall, "hall_loop")
    chiller_kw = (it_kw + fan_kw - wall_kw + pump_kw) / _loop_cop(parts, int(parts["hall_loop"][hall]), outdoor_c)
    return np.array([it_kw, _ups_loss_kw(parts, hall), fan_kw, pump_kw, chiller_kw])


def _share(parts: Mapping[str, Any], hall: int, group: str) -> float:
    """Share of this hall in the IT power of all halls of its loop or UPS."""
    it = parts["hall_design_kw"]
    return float(it[hall] / it[parts[group] == parts[group][hall]].sum())


def _loop_cop(parts: Mapping[str, Any], loop: int, outdoor_c: float) -> float:
    """COP of the chillers in service at an outdoor temperature."""
    first = np.flatnonzero((parts["chiller_loop"] == loop) & ~parts["chiller_standby"])[0]
    return float(
        cooling.chiller_cop(parts["chiller_cop"][first], parts["chiller_cop_per_k"][first], np.array(outdoor_c))
    )


def _ups_loss_kw(parts: Mapping[str, Any], hall: int) -> float:
    """This hall's share of the loss of UPS and PDUs [kW]."""
    return float(parts["chain"].hall_design_loss_kw[hall])
