"""Sources of a worker: from what they say to readings in the store, through kills, full stores and dead servers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib import request

import pytest
from servers import InfluxServer, missing_for_influx
from servers_nut import NutServer, missing_for_nut

from plant.errors import StoreUnavailable
from plant.site import load_site
from twin.board import Board
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.sqlite_store import SqliteStore
from verbs import backup, restore
from verbs import run as verb
from verbs.feeding import MARKS, Intake
from verbs.settings_sources import SourceTable

ROOT = Path(__file__).resolve().parent.parent
NOW_MS = 1_800_000_000_000
RULES = """
[hosts]
ups1 = "lab/a/ups"
ups2 = "lab/b/ups"
[[rule]]
match = "m.inlet_c"
component = "{tag:rack}"
channel = "inlet_c"
[[rule]]
match = "upsd.load_percent"
component = "{ups:ups_name}"
channel = "load_frac"
unit = "%"
[[rule]]
match = "upsd.battery_charge_percent"
component = "{ups:ups_name}"
channel = "battery_frac"
unit = "%"
[[rule]]
match = "upsd.time_left_ns"
component = "{ups:ups_name}"
channel = "runtime_s"
unit = "ns"
[[rule]]
match = "upsd.ups_status"
component = "{ups:ups_name}"
[rule.event]
type = "ups_status"
quiet = ["OL"]
clear = "on_line"
names = { "OB DISCHRG" = "on_battery", "OB DISCHRG LB" = "low_battery" }
"""


@pytest.fixture
def rules(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("FORETWIN_"):
            monkeypatch.delenv(name)
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    return file


def say(file, at_ms, value=22.0, racks=("lab/a/r01", "lab/a/r02")):
    with file.open("a") as lines:
        lines.writelines(f"m,rack={rack} inlet_c={value} {at_ms}000000\n" for rack in racks)


def until(done, wait_s=10.0):
    ends = time.monotonic() + wait_s
    while not (found := done()):
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.01)
    return found


def intake(tmp_path, rules, store, now_ms=NOW_MS):
    table = SourceTable(kind="lines", path=str(tmp_path / "a.lp"), mapping=str(rules), interval_s=1.0)
    return Intake({"logged": table}, board(tmp_path), load_site("tiny"), store, lambda: now_ms)


def board(tmp_path):
    return Board(tmp_path / "telemetry.sqlite")


def brought(one, n, now_ms=NOW_MS):
    """Bring until n samples have come."""
    came = [0]

    def bring():
        came[0] += one.bring(now_ms)
        return came[0] >= n

    until(bring)


def test_what_is_said_is_mapped_judged_and_stored(tmp_path, rules):
    file, store = tmp_path / "a.lp", MemoryStore()
    say(file, NOW_MS - 5000)
    say(file, NOW_MS - 4000, value=500.0)  # no inlet is that hot
    say(file, NOW_MS - 3000, racks=["lab/nowhere"])
    with file.open("a") as lines:
        lines.write("what\nz,rack=lab/a/r01 x=1 1\n")
    one = intake(tmp_path, rules, store)
    brought(one, 6)
    one.end()
    assert store.read(None, None, 0, NOW_MS).rows() == [
        (NOW_MS - 5000, "lab/a/r01", "inlet_c", 22.0),
        (NOW_MS - 5000, "lab/a/r02", "inlet_c", 22.0),
    ]
    assert store.refused() == {"above_range": 2, "unknown_component": 1, "unreadable_row": 1}
    assert [r.channel for r in store.refusals() if r.reason == "unreadable_row"] == ["a.lp_line_6"]
    row = one.rows()[0]
    found = {
        key: row[key] for key in ("name", "kind", "age_s", "state", "readings", "refused", "unmatched", "unreadable")
    }
    assert found == {
        "name": "logged", "kind": "lines", "age_s": 3.0, "state": "ok", "readings": 2, "refused": 3, "unmatched": 1,
        "unreadable": 1,
    }  # fmt: skip


def test_a_second_worker_goes_on_behind_what_was_stored(tmp_path, rules):
    file, store = tmp_path / "a.lp", MemoryStore()
    say(file, NOW_MS - 5000)
    one = intake(tmp_path, rules, store)
    brought(one, 2)
    one.end()
    _, cursor = store.tail(0)
    say(file, NOW_MS - 1000)
    again = intake(tmp_path, rules, store)
    brought(again, 2)
    again.end()
    assert [row[0] for row in store.tail(cursor)[0].rows()] == [NOW_MS - 1000] * 2
    assert again.rows()[0]["readings"] == 2


def test_what_was_stored_before_the_marks_were_is_not_told_again(tmp_path, rules):
    """Killed between the two: the source tells it again, the twin is not corrected by it again."""
    file, store = tmp_path / "a.lp", MemoryStore()
    say(file, NOW_MS - 5000)
    one = intake(tmp_path, rules, store)
    brought(one, 2)
    one.end()
    board(tmp_path).put_json(MARKS, {"logged": {}}, NOW_MS)
    _, cursor = store.tail(0)
    say(file, NOW_MS - 4000)
    again = intake(tmp_path, rules, store)
    brought(again, 4)
    say(file, NOW_MS - 5000, value=23.0)  # a correction is news
    brought(again, 2)
    again.end()
    assert [(row[0] - NOW_MS, row[3]) for row in store.tail(cursor)[0].rows()] == [(-4000, 22.0)] * 2 + [
        (-5000, 23.0)
    ] * 2


def test_a_restored_backup_goes_on_from_where_it_was_taken(tmp_path, rules):
    """The marks are of the same instant as the readings: what came in between is asked for again."""
    home, file = tmp_path / "home", tmp_path / "a.lp"
    home.mkdir()
    table = SourceTable(kind="lines", path=str(file), mapping=str(rules), interval_s=1.0)

    def told(n, at_ms):
        store, posted = SqliteStore(home / "telemetry.sqlite"), Board(home / "telemetry.sqlite")
        if n:
            say(file, at_ms)
        one = Intake({"logged": table}, posted, load_site("tiny"), store, lambda: NOW_MS)
        brought(one, 2)
        one.end()
        found = [row[0] - NOW_MS for row in store.read(None, ["inlet_c"], 0, NOW_MS).rows()]
        store.close()
        posted.close()
        return found

    told(1, NOW_MS - 3000)
    backup.run(home, str(tmp_path / "kept.tar"), False)
    assert told(1, NOW_MS - 2000) == [-3000, -3000, -2000, -2000]
    restore.run(home, str(tmp_path / "kept.tar"))
    assert told(0, 0) == [-3000, -3000, -2000, -2000]


def test_faulty_marks_are_none(tmp_path, rules):
    for faulty in ([], {"logged": 3}, {"logged": {"1:2": "x"}}, None):
        board(tmp_path).put_json(MARKS, faulty, NOW_MS)
        store = MemoryStore()
        say(tmp_path / "a.lp", NOW_MS - 5000, racks=["lab/a/r01"])
        one = intake(tmp_path, rules, store)
        brought(one, 1)
        one.end()
        (tmp_path / "a.lp").unlink()


class Failing(MemoryStore):
    """A store that is gone for some writes."""

    def __init__(self):
        super().__init__()
        self.fail = 3

    def write(self, batch):
        if self.fail:
            self.fail -= 1
            raise StoreUnavailable("store", "is gone")
        return super().write(batch)


def test_what_a_store_would_not_take_waits_and_counters_count_once(tmp_path, rules):
    rules.write_text(
        RULES + '[[rule]]\nmatch = "m.errs"\ncomponent = "{tag:node}"\nchannel = "ecc_ce"\ncounter = true\n'
    )
    with (tmp_path / "a.lp").open("w") as lines:
        for n in range(4):
            lines.write(f"m,node=lab/a/r01/n01 errs={10 * n * n} {NOW_MS - 40_000 + 10_000 * n}000000\n")
    store = Failing()
    one = intake(tmp_path, rules, store)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            until(lambda: one.bring(NOW_MS))
    brought(one, 4)
    one.end()
    assert [row[3] for row in store.read(None, None, 0, NOW_MS).rows()] == pytest.approx([1.0, 3.0, 5.0])
    assert one.rows()[0]["readings"] == 3


def test_a_source_that_never_answers_costs_the_tick_nothing(tmp_path, rules):
    """A server that takes the connection and says nothing, beside a file that goes on growing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        tables = {
            "ups": SourceTable(kind="nut", url=f"127.0.0.1:{port}", mapping=str(rules), timeout_s=30.0, interval_s=1.0),
            "logged": SourceTable(kind="lines", path=str(tmp_path / "a.lp"), mapping=str(rules), interval_s=1.0),
        }
        say(tmp_path / "a.lp", NOW_MS - 1000)
        store, now = MemoryStore(), [NOW_MS]
        one = Intake(tables, board(tmp_path), load_site("tiny"), store, lambda: now[0])
        brought(one, 2)
        begun_s = time.monotonic()
        for _ in range(20):
            one.bring(NOW_MS)
            one.rows()
        assert time.monotonic() - begun_s < 0.5
        assert [row["state"] for row in one.rows()] == ["ok", "starting"]
        now[0] += 31_000
        assert [row["state"] for row in one.rows()] == ["ok", "hanging"]
        begun_s = time.monotonic()
        one.end(wait_s=0.2)
        assert time.monotonic() - begun_s < 2.0


# The worker


def config(tmp_path, rules, text):
    file = tmp_path / "foretwin.toml"
    file.write_text(f'[site]\nfile = "tiny"\n{text}mapping = "{rules}"\n')
    return file


def test_one_tick_reads_the_sources_and_posts_how_they_stand(tmp_path, rules):
    lines, home = tmp_path / "a.lp", tmp_path / "home"
    say(lines, int(time.time() * 1000) - 20_000, racks=load_site("tiny").rack_ids)
    file = config(tmp_path, rules, f'[sources.logged]\nkind = "lines"\npath = "{lines}"\n')
    results = verb.run(home, None, file, True, lambda line: None)
    readings = next(row["name"] for row in results["items"] if row["what"] == "readings")
    assert readings == len(load_site("tiny").rack_ids)
    rows = Board(home / "telemetry.sqlite", read_only=True).get_json("sources").value
    assert [(row["name"], row["state"], row["readings"]) for row in rows] == [("logged", "ok", readings)]
    assert 19.0 < rows[0]["age_s"] < 60.0


def test_a_dead_source_does_not_hold_up_a_tick_and_is_named(tmp_path, rules):
    home = tmp_path / "home"
    file = config(tmp_path, rules, '[sources.ups]\nkind = "nut"\nurl = "127.0.0.1:1"\n')
    results = verb.run(home, None, file, True, lambda line: None)
    said = [row for row in results["items"] if row["what"] == "source"]
    assert [row["name"] for row in said] == ["ups"]
    assert said[0]["detail"].startswith("failing: 127.0.0.1:1: upsd does not answer")
    assert "Connection refused" in said[0]["detail"]


@pytest.mark.slow
def test_a_worker_killed_again_and_again_loses_and_doubles_nothing(tmp_path, rules):
    """A file grows while workers are killed without warning; at the end every reading is there, each once."""
    lines, racks = tmp_path / "a.lp", load_site("tiny").rack_ids
    begun_ms, n = int(time.time() * 1000) - 60_000, 0
    table = SourceTable(kind="lines", path=str(lines), mapping=str(rules), interval_s=1.0)
    code = (
        "import sys, time; from pathlib import Path\n"
        "from plant.site import load_site; from twin.telemetry.sqlite_store import SqliteStore\n"
        "from twin.board import Board\n"
        "from verbs.feeding import Intake; from verbs.settings_sources import SourceTable\n"
        "home = Path(sys.argv[1]); store = SqliteStore(home / 'telemetry.sqlite')\n"
        "one = Intake({'logged': SourceTable.model_validate_json(sys.argv[2])},\n"
        "             Board(home / 'telemetry.sqlite'), load_site('tiny'), store,\n"
        "             lambda: int(time.time() * 1000))\n"
        "print('up', flush=True)\n"
        "while True: one.bring(int(time.time() * 1000)); time.sleep(0.001)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), table.model_dump_json(exclude={"token"})]
    for life in range(4):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as worker:
            for _ in range(20):
                say(lines, begun_ms + n, value=20 + n % 7, racks=racks)
                n += 1
            worker.stdout.readline()
            time.sleep(0.02 * life)
            worker.send_signal(signal.SIGKILL)
    store = SqliteStore(tmp_path / "telemetry.sqlite")
    one = Intake({"logged": table}, board(tmp_path), load_site("tiny"), store, lambda: begun_ms + 60_000)
    until(lambda: one.bring(begun_ms + 60_000) or len(store.read(None, None, 0, 2**60)) == n * len(racks))
    until(lambda: one.bring(begun_ms + 60_000) or len(store.read(None, None, 0, 2**60)) == n * len(racks))
    one.end()
    rows = store.read(None, None, 0, 2**60).rows()
    assert len(rows) == n * len(racks)
    assert {row[0] - begun_ms: row[3] for row in rows} == {k: 20.0 + k % 7 for k in range(n)}
    store.close()


# Real servers


FEW_LINES = """
[site]
file = "tiny"

[sources.telegraf]
kind = "influx"
url = "{url}"
database = "telegraf"
interval_s = 1.0
"""


@pytest.mark.servers
def test_a_site_with_telegraf_in_influxdb_writes_fewer_than_15_lines(tmp_path, rules, monkeypatch):
    """Telegraf's own names in a real InfluxDB, the shipped rules, hosts named as the site names its nodes."""
    missing = missing_for_influx()
    if missing:
        pytest.skip(f"needs {' '.join(missing)}")
    server, home = InfluxServer(tmp_path / "influx").start(), tmp_path / "home"
    try:
        server.create_database("telegraf")
        nodes, now_ms = load_site("tiny").components("node"), int(time.time() * 1000)
        lines = "".join(
            f"cpu,cpu=cpu-total,host={host} usage_idle=75 {at_ms}000000\n"
            f"ipmi_sensor,host=x,server={host},name=inlet_temp,unit=degrees_c value=22 {at_ms}000000\n"
            for host in (node.replace("/", "-") for node in nodes)
            for at_ms in range(now_ms - 120_000, now_ms - 20_000, 20_000)
        )
        request.urlopen(f"http://127.0.0.1:{server.inner}/write?db=telegraf", lines.encode(), timeout=10).close()
        file = tmp_path / "foretwin.toml"
        file.write_text(FEW_LINES.format(url=server.url))
        assert len(file.read_text().splitlines()) < 15
        monkeypatch.setenv("FORETWIN_SOURCES__TELEGRAF__TOKEN", server.token)
        verb.run(home, None, file, True, lambda line: None)
        store, board = SqliteStore(home / "telemetry.sqlite", read_only=True), Board(home / "telemetry.sqlite")
        row = board.get_json("sources").value[0]
        board.close()
        racks = load_site("tiny").rack_ids
        told = 2 * 5 * len(nodes)
        assert (row["state"], row["refused"], row["unmatched"]) == ("ok", 0, 0)
        # a rack hears the mean of its nodes' inlets for each of the two or three minutes
        assert row["readings"] - told in (2 * len(racks), 3 * len(racks))
        assert all(store.newest("inlet_c")[rack][2] == 22.0 for rack in racks)
        assert store.newest("util_frac")[nodes[0]][2] == 0.25
        assert store.newest("inlet_c")[nodes[-1]][2] == 22.0
        store.close()
    finally:
        server.stop()


@pytest.mark.servers
def test_a_blackout_is_seen_and_a_dead_server_makes_the_risk_unknown(tmp_path, rules, monkeypatch):
    missing = missing_for_nut()
    if missing:
        pytest.skip(f"needs {' '.join(missing)}")
    server, home = NutServer(tmp_path / "nut").start(), tmp_path / "home"
    try:
        text = f'[sources.ups]\nkind = "nut"\nurl = "127.0.0.1:{server.port}"\ninterval_s = 1.0\ntimeout_s = 1.0\n'
        file = config(tmp_path, rules, text)
        verb.run(home, None, file, True, lambda line: None)
        for minute, status in enumerate(("OB DISCHRG", "OB DISCHRG LB"), 1):
            server.set("ups1", "ups.status", status)
            later(monkeypatch, minute * 60_000)
            verb.run(home, None, file, True, lambda line: None)
        board = Board(home / "telemetry.sqlite", read_only=True)
        store = SqliteStore(home / "telemetry.sqlite", read_only=True)
        told = [event.code for event in store.events(0, 2**60) if event.component == "lab/a/ups"]
        assert told == ["on_battery", "low_battery"]
        assert store.newest("runtime_s")["lab/a/ups"][2] == 1800.0
        assert store.newest("load_frac")["lab/b/ups"][2] == 0.4
        assert not risk(board, "lab/a/ups")["unknown"]
        server.kill("upsd")
        later(monkeypatch, 420_000)
        verb.run(home, None, file, True, lambda line: None)
        assert risk(board, "lab/a/ups")["unknown"]
        assert risk(board, "lab/a/ups")["p_fail"]["3600"] is None
        rows = board.get_json("sources").value
        assert (rows[0]["state"], rows[0]["age_s"]) == ("failing", None)
        server.start_upsd()
        for ahead_ms in (480_000, 500_000):  # what is read after the instant of a tick counts in the next
            later(monkeypatch, ahead_ms)
            verb.run(home, None, file, True, lambda line: None)
        assert not risk(board, "lab/a/ups")["unknown"]
        store.close()
        board.close()
    finally:
        server.stop()


def later(monkeypatch, ahead_ms):
    """The worker's clock goes on."""
    monkeypatch.setattr(verb, "_wall_ms", lambda: int(time.time() * 1000) + ahead_ms)


def risk(board, component):
    return next(row for row in board.get_json("risks").value if row["component"] == component)
