"""The week ahead with assimilation: the fit of the ensemble, its forecasts with their interval, and its opponents.

Everything chosen (drifts, start of the interval, damping of the opponents) comes from the fit window alone. What moves
later moves by readings that were known when the forecast was made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.realdata.band import TAIL, follow, start_of
from twin.realdata.drift import Drift, fit_drift, news
from twin.realdata.metrics import block_bootstrap_ci, mape, relative_errors
from twin.realdata.residual import choose, forecast_kw, held, slow_gain
from twin.realdata.weekbase import REGRESSIONS
from twin.realdata.weekensemble import MEMBERS, Ahead, PowerEnsemble, run
from twin.realdata.widelaw import Parts, WideLaw, fit_wide

Floats = NDArray[np.float64]

WARM_UP_S = 6 * 3600.0  # before the first forecast, so that the drifts are where the readings hold them
CHECK_EVERY_S = 1200.0  # forecasts further apart than this count as separate trials of the interval
DAY_S = 86_400.0
LEVEL = 0.99
LEAST_DAYS = 2  # of a fit window that can say what an hour of the day is like


@dataclass(frozen=True)
class Said:
    """What the ensemble said for one horizon: mean and the ends of its 80 % interval (n,) in kW, NaN where nothing."""

    mean_kw: Floats
    low_kw: Floats
    high_kw: Floats


@dataclass(frozen=True)
class Assimilation:
    """The assimilating twin of a week after its fit."""

    drift: Drift
    law: WideLaw
    members: int
    said: dict[int, Said]


def assimilate(
    parts: Parts,
    power_kw: Floats,
    rehearsed_kw: Floats,
    fit: slice,
    test: slice,
    steps: tuple[int, ...],
    *,
    step_s: float,
    hosts: int,
    seed: int,
    members: int = MEMBERS,
) -> Assimilation:
    """Fit on the fit window and let the ensemble follow the readings to the end of the test window.

    rehearsed_kw (n,): a law's word for the fit window, out of fold: its residuals are as large as outside of it.
    """
    readings = news(power_kw)
    mean_kw = float(np.nanmean(power_kw[fit]))
    drift = fit_drift((readings - rehearsed_kw)[fit], step_s, mean_kw)
    prior = parts.prior_sd_kw(mean_kw, hosts)

    def live(fitted: slice, within: slice) -> tuple[WideLaw, list[Ahead]]:
        law = fit_wide(parts.columns[fitted], power_kw[fitted], prior, drift.alike_var(step_s))
        return law, run(PowerEnsemble(law, drift, step_s, seed, members), parts.columns, readings, within, steps)

    middle = (fit.start + fit.stop) // 2
    halves = slice(fit.start, middle), slice(middle, fit.stop)
    apart = [live(one, other)[1] for one, other in (halves, halves[::-1])]
    law, ahead = live(fit, slice(_begin(fit, test, step_s), test.stop))
    said = {}
    for row, each in enumerate(steps):
        start = start_of(np.concatenate([_z(power_kw, half[row]) for half in apart]))
        said[each] = _said(power_kw, ahead[row], each, start, fit)
    return Assimilation(drift, law, members, said)


def _begin(fit: slice, test: slice, step_s: float) -> int:
    """The sample the ensemble starts at: a warm-up before the end of the fit window, or the first of all readings."""
    return max(0, fit.stop - round(WARM_UP_S / step_s)) if fit.stop <= test.start else 0


def _z(power_kw: Floats, ahead: Ahead) -> Floats:
    return np.asarray((power_kw - ahead.mean_kw) / ahead.sd_kw)


def _said(power_kw: Floats, ahead: Ahead, steps: int, start: tuple[float, float], fit: slice) -> Said:
    z = _z(power_kw, ahead)
    z[fit] = np.nan  # inside the fit window errors are smaller than they will be
    low, high = follow(z, steps, start)
    return Said(ahead.mean_kw, ahead.mean_kw + low * ahead.sd_kw, ahead.mean_kw + high * ahead.sd_kw)


def opponents(
    power_kw: Floats, regressions: dict[str, Floats], fit: slice, steps: int, step_s: float
) -> dict[str, Floats]:
    """Return each regression with its last residual held and with its residual smoothed and damped (n,).

    Gain and damping are those with the least error in the fit window, refitted here for each horizon.
    """
    answer = {}
    for name in REGRESSIONS:
        model = regressions[name]
        damped = choose(power_kw, model[None], fit, steps, slow_gain(step_s))
        answer[f"{name}, residual smoothed and damped"] = forecast_kw(model, power_kw - model, damped)
        answer[f"{name}, last residual held"] = forecast_kw(model, power_kw - model, held(steps))
    return answer


def against(
    power_kw: Floats, twin_kw: Floats, others: dict[str, Floats], test: slice, step_s: float, seed: int
) -> list[dict[str, object]]:
    """Return a row per opponent: its MAPE and the interval of (our MAPE - its), drawn by days and by 6 h."""
    rows = []
    for name, said in others.items():
        y, f, b = power_kw[test], twin_kw[test], said[test]
        seen = np.isfinite(y) & np.isfinite(f) & np.isfinite(b)
        row: dict[str, object] = {"name": name, "mape": mape(y[seen], b[seen]) if seen.any() else None}
        difference = relative_errors(y[seen], f[seen]) - relative_errors(y[seen], b[seen])
        for key, block_s in (("diff_ci90_days", DAY_S), ("diff_ci90_6h", DAY_S / 4)):
            low, high = block_bootstrap_ci(difference, round(block_s / step_s), seed)
            row[key] = [low, high] if np.isfinite(low) else None
        rows.append(row)
    return rows


def checks(power_kw: Floats, said: Said, fit: slice, test: slice, step_s: float) -> dict[str, object]:
    """Return what is said of the interval: coverage of separate forecasts with its binomial bounds, and its width.

    The width is compared with the narrower of two climatologies of the fit window: the central 80 % of all its
    readings, and that of each hour of the day, in the mean over the hours (from two days on: one day repeats nothing).
    """
    from scipy.stats import binom

    picked = slice(test.start, test.stop, max(1, round(CHECK_EVERY_S / step_s)))
    y, low, high = power_kw[picked], said.low_kw[picked], said.high_kw[picked]
    seen = np.isfinite(y) & np.isfinite(low) & np.isfinite(high)
    n = int(seen.sum())
    if not n:
        return {"coverage80_checked": None, "coverage80_n": 0, "coverage80_reason": "no forecast has its reading"}
    inside = float(np.mean((y[seen] >= low[seen]) & (y[seen] <= high[seen])))
    bounds = [float(v) / n for v in binom.interval(LEVEL, n, 0.8)]
    width_kw = float(np.nanmean((said.high_kw - said.low_kw)[test]))
    whole, hourly = climatology_kw(power_kw, fit, step_s)
    return {
        "coverage80_checked": inside,
        "coverage80_n": n,
        "coverage80_every_s": CHECK_EVERY_S,
        "coverage80_binomial_ci99": bounds,
        "coverage80_ok": bounds[0] <= inside <= bounds[1],
        "width_kw": width_kw,
        "climatology_width_kw": whole,
        "climatology_hourly_width_kw": hourly,
        "width_rel": width_kw / min(whole, hourly or whole) if whole else None,
        "width_rel_whole": width_kw / whole if whole else None,
        **({} if whole else {"width_rel_reason": "the power of the fit window never changed"}),
    }


def climatology_kw(power_kw: Floats, fit: slice, step_s: float) -> tuple[float, float | None]:
    """Return the width of the central 80 % of the fit window's readings, and its mean over the hours of the day."""
    seen = np.isfinite(power_kw[fit])
    y = power_kw[fit][seen]
    whole = float(np.diff(np.quantile(y, [TAIL, 1.0 - TAIL]))[0])
    if (fit.stop - fit.start) * step_s < LEAST_DAYS * DAY_S:
        return whole, None
    hour = (np.arange(fit.start, fit.stop)[seen] * step_s / 3600.0).astype(np.int64) % 24
    each = [np.diff(np.quantile(y[hour == h], [TAIL, 1.0 - TAIL]))[0] for h in np.unique(hour)]
    return whole, float(np.mean(each))
