"""A real InfluxDB for tests of faults, one database and one spool per test, and a front that plays a sick server."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from servers import InfluxServer, missing_for_influx

from twin.telemetry.influx_store import InfluxStore
from twin.telemetry.store import Batch

NOW_MS = 1_671_350_400_000
RACK, NODE = "hk/zone-c/r01", "hk/zone-c/r01/n001"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    missing = missing_for_influx()
    if missing:
        pytest.skip(f"influx: {' and '.join(missing)} not installed (`make servers`)")
    server = InfluxServer(tmp_path_factory.mktemp("influx")).start()
    yield server
    server.stop()


class Site:
    """One database and one spool, opened as often as a test likes."""

    def __init__(self, server: InfluxServer, spool: Path) -> None:
        self.server, self.spool = server, spool
        self.database = server.create_database("faults")
        self._open: list[InfluxStore] = []

    def store(self, url: str = "", **changes: object) -> InfluxStore:
        settings = {"site": "hk", "spool": self.spool, "kind_of": {RACK: "rack", NODE: "node"}, "timeout_s": 1.0}
        settings |= {"token": self.server.token, "database": self.database} | changes
        self._open.append(InfluxStore(url or self.server.url, **settings))
        return self._open[-1]

    def write_raw(self, lines: str) -> None:
        """Line protocol from somebody else."""
        self.server.write(lines, self.database)

    def drained(self, store: InfluxStore, within_s: float = 20.0) -> bool:
        """Whether all that waits goes out in time; the server may need a moment after its start."""
        until_s = time.monotonic() + within_s
        while not store.drain() and time.monotonic() < until_s:
            time.sleep(0.05)
        return store.delivery().spooled == 0

    def count(self, field: str = "power_kw", kind: str = "node") -> int:
        series = self.server.query(f'SELECT count("{field}") FROM "{kind}"', self.database)
        return int(series[0]["values"][0][1]) if series else 0

    def close(self) -> None:
        for store in self._open:
            store.close()


@pytest.fixture
def site(server: InfluxServer, tmp_path: Path) -> Iterator[Site]:
    site = Site(server, tmp_path / "spool")
    yield site
    site.close()


def one(second: int, value: float = 5.0, n: int = 1) -> Batch:
    """n readings of a node's power, a millisecond apart, from this second on."""
    return Batch.of(NOW_MS + 1000 * second + np.arange(n), [NODE] * n, ["power_kw"] * n, np.full(n, value))


def account_is_right(store: InfluxStore) -> bool:
    done = store.delivery()
    return done.sent == done.stored + done.spooled + done.rejected


class SickFront:
    """Stands before a real server and passes everything on, unless told to answer by itself.

    `answer`: (status, body) for every write; `silent`: take a write and never answer (a half-open connection).
    """

    def __init__(self, behind: str) -> None:
        self.answer: tuple[int, str] | None = None
        self.headers: dict[str, str] = {}
        self.silent = False
        self.writes: list[dict[str, str]] = []
        front, freed = self, threading.Event()
        self._freed = freed

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass_on(None)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path.startswith("/api/v2/write"):
                    front.writes.append(dict(self.headers))
                    if front.silent:
                        freed.wait(30)
                        self.close_connection = True
                        return
                    if front.answer:
                        self._say(*front.answer, front.headers)
                        return
                self._pass_on(body)

            def _pass_on(self, body: bytes | None) -> None:
                kept = {k: v for k, v in self.headers.items() if k.lower() in ("authorization", "accept")}
                request = urllib.request.Request(behind + self.path, body, kept)
                try:
                    with urllib.request.urlopen(request, timeout=10) as said:
                        self._say(said.status, said.read().decode(), {})
                except urllib.error.HTTPError as error:
                    self._say(error.code, error.read().decode(), {})

            def _say(self, status: int, body: str, headers: dict[str, str]) -> None:
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                if status != 204:
                    self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._freed.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def front(server: InfluxServer) -> Iterator[SickFront]:
    front = SickFront(server.url)
    yield front
    front.close()
