"""The real week: the twin runs the real jobs, its node law is fitted on some days, its error is reported on others.

Rows are open loop (no reading of the test window is used) and 10 min and 1 h ahead (the workload known, an ensemble
corrected by every reading so far), beside persistence and beside the regressions refitted in the same run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.errors import ConfigError
from twin.realdata.evaluate import Forecasts, row
from twin.realdata.metrics import below_frac, mape
from twin.realdata.powerfit import Features, PowerLaw, features_of, fit_power, out_of_fold_kw
from twin.realdata.residual import choose, forecast_kw, held, slow_gain
from twin.realdata.week import WeekData
from twin.realdata.weekahead import DAY_S, Assimilation, against, assimilate, checks, opponents
from twin.realdata.weekbase import CONCAVE, REGRESSIONS, regression_kw, task_sums
from twin.realdata.widelaw import parts_of
from twin.realdata.window import parse_window, require_apart

Floats = NDArray[np.float64]

HORIZONS_S = (600, 3600)
LAWS = ("linear", "concave", "packages")
LEAST_FIT_SAMPLES = 240
HALVES = 1  # row of `out_of_fold_kw` where halves were left out: residuals as large as on days that differ


@dataclass(frozen=True)
class Fitted:
    """The twin of one week after fitting: the chosen law, all laws tried, and what each says (samples,) in kW."""

    law: PowerLaw
    laws: tuple[PowerLaw, ...]
    said_kw: dict[str, Floats]
    out_of_fold_kw: Floats
    features: Features


def windows(week: WeekData, fit: str | None, test: str | None) -> tuple[slice, slice]:
    """Return the fit and test windows as samples; None takes the mapping's. Raises ConfigError."""
    n, split = len(week.power_kw), week.mapping.split
    fitted = parse_window(fit or split.fit, week.epoch_ms, week.step_ms, n, "--fit")
    tested = parse_window(test or split.test, week.epoch_ms, week.step_ms, n, "--test")
    require_apart(fitted, tested)
    readings = int(np.isfinite(week.power_kw[fitted]).sum())
    if readings < LEAST_FIT_SAMPLES:
        raise ConfigError(
            where="--fit",
            found=f"{readings} power readings in the window",
            allowed=f"at least {LEAST_FIT_SAMPLES}",
            cure="choose a longer window",
        )
    return fitted, tested


def fit_week(week: WeekData, util_frac: Floats, fit: slice) -> Fitted:
    """Fit every law on the fit window and choose the one with the least cross-validated error there."""
    hosts, step_s = week.mapping.hosts, week.step_ms / 1000.0
    features = features_of(util_frac, hosts.cores)
    laws = tuple(_fit(name, week, features, fit) for name in LAWS)
    law = min(laws, key=lambda each: each.cv_mape)
    apart = out_of_fold_kw(law, features, week.power_kw, fit, step_s)
    return Fitted(law, laws, {each.name: each.site_kw(features) for each in laws}, apart, features)


def _fit(name: str, week: WeekData, features: Features, fit: slice) -> PowerLaw:
    hosts = week.mapping.hosts
    return fit_power(
        features,
        week.power_kw,
        fit,
        step_s=week.step_ms / 1000.0,
        cores=hosts.cores,
        packages=hosts.packages,
        name=name,
    )


def evaluate_week(week: WeekData, fitted: Fitted, fit: slice, test: slice, seed: int) -> dict[str, Any]:
    """Return the `results` of `evaluate sync` for a twin fitted on the fit window."""
    sums = task_sums(week, len(week.power_kw))
    regressions = {name: regression_kw(sums, week.power_kw, fit, name) for name in REGRESSIONS}
    step_s = week.step_ms / 1000.0
    assimilation = assimilate(
        parts_of(fitted.features, sums), week.power_kw, fitted.out_of_fold_kw[HALVES], fit, test,
        tuple(round(h / step_s) for h in HORIZONS_S), step_s=step_s, hosts=week.mapping.hosts.count, seed=seed,
    )  # fmt: skip
    rows = [_open_loop(week, fitted, regressions[CONCAVE], fit, test, seed)]
    rows += [_ahead(week, fitted, assimilation, regressions, fit, test, seed, h) for h in HORIZONS_S]
    drift = assimilation.drift
    return {
        "rows": rows,
        "in_sync": _in_sync(rows),
        "in_sync_rule": "open loop below 10 % error for >= 90 % of the time, better than persistence at each horizon",
        "assimilation": {
            "members": assimilation.members,
            "slow_s": drift.slow_s,
            "slow_kw": drift.slow_kw,
            "fast_s": drift.fast_s,
            "fast_kw": drift.fast_kw,
            "interval": "quantiles of past errors, moved by outcomes known when a forecast is made; start: fit window",
        },
        "laws": [_law(week, law, fitted, test) for law in fitted.laws],
        "law": fitted.law.name,
        "regressions": [{"name": n, "mape": _mape(week, said, test)} for n, said in regressions.items()],
        "hosts": week.mapping.hosts.count,
        "tasks": len(week.task_ids),
        "tasks_without_profile": int(week.no_profile.sum()),
        "tasks_without_profile_rule": week.mapping.fragments.missing,
        "refused_by_reason": dict(week.refused),
    }


def _open_loop(
    week: WeekData, fitted: Fitted, regression: Floats, fit: slice, test: slice, seed: int
) -> dict[str, Any]:
    """The row without readings: the law alone beside the regression alone."""
    power, model = week.power_kw, fitted.said_kw[fitted.law.name]
    low, high = _interval(power, fitted.out_of_fold_kw, model, fit)
    said = Forecasts(power, model, regression, None, low, high)
    return row("power", 0, said, test, step_s=week.step_ms / 1000.0, seed=seed, refused=_refused(week))


def _ahead(
    week: WeekData,
    fitted: Fitted,
    assimilation: Assimilation,
    regressions: dict[str, Floats],
    fit: slice,
    test: slice,
    seed: int,
    horizon_s: int,
) -> dict[str, Any]:
    """One row with assimilation; the baseline is the concave regression with its residual smoothed and damped."""
    power, model, step_s = week.power_kw, fitted.said_kw[fitted.law.name], week.step_ms / 1000.0
    steps = round(horizon_s / step_s)
    said = assimilation.said[steps]
    others = opponents(power, regressions, fit, steps, step_s)
    base = others[f"{CONCAVE}, residual smoothed and damped"]
    forecasts = Forecasts(power, said.mean_kw, base, _persistence(power, steps), said.low_kw, said.high_kw)
    answer = row(
        "power", horizon_s, forecasts, test, step_s=step_s, seed=seed, refused=_refused(week), block_s=DAY_S
    )  # fmt: skip
    correction = choose(power, fitted.out_of_fold_kw, fit, steps, slow_gain(step_s))
    return answer | {
        "baselines": against(power, said.mean_kw, others, test, step_s, seed),
        **checks(power, said, fit, test, step_s),
        # the chosen law without members, its residual used as the regressions use theirs
        "damped_mape": _mape(week, forecast_kw(model, power - model, correction), test),
        "held_mape": _mape(week, forecast_kw(model, power - model, held(steps)), test),
        "gain": correction.gain,
        "damping": correction.damping,
    }


def _interval(power: Floats, rehearsed: Floats, twin: Floats, fit: slice) -> tuple[Floats, Floats]:
    """The 80 % interval: the twin times the 10 % and 90 % quantiles of measured over forecast in the fit window."""
    low, high = np.nanquantile((power / rehearsed)[:, fit], [0.1, 0.9])
    return twin * low, twin * high


def _persistence(power: Floats, steps: int) -> Floats:
    """The newest reading at least `steps` old (a missing one is replaced by the one before it)."""
    index = np.where(np.isfinite(power), np.arange(len(power)), -1)
    newest = np.maximum.accumulate(index)
    held = np.where(newest >= 0, power[np.maximum(newest, 0)], np.nan)
    return np.concatenate([np.full(min(steps, len(power)), np.nan), held[:-steps]])


def _refused(week: WeekData) -> int:
    return sum(n for reason, n in week.refused.items() if reason.startswith("power"))


def _mape(week: WeekData, said: Floats, test: slice) -> float:
    y, f = week.power_kw[test], said[test]
    seen = np.isfinite(y) & np.isfinite(f)
    return mape(y[seen], f[seen])


def _law(week: WeekData, law: PowerLaw, fitted: Fitted, test: slice) -> dict[str, Any]:
    y, f = week.power_kw[test], fitted.said_kw[law.name][test]
    seen = np.isfinite(y)
    return {
        "name": law.name,
        "mape": mape(y[seen], f[seen]),
        "below_10pct_frac": below_frac(y[seen], f[seen]),
        "cv_mape": law.cv_mape,
        "idle_kw_per_host": law.base_kw / week.mapping.hosts.count,
        "span_kw_per_host": law.span_kw,
        "concave_frac": law.concave_frac,
        "parts": dict(zip(law.parts, law.weight_kw, strict=True)),
    }


def _in_sync(rows: list[dict[str, Any]]) -> bool:
    ahead = [r for r in rows if r["horizon_s"]]
    followed = rows[0]["below_10pct_frac"] is not None and rows[0]["below_10pct_frac"] >= 0.9
    return followed and all(
        r["mape"] is not None and r["persistence_mape"] is not None and r["mape"] < r["persistence_mape"] for r in ahead
    )
