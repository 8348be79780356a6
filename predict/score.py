"""Scoring: every watched component of a site in one batch, by the tiers that can speak for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from predict.alarms import chain
from predict.baselines import BASE_RATES, residual_p_fail
from predict.calibrate import hazards
from predict.features import moment_features, window_features
from predict.histories import ready
from predict.observer import Observer
from predict.reference import Residual
from predict.registry import Model
from predict.risk import ActRule, Decider, Risk, Tier
from predict.survival import HORIZONS_S, QUANTILES, fail_prob, time_quantiles_s
from predict.watched import WATCHES, Watched

Array = NDArray[np.float64]

STALE_S = 180.0  # not above what the level of `predict/reference.py` looks back on
LSTM_EVERY_MS = 60_000
# A component that gets this far off (in tolerances, any judged channel) is re-judged by the network at once.
MOVED = 0.5
HEALTHY = ("within its healthy range",)
COLD = ("no healthy reference yet: base rate of its kind",)


@dataclass
class Scores:
    """One round over all rows: P(fail) (rows, horizons), NaN where unknown, and who spoke."""

    at_ms: int
    p_fail: Array
    tier: list[Tier]
    unknown: NDArray[np.bool_]
    age_s: Array
    act: NDArray[np.bool_]
    residual: Residual = field(repr=False)


class Scorer:
    """Readings in, risks out. Holds the windows, the references, the last word of the network and the decisions.

    The network may raise a risk above what the residual says and never lowers it: it has only seen emulated failures,
    the residual is measured (docs/decisions/020-who-speaks-about-risk.md).
    """

    def __init__(
        self, site: Any, model: Model | None = None, rule: ActRule | None = None, kinds: tuple[str, ...] | None = None
    ) -> None:
        self.watched = site if isinstance(site, Watched) else Watched.of_site(site, kinds)
        self.model = model
        self.observer = Observer(self.watched)
        self.rule = rule or ActRule()
        rows = len(self.watched.ids)
        self.decider = Decider(rows, self.rule, _upstream(self.watched))
        self.base = np.array([BASE_RATES[kind].p_fail() for kind in self.watched.kind_of_row])
        self.base_per_h = np.array([BASE_RATES[kind].mean_per_h for kind in self.watched.kind_of_row])
        self.judged = self.observer.reference.worse != 0
        known = {kind: code for code, kind in enumerate(model.kinds)} if model else {}
        self.code = np.array([known.get(kind, -1) for kind in self.watched.kind_of_row], np.int64)
        self.lstm: Array = np.full((rows, len(HORIZONS_S)), np.nan)
        # the minute's work is spread over its ticks by name, so neither a tick nor the order of components stands out
        self.stagger_ms = (
            np.array([crc32(name.encode()) % 4 for name in self.watched.ids], np.int64) * LSTM_EVERY_MS // 4
        )
        self.lstm_ms = np.full(rows, -LSTM_EVERY_MS, np.int64)
        self.moved = np.zeros(rows, bool)

    @property
    def parent(self) -> dict[str, str]:
        """Who each component depends on, for grouping alerts."""
        return dict(self.watched.parent)

    def update(self, batch: Any) -> int:
        """Take a batch of readings (order, gaps and lateness do not matter); return how many were kept."""
        return self.observer.update(batch)

    def score(self, now_ms: int) -> list[Risk]:
        """Return the risk of every watched component at `now_ms`, in row order."""
        return self.risks(self.score_arrays(now_ms))

    def score_arrays(self, now_ms: int) -> Scores:
        """Score all rows; the arrays behind `score`, for replays that need no objects."""
        self.observer.advance(now_ms)
        residual = self.observer.residual()
        warm = self._half(self.observer.reference.warm)
        unknown = self._unknown(now_ms)
        p_residual = residual_p_fail(residual, self.base_per_h)
        p_lstm = self._network(now_ms, residual)
        speaks = p_lstm[:, 3] > p_residual[:, 3]
        p = np.fmax(p_residual, p_lstm)
        p = np.where(warm[:, None], p, self.base)
        p = np.minimum(np.maximum.accumulate(np.where(unknown[:, None], np.nan, p), axis=1), 1.0)
        tier: list[Tier] = [
            "base_rate" if not has else "lstm" if net else "residual"
            for has, net in zip(warm.tolist(), speaks.tolist(), strict=True)
        ]
        act = self.decider.decide(now_ms, p[:, HORIZONS_S.index(self.rule.horizon_s)])
        return Scores(now_ms, p, tier, unknown, self.observer.windows.age_s(now_ms), act, residual)

    def risks(self, scores: Scores) -> list[Risk]:
        """Turn arrays into values, reasons in words included."""
        reasons = self._reasons(scores)
        quantiles = np.full((len(scores.tier), len(QUANTILES)), np.nan)
        reaching = np.flatnonzero(scores.p_fail[:, -1] >= QUANTILES[0])
        quantiles[reaching] = time_quantiles_s(scores.p_fail[reaching])
        version = self.model.version if self.model else None
        rows = zip(
            self.watched.ids,
            self.watched.kind_of_row,
            scores.p_fail.tolist(),
            quantiles.tolist(),
            np.isfinite(quantiles[:, 0]).tolist(),
            scores.tier,
            reasons,
            scores.age_s.tolist(),
            scores.unknown.tolist(),
            scores.act.tolist(),
            strict=True,
        )
        nothing: dict[int, float | None] = dict.fromkeys(HORIZONS_S)
        return [
            Risk(
                component,
                kind,
                scores.at_ms,
                nothing.copy() if unknown else dict(zip(HORIZONS_S, p, strict=True)),
                _quantiles(times) if reached and not unknown else None,
                tier,
                why,
                version if tier == "lstm" else None,
                age if age != float("inf") else None,
                unknown,
                act,
            )
            for component, kind, p, times, reached, tier, why, age, unknown, act in rows
        ]

    def _unknown(self, now_ms: int) -> NDArray[np.bool_]:
        """Rows of which less than half of the judged channels were heard within STALE_S, (rows,)."""
        return ~self._half(now_ms - self.observer.windows.newest_ms <= STALE_S * 1000)

    def _half(self, channels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Rows of which at least half of the judged channels have what `channels` (rows, COLUMNS) says, (rows,)."""
        return np.asarray(2 * (channels & self.judged).sum(axis=1) >= self.judged.sum(axis=1))

    def _network(self, now_ms: int, residual: Residual) -> Array:
        """Return the network's P(fail) (rows, horizons), NaN where it cannot speak; renewed each minute or move."""
        if self.model is None:
            return self.lstm
        able = (self.code >= 0) & ready(self.observer, now_ms)
        first = np.isnan(self.lstm[:, 0])
        self.lstm[~able] = np.nan
        moved = (residual.excess >= MOVED).any(axis=1)
        due = first | (now_ms - self.lstm_ms >= LSTM_EVERY_MS) | (moved & ~self.moved)
        self.moved = moved
        rows = np.flatnonzero(able & due)
        self.lstm_ms[rows] = np.where(first[rows], now_ms - self.stagger_ms[rows], now_ms)
        if len(rows):
            window = window_features(self.observer.windows, self.observer.reference, rows)
            moment = moment_features(residual, self.observer.reference, rows)
            logits = self.model.encoder.logits(window, self.code[rows], moment)
            self.lstm[rows] = fail_prob(hazards(logits.astype(float), self.code[rows], self.model.calibration))
        return self.lstm

    def _reasons(self, scores: Scores) -> list[tuple[str, ...]]:
        """Say per row why: what moved, what is silent, or that all is well."""
        reasons: list[tuple[str, ...]] = [COLD if tier == "base_rate" else HEALTHY for tier in scores.tier]
        moved = (scores.residual.excess >= MOVED).any(axis=1)
        for row in np.flatnonzero(moved & ~scores.unknown).tolist():
            reasons[row] = self.observer.reference.explain(row, scores.residual)
        for row in np.flatnonzero(~moved & (scores.p_fail[:, 3] >= self.rule.threshold)).tolist():
            reasons[row] = ("the shape of its last half hour resembles emulated failures",)
        for row in np.flatnonzero(scores.unknown).tolist():
            reasons[row] = (f"unknown: {self._missed(row, scores)}, fresh means at most {STALE_S:.0f} s",)
        return reasons

    def _missed(self, row: int, scores: Scores) -> str:
        """What a row lacks: any reading, a fresh one, or one of most of its channels."""
        age_s = scores.age_s[row]
        if not np.isfinite(age_s):
            return "no reading yet"
        if age_s > STALE_S:
            return f"newest reading {age_s:.0f} s old"
        silent = (scores.at_ms - self.observer.windows.newest_ms[row] > STALE_S * 1000) & self.judged[row]
        watches = WATCHES[self.watched.kind_of_row[row]]
        names = [watch.channel for watch, lacks in zip(watches, silent, strict=False) if lacks]
        return f"{len(names)} of {int(self.judged[row].sum())} channels have no fresh reading ({', '.join(names)})"


def _quantiles(times: list[float]) -> tuple[float | None, float | None, float | None]:
    low, mid, high = (None if time != time else time for time in times)
    return low, mid, high


def _upstream(watched: Watched) -> NDArray[np.int64]:
    """Rows each row depends on, (rows, depth), -1 where there is none."""
    row = {name: index for index, name in enumerate(watched.ids)}
    lines = [[row[up] for up in chain(name, watched.parent)[1:] if up in row] for name in watched.ids]
    depth = max((len(line) for line in lines), default=0) or 1
    return np.array([line + [-1] * (depth - len(line)) for line in lines], np.int64).reshape(-1, depth)
