"""Air through racks, halls and cooling units, and the step coefficients that follow. A part of `Derived`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plant import airunits, cooling, thermal
from twin.layout import Array, Rows, segment_sum, some_rows

if TYPE_CHECKING:
    from twin.derived import Derived

STANDING_FLOW_FRAC = 0.05  # natural draught through a rack whose nodes are all off [assumed]


def refresh_air(d: Derived, rows: Rows) -> None:
    """Compute air flows of racks, units and halls of some member rows."""
    s = d.state
    share = STANDING_FLOW_FRAC + (1.0 - STANDING_FLOW_FRAC) * d.air_frac[rows]
    flow = s.rack_flow_kw_per_k[rows] * share
    d.rack_flow[rows] = flow
    _refresh_halls(d, rows, flow)
    d.air_dirty[rows] = True
    d.halls_dirty = False


def _refresh_halls(d: Derived, rows: Rows, flow: Array) -> None:
    s, lay = d.state, d.layout
    plant = d.site.cooling
    fresh = 1.0 - s.rack_recirc_frac[rows]
    if plant.has_recirculation:
        fresh = np.maximum(fresh - plant.rack_drawn_frac, 0.0)
    wanted = segment_sum(flow * fresh, lay.hall_racks)
    running = s.unit_running[rows]
    available = segment_sum(np.where(running, s.unit_flow_kw_per_k[rows], 0.0), lay.hall_units)
    share = cooling.cold_share_frac(available, wanted)
    unit_flow = share * wanted
    d.unit_flow[rows] = unit_flow
    d.cold_frac[rows] = share.take(d.site.rack_hall, axis=1) * fresh
    speed = np.where(available > 0.0, unit_flow / np.maximum(available, 1e-12), 0.0)
    fans = np.where(running, d.site.unit_fan_kw, 0.0) * (speed**3).take(d.site.unit_hall, axis=1)
    d.fan_speed[rows], d.fan_kw[rows] = speed, segment_sum(fans, lay.hall_units) * s.hall_fan_scale[rows]
    held = s.unit_held_frac[rows] >= 0.0
    d.hall_by_unit[rows] = plant.hall_detail
    if held.any():
        _hold_fans(d, rows, held, wanted, fresh)
    elif plant.has_detail or plant.has_pumps:
        d.unit_air[rows] = np.where(running, s.unit_flow_kw_per_k[rows], 0.0) * speed.take(d.site.unit_hall, axis=1)


def _hold_fans(d: Derived, rows: Rows, held: NDArray[np.bool_], wanted: Array, fresh: Array) -> None:
    """Fans of frozen units keep their speed, the others of the hall make up for it as far as they can.

    Halls without a frozen unit keep what was computed for them.
    """
    s, lay, site = d.state, d.layout, d.site
    full = np.where(s.unit_running[rows], s.unit_flow_kw_per_k[rows], 0.0)
    fixed = np.where(held, full * np.maximum(s.unit_held_frac[rows], 0.0), 0.0)
    fixed_h = segment_sum(fixed, lay.hall_units)
    free_h = segment_sum(np.where(held, 0.0, full), lay.hall_units)
    speed_h = airunits.controlled_speed_frac(wanted, fixed_h, free_h)
    frozen = segment_sum(held.astype(np.float64), lay.hall_units) > 0.0
    speed_h = np.where(frozen, speed_h, d.fan_speed[rows])
    speed = np.where(held, np.maximum(s.unit_held_frac[rows], 0.0), speed_h.take(site.unit_hall, axis=1))
    air = full * speed
    moved = segment_sum(air, lay.hall_units)
    share = cooling.cold_share_frac(moved, wanted)
    fans = segment_sum(np.where(full > 0.0, site.unit_fan_kw, 0.0) * speed**3, lay.hall_units) * s.hall_fan_scale[rows]
    d.unit_air[rows] = air
    d.unit_flow[rows] = np.where(frozen, moved, d.unit_flow[rows])
    d.fan_kw[rows] = np.where(frozen, fans, d.fan_kw[rows])
    d.fan_speed[rows] = speed_h
    d.hall_by_unit[rows] |= frozen
    cold = share.take(site.rack_hall, axis=1) * fresh
    d.cold_frac[rows] = np.where(frozen.take(site.rack_hall, axis=1), cold, d.cold_frac[rows])


def rack_coefficients(d: Derived, dt_s: float) -> thermal.RackStep:
    """Return the exact-step coefficients for dt_s; racks in which nothing changed keep theirs."""
    if dt_s != d.air_dt_s:
        d.air_dirty[...], d.rack_seen[...] = True, np.nan
        d.air_dt_s = dt_s
    if d.air_dirty.any():
        s = d.state
        d.kernels.rack_coefficients(
            d.numbers(some_rows(d.air_dirty)), s.rack_mass_kj_per_k, s.rack_air_kj_per_k, s.rack_ua_kw_per_k,
            d.rack_flow, dt_s, d.rack_seen, d.rack_step,
        )  # fmt: skip
        d.air_dirty[...] = False
    return d.rack_step
