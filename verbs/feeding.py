"""The sources of a running worker: asked in the background, mapped, judged and stored before each tick."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from plant.errors import ForetwinError
from plant.site import Site
from twin.board import Board
from twin.telemetry.admit import Gate, ingest
from twin.telemetry.feeder import CLOSE_S, Feeder, Taken
from twin.telemetry.mapping import Translated
from twin.telemetry.sources import Mark
from twin.telemetry.store import Batch, Refusal, Store
from verbs.settings_sources import SourceTable
from verbs.source_kinds import mapping_of, opened

MARKS = "source_marks"
"""Where each source stands, on the board: in the file of the readings, so a backup holds both as of one instant."""
UNREADABLE = "unreadable_row"
MOST_AT_ONCE = 500_000
SETTLE_S = 10.0
REASONS_SAID = 3
NAMES_SAID = 4
STILL_COMING = ("starting", "catching up")
CHECKED_H = 1.0 / 6.0


class Intake:
    """Brings what the sources say into one store. Used by one thread; the sources have theirs."""

    def __init__(
        self,
        tables: Mapping[str, SourceTable],
        board: Board,
        site: Site,
        store: Store,
        clock: Callable[[], int],
        *,
        history_h: float = 1.0,
        seed: int = 0,
    ) -> None:
        """Read mappings and marks and begin to ask. Raises ConfigError for a faulty mapping."""
        kind_of = {c: kind for kind in site.kinds for c in site.components(kind)}
        # One mapping per source: it remembers counters and last codes of its own series.
        self._mappings = {name: mapping_of(table, kind_of) for name, table in tables.items()}
        self._store, self._gate, self._board = store, Gate(kind_of), board
        self._translated: tuple[Taken, Translated] | None = None
        sources = [
            (opened(name, table, self._mappings[name], history_h), table.interval_s) for name, table in tables.items()
        ]
        marks = _marks(board)
        self._resumed = set(marks)
        self._feeder = Feeder(sources, clock, marks, seed).start()

    def bring(self, now_ms: int) -> int:
        """Store what has come, at most MOST_AT_ONCE samples; returns how many. Raises StoreUnavailable.

        What could not be stored waits; what was stored when the worker dies right after is asked for again, and a
        store keeps the same reading once.
        """
        n = 0
        while n < MOST_AT_ONCE and (taken := self._feeder.next()) is not None:
            self._keep(taken, now_ms)
            n += len(taken.read.samples)
        if n:
            self._board.put_json(MARKS, self._feeder.marks, now_ms)
        return n

    def _keep(self, taken: Taken, now_ms: int) -> None:
        # Translated once: a mapping counts and remembers, so a second try to store must not translate again.
        if self._translated is None or self._translated[0] is not taken:
            self._translated = taken, self._mappings[taken.source].translate(taken.read.samples, now_ms)
        meant = self._translated[1]
        stored = ingest(self._store, self._gate, self._not_known(taken.source, meant.batch), now_ms)
        happened, strange = self._gate.admit_events(meant.events, now_ms)
        if happened:
            self._store.write_events(happened)
        aside = [*meant.refused, *strange, *_unreadable(taken, now_ms)]
        if aside:
            self._store.refuse_all(aside)
        self._translated = None
        unmatched = sum(meant.unmatched.values())
        self._feeder.done(taken, stored.accepted, stored.refused + len(meant.refused), unmatched)

    def _not_known(self, source: str, batch: Batch) -> Batch:
        """The readings that the store does not hold yet, for a source that goes on where an earlier worker stopped.

        What was stored just before that one died is asked for again; told twice, the twin would be corrected twice.
        """
        if source not in self._resumed or not len(batch):
            return batch
        names, channels = sorted(set(batch.component.tolist())), sorted(set(batch.channel.tolist()))
        begin_ms, end_ms = int(batch.time_ms.min()), int(batch.time_ms.max()) + 1
        known = set(self._store.read(names, channels, begin_ms, end_ms).rows())
        new = np.array([row not in known for row in batch.rows()], dtype=bool)
        if new.all():
            self._resumed.discard(source)
        return batch.take(new)

    def rows(self) -> list[dict[str, Any]]:
        """How each source stands, for the board."""
        return self._feeder.standings()

    def settle(self, wait_s: float = SETTLE_S) -> None:
        """Wait until every source has told all it has or failed, for a worker that will tick only once."""
        until_s = time.monotonic() + wait_s
        while time.monotonic() < until_s and any(row["state"] in STILL_COMING for row in self.rows()):
            time.sleep(0.02)

    def end(self, wait_s: float = CLOSE_S) -> None:
        """Ask no more; a source that hangs is waited for no longer than this."""
        self._feeder.close(wait_s)


def in_words(row: Mapping[str, Any]) -> str:
    """How a source stands, in a few words: its state, and its last error or the age of its newest sample."""
    if row["last_error"]:
        return f"{row['state']}: {row['last_error']}"
    age_s = row["age_s"]
    return f"{row['state']}: " + ("no sample yet" if age_s is None else f"newest sample {age_s:.0f} s old")


def _unreadable(taken: Taken, now_ms: int) -> list[Refusal]:
    """Rows that the reader could not read, kept aside under the name of the source."""
    return [
        Refusal(now_ms, taken.source, row.where.replace(" ", "_"), float("nan"), UNREADABLE) for row in taken.read.bad
    ]


def _marks(board: Board) -> dict[str, Mark]:
    """Where an earlier worker's sources stood."""
    posted = board.get_json(MARKS)
    found = posted.value if posted is not None and isinstance(posted.value, dict) else {}
    return {name: mark for name, mark in found.items() if isinstance(mark, dict)}


def check(name: str, table: SourceTable, site: Site | None, now_ms: int) -> tuple[bool, str, str]:
    """Whether a source answers, can be read and is mapped: good, found, cure. For `foretwin doctor`."""
    kind_of = None if site is None else {c: kind for kind in site.kinds for c in site.components(kind)}
    try:
        mapping = mapping_of(table, kind_of)
        source = opened(name, table, mapping, history_h=CHECKED_H)
        try:
            read = source.poll(now_ms)
        finally:
            source.close()
    except ForetwinError as error:
        return False, f"{error.where}: {error.found}", error.cure
    meant = mapping.translate(read.samples)
    good, refused = Gate(kind_of).admit(meant.batch, now_ms)
    n, unmatched = len(read.samples), sum(meant.unmatched.values())
    share = 1.0 - unmatched / n if n else 0.0
    reasons = Counter(one.reason for one in (*refused, *meant.refused))
    said = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common(REASONS_SAID))
    found = f"{n} samples, {share:.0%} mapped, {len(good)} readings good, {reasons.total()} refused"
    found += f" ({said})" if said else ""
    if read.bad:
        found += f", {len(read.bad)} rows unreadable ({read.bad[0]})"
    if not n:
        return False, "answers, but says nothing", "see whether anything writes to it"
    strangers = sorted({one.component for one in refused if one.reason == "unknown_component"})
    cure = "foretwin map check shows which names no rule takes"
    if strangers:
        cure = f"say under [hosts] of its mapping which components these are: {', '.join(strangers[:NAMES_SAID])}"
        cure += f" and {len(strangers) - NAMES_SAID} more" if len(strangers) > NAMES_SAID else ""
    return len(good) + len(meant.events) > 0, found, cure
