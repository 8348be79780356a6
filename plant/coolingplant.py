"""What a site has for cooling beyond units, loops and chillers: one frozen part of `Site` with tables of its own.

A site file without these tables gives a `CoolingPlant` whose `is_plain` is true: it costs and changes nothing.
Models of the tables: `plant/coolingfile.py`; compiling and checks: `plant/coolingbuild.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from plant.weather import Weather

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CoolingPlant:
    """Arrays over C cooling units, H halls, L loops, K chillers, P pumps, D CDUs, R racks, S recirculation paths."""

    unit_capacity_kw: Floats
    """Heat a unit can take at most, infinite where none is stated; at 24 C return air for a CRAC."""
    unit_dx: Flags
    """The unit has its own compressor (CRAC)."""
    unit_cop: Floats
    unit_cop_per_k: Floats
    unit_restart_s: Floats
    """From power back to full air flow."""

    hall_detail: Flags
    """Units of this hall are computed one by one: one has a capacity or a compressor of its own."""
    hall_structure_kj_per_k: Floats
    """Heat capacity of walls, floor and steel, 0 without such a node."""
    hall_structure_kw_per_k: Floats

    loop_region: Ints
    loop_flow_kw_per_k: Floats
    """Nominal water flow times specific heat."""
    loop_controlled: Flags
    """Chillers of this loop are staged and protected."""
    loop_stage_up_frac: Floats
    loop_stage_up_k: Floats
    loop_stage_up_s: Floats
    loop_stage_down_frac: Floats
    loop_stage_down_s: Floats
    loop_part_load: Floats
    """(L, 3): power over full-load power is c0 + c1 x + c2 x^2."""
    loop_design_outdoor_c: Floats
    loop_derate_per_k: Floats
    loop_capacity_per_k: Floats
    """Capacity gained for each kelvin of supply water above its set-point, up to loop_capacity_most_frac."""
    loop_capacity_most_frac: Floats
    loop_condenser_k: Floats
    loop_condensing_trip_c: Floats
    loop_low_flow_frac: Floats
    loop_lockout_frac: Floats
    chiller_retry_s: Floats
    """(K,): from the end of what tripped it to full capacity."""

    free_capacity_kw: Floats
    """(L,): 0 without free cooling."""
    free_approach_k: Floats
    free_range_k: Floats
    free_fan_kw: Floats

    pump_ids: tuple[str, ...]
    pump_loop: Ints
    pump_standby: Flags
    pump_start_s: Floats
    loop_pumps: Ints
    """(L,): pumps that move the nominal flow; 0 where the file lists none."""
    loop_follows: Flags
    """(L,): no more pumps run than chillers run or start."""

    cdu_ids: tuple[str, ...]
    cdu_hall: Ints
    cdu_loop: Ints
    cdu_supply_c: Floats
    cdu_ua_kw_per_k: Floats
    cdu_water_kj_per_k: Floats
    cdu_pump_kw: Floats
    cdu_restart_s: Floats
    cdu_stop_c: Floats
    rack_cdu: Ints
    """(R,): index of the CDU that serves the rack, -1 for none."""
    rack_liquid_frac: Floats
    rack_plate_kw_per_k: Floats
    """(R,): conductance from equipment to coolant, 0 for an air-cooled rack."""

    recirc_from: Ints
    recirc_to: Ints
    """(S,) ascending."""
    recirc_frac: Floats
    rack_drawn_frac: Floats
    """(R,): share of inlet air that comes from neighbours' outlets."""

    region_weather: tuple[Weather | None, ...]
    """(G): outdoor temperature as a series, where the file names one."""

    region_staff: Ints
    """(G,): restarts by hand that can be made at a time; 0 where the file names nobody: nobody is then waited for."""
    region_hands_on_s: Floats

    @cached_property
    def has_pumps(self) -> bool:
        """Some loop lists its pumps."""
        return len(self.pump_ids) > 0

    @cached_property
    def has_control(self) -> bool:
        """The chillers of some loop are staged and protected."""
        return bool(self.loop_controlled.any())

    @cached_property
    def has_liquid(self) -> bool:
        """Some racks are cooled by a CDU."""
        return len(self.cdu_ids) > 0

    @cached_property
    def has_structure(self) -> bool:
        """Some hall has a structure node."""
        return bool((self.hall_structure_kj_per_k > 0.0).any())

    @cached_property
    def has_recirculation(self) -> bool:
        """Some rack draws in hot air of another."""
        return len(self.recirc_to) > 0

    @cached_property
    def recirc_racks(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Racks that draw in air of others, and where their paths begin in recirc_to."""
        racks, begin = np.unique(self.recirc_to, return_index=True)
        return racks.astype(np.intp), begin.astype(np.intp)

    @cached_property
    def has_detail(self) -> bool:
        """Units of some hall are computed one by one."""
        return bool(self.hall_detail.any())

    @cached_property
    def has_free_cooling(self) -> bool:
        """Some loop has free cooling."""
        return bool((self.free_capacity_kw > 0.0).any())

    @cached_property
    def is_plain(self) -> bool:
        """Nothing of all this exists."""
        return not (
            self.has_pumps or self.has_control or self.has_liquid or self.has_structure or self.has_recirculation
            or self.has_detail or self.has_free_cooling
        )  # fmt: skip
