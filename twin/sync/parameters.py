"""The parameters that readings may move: how uncertain they are at first, within which bounds, how fast they forget.

Positive ones move in their logarithm: their standard deviations and steps are relative. Bounds beside a value of the
site file are shares of that value: beyond half or double it the file is wrong, which is for a person to say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.ensemble import LIVE

Array = NDArray[np.float64]

PRIOR = LIVE


@dataclass(frozen=True)
class Parameter:
    """One array of State that readings move by its covariance with what they say.

    prior_sd: before any reading; log: it moves in its logarithm; low, high: bounds, shares of the site's own value
    where `of_site`; step: most that one reading may move a member; floor: least spread as a share of the prior one;
    forget_h: after so many hours without news it is as uncertain as at first.
    """

    name: str
    prior_sd: float
    low: float
    high: float
    step: float
    log: bool = True
    of_site: bool = True
    floor: float = 0.2
    forget_h: float = 72.0


PARAMETERS: tuple[Parameter, ...] = (
    Parameter("rack_mass_kj_per_k", PRIOR.rack_mass_frac, 0.5, 2.0, 0.1),
    Parameter("rack_ua_kw_per_k", PRIOR.rack_ua_frac, 0.5, 2.0, 0.1),
    # 1.2 % of the flow is 0.2 K of an outlet, as much as its sensor may err; a higher floor drowns what transients say
    Parameter("rack_flow_kw_per_k", PRIOR.rack_flow_frac, 0.5, 2.0, 0.1, floor=0.1),
    Parameter("rack_recirc_frac", 0.01, 0.0, 0.95, 0.02, log=False, of_site=False, floor=0.5),
    # Not the set-point itself but what the hall's control makes of it: its sensor errs, people change it.
    Parameter("hall_setpoint_c", 0.5, 5.0, 45.0, 5.0, log=False, of_site=False, floor=0.2),
    Parameter("hall_structure_kj_per_k", PRIOR.structure_frac, 0.5, 2.0, 0.1),
    Parameter("hall_fan_scale", PRIOR.fan_power_frac, 0.5, 2.0, 0.1, of_site=False),
    Parameter("unit_flow_kw_per_k", PRIOR.unit_flow_frac, 0.5, 1.5, 0.1),
    Parameter("loop_water_kj_per_k", PRIOR.loop_water_frac, 0.3, 3.0, 0.1),
    Parameter("chiller_capacity_kw", PRIOR.chiller_capacity_frac, 0.5, 1.5, 0.1),
    Parameter("chiller_cop", PRIOR.chiller_cop_frac, 0.5, 2.0, 0.1),
    # The scale also carries what the twin cannot know of a job's activity.
    Parameter("node_power_scale", PRIOR.node_power_frac, 0.3, 3.0, 0.5, of_site=False),
    Parameter("rack_idle_scale", PRIOR.idle_frac, 0.5, 2.0, 0.1, of_site=False),
    Parameter("rack_bend_scale", PRIOR.bend_frac, 0.3, 3.0, 0.1, of_site=False),
    Parameter("rack_psu_loss_scale", PRIOR.psu_loss_frac, 0.5, 2.0, 0.1, of_site=False),
    *(
        Parameter(name, PRIOR.sensor_bias_k, -1.0, 1.0, 0.2, log=False, of_site=False, forget_h=24.0)
        for name in ("rack_inlet_bias_k", "rack_outlet_bias_k", "hall_hot_bias_k", "loop_supply_bias_k")
    ),
)  # fmt: skip
BY_NAME = {p.name: p for p in PARAMETERS}


def bounds_of(site: Site, p: Parameter) -> tuple[Array, Array]:
    """Return least and greatest value of each component, shapes (C,) or (1,)."""
    own = np.ones(1)
    if p.of_site:
        own = np.asarray(getattr(site, p.name, None) if hasattr(site, p.name) else getattr(site.cooling, p.name))
    return p.low * own, p.high * own
