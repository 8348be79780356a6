"""One suite over every kind of source: nothing lost, nothing doubled, bad rows told, ages true, close is idempotent."""

from __future__ import annotations

import pytest
from servers import missing_for_influx
from servers_nut import missing_for_nut
from source_worlds import (
    START_MS,
    CsvWorld,
    InfluxWorld,
    LinesWorld,
    NutWorld,
    ParquetWorld,
    PrometheusWorld,
    told,
)

from plant.errors import SourceUnavailable
from twin.telemetry.feeder import Feed
from twin.telemetry.sources import Source

WORLDS = [
    LinesWorld,
    CsvWorld,
    ParquetWorld,
    PrometheusWorld,
    pytest.param(InfluxWorld, marks=pytest.mark.servers),
    pytest.param(NutWorld, marks=pytest.mark.servers),
]
NEEDS = {InfluxWorld: missing_for_influx, NutWorld: missing_for_nut}
FIRST = {"ups1": 1.0, "ups2": 2.5, "x c": 3.0}


@pytest.fixture(params=WORLDS)
def world(request, tmp_path):
    missing = NEEDS.get(request.param, list)()
    if missing:
        pytest.skip(f"needs {' '.join(missing)}")
    one = request.param(tmp_path)
    yield one
    one.end()


def hosts(world, values):
    """The values as this world can say them: a NUT server has its two units and no more."""
    names = ("ups1", "ups2") if isinstance(world, NutWorld) else tuple(values)
    return {name: values[name] for name in names}


def say(world, at_ms, values):
    escaped = isinstance(world, (LinesWorld, InfluxWorld))
    world.say(at_ms, {name.replace(" ", "\\ ") if escaped else name: value for name, value in values.items()})


def rows(world, at_ms, values, now_ms):
    """What a poll at now_ms should tell of values said at at_ms."""
    return sorted((name, at_ms if world.remembers else now_ms, value) for name, value in values.items())


def test_it_is_a_source(world):
    source = world.open()
    assert isinstance(source, Source)
    assert source.name == "world"
    assert source.kind in ("influx", "prometheus", "nut", "lines", "csv", "parquet")
    source.close()
    source.close()


def test_what_is_said_is_told_once_and_only_once(world):
    source, first = world.open(), hosts(world, FIRST)
    say(world, START_MS, first)
    assert told(source.poll(START_MS + 1000)) == rows(world, START_MS, first, START_MS + 1000)
    second = hosts(world, {"ups1": 1.0, "ups2": 2.0, "x c": 3.0})
    say(world, START_MS + 5000, second)
    expected = rows(world, START_MS + 5000, second, START_MS + 6000)
    assert told(source.poll(START_MS + 6000)) == expected
    if world.remembers:
        assert told(source.poll(START_MS + 7000)) == []
    source.close()


def test_a_source_goes_on_from_a_mark(world):
    source, first = world.open(), hosts(world, FIRST)
    say(world, START_MS, first)
    source.poll(START_MS + 1000)
    mark = source.mark()
    source.close()
    again = world.open()
    again.resume(mark)
    second = hosts(world, {"ups1": 5.0, "ups2": 6.0, "x c": 7.0})
    say(world, START_MS + 100_000, second)
    found = told(again.poll(START_MS + 101_000))
    # an InfluxDB is asked again for the last minute: the store keeps the same reading once
    assert set(rows(world, START_MS + 100_000, second, START_MS + 101_000)) <= set(found)
    if not isinstance(world, InfluxWorld):
        assert len(found) == len(second)
    again.close()


def test_a_mark_that_does_not_fit_is_none(world):
    first = hosts(world, FIRST)
    say(world, START_MS, first)
    for mark in ({"until_ms": "soon"}, {"x": 1}, {"1:2": [1]}, {"a.csv": [1, 2, 3, 4]}):
        source = world.open()
        source.resume(mark)
        assert told(source.poll(START_MS + 1000)) == rows(world, START_MS, first, START_MS + 1000)
        source.close()


def test_one_that_is_gone_says_so_and_loses_nothing(world):
    source, first = world.open(), hosts(world, FIRST)
    say(world, START_MS, first)
    assert len(told(source.poll(START_MS + 1000))) == len(first)
    second = hosts(world, {"ups1": 8.0, "ups2": 9.0, "x c": 10.0})
    say(world, START_MS + 5000, second)
    world.go()
    for _ in range(2):
        with pytest.raises(SourceUnavailable) as caught:
            source.poll(START_MS + 6000)
        assert caught.value.where
        assert caught.value.cure
    world.come()
    now_ms = START_MS + 20_000
    assert told(source.poll(now_ms)) == rows(world, START_MS + 5000, second, now_ms)
    source.close()


def test_bad_rows_are_told_and_cost_themselves(world):
    if not hasattr(world, "say_badly"):
        return  # a server's own protocol leaves no room for them; broken answers are tested by kind
    source = world.open()
    say(world, START_MS, FIRST)
    world.say_badly()
    say(world, START_MS + 5000, {"ups1": 4.0})
    read = source.poll(START_MS + 6000)
    assert len(told(read)) == len(FIRST) + 1
    assert len(read.bad) == 1
    assert read.bad[0].where
    assert read.bad[0].why
    source.close()


def test_the_age_is_true_while_it_lives_and_grows_when_it_is_gone(world):
    now = [START_MS + 2000]
    feed, first = Feed(world.open(), 15.0, 0), hosts(world, FIRST)
    say(world, START_MS, first)
    feed.once(lambda: now[0])
    own_ms = START_MS if world.remembers else START_MS + 2000
    assert feed.standing.age_s(now[0]) == (now[0] - own_ms) / 1000
    assert feed.standing.state(now[0]) == "ok"
    world.go()
    now[0] += 200_000
    feed.once(lambda: now[0])
    assert feed.standing.age_s(now[0]) == (now[0] - own_ms) / 1000
    assert feed.standing.state(now[0]) == "failing"
    world.come()
    say(world, now[0], {name: value + 1 for name, value in first.items()})
    feed.once(lambda: now[0])
    assert feed.standing.age_s(now[0]) == 0.0
    assert feed.standing.state(now[0]) == "ok"
    feed.source.close()
