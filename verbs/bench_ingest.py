"""`foretwin bench ingest`: how fast telemetry goes from a source's own words through mapping and gate into a store.

Embedded: raw samples -> mapping (names and units of another program) -> judged one by one -> SQLite, timed as one.
InfluxDB: the same, and beside it the store alone against the bare `influxdb_client`. Both get the same batches, write
the same points to the same server and build their lines themselves; the runs alternate and the best of each counts.
The bare client is its synchronous write with blocks of lines, which is faster than its batching one.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from plant import streams
from plant.errors import ConfigError
from twin.telemetry.admit import Gate, ingest
from twin.telemetry.mapping import load_mapping
from twin.telemetry.samples import Samples, Series
from twin.telemetry.store import Batch, Store
from verbs.meter import Meter

START_MS, STEP_MS = 1_671_321_600_000, 15_000
# What another program calls its fields, with its units, and between which values they lie here.
FIELDS = {
    "power_w": (300.0, 9_000.0),
    "cpu_percent": (0.0, 100.0),
    "inlet_temp": (18.0, 27.0),
    "outlet_temp": (28.0, 45.0),
    "fan_percent": (20.0, 90.0),
}
MAPPING = """
[[rule]]
match = "bmc.power_w"
component = "{tag:host}"
channel = "power_kw"
unit = "W"
[[rule]]
match = "bmc.cpu_percent"
component = "{tag:host}"
channel = "util_frac"
unit = "percent"
[[rule]]
match = "bmc.inlet_temp"
component = "{tag:host}"
channel = "inlet_c"
[[rule]]
match = "bmc.outlet_temp"
component = "{tag:host}"
channel = "outlet_c"
[[rule]]
match = "bmc.fan_percent"
component = "{tag:host}"
channel = "fan_frac"
unit = "percent"
"""
# One sample in so many is a sensor's nonsense, so that refusing is part of what is timed.
BAD_EVERY = 1_009
BAD_VALUE = -40_000.0
NEWEST_TRIES = 7
COMPARED = (
    "our store (lines, spool on disk, sending, until the server has all) against influxdb_client's synchronous write "
    "(lines built in plain Python, {} a request, no spool); same batches, same points, same server; best of {} each"
)
BARE_LINES = (1_000, 5_000)

Told = Callable[[int, int], None]


def run(
    store: str = "embedded", components: int = 10_000, rounds: int = 8, tries: int = 3, url: str = "", seed: int = 0,
    told: Told = lambda done, of: None,
) -> dict[str, Any]:  # fmt: skip
    """Return the `results` of contracts.md. Raises ConfigError for another store, or influx without any server.

    components: each with five channels; rounds: of all of them; url: an InfluxDB with its database, else a scratch one.
    """
    names = [f"bench/r{n // 40:04d}/n{n:06d}" for n in range(components)]
    samples = [_samples(names, k, seed) for k in range(rounds + 1)]
    if store == "embedded":
        from twin.telemetry.sqlite_store import SqliteStore

        with tempfile.TemporaryDirectory(prefix="foretwin-bench-") as folder:
            results = _end_to_end(SqliteStore(Path(folder) / "telemetry.sqlite"), names, samples, told)
        results |= {"ratio_to_bare_client": None, "ratio_to_bare_client_reason": "no client stands before a file"}
    elif store == "influx":
        results = _influx(names, samples, tries, url, told)
    else:
        raise ConfigError("--store", f"'{store}'", "embedded or influx", "choose one of them")
    return {"store": store, "components": components, "channels": len(FIELDS), "rounds": rounds, **results}


def _samples(names: list[str], k: int, seed: int) -> Samples:
    """What one round of polling says: every field of every host, some of it nonsense."""
    low, high = np.array(list(FIELDS.values())).T
    luck = streams.uniform(seed, "bench ingest", k, np.arange(len(names))[:, None], np.arange(len(FIELDS)))
    value = (low + (high - low) * luck).round(3).ravel()
    value[k % BAD_EVERY :: BAD_EVERY] = BAD_VALUE
    series = [Series.of("bmc", field, {"host": name}) for name in names for field in FIELDS]
    n = len(series)
    return Samples(series, np.arange(n), np.full(n, START_MS + k * STEP_MS), value, {})


def _end_to_end(store: Store, names: list[str], samples: list[Samples], told: Told) -> dict[str, Any]:
    """Mapping, gate and store as one; the first round makes every series and is told apart."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(MAPPING)
        file.flush()
        mapping = load_mapping(file.name)
    gate, accepted, refused = Gate(dict.fromkeys(names, "node")), 0, 0
    now_ms = START_MS + len(samples) * STEP_MS

    def take(one: Samples) -> None:
        nonlocal accepted, refused
        meant = mapping.translate(one)
        done = ingest(store, gate, meant.batch, now_ms)
        accepted, refused = accepted + done.accepted, refused + done.refused

    begun_s = time.perf_counter()
    take(samples[0])
    store.flush()
    first_s, first = time.perf_counter() - begun_s, accepted
    meter, begun_s = Meter(), time.perf_counter()
    for k, one in enumerate(samples[1:], 1):
        take(one)
        told(k, len(samples))
    store.flush()
    wall_s = time.perf_counter() - begun_s
    cpu_s = meter.read()["cpu_s"]
    newest_ms = []
    for _ in range(NEWEST_TRIES):
        begun_s = time.perf_counter()
        newest = store.newest()
        newest_ms.append(1000.0 * (time.perf_counter() - begun_s))
    store.close()
    return {
        "ok": len(newest) == len(names) and accepted > 0,
        "readings": accepted - first,
        "refused": refused,
        "readings_per_s": round((accepted - first) / wall_s),
        "readings_per_cpu_s": round((accepted - first) / max(cpu_s, 1e-9)),
        "first_round_readings_per_s": round(first / first_s),
        "newest_ms": round(min(newest_ms), 2),
        "newest_of_components": len(newest),
        "cpu_s": cpu_s,
        "wall_s": round(wall_s, 4),
    }


def _influx(names: list[str], samples: list[Samples], tries: int, url: str, told: Told) -> dict[str, Any]:
    from twin.telemetry.influx_store import InfluxStore

    kinds = dict.fromkeys(names, "node")
    with _server(url) as (address, database, token), tempfile.TemporaryDirectory(prefix="foretwin-bench-") as folder:

        def store(site: str) -> InfluxStore:
            spool = Path(folder) / site
            return InfluxStore(address, database, token, site=site, spool=spool, kind_of=kinds)

        results = _end_to_end(store("bench"), names, samples, lambda *_: None)
        batches = _batches(names, samples)
        told(1, tries + 1)
        rates: dict[str, list[float]] = {"ours": []}
        for n in range(tries):
            rates["ours"].append(_our_rate(store(f"ours{n}"), batches))
            for lines in BARE_LINES:
                built, ready = _bare_rates(address, database, token, f"bare{n}x{lines}", batches, lines)
                rates.setdefault(f"bare {lines}", []).append(built)
                rates.setdefault(f"ready {lines}", []).append(ready)
            told(n + 2, tries + 1)
    best = {name: max(seen) for name, seen in rates.items()}
    lines = max(BARE_LINES, key=lambda n: best[f"bare {n}"])
    return {
        **results,
        "store_readings_per_s": round(best["ours"]),
        "bare_client_readings_per_s": round(best[f"bare {lines}"]),
        "bare_client_ready_lines_per_s": round(max(best[f"ready {n}"] for n in BARE_LINES)),
        "ratio_to_bare_client": round(best["ours"] / best[f"bare {lines}"], 3),
        "ratio_to_ready_lines": round(best["ours"] / max(best[f"ready {n}"] for n in BARE_LINES), 3),
        "ratio_by_try": [round(o / b, 3) for o, b in zip(rates["ours"], rates[f"bare {lines}"], strict=True)],
        "compared": COMPARED.format(lines, tries),
    }


@contextmanager
def _server(url: str) -> Iterator[tuple[str, str, str]]:
    """Address, database and token of the InfluxDB to write to: the named one, else a scratch one."""
    from verbs.stores import ALLOWED, TOKEN_VARIABLE

    if url:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not parts.path.strip("/"):
            raise ConfigError("--url", "no address of a database", ALLOWED, "for example http://127.0.0.1:8086/bench")
        if parts.username or parts.password or parts.query:
            raise ConfigError("--url", "an address with a secret in it", ALLOWED, f"set {TOKEN_VARIABLE}")
        yield f"{parts.scheme}://{parts.netloc}", parts.path.strip("/"), os.environ.get(TOKEN_VARIABLE, "")
        return
    from verbs.scratch_influx import InfluxServer

    with tempfile.TemporaryDirectory(prefix="foretwin-bench-") as folder, InfluxServer(Path(folder)) as server:
        yield server.url, server.create_database("bench"), server.token


def _batches(names: list[str], samples: list[Samples]) -> list[Batch]:
    """The rounds as they come out of mapping and gate."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(MAPPING)
        file.flush()
        mapping = load_mapping(file.name)
    gate = Gate(dict.fromkeys(names, "node"))
    now_ms = START_MS + len(samples) * STEP_MS
    return [gate.admit(mapping.translate(one).batch, now_ms)[0] for one in samples]


def _our_rate(store: Any, batches: list[Batch]) -> float:
    """Readings per second of the store, until the server has them; the first round makes the series, untimed."""
    store.write(batches[0])
    store.flush()
    begun_s = time.perf_counter()
    for batch in batches[1:]:
        store.write(batch)
    store.flush()
    wall_s = time.perf_counter() - begun_s
    stored = store.delivery().stored
    store.close()
    if stored != sum(map(len, batches)):
        raise ConfigError("--url", f"{stored} readings stored", f"{sum(map(len, batches))}", "see the server's log")
    return sum(map(len, batches[1:])) / wall_s


def _bare_rates(
    url: str, database: str, token: str, site: str, batches: list[Batch], lines_each: int
) -> tuple[float, float]:
    """Readings per second of the bare client: with its lines built on the way, and with lines made beforehand."""
    from influxdb_client import InfluxDBClient
    from influxdb_client.client.write_api import SYNCHRONOUS

    with InfluxDBClient(url=url, token=token, org="", timeout=60_000) as client:
        api = client.write_api(write_options=SYNCHRONOUS)

        def send(lines: list[str]) -> None:
            for start in range(0, len(lines), lines_each):
                api.write(bucket=database, record="\n".join(lines[start : start + lines_each]))

        send(_plain_lines(site, batches[0]))
        n = sum(map(len, batches[1:]))
        begun_s = time.perf_counter()
        for batch in batches[1:]:
            send(_plain_lines(site, batch))
        built = n / (time.perf_counter() - begun_s)
        ready = [_plain_lines(f"{site}ready", batch) for batch in batches]
        send(ready[0])
        begun_s = time.perf_counter()
        for lines in ready[1:]:
            send(lines)
        return built, n / (time.perf_counter() - begun_s)


def _plain_lines(site: str, batch: Batch) -> list[str]:
    """The same points as our store writes, the way one would write them down: one line per component and time."""
    points: dict[tuple[str, int], list[str]] = {}
    for time_ms, component, channel, value in batch.rows():
        points.setdefault((component, time_ms), []).append(f"{channel}={value!r}")
    return [
        f"node,component={component},site={site} {','.join(fields)} {time_ms}000000"
        for (component, time_ms), fields in points.items()
    ]
