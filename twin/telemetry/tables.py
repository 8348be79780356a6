"""Tables of readings, as CSV or Parquet files hold them, into samples.

Long: one row a reading, columns time, component, channel, value and any tags. Wide: a time and one column a channel,
with a component column or without, when the name of the table stands for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from plant.errors import TelemetryError
from twin.telemetry.samples import NO_TIME_MS, Samples, Series, no_samples

MS_PER = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
FAR_MS = 2.0**62
HOW = (
    "long form: one row per reading, columns time, component, channel, value; wide form: time and one column per "
    "channel; other names go into [source.NAME] of a mapping file"
)


class Columns(Protocol):
    """What the columns are called and what clock the times are of; `[source.NAME]` of a mapping file is one."""

    @property
    def time(self) -> str: ...
    @property
    def component(self) -> str: ...
    @property
    def channel(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def tags(self) -> tuple[str, ...]: ...
    @property
    def time_unit(self) -> Literal["iso", "s", "ms", "us", "ns"] | None: ...


def words_of(columns: Sequence[Columns]) -> set[str]:
    """Columns that hold names: text, even where they look like numbers."""
    return {name for one in columns for name in (one.component, one.channel, *one.tags)}


def read_table(file: Path, words: set[str]) -> Any:
    """A CSV or Parquet file as an Arrow table; columns of `words` are text. TelemetryError says what is wrong."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    if not file.is_file():
        found = "is a folder" if file.is_dir() else "no such file"
        raise TelemetryError(str(file), found, "a CSV or Parquet file; line protocol ends in .lp", HOW)
    try:
        if file.suffix in (".parquet", ".pq"):
            return parquet.read_table(file)
        return csv.read_csv(file, convert_options=csv_options(words))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        first = str(error).splitlines()[0]
        raise TelemetryError(
            file.name, f"cannot be read: {first}", "a CSV or Parquet file; line protocol ends in .lp", HOW
        ) from None


def csv_options(words: set[str]) -> Any:
    """How cells of a CSV are read: a NaN in the file is a reading that is refused as such, not a missing one."""
    import pyarrow as pa
    from pyarrow import csv

    return csv.ConvertOptions(column_types=dict.fromkeys(words, pa.string()), null_values=[""])


def samples_of(table: Any, columns: Columns, stem: str) -> Samples:
    """The samples of an Arrow table; `stem` is its name without an ending. TelemetryError says which column is missing.

    An empty cell of a wide table is no sample; of a long table it is a reading without a value.
    """
    names = table.column_names
    if columns.channel not in names and columns.value not in names and columns.time in names:
        return _wide(table, columns, stem)
    wanted = {name: getattr(columns, name) for name in ("time", "component", "channel", "value")}
    wanted |= {f"tag:{name}": name for name in columns.tags}
    missing = [f"{ours} ('{theirs}')" for ours, theirs in wanted.items() if theirs not in names]
    if missing:
        raise TelemetryError(stem, f"columns {', '.join(names)}", f"lacks {', '.join(missing)}", HOW)
    return _long({ours: _plain(table.column(theirs)) for ours, theirs in wanted.items()}, columns.time_unit)


def _long(columns: dict[str, Any], unit: str | None) -> Samples:
    """The rows of a long table: a series is a component, a channel and the tags asked for."""
    names = [name for name in columns if name not in ("time", "value")]
    which, words = _distinct([columns[name] for name in names])
    series = [_series(dict(zip(names, row, strict=True))) for row in words]
    value, text = _values(columns["value"])
    return Samples(series, which, _times(columns["time"], unit), value, text)


def _series(row: dict[str, str]) -> Series:
    tags = {name.removeprefix("tag:"): word for name, word in row.items() if name.startswith("tag:") and word}
    return Series.of("", row["channel"], {**tags, "component": row["component"]})


def _wide(table: Any, columns: Columns, stem: str) -> Samples:
    """The cells of a wide table, column by column."""
    keys = [name for name in (columns.component, *columns.tags) if name in table.column_names]
    channels = [name for name in table.column_names if name not in (columns.time, *keys)]
    if not len(table) or not channels:
        return no_samples()
    time_ms = _times(_plain(table.column(columns.time)), columns.time_unit)
    which, rows = (np.zeros(len(table), np.int64), [()]) if not keys else _distinct([_plain(table[k]) for k in keys])
    tags = [dict(zip(keys, row, strict=True)) for row in rows]
    for each in tags:
        each["component"] = each.pop(columns.component, stem)
    series, parts, text, at = [], [], {}, 0
    for n, channel in enumerate(channels):
        series += [Series.of("", channel, each) for each in tags]
        value, said = _values(_plain(table.column(channel)))
        filled = np.ones(len(value), dtype=bool)
        filled[[row for row, word in said.items() if word == ""]] = False
        told = np.flatnonzero(filled)
        text.update({at + new: said[row] for new, row in enumerate(told.tolist()) if row in said})
        parts.append((which[told] + n * len(tags), time_ms[told], value[told]))
        at += len(told)
    columns_ = [np.concatenate(each) for each in zip(*parts, strict=True)]
    return Samples(series, columns_[0], columns_[1], columns_[2], text)


def _plain(column: Any) -> Any:
    """One array without a dictionary of its words."""
    import pyarrow as pa

    whole = column.combine_chunks()
    return whole.cast(whole.type.value_type) if pa.types.is_dictionary(whole.type) else whole


def _distinct(columns: list[Any]) -> tuple[NDArray[np.int64], list[tuple[str, ...]]]:
    """Number of the distinct words of each row (n,), and the distinct ones; a missing word is the empty one."""
    both = np.zeros(len(columns[0]), dtype=np.int64)
    words = []
    for column in columns:
        coded = column.dictionary_encode()
        known = [str(word) for word in coded.dictionary.to_pylist()] + [""]
        codes = coded.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False).astype(np.int64)
        both = both * len(known) + codes
        words.append(known)
    distinct, which = np.unique(both, return_inverse=True)
    rows = []
    for number in distinct.tolist():
        row: list[str] = []
        for known in reversed(words):
            number, code = divmod(number, len(known))
            row.append(known[code])
        rows.append(tuple(reversed(row)))
    return which.astype(np.int64), rows


def _times(column: Any, unit: str | None) -> NDArray[np.int64]:
    """Unix ms of each row, NO_TIME_MS where it cannot be read."""
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_temporal(column.type):
        column = compute.cast(column, pa.timestamp("ms"), safe=False)
        return np.asarray(compute.fill_null(column.cast(pa.int64()), NO_TIME_MS), dtype=np.int64)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        read = [_instant_ms(text, unit) for text in column.to_pylist()]
        return np.array([NO_TIME_MS if one is None else one for one in read], dtype=np.int64)
    raw = compute.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    factor = MS_PER.get(unit or "ms")
    if factor is None:
        raise TelemetryError("time", "numbers", "text, as time_unit = iso says", "set time_unit to s, ms, us or ns")
    if (factor, column.type) == (1.0, pa.int64()) and column.null_count == 0:
        return np.asarray(column, dtype=np.int64)  # whole milliseconds keep every bit
    with np.errstate(invalid="ignore", over="ignore"):
        ms = raw * factor
        near = np.abs(ms) < FAR_MS
    return np.where(near, np.where(near, ms, 0.0).round(), NO_TIME_MS).astype(np.int64)


def _instant_ms(text: str | None, unit: str | None) -> int | None:
    """Unix ms of an ISO instant (UTC where it names no zone) or of a number in the unit; None if it is neither."""
    try:
        if unit in MS_PER:
            ms = float(text or "") * MS_PER[unit]
            return round(ms) if abs(ms) < FAR_MS else None
        at = datetime.fromisoformat((text or "").strip())
    except (ValueError, OverflowError):
        return None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _values(column: Any) -> tuple[NDArray[np.float64], dict[int, str]]:
    """Numbers of each row, NaN where a word or nothing stands, and those words by row; NaN may stand in the file."""
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _words(column.to_pylist())
    try:
        column = compute.cast(column, pa.float64(), safe=False)
    except pa.ArrowNotImplementedError:
        return _words([None if cell is None else str(cell) for cell in column.to_pylist()])
    nothing = np.flatnonzero(~np.asarray(compute.is_valid(column))).tolist()
    value = compute.fill_null(column, np.nan).to_numpy(zero_copy_only=False).astype(np.float64)
    return value, dict.fromkeys(nothing, "")


def _words(cells: list[str | None]) -> tuple[NDArray[np.float64], dict[int, str]]:
    value, text = np.full(len(cells), np.nan), {}
    for row, said in enumerate(cells):
        try:
            value[row] = float(said or "")
        except ValueError:
            text[row] = said or ""
    return value, text
