"""More of what a real InfluxDB does to a writer: sick answers, half-open connections, forgotten writes, odd names."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from pathlib import Path

import influx_world
import numpy as np
import pytest
from influx_world import NODE, NOW_MS, RACK, SickFront, Site, account_is_right, one
from servers import InfluxServer

from plant.errors import ConfigError, StoreUnavailable
from twin.telemetry import confirmed, influx_write
from twin.telemetry.influx_lines import LineBuilder
from twin.telemetry.influx_query import Address, InfluxQuery, parsed
from twin.telemetry.influx_store import InfluxStore
from twin.telemetry.probe import Probe
from twin.telemetry.spool import Spool
from twin.telemetry.store import LATEST_MS, Batch, Event, Refusal

server, site, front = influx_world.server, influx_world.site, influx_world.front
DISK_FULL = '{"error":"engine: error writing WAL entry: no space left on device"}'
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def values(store: InfluxStore) -> list[float]:
    return store.read([NODE], ["power_kw"], 0, LATEST_MS).value.tolist()


@pytest.mark.servers
@pytest.mark.parametrize(
    "answer",
    [
        (500, DISK_FULL),
        (507, DISK_FULL),
        (503, "<html>busy</html>"),
        (429, '{"message":"slow down"}'),
        (413, "<html>too large</html>"),
        (400, "<html>bad gateway page</html>"),
        (401, '{"message":"unauthorized access"}'),
        (404, '{"error":"database not found: \\"faults\\""}'),
    ],
)
def test_an_answer_that_blames_no_line_costs_nothing(site: Site, front: SickFront, answer: tuple[int, str]) -> None:
    store = site.store(front.url)
    store.write(one(0, n=10))
    store.flush()
    front.answer = answer
    for k in range(1, 4):
        store.write(one(k, n=10))
    assert not store.drain()
    done = store.delivery()
    assert (done.sent, done.stored, done.spooled, done.rejected) == (40, 10, 30, 0)
    assert site.server.token not in done.trouble
    assert len(front.writes) < 60, "a refusal is not asked for line by line"
    front.answer = None
    assert site.drained(store)
    assert site.count() == 40
    assert not (site.spool / "rejected.txt").exists()


@pytest.mark.servers
def test_a_server_that_asks_for_a_pause_gets_it(site: Site, front: SickFront) -> None:
    store = site.store(front.url)
    front.answer, front.headers = (429, "{}"), {"Retry-After": "2"}
    store.write(one(0))
    assert not store.drain()
    asked = len(front.writes)
    time.sleep(0.7)
    assert len(front.writes) == asked
    front.answer = None
    assert site.drained(store), "somebody who asks for a drain does not wait"


@pytest.mark.servers
def test_a_half_open_connection_is_left_and_what_it_took_is_sent_again(site: Site, front: SickFront) -> None:
    store = site.store(front.url, timeout_s=0.4)
    store.write(one(0))
    store.flush()
    front.silent = True
    begun_s = time.monotonic()
    for k in range(1, 40):
        store.write(one(k))
    assert time.monotonic() - begun_s < 2.0, "writers never wait for a silent server"
    assert not store.drain()
    assert "does not answer" in store.delivery().trouble
    front.silent = False
    assert site.drained(store)
    assert site.count() == 40


@pytest.mark.servers
def test_a_correction_wins_however_the_outage_falls(site: Site, front: SickFront) -> None:
    store = site.store(front.url)
    store.write(one(0, 1.0))
    front.answer = (503, "")
    for value in (2.0, 3.0, 4.0):
        store.write(one(0, value))
    assert not store.drain()
    front.answer = None
    store.write(one(0, 5.0))
    assert site.drained(store)
    assert values(store) == [5.0]


@pytest.mark.servers
def test_out_of_order_and_repeated_readings_are_one_each(site: Site) -> None:
    store = site.store()
    year_s = 365 * 86_400
    for second in (0, 30, -15, 15, -year_s, 30, 30, year_s):
        store.write(one(second, float(second)))
    store.flush()
    assert values(store) == [float(second) for second in (-year_s, -15, 0, 15, 30, year_s)]
    assert store.delivery().stored == 8


@pytest.mark.servers
def test_what_is_no_number_is_marked_as_invalid_and_the_rest_goes_in(site: Site) -> None:
    store = site.store()
    store.write(one(0, 5.0))
    bad = [(NOW_MS + 1000 * k, NODE, "power_kw", v) for k, v in ((1, math.nan), (2, math.inf), (3, 6.0), (4, 7.0))]
    assert store.write(Batch.from_rows(bad)) == 2
    store.flush()
    assert values(store) == [5.0, 6.0, 7.0]
    (series,) = site.server.query("SELECT power_kw_ok FROM node", site.database)
    # Written where it changes: with the first reading, at each refused one, with the first good one after it.
    assert [row[1] for row in series["values"]] == [1, 0, 0, 1]


EVIL = ("x' OR 1=1", 'x"', "a\\", "a\nb", "a,b", "a b", "a=b", "x;DROP DATABASE faults", "x'; DROP DATABASE faults; --")


@pytest.mark.servers
@pytest.mark.parametrize("evil", EVIL)
def test_odd_names_are_refused_before_they_reach_a_line_or_a_query(site: Site, evil: str) -> None:
    store = site.store()
    store.write(one(0))
    assert store.write(Batch.from_rows([(NOW_MS, evil, "power_kw", 1.0), (NOW_MS, NODE, evil, 1.0)])) == 0
    assert (
        store.write_events([Event(NOW_MS, evil, "alarm"), Event(NOW_MS, NODE, evil), Event(NOW_MS, NODE, "a", evil)])
        == 0
    )
    store.refuse(NODE, evil, NOW_MS, 1.0, "unknown_channel")
    store.write_risks(NOW_MS, [risk(component=evil), risk(kind=evil)])
    store.write_sync(NOW_MS, [{"channel": evil, "rmse": 1.0}], in_sync=True, age_s=1.0)
    store.flush()
    assert values(store) == [5.0]
    assert store.components() == [NODE]
    assert [s["name"] for s in site.server.query("SELECT * FROM risk", site.database)] == []
    assert store.delivery().rejected == 0
    for place in ({"site": evil}, {"database": evil}, {"kind_of": {NODE: evil}}):
        with pytest.raises(ConfigError):
            site.store(**place)


@pytest.mark.servers
def test_events_may_say_anything_even_in_bad_company(site: Site) -> None:
    """A line the server refuses is found among lines whose text holds line ends and quotes."""
    site.write_raw(f"node,component={NODE},site=hk util_frac=1i {NOW_MS}000000")
    store = site.store(check=False)
    said = 'one "two"\nthree \\ four, five=6\r\n#'
    site.server.stop_database()
    for k in range(4):
        store.write_events([Event(NOW_MS + k, NODE, "alarm", "", said)])
        store.write(Batch.from_rows([(NOW_MS + k, NODE, "util_frac", 0.5)]))
    site.server.start_database()
    assert site.drained(store)
    assert [event.text for event in store.events(0, LATEST_MS)] == [said] * 4
    assert store.delivery().rejected == 4
    assert account_is_right(store)


@pytest.mark.servers
def test_what_the_database_confirmed_and_forgot_is_sent_again(tmp_path: Path) -> None:
    """1.6.7 after a full disk: behind a torn entry of its log it confirms writes that its second restart cuts off."""
    with InfluxServer(tmp_path / "server", disk_mb=48) as server:
        if server.disk is None:
            pytest.skip("influx: a file system of its own could not be mounted (root may)")
        server.create_database("full")
        store = InfluxStore(
            server.url, "full", server.token, site="hk", spool=tmp_path / "spool", kind_of={NODE: "node"}, timeout_s=1.0
        )
        store.write(one(0, n=500))
        store.flush()
        server.fill_disk()
        for k in range(1, 20):
            store.write(one(k, float(k), n=500))
        assert not store.drain()
        server.free_disk()
        server.stop_database()
        server.start_database()
        assert store.drain()
        assert store.delivery().again == 0
        server.stop_database(signal.SIGKILL)
        server.start_database()
        forgotten = 20 * 500 - len(store.read(None, None, 0, LATEST_MS))
        store.write(one(20, n=500))
        assert store.drain()
        assert len(store.read(None, None, 0, LATEST_MS)) == 21 * 500
        assert (store.delivery().again > 0) == (forgotten > 0)
        assert store.delivery().rejected == 0
        store.close()


@pytest.mark.servers
def test_a_later_process_finds_out_that_the_database_forgot(site: Site) -> None:
    first = site.store()
    for k in range(5):
        first.write(one(k, float(k)))
    first.flush()
    first.close()
    site.server.query("DROP SERIES FROM /.*/", site.database)
    second = site.store()
    second.write(one(9, 9.0))
    second.flush()
    assert values(second) == [0.0, 1.0, 2.0, 3.0, 4.0, 9.0]
    assert second.delivery().sent == 1


@pytest.mark.servers
def test_a_reading_that_cannot_come_back_is_not_sent_for_ever(site: Site) -> None:
    site.write_raw(f"node,component={NODE},site=hk util_frac=1i {NOW_MS}000000")
    site.server.query(f'CREATE RETENTION POLICY "day" ON "{site.database}" DURATION 1d REPLICATION 1', "")
    for database in (site.database, f"{site.database}/day"):
        store = site.store(database=database, spool=site.spool / database.replace("/", "_"))
        for k in range(6):
            # The first line of each block is refused: a field of another type, or older than the policy keeps.
            store.write(Batch.from_rows([(NOW_MS + k, NODE, "util_frac", 0.5)]))
            store.flush()
            time.sleep(0.1)
        assert store.delivery().again == 0
        assert account_is_right(store)


@pytest.mark.servers
@pytest.mark.parametrize("says_started", [True, False])
def test_what_somebody_deletes_is_sent_again_only_by_one_who_cannot_tell_it_from_a_restart(
    site: Site, says_started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not says_started:
        monkeypatch.setattr(InfluxQuery, "started", lambda self: None)
    store = site.store()
    for k in range(6):
        store.write(one(k))
        store.flush()
        site.server.query("DROP MEASUREMENT node", site.database)
        time.sleep(0.1)
    assert (store.delivery().again > 0) != says_started
    assert store.delivery().again <= 6 * 6, "a few times for each time that it was gone"


@pytest.mark.servers
def test_confirmed_blocks_take_little_room(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmed, "KEPT_BYTES", 4_000)
    store = site.store()
    for k in range(50):
        store.write(one(k, n=10))
    store.flush()
    kept = list(site.spool.glob("*.sent"))
    assert 0 < sum(path.stat().st_size for path in kept) < 4_000 + 1_000
    monkeypatch.setattr(confirmed, "KEPT_BLOCKS", 2)
    for k in range(50, 60):
        store.write(one(k))
        store.flush()
    assert len(list(site.spool.glob("*.sent"))) == 2
    assert Spool(site.spool).numbers() == []


@pytest.mark.servers
def test_memory_stays_bounded_while_the_disk_takes_what_the_server_does_not(
    site: Site, front: SickFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influx_write, "HELD_BYTES", 10_000)
    store = site.store(front.url)
    front.answer = (503, "")
    for k in range(100):
        store.write(one(k, n=20))
    assert store._writer._account.held_bytes <= 10_000
    front.answer = None
    assert site.drained(store)
    assert site.count() == 2_000
    assert store._writer._account.held_bytes == 0


@pytest.mark.servers
def test_a_full_disk_of_ours_is_said_and_nothing_is_acknowledged(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    store = site.store()
    store.write(one(0))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("twin.telemetry.spool.os.link", full)
        with pytest.raises(StoreUnavailable, match="No space left"):
            store.write(one(1))
    assert list(site.spool.glob("*.part")) == []
    store.write(one(2))
    store.flush()
    assert site.count() == 2
    assert account_is_right(store)


@pytest.mark.servers
def test_threads_write_side_by_side_and_the_last_value_wins(site: Site) -> None:
    store = site.store()
    names = [f"hk/t{n}" for n in range(6)]

    def write(name: str) -> None:
        for k in range(60):
            store.write(
                Batch.from_rows([(NOW_MS, name, "power_kw", float(k)), (NOW_MS + k + 1, name, "power_kw", 1.0)])
            )

    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.flush()
    assert store.read(None, None, NOW_MS, NOW_MS + 1).rows() == [(NOW_MS, name, "power_kw", 59.0) for name in names]
    assert len(store.read(None, None, 0, LATEST_MS)) == 6 * 61


@pytest.mark.servers
@pytest.mark.parametrize(
    ("scheme", "token"),
    [("Token", "twin-test-token"), ("Bearer", "twin-test-token"), ("Basic", "user:twin-test-token")],
)
@pytest.mark.parametrize("policy", ["", "/short"])
def test_each_way_in_and_a_retention_policy_in_the_name(site: Site, scheme: str, token: str, policy: str) -> None:
    if policy:
        site.server.query(f'CREATE RETENTION POLICY "short" ON "{site.database}" DURATION INF REPLICATION 1')
    store = site.store(scheme=scheme, token=token, database=site.database + policy)
    store.write(one(0))
    store.flush()
    assert values(store) == [5.0]
    where = f'"{policy.strip("/") or "autogen"}".node'
    assert site.server.query(f"SELECT power_kw FROM {where}", site.database)[0]["values"][0][1] == 5.0
    posted = InfluxQuery(site.server.url, site.database + policy, token, scheme=scheme, method="POST")
    assert len(posted.rows("node", ["power_kw"], "time > 0")) == 1
    posted.close()


def risk(component: str = NODE, kind: str = "node", **changes: object) -> dict[str, object]:
    said = {
        "component": component, "kind": kind, "at_ms": NOW_MS, "p_fail": {"600": 0.01, "3600": 0.25},
        "ttf_quantiles_s": [100.0, 200.0, None], "tier": "lstm", "reasons": ["x"], "model": "node 2c\"1",
        "age_s": 4.0, "unknown": False, "act": True,
    }  # fmt: skip
    return said | changes


@pytest.mark.servers
def test_risk_and_sync_lie_as_dashboards_ask_for_them(site: Site) -> None:
    store = site.store()
    store.write_risks(
        NOW_MS,
        [
            risk(),
            risk(
                RACK,
                "rack",
                p_fail={"600": None},
                ttf_quantiles_s=None,
                unknown=True,
                act=False,
                age_s=None,
                model=None,
                tier="base_rate",
            ),
        ],
    )
    rows = [
        {
            "channel": "rack.inlet_c",
            "horizon_s": 600,
            "rmse": 0.2,
            "nmbe": None,
            "coverage80": 0.8,
            "n": 7,
            "stale": math.nan,
        }
    ]
    store.refuse(RACK, "inlet_c", NOW_MS, math.nan, "not_a_number")
    store.write_sync(NOW_MS, rows, in_sync=False, age_s=12.5)
    store.flush()

    def last(statement: str) -> dict[str, object]:
        (series,) = site.server.query(statement, site.database)
        return dict(zip(series["columns"], series["values"][0], strict=True))

    found = last(f"SELECT * FROM risk WHERE component = '{NODE}'")
    assert found == {
        "time": "2022-12-18T08:00:00Z", "component": NODE, "kind": "node", "site": "hk", "p_fail_600s": 0.01,
        "p_fail_3600s": 0.25, "ttf_q10_s": 100, "ttf_q50_s": 200, "act": 1, "unknown": 0, "age_s": 4,
        "tier": "lstm", "model": 'node 2c"1',
    }  # fmt: skip
    unknown = last(f"SELECT * FROM risk WHERE component = '{RACK}'")
    assert (unknown["unknown"], unknown["p_fail_600s"], unknown["age_s"]) == (1, None, None)
    panel = 'SELECT last("p_fail_3600s") FROM "risk" WHERE "site" = \'hk\' GROUP BY "component"'
    assert [s["tags"]["component"] for s in site.server.query(panel, site.database)] == [NODE]
    synced = last("SELECT * FROM sync WHERE channel = 'rack.inlet_c' AND horizon_s = '600'")
    assert (synced["rmse"], synced["coverage80"], synced["n"], synced["in_sync"], synced["age_s"]) == (
        0.2,
        0.8,
        7,
        0,
        12.5,
    )
    assert "nmbe" not in synced
    whole = last("SELECT * FROM sync WHERE channel = 'all'")
    assert (whole["refused"], whole["spooled"], whole["rejected"]) == (1, 0, 0)
    # None of it is telemetry: the worker must not read its own words back.
    assert (len(store.read(None, None, 0, LATEST_MS)), store.components(), store.newest()) == (0, [], {})
    assert store.delivery().sent == 0


# --- no server needed -----------------------------------------------------------------------------------------------


def test_the_json_of_version_3_core_is_read_too() -> None:
    """No `tags` beside the columns: what is grouped by is a column, and one series holds all groups."""
    query = InfluxQuery("http://127.0.0.1:1", "db", "t")
    three = {
        "name": "rack",
        "columns": ["time", "component", "last"],
        "values": [[NOW_MS, "a", 1.5], [NOW_MS, "b", None]],
    }
    one_six = [
        {"name": "rack", "tags": {"component": c}, "columns": ["time", "last"], "values": [[NOW_MS, v]]}
        for c, v in (("a", 1.5), ("b", None))
    ]
    for series in ([three], one_six):
        query._get = lambda *_, said=series, **__: (
            json.dumps({"results": [{"statement_id": 0, "series": said}]}).encode() + b"\r\n"
        )
        assert query.records("...") == [
            {"time": NOW_MS, "component": "a", "last": 1.5},
            {"time": NOW_MS, "component": "b", "last": None},
        ]


def test_version_3_core_writes_the_word_null_for_nothing() -> None:
    head = b"name,tags,time,component,inlet_c,outlet_c\n"
    body = (
        head + b"rack,,1671350400000000000,null,22.5,null\n\r\n" + head + b"rack,,1671350415000000000,r2,null,31\n\r\n"
    )
    assert parsed(body, ["inlet_c", "outlet_c"]).rows() == [
        (NOW_MS, "null", "inlet_c", 22.5),
        (NOW_MS + 15_000, "r2", "outlet_c", 31.0),
    ]


def test_an_address_shows_no_secret_and_takes_only_names() -> None:
    address = Address.of("http://h:8086/", "db/rp", "very-secret", "Basic")
    assert "secret" not in repr(address)
    assert (address.url, address.query_fields()) == ("http://h:8086", {"db": "db", "rp": "rp"})
    assert Address.of("http://h", "db", "user:pw", "Basic").headers() == {"Authorization": "Basic dXNlcjpwdw=="}
    assert Address.of("http://h", "db", "").headers() == {}
    for bucket in ("", "a/b/c", "a b", "a/", "x';DROP", "a&rp=b"):
        with pytest.raises(ConfigError):
            Address.of("http://h", bucket, "t")


def test_lines_say_each_reading_once_and_in_order() -> None:
    builder = LineBuilder("hk", {NODE: "node"}, 1)
    late_first = [
        (2, NODE, "a", 1.0),
        (1, NODE, "b", 2.5),
        (1, NODE, "a", -0.0),
        (1, NODE, "a", 1e-7),
        (2, "x", "a", 1e300),
    ]
    (block,) = builder.blocks(Batch.from_rows(late_first))
    assert block.readings == 5
    assert block.data.decode().splitlines() == [
        f"node,component={NODE},site=hk a=-0,a_ok=1 1000000",
        f"node,component={NODE},site=hk a=1e-7,b=2.5,b_ok=1 1000000",
        f"node,component={NODE},site=hk a=1 2000000",
        "component,component=x,site=hk a=1e+300,a_ok=1 2000000",
    ]
    (again,) = builder.blocks(Batch.from_rows([(3, NODE, "a", 1.0), (3, NODE, "b", 2.0)]))
    assert again.data == f"node,component={NODE},site=hk a=1,b=2 3000000\n".encode()
    assert builder.invalid_line(Refusal(4, NODE, "b", math.nan, "x")) == (
        0,
        f"node,component={NODE},site=hk b_ok=0 4000000\n",
    )
    assert builder.invalid_line(Refusal(4, NODE, "never", math.nan, "x")) is None
    (after,) = builder.blocks(Batch.from_rows([(5, NODE, "a", 1.0), (5, NODE, "b", 2.0)]))
    assert after.data == f"node,component={NODE},site=hk a=1,b=2,b_ok=1 5000000\n".encode()


def test_every_bit_of_a_value_survives_the_text() -> None:
    rng = np.random.default_rng(0)
    value = np.frombuffer(rng.bytes(8 * 20_000), dtype="<f8")
    value = value[np.isfinite(value)]
    n = len(value)
    blocks = LineBuilder("hk", {}, 2).blocks(Batch.of(np.arange(n), [f"c{i % 7}" for i in range(n)], ["x"] * n, value))
    text = b"".join(block.data for block in blocks).decode()
    said = {
        int(line.rsplit(" ", 1)[1]) // 1_000_000: float(line.split(" ")[1].split(",")[0][2:])
        for line in text.splitlines()
    }
    assert np.array([said[i] for i in range(n)]).tobytes() == value.tobytes()


def test_unfinished_files_of_the_dead_are_swept_and_those_of_the_living_left(tmp_path: Path) -> None:
    (tmp_path / "000000000007.999999999.part").write_bytes(b"half a li")
    (tmp_path / "000000000008.1.part").write_bytes(b"being written")
    assert Spool(tmp_path).numbers() == []
    assert [path.name for path in tmp_path.iterdir()] == ["000000000008.1.part"]


@pytest.mark.parametrize("lost", [set(), {9}, {7, 8, 9}, {4, 5, 6}, set(range(10))])
@pytest.mark.parametrize("without", [set(), {5, 8}])
def test_the_first_block_that_is_gone_is_found_whatever_is_lost(
    tmp_path: Path, lost: set[int], without: set[int]
) -> None:
    """Block 4 was the first after an outage; blocks `without` hold only events, by which one cannot ask."""
    spool = Spool(tmp_path)
    kept = confirmed.Confirmed(spool, [])
    for n in range(10):
        line = (
            b'event,component=x,site=hk,type=a text="\\\\" 1\n'
            if n in without
            else b"node,component=c%d,site=hk x=1 1\n" % n
        )
        kept.add(spool.put(line, 1).number, len(line), whole=True)
    kept.mark(5, b"node,component=c4,site=hk x=1 1\n")
    asked = []

    def is_there(probe: Probe) -> bool:
        asked.append(probe)
        return int(dict(probe.tags)["component"][1:]) not in lost

    found = kept.first_gone(is_there)
    assert (found is None) == (not lost)
    assert found is None or found - 1 <= min(lost), "all that is gone comes after it"
    assert found is None or found - 1 >= min(lost) - 1 - len(without), "and not much more"
    assert len(asked) <= 7
