"""Does the twin still follow the site? Judged hall by hall, by the channels that a rehearsal stands on.

    level(hall, channel) = root of the mean of (innovation / its expected size)^2 over the sensors of the hall,
                           forgotten with a time constant of 5 min; one sensor counts at most 5^2

A twin that is what it takes itself for has levels below 1. A hall is out of sync when a level stays above 3 for three
minutes, and in sync again when all have stayed below 2 for ten. While machines start and stop, and for twenty minutes
after, it takes twenty: a fault of the plant surprises at first, and that is no fault of the twin.
A sensor that is shut out says nothing; but sensors do not fail in crowds: where three of a hall's or more, and more
than a quarter, are shut out it is the twin, and they count. What is reported beside (fans, chiller power, accelerators)
does not count: its error changes no plan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.sync.names import Key
from twin.sync.synchronise import Synchroniser

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

COUNTS: tuple[Key, ...] = (
    ("rack", "inlet_c"),
    ("rack", "outlet_c"),
    ("hall", "hot_c"),
    ("hall", "power_kw"),
    ("loop", "supply_c"),
    ("loop", "flow_frac"),
    ("cdu", "coolant_c"),
    ("node", "power_kw"),
)
EVERY_MS = 60_000
FORGET_MS = 300_000
FRESH_MS = 600_000  # a sensor silent for longer says nothing about now
MOST = 5.0
# Nothing is corrected by the power of a hall, so the twin may be off by more than its meter's 2 %: by the 5 % that
# change no plan.
BEARABLE = {("hall", "power_kw"): 0.02 / 0.05}
CROWD, CROWD_FRAC = 3, 0.25
OUT_LEVEL, OUT_AFTER_MS, DISTURBED_AFTER_MS = 3.0, 180_000, 1_200_000
IN_LEVEL, IN_AFTER_MS = 2.0, 600_000
NEVER = -1


@dataclass(frozen=True)
class HallSync:
    """How one hall is followed: the worst channel, its level, whether the hall is out of sync and since when."""

    hall: str
    channel: str
    level: float
    out: bool
    since_ms: int | None

    @property
    def reason(self) -> str:
        """Why it is out of sync, in a phrase."""
        return f"{self.hall}: {self.channel} is {self.level:.1f} times as far off as expected"


class Divergence:
    """Levels of all halls and what follows from them."""

    def __init__(self, site: Site, sync: Synchroniser) -> None:
        """Everything is in sync until readings say otherwise."""
        self.site, self.sync = site, sync
        halls = len(site.hall_ids)
        self.keys = [key for key in COUNTS if key in sync.following]
        self._members = {key: _halls_of_sensors(site, key) for key in self.keys}
        self.level2 = np.full((halls, len(self.keys)), np.nan)
        self.out = np.zeros(halls, dtype=bool)
        self.since_ms = np.full(halls, NEVER, dtype=np.int64)
        self._bad_ms = np.full(halls, NEVER, dtype=np.int64)
        self._good_ms = np.full(halls, NEVER, dtype=np.int64)
        self._noted_ms = 0

    def note(self, now_ms: int) -> None:
        """Judge by the innovations of now, once a minute."""
        span_ms = now_ms - self._noted_ms
        if span_ms < EVERY_MS:
            return
        self._noted_ms = now_ms
        keep = float(np.exp(-min(span_ms, FRESH_MS) / FORGET_MS))
        for k, key in enumerate(self.keys):
            new = self._now(key, now_ms)
            old = self.level2[:, k]
            blended = np.where(np.isnan(old), new, keep * old + (1.0 - keep) * new)
            self.level2[:, k] = np.where(np.isnan(new), old, blended)
        self._decide(now_ms)

    def _now(self, key: Key, now_ms: int) -> Array:
        """Mean square of the scaled innovations of a channel by hall (H,), NaN where no sensor has spoken lately."""
        z = self.sync.scaled(key)
        at = slice(self.sync.names.first[key], self.sync.names.first[key] + len(z))
        fresh = np.isfinite(z) & (now_ms - self.sync.past.newest_ms[at] <= FRESH_MS)
        out = self.sync.out[at]
        square = np.minimum((BEARABLE.get(key, 1.0) * np.where(fresh, z, 0.0)) ** 2, MOST**2)
        answer = np.full(len(self.out), np.nan)
        for hall, sensors in enumerate(self._members[key]):
            says = sensors[fresh[sensors]]
            n_out = int(out[says].sum())
            if n_out < CROWD or n_out <= CROWD_FRAC * len(says):
                says = says[~out[says]]
            if len(says):
                answer[hall] = float(square[says].mean())
        return answer

    def _decide(self, now_ms: int) -> None:
        worst = np.sqrt(np.nan_to_num(self.level2).max(axis=1, initial=0.0))
        self._bad_ms = _since(worst > OUT_LEVEL, self._bad_ms, now_ms)
        self._good_ms = _since(worst < IN_LEVEL, self._good_ms, now_ms)
        after_ms = DISTURBED_AFTER_MS if self.sync.board.disturbed(now_ms) else OUT_AFTER_MS
        falls = ~self.out & (self._bad_ms != NEVER) & (now_ms - self._bad_ms >= after_ms)
        rises = self.out & (self._good_ms != NEVER) & (now_ms - self._good_ms >= IN_AFTER_MS)
        self.since_ms[falls], self.since_ms[rises] = now_ms, NEVER
        self.out = (self.out | falls) & ~rises

    def halls(self) -> list[HallSync]:
        """Return how each hall is followed; one that no sensor speaks of has level 0."""
        answer = []
        for h, hall in enumerate(self.site.hall_ids):
            levels = np.sqrt(np.nan_to_num(self.level2[h]))
            k = int(levels.argmax()) if len(levels) else 0
            channel = ".".join(self.keys[k]) if len(levels) and levels[k] > 0.0 else ""
            since = int(self.since_ms[h])
            level = float(levels[k]) if len(levels) else 0.0
            answer.append(HallSync(hall, channel, level, bool(self.out[h]), None if since == NEVER else since))
        return answer

    def remember(self, halls: Iterable[str], now_ms: int) -> None:
        """Begin with halls out of sync that were so a moment ago, for a worker that starts again."""
        for hall in halls:
            if hall in self.site.hall_ids:
                h = self.site.hall_ids.index(hall)
                self.out[h], self.since_ms[h] = True, now_ms

    def in_sync(self, halls: set[str] | None = None) -> tuple[bool, str]:
        """Tell whether these halls (all where None) are followed, and if not which are not and why."""
        lost = [one for one in self.halls() if one.out and (halls is None or one.hall in halls)]
        return not lost, "; ".join(one.reason for one in lost)


def halls_behind(site: Site, component: str) -> set[str]:
    """Return the halls whose state decides what becomes of a component: its own, or all that share its water.

    What lies in no hall and on no loop (a feed, a UPS beside the halls, the region) concerns all.
    """
    loops = _loops_of(site, component)
    if not loops:
        own = [h for h, hall in enumerate(site.hall_ids) if component == hall or component.startswith(hall + "/")]
        loops = {int(site.hall_loop[h]) for h in own}
    found = {hall for h, hall in enumerate(site.hall_ids) if int(site.hall_loop[h]) in loops}
    return found or set(site.hall_ids)


def _loops_of(site: Site, component: str) -> set[int]:
    """The loop of that name, or the one a chiller or pump stands in; two names may begin alike."""
    named = {i for i, loop in enumerate(site.loop_ids) if component == loop or component.startswith(loop + "/")}
    if component in site.chiller_ids:
        named.add(int(site.chiller_loop[site.chiller_ids.index(component)]))
    return named


def _since(holds: NDArray[np.bool_], before: Ints, now_ms: int) -> Ints:
    """Since when something has held (H,), NEVER where it does not."""
    return np.where(holds, np.where(before == NEVER, now_ms, before), NEVER).astype(np.int64)


def _halls_of_sensors(site: Site, key: Key) -> list[Ints]:
    """Return for each hall the places of the sensors of a channel that speak of it; a loop speaks of all its halls."""
    kind = key[0]
    if kind == "loop":
        return [np.array([int(loop)], dtype=np.int64) for loop in site.hall_loop]
    of = {
        "hall": np.arange(len(site.hall_ids)),
        "rack": site.rack_hall,
        "node": site.node_hall,
        "cdu": np.array([_hall_index(site, name) for name in site.components("cdu")], dtype=np.int64),
    }[kind]
    return [np.flatnonzero(of == h).astype(np.int64) for h in range(len(site.hall_ids))]


def _hall_index(site: Site, component: str) -> int:
    """The hall a component's name lies in, -1 none."""
    found = [h for h, hall in enumerate(site.hall_ids) if component.startswith(hall + "/")]
    return found[0] if found else -1
