"""What a source says in its own words, before a mapping: series by name and tags, samples by column.

Every reader (line protocol, InfluxDB, Prometheus, NUT, CSV, Parquet) gives `Samples`; `twin.telemetry.mapping` turns
them into readings and events. Series are few and samples many, so a rule is looked up once per series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Series:
    """One source-side series: measurement (or metric), field, tags in the order of their names.

    A long table's row has the measurement "", its channel as the field and the tag `component`.
    """

    measurement: str
    field: str
    tags: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, measurement: str, field: str, tags: Mapping[str, str] | None = None) -> Series:
        """A series from a dictionary of tags."""
        return cls(measurement, field, tuple(sorted((tags or {}).items())))

    def __str__(self) -> str:
        tags = "".join(f",{key}={value}" for key, value in self.tags)
        return f"{self.measurement}{tags} {self.field}" if self.measurement else f"{dict(self.tags)} {self.field}"


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples by column: series of each (index into `series`), Unix ms int64, value float64, all of shape (n,).

    Where a source gave words or nothing readable the value is NaN and `text` holds what stood there, by row number.
    A row whose time could not be read has the time NO_TIME_MS.
    """

    series: Sequence[Series]
    which: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    text: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.which)


NO_TIME_MS = -(2**62)


def no_samples() -> Samples:
    """Nothing was said."""
    return Samples((), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), {})


SAID_LENGTH = 80


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row, line or variable of a source that could not be read: where it stands, why, and how it begins."""

    where: str
    why: str
    said: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "said", ascii(self.said[:SAID_LENGTH])[1:-1])

    def __str__(self) -> str:
        return f"{self.where}: {self.why}" + (f" in `{self.said}`" if self.said else "")


@dataclass(frozen=True, slots=True)
class Read:
    """What one reading of a source gave: samples, and the rows that could not be read.

    more: there is more to be had at once, the rest of a long answer or file.
    """

    samples: Samples
    bad: tuple[BadRow, ...] = ()
    more: bool = False


class Gathered:
    """Samples put together one by one or block by block."""

    def __init__(self) -> None:
        self._slots: dict[Series, int] = {}
        self._which: list[int] = []
        self._time_ms: list[int] = []
        self._value: list[float] = []
        self._text: dict[int, str] = {}
        self.bad: list[BadRow] = []

    def __len__(self) -> int:
        return len(self._which)

    def slot(self, series: Series) -> int:
        """The number of a series, given out when it is first seen."""
        return self._slots.setdefault(series, len(self._slots))

    def add(self, slot: int, time_ms: int, value: float | str) -> None:
        """One sample; a word becomes NaN beside its text."""
        if isinstance(value, str):
            self._text[len(self._which)] = value
            value = np.nan
        self._which.append(slot)
        self._time_ms.append(time_ms)
        self._value.append(value)

    def read(self, more: bool = False) -> Read:
        """All that was put together."""
        which, time_ms = np.array(self._which, np.int64), np.array(self._time_ms, np.int64)
        value = np.array(self._value, np.float64)
        return Read(Samples(tuple(self._slots), which, time_ms, value, self._text), tuple(self.bad), more)


def joined(reads: Sequence[Read], more: bool = False) -> Read:
    """Several readings as one, in their order."""
    slots: dict[Series, int] = {}
    which, text, at = [], {}, 0
    for samples in (read.samples for read in reads):
        place = np.array([slots.setdefault(series, len(slots)) for series in samples.series], np.int64)
        which.append(place[samples.which] if len(samples) else np.empty(0, np.int64))
        text.update({at + row: word for row, word in samples.text.items()})
        at += len(samples)
    if not which:
        return Read(no_samples(), (), more)
    time_ms = np.concatenate([read.samples.time_ms for read in reads])
    value = np.concatenate([read.samples.value for read in reads])
    bad = tuple(row for read in reads for row in read.bad)
    return Read(Samples(tuple(slots), np.concatenate(which), time_ms, value, text), bad, more)
