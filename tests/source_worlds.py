"""Worlds in which a source of each kind can be tried: each says samples in its own way and takes its server away."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from twin.telemetry.line_files import LineFiles
from twin.telemetry.samples import Read
from twin.telemetry.scrape import ScrapeSource
from twin.telemetry.sources import Source

START_MS = 1_800_000_000_000


class LinesWorld:
    """A growing file of line protocol."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "lines"
        self.folder.mkdir()
        self.file = self.folder / "a.lp"
        self.file.touch()

    def open(self) -> Source:
        return LineFiles("world", self.folder)

    def say(self, at_ms: int, values: dict[str, float]) -> None:
        with self.file.open("a") as file:
            file.writelines(f"m,host={name} f={value} {at_ms * 1_000_000}\n" for name, value in values.items())

    def say_badly(self) -> None:
        with self.file.open("a") as file:
            file.write("m,host=x f=\n")

    def go(self) -> None:
        self.folder.rename(self.folder.with_name("away"))

    def come(self) -> None:
        self.folder.with_name("away").rename(self.folder)

    def end(self) -> None:
        pass


class PrometheusWorld:
    """A real exporter: prometheus_client's own server."""

    remembers = False

    def __init__(self, folder: Path) -> None:
        self.registry = CollectorRegistry()
        self.gauge = Gauge("f", "a number", ["host"], registry=self.registry)
        self.port = 0
        self.bad = ""
        self.come()

    def open(self) -> Source:
        return ScrapeSource("world", [f"http://127.0.0.1:{self.port}/metrics"], timeout_s=2.0)

    def say(self, at_ms: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.gauge.labels(name).set(value)

    def go(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)

    def come(self) -> None:
        self.server: WSGIServer
        self.thread: threading.Thread
        self.server, self.thread = start_http_server(self.port, "127.0.0.1", self.registry)
        self.port = self.server.server_port

    def end(self) -> None:
        self.go()


def told(read: Read) -> list[tuple[str, int, float]]:
    """(host, time, value) of every sample whose field is f, sorted."""
    samples = read.samples
    rows = zip(samples.which.tolist(), samples.time_ms.tolist(), samples.value.tolist(), strict=True)
    named = ((samples.series[which], at_ms, value) for which, at_ms, value in rows)
    return sorted((dict(s.tags)["host"], at_ms, value) for s, at_ms, value in named if s.field == "f")


def rest(path: Path, now_ms: int) -> None:
    """A file that nobody has touched for an hour."""
    at_s = now_ms / 1000 - 3600
    os.utime(path, (at_s, at_s))
