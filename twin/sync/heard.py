"""Readings of one step as they are judged: beside each what was predicted, and what the plant may do at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Heard:
    """Readings of one step: sensor numbers, values, what was predicted (mean, expected variance), and units.

    jump_var: variance of what the plant may do at once; drift_k: how far a sensor may pull parameters away, in its own
    unit, before it is taken for drifting; 0: nobody could tell.
    """

    sensor: Ints
    value: Array
    mean: Array
    var: Array
    jump_var: Array
    unit: str | NDArray[np.object_]
    drift_k: Array
    shared: Array | None = None
    """What all of their hall say beyond the prediction, where that is the air that they share; None: nothing."""

    def in_common(self) -> Array:
        """What each shares with its hall, 0 for nothing."""
        return np.zeros(len(self.value)) if self.shared is None else self.shared

    def unit_of(self, i: int) -> str:
        """The unit of one reading."""
        return str(self.unit if isinstance(self.unit, str) else self.unit[i])
