"""`foretwin ingest FILE`: readings of a CSV or Parquet table or of line protocol, judged one by one, into a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from plant.site import Site, load_site
from twin.telemetry.admit import Gate
from twin.telemetry.mapping import Mapping, Translated, load_mapping
from twin.telemetry.matching import name_of
from twin.telemetry.samples import Samples, Series
from twin.telemetry.store import REFUSALS_KEPT, Batch, Refusal, Store
from verbs.mapfiles import read_file

BLOCK = 50_000
LISTED = 20
ROWS_SAID = 5


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
    read = read_file(Path(file), names)
    meant = names.translate(read.samples, now_ms)
    gate = Gate(kind_of)
    store = open_store(stage)
    try:
        counts = _write(store, gate, meant, now_ms, told, len(read.bad))
        store.refuse_all(_strangers(read.samples, meant, names))
        store.flush()
    finally:
        store.close()
    unmatched = [name_of(series) for series in list(meant.unmatched)[:LISTED]]
    more = {
        "dropped": meant.dropped,
        "held": meant.held,
        "joined": meant.joined,
        "gathered": meant.gathered,
        "unmatched": unmatched,
    }
    reasons = Counter(counts["refused_by_reason"])
    reasons.subtract({"unmatched_name": (wrong := _wrong_units(meant, names))})
    reasons["wrong_unit"] += wrong
    by_reason = {reason: n for reason, n in sorted(reasons.items()) if n}
    rows = [{"row": f"{Path(file).name} {bad}"} for bad in read.bad[:ROWS_SAID]]
    return {**counts, "refused_by_reason": by_reason, **more, "mapping": mapping, "path": file, "unreadable_rows": rows}


def _why_unmatched(series: Series, names: Mapping) -> str:
    """A name nobody knows, or one whose unit is another than its rules ask for."""
    name = name_of(series)
    asked = any(m.fits(name) and "unit" in m.rule.when for m in names.matchers)
    return "wrong_unit" if asked and "unit" in dict(series.tags) else "unmatched_name"


def _wrong_units(meant: Translated, names: Mapping) -> int:
    return sum(n for series, n in meant.unmatched.items() if _why_unmatched(series, names) == "wrong_unit")


def _strangers(samples: Samples, meant: Translated, names: Mapping) -> list[Refusal]:
    """Samples that no rule takes, as refusals with their reason, the last REFUSALS_KEPT."""
    strange = np.array([series in meant.unmatched for series in samples.series], dtype=bool)
    rows = np.flatnonzero(strange[samples.which])[-REFUSALS_KEPT:] if len(samples) else np.empty(0, int)
    found = []
    for row in rows.tolist():
        series = samples.series[int(samples.which[row])]
        component = dict(series.tags).get("component", series.measurement)
        time_ms, value = max(int(samples.time_ms[row]), 0), float(samples.value[row])
        found.append(Refusal(time_ms, component, series.field, value, _why_unmatched(series, names)))
    return found


def _write(
    store: Store, gate: Gate, meant: Translated, now_ms: int, told: Callable[[int, int], None], unreadable: int
) -> dict[str, Any]:
    """Judge and store block by block; returns the counted results. unreadable: rows the reader could not read."""
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
    happened, strange = gate.admit_events(meant.events, now_ms)
    events = store.write_events(happened) if happened else 0
    if strange:
        store.refuse_all(strange)
        refused += Counter(one.reason for one in strange)
    stored = Batch.joined(taken)
    refused += Counter({"unmatched_name": sum(meant.unmatched.values()), "unreadable_row": unreadable})
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
