"""Making an ensemble: members are equally plausible versions of the site, their parameters spread around the file's."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from plant import streams
from plant.site import Site
from twin.agenda import Agenda
from twin.cooling_bits import STANDING_BY
from twin.fields import FIELDS
from twin.gpus import settle
from twin.jobs import EMPTY, NOT_ARRIVED, Jobs
from twin.kernels import DEFAULT
from twin.link_lives import first_lives
from twin.node_faults import first_faults
from twin.state import State, axis_shape

Array = NDArray[np.float64]
STEP_MS = 15_000


@dataclass(frozen=True)
class Spread:
    """Relative standard deviations of uncertain parameters between members; all zero is the deterministic twin."""

    rack_mass_frac: float = 0.15
    rack_air_frac: float = 0.15
    rack_ua_frac: float = 0.15
    rack_flow_frac: float = 0.05
    rack_recirc_frac: float = 0.2
    loop_water_frac: float = 0.15
    chiller_capacity_frac: float = 0.05
    chiller_cop_frac: float = 0.1
    node_power_frac: float = 0.02
    node_stop_k: float = 1.0
    idle_frac: float = 0.05
    bend_frac: float = 0.2
    psu_loss_frac: float = 0.1
    fan_power_frac: float = 0.1
    unit_flow_frac: float = 0.05
    structure_frac: float = 0.15
    sensor_bias_k: float = 0.2
    _: KW_ONLY
    uniform: bool = False  # spread evenly within two of these standard deviations, not normally


# Of a twin that follows a site: nobody knows these of a real one better than to some 20 %.
LIVE = Spread(
    rack_mass_frac=0.12, rack_air_frac=0.12, rack_ua_frac=0.12, rack_flow_frac=0.12, rack_recirc_frac=0.12,
    loop_water_frac=0.12, chiller_capacity_frac=0.12, chiller_cop_frac=0.12, node_power_frac=0.12,
    unit_flow_frac=0.12, structure_frac=0.12,
)  # fmt: skip
NONE = Spread(*[0.0] * 17)
FOULING_K = 1.5  # condensers of one plant differ: not all trip at one temperature [assumed]
LIMIT_SIGMAS = 2.0  # parameters stay within two standard deviations, so that none becomes absurd


def make_state(
    site: Site,
    now_ms: int,
    *,
    jobs: Jobs = EMPTY,
    members: int = 1,
    seed: int = 0,
    spread: Spread | None = None,
    step_ms: int = STEP_MS,
    backend: str = DEFAULT,
) -> State:
    """Return a State at rest: nodes idle, water and air at their set-points, the first arrival in the agenda.

    members counts rows; spread defaults to none for one member and to `Spread()` for more;
    backend: whose kernels step it (twin/kernels.py).
    """
    spread = spread or (NONE if members == 1 else Spread())
    arrays = {f.name: np.zeros((members, *axis_shape(site, jobs, f.axis)), dtype=f.dtype) for f in FIELDS}
    state = State(
        arrays,
        Agenda(),
        jobs,
        now_ms=now_ms,
        grid_ms=now_ms,
        step_ms=step_ms,
        seed=seed,
        site_hash=site.hash,
        backend=backend,
    )
    state.member[...] = np.arange(members)
    _parameters(site, state, spread)
    _populations(site, state)
    _temperatures(site, state)
    settle(site, state)
    _jobs(state)
    return state


def _vary(state: State, names: tuple[str, ...], purpose: str, sigma: float, uniform: bool = False) -> Array:
    """Return standard deviations' worth of variation (members, components), clipped; or evenly within the clip."""
    if uniform:
        luck = streams.uniform(state.seed, purpose, state.member[:, None], streams.component_keys(names)[None, :])
        return np.asarray(sigma * LIMIT_SIGMAS * (2.0 * luck - 1.0))
    z = streams.normal(state.seed, purpose, state.member[:, None], streams.component_keys(names)[None, :])
    return np.asarray(sigma * np.clip(z, -LIMIT_SIGMAS, LIMIT_SIGMAS))


def _parameters(site: Site, s: State, spread: Spread) -> None:
    vary = partial(_vary, s, uniform=spread.uniform)
    racks, loops, chillers = site.rack_ids, site.loop_ids, site.chiller_ids
    s.rack_mass_kj_per_k[...] = site.rack_mass_kj_per_k * np.exp(vary(racks, "rack mass", spread.rack_mass_frac))
    s.rack_air_kj_per_k[...] = site.rack_air_kj_per_k * np.exp(vary(racks, "rack air", spread.rack_air_frac))
    s.rack_ua_kw_per_k[...] = site.rack_ua_kw_per_k * np.exp(vary(racks, "rack ua", spread.rack_ua_frac))
    s.rack_flow_kw_per_k[...] = site.rack_flow_kw_per_k * np.exp(vary(racks, "rack flow", spread.rack_flow_frac))
    recirc = site.rack_recirc_frac * np.exp(vary(racks, "rack recirculation", spread.rack_recirc_frac))
    s.rack_recirc_frac[...] = np.clip(recirc, 0.0, 0.95)
    s.loop_water_kj_per_k[...] = site.loop_water_kj_per_k * np.exp(vary(loops, "loop water", spread.loop_water_frac))
    s.chiller_capacity_kw[...] = site.chiller_capacity_kw * np.exp(
        vary(chillers, "chiller capacity", spread.chiller_capacity_frac)
    )
    s.chiller_cop[...] = site.chiller_cop * np.exp(vary(chillers, "chiller cop", spread.chiller_cop_frac))
    s.node_power_scale[...] = np.exp(vary(site.node_ids, "node power", spread.node_power_frac))
    s.node_stop_c[...] = site.node_stop_c + vary(site.node_ids, "node stop", spread.node_stop_k)
    s.unit_flow_kw_per_k[...] = site.unit_flow_kw_per_k * np.exp(
        vary(site.unit_ids, "unit flow", spread.unit_flow_frac)
    )
    s.hall_structure_kj_per_k[...] = site.cooling.hall_structure_kj_per_k * np.exp(
        vary(site.hall_ids, "hall structure", spread.structure_frac)
    )
    s.hall_fan_scale[...] = np.exp(vary(site.hall_ids, "fan power", spread.fan_power_frac))
    s.rack_idle_scale[...] = np.exp(vary(racks, "idle power", spread.idle_frac))
    s.rack_bend_scale[...] = np.exp(vary(racks, "power bend", spread.bend_frac))
    s.rack_psu_loss_scale[...] = np.exp(vary(racks, "psu loss", spread.psu_loss_frac))
    for array, names in (("rack_inlet_bias_k", racks), ("rack_outlet_bias_k", racks),
                         ("hall_hot_bias_k", site.hall_ids), ("loop_supply_bias_k", loops)):  # fmt: skip
        s.arrays[array][...] = vary(names, f"bias {array}", spread.sensor_bias_k)


def _populations(site: Site, s: State) -> None:
    first_faults(site, s)
    s.node_cap_frac[...] = 1.0
    s.node_psu_ok[...] = site.psu_per_node
    s.node_psu_b_ok[...] = site.chain.node_psus_b
    s.chiller_phase[...] = site.chiller_standby
    s.unit_running[...] = True
    s.unit_held_frac[...] = -1.0
    plant = site.cooling
    s.pump_off[...] = np.where(plant.pump_standby, STANDING_BY, 0)
    z = streams.normal(
        s.seed, "condenser fouling", s.member[:, None], streams.component_keys(site.chiller_ids)[None, :]
    )
    s.chiller_foul_k[...] = FOULING_K * np.clip(z, -LIMIT_SIGMAS, LIMIT_SIGMAS)
    s.cdu_water_kj_per_k[...] = plant.cdu_water_kj_per_k
    s.feed_ok[...] = True
    s.ups_battery_kwh[...] = site.ups_battery_kwh
    first_lives(site, s)
    s.ups_modules_ok[...] = site.ups_modules
    for name in ("ups_on_feed", "hall_on_feed", "loop_on_feed"):
        s.arrays[name][...] = -1
    s.loop_flow_frac[...] = 1.0
    for name in ("first_stop_ms", "low_service_ms"):
        s.arrays[name][...] = -1
    s.service_frac[...] = 1.0
    s.move_limit[...] = 1


def _temperatures(site: Site, s: State) -> None:
    """Start where an idle site settles: supply at its set-point, each rack warmed by its idle power."""
    idle_kw = np.add.reduceat(site.node_idle_kw, site.rack_start[:-1])
    supply = site.hall_supply_c[site.rack_hall]
    rise = idle_kw / s.rack_flow_kw_per_k
    s.hall_setpoint_c[...] = site.hall_supply_c
    s.hall_supply_c[...] = site.hall_supply_c
    s.rack_inlet_c[...] = supply
    s.rack_air_c[...] = supply + rise
    s.rack_mass_c[...] = s.rack_air_c + idle_kw / s.rack_ua_kw_per_k
    for h in range(len(site.hall_ids)):
        s.hall_hot_c[:, h] = s.rack_air_c[:, site.rack_hall == h].mean(axis=1)
    s.loop_setpoint_c[...] = site.loop_supply_c
    s.loop_supply_c[...] = site.loop_supply_c
    s.hall_structure_c[...] = s.hall_hot_c
    s.cdu_coolant_c[...] = site.cooling.cdu_supply_c


def _jobs(s: State) -> None:
    s.slot_node[...] = s.node_kept_by[...] = -1
    s.job_mode[...] = s.jobs.move_mode
    s.job_hall[...] = s.jobs.home
    s.job_target[...] = -1
    s.job_start_ms[...] = -1
    s.job_stall_ms[...] = -1
    s.job_phase[...] = NOT_ARRIVED
    if len(s.jobs):
        s.agenda.add(max(int(s.jobs.arrival_ms[0]), s.now_ms), "arrivals", "jobs", "next", {"next": 0})
