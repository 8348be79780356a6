"""Readings of one channel and step beside what was expected of them: what is judged, then taken in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twin.kernels import Kernels
from twin.sync.assimilate import Correction
from twin.sync.operators import Operator
from twin.sync.sensorfaults import Heard

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """What was said (sensors, values), how it is judged, members' predictions (None where only means are kept)."""

    operator: Operator
    at: Places
    value: Array
    time_ms: Places
    heard: Heard
    error_var: Array
    noise_var: Array
    predicted: Array | None

    def take(self, use: NDArray[np.bool_]) -> Asked:
        """Some of them; what was heard stays whole."""
        predicted = None if self.predicted is None else self.predicted[:, use]
        return replace(
            self, at=self.at[use], value=self.value[use], time_ms=self.time_ms[use], error_var=self.error_var[use],
            noise_var=self.noise_var[use], predicted=predicted,
        )  # fmt: skip


def together(
    predicted: Array, value: Array, error_var: Array, noise_var: Array, group: Places, kernels: Kernels
) -> tuple[Places, Places, Correction]:
    """Return groups that spoke, the place of each reading's among them, and the correction by the mean of each.

    n sensors have 1/n of the error variance.
    """
    places, of = np.unique(group, return_inverse=True)
    n = np.bincount(of).astype(np.float64)
    mean = kernels.sync_groups(predicted, of, len(places)) / n
    said, error, noise = (np.bincount(of, values) / n for values in (value, error_var, noise_var))
    return places, of, Correction(*kernels.sync_gain(mean, said, error / n, noise))
