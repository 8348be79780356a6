"""Windows of a source that are asked again a little: what was told before is left out, what came late is told."""

from __future__ import annotations

import numpy as np

from twin.telemetry.samples import Samples, Series

Key = tuple[Series, int, float | str]


class Seen:
    """Remembers the samples of the stretch of time that will be asked again."""

    def __init__(self) -> None:
        self._keys: set[Key] = set()

    def fresh(self, samples: Samples, from_ms: int) -> Samples:
        """The samples not told before; those at or after `from_ms` are remembered for the next time.

        The same series and time with another value is a correction and fresh. A question that begins at `from_ms`
        or later must have been asked whole, so what is not in it now is forgotten.
        """
        series = samples.series
        keys = [
            (series[which], at, samples.text.get(row, value if value == value else ""))
            for row, (which, at, value) in enumerate(
                zip(samples.which.tolist(), samples.time_ms.tolist(), samples.value.tolist(), strict=True)
            )
        ]
        new = np.array([key not in self._keys for key in keys], dtype=bool)
        self._keys = {key for key in keys if key[1] >= from_ms}
        return taken(samples, np.flatnonzero(new))


def taken(samples: Samples, rows: np.ndarray) -> Samples:
    """The samples at these rows, in their order."""
    text = {}
    if samples.text:
        text = {new: samples.text[old] for new, old in enumerate(rows.tolist()) if old in samples.text}
    return Samples(samples.series, samples.which[rows], samples.time_ms[rows], samples.value[rows], text)
