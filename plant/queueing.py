"""Services with replicas as queues: M/M/c in closed form (Erlang 1917), vectorised; a saturated one never answers.

lam: requests offered per second; mu: requests that one server finishes per second; servers: how many there are. A
share of a replica may count, so servers are whole numbers but mu is free. All arrays broadcast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def erlang_b(servers: ArrayLike, load: ArrayLike) -> Array:
    """Return the share of requests that find all servers busy and go away; load = lam / mu [erlangs].

    By the stable recursion B(k) = a B(k-1) / (k + a B(k-1)); no servers lose everything.
    """
    c, a = np.broadcast_arrays(np.asarray(servers, dtype=np.int64), np.asarray(load, dtype=np.float64))
    b = np.ones(a.shape)
    out = np.ones(a.shape)
    for k in range(1, int(c.max(initial=0)) + 1):
        b = a * b / (k + a * b)
        out = np.where(c == k, b, out)
    return np.asarray(out)


def erlang_c(servers: ArrayLike, load: ArrayLike) -> Array:
    """Return the share of requests that must wait; 1 where the load is at or above the servers.

    >>> round(float(erlang_c(2, 1.0)), 6)
    0.333333
    """
    c, a = np.asarray(servers, dtype=np.float64), np.asarray(load, dtype=np.float64)
    b = erlang_b(servers, load)
    stable = a < c
    return np.asarray(np.where(stable, c * b / np.where(stable, c - a * (1.0 - b), 1.0), 1.0))


def mean_wait_s(servers: ArrayLike, lam: ArrayLike, mu: ArrayLike) -> Array:
    """Return the mean time in the queue [s]; infinite where the service is saturated."""
    spare = np.asarray(servers) * np.asarray(mu, dtype=np.float64) - np.asarray(lam)
    wait = erlang_c(servers, _load(lam, mu)) / np.where(spare > 0.0, spare, 1.0)
    return np.asarray(np.where(spare > 0.0, wait, np.inf))


def late_frac(servers: ArrayLike, lam: ArrayLike, mu: ArrayLike, limit_s: ArrayLike) -> Array:
    """Return the share of requests whose answer takes longer than limit_s, waiting and service together.

    With theta = c mu - lam, C the share that waits: (1 - C) e^(-mu t) + C (theta e^(-mu t) - mu e^(-theta t)) /
    (theta - mu); 1 where the service is saturated, 0 where nobody asks.
    """
    rate, t = np.asarray(mu, dtype=np.float64), np.asarray(limit_s, dtype=np.float64)
    theta = np.asarray(servers) * rate - np.asarray(lam)
    c = erlang_c(servers, _load(lam, mu))
    # the two exponentials meet where theta = mu: step aside by less than anyone can see
    near = np.abs(theta - rate) < 1e-7 * np.maximum(rate, 1e-300)
    gap = np.where(near, 1e-7 * np.maximum(rate, 1e-300), theta - rate)
    held = np.maximum(theta, 0.0)
    slow = ((rate + gap) * np.exp(-rate * t) - rate * np.exp(-np.where(near, rate + gap, held) * t)) / gap
    share = (1.0 - c) * np.exp(-rate * t) + c * slow
    out = np.where(theta > 0.0, np.clip(share, 0.0, 1.0), 1.0)
    return np.asarray(np.where(np.asarray(lam) > 0.0, out, 0.0))


def tail_s(servers: ArrayLike, lam: ArrayLike, mu: ArrayLike, tail_frac: ArrayLike = 0.01) -> Array:
    """Return the time within which all but tail_frac of the requests are answered [s]; infinite where saturated.

    By halving the interval on `late_frac`, which falls with the limit.
    """
    lam_, mu_ = np.asarray(lam, dtype=np.float64), np.asarray(mu, dtype=np.float64)
    shape = np.broadcast_shapes(np.shape(servers), lam_.shape, mu_.shape, np.shape(tail_frac))
    stable = np.broadcast_to(np.asarray(servers) * mu_ > lam_, shape)
    slowest = np.minimum(np.where(np.asarray(servers) * mu_ > lam_, np.asarray(servers) * mu_ - lam_, 1.0), mu_)
    low, high = np.zeros(shape), np.broadcast_to(60.0 / np.maximum(slowest, 1e-300), shape)
    for _ in range(60):
        mid = (low + high) / 2.0
        late = late_frac(servers, lam_, mu_, mid) > np.asarray(tail_frac)
        low, high = np.where(late, mid, low), np.where(late, high, mid)
    return np.asarray(np.where(stable, high, np.inf))


def delivered_frac(servers: ArrayLike, lam: ArrayLike, mu: ArrayLike) -> Array:
    """Return the share of the offered requests that is answered: capacity over offered, at most 1."""
    capacity = np.asarray(servers) * np.asarray(mu, dtype=np.float64)
    offered = np.asarray(lam, dtype=np.float64)
    return np.asarray(np.where(offered > capacity, capacity / np.where(offered > 0.0, offered, 1.0), 1.0))


def _load(lam: ArrayLike, mu: ArrayLike) -> Array:
    rate = np.asarray(mu, dtype=np.float64)
    dead = np.asarray(np.where(np.asarray(lam) > 0.0, np.inf, 0.0))
    return np.asarray(np.where(rate > 0.0, np.asarray(lam) / np.where(rate > 0.0, rate, 1.0), np.minimum(dead, 1e12)))
