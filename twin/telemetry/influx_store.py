"""The production store: InfluxDB 1.x (behind a proxy that answers the 2.x write address), 2.x and 3 Core.

A reading is a point of the measurement named after the component's kind, with tags `site` and `component`, one float
field per channel, in nanoseconds; `<channel>_ok` says where a channel turned invalid or valid again
(`twin.telemetry.influx_lines`), so that a sensor that turns NaN does not just vanish. Events are points of the
measurement `event`, with tags `component`, `type`, `code` and a field `text`.

`tail` has no arrival order to follow, so it asks again for a window before its cursor and hands out what it has not
handed out yet. Its rule: a reading later than OVERLAP_MS behind the site's clock is missed by `tail` (never by
`read`), and after a restart the last window comes once more. The clock is the median over components of their newest
times, so that one component with a fast clock cannot drag it along.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plant.errors import ConfigError
from twin.telemetry.influx_lines import LINES_PER_BLOCK, OTHER_KIND, LineBuilder, lane_of
from twin.telemetry.influx_posts import quoted_text, risk_lines, sync_lines
from twin.telemetry.influx_query import Address, InfluxQuery, Scheme, quoted, text
from twin.telemetry.influx_write import LANES, Delivery, InfluxWriter
from twin.telemetry.retention import Dropped, Keep
from twin.telemetry.spool import Spool
from twin.telemetry.store import (
    BAD_EVENT,
    LATEST_MS,
    REFUSALS_KEPT,
    Batch,
    Event,
    Newest,
    Refusal,
    event_ok,
    in_order,
    name_ok,
    newest_in,
    newest_of,
    storable,
)

OVERLAP_MS = 120_000
# Two rounds of 15 s: whoever spoke within it before the newest reading of all is found at once.
LATELY_MS = 30_000
# A larger batch is cut, so that its text stays small.
READINGS_PER_PART = 100_000

# A statement travels in the address line; more names than this are asked for by kind and picked here.
NAMES_PER_QUERY = 40

_NOT_KINDS = ("event", "risk", "sync")


class InfluxStore:
    """A `twin.telemetry.store.Store` over one database of one server.

    `kind_of` maps component to kind (the measurement); a component it does not know is filed under OTHER_KIND.
    Opening raises StoreUnavailable when the server is down, the token is wrong or the database unknown, unless
    `check` is False: then writes go to the spool until the server is back. `database` may name a retention policy,
    `database/policy`; `timeout_s` is how long a write waits for its answer before it is tried again.
    """

    def __init__(
        self,
        url: str,
        database: str,
        token: str,
        *,
        site: str,
        spool: str | Path,
        kind_of: Mapping[str, str] | None = None,
        check: bool = True,
        timeout_s: float = 5.0,
        scheme: Scheme = "Token",
    ) -> None:
        self._kind_of = dict(kind_of or {})
        _check_names(site, self._kind_of)
        self._site = site
        address = Address.of(url, database, token, scheme)
        self._query = InfluxQuery(url, database, token, scheme=scheme)
        if check:
            self._query.check()
        self._lines = LineBuilder(site, self._kind_of, LANES)
        self._building = threading.Lock()
        # A sender asks, too, and must not wait as long for an answer as somebody who reads a month.
        self._asking = InfluxQuery(url, database, token, scheme=scheme, timeout_s=timeout_s)
        self._writer = InfluxWriter(address, Spool(spool), self._asking, timeout_s=timeout_s)
        self._refused: Counter[str] = Counter()
        self._aside: deque[Refusal] = deque(maxlen=REFUSALS_KEPT)
        self._seen: dict[tuple[int, str, str], float] = {}
        self._seen_cursor = 0
        if check:
            self._writer.drain()

    def write(self, batch: Batch) -> int:
        good, bad = storable(batch)
        self.refuse_all(bad)
        # Under the lock to the end: two threads' readings of one series leave in the order in which they were numbered.
        with self._building:
            for start in range(0, len(good), READINGS_PER_PART):
                part = good.take(np.arange(start, min(start + READINGS_PER_PART, len(good))))
                for block in self._lines.blocks(part):
                    self._writer.send(block.data, block.readings, block.lane)
        return len(good)

    def write_events(self, events: Sequence[Event]) -> int:
        good = [event for event in events if event_ok(event)]
        by_lane: dict[int, list[str]] = {}
        for event in good:
            by_lane.setdefault(lane_of(event.component, LANES), []).append(_event_line(event, self._site))
        for lane, lines in by_lane.items():
            self._writer.send("".join(lines).encode(), len(lines), lane)
        if len(good) < len(events):
            self._refused[BAD_EVENT] += len(events) - len(good)
        return len(good)

    def write_risks(self, at_ms: int, risks: Sequence[Mapping[str, Any]]) -> None:
        """Write the risks of all components back, as the measurement `risk` (`twin.telemetry.influx_posts`)."""
        self._post(risk_lines(self._site, at_ms, risks))

    def write_sync(self, at_ms: int, rows: Sequence[Mapping[str, Any]], *, in_sync: bool, age_s: float | None) -> None:
        """Write how well the twin follows, as the measurement `sync` (`twin.telemetry.influx_posts`)."""
        done = self.delivery()
        counts = {"refused": sum(self._refused.values()), "spooled": done.spooled, "rejected": done.rejected}
        self._post(sync_lines(self._site, at_ms, rows, in_sync=in_sync, age_s=age_s, counts=counts))

    def _post(self, lines: list[str]) -> None:
        # Not readings: they count as none in the account.
        for start in range(0, len(lines), LINES_PER_BLOCK):
            self._writer.send("".join(lines[start : start + LINES_PER_BLOCK]).encode(), 0)

    def read(
        self, components: Sequence[str] | None, channels: Sequence[str] | None, start_ms: int, end_ms: int
    ) -> Batch:
        wanted = None if components is None else {name for name in components if name_ok(name)}
        of_channel = None if channels is None else set(channels)
        parts = []
        for kind in self._kinds_of(wanted):
            fields = [name for name in self._fields(kind) if of_channel is None or name in of_channel]
            if fields:
                parts.append(self._query.rows(kind, fields, self._where(kind, wanted, start_ms, end_ms)))
        found = Batch.joined(parts)
        if wanted is not None and len(wanted) > NAMES_PER_QUERY:
            found = found.take(np.array([name in wanted for name in found.component.tolist()], dtype=bool))
        return in_order(found)

    def _kinds_of(self, components: set[str] | None) -> list[str]:
        """The measurements that hold these components, or all that hold readings."""
        listed = [row["name"] for row in self._query.records("SHOW MEASUREMENTS")]
        if not listed:
            self._query.check()
        there = [kind for kind in listed if kind not in _NOT_KINDS and name_ok(kind)]
        if components is None:
            return there
        wanted = {self._kind_of.get(name, OTHER_KIND) for name in components}
        return [kind for kind in there if kind in wanted]

    def _fields(self, kind: str) -> list[str]:
        """The channels of a measurement; fields of other types or names are none of ours."""
        rows = [(r["fieldKey"], r["fieldType"]) for r in self._query.records(f"SHOW FIELD KEYS FROM {quoted(kind)}")]
        return sorted(name for name, of in rows if of == "float" and name_ok(name) and not name.endswith("_ok"))

    def _where(self, kind: str, components: set[str] | None, start_ms: int, end_ms: int) -> str:
        where = f'"site" = {text(self._site)} AND {_span(start_ms, end_ms)}'
        if components is not None and len(components) <= NAMES_PER_QUERY:
            of_kind = sorted(name for name in components if self._kind_of.get(name, OTHER_KIND) == kind)
            names = " OR ".join(f'"component" = {text(name)}' for name in of_kind)
            where += f" AND ({names})"
        return where

    def newest(self, channel: str | None = None) -> Newest:
        return newest_of(row for kind in self._kinds_of(None) for row in self._newest_rows(kind, channel))

    def _newest_rows(self, kind: str, channel: str | None) -> list[tuple[int, str, str, float]]:
        """The newest row per component and perhaps more; those heard of lately come by one window of readings.

        Asking for the last value of every series takes ten times as long, so that is left to those silent for longer.
        """
        fields = [field for field in self._fields(kind) if channel in (None, field)]
        of_site = f'"site" = {text(self._site)}'
        last = [f"SELECT last({quoted(field)}) FROM {quoted(kind)} WHERE {of_site}" for field in fields]
        times = [int(row["time"]) for one in last for row in self._query.records(one) if row["last"] is not None]
        if not times:
            return []
        span = _span(max(times) - LATELY_MS, max(times) + 1)
        found = newest_in(self._query.rows(kind, fields, f"{of_site} AND {span}"))
        silent = self._components_of(kind) - set(found.component.tolist())
        return found.rows() + (list(self._last_rows(kind, fields, last, silent)) if silent else [])

    def _last_rows(
        self, kind: str, fields: list[str], last: list[str], silent: set[str]
    ) -> Iterable[tuple[int, str, str, float]]:
        names = " OR ".join(f'"component" = {text(name)}' for name in sorted(silent) if name_ok(name))
        only = f" AND ({names})" if len(silent) <= NAMES_PER_QUERY else ""
        for field, statement in zip(fields, last, strict=True):
            for row in self._query.records(f'{statement}{only} GROUP BY "component"'):
                if row["last"] is not None and row["component"] in silent:
                    yield int(row["time"]), row["component"], field, float(row["last"])

    def components(self) -> list[str]:
        return sorted({name for kind in self._kinds_of(None) for name in self._components_of(kind)})

    def _components_of(self, kind: str) -> set[str]:
        statement = f'SHOW TAG VALUES FROM {quoted(kind)} WITH KEY = "component" WHERE "site" = {text(self._site)}'
        return {row["value"] for row in self._query.records(statement)}

    def oldest_ms(self) -> int | None:
        times = []
        for kind in self._kinds_of(None):
            for field in self._fields(kind):
                statement = f'SELECT first({quoted(field)}) FROM {quoted(kind)} WHERE "site" = {text(self._site)}'
                times += [int(row["time"]) for row in self._query.records(statement) if row["first"] is not None]
        return min(times, default=None)

    def events(self, start_ms: int, end_ms: int) -> list[Event]:
        statement = (
            f'SELECT "component", "type", "code", "text" FROM "event" '
            f'WHERE "site" = {text(self._site)} AND {_span(start_ms, end_ms)}'
        )
        rows = self._query.records(statement)
        found = [Event(int(r["time"]), r["component"], r["type"], r["code"] or "", r["text"]) for r in rows]
        return sorted(found, key=lambda event: (event.time_ms, event.component, event.type, event.code))

    def tail(self, cursor: int) -> tuple[Batch, int]:
        if cursor != self._seen_cursor:
            self._seen = {}
        found = self.read(None, None, max(0, cursor - OVERLAP_MS), LATEST_MS + 1)
        if not len(found):
            return found, cursor
        keys = list(zip(found.time_ms.tolist(), found.component, found.channel, strict=True))
        values = found.value.tolist()
        fresh = [self._seen.get(key) != value for key, value in zip(keys, values, strict=True)]
        cursor = max(cursor, _clock_ms(found))
        self._seen = {key: value for key, value in zip(keys, values, strict=True) if key[0] >= cursor - OVERLAP_MS}
        self._seen_cursor = cursor
        return found.take(np.array(fresh, dtype=bool)), cursor

    def tail_end(self) -> int:
        newest = [time_ms for time_ms, _, _ in self.newest().values()]
        # Asking once marks the window before the cursor as handed out.
        return self.tail(int(np.median(newest)))[1] if newest else 0

    def refuse(self, component: str, channel: str, time_ms: int, value: float, reason: str) -> None:
        self.refuse_all([Refusal(time_ms, component, channel, value, reason)])

    def refuse_all(self, refusals: Sequence[Refusal]) -> None:
        """Count and keep aside in this process; a channel written before is marked as invalid in the database."""
        self._refused.update(refusal.reason for refusal in refusals)
        self._aside.extend(refusals)
        with self._building:
            marks: dict[int, list[str]] = {}
            for refusal in refusals:
                marked = self._lines.invalid_line(refusal)
                if marked:
                    marks.setdefault(marked[0], []).append(marked[1])
            for lane, lines in marks.items():
                self._writer.send("".join(lines).encode(), 0, lane)

    def refused(self) -> dict[str, int]:
        return dict(self._refused)

    def refusals(self) -> list[Refusal]:
        return list(self._aside)

    def delivery(self) -> Delivery:
        """How many readings were sent, stored, are spooled or rejected by the server, and the last trouble."""
        return self._writer.delivery()

    def drain(self) -> bool:
        """Try to send what waits in the spool; False while the server does not take it."""
        return self._writer.drain()

    def retain(self, keep: Keep) -> Dropped:
        """Nothing: how long a database keeps is said on the server (retention policy, or the bucket's retention)."""
        return Dropped()

    def flush(self) -> None:
        self._writer.drain()

    def close(self) -> None:
        self._writer.close()
        self._asking.close()
        self._query.close()


def _clock_ms(batch: Batch) -> int:
    newest: dict[str, int] = {}
    for time_ms, component in zip(batch.time_ms.tolist(), batch.component.tolist(), strict=True):
        newest[component] = max(time_ms, newest.get(component, 0))
    return int(np.median(list(newest.values())))


def _span(start_ms: int, end_ms: int) -> str:
    """A half-open window in ns, within what the server's clock can say."""
    start, end = (max(0, min(LATEST_MS + 1, instant)) * 1_000_000 for instant in (start_ms, end_ms))
    return f"time >= {start} AND time < {end}"


def _event_line(event: Event, site: str) -> str:
    code = f",code={event.code}" if event.code else ""
    head = f"event{code},component={event.component},site={site},type={event.type}"
    return f"{head} text={quoted_text(event.text)} {event.time_ms}000000\n"


def _check_names(site: str, kind_of: Mapping[str, str]) -> None:
    bad = [name for name in (site, *set(kind_of.values())) if not name_ok(name)]
    if bad or any(kind in _NOT_KINDS or kind.startswith("#") for kind in kind_of.values()):
        raise ConfigError(
            where="[store]",
            found=f"site {site!a}, kinds {sorted(set(kind_of.values()))}",
            allowed="letters, digits, _ and -; no kind called event, risk or sync",
            cure="rename it",
        )
