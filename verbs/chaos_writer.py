"""The writer of a chaos run: a process of its own that judges and stores made-up readings, with a record of what was
acknowledged, and the worker beside it, which follows one of the two sites.

`python -m verbs.chaos_writer writer|worker URL DATABASE HOME`; the token comes from the environment.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plant.site import load_site
from twin.telemetry.admit import Gate, ingest
from twin.telemetry.influx_store import InfluxStore
from twin.telemetry.store import Batch, names_array
from verbs.stores import TOKEN_VARIABLE

FOLLOWED, BULK = "tiny", "bulk"
BULK_COMPONENTS = tuple(f"bulk/r{n // 20:02d}/n{n:03d}" for n in range(400))
BULK_CHANNELS = ("power_kw", "inlet_c", "gpu_c", "outlet_c", "cpu_c")
PERIOD_S = 0.1
# Every so many rounds the followed site's last readings are corrected, and the bulk is written.
CORRECTED_EVERY, BULK_EVERY = 5, 10
DRAIN_S = 40.0


def made_up(time_ms: int, n: int, version: int) -> NDArray[np.float64]:
    """The values of all n series at a time, after that many corrections: whole thousandths between 21 and 23."""
    return 21.0 + ((time_ms + 13 * np.arange(n)) % 997) / 1000.0 + version


@functools.cache
def _columns(site: str) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Component and channel of every series of a site."""
    names = names_array(load_site(FOLLOWED).rack_ids if site == FOLLOWED else BULK_COMPONENTS)
    channels = names_array(["inlet_c"] if site == FOLLOWED else BULK_CHANNELS)
    return np.repeat(names, len(channels)), np.tile(channels, len(names))


def batch_of(site: str, time_ms: int, version: int = 0) -> Batch:
    """All readings of a site at one time."""
    component, channel = _columns(site)
    n = len(component)
    return Batch(np.full(n, time_ms), component, channel, made_up(time_ms, n, version))


class Record:
    """What was begun (B) and acknowledged (A), a line each, on disk before the next thing happens."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def keep(self, store: InfluxStore, gate: Gate, site: str, time_ms: int, version: int) -> None:
        """Judge and store all readings of a site at one time, recording both ends of it."""
        batch = batch_of(site, time_ms, version)
        self._file.write(f"B {site} {time_ms} {version}\n")
        done = ingest(store, gate, batch, time_ms)
        if done.accepted == len(batch):
            self._file.write(f"A {site} {time_ms} {version}\n")


def write(url: str, database: str, home: Path, stopped: threading.Event) -> None:
    """Write both sites until stopped, then wait until the database has all of it; leave the account in done.json."""
    token = os.environ[TOKEN_VARIABLE]
    site = load_site(FOLLOWED)
    kinds = {component: kind for kind in site.kinds for component in site.components(kind)}
    followed = InfluxStore(url, database, token, site=FOLLOWED, spool=home / "spool", kind_of=kinds, timeout_s=1.0)
    bulk = InfluxStore(
        url, database, token, site=BULK, spool=home / "bulk", kind_of=dict.fromkeys(BULK_COMPONENTS, "node"),
        timeout_s=1.0,
    )  # fmt: skip
    gate, bulk_gate, record = Gate(kinds), Gate(dict.fromkeys(BULK_COMPONENTS, "node")), Record(home / "record.txt")
    begun_s, n, told = time.monotonic(), 0, ""
    while not stopped.is_set():
        trouble = followed.delivery().trouble or bulk.delivery().trouble
        if trouble != told:
            told = trouble
            _say(f"{time.time():.2f} {trouble or 'well again'}")
        now_ms = int(time.time() * 1000)
        record.keep(followed, gate, FOLLOWED, now_ms, 0)
        if n % CORRECTED_EVERY == 0:
            record.keep(followed, gate, FOLLOWED, now_ms, 1)
        if n % BULK_EVERY == 0:
            record.keep(bulk, bulk_gate, BULK, now_ms, 0)
        n += 1
        stopped.wait(max(0.0, begun_s + n * PERIOD_S - time.monotonic()))
    until_s = time.monotonic() + DRAIN_S
    while not (followed.drain() and bulk.drain()) and time.monotonic() < until_s:
        time.sleep(0.05)
    account = {FOLLOWED: asdict(followed.delivery()), BULK: asdict(bulk.delivery())}
    (home / "done.json").write_text(json.dumps(account))
    followed.close()
    bulk.close()


def follow(url: str, database: str, home: Path, stopped: threading.Event) -> None:
    """The worker of `foretwin run` on the followed site, a tick every half second of wall-clock time."""
    from verbs import settings
    from verbs.run import LiveWorker

    typed = {"store": {"kind": "influx", "url": url, "database": database}, "site": {"file": FOLLOWED}}
    worker = LiveWorker(home, load_site(FOLLOWED), settings.load(typed=typed), _say, 0, stopped)
    try:
        while not stopped.wait(0.5):
            worker.guarded_tick(int(time.time() * 1000))
    finally:
        worker.end(keep=False)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(words: list[str]) -> None:
    """Be the writer or the worker until a SIGTERM comes."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    role, url, database, home = words
    (write if role == "writer" else follow)(url, database, Path(home), stopped)


if __name__ == "__main__":
    main(sys.argv[1:])
