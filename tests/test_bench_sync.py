"""`foretwin bench sync`: it corrects what it says it corrects, and prints what contracts.md asks for."""

from __future__ import annotations

from verbs.bench_sync import CHANNELS, run


def test_a_round_of_five_channels_is_taken_in():
    results = run(members=4, nodes=100, tries=2)
    assert results["ok"]
    assert results["channels"] == len(CHANNELS) == 5
    assert results["readings"] == 500
    assert 0.0 < results["update_ms"] <= results["median_ms"]
