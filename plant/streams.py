"""Random numbers as a pure function of (seed, purpose, member, component, draw): Philox4x32-10, vectorised.

Nothing here has state: the same five values always give the same number, so two plans meet the same luck and a
subset of the members or of the site keeps its own. Source: Salmon et al., "Parallel random numbers: as easy as
1, 2, 3" (SC'11); the known-answer test stands in tests/test_plant_streams.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

U32 = NDArray[np.uint64]

MULTIPLIER_0 = np.uint64(0xD2511F53)
MULTIPLIER_1 = np.uint64(0xCD9E8D57)
WEYL_0 = 0x9E3779B9
WEYL_1 = 0xBB67AE85
ROUNDS = 10
LOW = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)
BELOW_ONE = 1.0 - 2.0**-53  # the largest double below 1


def philox(counter: tuple[U32, U32, U32, U32], key: tuple[int, int]) -> tuple[U32, U32, U32, U32]:
    """Return the four 32-bit words of Philox4x32-10 for each counter (arrays of one shape, words in uint64)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = MULTIPLIER_0 * c0, MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (
            (p1 >> SHIFT) ^ c1 ^ np.uint64(k0),
            p1 & LOW,
            (p0 >> SHIFT) ^ c3 ^ np.uint64(k1),
            p0 & LOW,
        )
        k0, k1 = (k0 + WEYL_0) & 0xFFFFFFFF, (k1 + WEYL_1) & 0xFFFFFFFF
    return c0, c1, c2, c3


@lru_cache(maxsize=262_144)
def component_key(name: str) -> int:
    """Return the 64-bit key of a component's name (its luck follows the name, not its place in an array)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def component_keys(names: Iterable[str]) -> NDArray[np.uint64]:
    """Return the keys of several names as an array (n,)."""
    return np.array([component_key(name) for name in names], dtype=np.uint64)


@lru_cache(maxsize=4096)
def _purpose_key(seed: int, purpose: str) -> tuple[int, int]:
    word = int.from_bytes(hashlib.blake2b(f"{seed}|{purpose}".encode(), digest_size=8).digest(), "little")
    return word & 0xFFFFFFFF, word >> 32


def _words(seed: int, purpose: str, member: ArrayLike, component: ArrayLike, draw: ArrayLike) -> tuple[U32, ...]:
    m, c, d = np.broadcast_arrays(
        np.asarray(member, dtype=np.uint64), np.asarray(component, dtype=np.uint64), np.asarray(draw, dtype=np.uint64)
    )
    counter = (c & LOW, c >> SHIFT, m & LOW, d & LOW)
    return philox(counter, _purpose_key(seed, purpose))


def _unit(high: U32, low: U32) -> NDArray[np.float64]:
    """Join two words to a double in the open interval (0, 1) with 53 random bits."""
    whole = (high >> np.uint64(5)).astype(np.float64) * 67108864.0 + (low >> np.uint64(6)).astype(np.float64)
    # all 53 bits set would round up to 1.0, whose logarithm makes an exponential threshold of 0
    return np.minimum((whole + 0.5) / 9007199254740992.0, BELOW_ONE)


def uniform(
    seed: int, purpose: str, member: ArrayLike, component: ArrayLike, draw: ArrayLike = 0
) -> NDArray[np.float64]:
    """Return numbers in (0, 1), shape of the broadcast of member ids, component keys and draw numbers."""
    w0, w1, _, _ = _words(seed, purpose, member, component, draw)
    return _unit(w0, w1)


def exponential(
    seed: int, purpose: str, member: ArrayLike, component: ArrayLike, draw: ArrayLike = 0
) -> NDArray[np.float64]:
    """Return unit-mean exponential numbers: the hazard a component may accrue before it fails."""
    return -np.log(uniform(seed, purpose, member, component, draw))


def normal(
    seed: int, purpose: str, member: ArrayLike, component: ArrayLike, draw: ArrayLike = 0
) -> NDArray[np.float64]:
    """Return standard normal numbers (Box-Muller on the four words of one counter)."""
    w0, w1, w2, w3 = _words(seed, purpose, member, component, draw)
    radius = np.sqrt(-2.0 * np.log(_unit(w0, w1)))
    return np.asarray(radius * np.cos(2.0 * np.pi * _unit(w2, w3)))


def lognormal(
    seed: int, purpose: str, member: ArrayLike, component: ArrayLike, draw: ArrayLike, median: float, sigma: float
) -> NDArray[np.float64]:
    """Return lognormal numbers by median (any unit) and sigma of the logarithm."""
    return np.asarray(median * np.exp(sigma * normal(seed, purpose, member, component, draw)))
