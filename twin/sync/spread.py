"""The least spread of an ensemble: what is too narrow is widened, members that have become equal are spread anew."""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from twin.sync.assimilate import mean_of

Array = NDArray[np.float64]

FLAT_FRAC = 1e-6  # a spread below this share of the least one is rounding, with no direction worth scaling


def inflate(array: Array, least_sd: float | Array) -> None:
    """Widen each component's spread (M, C) to a least standard deviation, in place; an ensemble of one has none.

    Members that have become equal (clipped at a bound) are spread anew by their place in the ensemble: scaling nothing
    gives nothing, and a parameter without spread would never listen again. A least spread of 0 asks for nothing.
    """
    members = len(array)
    if members < 2:
        return
    least = np.broadcast_to(np.asarray(least_sd, dtype=np.float64), array.shape[1:])
    mean = mean_of(array)
    deviation = array - mean
    sd = np.sqrt(np.einsum("mc,mc->c", deviation, deviation) / members)
    if (sd >= least).all():
        return
    flat = sd <= FLAT_FRAC * least
    factor = np.where(~flat & (sd < least), least / np.where(flat, 1.0, sd), 1.0)
    narrow = np.flatnonzero(factor > 1.0)
    if len(narrow):
        array[:, narrow] = mean[narrow] + (array[:, narrow] - mean[narrow]) * factor[narrow]
    which = np.flatnonzero(flat & (least > 0.0))
    if len(which):
        # neighbours begin at different places, so that their deviations do not all point the same way
        place = (np.arange(members)[:, None] + which[None, :]) % members
        array[:, which] = mean[which] + least[which] * quantiles(members)[place]


@lru_cache(maxsize=16)
def quantiles(members: int) -> Array:
    """Return standard-normal quantiles, one per member, with mean 0 and standard deviation 1; 0 for one alone."""
    z = np.array([NormalDist().inv_cdf((i + 0.5) / members) for i in range(members)])
    return np.asarray((z - z.mean()) / (z.std() or 1.0))
