"""Columns of other people's files: read from Parquet or CSV, with messages that say how to get such files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.errors import TelemetryError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NO_TIME_MS = np.iinfo(np.int64).min


def read_columns(file: Path, columns: list[str], how: str, mapping: str, as_dictionary: list[str] | None = None) -> Any:
    """Return some columns of a Parquet or CSV file as an Arrow table; pyarrow is imported here, nothing else needs it.

    how: how to get such files; mapping: where their columns are named. Raises TelemetryError.
    """
    import pyarrow as pa
    from pyarrow import csv
    from pyarrow import parquet as pq

    if not file.is_file():
        raise TelemetryError(str(file), "no such file", "a Parquet or CSV file", how)
    try:
        found = csv.read_csv(file) if file.suffix == ".csv" else pq.read_table(file, read_dictionary=as_dictionary)
    except (pa.ArrowInvalid, OSError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TelemetryError(str(file), f"cannot be read: {first_line}", "Parquet or CSV", how) from error
    missing = [c for c in columns if c not in found.column_names]
    if missing:
        raise TelemetryError(
            where=str(file),
            found=f"no column {', '.join(missing)}",
            allowed=f"columns {', '.join(columns)}; it has {', '.join(found.column_names)}",
            cure=f"name its columns in {mapping}",
        )
    if found.num_rows == 0:
        raise TelemetryError(str(file), "no rows", "at least one row", how)
    return found.select(columns)


def numbers(table: Any, column: str, file: Path) -> Floats:
    """Return a column as numbers, missing ones as NaN. Raises TelemetryError for text."""
    try:
        return np.asarray(table[column].to_numpy(), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TelemetryError(
            f"{file}: {column}", f"type {table[column].type}", "numbers", "convert the column"
        ) from error


def instants_ms(table: Any, column: str, file: Path, how: str) -> Ints:
    """Return a column of instants as Unix ms, NO_TIME_MS where there is none. Raises TelemetryError."""
    try:
        return np.asarray(table[column].to_numpy().astype("datetime64[ms]").astype(np.int64))
    except (TypeError, ValueError) as error:
        raise TelemetryError(f"{file}: {column}", f"type {table[column].type}", "timestamps in UTC", how) from error


def names(table: Any, column: str) -> NDArray[np.str_]:
    """Return a column of names as text, whatever its type."""
    return np.asarray(table[column].to_numpy(zero_copy_only=False)).astype(str)


def count_refused(refused: dict[str, int], reason: str, bad: NDArray[np.bool_]) -> None:
    """Add the number of bad rows to what is refused for that reason, if there are any."""
    if bad.any():
        refused[reason] = refused.get(reason, 0) + int(bad.sum())
