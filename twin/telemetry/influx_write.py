"""Blocks of line protocol on their way into InfluxDB, each on disk first: stored + spooled == sent, always.

A block is written to the spool before it is acknowledged and leaves it some time after the database has confirmed it
(`twin.telemetry.confirmed`), so neither the database's death nor ours loses a reading. Senders of our own use the
client's synchronous write, one per lane and each in order; while the database is away blocks wait on disk and memory
stays bounded. A line that the server will never take is set aside with its reason
(docs/decisions/011-influx-spool.md, 015-influx-lanes.md).
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import urllib3

from plant.errors import StoreUnavailable
from twin.telemetry.confirmed import Confirmed, Probe
from twin.telemetry.influx_lane import GROUP_BYTES, Lane, Waiting
from twin.telemetry.influx_query import Address, InfluxQuery, refusal
from twin.telemetry.spool import Spool

LANES = 2
# Lines of blocks not yet confirmed that are held in memory, all lanes together; beyond it they are read back from disk.
HELD_BYTES = 16 << 20
SETTLE_S = 30.0
# After a longer silence the database may have been started anew without any of our requests failing.
UNSEEN_S = 0.05
# What a server answers to lines it cannot take (bad request, too large, unprocessable); all else is tried again.
_LINES_AT_FAULT = (400, 413, 422)
# A line ends where a line ends outside of a string: the text of an event may hold line ends of its own.
_LINE = re.compile(rb'(?:[^"\n]|"(?:[^"\\]|\\.)*")+', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Readings given to the writer, confirmed by the server, waiting on disk, set aside for good; the last trouble.

    again: blocks sent once more because the server had forgotten them.
    """

    sent: int
    stored: int
    spooled: int
    rejected: int
    trouble: str
    again: int = 0


class InfluxWriter:
    """Sends blocks through `influxdb_client`; safe to use from several threads."""

    def __init__(self, address: Address, spool: Spool, query: InfluxQuery, *, timeout_s: float = 5.0) -> None:
        from influxdb_client import InfluxDBClient
        from influxdb_client.client.write_api import SYNCHRONOUS

        # The client logs every failure by itself; the account below tells the whole story.
        logging.getLogger("influxdb_client").addHandler(logging.NullHandler())
        self._spool = spool
        self._account = _Account()
        self._client = InfluxDBClient(url=address.url, token=address.token, org="", timeout=int(timeout_s * 1000))
        self._client.api_client.default_headers.update(address.headers())
        api = self._client.write_api(write_options=SYNCHRONOUS)
        sent, kept = spool.sent(), spool.kept()
        self._lanes = []
        for k in range(LANES):
            confirmed = Confirmed(spool, [block for block in sent if block.lane % LANES == k])
            sender = _Sender(address, api, query, spool, confirmed, self._account)
            self._lanes.append(Lane(f"influx lane {k}", sender.deliver))
        for block in kept:
            # What an earlier process left behind was sent, too.
            self._account.sent += block.readings
            self._lanes[block.lane % LANES].add(Waiting(block, None))

    def send(self, data: bytes, readings: int, lane: int = 0) -> None:
        """Accept a block: on disk when this returns, in the database as soon as it takes it.

        Raises StoreUnavailable when the disk does not take it.
        """
        account = self._account
        try:
            with account.lock:
                kept = self._spool.put(data, readings, lane)
                account.sent += readings
                held = account.held_bytes + len(data) <= HELD_BYTES
                account.held_bytes += len(data) if held else 0
                # Queued under the lock, so that the order on disk is the order of sending.
                self._lanes[lane].add(Waiting(kept, data if held else None))
        except OSError as error:
            raise StoreUnavailable(
                where=str(self._spool.folder),
                found=error.strerror or str(error),
                cure="free some disk space; readings are kept here before they go to InfluxDB",
            ) from error

    def drain(self, timeout_s: float = SETTLE_S) -> bool:
        """Try at once to send all that waits; False when something still does after one more attempt."""
        begun = [lane.hurry() for lane in self._lanes]
        settled = [lane.settled(n, timeout_s) for lane, n in zip(self._lanes, begun, strict=True)]
        return all(settled)

    def delivery(self) -> Delivery:
        """The account so far: sent == stored + spooled + rejected."""
        a = self._account
        with a.lock:
            return Delivery(a.sent, a.stored, a.sent - a.stored - a.rejected, a.rejected, a.trouble, a.again)

    def close(self) -> None:
        """Stop; what the server has not confirmed stays on disk for the next start."""
        self.drain()
        for lane in self._lanes:
            lane.stop(timeout_s=SETTLE_S)
        self._client.close()


@dataclass
class _Account:
    """What all lanes count together, under one lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    sent: int = 0
    stored: int = 0
    rejected: int = 0
    again: int = 0
    held_bytes: int = 0
    trouble: str = ""


class _Sender:
    """Stores the blocks of one lane; remembers the confirmed ones and sends them again when they are gone."""

    def __init__(
        self, address: Address, api: Any, query: InfluxQuery, spool: Spool, confirmed: Confirmed, account: _Account
    ) -> None:
        self._address, self._api, self._query = address, api, query
        self._spool, self._confirmed, self._account = spool, confirmed, account
        # An earlier process may have died together with the database.
        self._in_doubt = len(confirmed) > 0
        self._confirmed_s = 0.0
        self._failed = False

    def deliver(self, group: Sequence[Waiting]) -> float | None:
        """Store a group of blocks; None when the server has them, else the pause in s that it asked for."""
        try:
            if self._in_doubt or time.monotonic() - self._confirmed_s > UNSEEN_S:
                self._restore_forgotten()
            bodies = [(self._spool.get(b.kept.number) if b.data is None else b.data) or b"" for b in group]
            rejected = self._post_group(bodies, [block.kept.readings for block in group])
            for block, body in zip(group, bodies, strict=True):
                self._confirmed.add(block.kept.number, len(body), whole=not rejected, marked=self._failed)
                self._failed = False
            self._confirmed_s = time.monotonic()
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

    def _note(self, trouble: str, headers: Any) -> float:
        self._in_doubt = self._failed = True
        with self._account.lock:
            self._account.trouble = " ".join(trouble.split())[:300]
        return _asked_s(headers)

    def _restore_forgotten(self) -> None:
        """Look for what was confirmed, and from the first block that is gone send all again."""
        while (first := self._confirmed.first_gone(self._is_there)) is not None:
            for n, body in self._confirmed.bodies(first, GROUP_BYTES):
                self._post(body, 0, again=True)
                with self._account.lock:
                    self._account.again += n
            # When it still is not there a rule of the database's own deletes it, and would do so every time.
            if self._confirmed.first_gone(self._is_there) == first:
                self._confirmed.unfit(first)
        self._in_doubt = False

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
