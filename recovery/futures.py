"""The futures a plan is rehearsed against: each member draws when the cause fails, if it does, and its repair.

Drawn from the predicted distribution of the risk and from repair laws, with streams of their own, so every plan meets
the same luck. Nothing here knows the incident file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import streams
from plant.site import Site
from twin.cooling_bits import CHILLER_ON, STANDBY
from twin.state import State

Array = NDArray[np.float64]

# Cooling plants came back after a median of 460 min in the five public incidents with a sourced "cause fixed" time
# (99th percentile near 20 h; notes on incidents, section A.2); chillers follow the loop within an hour or two.
REPAIR_MEDIAN_S, REPAIR_SIGMA = 460 * 60.0, 0.6
CHILLERS_AFTER_MEDIAN_S, CHILLERS_AFTER_SIGMA = 60 * 60.0, 0.7
UNIT_REPAIR_MEDIAN_S, UNIT_REPAIR_SIGMA = 6 * 3600.0, 0.6
NEVER_S = 1e9
HEALTHY_SHARE_FRAC = 0.5  # a loop with less than this share of its duty capacity running has failed already


def failure_times_s(p_fail: dict[int, float], u: Array) -> Array:
    """Return when each member's cause fails [s from now] by inverting P(fail within h); NEVER_S if it does not."""
    horizons = [0, *sorted(p_fail)]
    levels = np.maximum.accumulate([0.0, *(p_fail[h] for h in sorted(p_fail))])
    steps = np.diff(levels) > 0.0
    keep = [0, *(np.flatnonzero(steps) + 1)]
    times = np.interp(u, levels[keep], np.array(horizons, dtype=np.float64)[keep])
    return np.where(u <= levels[-1], times, NEVER_S)


def write_futures(state: State, site: Site, cause: str, p_fail: dict[int, float], seed: int) -> int:
    """Add to each member's agenda the failure and repair of the cause; return how many members see it fail."""
    kind = site.kind_of(cause)
    if kind == "loop":
        return _loop_future(state, site, site.index("loop", cause), p_fail, seed)
    if kind == "chiller":
        return _loop_future(state, site, int(site.chiller_loop[site.index("chiller", cause)]), p_fail, seed)
    if kind in ("hall", "rack", "node"):
        hall = _hall_of(site, cause)
        return _loop_future(state, site, int(site.hall_loop[hall]), p_fail, seed)
    if kind in ("cooling_unit", "pump", "cdu"):
        return _unit_future(state, kind, cause, p_fail, seed)
    return 0


def _hall_of(site: Site, component: str) -> int:
    return next(h for h, hall in enumerate(site.hall_ids) if component == hall or component.startswith(hall + "/"))


def _draws(state: State, purpose: str, name: str, seed: int) -> Array:
    return streams.uniform(seed, purpose, state.member, streams.component_key(name))


def _repair_s(state: State, purpose: str, name: str, seed: int, median_s: float, sigma: float) -> Array:
    return streams.lognormal(seed, purpose, state.member, streams.component_key(name), 0, median_s, sigma)


def _loop_future(state: State, site: Site, loop: int, p_fail: dict[int, float], seed: int) -> int:
    name = site.loop_ids[loop]
    failed = _failed_now(state, site, loop)
    after_s = failure_times_s(p_fail, _draws(state, "rehearsed failure", name, seed))
    after_s = np.where(failed, 0.0, after_s)
    repair_s = _repair_s(state, "rehearsed repair", name, seed, REPAIR_MEDIAN_S, REPAIR_SIGMA)
    more_s = _repair_s(state, "rehearsed chillers", name, seed, CHILLERS_AFTER_MEDIAN_S, CHILLERS_AFTER_SIGMA)
    for row in np.flatnonzero(after_s < NEVER_S):
        trip_ms = state.now_ms + int(after_s[row] * 1000)
        bled_ms = trip_ms + int(repair_s[row] * 1000)
        data = {
            "trip_ms": trip_ms, "bled_ms": bled_ms, "chillers_back": 1,
            "all_back_ms": bled_ms + int(more_s[row] * 1000), "residual_flow_frac": 0.05,
        }  # fmt: skip
        state.agenda.add(trip_ms, "loop_airlock", name, "low_flow", data, (int(row),))
    return int((after_s < NEVER_S).sum())


def _failed_now(state: State, site: Site, loop: int) -> NDArray[np.bool_]:
    k = np.flatnonzero(site.chiller_loop == loop)
    duty_kw = site.chiller_capacity_kw[k][~site.chiller_standby[k]].sum()
    on = state.chiller_phase[:, k] == CHILLER_ON
    if site.cooling.loop_controlled[loop]:  # its control stops chillers that the load does not need: that is no failure
        on = on | ((state.chiller_phase[:, k] == STANDBY) & (state.chiller_off[:, k] == 0))
    return np.asarray(np.where(on, site.chiller_capacity_kw[k], 0.0).sum(axis=1) < HEALTHY_SHARE_FRAC * duty_kw)


def _unit_future(state: State, kind: str, unit: str, p_fail: dict[int, float], seed: int) -> int:
    after_s = failure_times_s(p_fail, _draws(state, "rehearsed failure", unit, seed))
    repair_s = _repair_s(state, "rehearsed repair", unit, seed, UNIT_REPAIR_MEDIAN_S, UNIT_REPAIR_SIGMA)
    for row in np.flatnonzero(after_s < NEVER_S):
        stop_ms = state.now_ms + int(after_s[row] * 1000)
        data = {"repaired_ms": stop_ms + int(repair_s[row] * 1000)}
        state.agenda.add(stop_ms, kind, unit, "stop", data, (int(row),))
    return int((after_s < NEVER_S).sum())
