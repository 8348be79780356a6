"""Sensors that are shut out, as others see them: events of the store, rows of the report, parameters left in doubt.

What sync remembers of sensors lives in its own memory, not in State. A worker that starts again reads the events of
the last day and begins with the same sensors shut out (docs/decisions/017).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.state import State
from twin.sync.inflate import moving
from twin.sync.names import Key, Names
from twin.sync.operators import Link, Operator
from twin.sync.parameters import BY_NAME, bounds_of
from twin.sync.sensorfaults import REASONS, Fault, Sensors
from twin.sync.spread import inflate
from twin.telemetry.store import Event

Array = NDArray[np.float64]
Places = NDArray[np.int64]

OUT, IN = "sensor_shut_out", "sensor_let_in"  # types of the events; the code is the channel, the text says why


STEP_SD = 0.3  # relative, of a flow that has changed at once: one fan of two, or of three
REMEMBERED_MS = 86_400_000  # so far back a worker that starts reads these events


class ShutOuts:
    """What follows from the judgement of sensors."""

    def __init__(self, site: Site, names: Names, sensors: Sensors, operators: Mapping[Key, Operator]) -> None:
        """Nobody is shut out."""
        self.site, self.names, self.sensors, self.operators = site, names, sensors, operators
        self.events: list[Event] = []
        self.moved: dict[tuple[Key, str], Array] = {}
        """How far each sensor has moved each parameter, as `Sensors.pull`: by operator and array (C,)."""

    def pulled(self, o: Operator, at: Places, moved: Mapping[str, Array], by: Array, time_ms: int) -> None:
        """Note how far sensors have just moved parameters one to one, and by how much that moves what is predicted."""
        keep = self.sensors.pulled(at + self.names.first[o.key], by, time_ms)
        for name, step in moved.items():
            held = self.moved.setdefault((o.key, name), np.zeros(self.names.size[o.key]))
            held[at] = keep * held[at] + np.where(keep > 0.0, step, 0.0)

    def announce(self, s: State, faults: Iterable[Fault]) -> None:
        """Write the events; what a sensor that was shut out has lately moved goes back, and it has no known error."""
        for fault in faults:
            o = self.operators[self._key(fault.sensor)]
            what, text = (OUT, f"{fault.reason}: {fault.found}") if fault.reason else (IN, "behaves again")
            self.events.append(Event(fault.time_ms, self.names.ids[fault.sensor], what, o.channel, text))
            i = fault.sensor - self.names.first[o.key]
            if fault.reason:
                self._put_back(s, o, i)
            if fault.reason and o.bias:
                bias = np.zeros((s.members, 1))
                inflate(bias, BY_NAME[o.bias].prior_sd)
                s.arrays[o.bias][:, i] = bias[:, 0]

    def loosen(self, s: State) -> None:
        """Where the plant has changed behind a sensor alone, its parameter may be anywhere near."""
        for g in self.sensors.take_stepped():
            o = self.operators[self._key(g)]
            if o.steps:
                p, i = BY_NAME[o.steps], g - self.names.first[o.key]
                values = moving(s.arrays[o.steps][:, i : i + 1], p)
                inflate(values, STEP_SD)
                low, high = (limit[i] if len(limit) > 1 else limit[0] for limit in bounds_of(self.site, p))
                s.arrays[o.steps][:, i] = np.clip(np.exp(values) if p.log else values, low, high)[:, 0]

    def _put_back(self, s: State, o: Operator, i: int) -> None:
        """Undo what one sensor has moved since it was last trusted in full."""
        for (key, name), moved in self.moved.items():
            p = BY_NAME.get(name)
            if key == o.key and moved[i] and p is not None:
                low, high = (limit[i] if len(limit) > 1 else limit[0] for limit in bounds_of(self.site, p))
                old = s.arrays[name][:, i]
                s.arrays[name][:, i] = np.clip(old * np.exp(-moved[i]) if p.log else old - moved[i], low, high)
                moved[i] = 0.0

    def doubtful(self, s: State) -> dict[str, NDArray[np.bool_]]:
        """Return the parameters behind sensors that are shut out or in doubt: by name, which components."""
        found: dict[str, NDArray[np.bool_]] = {}
        for g in np.flatnonzero(self.sensors.out | self.sensors.held).tolist():
            o = self.operators[self._key(g)]
            i = g - self.names.first[o.key]
            i = int(o.group(self.site)[i]) if o.group is not None else i
            for link in (*o.linked, *([Link(o.bias)] if o.bias else [])):
                if link.array in BY_NAME:
                    n = s.arrays[link.array].shape[1]
                    behind = np.arange(n) if link.via is None else np.asarray(link.via(self.site))
                    found.setdefault(link.array, np.zeros(n, dtype=bool))[behind == i] = True
        return found

    def take_events(self) -> list[Event]:
        """Return the events since the last call."""
        events, self.events = self.events, []
        return events

    def remember(self, events: Sequence[Event]) -> None:
        """Begin with the sensors shut out that were so when the events ended."""
        keys = [self._key(g)[1] for g in range(self.names.count)]
        numbers = {pair: g for g, pair in enumerate(zip(self.names.ids, keys, strict=True))}
        for event in sorted(events, key=lambda e: e.time_ms):
            g = numbers.get((event.component, event.code))
            reason, _, found = event.text.partition(": ")
            if g is not None and event.type == OUT and reason in REASONS[1:]:
                self.sensors.shut(g, event.time_ms, reason, found)
            elif g is not None and event.type == IN:
                self.sensors.let_in(g, event.time_ms)
        self.sensors.take_news()

    def rows(self) -> list[dict[str, object]]:
        """Return the sensors that are shut out now: component, channel, why, what was found, since when."""
        return [
            {
                "component": self.names.ids[g],
                "channel": ".".join(self._key(g)),
                "reason": REASONS[self.sensors.why[g]],
                "found": self.sensors.found.get(g, ""),
                "since_ms": int(self.sensors.since_ms[g]),
            }
            for g in np.flatnonzero(self.sensors.out).tolist()
        ]

    def in_words(self) -> dict[str, str]:
        """Return by component what is to be said of its sensors that are shut out."""
        words: dict[str, str] = {}
        for g in np.flatnonzero(self.sensors.out).tolist():
            said = f"sensor {self._key(g)[1]} {REASONS[self.sensors.why[g]]}, not used by the twin"
            name = self.names.ids[g]
            words[name] = f"{words[name]}; {said}" if name in words else said
        return words

    def of(self, key: Key) -> NDArray[np.bool_]:
        """Tell which sensors of a channel are shut out (S,); nobody where there is no such channel."""
        start = self.names.first.get(key, 0)
        return self.sensors.out[start : start + self.names.size.get(key, 0)]

    def count(self, key: Key) -> int:
        """Return how many sensors of a channel are shut out."""
        return int(self.of(key).sum())

    def _key(self, sensor: int) -> Key:
        return self.names.keys[int(self.names.key_of[sensor])]
