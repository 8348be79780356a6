"""Tables in CSV and Parquet files as a source: CSV files may grow, Parquet files are whole and may be written anew."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from plant.errors import TelemetryError
from twin.telemetry.growing import REST_MS, GrowingFiles, files_of
from twin.telemetry.samples import BadRow, Read, joined, no_samples
from twin.telemetry.sources import Mark
from twin.telemetry.tables import Columns, csv_options, samples_of

ColumnsOf = Callable[[str, Sequence[str]], Columns]
"""Which columns a table has: from its name and the names of its columns."""
MOST_ROWS = 500_000
END, WAIT = -1, -2
MOST_HALVED = 50
"""So many lines of one block are singled out; what is left of it then is told as a whole."""


class CsvFiles(GrowingFiles):
    """One CSV file, or a folder of them; the first line of each names its columns."""

    kind = "csv"
    has_header = True

    def __init__(self, name: str, path: str | Path, columns_of: ColumnsOf, words: set[str], pattern: str = "*.csv"):
        super().__init__(name, path, pattern)
        self._columns_of, self._words = columns_of, words

    def said(self, path: Path, header: bytes, lines: bytes, first: int) -> Read:
        reads: list[Read] = []
        self._say_part(path, header, lines, first, reads)
        return joined(reads)

    def _say_part(self, path: Path, header: bytes, lines: bytes, first: int, reads: list[Read]) -> None:
        """Whole lines as one table, or where the reader chokes on one of them, half by half until it stands alone."""
        if not lines.strip():
            return
        try:
            reads.append(self._table(path, header, lines, first))
        except TelemetryError as error:
            reads.append(_unread(f"lines from {first}", error.found, ""))
        except (ValueError, TypeError) as error:  # what Arrow raises for content
            cut = lines.find(b"\n", len(lines) // 2 - 1) + 1
            cut = cut if 0 < cut < len(lines) else lines.find(b"\n") + 1
            if not 0 < cut < len(lines) or sum(len(read.bad) for read in reads) >= MOST_HALVED:
                many = lines.count(b"\n") > 1
                where = f"lines from {first}" if many else f"line {first}"
                reads.append(_unread(where, str(error).splitlines()[0], lines[:80].decode("utf-8", "replace")))
                return
            self._say_part(path, header, lines[:cut], first, reads)
            self._say_part(path, header, lines[cut:], first + lines.count(b"\n", 0, cut), reads)

    def _table(self, path: Path, header: bytes, lines: bytes, first: int) -> Read:
        """Lines under their header as a table; rows of another width are told. Raises ValueError, TelemetryError."""
        from pyarrow import csv

        bad: list[BadRow] = []

        def told(row: Any) -> str:
            # counted with the header as row 1
            number = "" if row.number is None else f"line {row.number - 2 + first}"
            bad.append(
                BadRow(number or "a line", f"has {row.actual_columns} cells for {row.expected_columns}", row.text)
            )
            return "skip"

        table = csv.read_csv(
            io.BytesIO(header.rstrip(b"\r\n") + b"\n" + lines),
            # without threads rows keep their numbers
            read_options=csv.ReadOptions(use_threads=False),
            parse_options=csv.ParseOptions(invalid_row_handler=told),
            convert_options=csv_options(self._words),
        )
        samples = samples_of(table, self._columns_of(path.stem, table.column_names), path.stem)
        return Read(samples, tuple(bad))


def _unread(where: str, why: str, said: str) -> Read:
    return Read(no_samples(), (BadRow(where, f"cannot be read: {why}", said),))


class ParquetFiles:
    """One Parquet file, or a folder of them, each read once, row group by row group, and again when written anew."""

    kind = "parquet"

    def __init__(self, name: str, path: str | Path, columns_of: ColumnsOf, pattern: str = "*.parquet") -> None:
        self.name, self._path, self._columns_of, self._pattern = name, Path(path), columns_of, pattern
        # By file: what tells one writing from the next, and how many of its row groups were read.
        self._done: dict[str, list[int]] = {}

    def poll(self, now_ms: int) -> Read:
        reads: list[Read] = []
        paths = files_of(self._path, self._pattern)
        self._done = {path.name: self._done[path.name] for path in paths if path.name in self._done}
        for path in paths:
            try:
                state = path.stat()
            except FileNotFoundError:
                continue  # gone since it was listed
            writing = [state.st_ino, state.st_size, state.st_mtime_ns]
            done = self._done.get(path.name, [])
            at = done[3] if done[:3] == writing else 0
            while at >= 0:
                if sum(len(read.samples) for read in reads) >= MOST_ROWS:
                    return joined(reads, more=True)
                rested = now_ms - state.st_mtime_ns // 1_000_000 > REST_MS
                at, read = self._group(path, at, rested)
                reads += [read] if read is not None else []
                if at != WAIT:
                    self._done[path.name] = [*writing, at]
        return joined(reads)

    def _group(self, path: Path, at: int, rested: bool) -> tuple[int, Read | None]:
        """One row group of a file and the next to read: END after the last, WAIT for a file that is being written."""
        import pyarrow as pa
        from pyarrow import parquet

        try:
            with parquet.ParquetFile(path) as file:
                if at >= file.metadata.num_row_groups:
                    return END, None
                table = file.read_row_group(at)
            samples = samples_of(table, self._columns_of(path.stem, table.column_names), path.stem)
        except TelemetryError as error:
            return END, Read(no_samples(), (BadRow(path.name, f"cannot be read: {error.found}"),))
        except (pa.ArrowException, OSError) as error:
            found = str(error).splitlines()[0][:200]
            # without its last bytes it is one that is still being written, until it has rested
            return (
                (END, Read(no_samples(), (BadRow(path.name, f"cannot be read: {found}"),))) if rested else (WAIT, None)
            )
        return at + 1, Read(samples)

    def mark(self) -> Mark:
        return {name: list(done) for name, done in self._done.items()}

    def resume(self, mark: Mark) -> None:
        whole = {name: done for name, done in mark.items() if isinstance(done, list) and len(done) == 4}
        self._done = {name: done for name, done in whole.items() if all(isinstance(n, int) for n in done)}

    def close(self) -> None:
        pass
