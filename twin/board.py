"""The worker's board: the latest risks, sync and clock, and their history, for screens to read.

A board is not telemetry and no part of the Store protocol: it is a small table of its own in `telemetry.sqlite`,
whatever store holds the readings. Values are JSON without NaN (an absent number is null).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twin.telemetry.sqlite_file import connect, speaking_of, transaction

HISTORY_PER_CALL = 20_000
_OLD_HISTORY = """
DELETE FROM history WHERE (topic, component, at_ms) IN (
    SELECT topic, component, at_ms FROM history WHERE at_ms < ? LIMIT ?)"""


@dataclass(frozen=True, slots=True)
class Posting:
    """One value of the board and the site time of its last change."""

    value: Any
    updated_ms: int


class Board:
    """Key to JSON, and history rows by topic, component and time; `read_only` for screens."""

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self._connection = connect(self.path, read_only=read_only)
        self._lock = threading.RLock()

    def put_json(self, key: str, value: Any, updated_ms: int) -> None:
        """Post a value under its key; ValueError when it is not JSON (NaN and infinity are not)."""
        self.put_all({key: value}, updated_ms)

    def put_all(self, values: dict[str, Any], updated_ms: int) -> None:
        """Post several values at once: a reader sees all of them or none."""
        rows = [(key, _text(value), updated_ms) for key, value in values.items()]
        with self._at_work(), transaction(self._connection):
            self._connection.executemany("INSERT OR REPLACE INTO board VALUES (?, ?, ?)", rows)

    def get_json(self, key: str) -> Posting | None:
        """What was last posted under the key, or None."""
        with self._at_work():
            row = self._connection.execute("SELECT text, updated_ms FROM board WHERE key = ?", (key,)).fetchone()
        return None if row is None else Posting(json.loads(row[0]), row[1])

    def keys(self) -> list[str]:
        """Every key posted, sorted."""
        with self._at_work():
            return [key for (key,) in self._connection.execute("SELECT key FROM board ORDER BY key")]

    def add_history(self, topic: str, at_ms: int, rows: Sequence[tuple[str, Any]]) -> None:
        """Remember (component, value) rows of one instant under a topic such as `risk` or `sync`."""
        texts = [(topic, at_ms, component, _text(value)) for component, value in rows]
        with self._at_work(), transaction(self._connection):
            self._connection.executemany("INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?)", texts)

    def history(
        self, topic: str, start_ms: int, end_ms: int, component: str | None = None
    ) -> list[tuple[int, str, Any]]:
        """(at_ms, component, value) of [start_ms, end_ms) in order of time, of one component or of all."""
        query = "SELECT at_ms, component, text FROM history WHERE topic = ? AND at_ms >= ? AND at_ms < ?"
        values: tuple[Any, ...] = (topic, start_ms, end_ms)
        if component is not None:
            query, values = query + " AND component = ?", (*values, component)
        with self._at_work():
            rows = self._connection.execute(query + " ORDER BY at_ms, component", values).fetchall()
        return [(at_ms, name, json.loads(text)) for at_ms, name, text in rows]

    def retain(self, before_ms: int) -> int:
        """Drop a share of the history before an instant; the number of rows that went."""
        with self._at_work(), transaction(self._connection):
            return self._connection.execute(_OLD_HISTORY, (before_ms, HISTORY_PER_CALL)).rowcount

    def close(self) -> None:
        """Let go of the file."""
        with self._lock, speaking_of(self.path):
            self._connection.close()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        with self._lock, speaking_of(self.path):
            yield


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
