"""What a law leaves unexplained, as two states: a slow drift and a fast one, both of first order and never measured.

    s(i) = a s(i-1) + noise,  a = exp(-step / slow_s),   f likewise with fast_s,   residual = s + f + error of the meter

The four numbers are those that make the residuals of the fit window most likely (a Kalman filter gives the likelihood
of each reading given those before it; Student's t bounds what one odd reading may say).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]

METER_FRAC = 0.001  # error of the meter, share of the mean power [assumed: the last digit of the readings]
MOST_READINGS = 20_000  # the newest of a long window: more would not change four numbers
LONGEST_S, SHORTEST_S = 4.5 * 86_400.0, 30.0  # a drift slower than the window cannot be told from the law's base
FREEDOM = 4.0  # degrees of freedom of Student's t
START = (7200.0, 300.0)
ROUNDS = 300


@dataclass(frozen=True)
class Drift:
    """Time constants [s] and standard deviations [kW] of the two states, and of the meter."""

    slow_s: float
    slow_kw: float
    fast_s: float
    fast_kw: float
    meter_kw: float

    def kept(self, span_s: float) -> tuple[float, float]:
        """Shares of the slow and the fast state that are left after a time."""
        return math.exp(-span_s / self.slow_s), math.exp(-span_s / self.fast_s)

    def noise_sd(self, span_s: float) -> tuple[float, float]:
        """Standard deviations of what is new in the two states after a time [kW]."""
        slow, fast = self.kept(span_s)
        return self.slow_kw * math.sqrt(1.0 - slow * slow), self.fast_kw * math.sqrt(1.0 - fast * fast)

    def alike_var(self, step_s: float) -> float:
        """Variance of a residual times the number of samples that tell the same [kW2]."""
        both = self.slow_kw**2 * self.slow_s + self.fast_kw**2 * self.fast_s
        return max(2.0 * both / step_s, self.slow_kw**2 + self.fast_kw**2, self.meter_kw**2)


def news(power_kw: Floats) -> Floats:
    """Return the readings with NaN where a meter repeats itself to the last digit: it has not been asked again."""
    answer = power_kw.copy()
    answer[1:][power_kw[1:] == power_kw[:-1]] = np.nan
    return answer


def fit_drift(residual_kw: Floats, step_s: float, mean_kw: float) -> Drift:
    """Return the most likely drift of residuals (n,), NaN where there is no news; a guess of 1 % where none are."""
    at = np.flatnonzero(np.isfinite(residual_kw))[-MOST_READINGS:]
    meter_kw = METER_FRAC * mean_kw
    if len(at) < 30:
        return Drift(START[0], 0.01 * mean_kw, START[1], 0.01 * mean_kw, meter_kw)
    r = residual_kw[at].tolist()
    gaps_s = [0.0, *(np.diff(at) * step_s).tolist()]
    spread = max(float(np.median(np.abs(residual_kw[at]))), meter_kw)

    def cost(q: Floats) -> float:
        slow_s, slow_kw, fast_s, fast_kw = (math.exp(min(v, 50.0)) for v in q.tolist())
        if slow_s > LONGEST_S or fast_s > slow_s or fast_s < SHORTEST_S or max(slow_kw, fast_kw) > 1e3 * mean_kw:
            return 1e6
        return -_log_likelihood(r, gaps_s, Drift(slow_s, slow_kw, fast_s, fast_kw, meter_kw))

    start = np.log([START[0], spread, max(START[1], 2.0 * step_s), spread])
    best = minimize(cost, start, method="Nelder-Mead", options={"maxiter": ROUNDS, "xatol": 0.02, "fatol": 1e-4})
    slow_s, slow_kw, fast_s, fast_kw = np.exp(best.x).tolist()
    return Drift(slow_s, slow_kw, fast_s, fast_kw, meter_kw)


def _log_likelihood(r: list[float], gaps_s: list[float], drift: Drift) -> float:
    """Mean log-likelihood of a reading given those before it; plain floats, because each step needs the one before."""
    vs, vf, vm = drift.slow_kw**2, drift.fast_kw**2, drift.meter_kw**2
    kept = {gap: drift.kept(gap) for gap in set(gaps_s)}
    s = f = c = 0.0
    ps, pf = vs, vf
    total = 0.0
    for value, gap in zip(r, gaps_s, strict=True):
        a, b = kept[gap]
        s, f = a * s, b * f
        ps, pf, c = a * a * ps + vs * (1.0 - a * a), b * b * pf + vf * (1.0 - b * b), a * b * c
        gs, gf = ps + c, pf + c
        v = gs + gf + vm
        e = value - s - f
        z2 = e * e / v
        total -= 0.5 * math.log(v) + 0.5 * (FREEDOM + 1.0) * math.log1p(z2 / FREEDOM)
        gain = 1.0 / (v if z2 <= BOUND2 else v * math.sqrt(z2 / BOUND2))
        s, f = s + gs * gain * e, f + gf * gain * e
        ps, pf, c = ps - gs * gs * gain, pf - gf * gf * gain, c - gs * gf * gain
    return total / len(r)


BOUND2 = 16.0  # squared bound of an innovation over its standard deviation: what lies beyond pulls no more than this
