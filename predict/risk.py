"""Risk: what is said about one component at one time, and the rule that turns it into *act*."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Tier = Literal["residual", "lstm", "base_rate"]


@dataclass(frozen=True, slots=True)
class Risk:
    """P(fail within horizon) of one component, non-decreasing in the horizon, and everything needed to judge it.

    When `unknown`, every probability is None: stale input never reads as a low risk. A time-to-failure quantile is
    None where P(fail) does not reach it within the last horizon; all three None are a single None.
    """

    component: str
    kind: str
    at_ms: int
    p_fail: dict[int, float | None]
    ttf_quantiles_s: tuple[float | None, float | None, float | None] | None
    tier: Tier
    reasons: tuple[str, ...]
    model: str | None
    age_s: float | None
    unknown: bool
    act: bool

    def within(self, horizon_s: int) -> float | None:
        """P(fail within the shortest listed horizon that is at least `horizon_s`); None when unknown or beyond all."""
        return next((p for horizon, p in self.p_fail.items() if horizon >= horizon_s), None)

    def as_dict(self) -> dict[str, Any]:
        """The keys `score --json` prints for one risk (`at` is left to the front door, which knows the calendar)."""
        return {
            "component": self.component,
            "kind": self.kind,
            "at_ms": self.at_ms,
            "p_fail": {str(horizon): p for horizon, p in self.p_fail.items()},
            "ttf_quantiles_s": None if self.ttf_quantiles_s is None else list(self.ttf_quantiles_s),
            "tier": self.tier,
            "reasons": list(self.reasons),
            "model": self.model,
            "age_s": self.age_s,
            "unknown": self.unknown,
            "act": self.act,
        }


@dataclass(frozen=True)
class ActRule:
    """Act when the expected loss avoided outweighs the cost of acting: p >= C_act / (eff * C_fail).

    `persist` scores in a row must say so before it starts, and `release` in a row must be below the threshold less
    the hysteresis before it ends; `budget_per_day` caps how many episodes may start in any 24 h of site time (beyond
    it only what is nearly certain). Costs are in one unit of the user's choice; only their ratio matters.
    """

    horizon_s: int = 3600
    cost_act: float = 1.0
    cost_fail: float = 5.0
    effect_frac: float = 0.7
    persist: int = 3
    release: int = 8
    hysteresis: float = 0.05
    budget_per_day: int = 10
    certain_prob: float = 0.9

    @property
    def threshold(self) -> float:
        """The probability at which acting pays."""
        return self.cost_act / (self.effect_frac * self.cost_fail)


class Decider:
    """Holds, per row, whether acting is due, through persistence, hysteresis and the alarm budget."""

    DAY_MS = 86_400_000

    def __init__(self, rows: int, rule: ActRule, upstream: NDArray[np.int64] | None = None) -> None:
        """`upstream` (rows, depth) lists the rows each row depends on, -1 for none: their shared cause is paid once."""
        self.rule = rule
        self.upstream = np.full((rows, 1), -1, np.int64) if upstream is None else upstream
        self.acting = np.zeros(rows, bool)
        self.above, self.below = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        self.started_ms: list[int] = []
        self.held_back = 0

    def decide(self, now_ms: int, p: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Take P(fail within the rule's horizon) of each row, NaN when unknown; return which rows to act on.

        Unknown changes nothing: an episode neither starts nor ends for lack of data.
        """
        rule, known = self.rule, np.isfinite(p)
        high = known & (p >= rule.threshold)
        low = known & (p < rule.threshold - rule.hysteresis)
        self.above = np.where(known, np.where(high, self.above + 1, 0), self.above)
        self.below = np.where(known, np.where(low, self.below + 1, 0), self.below)
        self.acting &= self.below < rule.release
        due = ~self.acting & (self.above >= rule.persist)
        if due.any():
            self._start(now_ms, np.flatnonzero(due), p)
        return self.acting.copy()

    def _start(self, now_ms: int, rows: NDArray[np.int64], p: NDArray[np.float64]) -> None:
        """Start episodes, most certain first; what hangs on a row already acted on is the same episode."""
        self.started_ms = [at for at in self.started_ms if at > now_ms - self.DAY_MS]
        for row in rows[np.argsort(-p[rows], kind="stable")]:
            above = self.upstream[row]
            shared = bool(self.acting[above[above >= 0]].any())
            spent = len(self.started_ms) >= self.rule.budget_per_day
            if spent and not shared and p[row] < self.rule.certain_prob:
                self.held_back += 1
                continue
            self.acting[row] = True
            if not shared:
                self.started_ms.append(now_ms)
