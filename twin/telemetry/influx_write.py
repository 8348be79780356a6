"""Blocks of line protocol on their way into InfluxDB, each on disk first: stored + spooled == sent, always.

A block is written to the spool before it is acknowledged and dropped from it when the database has confirmed it, so
neither the database's death nor ours loses a reading. The client batches and retries for a few seconds; what it gives
up on stays in the spool. While anything waits there, new blocks queue behind it, so memory stays bounded and the order
of writing is kept (except around the moment of failure, where a correction sent right after the failed block may be
overtaken by it). `drain` sends what waits; a line that the server will never take is set aside with its reason.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

import urllib3

from plant.errors import StoreUnavailable
from twin.telemetry.influx_query import refusal
from twin.telemetry.spool import Spool, blocks_in

# Blocks handed to the client and not yet confirmed; beyond that new ones wait on disk.
IN_FLIGHT_BLOCKS = 16

# While something waits on disk, every so many writes the way is tried again.
WRITES_PER_TRY = 16

SETTLE_S = 30.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """Readings given to the writer, confirmed by the server, waiting on disk, set aside for good; the last trouble."""

    sent: int
    stored: int
    spooled: int
    rejected: int
    trouble: str


class InfluxWriter:
    """Sends blocks through `influxdb_client`'s batching WriteApi; safe to use from several threads."""

    def __init__(
        self, url: str, database: str, token: str, spool: Spool, *, retry_s: float = 5.0, timeout_s: float = 5.0
    ) -> None:
        from influxdb_client import InfluxDBClient
        from influxdb_client.client.write_api import SYNCHRONOUS, WriteOptions
        from reactivex.scheduler import ThreadPoolScheduler

        # The client logs every failure by itself; the callbacks below already tell the whole story.
        logging.getLogger("influxdb_client").addHandler(logging.NullHandler())
        self._url, self._database = url, database
        self._spool = spool
        self._settled = threading.Condition()
        self._draining = threading.Lock()
        self._in_flight: set[int] = set()
        self._stored = self._rejected = self._waited = 0
        # What an earlier process left behind was sent, too.
        self._sent = spool.readings()
        self._waiting = set(spool.numbers())
        self._trouble = ""
        self._client = InfluxDBClient(url=url, token=token, org="", timeout=int(timeout_s * 1000))
        options = WriteOptions(
            batch_size=8,
            flush_interval=100,
            retry_interval=500,
            max_retries=4,
            max_retry_delay=2_000,
            max_retry_time=int(retry_s * 1000),
            max_close_wait=int(retry_s * 1000) + 5_000,
            # One thread of our own: blocks go out in order and never wait behind another store's retries.
            write_scheduler=ThreadPoolScheduler(max_workers=1),
        )
        self._batching = self._client.write_api(
            write_options=options, success_callback=self._on_stored, error_callback=self._on_failed
        )
        self._direct = self._client.write_api(write_options=SYNCHRONOUS)

    def send(self, lines: list[str], readings: int) -> None:
        """Accept a block: on disk when this returns, in the database as soon as it takes it."""
        number, data = self._spool.put(lines, readings)
        with self._settled:
            self._sent += readings
            straight_on = not self._waiting and len(self._in_flight) < IN_FLIGHT_BLOCKS
            (self._in_flight if straight_on else self._waiting).add(number)
            self._waited = 0 if straight_on else self._waited + 1
            try_again = self._waited % WRITES_PER_TRY == 1 and not self._in_flight
        if straight_on:
            self._batching.write(bucket=self._database, record=data)
        elif try_again:
            self.drain()

    def drain(self) -> bool:
        """Send what waits on disk, oldest first; False while the server refuses or older blocks are in flight."""
        with self._draining:
            while True:
                with self._settled:
                    number = min(self._waiting, default=None)
                    in_flight = bool(self._in_flight)
                if number is None:
                    return not in_flight
                if in_flight or not self._send_waiting(number):
                    return False

    def _send_waiting(self, number: int) -> bool:
        data = self._spool.get(number)
        trouble = ""
        if data is not None:
            try:
                self._post(data)
            except StoreUnavailable as error:
                trouble = str(error)
        with self._settled:
            self._trouble = trouble
            if trouble:
                return False
            self._waiting.discard(number)
            self._stored += sum(readings for _, readings in blocks_in(data or b""))
        self._spool.drop(number)
        return True

    def _post(self, data: bytes) -> None:
        """Store all lines that the server can take; halves what it refuses until the bad lines stand alone."""
        from influxdb_client.rest import ApiException

        try:
            self._direct.write(bucket=self._database, record=data)
        except ApiException as error:
            lines = [line for line in data.decode().split("\n") if line and not line.startswith("# block ")]
            if error.status not in (400, 413, 422) or not lines:
                raise refusal(self._url, self._database, str(error.body), error.status or 0) from error
            if len(lines) == 1:
                self._reject(lines[0], str(error.body))
                return
            middle = len(lines) // 2
            for half in (lines[:middle], lines[middle:]):
                self._post("\n".join(half).encode())
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreUnavailable(
                where=self._url, found=f"the server does not answer ({type(error).__name__})", cure="start InfluxDB"
            ) from error

    def _reject(self, line: str, reason: str) -> None:
        self._spool.set_aside(line, reason)
        with self._settled:
            # Fields of the line that are readings; their validity fields are not counted.
            lost = sum(1 for field in line.split(" ")[1].split(",") if "_ok=" not in field)
            self._rejected += lost
            self._stored -= lost

    def settle(self, timeout_s: float = SETTLE_S) -> bool:
        """Wait until nothing is in flight, then send what waits; False when something still does."""
        with self._settled:
            self._settled.wait_for(lambda: not self._in_flight, timeout_s)
        return self.drain()

    def delivery(self) -> Delivery:
        """The account so far; once settled, sent == stored + spooled + rejected."""
        with self._settled:
            waiting = self._sent - self._stored - self._rejected
            return Delivery(self._sent, self._stored, waiting, self._rejected, self._trouble)

    def close(self) -> None:
        """Stop; what the server has not confirmed stays on disk for the next start."""
        self.settle(timeout_s=SETTLE_S)
        self._batching.close()
        self._client.close()

    def _on_stored(self, _where: Any, data: bytes) -> None:
        blocks = blocks_in(data)
        for number, _ in blocks:
            self._spool.drop(number)
        with self._settled:
            self._in_flight -= {number for number, _ in blocks}
            self._stored += sum(readings for _, readings in blocks)
            self._settled.notify_all()

    def _on_failed(self, _where: Any, data: bytes, error: Exception) -> None:
        numbers = {number for number, _ in blocks_in(data)}
        with self._settled:
            self._in_flight -= numbers
            self._waiting |= numbers
            self._trouble = " ".join(str(error).split())[:300]
            self._settled.notify_all()
