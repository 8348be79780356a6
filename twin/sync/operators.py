"""The table of operators: what predicts a channel, which arrays it corrects, how far reading and model may be off.

A row says: of which sensors, what the members predict for them, which arrays are the observed quantity itself (`own`),
which parameters are linked to it, and two errors as standard deviations: of a reading, and of the model
between readings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.airside import unit_fan_power_kw
from twin.derived import Derived
from twin.electricity import ups_loads
from twin.sync.assimilate import mean_of
from twin.waterside import chiller_power_kw, water_flow_frac

Array = NDArray[np.float64]
Ints = NDArray[np.integer]

WARM_K = 0.5  # water so far above its set-point is cooled with all that chillers have


@dataclass(frozen=True)
class Link:
    """An array that a channel corrects; via: the sensor behind each of its components, None for one to one.

    per_unit: how much of the array one unit of the channel is (C,), where they differ.
    """

    array: str
    via: Callable[[Site], Ints] | None = None
    per_unit: Callable[[Site], Array] | None = None


@dataclass(frozen=True)
class Operator:
    """How a channel corrects the twin.

    kind, channel: as in the table of channels; predict: what members expect the sensors to say, without their bias
    (M, sensors), nan where nobody can tell; bias: the array of each sensor's own error; error_frac: error as a share of
    the prediction, on top of error_sd; sensors: their component ids where not all of the kind have one; group: readings
    of the same group count together, as their mean (`axis`: of how many groups); at_rest: before its first reading the
    quantity is not known at all; every_ms: readings are kept and taken in together so often, 0 at once; jump_sd,
    jump_frac: what the plant may do at once, beyond which a reading is held back; drift_k: how far one sensor may pull
    what is learned before it is taken for drifting, 0 where the plant itself may do so (`twin.sync.sensorfaults`);
    shared: parameters that several sensors have in common (`share`: whose they are), moved by the mean of theirs;
    steps: the parameter that the plant may change at once, for one sensor alone.
    """

    kind: str
    channel: str
    predict: Callable[[Derived], Array]
    own: tuple[Link, ...] = ()
    linked: tuple[Link, ...] = ()
    bias: str = ""
    error_sd: float = 0.0
    error_frac: float = 0.0
    noise_sd: float = 0.0
    sensors: Callable[[Site], Sequence[str]] | None = None
    group: Callable[[Site], Ints] | None = None
    axis: str = ""
    at_rest: bool = False
    every_ms: int = 0
    jump_sd: float = 1.0
    jump_frac: float = 0.0
    drift_k: float = 0.0
    shared: tuple[Link, ...] = ()
    share: Callable[[Site], Ints] | None = None
    steps: str = ""

    @cached_property
    def key(self) -> tuple[str, str]:
        """Kind and channel: the name of the operator."""
        return self.kind, self.channel

    def ids(self, site: Site) -> tuple[str, ...]:
        """The components that have such a sensor."""
        return tuple(self.sensors(site) if self.sensors is not None else site.components(self.kind))


def of(*arrays: str) -> tuple[Link, ...]:
    """Links one to one."""
    return tuple(Link(name) for name in arrays)


def _gpu_nodes(site: Site) -> list[str]:
    return [site.node_ids[i] for i in site.gpus.node]


def _battery_frac(d: Derived) -> Array:
    full = d.site.ups_battery_kwh
    return np.asarray(np.maximum(d.state.ups_battery_kwh, 0.0) / np.where(full > 0.0, full, 1.0))


def _node_inlet_c(d: Derived) -> Array:
    return d.state.rack_inlet_c.take(d.site.node_rack, axis=1) + d.site.node_inlet_offset_k


def _unit_speed(d: Derived) -> Array:
    return np.where(d.state.unit_running, d.fan_speed.take(d.site.unit_hall, axis=1), 0.0)


def _chiller_kw(d: Derived) -> Array:
    """Chillers carry the heat of their loop; while the water is too warm, what they can, which is not known (nan).

    What they took in one step also undoes the corrections of the water, a matter of the twin and not of the plant.
    """
    s = d.state
    warm = mean_of(s.loop_supply_c - s.loop_setpoint_c) > WARM_K
    known = ~warm & (not d.site.cooling.has_free_cooling)
    return chiller_power_kw(d, np.where(known, s.loop_heat_kw, np.nan))


def _facility_kw(d: Derived) -> Array:
    """The power of a region in the last step, nan before there was one."""
    return np.where(d.facility_kw > 0.0, d.facility_kw, np.nan)


def _dry_units(site: Site) -> list[str]:
    """Units without a compressor: what they draw is their fans'."""
    return [name for name, dx in zip(site.unit_ids, site.cooling.unit_dx, strict=True) if not dx]


def _dry_hall(site: Site) -> Ints:
    return site.unit_hall[~site.cooling.unit_dx]


def _chillers_of_loop(site: Site) -> Ints:
    return site.chiller_loop


def _units_of_hall(site: Site) -> Ints:
    return site.unit_hall


def _rack_of_node(site: Site) -> Ints:
    return site.node_rack


CURVE = ("rack_idle_scale", "rack_bend_scale", "rack_psu_loss_scale")

SLOW_MS = 60_000  # what changes slowly, or takes long to take in, is taken in together so often

OPERATORS: tuple[Operator, ...] = (
    Operator(
        "loop", "supply_c", lambda d: d.state.loop_supply_c, of("loop_supply_c"),
        (Link("loop_water_kj_per_k"), Link("chiller_capacity_kw", _chillers_of_loop)), "loop_supply_bias_k",
        error_sd=0.13, noise_sd=0.05, at_rest=True,
    ),
    Operator("cdu", "coolant_c", lambda d: d.state.cdu_coolant_c, of("cdu_coolant_c"), error_sd=0.3, noise_sd=0.3),
    Operator("loop", "flow_frac", water_flow_frac, of("loop_flow_frac"), error_sd=0.015, noise_sd=0.02, jump_sd=0.15),
    Operator(
        "hall", "hot_c", lambda d: d.state.hall_hot_c, of("hall_hot_c"),
        of("hall_structure_c", "hall_structure_kj_per_k"), "hall_hot_bias_k", error_sd=0.13, noise_sd=0.1, at_rest=True,
        drift_k=1.0,
    ),
    Operator(
        "cooling_unit", "supply_c", lambda d: d.state.hall_supply_c.take(d.site.unit_hall, axis=1), (),
        of("hall_setpoint_c"), error_sd=0.15, group=lambda site: site.unit_hall, axis="hall", jump_sd=2.5,
    ),
    Operator(
        "rack", "inlet_c", lambda d: d.state.rack_inlet_c, (), of("rack_recirc_frac"), "rack_inlet_bias_k",
        error_sd=0.13, jump_sd=0.5, drift_k=1.0,
    ),
    Operator(
        "node", "inlet_c", _node_inlet_c, (), of("rack_recirc_frac"), error_sd=0.5,
        group=lambda site: site.node_rack, axis="rack", every_ms=SLOW_MS,
    ),
    Operator(
        # the air takes its temperature from the equipment within seconds: a correction of the air alone is forgotten
        # by the next step, and the rack's flow would be blamed for the rest
        "rack", "outlet_c", lambda d: d.state.rack_air_c, of("rack_air_c", "rack_mass_c"),
        of("rack_flow_kw_per_k", "rack_ua_kw_per_k", "rack_mass_kj_per_k"), "rack_outlet_bias_k",
        # more than the sensor's own 0.13: while a load changes, the minute in which it was told misfits too
        error_sd=0.2, noise_sd=0.04, at_rest=True, jump_sd=2.0, drift_k=1.5, steps="rack_flow_kw_per_k",
    ),
    Operator("node", "gpu_c", lambda d: d.state.gpu_c, of("gpu_c"), error_sd=1.0, noise_sd=2.0, sensors=_gpu_nodes,
        jump_sd=10.0, every_ms=SLOW_MS,
    ),
    Operator(
        "node", "gpu_mem_c", lambda d: d.state.gpu_mem_c, of("gpu_mem_c"), error_sd=1.0, noise_sd=2.0,
        sensors=_gpu_nodes, jump_sd=10.0, every_ms=SLOW_MS,
    ),
    Operator(
        "cooling_unit", "fan_frac", _unit_speed, (), (Link("unit_flow_kw_per_k", _units_of_hall),), error_sd=0.01,
        group=lambda site: site.unit_hall, axis="hall", jump_sd=0.2, every_ms=SLOW_MS,
    ),
    Operator("chiller", "power_kw", _chiller_kw, (), of("chiller_cop"), error_sd=0.05, error_frac=0.015,
        jump_sd=5.0, jump_frac=0.5, every_ms=SLOW_MS,
    ),
    Operator(
        "cooling_unit", "power_kw", lambda d: unit_fan_power_kw(d)[:, ~d.site.cooling.unit_dx], (),
        of("hall_fan_scale"), error_sd=0.005, error_frac=0.03, sensors=_dry_units, group=_dry_hall, axis="hall",
        jump_sd=0.2, jump_frac=1.0, every_ms=SLOW_MS,
    ),
    Operator(
        "ups", "battery_frac", _battery_frac, (Link("ups_battery_kwh", per_unit=lambda site: site.ups_battery_kwh),),
        error_sd=0.01, noise_sd=0.02, jump_sd=0.1, every_ms=SLOW_MS,
    ),
    # heard and judged, they correct nothing: what they say of power comes from the nodes, with less error
    Operator("region", "power_kw", _facility_kw, error_sd=0.5, error_frac=0.05, jump_frac=0.3, every_ms=SLOW_MS),
    Operator("hall", "power_kw", lambda d: d.hall_kw, error_sd=0.5, error_frac=0.02, jump_frac=0.3, every_ms=SLOW_MS),
    Operator(
        "rack", "power_kw", lambda d: d.rack_kw, (), (*of(*CURVE), Link("node_power_scale", _rack_of_node)),
        error_sd=0.05, error_frac=0.02, jump_frac=0.5, every_ms=SLOW_MS,
    ),
    Operator(
        "ups", "load_frac", lambda d: ups_loads(d) / np.maximum(d.site.ups_rated_kw, 1e-9), error_sd=0.005,
        error_frac=0.02, jump_sd=0.2, every_ms=SLOW_MS,
    ),
    Operator(
        "node", "power_kw", lambda d: d.node_kw, (), of("node_power_scale"), error_sd=0.002, error_frac=0.012,
        jump_sd=0.1, jump_frac=0.7,
        # new work is common to the nodes of a rack, and its air and equipment have lived with the power as believed
        shared=(*of(*CURVE, "rack_air_c", "rack_mass_c"), Link("node_power_scale", _rack_of_node)), share=_rack_of_node,
        every_ms=SLOW_MS,  # moving it means settling all power anew
    ),
)  # fmt: skip
