"""`foretwin ingest FILE`: readings of a CSV or Parquet file in long form, judged one by one, into a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.errors import TelemetryError
from plant.site import Site, load_site
from twin.telemetry.admit import Gate
from twin.telemetry.mapping import Mapping, Translated, load_mapping
from twin.telemetry.matching import name_of
from twin.telemetry.samples import NO_TIME_MS, Samples, Series
from twin.telemetry.store import Batch, Store

BLOCK = 50_000
LISTED = 20
MS_PER = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
HOW = "long form: one row per reading, columns time, component, channel, value; other names go into [source.NAME]"


def run(
    file: str,
    mapping: str | None,
    open_store: Callable[[Site | None], Store],
    now_ms: int,
    site: str | None = None,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Return the `results` of contracts.md; raises TelemetryError, ConfigError or StoreUnavailable.

    site: judges components and ranges by that site; None lets every component in. now_ms (Unix): later than an hour
    from it is refused. The store is opened only when file and mapping can be read.
    """
    stage = None if site is None else load_site(site)
    kind_of = None if stage is None else {c: kind for kind in stage.kinds for c in stage.components(kind)}
    names = load_mapping(mapping, kind_of)
    columns = _read(Path(file), names)
    meant = names.translate(_samples(columns))
    gate = Gate(kind_of)
    store = open_store(stage)
    try:
        counts = _write(store, gate, meant, now_ms, told)
        store.flush()
    finally:
        store.close()
    unmatched = [name_of(series) for series in list(meant.unmatched)[:LISTED]]
    return {**counts, "dropped": meant.dropped, "unmatched": unmatched, "mapping": mapping, "path": file}


def _read(file: Path, names: Mapping) -> dict[str, Any]:
    """The columns as Arrow arrays; TelemetryError says what is missing and how a file should look."""
    words = {
        name for one in names.sources.values() or [names.source] for name in (one.component, one.channel, *one.tags)
    }
    table = _table(file, words)
    source = names.source_of(file.stem, table.column_names)
    wanted = {name: getattr(source, name) for name in ("time", "component", "channel", "value")}
    wanted |= {f"tag:{name}": name for name in source.tags}
    missing = [f"{ours} ('{theirs}')" for ours, theirs in wanted.items() if theirs not in table.column_names]
    if missing:
        found = f"columns {', '.join(table.column_names)}"
        raise TelemetryError(file.name, found, f"also {', '.join(missing)}", HOW)
    return {ours: _plain(table.column(theirs)) for ours, theirs in wanted.items()} | {"unit": source.time_unit}


def _table(file: Path, words: set[str]) -> Any:
    """The file as an Arrow table; columns of `words` are text, even where they look like numbers."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    if not file.is_file():
        raise TelemetryError(str(file), "no such file", "a CSV or Parquet file", HOW)
    try:
        if file.suffix in (".parquet", ".pq"):
            return parquet.read_table(file)
        texts = dict.fromkeys(words, pa.string())
        # a NaN in the file is a reading that is refused as such, not a missing one
        return csv.read_csv(file, convert_options=csv.ConvertOptions(column_types=texts, null_values=[""]))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        first = str(error).splitlines()[0]
        raise TelemetryError(file.name, f"cannot be read: {first}", "a CSV or Parquet file", HOW) from None


def _plain(column: Any) -> Any:
    """One array without a dictionary of its words."""
    import pyarrow as pa

    whole = column.combine_chunks()
    return whole.cast(whole.type.value_type) if pa.types.is_dictionary(whole.type) else whole


def _samples(columns: dict[str, Any]) -> Samples:
    """The rows of a long table as samples: a series is a component, a channel and the tags asked for."""
    names = ["component", "channel", *(key for key in columns if key.startswith("tag:"))]
    which, words = _distinct([columns[name] for name in names])
    series = [_series(dict(zip(names, row, strict=True))) for row in words]
    time_ms, time_ok = _times(columns["time"], columns["unit"])
    value, text = _values(columns["value"])
    return Samples(series, which, np.where(time_ok, time_ms, NO_TIME_MS), value, text)


def _series(row: dict[str, str]) -> Series:
    tags = {name.removeprefix("tag:"): word for name, word in row.items() if name.startswith("tag:") and word}
    return Series.of("", row["channel"], {**tags, "component": row["component"]})


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


def _times(column: Any, unit: str | None) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Unix ms of each row, and which could be read."""
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_temporal(column.type):
        column = compute.cast(column, pa.timestamp("ms"), safe=False)
        ok = np.asarray(compute.is_valid(column))
        return compute.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False), ok
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        read = [_instant_ms(text, unit) for text in column.to_pylist()]
        ok = np.array([one is not None for one in read], dtype=bool)
        return np.array([one or 0 for one in read], dtype=np.int64), ok
    raw = compute.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    factor = MS_PER.get(unit or "ms")
    if factor is None:
        raise TelemetryError("time", "numbers", "text, as time_unit = iso says", "set time_unit to s, ms, us or ns")
    ok = np.isfinite(raw)
    if (factor, column.type) == (1.0, pa.int64()) and column.null_count == 0:
        return column.to_numpy(zero_copy_only=False), ok  # whole milliseconds keep every bit
    return np.where(ok, raw * factor, 0.0).round().astype(np.int64), ok


def _instant_ms(text: str | None, unit: str | None) -> int | None:
    """Unix ms of an ISO instant (UTC where it names no zone) or of a number in the unit; None if it is neither."""
    try:
        if unit in MS_PER:
            return round(float(text or "") * MS_PER[unit])
        at = datetime.fromisoformat((text or "").strip())
    except (ValueError, OverflowError):
        return None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _values(column: Any) -> tuple[NDArray[np.float64], dict[int, str]]:
    """Numbers of each row, NaN where a word or nothing stands, and those words by row; NaN may stand in the file."""
    import pyarrow as pa
    from pyarrow import compute

    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        column = compute.cast(column, pa.float64(), safe=False)
        nothing = np.flatnonzero(~np.asarray(compute.is_valid(column))).tolist()
        value = compute.fill_null(column, np.nan).to_numpy(zero_copy_only=False).astype(np.float64)
        return value, dict.fromkeys(nothing, "")
    value, text = np.full(len(column), np.nan), {}
    for row, said in enumerate(column.to_pylist()):
        try:
            value[row] = float(said or "")
        except ValueError:
            text[row] = said or ""
    return value, text


def _write(
    store: Store, gate: Gate, meant: Translated, now_ms: int, told: Callable[[int, int], None]
) -> dict[str, Any]:
    """Judge and store block by block; returns the counted results."""
    batch, refused, accepted = meant.batch, Counter(one.reason for one in meant.refused), 0
    taken: list[Batch] = []
    for start in range(0, len(batch), BLOCK):
        part = batch.take(np.arange(start, min(start + BLOCK, len(batch))))
        good, bad = gate.admit(part, now_ms)
        before = Counter(store.refused())
        accepted += store.write(good) if len(good) else 0
        refused += Counter(store.refused()) - before
        refused += Counter(one.reason for one in bad)
        if bad:
            store.refuse_all(bad)
        taken.append(good)
        told(min(start + BLOCK, len(batch)), len(batch))
    if meant.refused:
        store.refuse_all(meant.refused)
    events = store.write_events(meant.events) if meant.events else 0
    stored = Batch.joined(taken)
    refused += Counter({"unmatched_name": sum(meant.unmatched.values())})
    by_reason = {reason: n for reason, n in sorted(refused.items()) if n}
    span = (int(stored.time_ms.min()), int(stored.time_ms.max())) if len(stored) else (None, None)
    results: dict[str, Any] = {
        "ok": accepted + events > 0,
        "readings_accepted": accepted,
        "readings_refused": sum(by_reason.values()),
        "refused_by_reason": by_reason,
        "events_accepted": events,
        "components": len(set(stored.component.tolist())),
        "first_at": _iso(span[0]),
        "last_at": _iso(span[1]),
    }
    return results | ({} if len(stored) else {"first_at_reason": "nothing was accepted"})


def _iso(at_ms: int | None) -> str | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000.0, UTC).isoformat()
