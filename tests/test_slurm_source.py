"""Utilisation of nodes from Slurm's profile plugin: tasks added up, each interval of each node told once."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import influx_world
import numpy as np
import pytest
from servers import InfluxServer

from plant.errors import SourceUnavailable
from plant.site import load_site
from scheduler.slurm_commands import Commands
from scheduler.slurm_profile import SlurmProfile
from scheduler.slurm_source import SlurmProfileSource
from twin.telemetry.mapping import load_mapping
from twin.telemetry.samples import Samples, Series

T0_MS = 1_800_000_000_000
SITE = load_site("hall")
NODES = {
    "nodes": [
        {"name": "n001", "state": ["IDLE"], "cpus": 4, "gres": ""},
        {"name": "n002", "state": ["IDLE"], "cpus": 8, "gres": ""},
        {"name": "g1", "state": ["IDLE"], "cpus": 8, "gres": "gpu:8"},
    ]
}


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Programs that answer as Slurm does."""
    answer = tmp_path / "scontrol"
    config = "JobAcctGatherFrequency  = task=1,network=30"
    answer.write_text(f"#!/bin/sh\nif [ $2 = config ]; then echo '{config}'; else echo '{json.dumps(NODES)}'; fi\n")
    answer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return Commands()


influx = influx_world.server


class Plugin:
    """Writes as the plugin does: per task and second, straight to the database."""

    def __init__(self, influx: InfluxServer) -> None:
        self.influx, self.name = influx, influx.create_database("slurm")

    def say(self, host: str, job: int, task: int, from_s: int, to_s: int, percent: float, what: str = "CPUUtilization"):
        lines = [
            f"{what},job={job},step=0,task={task},host={host} value={percent:.2f} {T0_MS // 1000 + s}"
            for s in range(from_s, to_s)
        ]
        url = f"http://127.0.0.1:{self.influx.inner}/write?db={self.name}&precision=s"
        with urllib.request.urlopen(url, "\n".join(lines).encode(), timeout=10):
            return

    def source(self, commands: Commands, **more: Any) -> SlurmProfileSource:
        profile = SlurmProfile(f"http://127.0.0.1:{self.influx.inner}", self.name, every_s=1.0, timeout_s=2.0)
        return SlurmProfileSource("slurm", profile, commands, ask_interval=True, **more)


def rows(samples: Samples) -> list[tuple[str, int, float]]:
    hosts = [dict(samples.series[which].tags)["host"] for which in samples.which.tolist()]
    times = ((samples.time_ms - T0_MS) // 1000).tolist()
    return list(zip(hosts, times, samples.value.round(4).tolist(), strict=True))


def test_the_shipped_mapping_joins_hosts_to_nodes_and_leaves_tasks_out() -> None:
    kind_of = {c: kind for kind in SITE.kinds for c in SITE.components(kind)}
    mapping = load_mapping("slurm_profile", kind_of)
    series = [Series.of("slurm_profile", "util_frac", {"host": "n001"})]
    series += [Series.of(f"{m}", "value", {"host": "n001", "task": "0"}) for m in ("CPUUtilization", "RSS", "GPUMemMB")]
    samples = Samples(series, np.arange(4), np.full(4, T0_MS), np.array([0.5, 99.0, 1464.0, 3.0]), {})
    told = mapping.translate(samples)
    assert not told.unmatched
    assert told.dropped == 3
    ends = [node for node in SITE.node_ids if node.endswith("/n001")]
    wanted = ends[0] if len(ends) == 1 else "n001"
    assert told.batch.rows() == [(T0_MS, wanted, "util_frac", 0.5)]


@pytest.mark.servers
def test_tasks_add_up_by_node_and_each_interval_is_told_once(influx: InfluxServer, commands: Commands) -> None:
    plugin = Plugin(influx)
    source = plugin.source(commands)
    plugin.say("n001", 1, 0, 0, 60, 100.0)
    plugin.say("n001", 1, 1, 0, 60, 50.0)
    plugin.say("n001", 2, 0, 15, 30, 50.0)
    plugin.say("n002", 3, 0, 0, 30, 200.0)
    plugin.say("g1", 4, 0, 0, 60, 800.0)
    plugin.say("login", 5, 0, 0, 60, 100.0)
    plugin.say("n001", 1, 0, 0, 60, 5.0, "RSS")
    assert rows(source.poll(T0_MS + 54_000).samples) == [], "what is younger than a bundle may not be whole"
    first = source.poll(T0_MS + 56_000).samples
    assert rows(first) == [("n001", 15, 0.375), ("n002", 15, 0.25)]
    second = source.poll(T0_MS + 100_000).samples
    assert rows(second) == [
        ("n001", 30, 0.5), ("n002", 30, 0.25), ("n001", 45, 0.375), ("n002", 45, 0.0), ("n001", 60, 0.375),
    ]  # fmt: skip
    assert rows(source.poll(T0_MS + 100_000).samples) == []
    other = plugin.source(commands)
    other.resume(json.loads(json.dumps(source.mark())))
    assert rows(other.poll(T0_MS + 116_000).samples) == [("n001", 75, 0.0)], "silent since: told once as idle"
    assert rows(other.poll(T0_MS + 200_000).samples) == []
    other.close()
    other.close()


@pytest.mark.servers
def test_a_long_absence_is_read_in_parts_and_an_outage_loses_nothing(influx: InfluxServer, commands: Commands) -> None:
    plugin = Plugin(influx)
    source = plugin.source(commands, history_ms=3 * 3_600_000)
    for begin_s in range(0, 9000, 1000):
        plugin.say("n001", 1, 0, begin_s, begin_s + 1000, 100.0)
    influx.pause_database()
    try:
        with pytest.raises(SourceUnavailable):
            source.poll(T0_MS + 9_000_000)
        assert source.mark() == {}
    finally:
        influx.continue_database()
    told, more, polls = [], True, 0
    while more:
        read = source.poll(T0_MS + 9_000_000)
        told, more, polls = [*told, *rows(read.samples)], read.more, polls + 1
    assert polls == 3
    assert [at for _, at, _ in told] == list(range(15, 8956, 15))
    assert {value for _, _, value in told} == {0.25}


@pytest.mark.servers
def test_a_database_that_is_not_there_is_said(influx: InfluxServer, commands: Commands) -> None:
    profile = SlurmProfile(f"http://127.0.0.1:{influx.inner}", "absent", every_s=1.0)
    with pytest.raises(SourceUnavailable, match="no such database"):
        SlurmProfileSource("slurm", profile, commands).poll(T0_MS)
    assert profile.read(T0_MS) == {}
    assert "no such database" in profile.trouble
