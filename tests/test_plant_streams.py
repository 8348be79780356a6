"""Random numbers as a pure function: the generator is the published one, and luck follows names, never places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from plant import streams

ONES = 0xFFFFFFFF
KNOWN = {  # Random123, kat_vectors, philox4x32 with 10 rounds: counter, key, answer
    "zeros": ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    "ones": ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    "digits of pi": (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
}
MANY = 20_000
NAMES = [f"r/h/n{i}" for i in range(MANY)]
KEYS = streams.component_keys(NAMES)
words = st.integers(0, ONES)


def words_of(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    arrays = tuple(np.array([c], dtype=np.uint64) for c in counter)
    return tuple(int(w[0]) for w in streams.philox(arrays, key))


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN.values(), ids=KNOWN)
def test_known_answers_of_philox(counter, key, answer):
    assert words_of(counter, key) == answer


def philox_in_plain_python(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """The published round with Python's own integers, which cannot overflow."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & ONES, (p0 >> 32) ^ c[3] ^ k[1], p0 & ONES]
        k = [(k[0] + 0x9E3779B9) & ONES, (k[1] + 0xBB67AE85) & ONES]
    return tuple(c)


@given(counter=st.tuples(words, words, words, words), key=st.tuples(words, words))
def test_arrays_give_what_plain_integers_give(counter, key):
    assert words_of(counter, key) == philox_in_plain_python(counter, key)


def test_a_subset_in_any_order_keeps_its_luck():
    whole = streams.uniform(3, "life", np.arange(8)[:, None], KEYS[None, :100], 2)
    rows, columns = [5, 0], [99, 3, 41]
    part = streams.uniform(3, "life", np.array(rows)[:, None], KEYS[None, columns], 2)
    assert np.array_equal(part, whole[np.ix_(rows, columns)])
    assert float(streams.uniform(3, "life", 5, KEYS[99], 2)) == whole[5, 99]


def test_each_of_the_five_values_matters():
    base = (3, "life", 1, KEYS[0], 2)
    others = [(4, *base[1:]), (3, "death", *base[2:]), (3, "life", 2, KEYS[0], 2), (3, "life", 1, KEYS[1], 2),
              (3, "life", 1, KEYS[0], 3)]  # fmt: skip
    found = {float(streams.uniform(*each)) for each in (base, *others)}
    assert len(found) == 6
    assert float(streams.uniform(*base)) in found


def test_seed_and_purpose_do_not_run_together():
    assert float(streams.uniform(1, "1|x", 0, KEYS[0])) != float(streams.uniform(11, "|x", 0, KEYS[0]))


@pytest.mark.parametrize("axis", ["member", "component", "draw"])
def test_numbers_are_uniform_along_every_axis(axis):
    n = np.arange(MANY)
    where = {"member": (n, KEYS[0], 0), "component": (0, KEYS, 0), "draw": (0, KEYS[0], n)}[axis]
    u = streams.uniform(11, "test", *where)
    assert ((u > 0.0) & (u < 1.0)).all()
    assert stats.kstest(u, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 3.0 / np.sqrt(MANY)


def test_neighbours_in_every_direction_are_independent():
    n = np.arange(MANY)
    base = streams.uniform(11, "test", n, KEYS, 0)
    for other in (
        streams.uniform(11, "test", n + 1, KEYS, 0),
        streams.uniform(11, "test", n, KEYS, 1),
        streams.uniform(12, "test", n, KEYS, 0),
        streams.uniform(11, "tests", n, KEYS, 0),
    ):
        assert abs(np.corrcoef(base, other)[0, 1]) < 3.0 / np.sqrt(MANY)
        table, _, _ = np.histogram2d(base, other, bins=8, range=[[0, 1], [0, 1]])
        assert stats.chisquare(table.ravel()).pvalue > 0.01


def test_exponential_normal_and_lognormal_have_their_laws():
    assert stats.kstest(streams.exponential(5, "test", 0, KEYS), "expon").pvalue > 0.01
    assert stats.kstest(streams.normal(5, "test", 0, KEYS), "norm").pvalue > 0.01
    repair = streams.lognormal(5, "test", 0, KEYS, 0, 480.0, 0.4)
    assert stats.kstest(repair, "lognorm", (0.4, 0.0, 480.0)).pvalue > 0.01


def test_extreme_words_stay_inside_the_open_interval():
    for word in (0, ONES):
        w = np.array([word], dtype=np.uint64)
        assert 0.0 < float(streams._unit(w, w)[0]) < 1.0


def test_names_have_keys_of_their_own():
    assert len(set(KEYS.tolist())) == MANY
    assert streams.component_key(NAMES[7]) == int(KEYS[7])
