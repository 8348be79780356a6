"""The power of a site from the utilisation of its nodes: laws that never fall with load, fitted by least squares.

    P_site = base + sum over nodes of g(u),      g(u) = w_1 b_1(u) + w_2 b_2(u),   base, w >= 0

`base` is what the hosts draw idle, together with what stands behind the same meter and is not in the job table; the two
cannot be told apart from the total. The parts b never fall with u and b(0) = 0, so with w >= 0 no fitted law falls:

    linear    u                    concave   u and 2 sqrt(u) - u:  (peak - idle)((1 - k) u + k sqrt(u)) with 0 <= k <= 2
    packages  1 where at least c cores' worth of the node is busy: a package that wakes draws most of its power at once

Which thresholds c, and which law, is decided by cross-validation inside the fit window; the test window is never seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from plant.power import busy_cores

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WAKE_LEVELS = 15  # thresholds tried, evenly over the cores
MOST_STEPS = 2
FOLD_S = 6 * 3600.0


@dataclass(frozen=True)
class PowerLaw:
    """A fitted law: base_kw of the whole site, the weight [kW per node] of each part, its error in cross-validation.

    parts: names of the columns of `Features` the weights belong to; cv_mape: fraction.
    """

    name: str
    parts: tuple[str, ...]
    base_kw: float
    weight_kw: tuple[float, ...]
    cv_mape: float

    @property
    def span_kw(self) -> float:
        """Peak minus idle of one node [kW]."""
        return sum(self.weight_kw)

    @property
    def concave_frac(self) -> float | None:
        """The k of the node law where the law is of that form (0 linear, 2 the most concave that never falls)."""
        if set(self.parts) - {"linear", "root"}:
            return None
        root = sum(w for p, w in zip(self.parts, self.weight_kw, strict=True) if p == "root")
        return 2.0 * root / self.span_kw if self.span_kw > 0 else 0.0

    def site_kw(self, features: Features) -> Floats:
        """Power of the site, one value per sample."""
        return np.asarray(self.base_kw + features.columns(self.parts) @ np.asarray(self.weight_kw))


@dataclass(frozen=True)
class Features:
    """Sums over the nodes, one row per sample: `linear`, `root` and `wake_C` for C busy cores."""

    sums: dict[str, Floats]

    def columns(self, parts: tuple[str, ...]) -> Floats:
        """Return (samples, parts)."""
        return np.column_stack([self.sums[p] for p in parts])


def features_of(util_frac: Floats, cores: int) -> Features:
    """Return the sums over nodes that the laws are made of, from node utilisation (samples, nodes)."""
    sums = {"linear": util_frac.sum(axis=1), "root": (2.0 * np.sqrt(util_frac) - util_frac).sum(axis=1)}
    samples = len(util_frac)
    level = busy_cores(util_frac, cores)
    cell = np.arange(samples)[:, None] * (cores + 1) + level
    count = np.bincount(cell.ravel(), minlength=samples * (cores + 1)).reshape(samples, cores + 1)
    above = count[:, ::-1].cumsum(axis=1)[:, ::-1]
    sums.update({f"wake_{c}": above[:, c].astype(np.float64) for c in wake_levels(cores)})
    return Features(sums)


def wake_levels(cores: int) -> tuple[int, ...]:
    """Return the numbers of busy cores tried as thresholds."""
    if cores < 2:
        return (1,)
    return tuple(sorted({round(c) for c in np.linspace(1, cores - 1, min(WAKE_LEVELS, cores - 1))}))


def candidates(name: str, cores: int, packages: int) -> Iterator[tuple[str, ...]]:
    """Yield the sets of parts a law of that name may use."""
    if name == "linear":
        yield ("linear",)
    elif name == "concave":
        yield ("linear", "root")
    else:
        for steps in range(1, min(packages, MOST_STEPS) + 1):
            for chosen in combinations(wake_levels(cores), steps):
                yield tuple(f"wake_{c}" for c in chosen)


def fit_power(
    features: Features, power_kw: Floats, fit: slice, *, step_s: float, cores: int, packages: int, name: str
) -> PowerLaw:
    """Fit the law of that name (`linear`, `concave`, `packages`) on the fit window; NaN readings are left out.

    Where the law has a choice of parts, the set with the least cross-validated MAPE is taken.
    """
    used = np.arange(fit.start, fit.stop)[np.isfinite(power_kw[fit])]
    folds = list(_folds(len(used), step_s))
    best: PowerLaw | None = None
    for parts in candidates(name, cores, packages):
        x = np.column_stack([np.ones(len(used)), features.columns(parts)[used]])
        score = _cross_validate(x, power_kw[used], folds)
        if best is None or score < best.cv_mape:
            base, *weight = (float(v) for v in _least_squares(x.T @ x, x.T @ power_kw[used]))
            best = PowerLaw(name, parts, base, tuple(weight), score)
    assert best is not None
    return best


def out_of_fold_kw(law: PowerLaw, features: Features, power_kw: Floats, fit: slice, step_s: float) -> Floats:
    """Return what the law says inside the fit window when each part of it is left out of its own fit.

    Shape (2, samples), NaN outside the window: row 0 leaves out blocks of 6 h, row 1 halves. Residuals of the first are
    as small as on days like the fitted ones, those of the second as large as on days that differ.
    """
    answer = np.full((2, len(power_kw)), np.nan)
    used = np.arange(fit.start, fit.stop)[np.isfinite(power_kw[fit])]
    x, y = np.column_stack([np.ones(len(used)), features.columns(law.parts)[used]]), power_kw[used]
    gram, moment = x.T @ x, x.T @ y
    for scheme, group in enumerate((_blocks(len(used), step_s), _halves(len(used)))):
        for held in group:
            xh = x[held]
            answer[scheme, used[held]] = xh @ _least_squares(gram - xh.T @ xh, moment - xh.T @ y[held])
    return answer


def _blocks(n: int, step_s: float) -> list[slice]:
    size = max(1, min(round(FOLD_S / step_s), n // 2))
    return [slice(a, min(a + size, n)) for a in range(0, n, size)]


def _halves(n: int) -> list[slice]:
    return [slice(0, n // 2), slice(n // 2, n)]


def _folds(n: int, step_s: float) -> Iterator[tuple[slice, float]]:
    """Yield left-out windows with their weights: short blocks (like days) and halves (other days) count the same."""
    for group in (_blocks(n, step_s), _halves(n)):
        for window in group:
            yield window, 0.5 / len(group)


def _cross_validate(x: Floats, y: Floats, folds: list[tuple[slice, float]]) -> float:
    gram, moment = x.T @ x, x.T @ y
    score = 0.0
    for held, share in folds:
        xh, yh = x[held], y[held]
        weight = _least_squares(gram - xh.T @ xh, moment - xh.T @ yh)
        score += share * float(np.mean(np.abs(xh @ weight - yh) / yh))
    return score


def _least_squares(gram: Floats, moment: Floats) -> Floats:
    """Solve the non-negative least-squares problem given by X'X and X'y."""
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-12))
    # a whisper of ridge keeps the factor defined where two parts are alike in the window
    factor = np.linalg.cholesky(gram / np.outer(scale, scale) + 1e-10 * np.eye(len(scale)))
    weight, _ = nnls(factor.T, np.linalg.solve(factor, moment / scale))
    return np.asarray(weight / scale)
