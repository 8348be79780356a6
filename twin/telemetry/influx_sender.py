"""One lane's sender: stores its blocks by the client's synchronous write, and makes sure that they stay stored.

What the database confirmed is looked for after every failed request and whenever it says that it was started anew; from
the first block that is gone all are sent again (docs/decisions/015-influx-lanes.md).
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import urllib3

from plant.errors import StoreUnavailable
from twin.telemetry.confirmed import Confirmed
from twin.telemetry.influx_lane import GROUP_BYTES, Waiting
from twin.telemetry.influx_query import Address, InfluxQuery, refusal
from twin.telemetry.probe import Probe
from twin.telemetry.spool import Spool

# After a longer silence the database may have been started anew without any of our requests failing: an empty one
# takes 36 ms for it.
UNSEEN_S = 0.02
# What a server answers to lines it cannot take (bad request, too large, unprocessable); all else is tried again.
_LINES_AT_FAULT = (400, 413, 422)
# What our marks are called (`twin.telemetry.confirmed`): they lie beside what else is said of the twin's own doings.
_MARKED = b"sync,channel=sender"
_NS_PER_MS = 1_000_000
_ATTEMPTS = 64
# A line ends where a line ends outside of a string: the text of an event may hold line ends of its own.
_LINE = re.compile(rb'(?:[^"\n]|"(?:[^"\\]|\\.)*")+', re.DOTALL)


@dataclass
class Account:
    """What all lanes count together, under one lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    sent: int = 0
    stored: int = 0
    rejected: int = 0
    again: int = 0
    held_bytes: int = 0
    trouble: str = ""


class Sender:
    """Stores the blocks of one lane; sends confirmed ones again when they are gone."""

    def __init__(
        self, lane: int, address: Address, api: Any, query: InfluxQuery, spool: Spool, confirmed: Confirmed,
        account: Account,
    ) -> None:  # fmt: skip
        self._lane, self._address, self._api, self._query = lane, address, api, query
        self._spool, self._confirmed, self._account = spool, confirmed, account
        # An earlier process may have died together with the database.
        self._in_doubt = len(confirmed) > 0
        self._again_from = confirmed.to_send_again()
        # What comes next may be the first that the database has taken since it was started.
        self._begins, self._attempts = True, os.getpid()
        self._started: str | None = None
        self._heard_s = 0.0

    def deliver(self, group: Sequence[Waiting]) -> float | None:
        """Store a group of blocks; None when the server has them, else the pause in s that it asked for."""
        try:
            if self._in_doubt or self._may_have_restarted():
                self._make_sure()
            bodies = [(self._spool.get(b.kept.number) if b.data is None else b.data) or b"" for b in group]
            rejected = self._store(group, bodies)
            self._heard_s = time.monotonic()
        except StoreUnavailable as error:
            return self._note(str(error), getattr(error.__cause__, "headers", None))
        except Exception as error:
            # A sender must outlive whatever happens to it: a full disk, a client's own fault.
            return self._note(f"{type(error).__name__}: {error}", None)
        account = self._account
        with account.lock:
            account.trouble = ""
            account.rejected += rejected
            account.stored += sum(block.kept.readings for block in group) - rejected
            account.held_bytes -= sum(len(block.data) for block in group if block.data is not None)
        return None

    def settle(self) -> None:
        """Look once more whether the database still has what it confirmed: nobody will ask for a while."""
        with suppress(StoreUnavailable):
            if self._heard_s and (self._in_doubt or self._may_have_restarted()):
                self._make_sure()

    def _note(self, trouble: str, headers: Any) -> float:
        self._in_doubt = self._begins = True
        self._attempts += 1
        with self._account.lock:
            self._account.trouble = " ".join(trouble.split())[:300]
        return _asked_s(headers)

    def _store(self, group: Sequence[Waiting], bodies: list[bytes]) -> int:
        """Store blocks and keep them as confirmed; how many readings the server will never take."""
        first = group[0].kept.number
        mark = self._mark(first, b"".join(bodies)) if self._begins else b""
        rejected = self._post_group([mark + bodies[0], *bodies[1:]], [block.kept.readings for block in group])
        for block, body in zip(group, bodies, strict=True):
            self._confirmed.add(block.kept.number, len(body), whole=not rejected)
        if mark and not rejected:
            self._confirmed.mark(first, mark)
            self._begins = False
        return rejected

    def _mark(self, number: int, body: bytes) -> bytes:
        """A line that no other request has, beside the first value of these lines in time; empty without a value."""
        probe = Probe.of(body)
        if probe is None:
            return b""
        # Readings have whole milliseconds. A block has its number alone, but may be sent several times.
        own = number * _ATTEMPTS + self._attempts % _ATTEMPTS
        unique_ns = probe.time_ns // _NS_PER_MS * _NS_PER_MS + own % _NS_PER_MS
        site = dict(probe.tags).get("site", "none")
        return b"%s,lane=%d,site=%s block=%d %d\n" % (_MARKED, self._lane, site.encode(), number, unique_ns)

    def _may_have_restarted(self) -> bool:
        """Whether the database may have been started since it was last heard; asked only after a silence."""
        if time.monotonic() - self._heard_s <= UNSEEN_S:
            return False
        started, before = self._query.started(), self._started
        self._started = started or before
        # Where it does not say so, it can only be asked for what it was given last.
        changed = before not in (None, started) if started else not self._confirmed.has_newest(self._is_there)
        self._begins |= changed
        return changed

    def _make_sure(self) -> None:
        """From the first block on that the database has forgotten send all again."""
        self._in_doubt = True
        self._started = self._query.started() or self._started
        if self._again_from is not None:
            self._send_again(self._again_from)
        while (first := self._confirmed.first_gone(self._is_there)) is not None:
            self._send_again(first)
            # When it still is not there a rule of the database's own deletes it, and would do so every time.
            if self._confirmed.first_gone(self._is_there) == first:
                self._confirmed.unfit(first)
        self._in_doubt = False

    def _send_again(self, first: int) -> None:
        """Send all from this block on; an attempt that breaks off is made anew from there, by a later process, too."""
        self._again_from = first if self._again_from is None else min(first, self._again_from)
        first = self._again_from
        self._confirmed.sending_again(first)
        self._confirmed.unmark(first)
        self._attempts += 1
        mark = b""
        for n, body in self._confirmed.bodies(first, GROUP_BYTES):
            new_mark = b"" if mark else self._mark(first, body)
            self._post(new_mark + body, 0, again=True)
            mark = mark or new_mark
            with self._account.lock:
                self._account.again += n
        if mark:
            self._confirmed.mark(first, mark)
            self._begins = False
        self._confirmed.sending_again(None)
        self._again_from = None

    def _is_there(self, probe: Probe) -> bool:
        return bool(self._query.series(probe.statement()))

    def _post_group(self, bodies: list[bytes], readings: list[int]) -> int:
        """Store blocks in one request, or where the server finds fault one by one; how many readings it never takes."""
        if len(bodies) == 1:
            return self._post(bodies[0], readings[0])
        try:
            self._request(b"".join(bodies))
        except _LinesAtFaultError:
            return sum(self._post(body, n) for body, n in zip(bodies, readings, strict=True))
        return 0

    def _post(self, data: bytes, readings: int, *, again: bool = False) -> int:
        """Store all lines that the server can take; halves what it refuses until the bad lines stand alone.

        again: the lines were sent before, and what was at fault then has been set aside.
        """
        if not data.strip():
            return 0
        try:
            self._request(data)
        except _LinesAtFaultError as fault:
            lines = _LINE.findall(data)
            if len(lines) == 1 and fault.too_large:
                # No single line is too large: whoever says so takes nothing at all just now.
                raise refusal(self._address.url, self._address.bucket, fault.reason, 413) from fault
            if len(lines) == 1:
                return 0 if again else self._reject(lines[0].decode("utf-8", "replace"), fault.reason, readings)
            middle = len(lines) // 2
            halves = (b"\n".join(half) + b"\n" for half in (lines[:middle], lines[middle:]))
            return sum(self._post(half, readings, again=again) for half in halves)
        return 0

    def _request(self, data: bytes) -> None:
        """One write. Raises _LinesAtFaultError for lines that the server cannot take, else StoreUnavailable."""
        from influxdb_client.rest import ApiException

        address = self._address
        try:
            self._api.write(bucket=address.bucket, record=data)
        except ApiException as error:
            reason, status = str(error.body or error.reason), error.status or 0
            if status == 413 or (status in _LINES_AT_FAULT and _blames_lines(reason)):
                raise _LinesAtFaultError(reason, too_large=status == 413) from error
            raise refusal(address.url, address.bucket, reason, status) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            found = f"the server does not answer ({type(error).__name__})"
            raise StoreUnavailable(where=address.url, found=found, cure="start InfluxDB") from error

    def _reject(self, line: str, reason: str, readings: int) -> int:
        """Set a line aside; the number of readings in it (validity and blocks that hold none are not counted)."""
        if line.encode().startswith(_MARKED):
            return 0
        self._spool.set_aside(line, reason)
        if line.startswith("event,"):
            return min(readings, 1)
        return min(readings, sum(1 for one in line.split(" ", 1)[-1].split(",") if "_ok=" not in one))


class _LinesAtFaultError(Exception):
    """The server answered, and will never take these lines as they are; `reason` is what it said."""

    def __init__(self, reason: str, *, too_large: bool) -> None:
        super().__init__(reason)
        self.reason, self.too_large = reason, too_large


def _blames_lines(reason: str) -> bool:
    """Whether a refusal is the database's own word on the lines: neither a proxy's page nor a missing database."""
    try:
        said = json.loads(reason)
    except ValueError:
        return False
    message = str(said.get("error") or said.get("message") or "") if isinstance(said, dict) else ""
    return not message.startswith(("database not found", "retention policy not found"))


def _asked_s(headers: Any) -> float:
    """Seconds that a server asked to be left alone (429 and 503 may say so), at most a minute."""
    said = str(headers.get("Retry-After", "")) if headers else ""
    return min(float(said), 60.0) if said.isdigit() else 0.0
