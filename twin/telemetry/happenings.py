"""Events out of samples: a code that changed, a count that grew, a flag that rose."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

from twin.telemetry.mappingfile import EventRule
from twin.telemetry.matching import Happening
from twin.telemetry.samples import NO_TIME_MS, Samples
from twin.telemetry.store import Event

State = str | float | frozenset[str]
_NO_NAME = re.compile(r"[^A-Za-z0-9_\-./:@+#]+")
LONGEST = 200


class Happenings:
    """The last code of each thing that tells events; what is quiet when first heard of is no event."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str, str], State] = {}

    def of(self, samples: Samples, happenings: Sequence[Happening | None]) -> list[Event]:
        """Events of the samples in order of time."""
        tells = np.array([one is not None for one in happenings], dtype=bool)
        if not tells.any():
            return []
        rows = np.flatnonzero(tells[samples.which] & (samples.time_ms != NO_TIME_MS))
        found: list[Event] = []
        for row in rows[np.argsort(samples.time_ms[rows], kind="stable")].tolist():
            happening = happenings[int(samples.which[row])]
            said = samples.text.get(row)
            if happening is not None and (said is not None or math.isfinite(samples.value[row])):
                found += self._told(happening, int(samples.time_ms[row]), said, float(samples.value[row]))
        return found

    def _told(self, of: Happening, time_ms: int, said: str | None, value: float) -> Iterator[Event]:
        rule = of.rule.event
        if rule is None:
            return
        word = said if said is not None else f"{value:.15g}"
        for code in self._codes(of, rule, word, value):
            text = of.text.replace("{value}", word)
            yield Event(time_ms, of.component, rule.type, _said(rule.names.get(code, code), of.key), text)

    def _codes(self, of: Happening, rule: EventRule, word: str, value: float) -> list[str]:
        """Codes to tell of one sample."""
        key = (of.component, rule.type, f"{of.key} {of.code}" if rule.on == "rise" else of.key)
        if rule.bits:
            return self._risen(key, _flags(rule, value))
        code = of.code.replace("{value}", word)
        if rule.on == "every":
            return [] if code in rule.quiet else [code]
        before = self._last.get(key)
        if rule.on == "rise":
            self._last[key] = value
            grew = isinstance(before, float) and value > before
            return [code] if grew else []
        self._last[key] = code
        if code in rule.quiet:
            return [rule.clear] if rule.clear and before is not None and before not in rule.quiet else []
        return [code] if code != before else []

    def _risen(self, key: tuple[str, str, str], now: frozenset[str]) -> list[str]:
        before = self._last.get(key, frozenset())
        self._last[key] = now
        return sorted(now - (before if isinstance(before, frozenset) else frozenset()))


def _said(code: str, key: str) -> str:
    """The code of an event: with the thing it is about, so that two things at one instant are two events."""
    plain = _NO_NAME.sub("_", f"{code}:{key}" if key.strip() else code).strip("_")
    return plain[:LONGEST]


def _flags(rule: EventRule, value: float) -> frozenset[str]:
    """Words of the flags that are set in a whole number."""
    number = int(value) if math.isfinite(value) else 0
    return frozenset(word for bit, word in rule.bits.items() if number >> int(bit) & 1 and word not in rule.quiet)
