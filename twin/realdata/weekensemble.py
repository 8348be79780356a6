"""Assimilation of the week's power: members carry a law of their own and two drifts, every reading corrects them all.

The correction is the live twin's (`twin.sync.assimilate.update`): one observation, every state of a member moves by its
covariance with what the member said. Jobs are known, so a member's forecast is its law at the coming use of the hosts
plus what is left of its drifts; the spread of the members and the noise to come give the width.

Noise is drawn by chance and then made exactly white and uncorrelated with every state of the members. All here is
linear, so mean and covariance of the members are then those of the Kalman filter, whatever the seed: a few members
drawn freely would tie weights to drifts by chance, which cost up to a tenth of the skill in trials.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant.streams import normal
from twin.realdata.drift import BOUND2, Drift
from twin.realdata.widelaw import WideLaw
from twin.sync.assimilate import Observed, update

Floats = NDArray[np.float64]

MEMBERS = 128
# A law drifts: hosts come and go behind the meter. By as much as the fit left open, in two days [assumed].
DRIFT_S = 2 * 86_400.0
BLOCK = 20  # samples whose noise is drawn together; the weights, which are slow, move once in a block


@dataclass(frozen=True)
class Ahead:
    """Forecasts for one horizon on the grid of readings: mean and standard deviation (n,), NaN where none was made."""

    mean_kw: Floats
    sd_kw: Floats


class PowerEnsemble:
    """States of the members: weights (M, k) of the law and drifts (M, 2), in one array (M, k + 2)."""

    def __init__(self, law: WideLaw, drift: Drift, step_s: float, seed: int, members: int = MEMBERS) -> None:
        """Draw members with exactly the mean and covariance of the fit, and drifts from their long-run spread."""
        self.drift, self.step_s, self.seed = drift, step_s, seed
        k = len(law.mean)
        # directions for a mean, all states and the noise of one block, all at right angles
        self.members = max(members, 2 * k + 2 * BLOCK + 8)
        root = np.linalg.cholesky(law.covariance + 1e-12 * np.diag(np.diag(law.covariance)))
        self._root_of_move = root * np.sqrt(BLOCK * step_s / DRIFT_S)
        self.state = np.zeros((self.members, k + 2))
        fresh = self._white(0, k + 2)
        self.state[:, :k] = law.mean + fresh[:, :k] @ root.T
        self.state[:, k:] = fresh[:, k:] * (drift.slow_kw, drift.fast_kw)
        self._weights, self._drifts = self.state[:, :k], self.state[:, k:]
        self._kept = np.array(drift.kept(step_s))
        self._noise_sd = np.array(drift.noise_sd(step_s))
        self._count = 0
        self._fresh = np.empty((self.members, 0))

    def step(self, parts: Floats, reading_kw: float) -> None:
        """Live one sample and take its reading (NaN: none came); parts (k,) are those of this sample."""
        self._live()
        if reading_kw != reading_kw:
            return
        said = self._said(parts, 1.0, 1.0)
        # an odd reading pulls no more than one at the bound would
        deviation = said - said.mean()
        variance = float(deviation @ deviation) / (self.members - 1)
        total = variance + self.drift.meter_kw**2
        z2 = (reading_kw - float(said.mean())) ** 2 / total
        error_var = total * float(np.sqrt(max(z2 / BOUND2, 1.0))) - variance
        observed = Observed(np.array([reading_kw]), np.ones(1, dtype=bool), error_var)
        update(said[:, None], observed, [], [self.state])

    def ahead(self, parts: Floats, steps: int) -> tuple[float, float]:
        """Return mean and standard deviation [kW] of the reading `steps` ahead, where the parts will be these."""
        span_s = steps * self.step_s
        said = self._said(parts, *self.drift.kept(span_s))
        slow_sd, fast_sd = self.drift.noise_sd(span_s)
        variance = float(said.var(ddof=1)) + slow_sd**2 + fast_sd**2 + self.drift.meter_kw**2
        return float(said.mean()), variance**0.5

    def _said(self, parts: Floats, slow: float, fast: float) -> Floats:
        return np.asarray(self.state @ np.concatenate([parts, (slow, fast)]))

    def _live(self) -> None:
        """Let the drifts of one step, and now and then those of the weights, happen."""
        place = self._count % BLOCK
        if place == 0:
            k = self._weights.shape[1]
            self._fresh = self._white(1 + self._count // BLOCK, k + 2 * BLOCK)
            self._weights += self._fresh[:, :k] @ self._root_of_move.T
            self._fresh = self._fresh[:, k:]
        self._drifts *= self._kept
        self._drifts += self._fresh[:, 2 * place : 2 * place + 2] * self._noise_sd
        self._count += 1

    def _white(self, block: int, n: int) -> Floats:
        """Return numbers (M, n) of mean 0 and unit covariance, uncorrelated with the members' states."""
        z = normal(self.seed, "week_noise", np.arange(self.members)[:, None], block, np.arange(n)[None, :])
        spread = self.state - self.state.mean(axis=0)
        spread /= np.maximum(spread.std(axis=0), 1e-12)
        q, _ = np.linalg.qr(np.column_stack([np.ones(self.members), spread, z]))
        return np.asarray(q[:, -n:] * np.sqrt(self.members - 1))


def run(
    ensemble: PowerEnsemble, columns: Floats, readings_kw: Floats, within: slice, steps: tuple[int, ...]
) -> list[Ahead]:
    """Let an ensemble live through a stretch of the series; return what it said for each number of steps ahead.

    columns (n, k), readings_kw (n,): the whole series, NaN where there is no news. A forecast for sample j was made at
    j - steps; those of the first samples of the stretch are missing.
    """
    n = len(readings_kw)
    mean, sd = np.full((len(steps), n), np.nan), np.full((len(steps), n), np.nan)
    values = readings_kw.tolist()
    for i in range(within.start, within.stop):
        ensemble.step(columns[i], values[i])
        for row, ahead in enumerate(steps):
            if i + ahead < within.stop:
                mean[row, i + ahead], sd[row, i + ahead] = ensemble.ahead(columns[i + ahead], ahead)
    return [Ahead(m, s) for m, s in zip(mean, sd, strict=True)]
