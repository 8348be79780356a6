"""The protections and controls of the cooling plant, looked at after each step: trips, releases, staging, stand-ins.

Only sites whose file has pumps, chiller control or CDUs pay for it. A crossing is found over all members at once; what
follows takes its time as an agenda entry of the component (`twin/cooling_lives.py`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import chillers
from twin import cooling_effects as effects
from twin.cooling_bits import CHILLER_ON, COMING_UP, HIGH_PRESSURE, LOW_FLOW, STANDBY, STANDING_BY
from twin.ensemble import FOULING_K, LIMIT_SIGMAS
from twin.layout import segment_sum
from twin.node_lives import stop_nodes
from twin.waterside import pump_flow, pump_view
from twin.world import World

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

FLOW_BACK_FRAC = 0.1  # a low-flow trip is released this much above its threshold [assumed]
PRESSURE_BACK_LOAD_FRAC = 0.7  # a high-pressure trip once it could carry this load [assumed]
PRESSURE_BACK_K = 1.0
FOULING_LIMIT_K = FOULING_K * LIMIT_SIGMAS


def watch_cooling(w: World, dt_s: float) -> None:
    """Look at every loop, pump and CDU after a step of dt_s; w.state.grid_ms is its end."""
    plant = w.site.cooling
    if plant.has_pumps:
        _stand_in(w)
    if plant.has_control:
        _protect(w)
        _stage(w, dt_s)
    if plant.has_liquid:
        _stop_hot_racks(w)


def _rows_of(flags: Flags | np.bool_) -> NDArray[np.int64]:
    return np.flatnonzero(flags)


def _stand_in(w: World) -> None:
    """Start a standby pump where fewer run or come up than move the nominal flow."""
    s, plant = w.state, w.site.cooling
    if not pump_view(w.derived).short:
        return
    waiting = s.pump_off == STANDING_BY
    able = ((s.pump_off == 0) | (s.pump_off == COMING_UP)).astype(np.float64)
    wanted = (segment_sum(able, w.derived.layout.pump_loops) < plant.loop_pumps) & ~s.loop_held
    for loop in _rows_of(wanted.any(axis=0)):
        short = wanted[:, loop]
        for p in _rows_of(plant.pump_loop == loop):
            rows = _rows_of(short & waiting[:, p])
            if len(rows):
                effects.start_pump(w, int(p), rows, s.grid_ms)
                short[rows] = False


def _protect(w: World) -> None:
    """Trip chillers that have too little water or condense too hot; release those whose reason is gone."""
    s, d, plant, of = w.state, w.derived, w.site.cooling, w.site.chiller_loop
    dry, hot = d.kernels.endangered(
        d.layout.loop_columns, d.loop_outdoor_c, d.water_flow, d.loop_taken_kw, d.loop_capacity_kw, FOULING_LIMIT_K
    )
    if dry:
        low = d.water_flow < plant.loop_low_flow_frac
        _trip(w, (s.chiller_phase == CHILLER_ON) & low.take(of, axis=1), LOW_FLOW)
    if hot:
        load = d.loop_taken_kw / np.maximum(d.loop_capacity_kw, 1e-9)
        hot_c = chillers.condensing_c(d.loop_outdoor_c, load, plant.loop_condenser_k)
        single_c = hot_c.take(of, axis=1) + s.chiller_foul_k
        over = single_c > plant.loop_condensing_trip_c.take(of)
        _trip(w, (s.chiller_phase == CHILLER_ON) & over, HIGH_PRESSURE)
    if ((s.chiller_off & (LOW_FLOW | HIGH_PRESSURE)) > 0).any():
        _release(w)


def _trip(w: World, found: Flags, why: int) -> None:
    for k in _rows_of(found.any(axis=0)):
        effects.trip_chiller(w, int(k), _rows_of(found[:, k]), why)


def _release(w: World) -> None:
    s, d, plant, of = w.state, w.derived, w.site.cooling, w.site.chiller_loop
    # pumps that wait for the run signal of a chiller count: it is the restarting chiller that gives it
    could = s.loop_flow_frac * pump_flow(d, signalled=False)
    wet = (could > plant.loop_low_flow_frac + FLOW_BACK_FRAC).take(of, axis=1)
    ease_c = chillers.condensing_c(d.loop_outdoor_c, np.full((1, 1), PRESSURE_BACK_LOAD_FRAC), plant.loop_condenser_k)
    cool_c = plant.loop_condensing_trip_c.take(of) - PRESSURE_BACK_K
    cool = ease_c.take(of, axis=1) + s.chiller_foul_k < cool_c
    for why, gone in ((LOW_FLOW, wet), (HIGH_PRESSURE, cool)):
        back = np.asarray(((s.chiller_off & why) > 0) & gone)
        for k in _rows_of(back.any(axis=0)):
            effects.release_chiller(w, int(k), _rows_of(back[:, k]), why, s.grid_ms)


def _stage(w: World, dt_s: float) -> None:
    """Call one more chiller when load or water has asked for it long enough; let one stop when it is not needed."""
    s, d = w.state, w.derived
    up, down = np.empty((2, *s.loop_call_s.shape), dtype=bool)
    due = d.kernels.stage(
        d.layout.loop_columns, dt_s, s.chiller_phase, s.loop_held, s.loop_supply_c, s.loop_setpoint_c,
        d.loop_taken_kw, d.loop_capacity_kw, s.loop_call_s, s.loop_spare_s, up, down,
    )  # fmt: skip
    if not due:
        return
    for loop in _rows_of((up | down).any(axis=0)):
        effects.start_standby(w, int(loop), _rows_of(up[:, loop]), s.grid_ms)
        _stand_down(w, int(loop), _rows_of(down[:, loop]))
        s.loop_call_s[up[:, loop], loop] = 0.0
        s.loop_spare_s[down[:, loop], loop] = 0.0


def _stand_down(w: World, loop: int, rows: NDArray[np.int64]) -> None:
    """The last running chiller of a loop goes to standby."""
    s = w.state
    for k in np.flatnonzero(w.site.chiller_loop == loop)[::-1]:
        runs = s.chiller_phase[rows, k] == CHILLER_ON
        s.chiller_phase[rows[runs], k] = STANDBY
        rows = rows[~runs]


def _stop_hot_racks(w: World) -> None:
    """Nodes of a liquid-cooled rack stop themselves when their equipment is too hot: without coolant within minutes."""
    hot = w.state.rack_mass_c >= w.derived.layout.rack_too_hot_c
    if hot.any():
        stop_nodes(w.derived, hot.take(w.site.node_rack, axis=1))


def is_needed(w: World) -> bool:
    """Tell whether a site has anything to watch."""
    plant = w.site.cooling
    return plant.has_pumps or plant.has_control or plant.has_liquid
