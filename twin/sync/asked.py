"""Readings of one channel and step beside what was expected of them: what is judged, then taken in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plant.channels import channel as channel_of
from twin.columns import Parts
from twin.kernels import Kernels
from twin.sync.heard import Heard
from twin.sync.lateness import Said
from twin.sync.names import Key, Names
from twin.sync.operators import Operator
from twin.sync.sensorfaults import Sensors

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """What was said (sensors of one operator, values), and what was expected: its mean, and variances (n,).

    var: of the difference; error_var, noise_var: the share of reading and model in it; predicted: of the members
    (M, n), None where only means are kept.
    """

    operator: Operator
    at: Places
    value: Array
    time_ms: Places
    mean: Array
    var: Array
    error_var: Array
    noise_var: Array
    predicted: Array | None

    def take(self, use: NDArray[np.bool_]) -> Asked:
        """Some of them."""
        one = self
        predicted = None if one.predicted is None else one.predicted.compress(use, axis=1)
        return Asked(
            one.operator, one.at[use], one.value[use], one.time_ms[use], one.mean[use], one.var[use],
            one.error_var[use], one.noise_var[use], predicted,
        )  # fmt: skip


class Expected(NamedTuple):
    """What members predicted for readings of one operator: (M, n) or None, its mean and variance (n,)."""

    operator: Operator
    said: Said
    predicted: Array | None
    mean: Array
    variance: Array


class Errors:
    """How far reading and model of every sensor may be off, by its number: the table of operators, laid out."""

    def __init__(self, names: Names, operators: Mapping[Key, Operator], first_sd: float) -> None:
        """first_sd: standard deviation of what is not known at all before a first reading."""
        self.names = names
        self.error_var, self.error_frac, self.noise_var, self.first_var = np.zeros((4, names.count))
        self.jump_var, self.jump_frac, self.drift_k = np.zeros((3, names.count))
        self.unit = np.full(names.count, "", dtype=object)
        for key, o in operators.items():
            at = slice(names.first[key], names.first[key] + names.size[key])
            self.error_var[at], self.error_frac[at] = o.error_sd**2, o.error_frac
            self.noise_var[at], self.first_var[at] = o.noise_sd**2, (first_sd if o.at_rest else o.noise_sd) ** 2
            self.jump_var[at], self.jump_frac[at], self.drift_k[at] = o.jump_sd**2, o.jump_frac, o.drift_k
            self.unit[at] = channel_of(*key).unit

    def ask(self, found: Sequence[Expected], last: Array, sensors: Sensors) -> tuple[list[Asked], Heard]:
        """Hold all readings of a round against what was expected of them; last (sensors,): nan before a first one."""
        ends = np.cumsum([0, *(len(e.mean) for e in found)]).tolist()
        sensor = np.concatenate([e.said.at + self.names.first[e.operator.key] for e in found])
        value, mean = np.concatenate([e.said.value for e in found]), np.concatenate([e.mean for e in found])
        noise_var = np.where(np.isfinite(last[sensor]), self.noise_var[sensor], self.first_var[sensor])
        error_var = self.error_var[sensor] + (self.error_frac[sensor] * mean) ** 2 + sensors.rounding_var(sensor)
        var = np.concatenate([e.variance for e in found]) + noise_var + error_var
        jump_var = self.jump_var[sensor] + (self.jump_frac[sensor] * mean) ** 2
        asked = [
            Asked(
                e.operator, e.said.at, e.said.value, e.said.time_ms, e.mean, var[i:k], error_var[i:k], noise_var[i:k],
                e.predicted,
            )
            for e, i, k in zip(found, ends[:-1], ends[1:], strict=True)
        ]  # fmt: skip
        return asked, Heard(sensor, value, mean, var, jump_var, self.unit[sensor], self.drift_k[sensor])


def correction(predicted: Array, value: Array, error_var: Array, noise_var: Array, kernels: Kernels) -> Parts:
    """Return the correction that follows from predictions (M, n) and what was read (n,)."""
    parts = Parts(np.empty(predicted.shape), np.empty((5, len(value))))
    kernels.sync_gain(predicted, value, error_var, noise_var, parts.deviation, parts.table)
    return parts


def together(
    predicted: Array, value: Array, error_var: Array, noise_var: Array, group: Places, kernels: Kernels
) -> tuple[Places, Places, Parts]:
    """Return groups that spoke, the place of each reading's among them, and the correction by the mean of each.

    n sensors have 1/n of the error variance.
    """
    places, of = np.unique(group, return_inverse=True)
    n = np.bincount(of).astype(np.float64)
    sums = np.empty((len(predicted), len(places)))
    kernels.sync_groups(predicted, of, sums)
    said, error, noise = (np.bincount(of, values) / n for values in (value, error_var, noise_var))
    return places, of, correction(sums / n, said, error / n, noise, kernels)
