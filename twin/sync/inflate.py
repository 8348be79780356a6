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
from twin.sync.assimilate import columns, put
from twin.sync.parameters import BY_NAME, PARAMETERS, Parameter, bounds_of
from twin.sync.spread import quantiles

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
        p, held, (least, most) = BY_NAME[name], columns(array, at), self.limits[name]
        old = np.log(np.maximum(held, 1e-12)) if p.log else held
        new, moved = np.empty_like(old), np.empty((2, len(at)))
        kernels.sync_bounded(
            old, at, source, parts.deviation, parts.table, self.most[name], least, most, p.floor * p.prior_sd,
            quantiles(len(old)), new, moved,
        )  # fmt: skip
        low, high = self.bounds[name]
        back = np.exp(new) if p.log else np.clip(new, *(b[at] if len(b) > 1 else b for b in (low, high)))
        if name in self.absent:
            there = high > 0.0
            back = np.where(there[at] if len(there) > 1 else there, back, held)
        put(array, at, back)
        return moved[0], moved[1]

    def forget(self, s: State, passed_ms: int, doubtful: dict[str, NDArray[np.bool_]], kernels: Kernels) -> None:
        """Widen every parameter's spread a little towards its prior one; faster where `doubtful` (C,) by name."""
        if s.members < 2 or passed_ms <= 0:
            return
        for p in PARAMETERS:
            array, prior_var = s.arrays[p.name], p.prior_sd**2
            if not kernels.sync_narrow(array, prior_var, p.log):
                continue
            share, doubt = np.array([passed_ms / (p.forget_h * 3.6e6)]), doubtful.get(p.name)
            values = moving(array, p)
            kernels.sync_forget(values, share if doubt is None else np.where(doubt, DOUBT * share, share), prior_var)
            low, high = self.bounds[p.name]
            new = np.clip(np.exp(values) if p.log else values, low, high)
            array[...] = np.where(high > 0.0, new, array) if p.name in self.absent else new


def moving(values: Array, p: Parameter) -> Array:
    """The form in which a parameter moves: its logarithm, or itself."""
    return np.log(np.maximum(values, 1e-12)) if p.log else values.copy()


def _moving_bounds(p: Parameter, low: Array, high: Array) -> tuple[Array, Array]:
    return moving(low, p), moving(high, p)
