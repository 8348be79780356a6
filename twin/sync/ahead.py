"""How far ahead the live twin sees: forks of it run 10 min and 1 h on, and are scored when the readings arrive.

Every ten minutes of site time a few members of the live ensemble are copied and left to themselves, every third time
for the whole hour: jobs, machines and weather go on as the twin knows them. What each sensor will say is kept until it
says it. Persistence, the reading of the instant the forecast was made, stands beside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.drivers import Drivers
from twin.engine import Engine
from twin.state import State
from twin.sync.names import Key
from twin.sync.operators import OPERATORS, Operator
from twin.sync.synchronise import Synchroniser
from twin.telemetry.store import Batch

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Told = tuple[int, str, Any]
"""A score as a board keeps it: the instant the forecast was for [Unix ms], channel@horizon, the sums."""
Forecast = list[dict[Key, tuple[Array, Array]]]
"""By horizon and channel: mean and standard deviation of what each sensor will read."""


class Answer(Protocol):
    """What waits for a forecast that is made elsewhere."""

    def result(self) -> Forecast:
        """Return it when it is there; raises BrokenExecutor where nobody makes it any more."""
        ...


Coming = tuple[int, Array, tuple[State, Drivers | None, tuple[int, ...], tuple[Key, ...]], Answer | None]
"""A forecast that is being made: since when, the newest readings of then, what was asked, who answers (None: we)."""

BY_KEY = {o.key: o for o in OPERATORS}
HORIZONS_S = (600, 3600)
EVERY_MS = 600_000
LONG_EVERY = 3  # the whole hour costs five times the ten minutes
MEMBERS = 8
STEP_MS, CALM_STEP_MS = 15_000, 60_000
NOT_CALM_K = 1e3  # nothing is known of the step before the first: it is a short one
EARLY_MS = 7_500  # a reading half a tick before the instant is one of that instant
LATE_MS = 120_000  # slow sensors take turns
ROUNDS = 144  # of forecasts that count: a day
Z80 = 1.2816  # 80 % of a normal distribution lie within so many standard deviations
SMALL = 1e-6  # relative errors are not taken of readings nearer to nothing


@dataclass
class Look:
    """One forecast that waits: by sensor number mean and standard deviation of what will be read, what was read then.

    persistence: newest reading of each sensor when it was made; read: NaN until it speaks.
    """

    made_ms: int
    due_ms: int
    mean: Array
    sd: Array
    persistence: Array
    read: Array = field(init=False)

    def __post_init__(self) -> None:
        """Nothing has been read yet."""
        self.read = np.full(len(self.mean), np.nan)

    @property
    def horizon_s(self) -> int:
        """How far ahead it looks [s]."""
        return (self.due_ms - self.made_ms) // 1000


@dataclass(frozen=True)
class Score:
    """Sums over the sensors of one channel that answered one forecast; `of_ms`: the instant it was for."""

    of_ms: int
    n: int
    error: float
    error2: float
    relative: float
    relative_n: int
    read: float
    persistence2: float
    persistence_relative: float
    inside: int
    stale: int


class Lookout:
    """The forecasts of one live twin, waiting and scored."""

    def __init__(self, sync: Synchroniser, members: int = MEMBERS) -> None:
        """Nothing has been said yet."""
        self.sync, self.members = sync, members
        self.waiting: list[Look] = []
        self.scores: dict[tuple[Key, int], deque[Score]] = {}
        self.settled: dict[int, Look] = {}
        """By horizon the newest forecast whose time has come."""
        self.beside: Callable[..., Answer] | None = None
        """Who lets members live on in another process (`live_on` without its first and last argument), None here."""
        self._coming: deque[Coming] = deque()
        self._news: list[Told] = []
        self._rows: list[dict[str, object]] | None = None
        self._looked_ms = self._looks = 0

    def tick(self, state: State, drivers: Drivers | None, batch: Batch, now_ms: int) -> None:
        """Take the readings of now, score what they answer, and look ahead when it is time."""
        self._take(now_ms + EARLY_MS)
        self._hear(batch, now_ms)
        for look in [one for one in self.waiting if now_ms >= one.due_ms + LATE_MS]:
            self.waiting.remove(look)
            self._settle(look)
        if now_ms - self._looked_ms >= EVERY_MS and self.sync.spoken:
            self._looked_ms = now_ms
            self.look(state, drivers, now_ms)

    def look(self, state: State, drivers: Drivers | None, now_ms: int) -> None:
        """Let a few members live on by themselves and keep what each sensor would read."""
        rows = np.unique(np.linspace(0, state.members - 1, self.members).astype(np.int64)).tolist()
        fork = state.rows(rows)
        horizons_s = HORIZONS_S if self._looks % LONG_EVERY == 0 else HORIZONS_S[:1]
        self._looks += 1
        told = fork, drivers, horizons_s, tuple(sorted(self.sync.spoken))
        answer = None if self.beside is None else self.beside(*told)
        self._coming.append((now_ms, self._newest(), told, answer))
        if answer is None:
            self._take(now_ms + 1000 * horizons_s[0])

    def _take(self, until_ms: int) -> None:
        """Take the forecasts whose first instant has come; what another process was to say and did not is done here."""
        while self._coming and self._coming[0][0] + 1000 * self._coming[0][2][2][0] <= until_ms:
            made_ms, persistence, told, answer = self._coming.popleft()
            try:
                found = None if answer is None else answer.result()
            except BrokenExecutor:
                self.beside, found = None, None
            found = found or live_on(self.sync.site, *told, self.sync.operators)
            for horizon_s, said in zip(told[2], found, strict=True):
                mean, sd = np.full((2, self.sync.names.count), np.nan)
                for key, both in said.items():
                    mean[self.sync.names.of(key)], sd[self.sync.names.of(key)] = both
                self.waiting.append(Look(made_ms, made_ms + 1000 * horizon_s, mean, sd, persistence))

    def _newest(self) -> Array:
        answer = np.full(self.sync.names.count, np.nan)
        for key, following in self.sync.following.items():
            start = self.sync.names.first[key]
            answer[start : start + len(following.last)] = following.last
        return answer

    def _hear(self, batch: Batch, now_ms: int) -> None:
        """Keep the first reading of each sensor at or after the instant of a forecast."""
        asked = [one for one in self.waiting if now_ms >= one.due_ms - EARLY_MS]
        if not asked or not len(batch):
            return
        sensor = self.sync.names.find(batch)
        for look in asked:
            use = (sensor >= 0) & (batch.time_ms >= look.due_ms - EARLY_MS) & (batch.time_ms < look.due_ms + LATE_MS)
            new = np.flatnonzero(use & np.isnan(look.read[sensor]))[::-1]  # the first of several stays
            look.read[sensor[new]] = batch.value[new]

    def _settle(self, look: Look) -> None:
        self.settled[look.horizon_s] = look
        names, out = self.sync.names, self.sync.out
        silent = np.isfinite(look.persistence) & (self.sync.past.newest_ms <= look.made_ms)
        for key in self.sync.spoken:
            at = slice(names.first[key], names.first[key] + names.size[key])
            score = score_of(look, at, out[at], silent[at])
            if score is not None:
                self._keep(key, look.horizon_s, score)
                self._news.append((look.due_ms, f"{key[0]}.{key[1]}@{look.horizon_s}", asdict(score)))

    def _keep(self, key: Key, horizon_s: int, score: Score) -> None:
        self.scores.setdefault((key, horizon_s), deque(maxlen=ROUNDS)).append(score)
        self._rows = None

    def take_news(self) -> list[Told]:
        """Return the scores since the last call, for a history that outlives this process."""
        news, self._news = self._news, []
        return news

    def remember(self, told: Iterable[Told]) -> None:
        """Begin with the scores of an earlier worker, oldest first; what is none, or of no channel, is left out."""
        names = {f"{key[0]}.{key[1]}": key for key in self.sync.operators}
        for _, name, sums in told:
            channel, _, horizon = name.partition("@")
            key, score = names.get(channel), _score(sums)
            if key is not None and score is not None and horizon.isdecimal() and int(horizon) in HORIZONS_S:
                self._keep(key, int(horizon), score)

    def rows(self) -> list[dict[str, object]]:
        """Return one row per channel and horizon, in the words of contracts.md."""
        if self._rows is None:  # asked for at each posting, new every ten minutes
            self._rows = [
                {"channel": f"{kind}.{channel}", "horizon_s": horizon_s, **summary(list(scores))}
                for ((kind, channel), horizon_s), scores in sorted(self.scores.items())
            ]
        return [dict(row) for row in self._rows]


def live_on(
    site: Site, fork: State, drivers: Drivers | None, horizons_s: tuple[int, ...], keys: Sequence[Key],
    operators: Mapping[Key, Operator] = BY_KEY,
) -> Forecast:  # fmt: skip
    """Let members live on by themselves, in place; return what the sensors of some channels will read.

    For each horizon, by channel: mean and standard deviation of each sensor.
    """
    made_ms = fork.now_ms
    fork.step_ms, fork.calm_step_ms = min(STEP_MS, fork.step_ms), CALM_STEP_MS
    fork.temp_moved_k[...] = NOT_CALM_K
    engine, found = Engine(fork, site, drivers=drivers), []
    for horizon_s in horizons_s:
        engine.run(made_ms + 1000 * horizon_s)
        engine.derived.refresh()
        found.append({key: _said(engine, operators[key]) for key in keys})
    return found


def _said(engine: Engine, o: Operator) -> tuple[Array, Array]:
    """Return mean and standard deviation of what every sensor of a channel will read."""
    predicted = o.predict(engine.derived)
    if o.bias:
        predicted = predicted + engine.state.arrays[o.bias]
    mean = predicted.mean(axis=0)
    own = o.error_sd**2 + (o.error_frac * mean) ** 2 + o.noise_sd**2
    return mean, np.sqrt(predicted.var(axis=0, ddof=min(1, len(predicted) - 1)) + own)


def _score(sums: object) -> Score | None:
    """Read a score from plain data, None where it is none."""
    kinds = {f.name: int if f.type == "int" else (int, float) for f in fields(Score)}
    if not isinstance(sums, dict) or sums.keys() != kinds.keys():
        return None
    if not all(isinstance(sums[name], kind) for name, kind in kinds.items()):
        return None
    return Score(**sums)


def score_of(look: Look, at: slice, out: Flags, silent: Flags) -> Score | None:
    """Return how a forecast did on some sensors, those shut out (`out`) left aside; None where none answered.

    silent: sensors that spoke before the forecast and never after it.
    """
    y, f, p, sd = look.read[at], look.mean[at], look.persistence[at], look.sd[at]
    seen = np.isfinite(y) & np.isfinite(f) & np.isfinite(p) & ~out
    stale = int((silent & ~out).sum())
    n = int(seen.sum())
    if not n and not stale:
        return None
    y, f, p, sd = y[seen], f[seen], p[seen], sd[seen]
    size = np.abs(y)
    some = size > SMALL
    return Score(
        of_ms=look.due_ms,
        n=n,
        error=float((f - y).sum()),
        error2=float(((f - y) ** 2).sum()),
        relative=float((np.abs(f - y)[some] / size[some]).sum()),
        relative_n=int(some.sum()),
        read=float(y.sum()),
        persistence2=float(((p - y) ** 2).sum()),
        persistence_relative=float((np.abs(p - y)[some] / size[some]).sum()),
        inside=int((np.abs(f - y) <= Z80 * sd).sum()),
        stale=stale,
    )


def summary(scores: list[Score]) -> dict[str, object]:
    """Return the figures of several forecasts of one channel together; None where they mean nothing."""
    n, relative_n = sum(s.n for s in scores), sum(s.relative_n for s in scores)
    answer: dict[str, object] = {"n": n, "stale": scores[-1].stale if scores else 0, "forecasts": len(scores)}
    if not n:
        return answer | dict.fromkeys(FIGURES) | {"reason": "no sensor answered a forecast"}
    read = sum(s.read for s in scores)
    rmse = (sum(s.error2 for s in scores) / n) ** 0.5
    level = abs(read) / n
    return answer | {
        "rmse": rmse,
        "mape": sum(s.relative for s in scores) / relative_n if relative_n else None,
        "nmbe": sum(s.error for s in scores) / abs(read) if level > SMALL else None,
        "cv_rmse": rmse / level if level > SMALL else None,
        "persistence_rmse": (sum(s.persistence2 for s in scores) / n) ** 0.5,
        "persistence_mape": sum(s.persistence_relative for s in scores) / relative_n if relative_n else None,
        "coverage80": sum(s.inside for s in scores) / n,
    }


FIGURES = ("rmse", "mape", "nmbe", "cv_rmse", "persistence_rmse", "persistence_mape", "coverage80")
