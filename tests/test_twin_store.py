"""One contract for all stores, and what the SQLite file alone promises: two processes, versions, sudden death."""

from __future__ import annotations

import itertools
import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import InfluxServer, missing_for_influx

from plant.errors import StoreUnavailable
from twin.board import Board
from twin.telemetry.admit import FUTURE_LIMIT_MS, Gate, admit, ingest
from twin.telemetry.influx_store import InfluxStore
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.sqlite_store import SqliteStore
from twin.telemetry.store import LATEST_MS, Batch, Event, Store, WritesBack, name_ok

NOW_MS = 1_671_350_400_000  # 2022-12-18, the day of the Alibaba incident
RACK, NODE = "hk/zone-c/r01", "hk/zone-c/r01/n001"
KINDS = {RACK: "rack", "hk/zone-c/r02": "rack", NODE: "node"}
MISSING = missing_for_influx()
STORES = ["memory", "sqlite", *([] if MISSING else ["influx"])]
Maker = Callable[[], Store]


@pytest.fixture(scope="module")
def influx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    server = InfluxServer(tmp_path_factory.mktemp("influx")).start()
    yield server
    server.stop()


@pytest.fixture(params=STORES)
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    """Makes empty stores of one kind, as many as a test asks for."""
    number, made = itertools.count(), []

    def make() -> Store:
        n = next(number)
        if request.param == "memory":
            made.append(MemoryStore())
        elif request.param == "sqlite":
            made.append(SqliteStore(tmp_path / str(n) / "telemetry.sqlite"))
        else:
            server = request.getfixturevalue("influx_server")
            made.append(
                InfluxStore(
                    server.url,
                    server.create_database(f"twin{n}"),
                    server.token,
                    site="hk",
                    spool=tmp_path / f"spool{n}",
                    kind_of=KINDS,
                )
            )
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(new_store: Maker) -> Store:
    return new_store()


def rows(*entries: tuple[int, str, str, float]) -> Batch:
    """A batch of (seconds after NOW, component, channel, value)."""
    return Batch.from_rows((NOW_MS + 1000 * s, component, channel, value) for s, component, channel, value in entries)


def everything(store: Store) -> list[tuple[int, str, str, float]]:
    store.flush()
    return store.read(None, None, 0, LATEST_MS + 1).rows()


# --- the contract ---------------------------------------------------------------------------------------------------


def test_influx_meets_the_contract_too() -> None:
    if MISSING:
        pytest.skip(f"influx: {' and '.join(MISSING)} not installed (`make servers`)")
    assert "influx" in STORES


def test_only_a_database_behind_dashboards_takes_back_what_the_worker_found_out(store: Store) -> None:
    assert isinstance(store, WritesBack) == isinstance(store, InfluxStore)


def test_an_empty_store_answers_with_nothing(store: Store) -> None:
    assert isinstance(store, Store)
    assert (everything(store), store.newest(), store.newest("inlet_c"), store.components()) == ([], {}, {}, [])
    assert (store.events(0, LATEST_MS), store.refused(), store.refusals()) == ([], {}, [])
    assert len(store.read([RACK], ["inlet_c"], 0, LATEST_MS)) == 0
    batch, cursor = store.tail(0)
    assert (len(batch), cursor, store.tail_end()) == (0, 0, 0)
    assert store.write(Batch.empty()) == store.write_events([]) == 0


def test_reads_are_half_open_in_order_and_picked(store: Store) -> None:
    batch = rows(
        (15, RACK, "outlet_c", 31.0),
        (0, RACK, "inlet_c", 22.0),
        (0, NODE, "power_kw", 5.5),
        (30, RACK, "inlet_c", 23.0),
    )
    assert store.write(batch) == 4
    store.flush()
    assert everything(store) == sorted(batch.rows())
    half_open = store.read(None, None, NOW_MS, NOW_MS + 30_000).rows()
    assert half_open == sorted(batch.rows())[:3]
    assert store.read([RACK], ["inlet_c"], 0, LATEST_MS).value.tolist() == [22.0, 23.0]
    assert store.read([NODE, "hk/none"], None, 0, LATEST_MS).channel.tolist() == ["power_kw"]
    assert len(store.read(None, ["no_such"], 0, LATEST_MS)) == len(store.read([], None, 0, LATEST_MS)) == 0
    assert len(store.read(None, None, NOW_MS + 30_000, NOW_MS)) == 0
    assert len(store.read(None, None, -(2**70), 2**70)) == 4
    assert store.components() == [RACK, NODE]


def test_the_last_value_of_a_series_and_time_wins(store: Store) -> None:
    store.write(rows((0, RACK, "inlet_c", 22.0), (0, RACK, "inlet_c", 23.0)))
    assert everything(store) == [(NOW_MS, RACK, "inlet_c", 23.0)]
    store.write(rows((0, RACK, "inlet_c", 24.0)))
    assert everything(store) == [(NOW_MS, RACK, "inlet_c", 24.0)]
    assert store.newest() == {RACK: (NOW_MS, "inlet_c", 24.0)}


def test_newest_ignores_late_readings_and_breaks_ties_by_name(store: Store) -> None:
    store.write(rows((60, RACK, "outlet_c", 31.0), (60, RACK, "inlet_c", 22.0), (60, NODE, "power_kw", 4.0)))
    store.write(rows((30, RACK, "inlet_c", 99.0), (75, NODE, "util_frac", 0.5)))
    store.flush()
    assert store.newest() == {RACK: (NOW_MS + 60_000, "inlet_c", 22.0), NODE: (NOW_MS + 75_000, "util_frac", 0.5)}
    assert store.newest("power_kw") == {NODE: (NOW_MS + 60_000, "power_kw", 4.0)}
    assert store.newest("no_such") == store.newest("x' OR 1=1") == {}


def test_tail_gives_each_arrival_once_late_and_corrected_ones_too(store: Store) -> None:
    store.write(rows((0, RACK, "inlet_c", 22.0), (0, NODE, "power_kw", 5.0)))
    store.flush()
    first, cursor = store.tail(0)
    assert sorted(first.rows()) == sorted(rows((0, RACK, "inlet_c", 22.0), (0, NODE, "power_kw", 5.0)).rows())
    assert store.tail(cursor)[0].rows() == []
    store.write(rows((15, RACK, "inlet_c", 23.0)))
    store.write(rows((5, RACK, "inlet_c", 22.5), (0, RACK, "inlet_c", 22.1)))
    store.flush()
    second, after = store.tail(cursor)
    assert sorted(second.rows()) == sorted(
        rows((15, RACK, "inlet_c", 23.0), (5, RACK, "inlet_c", 22.5), (0, RACK, "inlet_c", 22.1)).rows()
    )
    assert store.tail(after)[0].rows() == []
    assert store.tail_end() == after
    again, _ = store.tail(0)
    assert set(again.rows()) >= set(everything(store))


def test_what_cannot_be_given_back_is_refused_and_counted(store: Store) -> None:
    bad = [
        *[(NOW_MS, RACK, "inlet_c", value) for value in (math.nan, math.inf, -math.inf)],
        *[
            (NOW_MS, name, "inlet_c", 1.0)
            for name in ("", "a b", 'a"b', "a'b", "a,b", "a\nb", "a\x00b", "a\\", "\u202ea", "x" * 201)
        ],
        *[
            (NOW_MS, RACK, name, 1.0)
            for name in ("time", "site", "inlet_c_ok", "inlet c", 'x" FROM y; DROP DATABASE twin')
        ],
        (-1, RACK, "inlet_c", 1.0),
        (LATEST_MS + 1, RACK, "inlet_c", 1.0),
        (2**63 - 1, RACK, "inlet_c", 1.0),
    ]
    good = (NOW_MS, NODE, "power_kw", -0.0)
    assert store.write(Batch.from_rows([*bad, good])) == 1
    assert everything(store) == [good]
    assert store.components() == [NODE]
    assert store.refused() == {"not_a_number": 3, "bad_component_name": 10, "bad_channel_name": 5, "impossible_time": 3}
    kept = store.refusals()
    assert len(kept) == len(bad)
    assert math.isnan(kept[0].value)
    assert all(refusal.component.isprintable() and refusal.component.isascii() for refusal in kept)


def test_refusals_are_kept_aside_with_their_reason(store: Store) -> None:
    store.refuse(RACK, "inlet_c", NOW_MS, 412.0, "above_range")
    store.refuse("emoji \U0001f525", "inlet_c", NOW_MS, math.nan, "unknown_component")
    store.refuse(RACK, "inlet_c", NOW_MS + 1, 500.0, "above_range")
    assert store.refused() == {"above_range": 2, "unknown_component": 1}
    assert [refusal.value for refusal in store.refusals() if refusal.reason == "above_range"] == [412.0, 500.0]
    assert everything(store) == []


def test_events_come_back_with_their_text_and_only_once(store: Store) -> None:
    xid = Event(NOW_MS, NODE, "xid", "79", "GPU has fallen off the bus")
    odd = Event(NOW_MS + 1, RACK, "alarm", "", 'quote " backslash \\ comma, = newline\nand \\" ü 🔥\r\n\\')
    assert store.write_events([xid, odd, xid, Event(NOW_MS, "bad name", "alarm", "", "")]) == 3
    assert (
        store.write_events([Event(NOW_MS, NODE, "xid", "79", "corrected"), Event(NOW_MS, NODE, "xid", "48", "")]) == 2
    )
    store.flush()
    found = store.events(NOW_MS, NOW_MS + 2)
    assert found == [Event(NOW_MS, NODE, "xid", "48", ""), Event(NOW_MS, NODE, "xid", "79", "corrected"), odd]
    assert store.events(NOW_MS, NOW_MS + 1) == found[:2]
    assert store.refused() == {"bad_event": 1}
    assert everything(store) == []


names = st.from_regex(r"[A-Za-z0-9_\-./:@+#]{1,12}", fullmatch=True)
channel_names = names.filter(lambda name: name not in ("time", "site", "component") and not name.endswith("_ok"))
values = st.floats(allow_nan=False, allow_infinity=False)
readings = st.tuples(st.integers(NOW_MS, NOW_MS + 3_600_000), names, channel_names, values)


# A database per example: few for the server, which takes its time to drop one.
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(readings, max_size=12), max_size=4))
def test_what_goes_in_comes_out(new_store: Maker, batches: list[list[tuple[int, str, str, float]]]) -> None:
    store, plain = new_store(), MemoryStore()
    for batch in batches:
        assert store.write(Batch.from_rows(batch)) == len(batch)
        plain.write(Batch.from_rows(batch))
        store.flush()
    assert everything(store) == everything(plain)
    assert store.newest() == plain.newest()
    assert store.components() == plain.components()
    assert set(store.tail(0)[0].rows()) >= set(everything(plain))


@given(st.text(max_size=30))
def test_a_name_is_allowed_or_refused_whole(name: str) -> None:
    rule = 0 < len(name) <= 200 and all(mark.isascii() and (mark.isalnum() or mark in "_-./:@+#") for mark in name)
    assert name_ok(name) == rule


# --- admission ------------------------------------------------------------------------------------------------------


def test_admission_refuses_by_site_table_and_clock() -> None:
    hour = FUTURE_LIMIT_MS
    batch = Batch.from_rows(
        [
            (NOW_MS, RACK, "inlet_c", 22.0),
            (NOW_MS, RACK, "inlet_c", 295.15),
            (NOW_MS, RACK, "inlet_c", -300.0),
            (NOW_MS, RACK, "inlet_c", math.nan),
            (NOW_MS, RACK, "no_such", 1.0),
            (NOW_MS, "hk/other", "inlet_c", 22.0),
            (NOW_MS + hour, RACK, "inlet_c", 22.5),
            (NOW_MS + hour + 1, RACK, "inlet_c", 23.0),
            (NOW_MS // 1000, RACK, "inlet_c", 22.0),
        ]
    )
    good, bad = admit(batch, KINDS, NOW_MS)
    assert good.value.tolist() == [22.0, 22.5]
    assert [refusal.reason for refusal in bad] == [
        *["above_range", "below_range", "not_a_number", "unknown_channel"],
        *["unknown_component", "in_the_future", "before_2000"],
    ]
    without_site, _ = admit(batch, None, NOW_MS)
    assert without_site.component.tolist() == [RACK, "hk/other", RACK]


def test_ingest_stores_counts_and_keeps_aside() -> None:
    store, gate = MemoryStore(), Gate(KINDS)
    done = ingest(
        store, gate, rows((0, RACK, "inlet_c", 22.0), (0, RACK, "inlet_c", 999.0), (0, "a b", "inlet_c", 1.0)), NOW_MS
    )
    assert (done.accepted, done.refused) == (1, 2)
    assert store.refused() == {"above_range": 1, "unknown_component": 1}


# --- the file: two processes, versions, sudden death ----------------------------------------------------------------


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Another Python with this checkout on its path."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


WRITER = """
import sys
import numpy as np
from twin.telemetry.sqlite_store import SqliteStore
from twin.telemetry.store import Batch
store, name = SqliteStore(sys.argv[1]), sys.argv[2]
components = [f"{name}/n{i:04d}" for i in range(2000)]
for k in range(int(sys.argv[3])):
    time_ms = np.full(2000, 1_671_350_400_000 + 15_000 * k)
    store.write(Batch.of(time_ms, components, ["power_kw"] * 2000, np.full(2000, float(k))))
    print(k, flush=True)
"""


def test_a_killed_writer_loses_no_acknowledged_batch_and_leaves_no_half_batch(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.sqlite"
    writer = run_python(WRITER, str(path), "a", "100000")
    assert writer.stdout is not None
    acknowledged = [int(next(writer.stdout)) for _ in range(5)]
    time.sleep(0.037)
    writer.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in writer.communicate()[0].split()]
    store = SqliteStore(path)
    found = store.read(None, None, 0, LATEST_MS)
    counts = np.bincount(found.value.astype(int))
    assert len(counts) >= len(acknowledged)
    assert (counts == 2000).all()
    assert len(store.tail(0)[0]) == len(found)
    assert store.write(rows((0, RACK, "inlet_c", 22.0))) == 1
    assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


def test_two_writers_and_a_reader_share_the_file(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.sqlite"
    writers = [run_python(WRITER, str(path), name, "6") for name in ("a", "b")]
    while not path.exists():
        time.sleep(0.01)
    seen, cursor = 0, 0
    reader = None
    while any(writer.poll() is None for writer in writers):
        try:
            reader = reader or SqliteStore(path, read_only=True)
        except StoreUnavailable:
            continue
        batch, cursor = reader.tail(cursor)
        seen += len(batch)
        assert len(batch) % 2000 == 0
    for writer in writers:
        assert writer.communicate()[1] == ""
    reader = reader or SqliteStore(path, read_only=True)
    seen += len(reader.tail(cursor)[0])
    assert seen == 2 * 6 * 2000
    assert len(reader.components()) == 4000
    reader.close()


def test_one_store_serves_several_threads(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "telemetry.sqlite")

    def write(n: int) -> None:
        for k in range(20):
            store.write(rows((k, f"hk/t{n}", "inlet_c", 22.0)))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(everything(store)) == 80
    store.close()


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "telemetry.sqlite"
    first = SqliteStore(path)
    first.write(rows((0, RACK, "inlet_c", 22.0)))
    first.refuse(RACK, "inlet_c", NOW_MS, math.nan, "not_a_number")
    cursor = first.tail_end()
    first.close()
    second = SqliteStore(path)
    second.write(rows((0, RACK, "inlet_c", 23.0), (0, NODE, "power_kw", 1.0)))
    assert second.tail(cursor)[0].rows() == rows((0, RACK, "inlet_c", 23.0), (0, NODE, "power_kw", 1.0)).rows()
    assert second.refused() == {"not_a_number": 1}
    second.close()


def test_reading_only_changes_nothing_and_needs_a_file(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.sqlite"
    with pytest.raises(StoreUnavailable, match="no telemetry yet"):
        SqliteStore(path, read_only=True)
    assert not path.exists()
    SqliteStore(path).close()
    reader = SqliteStore(path, read_only=True)
    with pytest.raises(StoreUnavailable, match="readonly"):
        reader.write(rows((0, RACK, "inlet_c", 22.0)))
    reader.close()


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.sqlite"
    SqliteStore(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE meta SET value = '99'")
    raw.close()
    for read_only in (False, True):
        with pytest.raises(StoreUnavailable, match=r"newer Foretwin \(schema 99\)"):
            SqliteStore(path, read_only=read_only)


def test_other_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.sqlite"
    garbage.write_text("not a database at all, but long enough to be looked at " * 4)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as raw:
        raw.execute("CREATE TABLE t (x)")
    raw.close()
    (tmp_path / "empty.sqlite").touch()
    cases = [("garbage", "not a database"), ("other", "not a Foretwin"), ("empty", "not a Foretwin")]
    for (name, says), read_only in itertools.product(cases, (False, True)):
        before = (tmp_path / f"{name}.sqlite").read_bytes()
        with pytest.raises(StoreUnavailable, match=says):
            SqliteStore(tmp_path / f"{name}.sqlite", read_only=read_only)
        assert (tmp_path / f"{name}.sqlite").read_bytes() == before
    with pytest.raises(StoreUnavailable):
        SqliteStore(tmp_path)


# --- the board ------------------------------------------------------------------------------------------------------


def test_the_board_keeps_the_last_posting_and_its_history(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.sqlite"
    board = Board(path)
    reader = Board(path, read_only=True)
    assert reader.get_json("risks") is None
    board.put_json("risks", {"p": [0.1, None]}, NOW_MS)
    board.put_all({"risks": [1], "clock": {"now_ms": NOW_MS}}, NOW_MS + 1)
    posting = reader.get_json("risks")
    assert posting is not None
    assert (posting.value, posting.updated_ms) == ([1], NOW_MS + 1)
    assert reader.keys() == ["clock", "risks"]
    board.add_history("risk", NOW_MS, [(RACK, {"p": 0.1}), (NODE, {"p": 0.2})])
    board.add_history("risk", NOW_MS + 15_000, [(RACK, {"p": 0.3})])
    assert reader.history("risk", NOW_MS, NOW_MS + 15_000, RACK) == [(NOW_MS, RACK, {"p": 0.1})]
    assert len(reader.history("risk", 0, LATEST_MS)) == 3
    with pytest.raises(ValueError, match="JSON"):
        board.put_json("risks", math.nan, NOW_MS)
    board.close()
    reader.close()


def test_events_of_no_component_or_of_another_time_are_refused() -> None:
    gate, now_ms = Gate({"a/r1": "rack"}), 1_700_000_000_000
    events = [
        Event(now_ms, "a/r1", "alarm", "cr"),
        Event(now_ms, "a/r9", "alarm", "cr"),
        Event(now_ms + 2 * FUTURE_LIMIT_MS, "a/r1", "alarm", "cr"),
        Event(1_000, "a/r1", "alarm", "cr"),
    ]
    good, bad = gate.admit_events(events, now_ms)
    assert good == events[:1]
    assert [one.reason for one in bad] == ["unknown_component", "in_the_future", "before_2000"]
