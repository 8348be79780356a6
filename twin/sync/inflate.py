"""How wide the ensemble stays: a least spread for what readings narrow, and forgetting where nothing is heard.

Without them 32 members agree after an hour on values that are slightly wrong, and never listen again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.columns import Parts
from twin.state import State
from twin.sync.assimilate import columns, mean_of, put
from twin.sync.parameters import BY_NAME, PARAMETERS, Parameter, bounds_of
from twin.sync.spread import FLAT_FRAC, quantiles

if TYPE_CHECKING:
    from twin.kernels import Kernels

Array = NDArray[np.float64]
Places = NDArray[np.intp]

DOUBT = 72.0  # a component whose sensor is shut out forgets so many times faster


class Widths:
    """Bounds and spreads of the parameters of one site."""

    def __init__(self, site: Site) -> None:
        """Look up the bounds."""
        self.bounds = {p.name: bounds_of(site, p) for p in PARAMETERS}
        self.limits = {p.name: _moving_bounds(p, *self.bounds[p.name]) for p in PARAMETERS}
        """Bounds in the form in which each moves."""
        self.most = {p.name: float(np.log1p(p.step)) if p.log else p.step for p in PARAMETERS}
        self.absent = {name for name, (_, high) in self.bounds.items() if not (high > 0.0).all()}
        """Parameters that some components do not have: a hall without structure keeps none."""

    def move(
        self, array: Array, name: str, at: Places, source: Places, parts: Parts, kernels: Kernels
    ) -> tuple[Array, Array]:
        """Move some components of a parameter (M, C) by their corrections, in place.

        No member moves further than the parameter's step; the spread keeps its floor, values their bounds. Return the
        mean step of each (at,) in the form in which it moves, and what one unit of it changes in what is predicted.
        """
        p, held = BY_NAME[name], columns(array, at)
        old = np.log(np.maximum(held, 1e-12)) if p.log else held
        least_sd, limits = p.floor * p.prior_sd, self.limits[name]
        new, step, effect = kernels.sync_bounded(
            old, at, source, parts, self.most[name], limits[0], limits[1], least_sd, quantiles(len(old))
        )
        low, high = self.bounds[name]
        back = np.exp(new) if p.log else np.clip(new, *(b[at] if len(b) > 1 else b for b in (low, high)))
        if name in self.absent:
            there = high > 0.0
            back = np.where(there[at] if len(there) > 1 else there, back, held)
        put(array, at, back)
        return step, effect

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


def _moving_bounds(p: Parameter, low: Array, high: Array) -> tuple[Array, Array]:
    return moving(low, p), moving(high, p)
