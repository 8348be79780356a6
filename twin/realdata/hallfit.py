"""The parameters of a hall, fitted in two steps: the racks on their outlets, then the hall on the heat carried away.

All racks hold servers of one kind, so they share what a server is (equipment, chassis, sensor lag); flow and sensor
offset of a rack may differ a little from the others'. Every parameter has a prior, so that what a window does not show
stays where it is plausible: the fit is a least-squares problem with the priors as further rows, solved from the middle
of the priors, no luck involved. Derivatives come from one run of the model with one more parameter set per parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from twin.realdata.hallair import HallParams, run_air
from twin.realdata.hallinlet import InletFit, fit_inlets, prior_inlets
from twin.realdata.hallmodel import HallInputs, HallSaid, RackParams, run_hall, run_racks
from twin.realdata.halltargets import Targets
from twin.realdata.tables import Bools, Floats, Ints

OUTLET_SD_K = 0.25  # what quantised sensors and the model leave over
HEAT_SD_KW = 1.0
NUDGE = 1e-4
MOST_RUNS = 20
MOST_DAMPING = 1e6
ENOUGH = 1e-4  # relative fall of the squared error at which a step was the last one


class Prior(NamedTuple):
    """Middle and width of what is plausible; `log`: both are of the logarithm (width 1 is a factor e)."""

    name: str
    middle: float
    width: float
    log: bool = True


# per server; equipment and chassis: 3 to 10 kg of metal at 0.5 kJ/(kg K) [assumed]; flow: 1 kW per 10 K and 100 servers
RACK_PRIORS = (
    Prior("equipment_kj_per_k", 1.5, 1.0),
    Prior("equipment_kw_per_k", 0.008, 1.0),
    Prior("flow_kw_per_k", 0.009, 0.5),
    Prior("offset_k", 0.0, 2.0, log=False),
    Prior("lag_s", 30.0, 0.7),
)
CHASSIS_PRIORS = (Prior("chassis_kj_per_k", 1.5, 1.0), Prior("chassis_kw_per_k", 0.002, 1.0))
RACK_AIR_KJ_PER_K = 0.06  # per server: 50 l of air [assumed]; the outlets do not show it
FLOW_SPREAD = 0.03  # racks of one kind of server differ by a few per cent [assumed]
OFFSET_SPREAD_K = 0.3


class Solution(NamedTuple):
    """Least-squares solution (parameters,) and its covariance, priors and stated errors taken at their word."""

    x: Floats
    covariance: Floats


class RackFit(NamedTuple):
    """Fitted racks (one set), with what they were made from."""

    params: RackParams
    solution: Solution
    priors: tuple[Prior, ...]


class HallFit(NamedTuple):
    """The fitted hall and its intakes (one set), with what they were made from."""

    params: HallParams
    inlet: InletFit
    solution: Solution
    structures: int


def solve(linear: Callable[[Floats], tuple[Floats, Floats]], start: Floats) -> Solution:
    """Return the least-squares solution from a start by Levenberg and Marquardt's damped steps.

    linear(x) gives the residuals (n,) and their derivatives (n, parameters) at x; both come from one run of the model.
    """
    x, damping = start, 1e-3
    residual, slope = linear(x)
    for _ in range(MOST_RUNS):
        gram = slope.T @ slope
        step = np.linalg.solve(gram + damping * np.diag(np.diag(gram)), -slope.T @ residual)
        tried, tried_slope = linear(x + step)
        cost, new_cost = float(residual @ residual), float(tried @ tried)
        if not new_cost < cost:  # also where the step led to numbers that are none
            damping *= 10.0
            if damping > MOST_DAMPING:
                break
            continue
        x, residual, slope, damping = x + step, tried, tried_slope, damping / 10.0
        if cost - new_cost < ENOUGH * cost:
            break
    return Solution(x, np.asarray(np.linalg.inv(slope.T @ slope), dtype=np.float64))


def fit_racks(inputs: HallInputs, targets: Targets, window: Bools, servers: Floats, chassis: bool) -> RackFit:
    """Fit racks on the rounds of `window` (racks, rounds); servers: number in each rack. One parameter set."""
    priors = RACK_PRIORS + (CHASSIS_PRIORS if chassis else ())
    racks, n = len(servers), len(priors)
    used = window & np.isfinite(targets.outlet_c)

    def said(x: Floats) -> Floats:
        return targets.sample(run_racks(inputs, rack_params(x, priors, servers)), inputs.dt_s)

    def linear(x: Floats) -> tuple[Floats, Floats]:
        # a rack's own two parameters touch no other rack: one run moves those of all racks at once
        steps = np.zeros((n + 3, n + 2 * racks))
        steps[1 : n + 1, :n] = np.eye(n) * NUDGE
        steps[n + 1, n : n + racks] = NUDGE
        steps[n + 2, n + racks :] = NUDGE
        all_said = said(x + steps)
        slope = (all_said[1:] - all_said[0]) / NUDGE
        own = np.nonzero(used)[0][:, None] == np.arange(racks)
        top = [slope[:n, used].T, own * slope[n, used][:, None], own * slope[n + 1, used][:, None]]
        error = (all_said[0] - targets.outlet_c)[used] / OUTLET_SD_K
        derivatives = np.concatenate([np.concatenate(top, axis=1) / OUTLET_SD_K, np.eye(len(x))])
        return np.concatenate([error, x]), derivatives

    found = solve(linear, np.zeros(n + 2 * racks))
    return RackFit(rack_params(found.x[None], priors, servers), found, priors)


def value(prior: Prior, x: Floats) -> Floats:
    """Return the parameter at x widths from its middle."""
    return np.asarray(prior.middle * np.exp(prior.width * x) if prior.log else prior.middle + prior.width * x)


def rack_params(x: Floats, priors: tuple[Prior, ...], servers: Floats) -> RackParams:
    """Return the racks of solution vectors (m, n): shared ones, then each rack's flow, then each rack's offset."""
    n, racks = len(priors), len(servers)
    shared = {p.name: value(p, x[:, [i]]) for i, p in enumerate(priors)}
    per_server = {k: v * servers for k, v in shared.items() if k not in ("offset_k", "lag_s")}
    none = np.zeros((len(x), racks))
    params = {"chassis_kj_per_k": none, "chassis_kw_per_k": none, **per_server}
    params["flow_kw_per_k"] = params["flow_kw_per_k"] * np.exp(FLOW_SPREAD * x[:, n : n + racks])
    return RackParams(
        **params,
        air_kj_per_k=RACK_AIR_KJ_PER_K * servers + np.zeros((len(x), 1)),
        offset_k=shared["offset_k"] + OFFSET_SPREAD_K * x[:, n + racks :],
        lag_s=shared["lag_s"],
    )


HALL_PRIORS = (
    Prior("heat_gain", 1.03, 0.03, log=False),
    Prior("base_kw", 5.0, 5.0, log=False),
    Prior("air_kj_per_k", 300.0, 0.7),
    Prior("coil_kj_per_k", 1000.0, 1.0),
    Prior("coil_kw_per_k", 10.0, 1.0),
    Prior("lag_s", 60.0, 0.7),
)
STRUCTURE_PRIORS = (
    (Prior("structure_kj_per_k", 2000.0, 1.0), Prior("structure_kw_per_k", 0.5, 1.0)),
    (Prior("structure_kj_per_k", 10000.0, 1.0), Prior("structure_kw_per_k", 0.5, 1.0)),
)
COOLER_KW_PER_K = 4.5  # of all coolers at reference fan signal; more than the racks draw, so that it hardly matters
ROUNDS_OF_FIT = 2


def hall_params(x: Floats, structures: int) -> HallParams:
    """Return the hall of solution vectors (m, n)."""
    shared = {p.name: value(p, x[:, [i]]) for i, p in enumerate(HALL_PRIORS)}
    n = len(HALL_PRIORS)
    pairs = STRUCTURE_PRIORS[:structures]
    capacity = [value(c, x[:, [n + 2 * j]]) for j, (c, _) in enumerate(pairs)] or [np.zeros((len(x), 1))]
    conductance = [value(u, x[:, [n + 2 * j + 1]]) for j, (_, u) in enumerate(pairs)] or [np.zeros((len(x), 1))]
    return HallParams(
        **shared,
        structure_kj_per_k=np.concatenate(capacity, axis=1),
        structure_kw_per_k=np.concatenate(conductance, axis=1),
        flow_kw_per_k=np.full((len(x), 1), COOLER_KW_PER_K),
    )


def fit_hall(
    inputs: HallInputs,
    rack: RackParams,
    heat_kw: Floats,
    per_reading: int,
    targets: Targets,
    window: Bools,
    structures: int,
) -> HallFit:
    """Fit the hall on heat readings (n,), NaN = not used; the intakes on the measured inlets of the window.

    The two hardly touch each other, so they take turns: inlets move the heat out of the racks a little.
    """
    readings = np.flatnonzero(np.isfinite(heat_kw))
    at = np.maximum(readings * per_reading - 1, 0)
    found = Solution(np.zeros(len(HALL_PRIORS) + 2 * structures), np.empty((0, 0)))
    inlet = prior_inlets(inputs.power_kw.shape[1])
    for _ in range(ROUNDS_OF_FIT):
        whole = run_hall(inputs, rack, hall_params(found.x[None], structures), inlet)
        rise_k = (whole.exhaust_c - whole.inlet_c)[:, 0]
        intakes = fit_inlets(whole.cold_c, rise_k, inputs.surplus, targets, window, inputs.dt_s)
        inlet = intakes.params
        whole = run_hall(inputs, rack, hall_params(found.x[None], structures), inlet)
        found = _fit_air(whole, structures, at, heat_kw[readings], found.x, inputs.dt_s)
    return HallFit(hall_params(found.x[None], structures), intakes, found, structures)


def _fit_air(whole: HallSaid, structures: int, at: Ints, heat_kw: Floats, start: Floats, dt_s: float) -> Solution:
    """Fit the air's parameters on the heat at cells `at`, with the heat out of the racks given."""
    streams = (whole.out_kw[:, :, None], whole.flow_kw_per_k[:, :, None], whole.cold_c[:, :, None])
    n = len(start)
    nudges = np.concatenate([np.zeros((1, n)), np.eye(n) * NUDGE])

    def linear(v: Floats) -> tuple[Floats, Floats]:
        said = run_air(*streams, hall_params(v + nudges, structures), dt_s)[at].T
        slope = (said[1:] - said[0]).T / NUDGE / HEAT_SD_KW
        return np.concatenate([(said[0] - heat_kw) / HEAT_SD_KW, v]), np.concatenate([slope, np.eye(n)])

    return solve(linear, start)
