"""Slow drifts: what a sensor would read beyond a twin that had learned nothing from it meanwhile.

    level(t) = reading - prediction + what has been learned until t, as a change of the prediction

A filter that follows a drifting outlet hides the drift in the rack's air flow, a little every minute; the level shows
it whole, and shows a flow that changes at once as a step. A rack's air flow is learned once. It may change with its
load, with its hall, or at once (a fan fails), but hardly alone, evenly, for half an hour. So a sensor drifts where its
level, less the median of its hall, lies on a line that has risen or fallen further than chance and load explain.
Looked at every five minutes, all sensors at once. Nothing of it is in State (docs/decisions/017).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.derived import Derived
from twin.sync.assimilate import mean_of
from twin.sync.evidence import SIBLINGS
from twin.sync.heard import Heard
from twin.sync.names import Key, Names
from twin.sync.sensorfaults import Sensors

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

EVERY_MS = 300_000
# So many levels in a row (30, 40 and 60 min), and the share of their variance that a line must explain: of a step it
# explains three quarters at most, wherever that lies.
SPANS: tuple[tuple[int, float], ...] = ((7, 0.98), (9, 0.95), (13, 0.9))
BEGINS = (5, 0.9)
RISE_K, DOUBT_K = 0.75, 0.4  # of the line, from end to end: a drift; and what leaves the parameters in doubt
RESTLESS = 2.0  # so many times further while machines start and stop
LOAD = 2.0  # where the plant was expected to move more than so many times the rise, the twin may be wrong about that
ALSO = 0.5  # the other channel of the rack has risen by this share: the air itself
LEAST_PEERS, MANY_PEERS = 4, 8  # for a median; for one that tells also while machines change
INLET, OUTLET, HOT = ("rack", "inlet_c"), ("rack", "outlet_c"), ("hall", "hot_c")
READINGS = 24  # in five minutes, at most

Learned = tuple[Array, Array]
"""What has been learned (C,), and what one unit of it changes in what is read, once all has settled (C,)."""


def _inlets(d: Derived) -> list[Learned]:
    s, site = d.state, d.site
    recirc = mean_of(s.rack_recirc_frac)
    hotter_k = mean_of(s.hall_hot_c)[site.rack_hall] - mean_of(s.rack_inlet_c)
    return [(recirc, hotter_k / np.maximum(1.0 - recirc, 0.05)), (mean_of(s.rack_inlet_bias_k), np.ones(len(recirc)))]


def _outlets(d: Derived) -> list[Learned]:
    """Outlet = inlet + heat / flow + error."""
    s = d.state
    heat_kw = mean_of(d.rack_kw)
    return [(mean_of(1.0 / s.rack_flow_kw_per_k), heat_kw), (mean_of(s.rack_outlet_bias_k), np.ones(len(heat_kw)))]


def _hot(d: Derived) -> list[Learned]:
    bias_k = mean_of(d.state.hall_hot_bias_k)
    return [(bias_k, np.ones(len(bias_k)))]


SLOW: dict[Key, Callable[[Derived], list[Learned]]] = {
    INLET: _inlets,
    OUTLET: _outlets,
    HOT: _hot,
}


class Line(NamedTuple):
    """A line through levels (S,): how far it rises from end to end [K], and how much of the variance it explains."""

    rise: Array
    share: Array


def line_through(levels: Array) -> Line:
    """Fit a line through evenly spaced levels (n, S); nan where one is missing."""
    n = len(levels)
    place = np.arange(n) - 0.5 * (n - 1)
    off = levels - levels.mean(axis=0)
    slope = place @ off / (place @ place)
    total = np.einsum("ns,ns->s", off, off)
    return Line(slope * (n - 1), slope**2 * (place @ place) / np.maximum(total, 1e-12))


def _middle(rows: Array) -> Array:
    """The median of each row; numpy's own takes five times as long for rows so short."""
    rows = np.sort(rows, axis=1)
    n = rows.shape[1]
    return np.asarray(0.5 * (rows[:, (n - 1) // 2] + rows[:, n // 2]))


class Trends:
    """Levels of the sensors of air of one site."""

    def __init__(self, site: Site, names: Names) -> None:
        """Nothing has been heard."""
        self.site, self.names = site, names
        self.keys = [key for key in SLOW if key in names.first]
        sizes = [names.size[key] for key in self.keys]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64).tolist()
        self.first = dict(zip(self.keys, starts, strict=False))
        n = starts[-1]
        self.sensor = np.concatenate(
            [np.zeros(0, dtype=np.int64), *(np.arange(names.count)[names.of(key)] for key in self.keys)]
        )
        """The number of each among all sensors of the site."""
        self.place = np.full(names.count, -1, dtype=np.int64)
        self.place[self.sensor] = np.arange(n)
        self.peers, self.sibling = self._peers(), self._siblings()
        self.beside_others = np.zeros(n, dtype=bool)
        """Whose hall had enough sensors for a median when last looked at."""
        self.said, self.heard = np.full((READINGS, n), np.nan), np.zeros(n, dtype=np.int64)
        self.expected_sum, self.learned_k = np.zeros((2, n))
        self.level, self.plain = np.full((2, SPANS[-1][0], n), np.nan)
        self.before: Array | None = None
        self.closed_ms = self.closed = 0

    def _peers(self) -> list[tuple[Ints, Ints]]:
        """By channel and hall: the sensors, and those that they are held against."""
        found = []
        for key in self.keys:
            # the air of a hall is held against its racks' outlets: it is their mixture
            others = OUTLET if key[0] == "hall" else key
            for hall in range(len(self.site.hall_ids)):
                found.append((self._places(key, hall), self._places(others, hall)))
        return found

    def _places(self, key: Key, hall: int) -> Ints:
        """Where the sensors of a channel in a hall stand here."""
        if key not in self.first:
            return np.zeros(0, dtype=np.int64)
        halls = np.arange(len(self.site.hall_ids)) if key[0] == "hall" else np.asarray(self.site.rack_hall)
        return np.asarray(self.first[key] + np.flatnonzero(halls == hall), dtype=np.int64)

    def hear(self, heard: Heard) -> None:
        """Note what sensors read and what was predicted; those of other channels are passed over."""
        place = self.place[heard.sensor]
        ours = place >= 0
        at, mean = place[ours], heard.mean[ours]
        self.said[self.heard[at] % READINGS, at] = heard.value[ours] - mean
        self.expected_sum[at] += mean
        self.heard[at] += 1

    def tell(self, sensors: Sensors, d: Derived, now_ms: int) -> None:
        """Once in five minutes, look at all levels and tell who has drifted and who is in doubt."""
        if now_ms - self.closed_ms < EVERY_MS:
            return
        self.close(d, now_ms)
        drifted, doubtful, rising = self.judge()
        # what machines do to the air of a hall all its racks say, and that has been taken off; not of each alike
        restless = sensors.board.restless(self.sensor, now_ms)
        calm = ~restless | (self.beside_others & (np.abs(drifted) >= RESTLESS * RISE_K))
        sensors.slow[self.sensor] = np.where(calm, drifted, 0.0)
        sensors.held[self.sensor] = (doubtful != 0.0) & (~restless | self.beside_others)
        sensors.rising[self.sensor] = rising

    def close(self, d: Derived, now_ms: int) -> None:
        """Five minutes are over: one level more of each sensor; what says nothing keeps its last one."""
        self.closed_ms = now_ms
        self.closed += 1
        now, effect = self._learned(d)
        step_k = np.zeros(len(self.sensor)) if self.before is None else (effect * (now - self.before)).sum(axis=0)
        middle_k = self.learned_k + 0.5 * step_k
        self.before, self.learned_k = now, self.learned_k + step_k
        spoke = self.heard > 0
        surprise, expected = np.full((2, len(self.sensor)), np.nan)
        surprise[spoke] = np.nanmedian(self.said[:, spoke], axis=0)
        expected[spoke] = self.expected_sum[spoke] / self.heard[spoke]
        self._push(self.level, surprise + middle_k)
        self._push(self.plain, expected - middle_k)
        self.said[...], self.heard[...], self.expected_sum[...] = np.nan, 0, 0.0

    def _learned(self, d: Derived) -> tuple[Array, Array]:
        """What has been learned, and what one unit of it changes in what is read (things, S)."""
        parts = {key: SLOW[key](d) for key in self.keys}
        now, effect = np.zeros((2, max(map(len, parts.values()), default=0), len(self.sensor)))
        for key, part in parts.items():
            for j, (value, per_unit) in enumerate(part):
                span = slice(self.first[key], self.first[key] + len(value))
                now[j, span], effect[j, span] = value, per_unit
        return now, effect

    @staticmethod
    def _push(kept: Array, new: Array) -> None:
        kept[:-1] = kept[1:]
        kept[-1] = np.where(np.isfinite(new), new, kept[-2])

    def _own(self, levels: Array) -> Array:
        """Levels, each from its own mean, less the median of the hall's where that has enough sensors (n, S)."""
        known = np.isfinite(levels)
        mean = np.where(known, levels, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        centred = levels - mean
        own, whole = centred.copy(), np.asarray(known.all(axis=0))
        for at, peers in self.peers:
            there = peers[whole[peers]]
            self.beside_others[at] = len(there) >= MANY_PEERS
            if len(there) >= LEAST_PEERS:
                own[:, at] -= _middle(centred[:, there])[:, None]
        return np.asarray(own)

    def judge(self) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return how far each has drifted, by how much one is in doubt [K] (S,), 0 for none, and who may begin to."""
        drifted, doubtful = np.zeros((2, len(self.sensor)))
        kept = min(self.closed, len(self.level))
        if kept < BEGINS[0]:
            return drifted, doubtful, drifted != 0.0
        level, plain = self._own(self.level[-kept:]), self._own(self.plain[-kept:])
        for n, least in SPANS:
            if n > kept:
                break
            line = line_through(level[-n:])
            rise = np.abs(line.rise)
            even = (line.share >= least) & (rise >= DOUBT_K)
            if even.any():
                moved = np.ptp(plain[-n:], axis=0)
                even &= (moved <= LOAD * rise) & ~self._both(line.rise)
                drifted = np.where(even & (rise >= RISE_K), line.rise, drifted)
                doubtful = np.where(even, line.rise, doubtful)
        n, least = BEGINS
        line = line_through(level[-n:])
        return drifted, doubtful, (line.share >= least) & (np.abs(line.rise) >= DOUBT_K)

    def _siblings(self) -> Ints:
        """The other channel of the same rack, -1 for none."""
        out = np.full(len(self.sensor), -1, dtype=np.int64)
        for key, other in SIBLINGS.items():
            if key in self.first and other in self.first:
                racks = np.arange(self.names.size[key])
                out[self.first[key] + racks] = self.first[other] + racks
        return out

    def _both(self, rise: Array) -> NDArray[np.bool_]:
        """Inlet and outlet of a rack rise together: that is air."""
        other = np.asarray(rise[self.sibling]) if len(rise) else rise
        return np.asarray((self.sibling >= 0) & (other * np.sign(rise) >= ALSO * np.abs(rise)))
