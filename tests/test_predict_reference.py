"""The healthy reference: learnt from the component itself, frozen while it is off, and it says what moved."""

from __future__ import annotations

import numpy as np
import pytest

from predict.baselines import BASE_RATES, GammaRate, level_rate_per_h, residual_p_fail, score
from predict.observer import Observer
from predict.reference import WARM_SLOTS
from predict.survival import HORIZONS_S
from predict.watched import COLUMNS, DEFAULT_KINDS, WATCHES, Watched, judged

STEP_MS = 30_000
LOOP = Watched({"loop": ["a/loop"]}, {})
HEALTHY = {"supply_c": 11.0, "flow_frac": 1.0, "pressure_kpa": 300.0, "return_c": 17.0}


def feed(observer: Observer, slots: int, seed: int = 0, **change_per_min: float) -> Observer:
    """Give one reading of each channel per slot, drifting by `change_per_min`, with a little noise."""
    rng = np.random.default_rng(seed)
    start = observer.windows.head or 0
    for slot in range(1, slots + 1):
        for column, watch in enumerate(WATCHES["loop"]):
            clean = HEALTHY[watch.channel] + change_per_min.get(watch.channel, 0.0) * slot / 2
            value = clean + 0.3 * watch.floor * (clean if watch.relative else 1.0) * rng.standard_normal()
            cell = np.array([column], np.int64)
            observer.take(np.array([(start + slot) * STEP_MS], np.int64), cell, np.array([value]))
    return observer


def test_a_reference_is_believed_only_after_its_warm_up():
    observer = feed(Observer(LOOP), WARM_SLOTS)
    assert not observer.reference.warm.any()
    feed(observer, 1)
    assert observer.reference.warm.all()
    assert observer.reference.centre[0, 0] == pytest.approx(11.0, abs=0.05)


def test_a_healthy_component_stays_within_half_a_tolerance():
    observer = feed(Observer(LOOP), 400)
    assert np.nanmax(observer.residual().excess) < 0.5


def test_a_slow_failure_does_not_teach_the_reference():
    observer = feed(feed(Observer(LOOP), 60), 240, supply_c=0.05)
    assert observer.reference.centre[0, 0] < 11.0 + 0.55
    assert observer.residual().excess[0, 0] > 4.0


def test_one_wild_reading_moves_neither_level_nor_reference():
    observer = feed(Observer(LOOP), 60)
    before = observer.reference.centre.copy()
    head = observer.windows.head
    observer.take(np.array([(head + 1) * STEP_MS]), np.array([0]), np.array([89.0]))
    feed(observer, 1)
    assert abs(observer.residual().deviation[0, 0]) < 0.3
    assert observer.reference.centre[0, 0] == pytest.approx(before[0, 0], abs=0.05)


def test_the_reason_names_channel_size_direction_and_rate():
    observer = feed(feed(Observer(LOOP), 60), 6, supply_c=0.7)
    first, *_ = observer.reference.explain(0, observer.residual())
    assert first.startswith(("loop supply 1.", "loop supply 0."))
    assert "K above its healthy reference, rising" in first
    assert first.endswith("K/min")


def test_a_set_point_moved_on_purpose_is_not_a_deviation():
    observer = feed(Observer(LOOP), 60)
    observer.reference.shift("a/loop", "supply_c", -2.0)
    assert observer.residual().deviation[0, 0] == pytest.approx(2.0, abs=0.3)


def test_a_repaired_component_starts_afresh():
    observer = feed(Observer(LOOP), 60)
    observer.reference.forget("a/loop")
    assert not observer.reference.warm.any()
    assert np.isnan(observer.residual().excess).all()


@pytest.mark.parametrize(("channel", "per_min"), [("supply_c", 0.3), ("flow_frac", -0.02), ("pressure_kpa", -10.0)])
def test_risk_rises_as_a_judged_channel_goes_the_wrong_way(channel, per_min):
    base = np.array([BASE_RATES["loop"].mean_per_h])
    before = feed(Observer(LOOP), 60)
    worse = feed(feed(Observer(LOOP), 60), 12, **{channel: per_min})
    even_worse = feed(feed(Observer(LOOP), 60), 12, **{channel: 2 * per_min})
    p = [residual_p_fail(observer.residual(), base)[0] for observer in (before, worse, even_worse)]
    assert (p[1] > p[0]).all()
    assert (p[2] >= p[1]).all()


def test_a_harmless_direction_carries_no_blame():
    observer = feed(feed(Observer(LOOP), 60), 12, supply_c=-0.3, return_c=2.0)
    assert score(observer.residual())[0] < 0.5


def test_level_rate_is_the_base_rate_when_nothing_is_off_and_grows_with_the_score():
    base = np.full(5, 1e-5)
    rate = level_rate_per_h(np.array([0.0, 0.5, 1.0, 1.3, 9.0]), base)
    assert rate[0] == pytest.approx(1e-5)
    assert (np.diff(rate) > 0).all()
    assert rate[-1] == pytest.approx(20.0)


def test_a_gamma_rate_learns_from_exposure():
    prior = GammaRate(1.0, 8766.0)
    assert prior.seen(0, 8766.0).mean_per_h == pytest.approx(prior.mean_per_h / 2)
    assert prior.seen(5, 8766.0).mean_per_h > prior.mean_per_h
    assert (np.diff(prior.p_fail()) > 0).all()
    assert prior.p_fail()[-1] == pytest.approx(24 / 8766, rel=0.01)
    assert len(prior.p_fail()) == len(HORIZONS_S)


def test_every_watched_kind_has_a_base_rate_a_judged_channel_and_room_in_the_table():
    from plant.channels import CHANNELS

    known = {(channel.kind, channel.name) for channel in CHANNELS}
    assert set(WATCHES) <= set(BASE_RATES)
    assert set(DEFAULT_KINDS) <= set(WATCHES)
    for kind, watches in WATCHES.items():
        assert judged(kind) >= 1
        assert len(watches) <= COLUMNS
        assert {(kind, watch.channel) for watch in watches} <= known
        assert all(watch.tolerance < watch.limit for watch in watches)
