"""Tables of readings: long and wide, CSV and Parquet, growing, cut, odd cells; ingest reads them the same way."""

from __future__ import annotations

import os
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from source_worlds import Named, rest

from plant.errors import TelemetryError
from twin.telemetry import table_files
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.samples import NO_TIME_MS
from twin.telemetry.table_files import CsvFiles, ParquetFiles
from twin.telemetry.tables import read_table, samples_of, words_of
from verbs import ingest

NOW_MS = 1_800_000_000_000


def rows(samples):
    columns = zip(samples.which.tolist(), samples.time_ms.tolist(), samples.value.tolist(), strict=True)
    named = ((dict(samples.series[w].tags), samples.series[w].field, t, v) for w, t, v in columns)
    return [(tags, field, t, samples.text.get(i, v)) for i, (tags, field, t, v) in enumerate(named)]


def long(tmp_path, text, columns=Named()):
    file = tmp_path / "x.csv"
    file.write_text(text)
    return rows(samples_of(read_table(file, words_of([columns])), columns, file.stem))


def test_long_form_with_tags_words_and_holes(tmp_path):
    columns = Named(component="node", channel="sensor", tags=("unit",))
    found = long(tmp_path, "time,node,sensor,value,unit\n5,007,t,1.5,C\n6,007,t,,C\n,a,t,NaN,\n7,a,t,ok,C\n", columns)
    assert found[0] == ({"component": "007", "unit": "C"}, "t", 5, 1.5)
    assert found[1][3] == ""
    assert (found[2][0], found[2][2]) == ({"component": "a"}, NO_TIME_MS)
    assert np.isnan(found[2][3]) or found[2][3] == "NaN"
    assert found[3][3] == "ok"


def test_wide_form_with_and_without_a_component(tmp_path):
    text = "time,inlet_c,power_kw\n2027-01-15T08:00:00Z,22.5,\n2027-01-15T08:01:00Z,23,4\n"
    assert long(tmp_path, text) == [
        ({"component": "x"}, "inlet_c", NOW_MS, 22.5),
        ({"component": "x"}, "inlet_c", NOW_MS + 60_000, 23.0),
        ({"component": "x"}, "power_kw", NOW_MS + 60_000, 4.0),
    ]
    text = "time,rack,inlet_c,state\n5,r1,22,ok\n5,r2,23,\n6,r1,24,bad\n"
    assert sorted(long(tmp_path, text, Named(component="rack")), key=str) == sorted(
        [
            ({"component": "r1"}, "inlet_c", 5, 22.0),
            ({"component": "r2"}, "inlet_c", 5, 23.0),
            ({"component": "r1"}, "inlet_c", 6, 24.0),
            ({"component": "r1"}, "state", 5, "ok"),
            ({"component": "r1"}, "state", 6, "bad"),
        ],
        key=str,
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "lacks time ('time')"),
        ("time,component,value\n1,a,2\n", "lacks channel ('channel')"),
        ("", "cannot be read"),
        ("time,component,channel,value\n1,2\n", "cannot be read"),
    ],
)
def test_what_is_missing_is_said(tmp_path, text, words):
    with pytest.raises(TelemetryError) as caught:
        long(tmp_path, text)
    assert words in str(caught.value)


def test_times_beyond_all_bounds_are_no_times(tmp_path):
    found = long(tmp_path, "time,component,channel,value\n1e300,a,f,1\ninf,a,f,1\n-1e300,a,f,1\n5,a,f,1\n")
    assert [row[2] for row in found] == [NO_TIME_MS] * 3 + [5]
    seconds = Named(time_unit="s")
    assert [row[2] for row in long(tmp_path, "time,component,channel,value\n9e18,a,f,1\nx,a,f,1\n", seconds)] == [
        NO_TIME_MS,
        NO_TIME_MS,
    ]


cells = st.one_of(
    st.none(), st.floats(allow_nan=False), st.integers(-(2**60), 2**60), st.booleans(), st.text(max_size=5)
)


@given(st.lists(st.tuples(st.integers(0, 2**50), st.sampled_from("abc"), cells), min_size=1, max_size=8))
def test_every_cell_of_a_table_comes_out(given_rows):
    kinds = {type(cell) for _, _, cell in given_rows if cell is not None}
    if len(kinds) > 1:  # a column has one type
        given_rows = [(t, c, None if v is None else str(v)) for t, c, v in given_rows]
    columns = [list(column) for column in zip(*given_rows, strict=True)]
    names = ["time", "component", "value", "channel"]
    table = pa.table(dict(zip(names, [*columns, ["f"] * len(given_rows)], strict=True)))
    found = rows(samples_of(table, Named(), "x"))
    assert [(row[2], row[0]["component"]) for row in found] == [(t, c) for t, c, _ in given_rows]
    for (_, _, _, said), (_, _, cell) in zip(found, given_rows, strict=True):
        if cell is None:
            assert said == ""
        elif not isinstance(cell, str):
            assert said == float(cell)


# Files as sources


def csv_source(path):
    return CsvFiles("x", path, lambda stem, names: Named(), {"component", "channel"})


def told(read):
    return [(row[0]["component"], row[2], row[3]) for row in rows(read.samples)]


def test_a_growing_csv_keeps_its_header_and_counts_its_lines(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("time,component,channel,value\n1,a,f,1\n")
    source = csv_source(file)
    assert told(source.poll(NOW_MS)) == [("a", 1, 1.0)]
    with file.open("a") as more:
        more.write("2,a,f,2\n3,a\n4,a,f,4\n5,a,f")
    os.utime(file, (NOW_MS / 1000, NOW_MS / 1000))
    read = source.poll(NOW_MS)
    assert told(read) == [("a", 2, 2.0), ("a", 4, 4.0)]
    assert [str(row) for row in read.bad] == ["a.csv line 4: has 2 cells for 4 in `3,a`"]
    mark = source.mark()
    source.close()
    with file.open("a") as more:
        more.write(",5\n")
    again = csv_source(file)
    again.resume(mark)
    assert told(again.poll(NOW_MS)) == [("a", 5, 5.0)]


def test_a_csv_written_anew_under_the_same_long_header_is_read_from_its_start(tmp_path):
    file = tmp_path / "a.csv"
    header = "time,component,channel,value," + ",".join(f"note{n}" for n in range(30))
    empty = "," * 30
    file.write_text(f"{header}\n1,a,f,1{empty}\n")
    source = csv_source(file)
    assert told(source.poll(NOW_MS)) == [("a", 1, 1.0)]
    with file.open("r+") as same:
        same.write(f"{header}\n2,b,f,2{empty}\n3,b,f,3{empty}\n")
    read = source.poll(NOW_MS)
    assert told(read) == [("b", 2, 2.0), ("b", 3, 3.0)]
    assert "written anew" in read.bad[0].why


def test_a_csv_that_is_none_is_told_not_raised(tmp_path):
    (tmp_path / "a.csv").write_text("hello\nworld\n")
    (tmp_path / "b.csv").write_bytes(b"time,component,channel,value\n1,\xff,f,1\n")
    (tmp_path / "c.csv").write_text("time,component,channel,value\n1,c,f,1\n")
    read = csv_source(tmp_path).poll(NOW_MS)
    assert told(read) == [("c", 1, 1.0)]
    assert [row.where.split()[0] for row in read.bad] == ["a.csv", "b.csv"]


def test_a_line_of_other_bytes_costs_itself(tmp_path):
    file = tmp_path / "a.csv"
    lines = [f"{n},a,f,{n}".encode() for n in range(1000)]
    lines[500] = b"500,\xff,f,1"
    lines[999] = b"999,a,f,\x00\xfe"
    file.write_bytes(b"time,component,channel,value\n" + b"\n".join(lines) + b"\n")
    read = csv_source(file).poll(NOW_MS)
    assert [value for _, _, value in told(read)] == [float(n) for n in range(999) if n != 500]
    assert [row.where for row in read.bad] == ["a.csv line 502", "a.csv line 1001"]


def test_a_file_of_other_bytes_ends_in_time(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"time,component,channel,value\n" + b"1,\xff,f,1\n" * 20_000)
    begun_s = time.process_time()
    read = csv_source(tmp_path).poll(NOW_MS)
    assert time.process_time() - begun_s < 5.0
    assert told(read) == []
    assert 50 <= len(read.bad) < 100


def test_only_a_header_is_no_reading(tmp_path):
    (tmp_path / "a.csv").write_text("time,component,channel,value\n")
    source = csv_source(tmp_path)
    assert (told(source.poll(NOW_MS)), source.poll(NOW_MS).bad) == ([], ())


def parquet_source(path):
    return ParquetFiles("x", path, lambda stem, names: Named())


def write(file, values):
    table = {"time": list(values), "component": ["a"] * len(values), "channel": ["f"] * len(values), "value": values}
    parquet.write_table(pa.table(table), file, row_group_size=2)


def test_parquet_by_row_groups_and_marks(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "MOST_ROWS", 3)
    write(tmp_path / "a.parquet", [float(n) for n in range(7)])
    source = parquet_source(tmp_path)
    first = source.poll(NOW_MS)
    assert (len(first.samples), first.more) == (4, True)
    again = parquet_source(tmp_path)
    again.resume(source.mark())
    second = again.poll(NOW_MS)
    assert [value for _, _, value in told(first) + told(second)] == [float(n) for n in range(7)]
    assert told(again.poll(NOW_MS)) == []


def test_a_parquet_being_written_waits_and_one_that_is_none_is_told_once(tmp_path):
    file = tmp_path / "a.parquet"
    write(file, [1.0, 2.0])
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    os.utime(file, (NOW_MS / 1000, NOW_MS / 1000))
    source = parquet_source(tmp_path)
    assert (told(source.poll(NOW_MS)), source.poll(NOW_MS).bad) == ([], ())
    rest(file, NOW_MS)
    assert [row.where for row in source.poll(NOW_MS).bad] == ["a.parquet"]
    assert source.poll(NOW_MS).bad == ()
    file.write_bytes(whole)
    assert len(told(source.poll(NOW_MS))) == 2


# Ingest


def test_ingest_reads_line_protocol_and_wide_tables(tmp_path):
    lines, rules = tmp_path / "a.lp", tmp_path / "rules.toml"
    lines.write_text(f"m,rack=r1 t=22 {NOW_MS}000000\nm,rack=r1 t=\n")
    rules.write_text('[[rule]]\nmatch = "m.t"\ncomponent = "{tag:rack}"\nchannel = "inlet_c"\n')
    store = MemoryStore()
    results = ingest.run(str(lines), str(rules), lambda site: store, NOW_MS)
    assert (results["readings_accepted"], results["refused_by_reason"]) == (1, {"unreadable_row": 1})
    assert store.newest("inlet_c") == {"r1": (NOW_MS, "inlet_c", 22.0)}
    wide = tmp_path / "r7.csv"
    wide.write_text(f"time,inlet_c\n{NOW_MS},21\n")
    assert ingest.run(str(wide), None, lambda site: store, NOW_MS)["readings_accepted"] == 1
    assert store.newest("inlet_c")["r7"] == (NOW_MS, "inlet_c", 21.0)


def test_ingest_of_what_is_not_there_is_said(tmp_path):
    for name in ("no.lp", "no.csv", "no.parquet"):
        with pytest.raises(TelemetryError):
            ingest.run(str(tmp_path / name), None, lambda site: MemoryStore(), NOW_MS)
