"""Line protocol: what InfluxDB's own client writes comes back, bad lines are told by number, nothing raises."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from influxdb_client import Point

from twin.telemetry.lineprotocol import parse, read
from twin.telemetry.samples import NO_TIME_MS, Series


def rows(samples):
    """(series, time, value or text) of each sample."""
    return [
        (str(samples.series[w]), int(t), samples.text.get(i, float(v)))
        for i, (w, t, v) in enumerate(zip(samples.which, samples.time_ms, samples.value, strict=True))
    ]


def test_a_line_of_every_type():
    line = r'a\ b\,c,host=n\=1,t\,k=v\ w f=1.5,n=-3i,u=7u,yes=t,no=false,word="say \"hi\", a\\b" 1600000000123999999'
    samples = parse(line)
    by_field = {
        samples.series[w].field: (i, v) for i, (w, v) in enumerate(zip(samples.which, samples.value, strict=True))
    }
    assert {s.measurement for s in samples.series} == {"a b,c"}
    assert {s.tags for s in samples.series} == {(("host", "n=1"), ("t,k", "v w"))}
    assert [by_field[f][1] for f in ("f", "n", "u", "yes", "no")] == [1.5, -3.0, 7.0, 1.0, 0.0]
    at = by_field["word"][0]
    assert np.isnan(samples.value[at])
    assert samples.text == {at: 'say "hi", a\\b'}
    assert set(samples.time_ms.tolist()) == {1600000000123}


def test_series_are_few_and_ordered_by_tag_name():
    samples = parse("m,b=2,a=1 f=1 1000000\nm,a=1,b=2 f=2 2000000\nm,a=1,b=3 f=3 3000000")
    assert len(set(samples.series)) == 2
    assert samples.series[0] == Series.of("m", "f", {"a": "1", "b": "2"})
    assert [samples.series[w].tags[1][1] for w in samples.which] == ["2", "2", "3"]


@pytest.mark.parametrize(("precision", "said"), [("ns", 1500_000_000), ("us", 1500_000), ("ms", 1500), ("s", 1)])
def test_precision(precision, said):
    assert parse(f"m f=1 {said}", precision).time_ms.tolist() == [1500 if precision != "s" else 1000]


def test_times_before_1970_round_down_and_none_is_no_time():
    assert parse("m f=1 -1").time_ms.tolist() == [-1]
    assert parse("m f=1").time_ms.tolist() == [NO_TIME_MS]
    assert parse("m f=1", now_ms=7).time_ms.tolist() == [7]


@pytest.mark.parametrize(
    "bad",
    [
        "m", "m ", "m f", "m f=", "m f=1 x", "m f=1 1 1", "m f=nan", "m f=-inf", "m f=1e999", "m f=0x1", "m f=1_0",
        "m f=t1", "m f=9223372036854775808i", "m f=-1u", "m,t f=1", "m,t= f=1", "m,=v f=1", ",t=v f=1", "m, f=1",
        "m f=1,", "m =1", "m,t=a,t=b f=1", 'm f="open', 'm f="x"y', "m f=1 99999999999999999999", "m f=\x00",
        "{}", "<html>", "\x1f\x8b\x08",
    ],
)  # fmt: skip
def test_a_bad_line_costs_itself_and_is_told_by_number(bad):
    told = read(f"a f=1 1000000\n{bad}\n# a note\n\nb f=2 2000000\r\n")
    assert rows(told.samples) == [("a f", 1, 1.0), ("b f", 2, 2.0)]
    assert [row.where for row in told.bad] == ["line 2"]
    assert told.bad[0].why
    assert str(told.bad[0]).isascii()


def test_bytes_that_are_not_utf8_cost_their_line_only():
    told = read("a,t=ü f=1 1000000\n".encode() + b"b,t=\xff f=1 1000000\n" + "c,t=日本 f=1 1000000".encode())
    assert [s.tags[0][1] for s in told.samples.series] == ["ü", "日本"]
    assert [str(row) for row in told.bad] == ["line 2: is not UTF-8 in `b,t=\\udcff f=1 1000000`"]


def test_a_word_over_several_lines_is_one_value_and_a_quote_left_open_costs_one_line():
    told = read('a f="one\ntwo\n# three" 1000000\nb f=1 2000000\nc f="open\nd f=2 3000000')
    assert told.samples.text == {0: "one\ntwo\n# three"}
    assert rows(told.samples)[1:] == [("b f", 2, 1.0), ("d f", 3, 2.0)]
    assert [row.where for row in told.bad] == ["line 5"]


def test_a_quote_in_a_tag_is_a_letter():
    told = read('a,size=3" f=1 1000000\nb,size=3"\\ x f="y" 2000000')
    assert [dict(s.tags)["size"] for s in told.samples.series] == ['3"', '3" x']
    assert not told.bad


def test_many_open_quotes_take_no_quadratic_time():
    begun = time.perf_counter()
    assert len(read('m f="\n' * 20_001).bad) <= 20_001
    assert time.perf_counter() - begun < 5.0


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    # what the client itself writes in a way that cannot be read back: a backslash at the end or before what it escapes
    lambda word: "\\" not in word and word.strip(" \t\r\x1f\x85\xa0") == word and not word.startswith("#")
)
values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=20),
)
points = st.tuples(
    words,
    st.dictionaries(words, words, max_size=3),
    st.dictionaries(words, values, min_size=1, max_size=4),
    st.integers(-(2**62), 2**62),
)


@given(st.lists(points, max_size=4))
def test_what_the_client_writes_comes_back(written):
    lines, expected = [], set()
    for name, tags, fields, at_ns in written:
        point = Point(name).time(at_ns)
        for key, value in tags.items():
            point.tag(key, value)
        for key, value in fields.items():
            point.field(key, value)
            series = Series.of(name, key, tags)
            expected.add((str(series), at_ns // 1_000_000, value if isinstance(value, str) else float(value)))
        lines.append(point.to_line_protocol())
    told = read("\n".join(lines))
    assert told.bad == ()
    assert set(rows(told.samples)) == expected


@given(st.one_of(st.text(), st.binary(), st.text(alphabet='ab,= \\"\n1it#')))
def test_no_input_raises_and_every_line_is_accounted_for(data):
    told = read(data)
    assert len(told.samples) + len(told.bad) <= len(data) + 1
    assert np.isfinite(told.samples.value).sum() + len(told.samples.text) == len(told.samples)


def test_speed():
    head = "cpu,cpu=cpu{},host=n{:03d} usage_idle=99.13,usage_user=0.31,usage_system=0.5,n=3i 16000000000{:08d}"
    data = "\n".join(head.format(i % 8, i % 500, i) for i in range(20_000)).encode()
    begun = time.process_time()
    samples = parse(data)
    fields_per_s = len(samples) / (time.process_time() - begun)
    assert fields_per_s >= 150_000, f"{fields_per_s:.0f} fields/s"
