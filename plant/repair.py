"""How things come back: automatic and manual repair, and repairs that only seem to have worked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
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
