"""`bench ingest` and `chaos telemetry`: small runs, and that the chaos run notices what it is there to notice."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from servers import InfluxServer, missing_for_influx

import cli
from plant.errors import ConfigError
from twin.telemetry.influx_lines import LineBuilder
from verbs import bench_ingest, chaos_telemetry, scratch_influx
from verbs.chaos_check import check_readings
from verbs.chaos_scene import DATABASE, Scene

INGEST = {"readings", "readings_per_s", "newest_ms", "ratio_to_bare_client", "cpu_s"}
CHAOS = {"injections", "passed", "failed", "violations"}
# `make test-all` makes a short run; the full one: FORETWIN_CHAOS_INJECTIONS=50
INJECTIONS = int(os.environ.get("FORETWIN_CHAOS_INJECTIONS", "8"))
needs_influx = pytest.mark.skipif(
    bool(missing_for_influx()), reason=f"influx: {' and '.join(missing_for_influx())} not installed (`make servers`)"
)


def asked(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict]:
    code = cli.answer([*words, "--json"])
    return code, json.loads(capfd.readouterr().out)


def test_readings_go_through_mapping_and_gate_into_the_embedded_store(capfd: pytest.CaptureFixture[str]) -> None:
    code, said = asked(capfd, "bench", "ingest", "--components", "300", "--rounds", "2")
    found = said["results"]
    assert code == 0
    assert found.keys() >= INGEST
    assert found["readings"] + found["refused"] >= 2 * 300 * 5
    assert 0 < found["refused"] < 10
    assert found["newest_of_components"] == 300


def test_what_is_compared_is_the_same_points() -> None:
    names = ["bench/n1", "bench/n2"]
    (batch,) = bench_ingest._batches(names, [bench_ingest._samples(names, 1, 0)])
    store = LineBuilder("s", dict.fromkeys(names, "node"), 1)
    list(store.blocks(batch))  # the first round says that every series is valid
    ours = b"".join(block.data for block in store.blocks(batch)).decode().splitlines()
    bare = bench_ingest._plain_lines("s", batch)
    assert len(ours) == len(bare) == 2

    def fields(line: str) -> tuple[str, dict[str, float], str]:
        head, values, at = line.split(" ")
        return head.split(",")[0], {k: float(v) for k, v in (one.split("=") for one in values.split(","))}, at

    assert [fields(line) for line in ours] == [fields(line) for line in bare]


@pytest.mark.parametrize(
    "words",
    [
        ("--store", "paper"),
        ("--store", "influx", "--url", "ftp://x/y"),
        ("--store", "influx", "--url", "http://u:p@h/d"),
    ],
)
def test_what_cannot_be_measured_is_refused(capfd: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    code, said = asked(capfd, "bench", "ingest", "--components", "10", *words)
    assert (code, "error" in said) == (2, True)
    assert "u:p" not in json.dumps(said["error"])


def test_without_a_server_both_say_so(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scratch_influx, "_PATH", str(tmp_path))
    for words in (
        ("bench", "ingest", "--store", "influx", "--components", "10"),
        ("chaos", "telemetry", "--injections", "1"),
    ):
        code, said = asked(capfd, *words)
        assert code == 2
        assert said["error"]["where"] == "influxd and nginx"
    with pytest.raises(ConfigError):
        InfluxServer(tmp_path / "x")


@pytest.mark.servers
@needs_influx
def test_the_store_is_measured_beside_the_bare_client(capfd: pytest.CaptureFixture[str]) -> None:
    words = ("bench", "ingest", "--store", "influx", "--components", "400", "--rounds", "2", "--tries", "1")
    code, said = asked(capfd, *words)
    found = said["results"]
    assert code == 0
    assert found.keys() >= INGEST
    assert found["ratio_to_bare_client"] > 0.1
    assert found["newest_of_components"] == 400
    assert "influxdb_client" in found["compared"]


@pytest.mark.servers
@pytest.mark.slow
@needs_influx
def test_a_database_that_suffers_loses_no_acknowledged_reading(tmp_path: Path) -> None:
    found = chaos_telemetry.run(INJECTIONS, seed=0, keep=str(tmp_path))
    assert found.keys() >= CHAOS
    assert found["violations"] == [], found
    assert (found["failed"], found["passed"]) == ([], INJECTIONS)
    assert found["acknowledged"] > 1_000 * INJECTIONS
    assert found["age_samples"] > 10


@pytest.mark.servers
@pytest.mark.slow
@needs_influx
def test_a_lost_a_changed_and_a_strange_reading_are_noticed(tmp_path: Path) -> None:
    with InfluxServer(tmp_path / "server", index="inmem") as server, Scene(server, tmp_path) as scene:
        scene.finish()
        assert check_readings(scene)["violations"] == []
        server.query("DROP SERIES FROM node WHERE component = 'bulk/r00/n007'", DATABASE)
        time_ms = scene.record()[0][2]
        for line in (
            f"node,component=bulk/r00/n008,site=bulk cpu_c=1 {time_ms}",
            f"rack,component=x,site=tiny inlet_c=1 {time_ms}",
        ):
            server.write(line + "000000", DATABASE)
        found = check_readings(scene)
        assert (found["wrong"], found["unasked"]) == (1, 1)
        assert found["lost"] >= 5
        assert len(found["violations"]) == 3
