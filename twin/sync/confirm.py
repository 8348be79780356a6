"""Slow channels: a surprising reading counts only once its sensor has said the same twice.

Such a reading stands for minutes, until the next one; a lone wrong one would do so too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.state import State
from twin.sync.names import Key

Array = NDArray[np.float64]
Places = NDArray[np.int64]

UNSEEN_FRAC = 0.05  # at least so far apart
SAME_FRAC = 0.15  # two surprising readings that differ by less say the same


def unseen_frac(s: State, key: Key, at: Places) -> Array:
    """How far the members lie apart, as a share of what they predict, where only their mean was kept."""
    frac = np.full(len(at), UNSEEN_FRAC)
    if key == ("node", "power_kw") and s.members > 1:
        frac = np.maximum(frac, s.node_power_scale[:, at].std(axis=0))
    return frac


class Confirm:
    """What each sensor of a slow channel last said that surprised, nan where it did not."""

    def __init__(self) -> None:
        """Nobody has surprised."""
        self._said: dict[Key, Array] = {}

    def sure(self, key: Key, size: int, at: Places, value: Array, surprising: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell which readings count, and remember the others; size: how many sensors the channel has."""
        said = self._said.setdefault(key, np.full(size, np.nan))
        again = np.abs(value - said[at]) <= SAME_FRAC * np.abs(value)
        said[at] = np.where(surprising, value, np.nan)
        return np.asarray(~surprising | again)
