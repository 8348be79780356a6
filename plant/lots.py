"""Drawing lots without replacement: how many marked ones are in a handful, from one uniform number each.

A handful of e out of n, b of them marked, holds a hypergeometric number of marked ones. The number is found by
inverting the distribution function, so that it is a pure function of (n, b, e, u) like every draw of the house.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@lru_cache(maxsize=8)
def _log_factorials(up_to: int) -> Array:
    """ln(k!) for k = 0..up_to."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, up_to + 1, dtype=np.float64)))])


def log_choose(n: Ints, k: Ints, table: Array) -> Array:
    """ln C(n, k); minus infinity where k is not within 0..n."""
    inside = (k >= 0) & (k <= n)
    kept = np.where(inside, k, 0)
    return np.where(inside, table[n] - table[kept] - table[n - kept], -np.inf)


def marked_in_handful(n: Ints, marked: Ints, handful: Ints, u: Array) -> Ints:
    """Return how many of `marked` among n are in a random handful, each argument (rows,), u uniform in (0, 1).

    P(x) = C(marked, x) C(n - marked, handful - x) / C(n, handful); the law is the textbook's, the sum runs upwards.
    """
    n, marked, handful = (np.asarray(a, dtype=np.int64) for a in (n, marked, handful))
    if not len(n):
        return n.copy()
    table = _log_factorials(1 << int(n.max()).bit_length())
    x = np.arange(int(np.minimum(marked, handful).max()) + 1)[None, :]
    ways = log_choose(marked[:, None], x, table) + log_choose((n - marked)[:, None], handful[:, None] - x, table)
    below = np.cumsum(np.exp(ways - log_choose(n, handful, table)[:, None]), axis=1)
    most = np.minimum(marked, handful)
    return np.asarray(np.minimum((below < u[:, None]).sum(axis=1), most), dtype=np.int64)
