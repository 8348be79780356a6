"""What others write into InfluxDB (a Telegraf bucket of 1.x, 2.x or 3 Core), read by windows over InfluxQL.

Each window is asked again a little, so that what Telegraf delivers late is still read; what was told before is left
out. A window is taken whole or not at all: when one measurement cannot be read, none counts as read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from plant.errors import SourceUnavailable, StoreUnavailable
from twin.telemetry.admit import FUTURE_LIMIT_MS
from twin.telemetry.influx_query import InfluxQuery
from twin.telemetry.overlap import Seen
from twin.telemetry.samples import BadRow, Gathered, Read, Series
from twin.telemetry.sources import Mark

WINDOW_MS = 600_000
LATE_MS = 60_000
# The length of windows follows what comes, so that a large site does not fill the memory.
FIRST_MS, LEAST_MS = 60_000, 5_000
FEW_SAMPLES, MANY_SAMPLES = 100_000, 400_000


class InfluxSource:
    """Every measurement of one database, or those that fit `only` (shell patterns), from `history_ms` ago on."""

    kind = "influx"

    def __init__(
        self,
        name: str,
        url: str,
        database: str,
        token: str = "",
        *,
        scheme: Literal["Token", "Bearer", "Basic"] = "Token",
        only: Sequence[str] = (),
        history_ms: int = WINDOW_MS,
        late_ms: int = LATE_MS,
        window_ms: int = WINDOW_MS,
        timeout_s: float = 30.0,
    ) -> None:
        self.name, self._only, self._where = name, tuple(only), f"{url} database {database}"
        self._query = InfluxQuery(url, database, token, scheme=scheme, timeout_s=timeout_s)
        self._history_ms, self._late_ms, self._longest_ms = history_ms, late_ms, window_ms
        self._window_ms = min(FIRST_MS, window_ms) if history_ms > window_ms else window_ms
        self._until_ms: int | None = None
        self._seen = Seen()
        self._tags: dict[str, list[str]] = {}

    def poll(self, now_ms: int) -> Read:
        """One window; `more` while the newest one is not reached. What lies ahead of now is read in the newest."""
        oldest_ms = now_ms - self._history_ms
        begin_ms = oldest_ms if self._until_ms is None else max(self._until_ms - self._late_ms, oldest_ms)
        caught_up = begin_ms + self._window_ms + self._late_ms >= now_ms
        end_ms = now_ms if caught_up else begin_ms + self._window_ms + self._late_ms
        read = self._window(begin_ms, end_ms + (FUTURE_LIMIT_MS if caught_up else 0))
        fresh = self._seen.fresh(read.samples, end_ms - self._late_ms)
        self._until_ms = end_ms
        if len(read.samples) > MANY_SAMPLES:
            self._window_ms = max(LEAST_MS, self._window_ms // 2)
        elif len(read.samples) < FEW_SAMPLES:
            self._window_ms = min(self._longest_ms, self._window_ms * 2)
        return Read(fresh, read.bad, more=not caught_up)

    def measurements(self) -> list[str]:
        """Names of the measurements that are read, sorted. Raises SourceUnavailable."""
        rows = [str(row[0]) for series in self._ask("SHOW MEASUREMENTS") for row in series["values"]]
        return sorted(name for name in set(rows) if not self._only or any(fnmatchcase(name, p) for p in self._only))

    def fields(self, measurement: str) -> list[str]:
        """Names of the fields of a measurement, sorted. Raises SourceUnavailable."""
        found = self._ask(f"SHOW FIELD KEYS FROM {identifier(measurement)}")
        return sorted({str(row[0]) for series in found for row in series["values"]})

    def tags(self, measurement: str) -> list[str]:
        """Names of the tags of a measurement, sorted. Raises SourceUnavailable."""
        found = self._ask(f"SHOW TAG KEYS FROM {identifier(measurement)}")
        return sorted({str(row[0]) for series in found for row in series["values"]})

    def _tags_known(self, measurement: str) -> list[str]:
        """Names of the tags of a measurement, asked once for each poll."""
        if measurement not in self._tags:
            self._tags[measurement] = self.tags(measurement)
        return self._tags[measurement]

    def check(self) -> None:
        """Raise SourceUnavailable unless the server answers, takes the token and has the database."""
        try:
            self._query.check()
        except StoreUnavailable as error:
            raise self._unavailable(error) from error

    def _window(self, begin_ms: int, end_ms: int) -> Read:
        gathered = Gathered()
        self._tags.clear()
        if self._until_ms is None:
            self.check()  # SHOW answers with nothing for a database that does not exist
        for name in self.measurements():
            if not name.isprintable():
                gathered.bad.append(BadRow(name, "is no name that can be asked for"))
                continue
            statement = (
                f"SELECT *::field FROM {identifier(name)} WHERE time >= {begin_ms}ms AND time < {end_ms}ms GROUP BY *"
            )
            for series in self._ask(statement):
                _take(gathered, series, self._tags_known)
        return gathered.read()

    def _ask(self, statement: str) -> list[dict[str, Any]]:
        try:
            return self._query.series(statement)
        except StoreUnavailable as error:
            raise self._unavailable(error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise SourceUnavailable(self._where, "the answer is no InfluxDB's", cure="correct the address") from error

    def _unavailable(self, error: StoreUnavailable) -> SourceUnavailable:
        cure = error.cure.replace("[store]", "[sources]")
        return SourceUnavailable(error.where, error.found, error.allowed, cure)

    def mark(self) -> Mark:
        return {} if self._until_ms is None else {"until_ms": self._until_ms}

    def resume(self, mark: Mark) -> None:
        until_ms = mark.get("until_ms")
        self._until_ms = until_ms if isinstance(until_ms, int) else None

    def close(self) -> None:
        self._query.close()


def identifier(name: str) -> str:
    """A name of the server's own in a statement: quoted, with the quotes and backslashes in it escaped."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _take(gathered: Gathered, series: dict[str, Any], tags_of: Callable[[str], Sequence[str]]) -> None:
    """The cells of one series of an answer: null is no sample, true is 1, words stay words.

    1.x and 2.x give the tags beside the columns; 3 Core gives them as columns, row by row.
    """
    name, columns = series["name"], series["columns"]
    at = columns.index("time")
    beside = {key: value for key, value in series.get("tags", {}).items() if value}
    keys = set() if beside else _tag_columns(series, at, tags_of)
    slots: dict[tuple[Any, ...], list[int]] = {}
    for row in series["values"]:
        which = tuple(row[n] for n in keys)
        if which not in slots:
            tags = beside or {columns[n]: word for n, word in zip(keys, which, strict=True) if word}
            slots[which] = [
                -1 if n == at or n in keys else gathered.slot(Series.of(name, column, tags))
                for n, column in enumerate(columns)
            ]
        at_ms = row[at]
        for slot, value in zip(slots[which], row, strict=True):
            if slot >= 0 and value is not None:
                gathered.add(slot, at_ms, value if isinstance(value, str) else float(value))


def _tag_columns(series: dict[str, Any], at: int, tags_of: Callable[[str], Sequence[str]]) -> set[int]:
    """Columns that are tags: those with words that the server calls tags; it is asked only where there are words."""
    words = {n for row in series["values"] for n, cell in enumerate(row) if n != at and isinstance(cell, str)}
    if not words:
        return set()
    known = set(tags_of(series["name"]))
    return {n for n in words if series["columns"][n] in known}
