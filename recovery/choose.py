"""Choose among rehearsed plans: gate by P(worse than nothing) and CVaR, rank by mean and tail, show the vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from plant.actions import DO_NOTHING
from recovery.rehearse import Rehearsal

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Policy:
    """How plans are judged. Weights and gates are published with every ranking; its hash is in every plan."""

    max_p_worse: float = 0.10
    tail_weight: float = 0.5
    tail_frac: float = 0.05
    indifference_min: float = 0.5
    least_gain_min: float = 1.0


@dataclass(frozen=True)
class Judged:
    """One plan with its place: rank 1 is recommended; gate_reasons say why a plan may not be recommended."""

    rehearsal: Rehearsal
    p_worse_than_nothing: float
    p_worse_bound: float
    cvar95: float
    score: float
    gate_reasons: tuple[str, ...]
    rank: int = 0
    costs: dict[str, dict[str, float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The keys a ledger row, a screen and `--json` show; every number comes from simulation."""
        r = self.rehearsal
        recovered = r.recovery_s[np.isfinite(r.recovery_s)]
        return {
            "label": r.plan.label,
            "plan": r.plan.id,
            "rank": self.rank,
            "p_worse_than_nothing": self.p_worse_than_nothing,
            "p_worse_bound": self.p_worse_bound,
            "cvar95": self.cvar95,
            "score": self.score,
            "gate_reasons": list(self.gate_reasons),
            "costs": {name: c["mean"] for name, c in self.costs.items()},
            "costs_p10": {name: c["p10"] for name, c in self.costs.items()},
            "costs_p90": {name: c["p90"] for name, c in self.costs.items()},
            "peak_inlet_c": float(r.peak_inlet_c.max()),
            "recovery_s": float(np.median(recovered)) if len(recovered) else None,
            "unrecovered_frac": 1.0 - len(recovered) / r.members,
            "p_stop": float(np.isfinite(r.first_stop_s).mean()),
            "members": r.members,
            "horizon_s": r.horizon_s,
            "snapshot_hash": r.plan.snapshot_hash,
            "simulated": True,
        }


def cvar(values: Array, tail_frac: float) -> float:
    """Return the mean of the worst share of values, at least one of them.

    >>> cvar(np.arange(100.0), 0.05)
    97.0
    """
    worst = np.sort(values)[::-1][: max(1, int(np.ceil(tail_frac * len(values))))]
    return float(worst.mean())


def upper_bound(count: int, n: int, confidence: float = 0.95) -> float:
    """Return the one-sided Clopper-Pearson upper limit of a probability seen count times in n."""
    return 1.0 if count >= n else float(betaincinv(count + 1, n - count, confidence))


def judge(rehearsals: Sequence[Rehearsal], policy: Policy) -> list[Judged]:
    """Return all plans judged against do_nothing, best first; do_nothing keeps its fair place among them."""
    nothing = next(r for r in rehearsals if r.plan.label == DO_NOTHING)
    tail_nothing = cvar(nothing.lost_service_min, policy.tail_frac)
    judged = [_judge(r, nothing, tail_nothing, policy) for r in rehearsals]
    order = sorted(judged, key=lambda j: (bool(j.gate_reasons), *_score_key(j, policy)))
    return [Judged(**{**j.__dict__, "rank": place + 1}) for place, j in enumerate(order)]


def held_back(judged: Sequence[Judged], against: Mapping[str, str]) -> list[Judged]:
    """Return the plans with one more reason at the gate for some (by plan id), ranked anew: those held back go last."""
    told = [
        replace(j, gate_reasons=(*j.gate_reasons, against[j.rehearsal.plan.id]))
        if j.rehearsal.plan.id in against
        else j
        for j in judged
    ]
    return [replace(j, rank=place + 1) for place, j in enumerate(sorted(told, key=lambda j: bool(j.gate_reasons)))]


def _score_key(j: Judged, policy: Policy) -> tuple[float, int, float]:
    """Scores within one indifference zone are equal; the less dangerous plan then goes first."""
    return (np.floor(j.score / policy.indifference_min), j.rehearsal.plan.tier, j.score)


def _judge(r: Rehearsal, nothing: Rehearsal, tail_nothing: float, policy: Policy) -> Judged:
    worse = int((r.lost_service_min > nothing.lost_service_min + 1e-9).sum())
    p_worse, tail = worse / r.members, cvar(r.lost_service_min, policy.tail_frac)
    reasons = []
    if r.plan.label != DO_NOTHING:
        gain = float((nothing.lost_service_min - r.lost_service_min).mean())
        if p_worse > policy.max_p_worse:
            reasons.append(f"worse than doing nothing in {p_worse:.0%} of members, allowed {policy.max_p_worse:.0%}")
        if tail > tail_nothing:
            reasons.append(f"its worst 5 % lose {tail:.0f} min, doing nothing {tail_nothing:.0f} min")
        if gain < policy.least_gain_min:
            reasons.append(f"saves {gain:.1f} min, worth acting from {policy.least_gain_min:.1f} min")
    score = float(r.lost_service_min.mean()) + policy.tail_weight * tail
    return Judged(r, p_worse, upper_bound(worse, r.members), tail, score, tuple(reasons), costs=_spread(r.costs))


def _spread(costs: dict[str, Array]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "mean": float(values.mean()),
            "p10": float(np.quantile(values, 0.1)),
            "p90": float(np.quantile(values, 0.9)),
        }
        for name, values in costs.items()
    }
