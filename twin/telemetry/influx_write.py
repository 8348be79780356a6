"""Blocks of line protocol on their way into InfluxDB, each on disk first: stored + spooled == sent, always.

A block is written to the spool before it is acknowledged and leaves it some time after the database has confirmed it
(`twin.telemetry.confirmed`), so neither the database's death nor ours loses a reading. Senders of our own use the
client's synchronous write, one per lane and each in order; while the database is away blocks wait on disk and memory
stays bounded. A line that the server will never take is set aside with its reason
(docs/decisions/011-influx-spool.md, 015-influx-lanes.md).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from plant.errors import StoreUnavailable
from twin.telemetry.confirmed import Confirmed
from twin.telemetry.influx_lane import Lane, Waiting
from twin.telemetry.influx_query import Address, InfluxQuery
from twin.telemetry.influx_sender import Account, Sender
from twin.telemetry.spool import Spool

LANES = 2
# Lines of blocks not yet confirmed that are held in memory, all lanes together; beyond it they are read back from disk.
HELD_BYTES = 16 << 20
SETTLE_S = 30.0


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
        self._account = Account()
        self._client = InfluxDBClient(url=address.url, token=address.token, org="", timeout=int(timeout_s * 1000))
        self._client.api_client.default_headers.update(address.headers())
        api = self._client.write_api(write_options=SYNCHRONOUS)
        sent, kept = spool.sent(), spool.kept()
        self._lanes, self._senders = [], []
        for k in range(LANES):
            confirmed = Confirmed(spool, [block for block in sent if block.lane % LANES == k])
            self._senders.append(Sender(k, address, api, query, spool, confirmed, self._account))
            self._lanes.append(Lane(f"influx lane {k}", self._senders[k].deliver))
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
        for sender in self._senders:
            sender.settle()
        self._client.close()
