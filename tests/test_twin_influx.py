"""InfluxDB when things go wrong: each fault was first seen on a real server. The last tests need none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import influx_world
import numpy as np
import pytest
from influx_world import NODE, NOW_MS, RACK, Site, account_is_right, one
from servers import InfluxServer, free_ports

from plant.errors import ConfigError, StoreUnavailable
from twin.telemetry.influx_query import InfluxQuery, parsed, quoted, text
from twin.telemetry.influx_store import InfluxStore
from twin.telemetry.influx_write import HELD_BYTES
from twin.telemetry.spool import Kept, Spool
from twin.telemetry.store import LATEST_MS, Batch

server, site = influx_world.server, influx_world.site


@pytest.mark.servers
def test_wrong_token_unknown_database_and_no_server_are_told_apart(server: InfluxServer, tmp_path: Path) -> None:
    def found(url: str, database: str, token: str) -> str:
        with pytest.raises(StoreUnavailable) as caught:
            InfluxStore(url, database, token, site="hk", spool=tmp_path)
        assert token not in str(caught.value)
        assert caught.value.cure
        return str(caught.value)

    server.create_database("there")
    assert "token was refused (401)" in found(server.url, "there", "wrong-token")
    assert "no such database" in found(server.url, "absent", server.token)
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert "does not answer" in found(nobody, "there", "some-token")


@pytest.mark.servers
def test_killing_the_database_mid_write_loses_nothing_and_stores_nothing_twice(site: Site) -> None:
    store = site.store()
    # InfluxDB 1.6 killed while it makes its first shard never opens that shard again: let it be made.
    store.write(one(-15, n=200))
    store.flush()
    for k in range(59):
        store.write(one(k, n=200))
        if k == 20:
            site.server.stop_database(signal.SIGKILL)
    store.flush()
    done = store.delivery()
    assert done.sent == 60 * 200
    assert done.spooled > 0
    assert done.trouble
    assert account_is_right(store)
    assert Spool(site.spool).readings() == done.spooled
    with pytest.raises(StoreUnavailable, match="down or failing"):
        store.read(None, None, 0, LATEST_MS)
    site.server.start_database()
    assert store.drain(), store.delivery()
    assert store.delivery().spooled == 0
    assert Spool(site.spool).numbers() == []
    assert site.count() == len(store.read([NODE], ["power_kw"], 0, LATEST_MS)) == 60 * 200


@pytest.mark.servers
def test_a_silent_database_neither_blocks_for_long_nor_grows_memory(site: Site) -> None:
    store = site.store()
    site.server.pause_database()
    try:
        for k in range(100):
            store.write(one(k, n=50))
        assert store._writer._account.held_bytes <= HELD_BYTES
        assert account_is_right(store)
    finally:
        site.server.continue_database()
    store.flush()
    store.drain()
    assert site.count() == 100 * 50


ORPHAN = """
import os, sys
import numpy as np
from twin.telemetry.influx_store import InfluxStore
from twin.telemetry.store import Batch
url, database, token, spool = sys.argv[1:]
store = InfluxStore(url, database, token, site="hk", spool=spool, kind_of={"hk/n1": "node"})
for k in range(40):
    time_ms = 1_671_350_400_000 + 1000 * k + np.arange(100)
    store.write(Batch.of(time_ms, ["hk/n1"] * 100, ["power_kw"] * 100, np.full(100, 5.0)))
os.kill(os.getpid(), 9)
"""


@pytest.mark.servers
def test_our_own_sudden_death_loses_no_acknowledged_reading(site: Site) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    arguments = [site.server.url, site.database, site.server.token, str(site.spool)]
    dead = subprocess.run([sys.executable, "-c", ORPHAN, *arguments], env=environment, check=False)
    assert dead.returncode == -signal.SIGKILL
    left = Spool(site.spool).readings()
    assert site.count() + left >= 4000
    site.store()
    assert site.count() == 4000


@pytest.mark.servers
def test_a_store_opened_without_its_server_spools_until_it_is_there(site: Site) -> None:
    site.server.stop_database()
    first = site.store(check=False)
    first.write(one(0, n=10))
    first.close()
    site.server.start_database()
    second = site.store()
    assert second.delivery().stored == 10
    assert len(second.read(None, None, 0, LATEST_MS)) == 10


@pytest.mark.servers
def test_a_field_of_another_type_costs_only_its_own_lines(site: Site) -> None:
    site.write_raw(f"node,component={NODE},site=hk util_frac=1i {NOW_MS}000000")
    store = site.store()
    mixed = Batch.joined([one(0, n=20), Batch.from_rows([(NOW_MS + 5_000, NODE, "util_frac", 0.5)]), one(9, n=20)])
    assert store.write(mixed) == 41
    store.flush()
    done = store.delivery()
    assert (done.sent, done.stored, done.spooled, done.rejected) == (41, 40, 0, 1)
    assert site.count() == 40
    assert "field type conflict" in (site.spool / "rejected.txt").read_text()
    assert store.read([NODE], ["util_frac"], 0, LATEST_MS).rows() == []


@pytest.mark.servers
def test_points_lie_as_dashboards_expect_them(site: Site) -> None:
    store = site.store()
    store.write(Batch.from_rows([(NOW_MS, RACK, "inlet_c", 22.5), (NOW_MS, "hk/new", "inlet_c", 1.0)]))
    store.refuse(RACK, "inlet_c", NOW_MS + 15_000, float("nan"), "not_a_number")
    store.refuse(RACK, "never_written", NOW_MS, 1.0, "unknown_channel")
    store.flush()
    (series,) = site.server.query("SELECT * FROM rack", site.database)
    assert series["columns"] == ["time", "component", "inlet_c", "inlet_c_ok", "site"]  # valid with the first reading
    assert series["values"] == [
        ["2022-12-18T08:00:00Z", RACK, 22.5, 1, "hk"],
        ["2022-12-18T08:00:15Z", RACK, None, 0, "hk"],
    ]
    assert [row[0] for row in site.server.query("SHOW MEASUREMENTS", site.database)[0]["values"]] == [
        "component",
        "rack",
        "sync",
    ]


@pytest.mark.servers
def test_an_empty_csv_answer_is_not_believed(site: Site) -> None:
    store = site.store()
    store.write(one(0))
    store.flush()
    absent = InfluxQuery(site.server.url, "absent", site.server.token)
    with pytest.raises(StoreUnavailable, match="no such database"):
        absent.rows("node", ["power_kw"], "time > 0")
    there = InfluxQuery(site.server.url, site.database, site.server.token)
    assert len(there.rows("node", ["power_kw"], f"time > {LATEST_MS}000000")) == 0
    with pytest.raises(StoreUnavailable, match="refused"):
        there.rows("node", ["power_kw"], "no_such_function(power_kw) > 1")
    with pytest.raises(StoreUnavailable, match="refused"):
        there.series("SELECT no_such_function(power_kw) FROM node")


@pytest.mark.servers
def test_names_cannot_carry_a_query(site: Site) -> None:
    store = site.store()
    store.write(one(0))
    store.flush()
    for evil in ("x' OR 1=1 --", 'x" OR "a"=\'', "x'; DROP DATABASE faults; --", "x\\' OR ''='"):
        assert len(store.read([evil], [evil], 0, LATEST_MS)) == 0
        assert store.newest(evil) == {}
        for maker in (quoted, text):
            with pytest.raises(ValueError, match="cannot enter a query"):
                maker(evil)
        with pytest.raises(ConfigError):
            InfluxStore(site.server.url, site.database, site.server.token, site=evil, spool=site.spool)
    assert site.count() == 1


@pytest.mark.servers
def test_many_names_are_asked_for_by_kind(site: Site) -> None:
    names = [f"hk/n{i:03d}" for i in range(120)]
    store = site.store(kind_of=dict.fromkeys(names, "node"))
    store.write(Batch.of([NOW_MS] * 120, names, ["power_kw"] * 120, np.arange(120.0)))
    store.flush()
    assert store.read(names[:100], None, 0, LATEST_MS).component.tolist() == names[:100]
    assert len(store.newest()) == 120


@pytest.mark.servers
def test_a_fast_clock_does_not_drag_the_tail_along(site: Site) -> None:
    store = site.store()
    names = [f"hk/n{i}" for i in range(5)]

    def tick(second: int) -> None:
        store.write(Batch.of([NOW_MS + 1000 * second] * 5, names, ["power_kw"] * 5, [1.0] * 5))
        store.flush()

    tick(0)
    store.write(Batch.from_rows([(NOW_MS + 3_000_000, "hk/n0", "inlet_c", 1.0)]))
    store.flush()
    first, cursor = store.tail(0)
    assert len(first) == 6
    tick(15)
    second, cursor = store.tail(cursor)
    assert second.time_ms.tolist() == [NOW_MS + 15_000] * 5
    assert store.tail_end() == cursor
    tick(30)
    assert len(store.tail(cursor)[0]) == 5


# --- no server needed -----------------------------------------------------------------------------------------------


def test_the_csv_of_version_3_core_is_read_too() -> None:
    """Header repeated before every chunk, each chunk closed by an extra line end, tags as ordinary columns."""
    head = b"name,tags,time,component,inlet_c,outlet_c\r\n"
    body = head + b"rack,,1671350400000000000,hk/r1,22.5,\r\n\r\n" + head + b"rack,,1671350415000000000,nan,,31\r\n\r\n"
    assert parsed(body, ["inlet_c", "outlet_c"]).rows() == [
        (NOW_MS, "hk/r1", "inlet_c", 22.5),
        (NOW_MS + 15_000, "nan", "outlet_c", 31.0),
    ]


def test_the_csv_of_version_1_is_read() -> None:
    body = b"name,tags,time,component,inlet_c\nrack,,1671350400000000000,hk/r1,1e-310\nrack,,1671350400000000001,1,-0\n"
    assert parsed(body, ["inlet_c"]).rows() == [(NOW_MS, "hk/r1", "inlet_c", 1e-310), (NOW_MS, "1", "inlet_c", 0.0)]


def test_two_processes_share_a_spool_without_overwriting(tmp_path: Path) -> None:
    one_process, another = Spool(tmp_path), Spool(tmp_path)
    numbers = [spool.put(b"node x=%d 1\n" % i, i, i % 2).number for i in range(3) for spool in (one_process, another)]
    assert numbers == [1, 2, 3, 4, 5, 6]
    assert another.readings() == 6
    assert another.kept() == [Kept(n + 1, n // 2, n // 2 % 2) for n in range(6)]
    assert another.get(3) == b"node x=1 1\n"
    one_process.drop(1)
    one_process.drop(1)
    assert another.get(1) is None
    assert another.numbers() == [2, 3, 4, 5, 6]
    assert list(tmp_path.glob("*.part")) == []


def test_two_processes_keep_what_the_other_one_has_confirmed(tmp_path: Path) -> None:
    """A slow and a fast process: the slow one's next number was taken and confirmed long ago."""
    slow, fast = Spool(tmp_path), Spool(tmp_path)
    bodies = {}
    for i in range(40):
        for spool in (fast, fast, slow) if i % 5 == 0 else (fast,):
            body = b"node x=%d 1\n" % len(bodies)
            kept = spool.put(body, 1)
            assert kept.number not in bodies
            bodies[kept.number] = body
            spool.confirm(kept.number)
    assert {number: fast.get_sent(number) for number in bodies} == bodies
    assert fast.numbers() == []
