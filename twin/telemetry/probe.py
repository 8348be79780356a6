"""One value of a block of lines, by which the database can be asked whether it still has the block."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from twin.telemetry.influx_query import quoted, text
from twin.telemetry.store import name_ok

# A line whose names need no escape: measurement, tags, first field and its value, what follows, time in ns.
_LINE = re.compile(
    rb'^([^,\s]+)((?:,[^,=\s]+=[^,=\s]+)+) ([^=,\s]+)=(?:"[^"\\\n]*"|[^",\s]+)(?:,[^"\n]*)? (\d+)$', re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Probe:
    """Measurement, tags, a field and the time in ns: at most one value of the database answers to it."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    field: str
    time_ns: int

    @classmethod
    def of(cls, data: bytes) -> Probe | None:
        """The first value in some lines; None where there is none (marks of validity, texts with odd signs)."""
        for found in _LINE.finditer(data):
            measurement, tags, field, time_ns = (word.decode("utf-8", "replace") for word in found.groups())
            pairs = tuple((key, value) for key, _, value in (tag.partition("=") for tag in tags[1:].split(",")))
            names = [measurement, field, *(word for pair in pairs for word in pair)]
            if not field.endswith("_ok") and all(map(name_ok, names)):
                return cls(measurement, pairs, field, int(time_ns))
        return None

    def statement(self) -> str:
        """A query that answers with one row when the value is there."""
        tags = " AND ".join(f"{quoted(key)} = {text(value)}" for key, value in self.tags)
        return f"SELECT {quoted(self.field)} FROM {quoted(self.measurement)} WHERE {tags} AND time = {self.time_ns}"


IsThere = Callable[[Probe], bool]
