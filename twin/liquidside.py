"""Liquid-cooled racks and their coolant distribution units over one step of the grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import liquid
from twin.derived import Derived
from twin.layout import gather_sum

Array = NDArray[np.float64]


def advance_liquid(d: Derived, dt_s: float) -> tuple[Array, Array]:
    """Advance the coolants; return what each rack gives its coolant (M, R) and each loop gets from CDUs (M, L) [kW].

    Both are held over the step. A CDU that stands still takes nothing: all heat stays in its racks.
    """
    site, s, plant = d.site, d.state, d.site.cooling
    at, of = d.layout.wet_racks, d.layout.wet_cdu
    runs = s.cdu_off == 0
    plate = plant.rack_plate_kw_per_k[at] * runs.take(of, axis=1)
    given = liquid.plate_heat_kw(
        s.rack_mass_c.take(at, axis=1), s.cdu_coolant_c.take(of, axis=1), plate,
        s.rack_mass_kj_per_k.take(at, axis=1), dt_s,
    )  # fmt: skip
    rack_kw = np.zeros((s.members, len(site.rack_ids)))
    rack_kw[:, at] = given
    pump_kw = np.where(runs, plant.cdu_pump_kw, 0.0)
    into = gather_sum(rack_kw, d.layout.cdu_racks) + pump_kw
    water_c = s.loop_supply_c.take(plant.cdu_loop, axis=1)
    out = np.where(
        runs,
        liquid.exchanger_heat_kw(
            s.cdu_coolant_c, plant.cdu_supply_c, into, water_c, plant.cdu_ua_kw_per_k, s.cdu_water_kj_per_k, dt_s
        ),
        0.0,
    )
    s.arrays["cdu_coolant_c"] = s.cdu_coolant_c + (into - out) * dt_s / s.cdu_water_kj_per_k
    s.heat_in_kj[...] += pump_kw.sum(axis=1) * dt_s
    d.cdu_pump_kw = pump_kw
    return rack_kw, gather_sum(out, d.layout.loop_cdus)
