"""Worlds in which a source of each kind can be tried: each says samples in its own way and takes its server away.

A world has `open` (the source), `say` (values by host at a time), `say_badly`, `go` and `come` (the server or the
files), `end`. `remembers`: samples have times of their own and are told once; else every poll tells the state of now.
"""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import pyarrow as pa
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from pyarrow import parquet
from servers import InfluxServer
from servers_nut import NutServer

from twin.telemetry.influx_source import InfluxSource
from twin.telemetry.line_files import LineFiles
from twin.telemetry.nut import NutSource
from twin.telemetry.samples import Read
from twin.telemetry.scrape import ScrapeSource
from twin.telemetry.sources import Source
from twin.telemetry.table_files import CsvFiles, ParquetFiles

START_MS = 1_800_000_000_000
Values = dict[str, float]


@dataclass(frozen=True)
class Named:
    """The usual columns of a table."""

    time: str = "time"
    component: str = "component"
    channel: str = "channel"
    value: str = "value"
    tags: tuple[str, ...] = ()
    time_unit: str | None = None


class FilesWorld:
    """A folder of files."""

    remembers = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "files"
        self.folder.mkdir()

    def go(self) -> None:
        self.folder.rename(self.folder.with_name("away"))

    def come(self) -> None:
        self.folder.with_name("away").rename(self.folder)

    def end(self) -> None:
        pass


class LinesWorld(FilesWorld):
    """A growing file of line protocol."""

    def open(self) -> Source:
        return LineFiles("world", self.folder)

    def say(self, at_ms: int, values: Values) -> None:
        with (self.folder / "a.lp").open("a") as file:
            file.writelines(f"m,host={name} f={value} {at_ms * 1_000_000}\n" for name, value in values.items())

    def say_badly(self) -> None:
        with (self.folder / "a.lp").open("a") as file:
            file.write("m,host=x f=\n")


class CsvWorld(FilesWorld):
    """A growing table."""

    def open(self) -> Source:
        return CsvFiles("world", self.folder, lambda stem, names: Named(), {"component", "channel"})

    def say(self, at_ms: int, values: Values) -> None:
        file = self.folder / "a.csv"
        if not file.exists():
            file.write_text("time,component,channel,value\n")
        with file.open("a") as more:
            more.writelines(f"{at_ms},{name},f,{value}\n" for name, value in values.items())

    def say_badly(self) -> None:
        with (self.folder / "a.csv").open("a") as file:
            file.write("1,2\n")


class ParquetWorld(FilesWorld):
    """A folder that gets a new file each time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.n = 0

    def open(self) -> Source:
        return ParquetFiles("world", self.folder, lambda stem, names: Named())

    def say(self, at_ms: int, values: Values) -> None:
        self.n += 1
        columns = {
            "time": [at_ms] * len(values),
            "component": list(values),
            "channel": ["f"] * len(values),
            "value": list(values.values()),
        }
        parquet.write_table(pa.table(columns), self.folder / f"{self.n:05d}.parquet", row_group_size=2)

    def say_badly(self) -> None:
        file = self.folder / "0.parquet"
        file.write_bytes(b"PAR1 and no more")
        os.utime(file, (0, 0))


class PrometheusWorld:
    """A real exporter: prometheus_client's own server."""

    remembers = False

    def __init__(self, folder: Path) -> None:
        self.registry = CollectorRegistry()
        self.gauge = Gauge("f", "a number", ["host"], registry=self.registry)
        self.port = 0
        self.come()

    def open(self) -> Source:
        return ScrapeSource("world", [f"http://127.0.0.1:{self.port}/metrics"], timeout_s=2.0)

    def say(self, at_ms: int, values: Values) -> None:
        for name, value in values.items():
            self.gauge.labels(name).set(value)

    def go(self) -> None:
        # the server looks half a second apart whether it has to end, and whenever somebody knocks
        end = threading.Thread(target=self.server.shutdown)
        end.start()
        while end.is_alive():
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            end.join(0.02)
        self.server.server_close()
        self.thread.join(5)

    def come(self) -> None:
        self.server: WSGIServer
        self.thread: threading.Thread
        self.server, self.thread = start_http_server(self.port, "127.0.0.1", self.registry)
        self.port = self.server.server_port

    def end(self) -> None:
        self.go()


class InfluxWorld:
    """A Telegraf bucket in a real InfluxDB."""

    remembers = True

    def __init__(self, folder: Path) -> None:
        self.server = InfluxServer(folder / "influx").start()
        self.server.create_database("telegraf")

    def open(self) -> Source:
        return InfluxSource("world", self.server.url, "telegraf", self.server.token, timeout_s=3.0)

    def say(self, at_ms: int, values: Values) -> None:
        self.write("".join(f"m,host={name} f={value} {at_ms * 1_000_000}\n" for name, value in values.items()))

    def write(self, lines: str) -> None:
        import urllib.request

        url = f"http://127.0.0.1:{self.server.inner}/write?db=telegraf"
        urllib.request.urlopen(url, lines.encode(), timeout=10).close()

    def go(self) -> None:
        self.server.stop_database()

    def come(self) -> None:
        self.server.start_database()

    def end(self) -> None:
        self.server.stop()


class NutWorld:
    """A real upsd; hosts are its two units, the number is their load."""

    remembers = False
    units = ("ups1", "ups2")

    def __init__(self, folder: Path) -> None:
        self.server = NutServer(folder / "nut").start()

    def open(self) -> Source:
        return NutSource("world", "127.0.0.1", self.server.port, timeout_s=3.0)

    def say(self, at_ms: int, values: Values) -> None:
        for unit, value in zip(self.units, values.values(), strict=False):
            self.server.set(unit, "ups.load", f"{value:g}")

    def go(self) -> None:
        self.server.kill("upsd")

    def come(self) -> None:
        self.server.start_upsd()

    def end(self) -> None:
        self.server.stop()


def told(read: Read) -> list[tuple[str, int, float]]:
    """(host, time, value) of every sample that is the number of a host, sorted."""
    samples = read.samples
    rows = zip(samples.which.tolist(), samples.time_ms.tolist(), samples.value.tolist(), strict=True)
    named = ((samples.series[which], at_ms, value) for which, at_ms, value in rows)
    return sorted((_host(dict(s.tags)), at_ms, value) for s, at_ms, value in named if s.field in ("f", "load_percent"))


def _host(tags: dict[str, str]) -> str:
    return tags.get("host") or tags.get("component") or tags["ups_name"]


def rest(path: Path, now_ms: int) -> None:
    """A file that nobody has touched for an hour."""
    at_s = now_ms / 1000 - 3600
    os.utime(path, (at_s, at_s))
