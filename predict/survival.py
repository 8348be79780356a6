"""Probabilities over time: the horizons, survival from hazards, and time-to-failure quantiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Upper edges of the bins and at once the horizons of every fast kind [s]: 10, 20, 30 min, 1, 3, 6, 12, 24 h.
HORIZONS_S: tuple[int, ...] = (600, 1200, 1800, 3600, 10800, 21600, 43200, 86400)
QUANTILES = (0.1, 0.5, 0.9)
SURE = 1.0 - 1e-12


def fail_prob(hazards: Array) -> Array:
    """Return P(fail within each bin's end) from hazards (n, bins): 1 - prod(1 - h). Never falls with the horizon."""
    return 1.0 - np.cumprod(1.0 - hazards, axis=-1)


def time_quantiles_s(p_fail: Array) -> Array:
    """Return times [s] at which P(fail) (n, bins) reaches 10, 50 and 90 %, (n, 3); NaN where the last bin does not.

    Inside a bin the hazard is constant, so the cumulative hazard is linear in time.
    """
    cumulative = np.concatenate([np.zeros((len(p_fail), 1)), -np.log1p(-np.minimum(p_fail, SURE))], axis=1)
    edges = np.array([0, *HORIZONS_S], float)
    out = np.full((len(p_fail), len(QUANTILES)), np.nan)
    for column, quantile in enumerate(QUANTILES):
        need = -np.log1p(-quantile)
        bin_ = np.minimum(np.count_nonzero(cumulative < need, axis=1), len(HORIZONS_S))
        low, high = np.take_along_axis(cumulative, np.stack([np.maximum(bin_ - 1, 0), bin_], axis=1), axis=1).T
        share = (need - low) / np.maximum(high - low, 1e-300)
        time_s = edges[np.maximum(bin_ - 1, 0)] + share * (edges[bin_] - edges[np.maximum(bin_ - 1, 0)])
        out[:, column] = np.where(cumulative[:, -1] >= need, time_s, np.nan)
    return out


def log_likelihood(hazards: Array, event_s: Array, censor_s: Array) -> Array:
    """Return log L (n,) of hazards (n, bins): failed at event_s (NaN if not), else seen healthy until censor_s.

    A bin counts as survived by the share of it that was seen, so a censored window says what it knows and no more.
    """
    survived, failed = exposure(event_s, censor_s)
    safe = np.clip(hazards, 1e-12, SURE)
    return (survived * np.log1p(-safe) + failed * np.log(safe)).sum(axis=1)


def exposure(event_s: Array, censor_s: Array) -> tuple[Array, Array]:
    """Return (share of each bin survived, 1 in the bin of the failure), both (n, bins)."""
    start = np.array([0, *HORIZONS_S[:-1]], float)
    end = np.array(HORIZONS_S, float)
    event, until = np.asarray(event_s, float)[:, None], np.asarray(censor_s, float)[:, None]
    failed = (event > start) & (event <= end)
    seen = np.where(np.isnan(event), until, np.where(failed | (event <= start), start, end))
    return np.clip((seen - start) / (end - start), 0.0, 1.0), failed.astype(float)
