"""Which sensor a reading comes from: names of components and channels to numbers, for whole batches at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from twin.telemetry.store import Batch

Key = tuple[str, str]
Ints = NDArray[np.int64]


class Names:
    """Numbers every sensor of some keys (kind, channel): sensor `first[key] + i` is the i-th component of that key."""

    def __init__(self, sensors: Mapping[Key, Sequence[str]]) -> None:
        """Build the tables; a component's name belongs to one kind."""
        self.keys = list(sensors)
        self.size = {key: len(ids) for key, ids in sensors.items()}
        starts = np.concatenate([[0], np.cumsum([len(ids) for ids in sensors.values()])]).astype(np.int64)
        self.first = dict(zip(self.keys, starts.tolist(), strict=False))
        self.count = int(starts[-1])
        self.component = {name: i for i, name in enumerate(dict.fromkeys(n for ids in sensors.values() for n in ids))}
        self.channel = {name: i for i, name in enumerate(dict.fromkeys(channel for _, channel in self.keys))}
        self.ids = [name for ids in sensors.values() for name in ids]
        self.key_of = np.repeat(np.arange(len(self.keys)), np.diff(starts))
        # one row and one column more than there are names: what nobody knows ends there
        self._table = np.full((len(self.channel) + 1, len(self.component) + 1), -1, dtype=np.int64)
        for (_, channel), start, ids in zip(self.keys, starts.tolist(), sensors.values(), strict=False):
            columns = np.array([self.component[name] for name in ids], dtype=np.int64)
            self._table[self.channel[channel], columns] = start + np.arange(len(ids))

    def of(self, key: Key) -> slice:
        """Return the numbers of the sensors of a key."""
        return slice(self.first[key], self.first[key] + self.size[key])

    def find(self, batch: Batch) -> Ints:
        """Return the number of the sensor of each reading, -1 for one that is no sensor of the twin."""
        n = len(batch)
        component = np.fromiter(map(self.component.get, batch.component.tolist(), repeat(-1)), np.int64, n)
        channel = np.fromiter(map(self.channel.get, batch.channel.tolist(), repeat(-1)), np.int64, n)
        return np.asarray(self._table[channel, component])
