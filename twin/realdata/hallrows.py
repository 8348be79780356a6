"""One row of `evaluate sync` for channels of several components on one grid of instants, in the words of contracts.md.

RMSE is the mean of the components' (racks') RMSE. Intervals are drawn by whole blocks of time, all components together,
because they share their weather.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.streams import uniform
from twin.realdata.hallahead import Told
from twin.realdata.hallbase import choose_smoothing, held_residual, smoothed_residual
from twin.realdata.metrics import RESAMPLES
from twin.realdata.tables import Bools, Floats

BLOCK_S = 1200.0  # residuals of a hall stay alike for ten minutes or so


@dataclass(frozen=True)
class Column:
    """What was measured and said, each (instants, components), NaN = none; `test` marks what is reported on.

    out_of_fold: what was said inside the fit window without having seen it, for the stated interval; baselines by name,
    the first is the one differences are taken to; zero: what relative figures count from; step_s: between instants.
    ahead: the forecasts of the ensemble that hears the readings, and how many of its standard deviations hold 80 %.
    """

    channel: str
    step_s: float
    measured: Floats
    twin: Floats
    out_of_fold: Floats
    baselines: dict[str, Floats]
    zero: Floats
    test: Bools
    refused: int
    ahead: tuple[Told, float]
    extra: dict[str, Any] = field(default_factory=dict)


def row(column: Column, horizon_s: float, seed: int) -> dict[str, Any]:
    """Return the row of a channel: open loop (0), or horizon_s ahead with the readings up to then heard.

    Ahead, the baselines have their last residual added, and stand beside the twin's open loop, the twin with its last
    residual held, and with its residuals smoothed (gain and damping chosen on residuals out of fold).
    """
    steps = max(1, round(horizon_s / column.step_s)) if horizon_s else 0
    y, f = column.measured, column.ahead[0].value if steps else column.twin
    said = column.baselines
    if steps:
        said = {name: values + held_residual(y - values, steps) for name, values in said.items()}
    seen = column.test & np.isfinite(y) & np.isfinite(f)
    answer: dict[str, Any] = {"channel": column.channel, "horizon_s": int(horizon_s), "n": int(seen.sum())}
    answer |= {"stale": int((column.test & ~np.isfinite(y)).sum()), "refused": column.refused}
    if not seen.any():
        return answer | dict.fromkeys(FIGURES) | {"reason": "no reading of the test window has a forecast"}
    answer |= figures(y, f, column.zero, seen)
    answer |= _band_ahead(y, column.ahead, seen) if steps else _interval(y, f, column, seen)
    answer |= _persistence(column, y, seen, steps)
    answer["rmse_ci90"] = _ci90(_squares(y, f, seen), seen, column.step_s, seed)
    if steps:
        answer["beside"] = [
            {"name": name, **figures(y, values, column.zero, seen)}
            | {"diff_ci90": _difference(y, f, values, seen, column.step_s, seed)}
            for name, values in _beside(column, steps).items()
        ]
        answer["open_loop_rmse"] = answer["beside"][0]["rmse"]
        answer["diff_vs_open_loop_ci90"] = answer["beside"][0]["diff_ci90"]
    return answer | _baselines(said, column, y, f, seen, seed) | (column.extra if not steps else _kept(column.extra))


def _beside(column: Column, steps: int) -> dict[str, Floats]:
    """What the same twin says without the ensemble: open loop, with its last residual, with smoothed residuals."""
    residual = column.measured - column.twin
    gain, damping = choose_smoothing(column.measured - column.out_of_fold, steps)
    return {
        "open_loop": column.twin,
        "held_residual": column.twin + held_residual(residual, steps),
        "smoothed_residual": column.twin + smoothed_residual(residual, steps, gain, damping),
    }


def _band_ahead(y: Floats, ahead: tuple[Told, float], seen: Bools) -> dict[str, Any]:
    """Share of readings inside the ensemble's 80 % band, and the band's mean width."""
    half = ahead[1] * ahead[0].sd[seen]
    inside = np.abs(y - ahead[0].value)[seen] <= half
    return {
        "coverage80": float(np.mean(inside)),
        "coverage80_n": int(seen.sum()),
        "band80_width": float(2.0 * np.mean(half)),
    }


def _difference(y: Floats, f: Floats, other: Floats, seen: Bools, step_s: float, seed: int) -> list[float] | None:
    """Interval of (our RMSE - the other's), drawn by whole blocks of time; None with fewer than two blocks."""
    ours, counts = _blocks(_squares(y, f, seen), seen, step_s)
    theirs, _ = _blocks(_squares(y, other, seen), seen, step_s)
    if len(ours) < 2:
        return None
    drawn = [_mean_rmse_of(ours[d], counts[d]) - _mean_rmse_of(theirs[d], counts[d]) for d in _draws(len(ours), seed)]
    low, high = np.quantile(drawn, [0.05, 0.95])
    return [float(low), float(high)]


FIGURES = (
    "rmse", "mape", "nmbe", "cv_rmse", "baseline_mape", "baseline_rmse", "below_10pct_frac", "persistence_rmse",
    "persistence_mape", "coverage80", "rmse_ci90", "diff_vs_baseline_ci90", "baselines",
)  # fmt: skip


def _kept(extra: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in extra.items() if k in ("unit", "inlets")}


def figures(y: Floats, f: Floats, zero: Floats, seen: Bools) -> dict[str, Any]:
    """Return RMSE in the mean over components, and the relative figures, which count from `zero`."""
    size, error = np.abs(y - zero)[seen], (f - y)[seen]
    mean = float(np.mean(size))
    rmse = _mean_rmse(_squares(y, f, seen), seen)
    relative = np.abs(error) / np.maximum(size, 1e-9)
    return {
        "rmse": rmse,
        "mape": float(np.mean(relative)),
        "nmbe": float(np.mean(error)) / mean,
        "cv_rmse": rmse / mean,
        "below_10pct_frac": float(np.mean(relative < 0.10)),
    }


def _squares(y: Floats, f: Floats, seen: Bools) -> Floats:
    return np.where(seen, (np.where(seen, f, 0.0) - np.where(seen, y, 0.0)) ** 2, 0.0)


def _mean_rmse(squares: Floats, seen: Bools) -> float:
    count = seen.sum(axis=0)
    there = count > 0
    return float(np.mean(np.sqrt(squares.sum(axis=0)[there] / count[there])))


def _ci90(squares: Floats, seen: Bools, step_s: float, seed: int) -> list[float] | None:
    """Interval of the mean RMSE, drawn by whole blocks of time of the test window; None with fewer than two."""
    sums, counts = _blocks(squares, seen, step_s)
    if len(sums) < 2:
        return None
    values = [_mean_rmse_of(sums[d], counts[d]) for d in _draws(len(sums), seed)]
    low, high = np.quantile(values, [0.05, 0.95])
    return [float(low), float(high)]


def _blocks(squares: Floats, seen: Bools, step_s: float) -> tuple[Floats, Floats]:
    """Sums and counts per block of the test window (blocks, components)."""
    there = np.flatnonzero(seen.any(axis=1))
    block = (np.arange(there[-1] - there[0] + 1) * step_s // BLOCK_S).astype(np.int64)
    inside = slice(there[0], there[-1] + 1)
    edges = np.flatnonzero(np.diff(block, prepend=-1))
    return (
        np.add.reduceat(squares[inside], edges, axis=0),
        np.add.reduceat(seen[inside].astype(np.float64), edges, axis=0),
    )


def _draws(n: int, seed: int) -> NDArray[np.int64]:
    luck = uniform(seed, "block_bootstrap", np.arange(RESAMPLES)[:, None], 0, np.arange(n)[None, :])
    return np.minimum((luck * n).astype(np.int64), n - 1)


def _mean_rmse_of(sums: Floats, counts: Floats) -> float:
    total, count = sums.sum(axis=0), counts.sum(axis=0)
    there = count > 0
    return float(np.mean(np.sqrt(total[there] / count[there])))


def _persistence(column: Column, y: Floats, seen: Bools, steps: int) -> dict[str, Any]:
    if not steps:
        reason = "open loop: no reading is used, so there is none to persist"
        return {"persistence_rmse": None, "persistence_mape": None, "persistence_reason": reason}
    last = held_residual(y, steps)
    both = seen & (last != 0.0)
    if not both.any():
        return {"persistence_rmse": None, "persistence_mape": None, "persistence_reason": "no earlier reading"}
    held = figures(y, last, column.zero, both)
    return {"persistence_rmse": held["rmse"], "persistence_mape": held["mape"]}


def _interval(y: Floats, f: Floats, column: Column, seen: Bools) -> dict[str, Any]:
    """Share of readings inside the stated 80 % interval: the forecast plus residuals' quantiles in the fit window."""
    rehearsed = column.out_of_fold
    residual = (y - rehearsed)[np.isfinite(y) & np.isfinite(rehearsed)]
    if len(residual) < 20:
        return {"coverage80": None, "coverage80_reason": "no interval was stated: the fit window is too short for one"}
    low, high = np.quantile(residual, [0.1, 0.9])
    inside = (y - f >= low) & (y - f <= high)
    return {"coverage80": float(np.mean(inside[seen])), "coverage80_n": int(seen.sum())}


def _baselines(said: dict[str, Floats], column: Column, y: Floats, f: Floats, seen: Bools, seed: int) -> dict[str, Any]:
    """The figures of the baselines on the same readings, and the interval of (our RMSE - the first one's)."""
    if not said:
        reason = (
            "no baseline models the inlets" if column.extra.get("inlets") == "modelled" else "no input for the lags"
        )
        return dict.fromkeys(("baseline_mape", "baseline_rmse", "diff_vs_baseline_ci90")) | {
            "baselines": [],
            "baseline_reason": reason,
        }
    each = [{"name": name, **figures(y, b, column.zero, seen & np.isfinite(b))} for name, b in said.items()]
    first = next(iter(said.values()))
    answer: dict[str, Any] = {"baselines": each}
    answer |= {"baseline_mape": each[0]["mape"], "baseline_rmse": each[0]["rmse"]}
    interval = _difference(y, f, first, seen, column.step_s, seed)
    if interval is None:
        return answer | {"diff_vs_baseline_ci90": None, "diff_reason": "the test window is shorter than two blocks"}
    return answer | {"diff_vs_baseline_ci90": interval, "diff_of": "rmse"}
