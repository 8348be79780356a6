"""Files of samples: line protocol, CSV and Parquet tables, told apart by their ending."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from plant.errors import ConfigError, TelemetryError
from twin.telemetry import lineprotocol
from twin.telemetry.mapping import Mapping
from twin.telemetry.samples import NO_TIME_MS, Read, Samples, joined
from twin.telemetry.tables import read_table, samples_of, words_of

LINES = (".lp", ".line", ".lines", ".influx")
SPAN = re.compile(r"(\d+(?:\.\d+)?)(s|min|h|d)")
MS = {"s": 1_000.0, "min": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}


def read_files(files: Sequence[str], names: Mapping) -> tuple[Samples, list[str]]:
    """The samples of all files, and each row that could not be read: file, line, why. Raises TelemetryError."""
    reads = [(Path(file).name, read_file(Path(file), names)) for file in files]
    return joined([read for _, read in reads]).samples, [f"{name} {bad}" for name, read in reads for bad in read.bad]


def read_file(path: Path, names: Mapping) -> Read:
    """The samples of a file by its ending; TelemetryError says what is wrong with it."""
    if path.suffix in LINES:
        try:
            return lineprotocol.read(path.read_bytes())
        except OSError as error:
            found = "is a folder" if path.is_dir() else (error.strerror or str(error)).lower()
            raise TelemetryError(str(path), found, "a file", "correct the path") from None
    table = read_table(path, words_of(list(names.sources.values()) or [names.source]))
    return Read(samples_of(table, names.source_of(path.stem, table.column_names), path.stem))


def since(samples: Samples, text: str) -> Samples:
    """What is no older than a span before the newest sample, or than an instant; raises ConfigError."""
    if not text or not len(samples):
        return samples
    newest = int(samples.time_ms.max())
    span = SPAN.fullmatch(text)
    if span:
        start = newest - round(float(span.group(1)) * MS[span.group(2)])
    else:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            cure = "for example 1h, 30min, 7d or 2022-12-18T00:30:00Z"
            raise ConfigError("--since", f"'{text}'", "a span or an ISO instant", cure) from None
        start = round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    keep = np.flatnonzero((samples.time_ms >= start) | (samples.time_ms == NO_TIME_MS))
    new_row = {int(old): new for new, old in enumerate(keep.tolist())}
    text_ = {new_row[row]: word for row, word in samples.text.items() if row in new_row}
    return Samples(samples.series, samples.which[keep], samples.time_ms[keep], samples.value[keep], text_)
