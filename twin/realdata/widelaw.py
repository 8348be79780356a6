"""The power of a site as a wide linear law with a posterior: many parts, each known no better than the readings allow.

    P(i) = x(i) . w + residual,   w ~ N(mean, covariance) after the fit

The parts are those of the node laws (hosts with at least c busy cores, for each threshold c) and the sums over tasks
that know no hosts (number, use, its roots and squares). One chosen law is a corner of this one; which corner the site
is in shows only with time, so the ensemble's members carry different weights and the readings decide between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from twin.realdata.powerfit import Features

Floats = NDArray[np.float64]

# Prior standard deviation of a weight, in shares of the mean power of a host [assumed, wide: any one part alone could
# carry all of the power that changes with load]. The base may be anything up to the whole.
PART_SD, SUM_SD = 0.3, 1.0
TASK_SUMS = ("number", "use", "roots", "squares")


@dataclass(frozen=True)
class WideLaw:
    """Weights after a fit: mean (k,), covariance (k, k) [kW per unit of a part]."""

    mean: Floats
    covariance: Floats

    def site_kw(self, columns: Floats) -> Floats:
        """What the mean says for each row of columns (samples, k)."""
        return np.asarray(columns @ self.mean)


@dataclass(frozen=True)
class Parts:
    """The parts of the wide law: columns (samples, k), the first is the base; names (k,)."""

    names: tuple[str, ...]
    columns: Floats

    def prior_sd_kw(self, mean_kw: float, hosts: int) -> Floats:
        """Return the prior standard deviation of each weight for a site of that mean power (k,)."""
        share = np.array([PART_SD if name.startswith("wake_") else SUM_SD for name in self.names[1:]])
        return np.concatenate([[mean_kw], share * mean_kw / hosts])


def parts_of(features: Features, sums: dict[str, Floats]) -> Parts:
    """Return all parts, one row per sample of the features."""
    wakes = sorted((name for name in features.sums if name.startswith("wake_")), key=lambda n: int(n[5:]))
    names = ("base", *wakes, *TASK_SUMS)
    samples = len(next(iter(features.sums.values())))
    found = [np.ones(samples), *(features.sums[name] for name in wakes), *(sums[name][:samples] for name in TASK_SUMS)]
    return Parts(names, np.ascontiguousarray(np.column_stack(found)))


def fit_wide(columns: Floats, power_kw: Floats, prior_sd_kw: Floats, noise_var: float) -> WideLaw:
    """Return the posterior of the weights from readings (n,) and the rows of columns that go with them.

    noise_var: variance of a residual times the number of neighbouring samples that tell the same [kW2], so that
    readings that are alike do not count as many. NaN readings are left out.
    """
    seen = np.isfinite(power_kw)
    x, y = columns[seen], power_kw[seen]
    # scaled by the prior, so that the matrix is well behaved whatever the units of a part
    scaled = x * prior_sd_kw
    factor = cho_factor(scaled.T @ scaled / noise_var + np.eye(len(prior_sd_kw)))
    mean = prior_sd_kw * cho_solve(factor, scaled.T @ y / noise_var)
    covariance = prior_sd_kw[:, None] * cho_solve(factor, np.eye(len(prior_sd_kw))) * prior_sd_kw
    return WideLaw(mean, 0.5 * (covariance + covariance.T))
