"""Ranges of names: what they stand for, and that nothing is lost on the way there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant.ranges import collapse, expand, expand_path


@given(
    prefix=st.from_regex(r"[a-z][a-z-]{0,5}", fullmatch=True),
    numbers=st.sets(st.integers(0, 9999), min_size=1, max_size=60),
    width=st.integers(4, 6),
)
def test_collapse_and_expand_are_inverse(prefix: str, numbers: set[int], width: int) -> None:
    names = [f"{prefix}{number:0{width}d}" for number in sorted(numbers)]
    assert list(expand(collapse(names))) == names


@given(low=st.integers(0, 500), size=st.integers(1, 500), width=st.integers(1, 6))
def test_a_range_has_as_many_names_as_it_says(low: int, size: int, width: int) -> None:
    names = expand(f"n[{low:0{width}d}-{low + size - 1}]")
    assert len(names) == len(set(names)) == size
    assert [int(name[1:]) for name in names] == list(range(low, low + size))


def test_ranges_in_paths_and_pieces() -> None:
    assert expand("r[1-2]-n[1-2]") == ("r1-n1", "r1-n2", "r2-n1", "r2-n2")
    assert expand("plain") == ("plain",)
    assert expand("n[001-002,010]") == ("n001", "n002", "n010")
    assert expand_path("a/b[1-2]/c") == ("a/b1/c", "a/b2/c")
    for bad in ("", "n[", "n[a-b]", "n[3-1]", "n[1-2,2]", "n[1-99999999]", "a b", "n[]"):
        with pytest.raises(ValueError):
            expand(bad)
