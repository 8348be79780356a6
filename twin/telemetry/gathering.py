"""Readings of parts that count for the whole as well: the inlet of a rack as the mean over its nodes' inlets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from twin.telemetry.store import Batch, names_array

# Agents ask their machines one after the other: readings of one such span are of one moment.
SPAN_MS = 60_000


class Gatherer:
    """Means over the parts of each whole; the last span of each is corrected as more of its parts speak."""

    def __init__(self, kind_of: Mapping[str, str] | None) -> None:
        self._kind_of = kind_of or {}
        self._last: dict[tuple[str, str], tuple[int, float, int]] = {}
        self._direct: set[tuple[str, str]] = set()

    def heard(self, places: Iterable[tuple[str, str]]) -> None:
        """Places (component, channel) that have a sensor of their own: from now on no mean is put there."""
        self._direct.update(place for place in places if place[0] in self._kind_of)

    def wanted(self, whole: str, channel: str) -> bool:
        """Whether a whole has nothing of its own to say."""
        return (whole, channel) not in self._direct

    def whole(self, component: str, kind: str) -> str | None:
        """The component of a kind that holds another, by its path; None where the site has none."""
        while "/" in component:
            component = component.rpartition("/")[0]
            if self._kind_of.get(component) == kind:
                return component
        return None

    def means(
        self, place: NDArray[np.int64], places: list[tuple[str, str]], time_ms: NDArray[np.int64],
        value: NDArray[np.float64],
    ) -> Batch:  # fmt: skip
        """One reading for each (whole, channel) and span, at the start of the span, in order of time.

        place (n,): which of `places` each value counts for.
        """
        span = time_ms // SPAN_MS
        keys, which = np.unique(np.stack([span, place]), axis=1, return_inverse=True)
        sums = np.bincount(which, weights=value, minlength=keys.shape[1])
        counts = np.bincount(which, minlength=keys.shape[1])
        means = np.empty(len(sums))
        for n, (at, to) in enumerate(keys.T.tolist()):
            before = self._last.get(places[to])
            total, of = float(sums[n]), int(counts[n])
            if before is not None and before[0] == at:
                total, of = total + before[1], of + before[2]
            if before is None or at >= before[0]:
                self._last[places[to]] = (at, total, of)
            means[n] = total / of
        to = keys[1].tolist()
        return Batch(
            keys[0] * SPAN_MS, names_array([places[n][0] for n in to]), names_array([places[n][1] for n in to]), means
        )
