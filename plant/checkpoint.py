"""Checkpoints: how often to save, what saving costs, how much a stop loses. Pure laws over arrays.

A synchronous save stops the job until it is complete; an asynchronous one copies the state aside (a short stall) and
writes it while the job works on. Either way a stop falls back to the last save that is *complete*.

The twin charges saving as a slower pace, so that no save cuts a step: `checkpoint_s` of work take `checkpoint_s` plus
the stall. At that pace a synchronous save is complete exactly when the next interval of work is; an asynchronous one
`lag_s` of work later. Sources: Young 1974, Daly 2006 (the textbook forms in notes/incidents.md C); the stall of
asynchronous saves from ByteRobust (blocking time -99.69 %, notes/incidents.md C).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

STORE_GB_PER_S = 2.0  # what one node writes to a network store: 1 to 3 GB/s (notes/incidents.md C)
ASYNC_STALL_FRAC = 0.0031  # share of the save that still blocks when it is asynchronous (ByteRobust)
BYTES_PER_PARAMETER = 14.0  # mixed-precision Adam (notes/incidents.md C)


def save_time_s(state_gb: ArrayLike, gb_per_s: ArrayLike = STORE_GB_PER_S, writers: ArrayLike = 1.0) -> Array:
    """Return how long one save takes [s]: state [GB] written by `writers` nodes at gb_per_s each."""
    return np.asarray(np.asarray(state_gb, dtype=np.float64) / (np.asarray(gb_per_s) * np.asarray(writers)))


def young_daly_s(save_s: ArrayLike, mtbf_s: ArrayLike) -> Array:
    """Return the interval of work between saves that wastes least [s], first order: sqrt(2 * save * MTBF).

    >>> round(float(young_daly_s(60.0, 7.9 * 3600.0)) / 60.0)
    31
    """
    return np.asarray(np.sqrt(2.0 * np.asarray(save_s, dtype=np.float64) * np.asarray(mtbf_s)))


def daly_s(save_s: ArrayLike, mtbf_s: ArrayLike) -> Array:
    """Return Daly's interval of higher order [s]; the MTBF itself once a save takes two of them (Daly 2006, eq. 37)."""
    save, mtbf = np.asarray(save_s, dtype=np.float64), np.asarray(mtbf_s, dtype=np.float64)
    x = save / (2.0 * mtbf)
    best = np.sqrt(2.0 * save * mtbf) * (1.0 + np.sqrt(x) / 3.0 + x / 9.0) - save
    return np.asarray(np.where(save < 2.0 * mtbf, best, mtbf))


def stall_s(save_s: ArrayLike, asynchronous: ArrayLike) -> Array:
    """Return for how long one save holds the job up [s]."""
    save = np.asarray(save_s, dtype=np.float64)
    return np.asarray(np.where(asynchronous, save * ASYNC_STALL_FRAC, save))


def lag_s(save_s: ArrayLike, asynchronous: ArrayLike) -> Array:
    """Return how much further the job has worked when a save of it is complete [s at full speed]."""
    save = np.asarray(save_s, dtype=np.float64)
    return np.asarray(np.where(asynchronous, save * (1.0 - ASYNC_STALL_FRAC), 0.0))


def pace_frac(checkpoint_s: ArrayLike, save_s: ArrayLike, asynchronous: ArrayLike = False) -> Array:
    """Return the share of its speed that a job keeps beside its saves; 1 for one that saves at no cost.

    An interval of 0 means that a stop loses nothing: such a class keeps its state elsewhere and saves for free.
    """
    interval = np.asarray(checkpoint_s, dtype=np.float64)
    stall = stall_s(save_s, asynchronous)
    return np.asarray(np.where(interval > 0.0, interval / np.maximum(interval + stall, 1e-12), 1.0))


def efficiency_frac(checkpoint_s: ArrayLike, save_s: ArrayLike, mtbf_s: ArrayLike, restart_s: ArrayLike = 0.0) -> Array:
    """Return useful work over elapsed time under exponential failures and synchronous saves, exactly.

    Daly 2006, eq. 13: an interval takes M e^(R/M) (e^((tau+C)/M) - 1) on average; a restart may fail as well.
    """
    tau, mtbf = np.asarray(checkpoint_s, dtype=np.float64), np.asarray(mtbf_s, dtype=np.float64)
    takes = mtbf * np.exp(np.asarray(restart_s) / mtbf) * np.expm1((tau + np.asarray(save_s)) / mtbf)
    return np.asarray(tau / takes)


def waste_frac(checkpoint_s: ArrayLike, save_s: ArrayLike, mtbf_s: ArrayLike, restart_s: ArrayLike = 0.0) -> Array:
    """Return the wasted share of time, first order: C / tau + tau / (2 M) + R / M (notes/recovery.md)."""
    tau, mtbf = np.asarray(checkpoint_s, dtype=np.float64), np.asarray(mtbf_s, dtype=np.float64)
    return np.asarray(np.asarray(save_s) / tau + tau / (2.0 * mtbf) + np.asarray(restart_s) / mtbf)
