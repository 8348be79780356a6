"""How well a channel is followed: statistics of innovations, what was read less what had been predicted.

All forget with a time constant of about 50 rounds. A filter that is what it takes itself for has a mean near 0, a mean
square near the expected one (chi-square 1 a reading) and innovations that know nothing of each other (lag-1
correlation 0).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from twin.kernels import Kernels

Array = NDArray[np.float64]
Places = NDArray[np.int64]

MEMORY = 0.98
JUMP_SIGMAS = 5.0
SMALL = 1e-6  # relative errors of readings nearer to nothing count as whole
Z80 = 1.2816  # 80 % of a normal distribution lie within so many standard deviations
STATISTICS = (
    "mean", "residual2", "persistence2", "expected2", "nis", "level", "relative", "persistence_relative", "inside",
    "lag1",
)  # fmt: skip


@dataclass
class Following:
    """Running means over the rounds of one channel, each round the mean over the sensors that spoke."""

    last: Array  # newest reading of each sensor, nan before its first
    scaled: Array = field(init=False)
    """Newest innovation of each over its expected size, nan before its first."""
    n: int = 0
    mean: float = 0.0
    residual2: float = 0.0
    persistence2: float = 0.0
    expected2: float = 0.0
    nis: float = 0.0
    lag1: float = 0.0
    pairs: int = 0
    level: float = 0.0
    relative: float = 0.0
    persistence_relative: float = 0.0
    inside: float = 0.0

    def __post_init__(self) -> None:
        """No innovation yet."""
        self.scaled = np.full_like(self.last, np.nan)

    def note(self, at: Places, value: Array, difference: Array, expected: Array, kernels: Kernels) -> None:
        """Take one round of innovations of the sensors `at`, judged where they had spoken before.

        expected: variance of the difference. Persistence says nothing about a first reading, so the twin is not judged
        by it either. A single jump (a fault) counts for a bounded amount: only a divergence that lasts is the twin's.
        """
        found = np.zeros(len(STATISTICS))
        n, pairs = kernels.sync_statistics(at, value, difference, expected, self.last, self.scaled, found)
        if n:
            for name, new in zip(STATISTICS[:-1], found.tolist(), strict=False):
                setattr(self, name, _blend(self.n, getattr(self, name), new))
            self.n += 1
        if pairs:
            self.lag1 = _blend(self.pairs, self.lag1, float(found[-1]))
            self.pairs += 1

    def row(self) -> dict[str, float | int | None]:
        """Return the statistics: root mean squares, mean, chi-square a reading, lag-1 correlation, rounds.

        Bias is forecast less reading; figures relative to a level of 0 are None.
        """
        level = abs(self.level)
        return {
            "rmse": self.residual2**0.5,
            "mape": self.relative,
            "nmbe": -self.mean / level if level > SMALL else None,
            "cv_rmse": self.residual2**0.5 / level if level > SMALL else None,
            "persistence_rmse": self.persistence2**0.5,
            "persistence_mape": self.persistence_relative,
            "coverage80": self.inside,
            "expected": self.expected2**0.5,
            "mean": self.mean,
            "sd": max(self.residual2 - self.mean**2, 0.0) ** 0.5,
            "chi2": self.nis,
            "lag1": self.lag1 / self.nis if self.nis > 0.0 else 0.0,
            "n": self.n,
        }


def _blend(n: int, old: float, new: float) -> float:
    keep = min(MEMORY, n / (n + 1.0))
    return keep * old + (1.0 - keep) * new
