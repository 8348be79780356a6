"""Steady-state energy of a region at its design point: what the chain of UPS, fans, pumps and chillers takes.

One utilisation, one outdoor temperature, everything settled, supply air and water at their set-points. UPS loss is taken to
leave through electrical rooms, not through the halls; the loss of the hall walls is left out (it is below 2 % of the heat).
"""

from __future__ import annotations

from dataclasses import dataclass

COP_REFERENCE_C = 25.0
# Below this outdoor temperature head-pressure control keeps the condenser warm, so COP rises no further [assumed].
COP_COLDEST_C = 5.0
COP_LEAST = 1.0


def cop_at(cop: float, cop_per_k: float, outdoor_c: float) -> float:
    """Heat removed per electricity at an outdoor temperature [C]; linear around 25 C, flat below 5 C, at least 1.

    >>> cop_at(5.0, 0.1, 35.0)
    4.0
    """
    return max(COP_LEAST, cop - cop_per_k * (max(outdoor_c, COP_COLDEST_C) - COP_REFERENCE_C))


def ups_loss_kw(load_kw: float, rated_kw: float, loss: tuple[float, float, float]) -> float:
    """Loss [kW] of a UPS: rated * (loss0 + loss1 x + loss2 x^2), x = load/rated (APC white paper 108 form)."""
    x = load_kw / rated_kw
    return rated_kw * (loss[0] + loss[1] * x + loss[2] * x * x)


def fan_power_kw(flow_kw_per_k: float, installed_kw_per_k: float, installed_fan_kw: float) -> float:
    """Power [kW] of cooling units that share an air flow equally: installed power times the cube of the speed fraction."""
    speed_frac = min(1.0, flow_kw_per_k / installed_kw_per_k)
    return installed_fan_kw * speed_frac * speed_frac * speed_frac


@dataclass(frozen=True)
class DesignEnergy:
    """Power [kW] of each part of one region at its design point."""

    it_kw: float
    ups_loss_kw: float
    fan_kw: float
    pump_kw: float
    chiller_kw: float

    @property
    def chain_kw(self) -> float:
        """Everything together."""
        return self.it_kw + self.ups_loss_kw + self.fan_kw + self.pump_kw + self.chiller_kw

    @property
    def pue(self) -> float:
        """Facility power over IT power."""
        return self.chain_kw / self.it_kw


def chiller_power_kw(it_kw: float, fan_kw: float, pump_kw: float, cop: float) -> float:
    """Electricity [kW] of chillers that carry away the heat of servers, fans and pumps."""
    return (it_kw + fan_kw + pump_kw) / cop
