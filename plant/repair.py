"""How things come back: heavy-tailed repairs, repairs that only seem to have worked, and waiting for a crew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant.faults import FaultLaws

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class RepairPath:
    """Two stages, each of exponential length: a script first, then with some probability a person.

    Both may leave the cause in place without anyone noticing; a repair that works cures a lemon. Structure: AIReSim
    (arXiv 2603.07041), notes/twins.md (f).
    """

    auto_mean_s: float
    manual_mean_s: float
    p_manual: float
    p_auto_fails: float
    p_manual_fails: float

    def goes_manual(self, u: Array) -> Flags:
        """Which repairs need a person, from uniform numbers."""
        return np.asarray(u < self.p_manual)

    def length_s(self, manual: Flags, auto_life: Array, manual_life: Array) -> Array:
        """Length of each repair [s] from unit exponential numbers."""
        return self.auto_mean_s * auto_life + np.where(manual, self.manual_mean_s * manual_life, 0.0)

    def leaves_cause(self, manual: Flags, u: Array) -> Flags:
        """Which repairs leave the cause in place, from uniform numbers."""
        return np.asarray(u < np.where(manual, self.p_manual_fails, self.p_auto_fails))


def length_s(laws: FaultLaws, kind: Ints, u: Array, z: Array) -> Array:
    """Time until a node is back in service [s]: a mixture of lognormals, the stage by u, its length by the normal z.

    Real repairs have a mean six times their median (notes/predict.md 1.1): no exponential with one mean has that.
    """
    stage = np.minimum((laws.stage_share[kind] < u[:, None]).sum(axis=1), laws.stage_share.shape[1] - 1)
    return np.asarray(laws.stage_median_s[kind, stage] * np.exp(laws.stage_sigma[kind, stage] * z))


def return_s(laws: FaultLaws, z: Array) -> Array:
    """Time until a fault whose repair only seemed to work is back [s], from normal numbers."""
    return np.asarray(laws.return_median_s * np.exp(laws.return_sigma * z))


def admit(since: Ints, free: Ints, never: int) -> Flags:
    """Who may start now: the `free` (rows,) longest waiting of each row of since (rows, n); `never` is not waiting.

    Ties go to the lower index, so that the order is a function of the state alone.
    """
    take = np.zeros(since.shape, dtype=bool)
    order = np.argsort(since, axis=1, kind="stable")
    ranks = np.arange(since.shape[1])[None, :] < free[:, None]
    np.put_along_axis(take, order, ranks, axis=1)
    return np.asarray(take & (since != never))


def crew_starts_s(arrival_s: Array, length_s: Array, crews: int) -> Array:
    """When each of n repairs starts [s] with so many crews, first come first served; arrays (rows, n), arrivals rising.

    The recursion of Kiefer and Wolfowitz: the next repair goes to the crew that is free first.
    """
    rows, n = arrival_s.shape
    free_s = np.zeros((rows, crews))
    start = np.empty_like(arrival_s)
    row = np.arange(rows)
    for i in range(n):
        first = free_s.argmin(axis=1)
        start[:, i] = np.maximum(arrival_s[:, i], free_s[row, first])
        free_s[row, first] = start[:, i] + length_s[:, i]
    return start
