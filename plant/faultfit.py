"""Calibration: from a log of real node faults to the figures of a fault file, and the intervals they must lie in.

Everything is counted or has a closed form, except the repair mixtures (expectation-maximisation on log hours). Pure
NumPy; the logs come from `plant/faultlog.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plant.faultlog import AGAIN_D, FaultLog

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

LEMON_FRAC = 0.1  # the worst tenth of the nodes holds 41 % of the faults (notes/predict.md 1.1)
LOOK_D = 60.0  # how far behind AGAIN_D the usual hazard of a repaired node is measured
FEW = 10  # repairs below which a spread says little
TWO_STAGES, THREE_STAGES = 30, 100  # repairs that a mixture of two or three needs
PRIOR_SIGMA, PRIOR_COUNT = 1.8, 4.0  # sigma of few repairs leans to that of all kinds, as if seen so often
MIN_SIGMA = 0.15
EM_ROUNDS = 300
MOST_FACTOR, HALVINGS, MADE_NODES = 50.0, 14, 60_000  # search for the factor of lemons
DRAWS = 2000  # bootstrap
QUANTILES = (0.25, 0.5, 0.75, 0.9)
PLOT_AT = (0.1, 0.25, 0.5, 0.75, 0.9)
PLOT_Z = (-1.28155, -0.67449, 0.0, 0.67449, 1.28155)  # standard normal quantiles at PLOT_AT


class Mixture(NamedTuple):
    """Lognormal stages: shares, medians [h], sigmas."""

    share: Array
    median_h: Array
    sigma: Array


class KindFit(NamedTuple):
    """One kind: faults counted, first faults per node-year of service, shared causes, repairs."""

    kind: str
    faults: int
    rate_per_y: float
    beta: float
    struck_mean: float
    repair: Mixture


class Fit(NamedTuple):
    """What a log says."""

    name: str
    lemon_frac: float
    lemon_factor: float
    p_repair_fails: float
    return_median_h: float
    return_sigma: float
    kinds: tuple[KindFit, ...]


def fit(log: FaultLog) -> Fit:
    """Return the figures of a fault file that a log supports."""
    p_fails, median_h, sigma = fit_returns(log)
    up_y = (log.nodes * log.days - log.repair_h.sum() / 24.0) / 365.25
    rows = []
    for kind in log.kinds():
        mine = log.of(kind)
        shared, struck = fit_shared(log, kind)
        # n = (first + struck) (1 + p + p^2 ...): every fault may return, and a shared cause strikes more than one
        first = mine.sum() * (1.0 - p_fails) - shared * struck
        beta = shared / first
        rows.append(KindFit(kind, int(mine.sum()), first / up_y, beta, struck, fit_repairs(log.repair_h[mine])))
    return Fit(log.name, LEMON_FRAC, fit_lemons(log, p_fails), p_fails, median_h, sigma, tuple(rows))


def fit_returns(log: FaultLog) -> tuple[float, float, float]:
    """Probability that a repair fails, median [h] and sigma of the time until the fault is back.

    Faults within AGAIN_D of a repair, less those that the usual hazard of a repaired node would bring in that time.
    """
    gap = log.gap_d()
    gap = gap[~np.isnan(gap)]
    repairs = len(log.node)
    soon = (gap < AGAIN_D).sum() / repairs
    later = ((gap >= AGAIN_D) & (gap < AGAIN_D + LOOK_D)).sum()
    at_risk = max(repairs - (gap < AGAIN_D).sum() - later / 2.0, 1.0)
    usual = -np.expm1(-AGAIN_D / LOOK_D * later / at_risk)
    back_h = np.log(np.clip(gap[gap < AGAIN_D] * 24.0, 0.1, None))
    if len(back_h) < 2:
        return 0.0, 24.0, 1.0
    return max(float((soon - usual) / (1.0 - usual)), 0.0), float(np.exp(np.median(back_h))), float(back_h.std())


def fit_shared(log: FaultLog, kind: str) -> tuple[int, float]:
    """Count the starts of a kind that strike several nodes, and how many more than one they strike on average."""
    group, mine = log.groups(), log.of(kind)
    started, size = np.unique(group[mine], return_counts=True)
    if not len(started) or not (size > 1).any():
        return 0, 0.0
    return int((size > 1).sum()), float(size[size > 1].mean() - 1.0)


def fit_lemons(log: FaultLog, p_fails: float, share: float = LEMON_FRAC) -> float:
    """Hazard of a lemon over that of a good node, so that the worst tenth of the nodes holds its share of the faults.

    Fleets are made by the law: first faults are Poisson, each returns with p_fails. The factor is found by halving.
    """
    want = worst_share(np.bincount(log.node, minlength=log.nodes)[None, :].astype(np.float64))
    low, high = 1.0, MOST_FACTOR
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if _made_share(log, p_fails, share, middle) > want else (middle, high)
    return (low + high) / 2.0


def _made_share(log: FaultLog, p_fails: float, share: float, factor: float, seed: int = 0) -> float:
    """Worst share of fleets made with this factor; common random numbers make it smooth in the factor."""
    rng = np.random.default_rng(seed)
    lemon = rng.random((max(MADE_NODES // log.nodes, 10), log.nodes)) < share
    mean = len(log.node) * (1.0 - p_fails) / log.nodes / (1.0 + share * (factor - 1.0))
    first = rng.poisson(np.where(lemon, factor, 1.0) * mean)
    again = rng.negative_binomial(np.maximum(first, 1), 1.0 - p_fails) * (first > 0)
    return worst_share((first + again).astype(np.float64))


def worst_share(counts: Array) -> float:
    """Share of the faults that the worst tenth of the nodes holds, mean over fleets (fleets, nodes)."""
    worst = np.sort(counts, axis=1)[:, -max(round(counts.shape[1] / 10), 1) :]
    return float((worst.sum(axis=1) / counts.sum(axis=1)).mean())


def fit_repairs(hours: Array) -> Mixture:
    """Lognormal mixture of repair times: one stage for few, two or three for many, by expectation-maximisation."""
    x = np.log(hours)
    stages = 1 + (len(x) >= TWO_STAGES) + (len(x) >= THREE_STAGES)
    if stages == 1:
        return _one_stage(x)
    mean = np.quantile(x, (np.arange(stages) + 0.5) / stages)
    sigma_, share = np.full(stages, x.std() / stages), np.full(stages, 1.0 / stages)
    for _ in range(EM_ROUNDS):
        z = (x[:, None] - mean) / sigma_
        weight = share / sigma_ * np.exp(-0.5 * z * z) + 1e-300
        weight /= weight.sum(axis=1, keepdims=True)
        total = weight.sum(axis=0)
        share, mean = total / len(x), (weight * x[:, None]).sum(axis=0) / total
        sigma_ = np.sqrt((weight * (x[:, None] - mean) ** 2).sum(axis=0) / total)
        sigma_ = np.maximum(sigma_, MIN_SIGMA)
    order = np.argsort(mean)
    return Mixture(share[order], np.exp(mean[order]), sigma_[order])


def _one_stage(x: Array) -> Mixture:
    """One lognormal by its probability plot; of few repairs, median and a sigma that leans to the usual one."""
    if len(x) < FEW:
        spread = float(x.var()) if len(x) > 1 else 0.0
        sigma = np.sqrt((len(x) * spread + PRIOR_COUNT * PRIOR_SIGMA**2) / (len(x) + PRIOR_COUNT))
        return Mixture(np.ones(1), np.array([np.exp(np.median(x))]), np.array([float(sigma)]))
    order = np.quantile(x, PLOT_AT)
    sigma, mean = np.polyfit(PLOT_Z, order, 1)
    return Mixture(np.ones(1), np.array([np.exp(mean)]), np.array([max(float(sigma), MIN_SIGMA)]))


class Interval(NamedTuple):
    """95 % interval of the data."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value lies in it."""
        return self.low <= value <= self.high


def rate_interval(log: FaultLog, kind: str, seed: int = 0) -> Interval:
    """95 % interval of faults per node-year of a kind, by drawing nodes anew: faults of one node are not independent.

    With fewer than five faults the exact Poisson interval is wider and is taken.
    """
    counts = np.bincount(log.node[log.of(kind)], minlength=log.nodes).astype(np.float64)
    years = log.nodes * log.days / 365.25
    rng = np.random.default_rng(seed)
    drawn = rng.poisson(1.0, (DRAWS, log.nodes)).astype(np.float64)
    totals = (drawn * counts).sum(axis=1) / drawn.sum(axis=1) * log.nodes
    low, high = np.quantile(totals, [0.025, 0.975])
    poisson = poisson_interval(int(counts.sum()))
    return Interval(min(float(low), poisson.low) / years, max(float(high), poisson.high) / years)


def poisson_interval(count: int) -> Interval:
    """Exact 95 % interval of a Poisson mean after one count (Garwood 1936), from the chi-square quantiles."""
    from scipy import stats

    low = 0.0 if count == 0 else float(stats.chi2.ppf(0.025, 2 * count)) / 2.0
    return Interval(low, float(stats.chi2.ppf(0.975, 2 * count + 2)) / 2.0)


def repair_intervals(log: FaultLog, kind: str, seed: int = 0) -> dict[float, Interval]:
    """95 % interval of each quantile of the repair times of a kind [h], by bootstrap."""
    hours = log.repair_h[log.of(kind)]
    rng = np.random.default_rng(seed)
    drawn = np.quantile(hours[rng.integers(0, len(hours), (DRAWS, len(hours)))], QUANTILES, axis=1)
    bounds = np.quantile(drawn, [0.025, 0.975], axis=1)
    return {q: Interval(float(bounds[0, i]), float(bounds[1, i])) for i, q in enumerate(QUANTILES)}


def figures(found: Fit) -> dict[str, dict[str, object]]:
    """The fitted figures as a fault file holds them, four digits each: by kind, and `repeat`."""
    out: dict[str, dict[str, object]] = {
        "repeat": {
            name: _digits(getattr(found, name))
            for name in ("lemon_frac", "lemon_factor", "p_repair_fails", "return_median_h", "return_sigma")
        }
    }
    for k in found.kinds:
        # shares add up to one also after rounding
        share = [_digits(float(v)) for v in k.repair.share[:-1]]
        share.append(round(1.0 - sum(share), 6))
        stages = zip(share, k.repair.median_h, k.repair.sigma, strict=True)
        repair = [{"share": a, "median_h": _digits(float(b)), "sigma": _digits(float(c))} for a, b, c in stages]
        out[k.kind] = {
            "faults": k.faults,
            "rate_per_y": _digits(k.rate_per_y),
            "beta": _digits(k.beta),
            "struck_mean": _digits(k.struck_mean),
            "repair": repair,
        }
    return out


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
