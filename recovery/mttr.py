"""What an incident cost: the eight parts of the time to recovery, the outcome, lost service, and paired comparisons.

t0 fault onset, t1 first alert on the right component, t2 cause attributed, t3 plan proposed, t4 rehearsed, t5 decided,
t6 first effect, t7 last step done, t8 verified. MTTR = t8 - t0 and the eight parts sum to it exactly. An averted
incident has no MTTR: it is counted apart, with its lead time, never as a zero in a mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Outcome = Literal["averted", "recovered", "unresolved"]

PARTS = ("detect_s", "diagnose_s", "plan_s", "rehearse_s", "decide_s", "start_s", "act_s", "verify_s")
"""The parts in order; part i ends at t(i+1)."""

# Our own thinking in a replay is charged from this table and never from the clock, so that a replay costs the same on
# any machine. Each entry is at or above the measured P90 of a hall of 1,000 nodes on two cores (design, section 8).
CHARGED_S: Mapping[str, float] = {
    # one tick of the loop: an alert cannot come earlier than the score that follows the reading
    "detect_s": 15.0,
    # grouping alarms by topology and naming the shared cause; milliseconds measured, a second granted
    "diagnose_s": 1.0,
    # candidates and their feasibility; the storm budget of the design is 5 s at P90
    "plan_s": 5.0,
    # screen and finalists to recovery; the design's budget for a whole incident is 30 s
    "rehearse_s": 30.0,
    # from the decision's row to the first call: one tick of the loop
    "start_s": 15.0,
}
HUMAN_S: Mapping[str, float] = {"foretwin_0s": 0.0, "foretwin_2m": 120.0, "foretwin_5m": 300.0}
"""Decision time charged to each of our replay policies [s]; human time is a parameter and always stated."""

HOLD_S = 300.0
"""The indicator must stay inside its limit this long to count as recovered [s]; as the executor's verification."""


@dataclass(frozen=True)
class Times:
    """The instants of one incident [ms, one clock]; None for what did not happen.

    loss_ms: first instant the service indicator left its limit, None if it never did.
    end_ms: end of what was observed; needed where the service did not come back.
    """

    t0_ms: int
    alert_ms: int | None = None
    cause_ms: int | None = None
    proposed_ms: int | None = None
    rehearsed_ms: int | None = None
    decided_ms: int | None = None
    first_effect_ms: int | None = None
    last_step_ms: int | None = None
    verified_ms: int | None = None
    loss_ms: int | None = None
    end_ms: int | None = None


@dataclass(frozen=True)
class Recovery:
    """Outcome with MTTR [s] and its parts, None unless recovered; lead_s: last step to the loss that did not come."""

    outcome: Outcome
    mttr_s: float | None
    parts: Mapping[str, float] | None
    lead_s: float | None = None


def recovery(times: Times) -> Recovery:
    """Judge one incident.

    averted: the indicator never left its limit. unresolved: it left and was not verified back. A step that never
    happened costs nothing itself: the time goes to the part that was being waited for, so an incident nobody detected
    is all `detect_s`. What was done before the fault set in costs no repair time.
    """
    if times.loss_ms is None:
        lead = None if times.last_step_ms is None else (times.t0_ms - times.last_step_ms) / 1000
        return Recovery("averted", None, None, lead)
    if times.verified_ms is None:
        return Recovery("unresolved", None, None)
    parts_ms = _parts_ms(times, times.verified_ms)
    parts = {name: ms / 1000 for name, ms in zip(PARTS, parts_ms, strict=True)}
    # summed in the order in which a reader sums the printed parts, so that the two agree to the last bit
    return Recovery("recovered", sum(parts.values()), parts)


def _parts_ms(times: Times, end_ms: int) -> list[int]:
    happened = (
        times.alert_ms,
        times.cause_ms,
        times.proposed_ms,
        times.rehearsed_ms,
        times.decided_ms,
        times.first_effect_ms,
        times.last_step_ms,
        end_ms,
    )
    ends: list[int] = []
    for instant in reversed(happened):  # what never happened is waited for until the next thing that did
        later = ends[-1] if ends else end_ms
        ends.append(later if instant is None else min(instant, later))
    parts, before = [], times.t0_ms
    for end in reversed(ends):
        after = max(end, before)
        parts.append(after - before)
        before = after
    return parts


def lost_service_min(time_s: ArrayLike, lost_frac: ArrayLike, weight: float = 1.0) -> float:
    """Minutes of service lost: the integral of the lost fraction (0..1), each value holding until the next instant.

    `time_s` (n,) rising, `lost_frac` (n,) or (n, classes) with one weight for all; the last value closes the window.
    """
    times, lost = _series(time_s, lost_frac)
    return float(weight * np.sum(np.diff(times) * lost[:-1]) / 60.0)


def weighted_lost_service_min(
    time_s: ArrayLike, lost_frac: Mapping[str, ArrayLike], weights: Mapping[str, float]
) -> float:
    """Priority-weighted lost service minutes: per class the lost fraction (n,), by class weights that sum to 1."""
    total = math.fsum(weights[name] for name in lost_frac)
    if not math.isclose(total, 1.0, rel_tol=1e-9):
        raise ValueError(f"the weights of the classes sum to {total:g}, must sum to 1")
    return math.fsum(lost_service_min(time_s, lost, weights[name]) for name, lost in lost_frac.items())


def first_loss_ms(time_ms: ArrayLike, lost_frac: ArrayLike, limit_frac: float = 0.0) -> int | None:
    """First instant the lost fraction exceeds its limit, or None."""
    times, lost = _series(time_ms, lost_frac)
    out = np.flatnonzero(lost > limit_frac)
    return int(times[out[0]]) if out.size else None


def recovered_ms(
    time_ms: ArrayLike,
    lost_frac: ArrayLike,
    limit_frac: float = 0.0,
    hold_s: float = HOLD_S,
    after_ms: int | None = None,
) -> int | None:
    """First instant, at or after `after_ms`, from which the indicator stays inside its limit for `hold_s`, or None.

    None as well when it came back but the series ends before the hold time has passed: that is not known yet.
    """
    times, lost = _series(time_ms, lost_frac)
    start = None
    for at_ms, value in zip(times, lost, strict=True):
        inside = value <= limit_frac and (after_ms is None or at_ms >= after_ms)
        start = (at_ms if start is None else start) if inside else None
        if start is not None and at_ms - start >= hold_s * 1000:
            return int(start)
    return None


def _series(time: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    times, series = np.asarray(time, float), np.asarray(values, float)
    if times.ndim != 1 or times.shape != series.shape:
        raise ValueError(f"times {times.shape} and values {series.shape} must be one series")
    if np.any(np.diff(times) < 0) or not (np.all(np.isfinite(times)) and np.all(np.isfinite(series))):
        raise ValueError("times must rise and all numbers be finite")
    return times, series


@dataclass(frozen=True)
class Summary:
    """MTTR over the incidents that were not averted [s], and the counts of all three outcomes."""

    n: int
    averted: int
    recovered: int
    unresolved: int
    mean_s: float | None
    median_s: float | None
    p90_s: float | None
    ci95: tuple[float, float] | None
    parts: Mapping[str, float] | None


def summarise(found: Sequence[Recovery], rng: np.random.Generator) -> Summary:
    """Mean, median, P90 and the bootstrap interval of MTTR; unresolved ones are counted, never dropped silently."""
    counts = {name: sum(one.outcome == name for one in found) for name in ("averted", "recovered", "unresolved")}
    mttr = np.array([one.mttr_s for one in found if one.mttr_s is not None], float)
    if not mttr.size:
        return Summary(len(found), **counts, mean_s=None, median_s=None, p90_s=None, ci95=None, parts=None)
    all_parts = [one.parts for one in found if one.parts is not None]
    parts = {name: math.fsum(one[name] for one in all_parts) / len(all_parts) for name in PARTS}
    median, p90 = np.quantile(mttr, [0.5, 0.9])
    return Summary(
        len(found),
        **counts,
        mean_s=float(mttr.mean()),
        median_s=float(median),
        p90_s=float(p90),
        ci95=mean_ci95(mttr, rng),
        parts=parts,
    )


@dataclass(frozen=True)
class Paired:
    """Ours minus theirs over the same incidents and seeds: mean, 95 % bootstrap interval, two-sided sign test."""

    diff_mean: float
    ci95: tuple[float, float]
    sign_p: float
    n: int


def paired(ours: ArrayLike, theirs: ArrayLike, rng: np.random.Generator, resamples: int = 2_000) -> Paired:
    """Compare two policies on the same replays; both (n,), n at least 1. Negative means ours is smaller."""
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    if a.ndim != 1 or a.shape != b.shape or not a.size:
        raise ValueError(f"pairs of {a.shape} and {b.shape} cannot be compared")
    diff = a - b
    if not np.all(np.isfinite(diff)):
        raise ValueError("a pair has no finite difference; leave unresolved pairs out and count them")
    return Paired(float(diff.mean()), mean_ci95(diff, rng, resamples), sign_test(diff), int(diff.size))


def mean_ci95(values: ArrayLike, rng: np.random.Generator, resamples: int = 2_000) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean; values (n,), seeded by the generator passed in."""
    data = np.asarray(values, float)
    picks = rng.integers(0, data.size, size=(resamples, data.size))
    low, high = np.quantile(data[picks].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def sign_test(differences: Iterable[float]) -> float:
    """Two-sided exact sign test: P of so uneven a split if both signs were equally likely; zeros do not count."""
    signs = [value > 0 for value in differences if value != 0]
    n, more = len(signs), max(sum(signs), len(signs) - sum(signs))
    tail: int = sum(math.comb(n, k) for k in range(more, n + 1))
    return min(1.0, float(2 * tail / 2**n))
