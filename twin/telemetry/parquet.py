"""Readings and events as Parquet files, for history, training and other tools: written whole or not at all.

Readings have the columns time (UTC, ms), component, channel, unit, value, in order of (time, component, channel);
events time, component, type, code, text. `foretwin ingest` reads the readings back as they were.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twin.telemetry.store import Batch, Event, Store

# One window is one row group and all that lies in memory at a time; where nothing is, it grows.
WINDOW_MS = 900_000
LONGEST_MS = 16 * WINDOW_MS
COMPRESSION = "zstd"

Told = Callable[[int, int], None]
UnitOf = Callable[[str, str], str]


@dataclass(frozen=True)
class Cut:
    """What is exported: [start_ms, end_ms), these components and channels, None for all."""

    start_ms: int
    end_ms: int
    components: Sequence[str] | None = None
    channels: Sequence[str] | None = None


def write_readings(store: Store, cut: Cut, to: Path, unit_of: UnitOf, told: Told) -> int:
    """Write the readings of a cut, window by window; returns their number. unit_of: of a component's channel."""
    import pyarrow as pa
    from pyarrow import parquet

    name = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema(
        [
            ("time", pa.timestamp("ms", tz="UTC")),
            ("component", name),
            ("channel", name),
            ("unit", name),
            ("value", pa.float64()),
        ]
    )
    rows = 0
    with _whole(to) as part, parquet.ParquetWriter(part, schema, compression=COMPRESSION) as file:
        for batch, done_ms in _windows(store, cut):
            if len(batch):
                file.write_table(pa.table(_columns(batch, unit_of), schema=schema))
                rows += len(batch)
            told(done_ms - cut.start_ms, cut.end_ms - cut.start_ms)
    return rows


def _windows(store: Store, cut: Cut) -> Iterator[tuple[Batch, int]]:
    """The readings of a cut in order of time, and how far each batch reaches [Unix ms]."""
    at_ms, width_ms = cut.start_ms, WINDOW_MS
    while at_ms < cut.end_ms:
        end_ms = min(at_ms + width_ms, cut.end_ms)
        batch = store.read(cut.components, cut.channels, at_ms, end_ms)
        yield batch, end_ms
        at_ms, width_ms = end_ms, WINDOW_MS if len(batch) else min(2 * width_ms, LONGEST_MS)


def write_events(events: Sequence[Event], to: Path) -> int:
    """Write events; returns their number."""
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, Any] = {
        "time": pa.array([event.time_ms for event in events], pa.timestamp("ms", tz="UTC")),
        **{
            field: pa.array([getattr(event, field) for event in events], pa.string())
            for field in ("component", "type", "code", "text")
        },
    }
    with _whole(to) as part:
        parquet.write_table(pa.table(columns), part, compression=COMPRESSION)
    return len(events)


def _columns(batch: Batch, unit_of: UnitOf) -> dict[str, Any]:
    import pyarrow as pa

    component, channel = batch.component.tolist(), batch.channel.tolist()
    pairs = list(zip(component, channel, strict=True))
    # a window has far fewer series than readings
    units = {pair: unit_of(*pair) for pair in set(pairs)}
    unit = [units[pair] for pair in pairs]
    names = {"component": component, "channel": channel, "unit": unit}
    return {
        "time": pa.array(batch.time_ms, pa.int64()).cast(pa.timestamp("ms", tz="UTC")),
        **{key: pa.array(values, pa.string()).dictionary_encode() for key, values in names.items()},
        "value": pa.array(batch.value),
    }


@contextmanager
def _whole(to: Path) -> Iterator[Path]:
    """A file beside `to` that takes its place when it is complete, and vanishes when it will not be."""
    part = to.with_name(f".{to.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)
