"""InfluxDB line protocol into samples: what Telegraf, Slurm's profile plugin and InfluxDB clients write.

One line is `measurement,tag=value field=1.5,other=2i 1600000000000000000`. The lines themselves are read by
line-protocol-parser; this module finds where each ends (a quoted word may hold line breaks), keeps what no line says
apart with its number, and never stops at a bad one. Where a backslash or a quote is meant is the protocol's own rule:
https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from twin.telemetry.samples import NO_TIME_MS, BadRow, Read, Samples, Series

Precision = Literal["ns", "us", "ms", "s"]
NS_PER: dict[Precision, int] = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}

# InfluxDB's longest word is 64 KiB; a quote that stays open longer was never meant to be closed.
LONGEST_WORD = 65_536


def parse(data: bytes | str, precision: Precision = "ns", now_ms: int | None = None) -> Samples:
    """The samples of line protocol, without the lines that could not be read; `read` tells those too."""
    return read(data, precision, now_ms).samples


def read(data: bytes | str, precision: Precision = "ns", now_ms: int | None = None, first: int = 1) -> Read:
    """The samples of line protocol, and each bad line with its number; the first line has the number `first`.

    precision: unit of the times. now_ms (Unix): the time of lines that give none; without it they get NO_TIME_MS.
    A number that is no finite float, an unsigned or signed 64-bit integer or a boolean makes its whole line bad, as in
    InfluxDB.
    """
    from line_protocol_parser import LineFormatError, parse_line

    # What is not UTF-8 becomes surrogates, which the parser refuses: only the lines that hold them are lost.
    text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
    kept, bad = _Kept(NS_PER[precision], NO_TIME_MS if now_ms is None else now_ms), []
    for number, line in _lines(text, first):
        try:
            kept.add(parse_line(line))
        except (LineFormatError, ValueError) as error:
            why = "is not UTF-8" if isinstance(error, UnicodeError) else str(error).rstrip(".")
            bad.append(BadRow(f"line {number}", why, line))
    return Read(kept.samples(), tuple(bad))


@dataclass(slots=True)
class _Kept:
    """Columns that grow line by line; one entry of `known` per measurement and tags, one slot per field."""

    ns_per: int
    no_time_ms: int
    series: list[Series] = field(default_factory=list)
    known: dict[Any, dict[str, int]] = field(default_factory=dict)
    which: list[int] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    words: dict[int, str] = field(default_factory=dict)

    def add(self, line: dict[str, Any]) -> None:
        """Take the fields of one line."""
        name, tags, fields, at = line["measurement"], line["tags"], line["fields"], line["time"]
        key = (name, *tags.items())
        slots = self.known.get(key)
        if slots is None:
            slots = self.known[key] = {}
        for label, value in fields.items():
            slot = slots.get(label)
            if slot is None:
                slot = slots[label] = len(self.series)
                self.series.append(Series.of(name, label, tags))
            if value.__class__ is str:
                self.words[len(self.which)] = value
                value = np.nan
            self.which.append(slot)
            self.values.append(value)
        self.times_ms.append(self.no_time_ms if at is None else at * self.ns_per // 1_000_000)
        self.counts.append(len(fields))

    def samples(self) -> Samples:
        """All that was taken, by column."""
        times_ms = np.repeat(np.array(self.times_ms, np.int64), np.array(self.counts, np.int64))
        value = np.array(self.values, np.float64)
        return Samples(tuple(self.series), np.array(self.which, np.int64), times_ms, value, self.words)


def _lines(text: str, first_number: int) -> Iterator[tuple[int, str]]:
    """Each line that says something with its number; a quoted word may run over several."""
    rows = text.split("\n")
    at = 0
    while at < len(rows):
        line, first = rows[at], at
        if '"' in line and not line.lstrip().startswith("#") and _open_quote(line):
            at = _closing(rows, at)
            line = "\n".join(rows[first : at + 1])
        at += 1
        stripped = line.strip(" \t\r")
        if stripped and stripped[0] != "#":
            yield first + first_number, stripped


def _closing(rows: list[str], first: int) -> int:
    """The row in which the word that stays open in the first one is closed; the first itself when none is."""
    length, last = len(rows[first]), first
    while length <= LONGEST_WORD and last + 1 < len(rows):
        last += 1
        length += len(rows[last]) + 1
        if _odd_quotes(rows[last]):
            return last
    return first


def _open_quote(line: str) -> bool:
    """Whether a quote opened among the fields stays open; quotes before the first plain space are mere letters."""
    at = line.find(" ", len(line) - len(line.lstrip()))
    while at > 0 and line[at - 1] == "\\":
        at = line.find(" ", at + 1)
    return at > 0 and _odd_quotes(line[at:])


def _odd_quotes(text: str) -> bool:
    """Whether an odd number of quotes stands here that no backslash takes the meaning from."""
    return text.replace("\\\\", "").replace('\\"', "").count('"') % 2 == 1
