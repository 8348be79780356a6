"""A Telegraf bucket in a real InfluxDB read by windows: late data, long gaps, odd names, dead servers, wrong keys."""

from __future__ import annotations

import time

import pytest
from influxdb_client import Point
from servers import InfluxServer, missing_for_influx

from plant.errors import SourceUnavailable
from twin.telemetry import influx_source
from twin.telemetry.feeder import Feeder
from twin.telemetry.influx_source import InfluxSource, _take, identifier
from twin.telemetry.samples import Gathered

pytestmark = pytest.mark.servers
NOW_MS = 1_800_000_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    missing = missing_for_influx()
    if missing:
        pytest.skip(f"needs {' '.join(missing)}")
    one = InfluxServer(tmp_path_factory.mktemp("influx")).start()
    yield one
    one.stop()


@pytest.fixture
def write(server):
    import urllib.request

    server.create_database("tg")

    def send(lines):
        url = f"http://127.0.0.1:{server.inner}/write?db=tg"
        urllib.request.urlopen(url, lines.encode(), timeout=10).close()

    return send


def opened(server, **more):
    return InfluxSource("x", server.url, "tg", more.pop("token", server.token), timeout_s=5.0, **more)


def rows(read):
    samples = read.samples
    columns = zip(samples.which.tolist(), samples.time_ms.tolist(), samples.value.tolist(), strict=True)
    return [(str(samples.series[w]), t, samples.text.get(i, v)) for i, (w, t, v) in enumerate(columns)]


def test_types_tags_and_what_is_not_there(server, write):
    write(
        f'm,host=a,rack=r1 f=1.5,i=3i,ok=true,word="say \\"hi\\"" {NOW_MS - 1000}000000\n'
        f"m,host=b f=2 {NOW_MS - 1000}999999"
    )
    found = rows(opened(server).poll(NOW_MS))
    assert sorted(found) == [
        ("m,host=a,rack=r1 f", NOW_MS - 1000, 1.5),
        ("m,host=a,rack=r1 i", NOW_MS - 1000, 3.0),
        ("m,host=a,rack=r1 ok", NOW_MS - 1000, 1.0),
        ("m,host=a,rack=r1 word", NOW_MS - 1000, 'say "hi"'),
        ("m,host=b f", NOW_MS - 1000, 2.0),
    ]


def test_what_arrives_late_is_told_once_and_a_correction_again(server, write):
    source = opened(server, late_ms=60_000)
    write(f"m,host=a f=1 {NOW_MS - 10_000}000000")
    assert len(rows(source.poll(NOW_MS))) == 1
    write(f"m,host=a f=2 {NOW_MS - 50_000}000000\nm,host=b f=3 {NOW_MS - 10_000}000000")
    assert sorted(value for _, _, value in rows(source.poll(NOW_MS + 1000))) == [2.0, 3.0]
    assert rows(source.poll(NOW_MS + 2000)) == []
    write(f"m,host=a f=9 {NOW_MS - 10_000}000000")
    assert rows(source.poll(NOW_MS + 3000)) == [("m,host=a f", NOW_MS - 10_000, 9.0)]


def test_a_long_absence_is_read_window_by_window_with_nothing_lost_or_doubled(server, write):
    at = [NOW_MS - 3_600_000 + n * 7_000 for n in range(500)]
    write("\n".join(f"m,host=a f={n} {t}000000" for n, t in enumerate(at)))
    source, found, polls = opened(server, history_ms=3_600_000, window_ms=300_000), [], 0
    while True:
        read = source.poll(NOW_MS)
        found += rows(read)
        polls += 1
        if not read.more:
            break
    assert [value for _, _, value in found] == [float(n) for n in range(500)]
    assert polls > 10
    assert rows(source.poll(NOW_MS)) == []


def test_windows_follow_how_much_comes(server, write, monkeypatch):
    monkeypatch.setattr(influx_source, "FEW_SAMPLES", 5)
    monkeypatch.setattr(influx_source, "MANY_SAMPLES", 10)
    at = [NOW_MS - 3_600_000 + n * 1_000 for n in range(3_600)]
    write("\n".join(f"m,host=a f={n} {t}000000" for n, t in enumerate(at)))
    source, found, lengths = opened(server, history_ms=3_600_000, late_ms=0), [], []
    while True:
        read = source.poll(NOW_MS)
        found += rows(read)
        lengths.append(source._window_ms)
        if not read.more:
            break
    assert [value for _, _, value in found] == [float(n) for n in range(3_600)]
    assert lengths[0] == 30_000
    assert min(lengths) == 7_500


def test_samples_ahead_of_the_clock_are_told_once(server, write):
    write(f"m,host=a f=1 {NOW_MS + 600_000}000000")
    source = opened(server)
    assert len(rows(source.poll(NOW_MS))) == 1
    assert [rows(source.poll(NOW_MS + n * 100_000)) for n in range(1, 12)] == [[]] * 11


@pytest.mark.parametrize("name", ['a"b', "a\\b", "ü mit raum", "a,b", 'x"; DROP DATABASE "tg', "a'b", "select", "1"])
def test_names_of_any_kind(server, write, name):
    write(Point(name).tag("t", "v").field("f", 1.0).time(NOW_MS * 1_000_000).to_line_protocol())
    source = opened(server)
    found = rows(source.poll(NOW_MS + 1))
    assert len(found) == 1
    assert found[0][0] == f"{name},t=v f"
    measurement = source.measurements()[0]
    assert (source.fields(measurement), source.tags(measurement)) == (["f"], ["t"])


def test_only_the_measurements_asked_for(server, write):
    write("\n".join(f"{name} f=1 {NOW_MS}000000" for name in ("ipmi_sensor", "cpu", "ipmi_x")))
    source = opened(server, only=("ipmi_*",))
    assert source.measurements() == ["ipmi_sensor", "ipmi_x"]
    assert {name for name, _, _ in rows(source.poll(NOW_MS + 1))} == {"ipmi_sensor f", "ipmi_x f"}


def test_a_field_and_a_tag_of_one_name(server, write):
    write(f"m,f=tag f=1 {NOW_MS}000000\nm,f=other,g=x h=2 {NOW_MS}000000")
    found = rows(opened(server).poll(NOW_MS + 1))
    assert sorted(value for _, _, value in found) == [1.0, 2.0]


def test_wrong_key_unknown_database_and_a_server_that_is_none_are_said(server, write):
    with pytest.raises(SourceUnavailable, match="token was refused"):
        opened(server, token="wrong").poll(NOW_MS)
    with pytest.raises(SourceUnavailable, match="no such database"):
        InfluxSource("x", server.url, "nothere", server.token).poll(NOW_MS)
    with pytest.raises(SourceUnavailable, match="does not answer"):
        InfluxSource("x", "http://127.0.0.1:1", "tg", "").poll(NOW_MS)


def test_tags_as_columns_as_3_core_gives_them():
    """The shape of its answers: no `tags` beside the columns, one series for all (influxdb3_server/src/http/v1.rs)."""
    answer = {
        "name": "m",
        "columns": ["time", "host", "f", "word", "rack"],
        "values": [[5, "a", 1.5, None, "r1"], [5, "b", None, "hi", None], [6, "a", True, "x", "r1"]],
    }
    gathered = Gathered()
    _take(gathered, answer, lambda name: ["host", "rack"])
    assert rows(gathered.read()) == [
        ("m,host=a,rack=r1 f", 5, 1.5),
        ("m,host=b word", 5, "hi"),
        ("m,host=a,rack=r1 f", 6, 1.0),
        ("m,host=a,rack=r1 word", 6, "x"),
    ]


def test_identifiers_cannot_leave_their_quotes():
    assert identifier('a"; DROP') == '"a\\"; DROP"'
    assert identifier("a\\") == '"a\\\\"'


def test_a_database_killed_stopped_and_frozen_again_and_again_loses_and_doubles_nothing(server, write):
    """Readings go in while it lives; the source is asked all the time; at the end each came out once."""
    begun_ms, n, found = int(time.time() * 1000), 0, []
    feeder = Feeder(
        [(InfluxSource("x", server.url, "tg", server.token, timeout_s=0.6, late_ms=60_000), 0.05)],
        lambda: int(time.time() * 1000),
    ).start()

    def drain():
        while (taken := feeder.next()) is not None:
            found.extend(value for _, _, value in rows(taken.read))
            feeder.done(taken, len(taken.read.samples), 0, 0)

    faults = (server.stop_database, lambda: server.stop_database(9), server.pause_database)
    mends = (server.start_database, server.start_database, server.continue_database)
    for turn in range(6):
        for _ in range(20):
            write(f"m,host=a f={n} {begun_ms + n}000000")
            n += 1
            drain()
        faults[turn % 3]()
        time.sleep(0.9)
        drain()
        mends[turn % 3]()
    ends = time.monotonic() + 90
    while len(found) < n and time.monotonic() < ends:
        drain()
        time.sleep(0.05)
    time.sleep(0.5)
    drain()
    row = feeder.standings()[0]
    feeder.close()
    assert sorted(found) == [float(value) for value in range(n)]
    assert row["state"] == "ok"
    assert "does not answer" in row["last_error"] or "down or failing" in row["last_error"]
