"""Blocks of line protocol on their way into InfluxDB, each on disk first: stored + spooled == sent, always.

A block is written to the spool before it is acknowledged and dropped from it when the database has confirmed it, so
neither the database's death nor ours loses a reading. Senders of our own use the client's synchronous write, one per
lane and each in order; while the database is away blocks wait on disk and memory stays bounded. A line that the server
will never take is set aside with its reason (docs/decisions/011-influx-spool.md, 015-influx-lanes.md).
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import urllib3

from plant.errors import StoreUnavailable
from twin.telemetry.influx_lane import Lane, Waiting
from twin.telemetry.influx_query import Address, refusal
from twin.telemetry.spool import Spool

LANES = 2
# Lines of blocks not yet confirmed that are held in memory, all lanes together; beyond it they are read back from disk.
HELD_BYTES = 16 << 20
SETTLE_S = 30.0
# What a server answers to lines it cannot take (bad request, too large, unprocessable); all else is tried again.
_LINES_AT_FAULT = (400, 413, 422)
# A line ends where a line ends outside of a string: the text of an event may hold line ends of its own.
_LINE = re.compile(rb'(?:[^"\n]|"(?:[^"\\]|\\.)*")+', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Readings given to the writer, confirmed by the server, waiting on disk, set aside for good; the last trouble."""

    sent: int
    stored: int
    spooled: int
    rejected: int
    trouble: str


class InfluxWriter:
    """Sends blocks through `influxdb_client`; safe to use from several threads."""

    def __init__(self, address: Address, spool: Spool, *, timeout_s: float = 5.0) -> None:
        from influxdb_client import InfluxDBClient
        from influxdb_client.client.write_api import SYNCHRONOUS

        # The client logs every failure by itself; the account below tells the whole story.
        logging.getLogger("influxdb_client").addHandler(logging.NullHandler())
        self._address, self._spool = address, spool
        self._lock = threading.Lock()
        self._sent = self._stored = self._rejected = self._held_bytes = 0
        self._trouble = ""
        self._client = InfluxDBClient(url=address.url, token=address.token, org="", timeout=int(timeout_s * 1000))
        self._client.api_client.default_headers.update(address.headers())
        self._api = self._client.write_api(write_options=SYNCHRONOUS)
        self._lanes = [Lane(f"influx lane {k}", self._deliver) for k in range(LANES)]
        for kept in spool.kept():
            # What an earlier process left behind was sent, too.
            self._sent += kept.readings
            self._lanes[kept.lane % LANES].add(Waiting(kept, None))

    def send(self, data: bytes, readings: int, lane: int = 0) -> None:
        """Accept a block: on disk when this returns, in the database as soon as it takes it.

        Raises StoreUnavailable when the disk does not take it.
        """
        try:
            with self._lock:
                kept = self._spool.put(data, readings, lane)
                self._sent += readings
                held = self._held_bytes + len(data) <= HELD_BYTES
                self._held_bytes += len(data) if held else 0
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
        with self._lock:
            waiting = self._sent - self._stored - self._rejected
            return Delivery(self._sent, self._stored, waiting, self._rejected, self._trouble)

    def close(self) -> None:
        """Stop; what the server has not confirmed stays on disk for the next start."""
        self.drain()
        for lane in self._lanes:
            lane.stop(timeout_s=SETTLE_S)
        self._client.close()

    def _deliver(self, group: Sequence[Waiting]) -> float | None:
        """Store a group of blocks; None when the server has them, else the pause in s that it asked for."""
        try:
            bodies = [self._spool.get(b.kept.number) if b.data is None else b.data for b in group]
            rejected = self._post_group([body or b"" for body in bodies], [b.kept.readings for b in group])
            for block in group:
                self._spool.drop(block.kept.number)
        except StoreUnavailable as error:
            return self._note(str(error), getattr(error.__cause__, "headers", None))
        except Exception as error:
            # A sender must outlive whatever happens to it: a full disk, a client's own fault.
            return self._note(f"{type(error).__name__}: {error}", None)
        with self._lock:
            self._trouble = ""
            self._rejected += rejected
            self._stored += sum(block.kept.readings for block in group) - rejected
            self._held_bytes -= sum(len(block.data) for block in group if block.data is not None)
        return None

    def _note(self, trouble: str, headers: Any) -> float:
        with self._lock:
            self._trouble = " ".join(trouble.split())[:300]
        return _asked_s(headers)

    def _post_group(self, bodies: list[bytes], readings: list[int]) -> int:
        """Store blocks in one request, or where the server finds fault one by one; how many readings it never takes."""
        if len(bodies) == 1:
            return self._post(bodies[0], readings[0])
        try:
            self._request(b"".join(bodies))
        except _LinesAtFaultError:
            return sum(self._post(body, n) for body, n in zip(bodies, readings, strict=True))
        return 0

    def _post(self, data: bytes, readings: int) -> int:
        """Store all lines that the server can take; halves what it refuses until the bad lines stand alone."""
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
                return self._reject(lines[0].decode("utf-8", "replace"), fault.reason, readings)
            middle = len(lines) // 2
            return sum(self._post(b"\n".join(half) + b"\n", readings) for half in (lines[:middle], lines[middle:]))
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
        fields = [] if line.startswith("event,") else line.split(" ", 1)[-1].split(",")
        return min(readings, sum(1 for field in fields if "_ok=" not in field) if fields else 1)


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
