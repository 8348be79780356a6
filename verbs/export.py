"""`foretwin export --parquet FILE`: history out of the store, as Parquet, while the worker runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from plant.channels import CHANNELS
from plant.errors import ConfigError
from plant.site import Site
from twin.telemetry.parquet import Cut, Told, UnitOf, write_events, write_readings
from twin.telemetry.store import LATEST_MS, Store

EVENTS_SUFFIX = ".events.parquet"


def run(
    open_store: Callable[[], Store],
    parquet: str,
    begin: str | None,
    end: str | None,
    component: str | None,
    channel: str | None,
    site: Site | None,
    force: bool,
    told: Told = lambda done, of: None,
) -> dict[str, Any]:
    """Return `ok`, `items` (each file with its rows), `path`. Raises ConfigError or StoreUnavailable.

    begin, end: ISO instants, UTC where they name no zone; None is everything. component: shell pattern; channel: its
    name. An existing file is replaced only by `force`. site names the units exactly; without it a channel's usual one.
    """
    to = Path(parquet)
    events_to = to.with_name(to.stem + EVENTS_SUFFIX)
    _check_target(to, events_to, force)
    if channel is not None and channel not in {row.name for row in CHANNELS}:
        known = " ".join(sorted({row.name for row in CHANNELS}))
        raise ConfigError("--channel", f"'{channel}'", f"one of {known}", "see docs/telemetry.md")
    first, last = _instant(begin, "--from"), _instant(end, "--to")
    if first is not None and last is not None and first >= last:
        raise ConfigError("--from", f"{begin} is not before --to {end}", "an earlier instant", "swap them")
    store = open_store()
    try:
        newest = store.newest()
        oldest = store.oldest_ms()
        names = store.components()
        if component is not None:
            names = [name for name in names if fnmatchcase(name, component)]
        ends = max((at_ms for at_ms, _, _ in newest.values()), default=0) + 1
        start_ms = max(first or 0, oldest or 0)
        cut = Cut(start_ms, min(last if last is not None else ends, ends), names if component else None,
                  [channel] if channel else None)  # fmt: skip
        readings = write_readings(store, cut, to, _unit_of(site), told)
        happened = store.events(first or 0, last if last is not None else LATEST_MS + 1)
        kept = set(names)
        events = write_events([one for one in happened if component is None or one.component in kept], events_to)
    finally:
        store.close()
    items = [{"file": str(to), "rows": readings, "what": "readings"},
             {"file": str(events_to), "rows": events, "what": "events"}]  # fmt: skip
    told_why = {} if readings or events else {"empty_because": _why_empty(len(newest), component, channel)}
    return {"ok": True, "items": items, "path": str(to), **told_why}


def _why_empty(series: int, component: str | None, channel: str | None) -> str:
    """What an export without a row may have missed."""
    if not series:
        return "the store holds nothing; that of an InfluxDB is named by --store http://HOST:PORT/DATABASE"
    asked = " ".join(word for word in ("--from --to", component and "--component", channel and "--channel") if word)
    return f"nothing fits {asked}; the store holds {series} series"


def _check_target(to: Path, events_to: Path, force: bool) -> None:
    if to.suffix not in (".parquet", ".pq"):
        raise ConfigError("--parquet", f"'{to.name}'", "a file name ending in .parquet", "for example history.parquet")
    if not to.parent.is_dir():
        raise ConfigError(str(to.parent), "no such folder", "an existing folder", "make it first")
    there = [path for path in (to, events_to) if path.exists()]
    if there and not force:
        raise ConfigError(str(there[0]), "is already there", "a new file", "choose another name, or add --force")


def _instant(text: str | None, where: str) -> int | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(where, f"'{text}'", "an ISO instant", "for example 2026-11-20T08:00:00Z") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _unit_of(site: Site | None) -> UnitOf:
    """The unit of a channel: of its component's kind where a site names it, else of the channel's first kind."""
    kind_of = {} if site is None else {one: kind for kind in site.kinds for one in site.components(kind)}
    usual = {row.name: row.unit for row in reversed(CHANNELS)}
    own = {row.key: row.unit for row in CHANNELS}
    return lambda component, name: own.get((kind_of.get(component, ""), name), usual.get(name, ""))
