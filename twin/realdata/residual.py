"""The site's measured power corrects the twin's: the last residuals, smoothed and damped, are added to the forecast.

    b_i = b_{i-1} + a (r_i - b_{i-1}),    s_i likewise with the slow gain,    r = measured - model
    forecast(i) = model(i) + d b_{i-h} + (1 - d) s_{i-h}

s is the level of the last half day: what the fit does not explain on these days. b follows faster; a (how fast) and d
(how much of its distance from s is left h later) are chosen per horizon on the fit window. a = d = 1 is "the last
residual held". Where a reading is missing, b and s stay as they were.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GAINS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05, 0.025, 0.01)
SLOW_S = 12 * 3600.0
DAMPINGS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)


@dataclass(frozen=True)
class Correction:
    """How residuals are used `steps` ahead: gain a, damping d, gain of the slow level."""

    steps: int
    gain: float
    damping: float
    slow_gain: float


def slow_gain(step_s: float) -> float:
    """Gain of the slow level for samples step_s apart."""
    return min(1.0, step_s / SLOW_S)


def held(steps: int) -> Correction:
    """Return "the last residual held"."""
    return Correction(steps, 1.0, 1.0, 0.0)


def smoothed(residual_kw: Floats, gains: tuple[float, ...]) -> Floats:
    """Return b for each gain (samples, gains); NaN before the first residual."""
    gain = np.asarray(gains)
    answer = np.full((len(residual_kw), len(gains)), np.nan)
    b: Floats | None = None
    for i, r in enumerate(residual_kw.tolist()):
        if r == r:  # not NaN
            b = np.full(len(gains), r) if b is None else b + gain * (r - b)
        if b is not None:
            answer[i] = b
    return answer


def forecast_kw(model_kw: Floats, residual_kw: Floats, correction: Correction) -> Floats:
    """Return the forecast for each sample from what was known `steps` earlier; the bare model where nothing was."""
    b, s = smoothed(residual_kw, (correction.gain, correction.slow_gain)).T
    level = correction.damping * b + (1.0 - correction.damping) * s
    return np.asarray(model_kw + np.nan_to_num(_delayed(level, correction.steps)))


def choose(measured_kw: Floats, models_kw: Floats, fit: slice, steps: int, slow: float) -> Correction:
    """Return the gain and damping with the least MAPE inside the fit window, in the mean over several models.

    models_kw: (m, samples); slow: gain of the slow level.
    The models should be out of fold in the window, so that their residuals are as large as they will be outside it.
    """
    error = np.zeros((len(GAINS), len(DAMPINGS)))
    for model_kw in models_kw:
        error += _errors(measured_kw[fit], model_kw[fit], steps, slow)
    a, d = np.unravel_index(int(np.argmin(error)), error.shape)
    return Correction(steps, GAINS[a], DAMPINGS[d], slow)


def _errors(y: Floats, m: Floats, steps: int, slow: float) -> Floats:
    """MAPE for each gain and damping; all zero (so that the held residual wins) where nothing can be said."""
    delayed = np.column_stack([_delayed(b, steps) for b in smoothed(y - m, (*GAINS, slow)).T])
    seen = np.isfinite(y) & np.isfinite(m) & np.isfinite(delayed).all(axis=1)
    if not seen.any():
        return np.zeros((len(GAINS), len(DAMPINGS)))
    y, m, b, s = y[seen, None], m[seen, None], delayed[seen, :-1], delayed[seen, -1:]
    return np.column_stack([np.mean(np.abs(m + d * b + (1.0 - d) * s - y) / y, axis=0) for d in DAMPINGS])


def _delayed(series: Floats, steps: int) -> Floats:
    if steps == 0:
        return series
    return np.concatenate([np.full(min(steps, len(series)), np.nan), series[:-steps]])
