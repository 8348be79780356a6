"""The embedded store: one SQLite file, no server. The worker writes while the app reads, in two processes.

Readings are stored under integer series numbers (a series is one channel of one component). `tail` follows the order
of arrival batch by batch; its cursor is the number of the last batch seen, valid across processes and restarts.
"""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twin.telemetry import sqlite_retention
from twin.telemetry.retention import SPAN_MS, Dropped, Keep
from twin.telemetry.sqlite_file import connect, speaking_of, transaction
from twin.telemetry.store import BAD_EVENT, REFUSALS_KEPT, Batch, Event, Newest, Refusal, event_ok, name_ok, storable

_READING = np.dtype([("series", np.int64), ("time_ms", np.int64), ("value", np.float64)])

# Below this share of all series a read seeks each of them in each span; above, it scans the spans.
SEEK_FRAC = 0.5

_SEEK = """
SELECT series_id, time_ms, reading.value FROM span CROSS JOIN json_each(?1) AS wanted
CROSS JOIN reading ON reading.span = span.id AND series_id = wanted.value
WHERE span.id BETWEEN ?2 AND ?3 AND time_ms >= ?4 AND time_ms < ?5"""

_SCAN = """
SELECT series_id, time_ms, value FROM reading
WHERE span BETWEEN ?1 AND ?2 AND time_ms >= ?3 AND time_ms < ?4"""

# One number per row that orders by newest time, then by alphabetical channel: SQLite then picks the row itself.
_NEWEST = """
SELECT component.name, newest_ms, channel.name, newest_value, max(newest_ms * 65536 - channel.rank)
FROM series JOIN channel ON channel.id = channel_id JOIN component ON component.id = component_id
WHERE newest_ms >= 0 GROUP BY component_id"""

_NEWEST_OF_CHANNEL = """
SELECT component.name, newest_ms, ?2, newest_value FROM series JOIN component ON component.id = component_id
WHERE newest_ms >= 0 AND channel_id = ?1"""


class SqliteStore:
    """A `twin.telemetry.store.Store` in one file; safe to use from several threads and processes.

    `read_only` opens an existing file without the right to change it, for screens.
    """

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self._connection = connect(self.path, read_only=read_only)
        self._lock = threading.RLock()
        self._series: dict[tuple[str, str], int] = {}
        self._named: dict[int, tuple[str, str]] = {}

    def write(self, batch: Batch) -> int:
        good, bad = storable(batch)
        if bad:
            self.refuse_all(bad)
        if len(good):
            with self._at_work():
                series = self._series_of(good)
                with transaction(self._connection):
                    self._insert(series, good.time_ms, good.value)
        return len(good)

    def _insert(self, series: NDArray[np.int64], time_ms: NDArray[np.int64], value: NDArray[np.float64]) -> None:
        execute = self._connection.execute
        blobs = (series.astype("<i4").tobytes(), time_ms.astype("<i8").tobytes(), value.astype("<f8").tobytes())
        execute(
            "INSERT INTO arrival (series, time_ms, value, newest_ms) VALUES (?, ?, ?, ?)", (*blobs, int(time_ms.max()))
        )
        # In the order of the table, so that neighbours land in one page; a stable sort keeps corrections last.
        order = np.lexsort((time_ms, series))
        series, time_ms, value = series[order], time_ms[order], value[order]
        span = time_ms // SPAN_MS
        self._connection.executemany("INSERT OR IGNORE INTO span VALUES (?)", [(n,) for n in np.unique(span).tolist()])
        rows = zip(span.tolist(), series.tolist(), time_ms.tolist(), value.tolist(), strict=True)
        self._connection.executemany("INSERT OR REPLACE INTO reading VALUES (?, ?, ?, ?)", rows)
        last = np.flatnonzero(np.append(series[1:] != series[:-1], True))
        newest = zip(time_ms[last].tolist(), value[last].tolist(), series[last].tolist(), strict=True)
        self._connection.executemany(
            "UPDATE series SET newest_ms = ?1, newest_value = ?2 WHERE id = ?3 AND newest_ms <= ?1", newest
        )

    def _series_of(self, batch: Batch) -> NDArray[np.int64]:
        """The series number of each reading, shape (n,); new series are made."""
        keys = list(zip(batch.component.tolist(), batch.channel.tolist(), strict=True))
        try:
            numbers = [self._series[key] for key in keys]
        except KeyError:
            with transaction(self._connection):
                self._make_series(sorted(set(keys) - self._series.keys()))
            self._learn_series()
            numbers = [self._series[key] for key in keys]
        return np.array(numbers, dtype=np.int64)

    def _make_series(self, keys: Sequence[tuple[str, str]]) -> None:
        many = self._connection.executemany
        many("INSERT OR IGNORE INTO component (name) VALUES (?)", [(name,) for name in sorted({c for c, _ in keys})])
        many("INSERT OR IGNORE INTO channel (name) VALUES (?)", [(name,) for name in sorted({k for _, k in keys})])
        self._connection.execute(
            "UPDATE channel SET rank = (SELECT count(*) FROM channel AS other WHERE other.name < channel.name)"
        )
        many(
            "INSERT OR IGNORE INTO series (component_id, channel_id) SELECT component.id, channel.id "
            "FROM component, channel WHERE component.name = ? AND channel.name = ?",
            keys,
        )

    def _learn_series(self) -> None:
        """Take in the series that this or another process has made since."""
        rows = self._connection.execute(
            "SELECT series.id, component.name, channel.name FROM series JOIN component ON component.id = component_id "
            "JOIN channel ON channel.id = channel_id WHERE series.id > ?",
            (max(self._named, default=0),),
        )
        for number, component, channel in rows:
            self._series[component, channel] = number
            self._named[number] = (component, channel)

    def write_events(self, events: Sequence[Event]) -> int:
        good = [event for event in events if event_ok(event)]
        with self._at_work(), transaction(self._connection):
            self._connection.executemany(
                "INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?)",
                [(e.time_ms, e.component, e.type, e.code, e.text) for e in good],
            )
            self._count(Counter({BAD_EVENT: len(events) - len(good)}))
        return len(good)

    def read(
        self, components: Sequence[str] | None, channels: Sequence[str] | None, start_ms: int, end_ms: int
    ) -> Batch:
        with self._at_work():
            self._learn_series()
            wanted = self._wanted(components, channels)
            found = self._rows(wanted, _int64(start_ms), _int64(end_ms))
            rank = np.zeros(max(wanted, default=0) + 1, dtype=np.int64)
            rank[wanted] = np.arange(len(wanted))
            return self._named_batch(found[np.lexsort((rank[found["series"]], found["time_ms"]))])

    def _rows(self, wanted: list[int], start_ms: int, end_ms: int) -> NDArray[np.void]:
        """Rows of these series in [start_ms, end_ms), in no promised order."""
        if len(wanted) > SEEK_FRAC * len(self._series):
            rows: NDArray[np.void] = np.fromiter(
                self._connection.execute(_SCAN, (start_ms // SPAN_MS, end_ms // SPAN_MS, start_ms, end_ms)), _READING
            )
            is_wanted = np.zeros(max(self._named) + 1, dtype=bool)
            is_wanted[wanted] = True
            picked: NDArray[np.void] = rows[is_wanted[rows["series"]]]
            return picked
        values = (json.dumps(wanted), start_ms // SPAN_MS, end_ms // SPAN_MS, start_ms, end_ms)
        return np.fromiter(self._connection.execute(_SEEK, values), _READING)

    def _wanted(self, components: Sequence[str] | None, channels: Sequence[str] | None) -> list[int]:
        """Series numbers in order of (component, channel)."""
        of_component = None if components is None else set(components)
        of_channel = None if channels is None else set(channels)
        keys = (
            key
            for key in self._series
            if (of_component is None or key[0] in of_component) and (of_channel is None or key[1] in of_channel)
        )
        return [self._series[key] for key in sorted(keys)]

    def _named_batch(self, rows: NDArray[np.void]) -> Batch:
        names = [self._named[number] for number in rows["series"].tolist()]
        component, channel = np.empty(len(rows), dtype=object), np.empty(len(rows), dtype=object)
        component[:] = [name[0] for name in names]
        channel[:] = [name[1] for name in names]
        return Batch(rows["time_ms"].copy(), component, channel, rows["value"].copy())

    def newest(self, channel: str | None = None) -> Newest:
        with self._at_work():
            if channel is None:
                rows = self._connection.execute(_NEWEST)
                return {name: (time_ms, of, value) for name, time_ms, of, value, _ in rows}
            number = self._connection.execute("SELECT id FROM channel WHERE name = ?", (channel,)).fetchone()
            if number is None or not name_ok(channel):
                return {}
            rows = self._connection.execute(_NEWEST_OF_CHANNEL, (number[0], channel))
            return {name: (time_ms, of, value) for name, time_ms, of, value in rows}

    def components(self) -> list[str]:
        with self._at_work():
            rows = self._connection.execute(
                "SELECT DISTINCT component.name FROM series JOIN component ON component.id = component_id "
                "WHERE newest_ms >= 0 ORDER BY component.name"
            )
            return [name for (name,) in rows]

    def oldest_ms(self) -> int | None:
        with self._at_work():
            first = self._connection.execute("SELECT min(id) FROM span").fetchone()[0]
            return None if first is None else max(0, int(first) * SPAN_MS)

    def events(self, start_ms: int, end_ms: int) -> list[Event]:
        with self._at_work():
            rows = self._connection.execute(
                "SELECT time_ms, component, type, code, text FROM event WHERE time_ms >= ? AND time_ms < ? "
                "ORDER BY time_ms, component, type, code",
                (_int64(start_ms), _int64(end_ms)),
            )
            return [Event(*row) for row in rows]

    def tail(self, cursor: int) -> tuple[Batch, int]:
        with self._at_work():
            rows = self._connection.execute(
                "SELECT seq, series, time_ms, value FROM arrival WHERE seq > ? ORDER BY seq", (_int64(cursor),)
            ).fetchall()
            if not rows:
                return Batch.empty(), cursor
            self._learn_series()
            found = np.empty(sum(len(times) // 8 for _, _, times, _ in rows), dtype=_READING)
            found["series"] = np.frombuffer(b"".join(row[1] for row in rows), dtype="<i4")
            found["time_ms"] = np.frombuffer(b"".join(row[2] for row in rows), dtype="<i8")
            found["value"] = np.frombuffer(b"".join(row[3] for row in rows), dtype="<f8")
            return self._named_batch(found), int(rows[-1][0])

    def tail_end(self) -> int:
        with self._at_work():
            # not the newest row: all of them may have been dropped
            row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'arrival'").fetchone()
            return int(row[0]) if row else 0

    def refuse(self, component: str, channel: str, time_ms: int, value: float, reason: str) -> None:
        self.refuse_all([Refusal(time_ms, component, channel, value, reason)])

    def refuse_all(self, refusals: Sequence[Refusal]) -> None:
        if not refusals:
            return
        kept = [(r.time_ms, r.component, r.channel, r.value, r.reason) for r in refusals[-REFUSALS_KEPT:]]
        with self._at_work(), transaction(self._connection):
            self._count(Counter(refusal.reason for refusal in refusals))
            self._connection.executemany(
                "INSERT INTO refusal (time_ms, component, channel, value, reason) VALUES (?, ?, ?, ?, ?)", kept
            )
            self._connection.execute(
                "DELETE FROM refusal WHERE id <= (SELECT max(id) FROM refusal) - ?", (REFUSALS_KEPT,)
            )

    def _count(self, reasons: Counter[str]) -> None:
        self._connection.executemany(
            "INSERT INTO refused VALUES (?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
            [(reason, n) for reason, n in reasons.items() if n],
        )

    def refused(self) -> dict[str, int]:
        with self._at_work():
            return dict(self._connection.execute("SELECT reason, n FROM refused ORDER BY reason"))

    def refusals(self) -> list[Refusal]:
        with self._at_work():
            rows = self._connection.execute(
                "SELECT time_ms, component, channel, value, reason FROM refusal ORDER BY id"
            )
            # SQLite has no nan and gives it back as nothing.
            return [Refusal(t, c, k, math.nan if v is None else v, r) for t, c, k, v, r in rows]

    def retain(self, keep: Keep) -> Dropped:
        with self._at_work():
            return sqlite_retention.retain(self._connection, keep)

    def flush(self) -> None:
        """Everything is readable as soon as it is accepted."""

    def close(self) -> None:
        with self._lock, speaking_of(self.path):
            self._connection.close()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        with self._lock, speaking_of(self.path):
            yield


def _int64(instant_ms: int) -> int:
    """An instant no farther away than the database's integers reach."""
    return max(-(2**63), min(2**63 - 1, instant_ms))
