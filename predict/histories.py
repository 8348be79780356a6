"""Histories: the readings of one component up to its failure or to the end of what is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predict.features import MOMENT, moment_features, window_features
from predict.observer import Observer
from predict.watched import COLUMNS, WATCHES, Watched
from predict.windows import Array


@dataclass(frozen=True)
class History:
    """One component's readings: values (readings, channels) in the order of the watch table, NaN where not measured.

    `event_ms` is when it failed, None if it did not; `censor_ms` is how long it was watched. Readings from the
    failure on are never used: they are the failure, not its sign. `rare` marks what was made or picked because
    something happened, failure or near miss: there is far more of it than in nature, and it is weighted back.
    """

    kind: str
    component: str
    times_ms: NDArray[np.int64]
    values: Array
    event_ms: int | None
    censor_ms: int
    rare: bool = False

    @property
    def end_ms(self) -> int:
        """The failure if there was one, else the end of watching."""
        return self.censor_ms if self.event_ms is None else self.event_ms

    @property
    def hours(self) -> float:
        """How long it was watched before failing [h]."""
        return float(self.end_ms - int(self.times_ms[0])) / 3.6e6


@dataclass(frozen=True)
class Samples:
    """Training windows: (steps, n, inputs), kind code (n,), moment (n, s), event and censoring times ahead [s] (n,)."""

    window: NDArray[np.float32]
    kind: NDArray[np.int64]
    moment: NDArray[np.float32]
    event_s: Array
    censor_s: Array
    span_s: Array  # component time each sample stands for
    history: NDArray[np.int64]  # which history it was cut from

    def pick(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Samples:
        """Return the samples named by a mask or by indices."""
        return Samples(
            self.window[:, rows],
            self.kind[rows],
            self.moment[rows],
            self.event_s[rows],
            self.censor_s[rows],
            self.span_s[rows],
            self.history[rows],
        )


def from_store(
    store: Any, watched: Watched, start_ms: int, end_ms: int, failed_ms: Mapping[str, int] | None = None
) -> list[History]:
    """Cut a store's window [start_ms, end_ms) into one history per watched component; `failed_ms`: the failures."""
    batch = store.read(list(watched.ids), None, start_ms, end_ms)
    return from_batch(batch, watched, end_ms, failed_ms or {})


def from_batch(batch: Any, watched: Watched, end_ms: int, failed_ms: Mapping[str, int]) -> list[History]:
    """Cut readings into one history per watched component that has any; one that failed ends there."""
    pairs = zip(np.asarray(batch.component).tolist(), np.asarray(batch.channel).tolist(), strict=True)
    cell = np.array([watched.cells.get(pair, -1) for pair in pairs], np.int64)
    order = np.lexsort((np.asarray(batch.time_ms), cell // COLUMNS))
    order = order[cell[order] >= 0]
    row, bounds = np.unique(cell[order] // COLUMNS, return_index=True)
    parts = np.split(order, bounds[1:])
    return [
        _one(batch, watched, int(name), part, cell, end_ms, failed_ms) for name, part in zip(row, parts, strict=True)
    ]


def _one(
    batch: Any,
    watched: Watched,
    row: int,
    part: NDArray[np.int64],
    cell: NDArray[np.int64],
    end_ms: int,
    failed_ms: Mapping[str, int],
) -> History:
    kind, component = watched.kind_of_row[row], watched.ids[row]
    times, at = np.unique(np.asarray(batch.time_ms, np.int64)[part], return_inverse=True)
    values = np.full((len(times), len(WATCHES[kind])), np.nan)
    values[at, cell[part] % COLUMNS] = np.asarray(batch.value, float)[part]
    return History(kind, component, times, values, failed_ms.get(component), end_ms)


def samples(
    histories: Sequence[History],
    kinds: Sequence[str],
    *,
    step_s: float = 30.0,
    steps: int = 60,
    every_s: float = 300.0,
    near_every_s: float = 60.0,
    near_s: float = 7200.0,
) -> Samples:
    """Replay all histories side by side through the windows of the scorer and cut samples as it would see them.

    A sample every `every_s`, and every `near_every_s` within `near_s` of a failure, where there is something to learn;
    `span_s` keeps the natural proportion.
    """
    watched = _side_by_side(histories)
    order = [int(name) for name in watched.ids]
    ordered = [histories[index] for index in order]
    observer = Observer(watched, step_s, steps)
    step_ms = int(step_s * 1000)
    time_ms, cell, value, end_ms, failed = _aligned(ordered, step_ms)
    code = np.array([kinds.index(history.kind) for history in ordered])
    dense, sparse = max(1, round(near_every_s / step_s)), max(1, round(every_s / step_s))
    last_slot = int(end_ms.max() // step_ms)
    bounds = np.searchsorted(time_ms // step_ms, np.arange(last_slot + 2))
    parts: list[Samples] = []
    for slot in range(last_slot + 1):
        chunk = slice(bounds[slot], bounds[slot + 1])
        observer.take(time_ms[chunk], cell[chunk], value[chunk])
        now_ms = (slot + 1) * step_ms - 1
        observer.advance(now_ms)
        if slot % dense:
            continue
        left_s = (end_ms - now_ms) / 1000.0
        near = failed & (left_s <= near_s)
        wanted = (left_s > 0) & (near | (slot % sparse == 0)) & ready(observer, now_ms)
        rows = np.flatnonzero(wanted)
        if len(rows):
            span_s = np.where(near[rows], dense, sparse) * step_s
            parts.append(_cut(observer, rows, code, left_s, failed, span_s, order))
    return _joined(parts)


def ready(observer: Observer, now_ms: int) -> NDArray[np.bool_]:
    """Which rows the network may judge: every judged channel has a reference and was heard of lately, (rows,)."""
    judged = observer.reference.worse != 0
    fresh = now_ms - observer.windows.newest_ms <= 6 * observer.windows.step_ms
    return np.asarray(((observer.reference.warm & fresh) | ~judged).all(axis=1))


def _side_by_side(histories: Sequence[History]) -> Watched:
    components: dict[str, list[str]] = {}
    for index, history in enumerate(histories):
        components.setdefault(history.kind, []).append(str(index))
    return Watched(components, {})


def _aligned(histories: Sequence[History], step_ms: int) -> tuple[Any, ...]:
    """Move every history to start at 0; return sorted (time, cell, value), ends and whether each one failed."""
    times, cells, values = [], [], []
    end_ms = np.empty(len(histories), np.int64)
    for row, history in enumerate(histories):
        start = int(history.times_ms[0]) // step_ms * step_ms
        end_ms[row] = history.end_ms - start
        used = history.times_ms < history.end_ms
        at, column = np.nonzero(np.isfinite(history.values) & used[:, None])
        times.append(history.times_ms[at] - start)
        cells.append(row * COLUMNS + column)
        values.append(history.values[at, column])
    time_ms = np.concatenate(times)
    order = np.argsort(time_ms, kind="stable")
    failed = np.array([history.event_ms is not None for history in histories])
    return time_ms[order], np.concatenate(cells)[order], np.concatenate(values)[order], end_ms, failed


def _cut(
    observer: Observer,
    rows: NDArray[np.int64],
    code: NDArray[np.int64],
    left_s: Array,
    failed: NDArray[np.bool_],
    span_s: Array,
    order: Sequence[int],
) -> Samples:
    return Samples(
        window_features(observer.windows, observer.reference, rows),
        code[rows],
        moment_features(observer.residual(), observer.reference, rows),
        np.where(failed[rows], left_s[rows], np.nan),
        left_s[rows],
        span_s,
        np.array(order)[rows],
    )


def _joined(parts: Iterable[Samples]) -> Samples:
    found = list(parts)
    if not found:
        empty = np.zeros(0)
        none = np.zeros(0, np.int64)
        return Samples(
            np.zeros((0, 0, 0), np.float32), none, np.zeros((0, MOMENT), np.float32), empty, empty, empty, none
        )
    return Samples(
        np.concatenate([part.window for part in found], axis=1),
        *(
            np.concatenate([getattr(part, name) for part in found])
            for name in ("kind", "moment", "event_s", "censor_s", "span_s", "history")
        ),
    )
