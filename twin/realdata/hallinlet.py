"""The air that racks draw in: from the coolers, with some of the racks' own heat come round, seen by slow sensors.

    seen by the sensors at once:  offset + cold share * discharge + own share * own rise + hall share * mean rise
                                  - washed away * surplus of the coolers' flow
    and slowly:                   + warmed share * own rise, after a lag of a quarter of an hour or so

A rise is what a rack adds to its air (exhaust minus inlet). A surplus of cooler flow over rack flow keeps warm air from
coming round. The slow part is metal in front of and around the servers that their own heat warms. The shares are fitted
(`fit_inlets`): racks differ, but a rack that saw no load in the fit borrows from those that did. First axis: the
parameter set (m).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from plant import thermal
from twin.realdata.hallbase import lagged
from twin.realdata.halltargets import Targets
from twin.realdata.tables import Bools, Floats

INLET_SD_K = 0.3  # what the model leaves over, with its correlation from round to round
TRIED_LAGS_S = (60.0, 120.0, 200.0)
TRIED_SLOW_S = (600.0, 900.0, 1400.0)


@dataclass(frozen=True)
class InletParams:
    """Intakes: (m, racks) for shares and offsets, (m, 1) for the two lags.

    offset_k: what the sensors read with no rise and air of 0 C; cold, own, hall, warmed: shares [K/K] as above;
    washed_k: what a surplus of 1 (coolers blow twice what the racks draw, each over its reference) takes away [K].
    """

    offset_k: Floats
    cold_frac: Floats
    own_frac: Floats
    warmed_frac: Floats
    hall_frac: Floats
    washed_k: Floats
    lag_s: Floats
    slow_s: Floats

    @property
    def cold_share_frac(self) -> Floats:
        """Share of each rack's air that comes from the coolers: what has not come round."""
        return np.clip(1.0 - self.own_frac - self.warmed_frac - self.hall_frac, 0.0, 1.0)


# middle, width of what all racks share, width of a rack's own deviation; air that comes round: a few per cent [assumed]
PRIORS = {
    "offset_k": (10.0, 5.0, 2.0),
    "cold_frac": (0.7, 0.15, 0.1),
    "own_frac": (0.05, 0.03, 0.03),
    "warmed_frac": (0.05, 0.03, 0.03),
    "hall_frac": (0.03, 0.02, 0.02),
    "washed_k": (5.0, 3.0, 2.0),
}


@dataclass
class Intake:
    """What the sensors at the racks' intakes see at once, and the metal warmed by the rack, each (m, racks)."""

    seen_c: Floats
    warm_k: Floats


class Intakes:
    """Intakes with their parameters, ready to be stepped."""

    def __init__(self, params: InletParams, dt_s: float) -> None:
        self.params = params
        self.seen_frac = thermal.reading_frac(params.lag_s, dt_s)
        self.warm_frac = thermal.reading_frac(params.slow_s, dt_s)

    def _drawn_c(self, cold_c: Floats, rise_k: Floats, surplus: Floats) -> Floats:
        p = self.params
        round_k = p.own_frac * rise_k + p.hall_frac * rise_k.mean(axis=1, keepdims=True)
        return np.asarray(p.offset_k + p.cold_frac * cold_c + round_k - p.washed_k * surplus)

    def at_rest(self, cold_c: Floats, rise_k: Floats, surplus: Floats) -> Intake:
        """Return intakes at rest; cold_c, surplus (m, 1), rise_k (m, racks)."""
        return Intake(self._drawn_c(cold_c, rise_k, surplus), rise_k + 0.0 * self.params.warmed_frac)

    def advance(self, intake: Intake, cold_c: Floats, rise_k: Floats, surplus: Floats) -> None:
        """Step the intakes by one cell in place."""
        drawn_c = self._drawn_c(cold_c, rise_k, surplus)
        intake.seen_c = intake.seen_c + self.seen_frac * (drawn_c - intake.seen_c)
        intake.warm_k = intake.warm_k + self.warm_frac * (rise_k - intake.warm_k)

    def inlet_c(self, intake: Intake) -> Floats:
        """Return what the inlet sensors read (m, racks)."""
        return np.asarray(intake.seen_c + self.params.warmed_frac * intake.warm_k)


@dataclass(frozen=True)
class InletFit:
    """Fitted intakes (one set) and how sure each rack's shares are: covariance (racks, shares, shares)."""

    params: InletParams
    covariance: Floats


def prior_inlets(racks: int) -> InletParams:
    """Return intakes in the middle of what is plausible."""
    shares = {name: np.full((1, racks), middle) for name, (middle, _, _) in PRIORS.items()}
    return InletParams(**shares, lag_s=np.array([[TRIED_LAGS_S[1]]]), slow_s=np.array([[TRIED_SLOW_S[1]]]))


def fit_inlets(
    cold_c: Floats, rise_k: Floats, surplus: Floats, targets: Targets, window: Bools, dt_s: float
) -> InletFit:
    """Fit the intakes on the inlets of `window` (racks, rounds).

    cold_c, surplus (cells, 1), rise_k (cells, racks): the discharge, the surplus of cooler flow, what racks add. The
    shares are a least-squares problem with priors; the two lags are the best of a few.
    """
    lags_s = (*TRIED_LAGS_S, *TRIED_SLOW_S)
    wide = [np.broadcast_to(x, rise_k.shape) for x in (cold_c, rise_k, rise_k.mean(axis=1, keepdims=True), surplus)]
    after = lagged(np.concatenate(wide, axis=1), lags_s, dt_s)
    racks = rise_k.shape[1]
    cold, rise, mean, extra = (
        [targets.sample(after[:, None, racks * i : racks * (i + 1), j], dt_s)[0] for j in range(len(lags_s))]
        for i in range(4)
    )
    fits = []
    for i, j in product(range(len(TRIED_LAGS_S)), range(len(TRIED_LAGS_S), len(lags_s))):
        columns = np.stack([np.ones(cold[i].shape), cold[i], rise[i], rise[j], mean[i], -extra[i]], axis=-1)
        fits.append(_shares(columns, targets, window, lags_s[i], lags_s[j]))
    return min(fits, key=lambda fit: fit[0])[1]


def _shares(columns: Floats, targets: Targets, window: Bools, lag_s: float, slow_s: float) -> tuple[float, InletFit]:
    """Return the cost of a pair of lags and the best shares with them; columns (racks, rounds, shares)."""
    middle, shared_sd, own_sd = (np.array(c) for c in zip(*PRIORS.values(), strict=True))
    racks, k = len(columns), len(middle)
    gram = np.diag(np.concatenate([shared_sd**-2.0, np.tile(own_sd**-2.0, racks)]))
    moment, cost = np.zeros(len(gram)), 0.0
    for r in range(racks):
        used = window[r] & np.isfinite(targets.inlet_c[r])
        x = columns[r, used] / INLET_SD_K
        y = targets.inlet_c[r, used] / INLET_SD_K - x @ middle
        at = [*range(k), *range(k * (r + 1), k * (r + 2))]
        both = np.concatenate([x, x], axis=1)
        gram[np.ix_(at, at)] += both.T @ both
        moment[at] += both.T @ y
        cost += float(y @ y)
    covariance = np.linalg.inv(gram)
    w = covariance @ moment
    each = middle + w[:k] + w[k:].reshape(racks, k)
    shares = {name: each[None, :, i] for i, name in enumerate(PRIORS)}
    params = InletParams(**shares, lag_s=np.array([[lag_s]]), slow_s=np.array([[slow_s]]))
    return cost - float(w @ moment), InletFit(params, _of_each(covariance, racks, k))


def _of_each(covariance: Floats, racks: int, k: int) -> Floats:
    """Return the covariance of every rack's shares: what is common plus its own deviation (racks, k, k)."""
    answer = np.empty((racks, k, k))
    for r in range(racks):
        own = slice(k * (r + 1), k * (r + 2))
        both = covariance[:k, own]
        answer[r] = covariance[:k, :k] + both + both.T + covariance[own, own]
    return answer
