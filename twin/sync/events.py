"""What a site announces beside its readings: events that say what will happen, not only what is."""

from __future__ import annotations

from collections.abc import Sequence

from plant.site import Site
from twin.cooling_bits import STARTING
from twin.state import State
from twin.telemetry.store import Event

CHILLER = "chiller"  # type of the events whose code is the chiller's phase


def adopt_events(state: State, site: Site, events: Sequence[Event]) -> None:
    """Take starting chillers as announced, in place: they carry load once their start, as the site file says, is over.

    A restart after a trip takes the retry time, the start of one that stood by the restart time. An event of an unknown
    component or with another code changes nothing.
    """
    known = {name: k for k, name in enumerate(site.chiller_ids)}
    for event in events:
        k = known.get(event.component)
        if event.type != CHILLER or event.code != str(STARTING) or k is None:
            continue
        rows = tuple(int(r) for r in (state.chiller_phase[:, k] != STARTING).nonzero()[0])
        if not rows:
            continue
        takes_s = float(site.chiller_restart_s[k] if site.chiller_standby[k] else site.cooling.chiller_retry_s[k])
        due_ms = max(event.time_ms + int(takes_s * 1000), state.now_ms)
        state.chiller_phase[list(rows), k], state.chiller_until_ms[list(rows), k] = STARTING, due_ms
        state.agenda.add(due_ms, CHILLER, event.component, "start", {}, rows)
