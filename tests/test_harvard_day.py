"""A real day of BMC readings: node list to site file, mapping into the store, scored; bad rows refused one by one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import cli
from plant.site import load_site
from twin.telemetry.sqlite_store import SqliteStore

pytestmark = pytest.mark.slow


class Shell:
    """Runs verbs under a state folder of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *args: str) -> tuple[int, dict]:
        self.capsys.readouterr()
        code = cli.answer([*args, "--json"])
        return code, json.loads(self.capsys.readouterr().out)["results"]


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys) -> Shell:
    monkeypatch.setenv("FORETWIN_HOME", str(tmp_path / "home"))
    return Shell(capsys)


@pytest.fixture
def day(shared_data) -> Path:
    return shared_data / "harvard_ipmi_day"


@pytest.fixture
def site(shell, day, tmp_path) -> str:
    path = str(tmp_path / "harvard.toml")
    code, found = shell("site", "import", str(day / "sensors.parquet"), "--column", "node", "--out", path)
    assert (code, found["counts"]["node"]) == (0, 376)
    return path


def test_the_clean_day_is_stored_whole_and_raises_no_alert(shell, day, site, tmp_path):
    code, got = shell("ingest", str(day / "sensors.parquet"), "--mapping", "harvard_ipmi_day", "--site", site)
    assert (code, got["readings_refused"], got["unmatched"], got["dropped"]) == (0, 0, [], 0)
    assert got["readings_accepted"] + got["joined"] - got["gathered"] == 69_860
    code, alarms = shell("ingest", str(day / "alarms.parquet"), "--mapping", "harvard_ipmi_day", "--site", site)
    assert (code, alarms["events_accepted"], alarms["readings_refused"]) == (0, 39, 0)
    store = SqliteStore(tmp_path / "home" / "telemetry.sqlite", read_only=True)
    stage = load_site(site)
    newest = store.newest("inlet_c")
    events = store.events(0, 2**60)
    store.close()
    assert set(newest) == {*stage.node_ids, *stage.rack_ids}
    assert all(15.0 <= value <= 35.0 for _, _, value in newest.values())
    assert len(events) == 39
    assert {event.code.split(":")[0] for event in events} == {"cr", "nc"}
    assert {event.type for event in events} == {"alarm"}
    assert any("1.98 Volts" in event.text for event in events)
    code, scored = shell("score", "--site", site)
    assert code == 0
    assert [risk["component"] for risk in scored["risks"] if risk["act"]] == []
    assert scored["alerts"] == []
    racks = [risk for risk in scored["risks"] if risk["kind"] == "rack"]
    assert len(racks) == 31


def test_the_clean_day_passes_the_check(shell, day, site):
    files = [str(day / "sensors.parquet"), str(day / "alarms.parquet")]
    code, got = shell("map", "check", *files, "--mapping", "harvard_ipmi_day", "--site", site)
    assert (code, got["ok"], got["items"], got["coverage_frac"]) == (0, True, [], 1.0)
    assert got["unknown_components"] == got["duplicates"] == []


def test_one_row_in_a_hundred_that_is_bad_is_refused_with_its_reason_and_no_other(shell, day, site, tmp_path):
    import pandas as pd

    clean = pd.read_parquet(day / "sensors.parquet")
    frame = clean.astype({"sensor": str, "unit": str, "value": float, "node": str})
    frame["time"] = frame["time"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    rng = np.random.default_rng(7)
    rows = rng.choice(len(frame), size=len(frame) // 100, replace=False)
    parts = np.array_split(rows, 7)
    value, node, sensor, unit, at = (
        frame.columns.get_loc(name) for name in ("value", "node", "sensor", "unit", "time")
    )
    frame.iloc[parts[0], value] = 1e9
    frame.iloc[parts[1], value] = -300.0
    frame.iloc[parts[2], value] = np.nan  # pandas writes it as an empty cell
    frame.iloc[parts[3], node] = "holy9z99999"
    frame.iloc[parts[4], unit] = "furlongs"
    frame.iloc[parts[5], at] = "2199-01-01T00:00:00Z"
    frame.iloc[parts[6], at] = "yesterday"
    names = rng.choice(np.setdiff1d(np.arange(len(frame)), rows), size=50, replace=False)
    frame.iloc[names, sensor] = "No Such Sensor"
    frame.to_parquet(tmp_path / "bad.parquet")
    mapping = ("--mapping", "harvard_ipmi_day", "--site", site)
    code, got = shell("ingest", str(tmp_path / "bad.parquet"), *mapping)
    sizes = [len(part) for part in parts]
    assert got["refused_by_reason"] == {
        "above_range": sizes[0], "below_range": sizes[1], "unreadable_value": sizes[2], "unknown_component": sizes[3],
        "wrong_unit": sizes[4], "in_the_future": sizes[5], "unreadable_time": sizes[6], "unmatched_name": 50,
    }  # fmt: skip
    assert code == 0
    store = SqliteStore(tmp_path / "home" / "telemetry.sqlite", read_only=True)
    aside = store.refusals()
    stored = store.read(None, None, 0, 2**60)
    store.close()
    assert len(aside) == sum(sizes) + 50
    assert got["readings_accepted"] + got["joined"] - got["gathered"] == len(frame) - sum(sizes) - 50
    assert len(stored) == got["readings_accepted"]
    assert np.isfinite(stored.value).all()
