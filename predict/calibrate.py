"""Calibration on a later block: one temperature and one bias per kind on the logits of the hazards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from predict.encoder import sigmoid
from predict.survival import log_likelihood

Array = NDArray[np.float64]

# Fewer failures than this do not settle two numbers: such a kind takes those of all kinds together.
ENOUGH_EVENTS = 10
# A pull towards (1, 0) worth one observation: keeps a separable block from sending the temperature to infinity.
PULL = 1.0


def fit(
    logits: Array, kind: NDArray[np.int64], event_s: Array, censor_s: Array, weight: Array, kinds: Sequence[str]
) -> Array:
    """Return (temperature, bias) for each kind, (kinds, 2), by weighted survival likelihood of held-out windows."""
    shared = _fit_one(logits, event_s, censor_s, weight, np.array([1.0, 0.0]))
    out = np.tile(shared, (len(kinds), 1))
    for code in range(len(kinds)):
        mine = kind == code
        if np.count_nonzero(np.isfinite(event_s[mine])) >= ENOUGH_EVENTS:
            out[code] = _fit_one(logits[mine], event_s[mine], censor_s[mine], weight[mine], shared)
    return out


def hazards(logits: Array, kind: NDArray[np.int64], parameters: Array) -> Array:
    """Return calibrated hazards (n, bins) from logits (n, bins)."""
    scale, bias = parameters[kind].T
    return sigmoid(scale[:, None] * logits + bias[:, None])


def _fit_one(logits: Array, event_s: Array, censor_s: Array, weight: Array, start: Array) -> Array:
    def loss(free: Array) -> float:
        each = -log_likelihood(sigmoid(np.exp(free[0]) * logits + free[1]), event_s, censor_s)
        return float((weight * each).sum() + PULL * (free[0] ** 2 + (free[1] - start[1]) ** 2))

    # only a positive scale keeps the order of risks, so its logarithm is free
    found = minimize(loss, np.array([np.log(start[0]), start[1]]), method="Nelder-Mead", options={"maxiter": 200})
    return np.array([np.exp(found.x[0]), found.x[1]])
