"""`foretwin run`: settings by layers with all faults at once, one tick, the lock, the pause switch, a clean stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import InfluxServer, missing_for_influx

from plant.actions import Action, Plan
from plant.errors import ConfigError, SiteFileError, StoreUnavailable
from plant.site import load_site
from recovery.ledger import Ledger
from scheduler.simulated import SimulatedScheduler
from twin.board import Board
from twin.telemetry.influx_store import InfluxStore
from twin.telemetry.sqlite_store import SqliteStore
from twin.telemetry.store import Batch
from verbs import backup
from verbs import run as verb
from verbs.pausing import pause
from verbs.settings import Settings, load
from verbs.settings_sources import SourceTable

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "data" / "foretwin.example.toml"
MINUTE_MS = 60_000


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch, tmp_path):
    """Neither the caller's environment nor a foretwin.toml of the folder tests are started in."""
    for name in list(os.environ):
        if name.startswith("FORETWIN_"):
            monkeypatch.delenv(name)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def once(home: Path, config: str | Path = "foretwin.toml") -> list[dict[str, str]]:
    results = verb.run(home, "tiny", config, True, lambda line: None)
    assert results["ok"]
    return results["items"]


def rows(items: list[dict[str, str]], what: str) -> list[dict[str, str]]:
    return [row for row in items if row["what"] == what]


# Settings


def test_the_example_states_every_key_with_its_default():
    assert load(EXAMPLE) == load()
    text = EXAMPLE.read_text()
    keys = [k for section in Settings.model_fields.values() for k in section.annotation.model_fields]
    keys += SourceTable.model_fields
    assert [k for k in keys if f"{k} =" not in text and k not in ("token", "demo", "tables")] == []


def test_what_is_typed_wins_over_the_environment_over_the_file_over_the_defaults(tmp_path, monkeypatch):
    file = tmp_path / "x.toml"
    file.write_text('[site]\nfile = "c3o"\n[loop]\ntick_s = 20\nmembers = 8\n')
    monkeypatch.setenv("FORETWIN_SITE__FILE", "hall")
    monkeypatch.setenv("FORETWIN_LOOP__TICK_S", "30")
    found = load(file, {"site": {"file": "tiny"}})
    assert (found.site.file, found.loop.tick_s, found.loop.members, found.loop.workers) == ("tiny", 30.0, 8, 1)
    assert load(file).site.file == "hall"


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        load().loop.tick_s = 3.0


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("[polcy]\nx = 1", "x.toml: polcy", "did you mean 'policy'"),
        ("[loop]\ntick = 3.0", "x.toml: loop.tick", "did you mean 'tick_s'"),
        ("[loop]\ntick_s = '15'", "x.toml: loop.tick_s", "without quotes"),
        ("[loop]\ntick_s = 1", "x.toml: loop.tick_s", "5..300 s"),
        ("[loop]\ntick_s = nan", "x.toml: loop.tick_s", "nan"),
        ("[loop]\nmembers = 2.5", "x.toml: loop.members", "a whole number"),
        ("[policy]\nmax_p_worse = 10", "x.toml: policy.max_p_worse", "percent"),
        ("[store]\nkind = 'inflx'", "x.toml: store.kind", "did you mean 'influx'"),
        ("[store]\nkind = 'influx'", "x.toml: store.url", "missing"),
        ("[store]\nurl = 'http://h:1'\ndatabase = 'd'", "x.toml: store.kind", "influx"),
        ("[store]\nkind = 'influx'\nurl = 'ftp://h'\ndatabase = 'd'", "x.toml: store.url", "http(s)://"),
        (
            "[store]\nkind = 'influx'\nurl = 'http://a:b@h'\ndatabase = 'd'",
            "x.toml: store.url",
            "FORETWIN_STORE__TOKEN",
        ),
        ("[store]\ntoken = 'hush'", "x.toml: store.token", "FORETWIN_STORE__TOKEN"),
        ("[plant]\nkind = 'modbus'", "x.toml: plant.kind", "work_order"),
        ("[identity]\nautonomy = 'full'", "x.toml: identity.autonomy", "propose"),
        ("[loop\ntick_s = 1", "x.toml line 1", "syntax error"),
        ("loop = 3", "x.toml: loop", "a table"),
    ],
)
def test_each_fault_of_the_file_is_one_line_with_its_cure(tmp_path, text, where, words):
    file = tmp_path / "x.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(file)
    assert where in str(error.value)
    assert words in str(error.value)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FORETWIN_LOOP__TICK_S", "soon", "a number"),
        ("FORETWIN_LOOP__TICK_S", "1", "5..300 s"),
        ("FORETWIN_LOOP__TICKS", "15", "did you mean 'tick_s'"),
        ("FORETWIN_LOPP__TICK_S", "15", "did you mean FORETWIN_LOOP__"),
        ("FORETWIN_STORE__KIND", "paper", "embedded"),
    ],
)
def test_a_fault_of_the_environment_names_the_variable(monkeypatch, name, value, words):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as error:
        load()
    assert str(error.value).startswith(name)
    assert words in str(error.value)


def test_a_section_that_is_no_table_in_the_environment_is_a_fault(monkeypatch):
    monkeypatch.setenv("FORETWIN_STORE", "influx")
    with pytest.raises(ConfigError, match="FORETWIN_SECTION__KEY"):
        load()


def test_all_faults_of_all_layers_come_at_once(tmp_path, monkeypatch):
    file = tmp_path / "x.toml"
    file.write_text("[loop]\ntick_s = 1\nmember = 3\n[store]\ntoken = 'hush'\n[policy]\ntail_frac = 2\n")
    monkeypatch.setenv("FORETWIN_LOOP__WORKERS", "many")
    with pytest.raises(ConfigError) as error:
        load(file)
    assert len(error.value.faults) == 5


def test_the_token_comes_from_the_environment_and_is_never_shown(monkeypatch):
    monkeypatch.setenv("FORETWIN_STORE__TOKEN", "hush")
    found = load()
    assert found.store.token.get_secret_value() == "hush"
    assert "hush" not in repr(found)


def test_an_empty_file_and_no_file_mean_the_defaults_but_a_named_one_must_be_there(tmp_path):
    empty = tmp_path / "empty.toml"
    empty.write_text("# nothing yet\n")
    assert load(empty) == load()
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "absent.toml")


# One tick


def test_one_tick_on_an_empty_home_works_and_says_what_is_missing(tmp_path):
    home = tmp_path / "home"
    items = once(home)
    assert rows(items, "readings")[0]["name"] == 0
    assert {row["name"] for row in rows(items, "missing")} == {"telemetry", "jobs", "identity"}
    status = Board(home / "telemetry.sqlite", read_only=True).get_json("status").value
    assert (status["mode"], status["site"], status["clock"]) == ("live", "tiny", "stopped")
    assert list((home / "snapshots").glob("*.npz"))
    scheduler = SimulatedScheduler(lambda: 0, home / "scheduler.sqlite")
    assert sorted(n.id for n in scheduler.nodes()) == sorted(load_site("tiny").node_ids)
    scheduler.close()


def test_a_second_start_goes_on_from_the_snapshot(tmp_path, monkeypatch):
    home, wall_ms = tmp_path / "home", int(time.time() * 1000)
    once(home)
    before = {f.name for f in (home / "snapshots").glob("*.npz")}
    lines: list[str] = []
    monkeypatch.setattr(verb, "_wall_ms", lambda: wall_ms + MINUTE_MS)
    verb.run(home, "tiny", "foretwin.toml", True, lines.append)
    assert not any("left aside" in line for line in lines)
    assert {f.name for f in (home / "snapshots").glob("*.npz")} > before


def bring_in(home: Path, age_ms: int) -> None:
    """One reading of every rack inlet, that old."""
    home.mkdir(exist_ok=True)
    store, at_ms = SqliteStore(home / "telemetry.sqlite"), int(time.time() * 1000) - age_ms
    store.write(Batch.from_rows([(at_ms, rack, "inlet_c", 22.0) for rack in load_site("tiny").rack_ids]))
    store.close()


def test_readings_that_were_there_are_caught_up_with(tmp_path):
    home = tmp_path / "home"
    bring_in(home, 30_000)
    assert "telemetry" not in {row["name"] for row in rows(once(home), "missing")}


def test_what_cannot_be_reached_is_said_before_anything_starts(tmp_path):
    with pytest.raises(SiteFileError, match="no such file"):
        verb.run(tmp_path / "home", "nowhere", "foretwin.toml", True, print)
    file = tmp_path / "x.toml"
    file.write_text("[store]\nkind = 'influx'\nurl = 'http://127.0.0.1:9'\ndatabase = 'd'\n")
    with pytest.raises(StoreUnavailable):
        once(tmp_path / "home", file)
    file.write_text("[scheduler]\npath = 'no/such/folder/x.sqlite'\n")
    with pytest.raises(StoreUnavailable, match="scheduler"):
        once(tmp_path / "home", file)


def approved_plan(home: Path) -> str:
    """A plan that caps a rack, proposed, rehearsed and approved by a person just now."""
    now_ms = int(time.time() * 1000)
    cap = Action.of("cap_power", ["lab/a/r01"], cap_frac=0.6)
    plan = Plan("cap", (cap,), "lab/a/loop", (), "s" * 16, "p" * 16, now_ms, now_ms + 10 * MINUTE_MS)
    home.mkdir(exist_ok=True)
    ledger = Ledger(home / "ledger.sqlite")
    assert ledger.propose(plan, now_ms).ok
    assert ledger.rehearsed(plan.id, {"gate_reasons": []}, 0, now_ms).ok
    assert ledger.decide(plan.id, "grace", "approve", "the hall is warm", now_ms).ok
    ledger.close()
    return plan.id


def test_the_pause_switch_stops_the_start_of_an_approved_plan(tmp_path):
    home = tmp_path / "home"
    plan = approved_plan(home)
    pause(home, "heidi", "electricians in hall a", "2026-01-01T00:00:00+00:00")
    items = once(home)
    assert "electricians" in rows(items, "paused")[0]["detail"]
    assert "paused" in rows(items, "plan")[0]["detail"]
    ledger = Ledger(home / "ledger.sqlite")
    assert ledger.plan(plan).state == "approved"
    assert ledger.steps(plan) == []
    assert any("paused" in row.detail for row in ledger.history(plan))
    ledger.close()


def test_without_the_switch_the_same_plan_starts(tmp_path):
    home = tmp_path / "home"
    plan = approved_plan(home)
    bring_in(home, 30_000)
    assert "done" in rows(once(home), "plan")[0]["detail"]
    scheduler = SimulatedScheduler(lambda: 0, home / "scheduler.sqlite")
    assert scheduler.effects() == [(f"{plan}:0", "cap")]
    assert {n.cap_frac for n in scheduler.nodes() if n.id.startswith("lab/a/r01/")} == {0.6}
    scheduler.close()


# One worker at a time, and its end


def child(home: Path) -> subprocess.Popen[str]:
    code = "import sys; from pathlib import Path; from verbs.run import run; "
    code += "print(run(Path(sys.argv[1]), 'tiny', 'foretwin.toml', False, lambda line: None)['ok'], flush=True)"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "FORETWIN_LOOP__TICK_S": "5"}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(home)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_status(home: Path, worker: subprocess.Popen[str]) -> None:
    until_s = time.monotonic() + 30.0
    while time.monotonic() < until_s:
        assert worker.poll() is None, worker.stderr.read()
        lock = home / "worker.lock"
        if lock.exists() and lock.read_text().strip() == f"pid {worker.pid}" and (home / "telemetry.sqlite").exists():
            board = Board(home / "telemetry.sqlite", read_only=True)
            if board.get_json("status"):
                return
        time.sleep(0.05)
    raise AssertionError("the worker never posted its status")


def test_one_worker_at_a_time_a_dead_one_frees_the_folder_and_a_signal_ends_it_cleanly(tmp_path):
    home = tmp_path / "home"
    first = child(home)
    try:
        wait_for_status(home, first)
        with pytest.raises(ConfigError, match=f"pid {first.pid}"):
            once(home)
    finally:
        first.kill()
        first.communicate()
    assert (home / "worker.lock").read_text().strip() == f"pid {first.pid}"
    second = child(home)
    try:
        wait_for_status(home, second)
        begun_s = time.monotonic()
        second.send_signal(signal.SIGTERM)
        out, err = second.communicate(timeout=20.0)
    finally:
        second.kill()
    assert (second.returncode, out.strip()) == (0, "True"), err
    assert time.monotonic() - begun_s < 5.0
    assert (home / "worker.lock").read_text() == ""


def test_while_the_store_is_gone_the_ages_of_sources_go_on_and_its_return_is_told(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    config = tmp_path / "x.toml"
    config.write_text(f"[sources.bus]\nkind = 'lines'\npath = '{tmp_path / 'in'}'\n")
    wall_ms, lines = int(time.time() * 1000), []
    monkeypatch.setattr(verb, "_wall_ms", lambda: wall_ms)
    worker = verb.LiveWorker(tmp_path / "home", load_site("tiny"), load(config), lines.append, 0, threading.Event())
    try:
        assert "following tiny: bus; store embedded" in worker.greeting()
        for gone in (True, True, False):
            wall_ms += 15_000
            with monkeypatch.context() as patch:
                if gone:
                    patch.setattr(worker, "tick", _gone)
                worker.guarded_tick(verb._grid_ms(worker.tick_ms))
            posted = worker.board.get_json("sources")
            assert posted.updated_ms == verb._grid_ms(worker.tick_ms)
            assert [row["name"] for row in posted.value] == ["bus"]
        assert ["the telemetry store is back" in line for line in lines].count(True) == 1
    finally:
        worker.end()


def _gone(now_ms: int) -> None:
    raise StoreUnavailable("store", f"gone at {now_ms}")


# A real server


@pytest.mark.servers
def test_a_worker_on_influxdb_reads_what_others_wrote_and_outlives_an_outage(tmp_path, monkeypatch):
    missing = missing_for_influx()
    if missing:
        pytest.skip(f"influx: {' and '.join(missing)} not installed (`make servers`)")
    server = InfluxServer(tmp_path / "influx").start()
    try:
        database = server.create_database("telemetry")
        site, wall_ms = load_site("tiny"), int(time.time() * 1000)
        kinds = {component: kind for kind in site.kinds for component in site.components(kind)}
        others = InfluxStore(server.url, database, server.token, site="tiny", spool=tmp_path / "s", kind_of=kinds)
        config = tmp_path / "x.toml"
        config.write_text(f"[store]\nkind = 'influx'\nurl = '{server.url}'\ndatabase = '{database}'\n")
        with pytest.raises(StoreUnavailable):  # without the token
            once(tmp_path / "home", config)
        monkeypatch.setenv("FORETWIN_STORE__TOKEN", server.token)
        monkeypatch.setattr(verb, "_wall_ms", lambda: wall_ms)
        lines: list[str] = []
        worker = verb.LiveWorker(tmp_path / "home", site, load(config), lines.append, 0, threading.Event())

        def tick_with_readings() -> int:
            nonlocal wall_ms
            wall_ms += 15_000
            others.write(Batch.from_rows([(wall_ms - 5_000, rack, "inlet_c", 22.0) for rack in site.rack_ids]))
            others.flush()
            worker.guarded_tick(verb._grid_ms(worker.tick_ms))
            return worker.last.readings if worker.last else 0

        assert tick_with_readings() == len(site.rack_ids)
        server.stop_database()
        ticks = worker.ticks
        wall_ms += 15_000
        worker.guarded_tick(verb._grid_ms(worker.tick_ms))
        assert worker.ticks == ticks
        assert any("trying again" in line for line in lines)
        beat = Board(tmp_path / "home" / "telemetry.sqlite", read_only=True).get_json("status").value
        assert beat["now_ms"] == worker.last.now_ms + 15_000, "a worker without its database still says that it lives"
        newest_ms = max(worker.worker.watch.newest_ms.values())
        assert beat["age_s"] == (beat["now_ms"] - newest_ms) / 1000.0 > 0, "and lets the age grow"
        server.start_database()
        assert tick_with_readings() == len(site.rack_ids)
        assert any("the telemetry store is back" in line for line in lines)
        worker.store.flush()
        (whole,) = server.query("SELECT last(in_sync), age_s FROM sync WHERE channel = 'all'", database)
        assert whole["values"][0][1] == 1
        assert 0 <= whole["values"][0][2] <= 15
        risks = server.query("SELECT last(unknown) FROM risk GROUP BY component", database)
        assert {series["tags"]["component"] for series in risks} == {
            risk.component for risk in worker.worker.watch.risks
        }
        assert len(risks) >= len(site.rack_ids)
        node = site.node_ids[0]
        server.write(f"node,component={node},site=tiny util_frac=1i {wall_ms}000000", database)
        worker.store.write(Batch.from_rows([(wall_ms, node, "util_frac", 0.5)]))
        worker.store.flush()
        tick_with_readings()
        assert any("refused by the database for good: 1;" in line for line in lines)
        worker.end()
        others.close()
        status = Board(tmp_path / "home" / "telemetry.sqlite", read_only=True).get_json("status").value
        assert server.token not in str(status) + "".join(lines)
    finally:
        server.stop()


# Backup and restore beside a running worker


@pytest.mark.slow
def test_a_worker_goes_on_from_a_restored_backup(tmp_path):
    """Backup, more readings, restore: the worker that runs all the while has the old readings and goes on ticking."""
    home, config = tmp_path / "home", tmp_path / "fast.toml"
    config.write_text("[loop]\ntick_s = 5.0\n")
    rack, said, stop = load_site("tiny").rack_ids[0], [], threading.Event()

    def write(value: float) -> None:
        store = SqliteStore(home / "telemetry.sqlite")
        store.write(Batch.from_rows([(int(time.time() * 1000), rack, "inlet_c", value)]))
        store.close()

    def values() -> list[float]:
        store = SqliteStore(home / "telemetry.sqlite")
        found = store.read([rack], ["inlet_c"], 0, 2**62).value.tolist()
        store.close()
        return found

    def beat_ms() -> int:
        board = Board(home / "telemetry.sqlite", read_only=True)
        status = board.get_json("status")
        board.close()
        return status.value["worker_ms"] if status else 0

    home.mkdir()
    write(21.0)
    worker = threading.Thread(target=verb.run, args=(home, "tiny", config, False, said.append, 0, stop))
    worker.start()
    try:
        wait_until(lambda: beat_ms() > 0)
        backup.run(home, str(tmp_path / "b.tar"), force=False)
        write(22.0)
        # the lock is this process's own, so the worker's thread has to be waited for as another process would
        child = subprocess.run(
            [sys.executable, "-m", "cli", "restore", str(tmp_path / "b.tar")],
            cwd=ROOT, env={**os.environ, "FORETWIN_HOME": str(home)}, capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        assert child.returncode == 0, child.stderr
        assert values() == [21.0]
        restored_ms = int(time.time() * 1000)
        wait_until(lambda: beat_ms() > restored_ms)
        assert any("a backup was restored" in line for line in said)
    finally:
        stop.set()
        worker.join(30.0)
    assert not worker.is_alive()
    aside = next(home.glob("before-restore-*"))
    old = SqliteStore(aside / "telemetry.sqlite")
    assert old.read([rack], ["inlet_c"], 0, 2**62).value.tolist() == [21.0, 22.0]
    old.close()


def wait_until(done: Callable[[], bool], for_s: float = 60.0) -> None:
    until_s = time.monotonic() + for_s
    while not done():
        assert time.monotonic() < until_s
        time.sleep(0.1)
