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
from twin.telemetry.store import Batch, Store
from verbs.ingest_mapping import Meaning, Names, Source, load_mapping

BLOCK = 50_000
LISTED = 20
BAD_TIME, BAD_VALUE = "unreadable_time", "unreadable_value"
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
    names = load_mapping(mapping)
    stage = None if site is None else load_site(site)
    columns = _read(Path(file), names.source)
    meant = _meant(columns, names)
    gate = Gate(None if stage is None else {c: kind for kind in stage.kinds for c in stage.components(kind)})
    store = open_store(stage)
    try:
        counts = _write(store, gate, meant, now_ms, told)
        store.flush()
    finally:
        store.close()
    return {**counts, "dropped": meant.dropped, "unmatched": meant.unmatched, "mapping": mapping, "path": file}


class Meant:
    """What the rows of a file mean after the mapping: a batch, rows nobody could read, names nobody matched."""

    def __init__(
        self, batch: Batch, bad: Counter[str], dropped: int, unmatched: list[str], unmatched_rows: int
    ) -> None:
        self.batch, self.bad, self.dropped = batch, bad, dropped
        self.unmatched, self.unmatched_rows = unmatched, unmatched_rows


def _read(file: Path, source: Source) -> dict[str, Any]:
    """The four columns as Arrow arrays; TelemetryError says what is missing and how a file should look."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    if not file.is_file():
        raise TelemetryError(str(file), "no such file", "a CSV or Parquet file", HOW)
    wanted = {name: getattr(source, name) for name in ("time", "component", "channel", "value")}
    texts = {wanted["component"]: pa.string(), wanted["channel"]: pa.string()}
    try:
        if file.suffix in (".parquet", ".pq"):
            table = parquet.read_table(file)
        else:
            # a NaN in the file is a reading that is refused as such, not a missing one
            table = csv.read_csv(file, convert_options=csv.ConvertOptions(column_types=texts, null_values=[""]))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        first = str(error).splitlines()[0]
        raise TelemetryError(file.name, f"cannot be read: {first}", "a CSV or Parquet file", HOW) from None
    missing = [f"{ours} ('{theirs}')" for ours, theirs in wanted.items() if theirs not in table.column_names]
    if missing:
        found = f"columns {', '.join(table.column_names)}"
        raise TelemetryError(file.name, found, f"also {', '.join(missing)}", HOW)
    return {ours: table.column(theirs).combine_chunks() for ours, theirs in wanted.items()} | {"unit": source.time_unit}


def _meant(columns: dict[str, Any], names: Names) -> Meant:
    """Apply the rules once per distinct name, then to all its rows."""
    pair, keys = _pairs(columns["component"], columns["channel"])
    meanings = [names.meaning(*key) for key in keys]
    time_ms, time_ok = _times(columns["time"], columns["unit"])
    value, value_ok = _values(columns["value"], pair, meanings)
    matched = np.array([m is not None for m in meanings], dtype=bool)[pair]
    dropped = np.array([m is not None and m.drop_all for m in meanings], dtype=bool)[pair]
    for n, meaning in enumerate(meanings):
        if meaning is not None and meaning.drop:
            dropped |= (pair == n) & np.isin(value, meaning.drop)
    scale = np.array([m.scale if m else 1.0 for m in meanings])[pair]
    offset = np.array([m.offset if m else 0.0 for m in meanings])[pair]
    good = matched & ~dropped & time_ok & value_ok
    component = np.array([m.component if m else "" for m in meanings], dtype=object)[pair]
    channel = np.array([m.channel if m else "" for m in meanings], dtype=object)[pair]
    batch = Batch(time_ms[good], component[good], channel[good], (value * scale + offset)[good])
    kept = matched & ~dropped
    bad = Counter({BAD_TIME: int((kept & ~time_ok).sum()), BAD_VALUE: int((kept & time_ok & ~value_ok).sum())})
    unmatched = [f"{component}/{channel}" for (component, channel), m in zip(keys, meanings, strict=True) if m is None]
    return Meant(batch, bad, int(dropped.sum()), unmatched[:LISTED], int((~matched).sum()))


def _pairs(component: Any, channel: Any) -> tuple[NDArray[np.int64], list[tuple[str, str]]]:
    """Number of the distinct (component, channel) of each row (n,), and the distinct ones."""
    first, second = component.dictionary_encode(), channel.dictionary_encode()
    words = [[str(word) for word in one.dictionary.to_pylist()] + [""] for one in (first, second)]
    # a missing word is the last one, the empty name, which the gate refuses
    codes = [
        one.indices.fill_null(len(w) - 1).to_numpy(zero_copy_only=False)
        for one, w in zip((first, second), words, strict=True)
    ]
    both = codes[0].astype(np.int64) * len(words[1]) + codes[1]
    distinct, pair = np.unique(both, return_inverse=True)
    return pair, [(words[0][n // len(words[1])], words[1][n % len(words[1])]) for n in distinct.tolist()]


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


def _values(
    column: Any, pair: NDArray[np.int64], meanings: list[Meaning | None]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Numbers of each row, words turned by the rule's table, and which could be read; NaN may stand in the file."""
    import pyarrow as pa
    from pyarrow import compute

    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        column = compute.cast(column, pa.float64(), safe=False)
        ok = np.asarray(compute.is_valid(column))
        return compute.fill_null(column, np.nan).to_numpy(zero_copy_only=False).astype(np.float64), ok
    value, ok = np.full(len(column), np.nan), np.zeros(len(column), dtype=bool)
    for i, (text, n) in enumerate(zip(column.to_pylist(), pair.tolist(), strict=True)):
        meaning = meanings[n]
        words = (meaning.words if meaning else None) or {}
        try:
            value[i] = words[text] if text in words else float(text or "")
            ok[i] = True
        except ValueError:
            pass
    return value, ok


def _write(store: Store, gate: Gate, meant: Meant, now_ms: int, told: Callable[[int, int], None]) -> dict[str, Any]:
    """Judge and store block by block; returns the counted results."""
    batch, refused, accepted = meant.batch, Counter(meant.bad), 0
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
    stored = Batch.joined(taken)
    refused += Counter({"unmatched_name": meant.unmatched_rows})
    by_reason = {reason: n for reason, n in sorted(refused.items()) if n}
    span = (int(stored.time_ms.min()), int(stored.time_ms.max())) if len(stored) else (None, None)
    results: dict[str, Any] = {
        "ok": accepted > 0,
        "readings_accepted": accepted,
        "readings_refused": sum(by_reason.values()),
        "refused_by_reason": by_reason,
        "components": len(set(stored.component.tolist())),
        "first_at": _iso(span[0]),
        "last_at": _iso(span[1]),
    }
    return results | ({} if len(stored) else {"first_at_reason": "nothing was accepted"})


def _iso(at_ms: int | None) -> str | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000.0, UTC).isoformat()
