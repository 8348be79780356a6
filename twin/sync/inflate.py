"""How wide the ensemble stays: a least spread for what readings narrow, and forgetting where nothing is heard.

Without them 32 members agree after an hour on values that are slightly wrong, and never listen again.
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.state import State
from twin.sync.assimilate import columns, mean_of, put
from twin.sync.parameters import BY_NAME, PARAMETERS, Parameter, bounds_of

Array = NDArray[np.float64]
Places = NDArray[np.intp]

FLAT_FRAC = 1e-6  # a spread below this share of the least one is rounding, with no direction worth scaling
DOUBT = 72.0  # a component whose sensor is shut out forgets so many times faster


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
        array[:, which] = mean[which] + least[which] * _quantiles(members)[place]


@lru_cache(maxsize=16)
def _quantiles(members: int) -> Array:
    """Return standard-normal quantiles, one per member, with mean 0 and standard deviation 1."""
    z = np.array([NormalDist().inv_cdf((i + 0.5) / members) for i in range(members)])
    return np.asarray((z - z.mean()) / z.std())


class Widths:
    """Bounds and spreads of the parameters of one site."""

    def __init__(self, site: Site) -> None:
        """Look up the bounds."""
        self.bounds = {p.name: bounds_of(site, p) for p in PARAMETERS}
        self.limits = {
            p.name: tuple(np.log(np.maximum(b, 1e-12)) if p.log else b for b in self.bounds[p.name]) for p in PARAMETERS
        }
        """Bounds in the form in which each moves."""

    def take_in(self, array: Array, name: str, at: Places, old: Array, new: Array) -> None:
        """Take corrected values (M, at) of a parameter into its array (M, C); old, new: in the form in which it moves.

        No member moves further than the parameter's step; the spread keeps its floor, values their bounds. `new` is
        what was taken, but for rounding.
        """
        p = BY_NAME[name]
        most = np.log1p(p.step) if p.log else p.step
        np.clip(new, old - most, old + most, out=new)
        low, high = (limit[at] if len(limit) > 1 else limit for limit in self.limits[name])
        np.clip(new, low, high, out=new)
        inflate(new, p.floor * p.prior_sd)
        there = self.bounds[p.name][1] > 0.0  # a hall without structure keeps none
        back = np.exp(new) if p.log else np.clip(new, low, high)
        if not there.all():
            back = np.where(there[at] if len(there) > 1 else there, back, columns(array, at))
        put(array, at, back)

    def forget(self, s: State, passed_ms: int, doubtful: dict[str, NDArray[np.bool_]]) -> None:
        """Widen every parameter's spread a little towards its prior one; faster where `doubtful` (C,) by name."""
        if s.members < 2 or passed_ms <= 0:
            return
        for p in PARAMETERS:
            array = s.arrays[p.name]
            share = passed_ms / (p.forget_h * 3.6e6)
            doubt = doubtful.get(p.name)
            grows = share if doubt is None else np.where(doubt, DOUBT * share, share)
            self._widen(array, p, grows)

    def _widen(self, array: Array, p: Parameter, grows: float | Array) -> None:
        if not (spread_of(array, p) < p.prior_sd**2).any():
            return
        values = moving(array, p)
        mean = mean_of(values)
        deviation = values - mean
        sd2 = np.einsum("mc,mc->c", deviation, deviation) / len(values)
        wider = np.minimum(sd2 + grows * p.prior_sd**2, np.maximum(p.prior_sd**2, sd2))
        factor = np.sqrt(wider / np.maximum(sd2, 1e-300))
        factor = np.where(sd2 > (FLAT_FRAC * p.prior_sd) ** 2, factor, 1.0)
        new = mean + deviation * factor
        low, high = self.bounds[p.name]
        array[...] = np.where(high > 0.0, np.clip(np.exp(new) if p.log else new, low, high), array)


def spread_of(array: Array, p: Parameter) -> Array:
    """Return the variance of each component (C,), relative where it moves in its logarithm: good enough to compare."""
    mean = mean_of(array)
    deviation = array - mean
    variance = np.einsum("mc,mc->c", deviation, deviation) / len(array)
    return np.asarray(variance / np.maximum(mean, 1e-12) ** 2 if p.log else variance)


def moving(values: Array, p: Parameter) -> Array:
    """The form in which a parameter moves: its logarithm, or itself."""
    return np.log(np.maximum(values, 1e-12)) if p.log else values.copy()
