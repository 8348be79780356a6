"""What a site announces beside its readings: events that say what will happen, not only what is.

The rule, also in docs/sync.md:
- An event is heard once, in the first look at or after its own time.
- One that comes in more than LATE_MS after its time is not heard: states of machines have told since.
- A twin that goes on from a snapshot hears what happened after the snapshot's instant; whoever wrote it had heard the
  rest. One that begins at rest hears the last hour.
- Of one machine the newest counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.cooling_bits import CHILLER_ON, STARTING
from twin.state import State
from twin.sync.lateness import LATE_MS
from twin.telemetry.store import Event

CHILLER = "chiller"  # type of the events whose code is the chiller's phase
AT_REST_MS = 3_600_000  # so far back a twin that begins at rest hears: no announced start takes longer

Ints = NDArray[np.int64]


class Announced:
    """Which events of a store are news to one twin."""

    def __init__(self, known_ms: int) -> None:
        """What happened up to `known_ms` the twin has heard."""
        self.looked_ms = known_ms
        self._heard: set[tuple[int, str, str, str]] | None = None

    @property
    def since_ms(self) -> int:
        """From when on events may be news, also those that come in late [Unix ms]."""
        return self.looked_ms - LATE_MS

    def news(self, events: Sequence[Event], now_ms: int) -> list[Event]:
        """Return the events that were not heard before, of all those from `since_ms` up to now; they are heard now."""
        keys = [(event.time_ms, event.component, event.type, event.code) for event in events]
        if self._heard is None:
            new = [event for event in events if event.time_ms > self.looked_ms]
        else:
            new = [event for event, key in zip(events, keys, strict=True) if key not in self._heard]
        self._heard, self.looked_ms = set(keys), max(now_ms, self.looked_ms)
        return new


def newest_of(events: Sequence[Event], types: Sequence[str]) -> Mapping[str, Event]:
    """Return the newest event of some types of each component."""
    some = sorted((event for event in events if event.type in types), key=lambda event: event.time_ms)
    return {event.component: event for event in some}


def adopt_events(state: State, site: Site, events: Sequence[Event], told_ms: Ints | None = None) -> None:
    """Take starting chillers as announced, in place: they carry load once their start, as the site file says, is over.

    A restart after a trip takes the retry time, the start of one that stood by the restart time. An event of an unknown
    component or with another code changes nothing, nor does one of a start that must have been over for LATE_MS, or of
    a chiller that has been seen running since. told_ms: newest reading of each chiller's state [Unix ms] (C,).
    """
    known = {name: k for k, name in enumerate(site.chiller_ids)}
    for name, event in newest_of(events, (CHILLER,)).items():
        k = known.get(name)
        if event.code != str(STARTING) or k is None:
            continue
        takes_s = float(site.chiller_restart_s[k] if site.chiller_standby[k] else site.cooling.chiller_retry_s[k])
        due_ms = event.time_ms + int(takes_s * 1000)
        seen_since = told_ms is not None and told_ms[k] > event.time_ms
        runs = seen_since and bool((state.chiller_phase[:, k] == CHILLER_ON).all())
        rows = tuple(int(r) for r in (state.chiller_phase[:, k] != STARTING).nonzero()[0])
        if runs or due_ms < state.now_ms - LATE_MS or not rows:
            continue
        due_ms = max(due_ms, state.now_ms)
        state.chiller_phase[list(rows), k], state.chiller_until_ms[list(rows), k] = STARTING, due_ms
        state.agenda.add(due_ms, CHILLER, name, "start", {}, rows)
