"""What may be forgotten and what may not: retention, migration of older files, export to Parquet and back."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from plant.errors import ConfigError, StoreUnavailable
from recovery.ledger import Ledger
from twin.board import Board
from twin.telemetry import sqlite_file
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.retention import ARRIVALS_KEPT_MS, DAY_MS, SPAN_MS, Keep
from twin.telemetry.schema import kept_path
from twin.telemetry.sqlite_file import SCHEMA
from twin.telemetry.sqlite_store import SqliteStore
from twin.telemetry.store import LATEST_MS, Batch, Event, Store
from verbs import export

NOW_MS = 1_700_000_000_000
RACKS = ("east/h1/r1", "east/h1/r2")
Row = tuple[int, str, str, float]


def rows(*given_rows: Row) -> Batch:
    return Batch.from_rows(given_rows)


def both(n: int, at_ms: int) -> Batch:
    return rows((at_ms, RACKS[n % 2], "inlet_c", 20.0 + n), (at_ms, RACKS[n % 2], "outlet_c", 30.0 + n))


def fill(store: Store, times_ms: list[int]) -> None:
    for n, at_ms in enumerate(times_ms):
        store.write(both(n, at_ms))
        store.write_events([Event(at_ms, RACKS[n % 2], "alarm", str(n))])


def drop(store: Store, keep: Keep) -> None:
    while store.retain(keep).more:
        pass


def answers(store: Store) -> dict[str, object]:
    return {
        "read": store.read(None, None, 0, LATEST_MS).rows(),
        "newest": store.newest(),
        "newest inlet": store.newest("inlet_c"),
        "components": store.components(),
        "events": store.events(0, LATEST_MS),
    }


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "telemetry.sqlite")
    yield made
    made.close()


# --- retention --------------------------------------------------------------------------------


@settings(max_examples=8)
@given(
    spans=st.lists(st.integers(-40, 3), min_size=1, max_size=6),
    readings=st.integers(-40, 1),
    events=st.integers(-40, 1),
)
def test_what_is_dropped_had_never_been_written(tmp_path_factory, spans, readings, events):
    """After retention both stores answer as a store would that only ever saw what is kept."""
    times = [NOW_MS + n * SPAN_MS // 2 + 7 for n in spans]
    keep = Keep(NOW_MS + readings * SPAN_MS // 2, NOW_MS + events * SPAN_MS // 2, NOW_MS)
    folder = tmp_path_factory.mktemp("kept")
    for n, made in enumerate((MemoryStore, SqliteStore)):
        here = made() if made is MemoryStore else made(folder / f"{n}.sqlite")
        fresh = made() if made is MemoryStore else made(folder / f"fresh{n}.sqlite")
        fill(here, times)
        drop(here, keep)
        for k, at_ms in enumerate(times):
            if at_ms >= keep.first_kept_ms:
                fresh.write(both(k, at_ms))
            if at_ms >= keep.events_ms:
                fresh.write_events([Event(at_ms, RACKS[k % 2], "alarm", str(k))])
        assert answers(here) == answers(fresh)
        here.close()
        fresh.close()


def test_more_than_one_call_takes_is_said_and_goes_on(tmp_path):
    store = SqliteStore(tmp_path / "telemetry.sqlite")
    fill(store, [NOW_MS - n * SPAN_MS for n in range(1, 41)])
    keep = Keep(NOW_MS, NOW_MS, NOW_MS)
    first = store.retain(keep)
    assert first.more
    assert 0 < first.readings < 80
    drop(store, keep)
    assert len(store.read(None, None, 0, LATEST_MS)) == 0
    store.close()


def test_the_file_shrinks(tmp_path):
    path = tmp_path / "telemetry.sqlite"
    store = SqliteStore(path)
    for n in range(20):
        at_ms = NOW_MS - n * SPAN_MS
        store.write(rows(*((at_ms, f"east/h1/r{k}", "inlet_c", 20.0) for k in range(2000))))
    store.close()
    full = path.stat().st_size
    store = SqliteStore(path)
    drop(store, Keep(NOW_MS, NOW_MS, NOW_MS + SPAN_MS))
    store.close()
    assert path.stat().st_size < full / 2


def test_a_follower_that_is_behind_misses_nothing_of_the_last_hours(tmp_path):
    store = SqliteStore(tmp_path / "telemetry.sqlite")
    fill(store, [NOW_MS - ARRIVALS_KEPT_MS - 3_600_000, NOW_MS - ARRIVALS_KEPT_MS + 1, NOW_MS])
    drop(store, Keep.days(NOW_MS, 30.0, 365.0))
    batch, cursor = store.tail(0)
    assert sorted(set(batch.time_ms.tolist())) == [NOW_MS - ARRIVALS_KEPT_MS + 1, NOW_MS]
    assert cursor == store.tail_end()
    store.close()


def test_a_late_reading_stays_while_a_younger_one_came_before_it(tmp_path):
    """Arrivals go in their order, so that no cursor ever jumps over something that is still to be read."""
    store = SqliteStore(tmp_path / "telemetry.sqlite")
    fill(store, [NOW_MS, NOW_MS - DAY_MS])
    drop(store, Keep.days(NOW_MS, 30.0, 365.0))
    assert len(store.tail(0)[0]) == 4
    store.close()


def test_a_cursor_holds_when_all_arrivals_are_gone(tmp_path):
    store = SqliteStore(tmp_path / "telemetry.sqlite")
    fill(store, [NOW_MS])
    cursor = store.tail_end()
    drop(store, Keep(NOW_MS + DAY_MS, NOW_MS + DAY_MS, NOW_MS + DAY_MS))
    assert (len(store.tail(cursor)[0]), store.tail_end()) == (0, cursor)
    fill(store, [NOW_MS + DAY_MS])
    assert len(store.tail(cursor)[0]) == 2
    store.close()


def test_retention_goes_on_while_somebody_writes(tmp_path):
    path = tmp_path / "telemetry.sqlite"
    store, writer = SqliteStore(path), SqliteStore(path)
    fill(store, [NOW_MS - n * SPAN_MS for n in range(1, 60)])
    thread = threading.Thread(target=fill, args=(writer, [NOW_MS + n for n in range(60)]))
    thread.start()
    drop(store, Keep(NOW_MS, NOW_MS, NOW_MS))
    thread.join()
    assert len(store.read(None, None, 0, LATEST_MS)) == 120
    writer.close()
    store.close()


def test_the_boards_history_is_kept_as_long_as_readings(tmp_path):
    board = Board(tmp_path / "telemetry.sqlite")
    for at_ms in (NOW_MS - DAY_MS, NOW_MS):
        board.add_history("risk", at_ms, [("r1", {"p": 0.5})])
    assert board.retain(NOW_MS) == 1
    assert [at_ms for at_ms, _, _ in board.history("risk", 0, LATEST_MS)] == [NOW_MS]
    board.close()


# --- older files ------------------------------------------------------------------------------


def file_of_version_1(path: Path) -> None:
    """A telemetry file as the first version wrote it, with one reading."""
    old = SCHEMA.replace(",\n    newest_ms INTEGER NOT NULL DEFAULT -1);\nCREATE TABLE event", ");\nCREATE TABLE event")
    assert old != SCHEMA
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        raw.executescript(old)
        raw.execute("INSERT INTO meta VALUES ('schema_version', '1')")
        raw.execute("INSERT INTO component VALUES (1, ?)", (RACKS[0],))
        raw.execute("INSERT INTO channel VALUES (1, 'inlet_c', 0)")
        raw.execute("INSERT INTO series VALUES (1, 1, 1, ?, 21.5)", (NOW_MS,))
        raw.execute("INSERT INTO span VALUES (?)", (NOW_MS // SPAN_MS,))
        raw.execute("INSERT INTO reading VALUES (?, 1, ?, 21.5)", (NOW_MS // SPAN_MS, NOW_MS))
        blobs = ((1).to_bytes(4, "little"), NOW_MS.to_bytes(8, "little"), b"\0" * 8)
        raw.execute("INSERT INTO arrival (series, time_ms, value) VALUES (?, ?, ?)", blobs)
    raw.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_an_older_file_is_migrated_and_kept_beside(tmp_path, read_only):
    path = tmp_path / "telemetry.sqlite"
    file_of_version_1(path)
    store = SqliteStore(path, read_only=read_only)
    assert store.read(None, None, 0, LATEST_MS).rows() == [(NOW_MS, RACKS[0], "inlet_c", 21.5)]
    assert len(store.tail(0)[0]) == 1
    store.close()
    with sqlite3.connect(kept_path(path, 1)) as old:
        assert old.execute("SELECT value FROM meta").fetchone() == ("1",)
        assert old.execute("SELECT count(*) FROM reading").fetchone() == (1,)
    old.close()
    again = SqliteStore(path)
    drop(again, Keep(NOW_MS + DAY_MS, NOW_MS, NOW_MS))
    assert again.components() == []
    again.close()


def test_a_migration_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "telemetry.sqlite"
    file_of_version_1(path)
    monkeypatch.setattr(
        sqlite_file, "MIGRATIONS", {2: (*sqlite_file.MIGRATIONS[2], "INSERT INTO elsewhere VALUES (1)")}
    )
    with pytest.raises(StoreUnavailable, match="no such table"):
        SqliteStore(path)
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT value FROM meta").fetchone() == ("1",)
        assert "newest_ms" not in raw.execute("SELECT sql FROM sqlite_master WHERE name = 'arrival'").fetchone()[0]
    raw.close()


def test_many_may_come_at_once_and_one_migrates(tmp_path):
    path = tmp_path / "telemetry.sqlite"
    file_of_version_1(path)
    found: list[int] = []

    def look() -> None:
        store = SqliteStore(path)
        found.append(len(store.read(None, None, 0, LATEST_MS)))
        store.close()

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 6


def test_a_ledger_without_a_known_version_is_refused(tmp_path):
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE meta SET value = '0' WHERE name = 'schema_version'")
    raw.close()
    with pytest.raises(StoreUnavailable, match="schema 0"):
        Ledger(path)


# --- export -----------------------------------------------------------------------------------


def exported(tmp_path: Path, store: Store, **more: object) -> dict[str, object]:
    given_to = {"begin": None, "end": None, "component": None, "channel": None, "site": None, "force": False} | more
    return export.run(lambda: store, str(tmp_path / "history.parquet"), **given_to)  # type: ignore[arg-type]


@settings(max_examples=examples(15))
@given(
    st.lists(
        st.tuples(
            st.integers(NOW_MS, NOW_MS + 5 * DAY_MS),
            st.sampled_from(RACKS),
            st.sampled_from(["inlet_c", "outlet_c"]),
            st.floats(-20, 60),
        ),
        max_size=30,
    )
)
def test_what_is_exported_is_what_was_kept(tmp_path_factory, written):
    import pyarrow.parquet as pq

    folder, store = tmp_path_factory.mktemp("export"), MemoryStore()
    store.write(rows(*written))
    told = exported(folder, store)
    table = pq.read_table(folder / "history.parquet").to_pydict()
    back = list(
        zip((round(at.timestamp() * 1000) for at in table["time"]), table["component"], table["channel"],
            table["value"], strict=True)
    )  # fmt: skip
    assert back == store.read(None, None, 0, LATEST_MS).rows()
    assert told["items"][0]["rows"] == len(back)  # type: ignore[index]
    assert set(table["unit"]) <= {"C"}


def test_an_export_can_be_cut_and_carries_events(tmp_path):
    import pyarrow.parquet as pq

    store = MemoryStore()
    fill(store, [NOW_MS + n * 60_000 for n in range(10)])
    exported(tmp_path, store, begin="2023-11-14T22:15:00Z", component="*/r2", channel="outlet_c")
    table = pq.read_table(tmp_path / "history.parquet").to_pydict()
    assert set(table["component"]) == {RACKS[1]}
    assert set(table["channel"]) == {"outlet_c"}
    assert min(at.isoformat() for at in table["time"]) >= "2023-11-14T22:15"
    events = pq.read_table(tmp_path / "history.events.parquet").to_pydict()
    assert set(events["component"]) == {RACKS[1]}
    assert set(events["type"]) == {"alarm"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"begin": "yesterday"}, "an ISO instant"),
        ({"begin": "2026-01-02", "end": "2026-01-01"}, "is not before"),
        ({"channel": "inlet"}, "one of"),
    ],
)
def test_a_bad_export_is_refused_and_writes_nothing(tmp_path, more, says):
    with pytest.raises(ConfigError, match=says):
        exported(tmp_path, MemoryStore(), **more)
    assert list(tmp_path.iterdir()) == []


def test_an_export_replaces_nothing_unasked(tmp_path):
    (tmp_path / "history.parquet").write_text("mine")
    with pytest.raises(ConfigError, match="already there"):
        exported(tmp_path, MemoryStore())
    assert (tmp_path / "history.parquet").read_text() == "mine"
    assert exported(tmp_path, MemoryStore(), force=True)["ok"]
