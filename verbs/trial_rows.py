"""Rows of a trial: how far forecasts of inlets are from what came, beside persistence; windows sorted by a rule.

A window is one rack from the instant of a forecast to the instant it is for. It is a *transient* when the true inlet
changes by more than 0.5 K over it, else *calm*; it is *foreseeable* when nothing begins or ends in its hall within it:
no load comes or goes, no set-point is changed, no machine stops or comes back. Both follow from the story and the truth
alone, not from any forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.streams import uniform
from verbs.trial_run import TICK_MS, Forecast, Trial
from verbs.trial_story import SENSORS, START_MS

Array = NDArray[np.float64]
TRANSIENT_K = 0.5
Z80 = 1.2816  # half width of the middle 80 % of a normal distribution, in standard deviations
RESAMPLES = 2000


@dataclass(frozen=True)
class Windows:
    """All windows of one trial and horizon by column, shape (n,): errors [K] and of which kind each is."""

    transient: NDArray[np.bool_]
    foreseeable: NDArray[np.bool_]
    error: Array
    """Of the forecast against the truth."""
    held: Array
    """Of the last reading held, against the truth."""
    held_truth: Array
    """Of the last true value held, which nobody has, against the truth."""
    error_read: Array
    """Of the forecast of the reading against the reading."""
    held_read: Array
    """Of the last reading held, against the reading."""
    inside: NDArray[np.bool_]
    """The truth lies in the stated middle 80 %."""
    inside_read: NDArray[np.bool_]

    def of(self, which: NDArray[np.bool_]) -> Windows:
        """Return some of the windows."""
        return Windows(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def windows(trial: Trial, who: str, horizon_s: int) -> Windows:
    """Return the windows of one twin's forecasts with a horizon [s]."""
    said = [f for f in trial.twins[who].forecasts if f.for_ms - f.made_ms == horizon_s * 1000]
    parts = [_windows(trial, f) for f in said]
    return Windows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _windows(trial: Trial, f: Forecast) -> tuple[Any, ...]:
    at, then = (f.made_ms - START_MS) // TICK_MS, (f.for_ms - START_MS) // TICK_MS
    true_now, true_then, read_now, read_then = (
        trial.true_c[at], trial.true_c[then], trial.read_c[at], trial.read_c[then],
    )  # fmt: skip
    site = trial.story.site
    taken_by_surprise = {
        site.hall_ids.index(h.hall) for h in trial.story.happenings() if f.made_ms < h.at_ms <= f.for_ms
    }
    error, error_read = f.mean_c - true_then, f.mean_c + f.bias_k - read_then
    read_sd = np.hypot(f.read_sd_k, SENSORS.temp_k)
    return (
        np.abs(true_then - true_now) > TRANSIENT_K, ~np.isin(site.rack_hall, list(taken_by_surprise)),
        error, read_now - true_then, true_now - true_then, error_read, read_now - read_then,
        np.abs(error) <= Z80 * f.sd_k, np.abs(error_read) <= Z80 * read_sd,
    )  # fmt: skip


def rows(trials: Sequence[tuple[int, str, dict[str, Windows]]], horizon_s: int, seed: int) -> list[dict[str, Any]]:
    """Return one row for each twin and kind of window, pooled over trials; trials: (seed, story, windows by twin)."""
    out = []
    for who in trials[0][2]:
        for kind in ("transient", "calm"):
            for foreseeable in (True, False):
                picked = [(number, _pick(by[who], kind, foreseeable)) for number, _, by in trials]
                out.append(_row(who, kind, foreseeable, horizon_s, picked, seed))
    return out


def _pick(w: Windows, kind: str, foreseeable: bool) -> Windows:
    which = w.transient if kind == "transient" else ~w.transient
    return w.of(which & w.foreseeable if foreseeable else which)


def _row(
    who: str, kind: str, foreseeable: bool, horizon_s: int, picked: list[tuple[int, Windows]], seed: int
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "channel": "rack_inlet", "correction": who, "windows": kind, "causes": "known" if foreseeable else "all",
        "horizon_s": horizon_s, "n": sum(len(w.error) for _, w in picked),
    }  # fmt: skip
    if not row["n"]:
        return row | {"rmse": None, "reason": "no such window"}
    everything = [w for _, w in picked if len(w.error)]
    total = {name: np.concatenate([getattr(w, name) for w in everything]) for name in Windows.__dataclass_fields__}
    said, held = _rms(total["error"]), _rms(total["held"])
    said_read, held_read = _rms(total["error_read"]), _rms(total["held_read"])
    return row | {
        "rmse": said, "persistence_rmse": held, "ratio": said / held, "ratio_ci90": _interval(picked, seed),
        "rmse_reading": said_read, "persistence_rmse_reading": held_read, "ratio_reading": said_read / held_read,
        "ratio_reading_ci90": _interval(picked, seed, "error_read", "held_read"),
        "true_value_held_rmse": _rms(total["held_truth"]),
        "coverage80": float(total["inside"].mean()), "coverage80_reading": float(total["inside_read"].mean()),
        "worst_seed_ratio": max(_rms(w.error) / max(_rms(w.held), 1e-9) for w in everything),
    }  # fmt: skip


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _interval(
    picked: list[tuple[int, Windows]], seed: int, error: str = "error", held: str = "held"
) -> list[float] | None:
    """Return the middle 90 % of the ratio when whole seeds are drawn again: racks of one site are alike."""
    numbers = sorted({number for number, _ in picked})
    if len(numbers) < 2:
        return None
    place = {number: i for i, number in enumerate(numbers)}
    sums = np.zeros((2, len(numbers)))
    for number, w in picked:
        sums[0, place[number]] += float((getattr(w, error) ** 2).sum())
        sums[1, place[number]] += float((getattr(w, held) ** 2).sum())
    luck = uniform(seed, "trial bootstrap", np.arange(RESAMPLES)[:, None], 0, np.arange(len(numbers))[None, :])
    drawn = np.minimum((luck * len(numbers)).astype(np.int64), len(numbers) - 1)
    ratio = np.sqrt(sums[0][drawn].sum(axis=1) / np.maximum(sums[1][drawn].sum(axis=1), 1e-12))
    return [float(q) for q in np.quantile(ratio, [0.05, 0.95])]
