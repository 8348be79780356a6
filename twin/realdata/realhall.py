"""The real hall: its twin is fitted on some hours and its errors are reported on others, beside plain lags.

Rows are open loop (inputs only: server powers and fan speeds, cooler fans and discharge temperatures, and for the
outlets the measured inlets) and 10 min ahead, where an ensemble hears every reading up to then and the inputs of the
10 min are known, beside persistence. The lags are refitted on the same window in the same run. Relative figures of
temperatures are of the rise over the air that goes in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from plant.errors import ConfigError
from twin.realdata.hall import HallData
from twin.realdata.hallahead import AHEAD_S, Told, follow
from twin.realdata.hallbase import FIXED_LAGS_S, TRIED_LAGS_S, fixed_lags, lagged, two_lags
from twin.realdata.hallnoise import MEMBERS, Trust, decide, ensemble
from twin.realdata.hallrows import Column, row
from twin.realdata.halltwin import Chosen, HallCase, HallTwin, choose_twin, hall_case, swapped, swapped_heat
from twin.realdata.tables import Bools, Floats
from twin.realdata.window import parse_window, require_apart

Band = tuple[Told, float]
LEAST_FIT_READINGS = 120
IN_SYNC_CV_RMSE = 0.05
IN_SYNC_RULE = (
    f"heat open loop within {IN_SYNC_CV_RMSE:.0%} CV-RMSE, heat and outlets (inlets measured) 10 min ahead better than"
    " persistence"
)


def hall_windows(data: HallData, fit: str | None, test: str | None) -> tuple[slice, slice]:
    """Return the fit and test windows as facility readings; None takes the mapping's. Raises ConfigError."""
    split, before = data.mapping.split, data.epoch_ms - data.step_ms
    fitted = parse_window(fit or split.fit, before, data.step_ms, data.samples, "--fit")
    tested = parse_window(test or split.test, before, data.step_ms, data.samples, "--test")
    require_apart(fitted, tested)
    readings = int((np.isfinite(data.heat_kw) & ~data.recovering)[fitted].sum())
    if readings < LEAST_FIT_READINGS:
        raise ConfigError(
            where="--fit",
            found=f"{readings} usable heat readings in the window",
            allowed=f"at least {LEAST_FIT_READINGS}",
            cure="choose a longer window",
        )
    return fitted, tested


def evaluate_hall(data: HallData, fit: str | None, test: str | None, seed: int) -> dict[str, Any]:
    """Return the `results` of `evaluate sync` for a day of a hall. Raises ConfigError or TelemetryError."""
    fitted, tested = hall_windows(data, fit, test)
    case = hall_case(data)
    _require_rounds(case, fitted)
    chosen = choose_twin(case, fitted)
    trust = decide(case, chosen, fitted, seed)
    given, modelled = (
        follow(case, ensemble(case, chosen.twin, trust, seed, given=given), tested, spread=True)
        for given in (True, False)
    )
    columns = [
        _heat(case, chosen, fitted, tested, (modelled.heat, trust.bands["heat"])),
        _outlets(case, chosen, fitted, tested, (given.outlet, trust.bands["outlet_given"])),
        _modelled_outlets(case, chosen, tested, (modelled.outlet, trust.bands["outlet"])),
        _inlets(case, chosen, tested, (modelled.inlet, trust.bands["inlet"])),
    ]
    rows = [row(column, 0.0, seed) for column in columns] + [row(column, AHEAD_S, seed) for column in columns]
    return {
        "rows": rows,
        "in_sync": _in_sync(rows),
        "in_sync_rule": IN_SYNC_RULE,
        "structure": {"chassis": chosen.chassis, "structures": chosen.structures},
        "structure_rule": "least error in cross-validation over the halves of the fit window; test window unread",
        "trials": [
            {"name": t.name, "error_of_halves": list(t.rmse_of_halves), "error": t.score} for t in chosen.trials
        ],
        "assimilation": _assimilation(trust),
        "parameters": _parameters(chosen),
        "racks": len(data.polls.rack_names),
        "servers": int(data.polls.servers_per_rack.sum()),
        "coolers": data.fan_frac.shape[1],
        "inputs_held": data.held,
        "refused_by_reason": dict(data.refused),
    }


def _assimilation(trust: Trust) -> dict[str, Any]:
    """What was decided inside the fit window, by channel."""
    return {
        "members": MEMBERS,
        "rule": "least error 10 min ahead of each half of the fit window by the twin of the other; test window unread",
        "channels": {
            channel: {
                "parameter_width": trust.width[channel],
                **asdict(noise),
                "error_of_halves": trust.errors[channel],
            }
            for channel, noise in trust.noise.items()
        },
        "band_sd": trust.bands,
    }


def _require_rounds(case: HallCase, fit: slice) -> None:
    seen = case.rounds_in(fit) & np.isfinite(case.targets.outlet_c)
    for name, count in zip(case.data.polls.rack_names, seen.sum(axis=1).tolist(), strict=True):
        if count < 10:
            raise ConfigError(
                where=f"--fit: rack {name}",
                found=f"{count} rounds of polls in the window",
                allowed="at least 10 per rack",
                cure="choose a longer window, or leave the rack out of the server file",
            )


def _heat(case: HallCase, chosen: Chosen, fit: slice, test: slice, ahead: Band) -> Column:
    """Heat carried away at the facility's readings; what the meter shows while it recovers is left out."""
    data, measured = case.data, case.heat_in(slice(0, case.data.samples))
    inside = _mask(data.samples, fit)
    lags = lagged(data.it_kw, TRIED_LAGS_S, data.step_s) if np.isfinite(data.it_kw).all() else None
    said = case.at_readings(chosen.twin.said.heat_kw)
    each = [case.at_readings(twin.said.heat_kw) for twin in chosen.of_halves]
    out_of_fold = swapped_heat(each, chosen.halves)
    recovering = int(data.recovering[test].sum())
    baselines = {} if lags is None else _heat_lags(data, lags, measured, inside)
    return Column(
        channel="heat",
        step_s=data.step_s,
        measured=measured[:, None],
        twin=said[:, None],
        out_of_fold=out_of_fold[:, None],
        baselines={name: values[:, None] for name, values in baselines.items()},
        zero=np.zeros((data.samples, 1)),
        test=_mask(data.samples, test)[:, None],
        refused=sum(n for reason, n in data.refused.items() if reason.startswith("heat")),
        ahead=ahead,
        extra={
            "unit": "kW",
            "left_out_while_meter_recovers": recovering,
            "rmse_with_those": _rmse_of(data.heat_kw[test], said[test]),
        },
    )


def _rmse_of(measured: Floats, said: Floats) -> float | None:
    seen = np.isfinite(measured)
    return float(np.sqrt(np.mean((said - measured)[seen] ** 2))) if seen.any() else None


def _heat_lags(data: HallData, lags: Floats, measured: Floats, inside: Bools) -> dict[str, Floats]:
    four = lagged(data.it_kw, FIXED_LAGS_S, data.step_s)
    nothing = np.empty((data.samples, 0))
    return {
        "two_fitted_lags": two_lags(lags, nothing, measured, inside)[0],
        "four_fixed_lags_60_300_900_3600_s": fixed_lags(four, measured, inside),
    }


def _mask(n: int, window: slice) -> Bools:
    mask = np.zeros(n, dtype=bool)
    mask[window] = True
    return mask


def _outlets(case: HallCase, chosen: Chosen, fit: slice, test: slice, ahead: Band) -> Column:
    """Rack-mean outlets per round of polls, the measured inlets given; lags per rack of its power beside them."""
    targets, dt_s = case.targets, case.inputs.dt_s
    lags = lagged(case.inputs.power_kw / case.servers, TRIED_LAGS_S, dt_s)
    inside = case.rounds_in(fit)
    sampled = np.stack([targets.sample(lags[:, None, :, k], dt_s)[0] for k in range(lags.shape[2])], axis=-1)
    fan = targets.sample(case.inputs.speed_frac[:, None, :], dt_s)[0]
    inlet = np.nan_to_num(targets.inlet_c)
    base = np.stack([
        two_lags(sampled[r], np.stack([inlet[r], fan[r]], axis=1), targets.outlet_c[r], inside[r])[0]
        for r in range(len(case.servers))
    ])  # fmt: skip
    said = targets.sample(chosen.twin.outlet_c, dt_s)[0]
    out_of_fold = _out_of_fold(case, chosen, lambda twin: twin.outlet_c)
    return _rounds(case, "rack_outlet", said, out_of_fold, {"two_fitted_lags_per_rack": base}, test, ahead)


def _out_of_fold(case: HallCase, chosen: Chosen, series: Callable[[HallTwin], Floats]) -> Floats:
    """Return at the rounds what each half is told by the twin of the other (racks, rounds)."""
    each = [case.targets.sample(series(twin), case.inputs.dt_s)[0] for twin in chosen.of_halves]
    return swapped(case, each, chosen.halves)


def _modelled_outlets(case: HallCase, chosen: Chosen, test: slice, ahead: Band) -> Column:
    said = case.targets.sample(chosen.twin.said.outlet_c, case.inputs.dt_s)[0]
    inside = _out_of_fold(case, chosen, lambda twin: twin.said.outlet_c)
    column = _rounds(case, "rack_outlet", said, inside, {}, test, ahead)
    column.extra["inlets"] = "modelled"
    return column


def _inlets(case: HallCase, chosen: Chosen, test: slice, ahead: Band) -> Column:
    """Rack-mean inlets as the hall's own air says them; relative figures are of the rise over the discharge."""
    targets, dt_s = case.targets, case.inputs.dt_s
    said = targets.sample(chosen.twin.said.inlet_c, dt_s)[0]
    inside = _out_of_fold(case, chosen, lambda twin: twin.said.inlet_c)
    column = _rounds(case, "rack_inlet", said, inside, {}, test, ahead, targets.inlet_c)
    cold = np.repeat(chosen.twin.said.cold_c[:, :, None], len(case.servers), axis=2)
    column.zero[:] = targets.sample(cold, dt_s)[0].T
    column.extra["inlets"] = "modelled"
    return column


def _rounds(
    case: HallCase,
    channel: str,
    said: Floats,
    out_of_fold: Floats,
    baselines: dict[str, Floats],
    test: slice,
    ahead: Band,
    measured: Floats | None = None,
) -> Column:
    """A column per rack, a line per round."""
    targets = case.targets
    measured = targets.outlet_c if measured is None else measured
    period_s = float(np.nanmedian(np.diff(targets.at_s, axis=1)))
    return Column(
        channel=channel,
        step_s=period_s,
        measured=measured.T,
        twin=said.T,
        out_of_fold=out_of_fold.T,
        baselines={name: values.T for name, values in baselines.items()},
        zero=targets.inlet_c.T.copy(),
        test=case.rounds_in(test).T,
        refused=sum(n for reason, n in case.data.refused.items() if reason.startswith("server")),
        ahead=(Told(ahead[0].value.T, ahead[0].sd.T), ahead[1]),
        extra={"unit": "K", "inlets": "measured"},
    )


def _parameters(chosen: Chosen) -> dict[str, Any]:
    """Fitted parameters by name; racks: mean over racks where each has its own."""
    answer: dict[str, Any] = {}
    twin = chosen.twin
    for part, params in (("rack", twin.rack.params), ("hall", twin.hall.params), ("inlet", twin.hall.inlet.params)):
        for name, values in asdict(params).items():
            each = np.atleast_2d(values)[0]
            answer[f"{part}.{name}"] = float(each[0]) if each.size == 1 else [float(v) for v in each]
    return answer


def _in_sync(rows: list[dict[str, Any]]) -> bool:
    heat = next(r for r in rows if r["channel"] == "heat" and not r["horizon_s"])
    given = [r for r in rows if r["horizon_s"] and r.get("inlets") != "modelled"]
    ahead = [r for r in given if r["rmse"] is not None and r["persistence_rmse"] is not None]
    followed = heat["cv_rmse"] is not None and heat["cv_rmse"] <= IN_SYNC_CV_RMSE
    return followed and all(r["rmse"] < r["persistence_rmse"] for r in ahead)
