"""MTTR: parts that sum exactly, three outcomes kept apart, lost minutes by closed form, sound paired comparisons."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recovery import mttr
from recovery.mttr import CHARGED_S, HUMAN_S, PARTS, Times

FULL = Times(0, 60_000, 61_000, 63_000, 93_000, 213_000, 228_000, 400_000, 900_000, loss_ms=300_000)
instants = st.none() | st.integers(-(10**7), 10**7)


def test_the_eight_parts_are_the_eight_differences():
    found = mttr.recovery(FULL)
    assert found.outcome == "recovered"
    assert list(found.parts.items()) == list(zip(PARTS, [60.0, 1.0, 2.0, 30.0, 120.0, 15.0, 172.0, 500.0], strict=True))
    assert found.mttr_s == 900.0


@given(st.integers(-(10**6), 10**6), st.tuples(*[instants] * 7), st.integers(0, 10**7))
def test_the_parts_sum_to_the_mttr_to_the_last_bit_and_none_is_negative(t0_ms, marks, life_ms):
    end_ms = t0_ms + life_ms
    found = mttr.recovery(Times(t0_ms, *marks, end_ms, loss_ms=t0_ms))
    assert tuple(found.parts) == PARTS
    assert sum(found.parts.values()) == found.mttr_s
    assert min(found.parts.values()) >= 0
    assert round(found.mttr_s * 1000) == life_ms


def test_an_incident_nobody_saw_is_all_detection():
    found = mttr.recovery(Times(0, verified_ms=7_200_000, loss_ms=600_000))
    assert found.parts["detect_s"] == found.mttr_s == 7_200.0


def test_a_rejected_plan_waits_for_its_decision_until_the_repair():
    found = mttr.recovery(Times(0, 10_000, 20_000, 30_000, 40_000, None, None, None, 100_000, loss_ms=1))
    assert found.parts["decide_s"] == 60.0
    assert found.parts["act_s"] == 0.0


def test_what_was_done_before_the_fault_costs_no_repair_time():
    found = mttr.recovery(Times(100_000, 40_000, 50_000, 60_000, 70_000, 120_000, None, None, 200_000, loss_ms=150_000))
    assert [found.parts[name] for name in PARTS[:5]] == [0.0, 0.0, 0.0, 0.0, 20.0]


def test_an_averted_incident_has_a_lead_and_no_mttr():
    found = mttr.recovery(Times(900_000, 60_000, last_step_ms=400_000))
    assert (found.outcome, found.mttr_s, found.parts, found.lead_s) == ("averted", None, None, 500.0)


def test_an_incident_that_did_not_end_is_unresolved():
    found = mttr.recovery(Times(0, 1, loss_ms=5))
    assert (found.outcome, found.mttr_s) == ("unresolved", None)


def test_the_summary_keeps_the_three_outcomes_apart():
    found = [
        mttr.recovery(Times(0, verified_ms=100_000, loss_ms=0)),
        mttr.recovery(Times(0, verified_ms=300_000, loss_ms=0)),
        mttr.recovery(Times(0, last_step_ms=1)),
        mttr.recovery(Times(0, loss_ms=0)),
    ]
    summary = mttr.summarise(found, np.random.default_rng(0))
    assert (summary.n, summary.averted, summary.recovered, summary.unresolved) == (4, 1, 2, 1)
    assert (summary.mean_s, summary.median_s) == (200.0, 200.0)
    assert sum(summary.parts.values()) == pytest.approx(summary.mean_s)
    assert summary.ci95[0] <= 200.0 <= summary.ci95[1]


def test_a_summary_without_a_recovery_has_no_numbers():
    summary = mttr.summarise([mttr.recovery(Times(0, last_step_ms=1))], np.random.default_rng(0))
    assert (summary.mean_s, summary.ci95, summary.parts) == (None, None, None)


# Lost service


def test_half_the_service_lost_for_ten_minutes_is_five_minutes():
    assert mttr.lost_service_min([0, 300, 900, 1200], [0.0, 0.5, 0.0, 0.0]) == pytest.approx(5.0)
    assert mttr.lost_service_min([0, 300, 900, 1200], [0.0, 0.5, 0.0, 0.0], weight=0.4) == pytest.approx(2.0)


def test_the_classes_are_weighted_by_their_priority():
    time_s = [0, 600, 1200]
    lost = {"realtime": [1.0, 0.0, 0.0], "batch": [1.0, 1.0, 0.0]}
    assert mttr.weighted_lost_service_min(time_s, lost, {"realtime": 0.75, "batch": 0.25}) == pytest.approx(12.5)
    with pytest.raises(ValueError, match="must sum to 1"):
        mttr.weighted_lost_service_min(time_s, lost, {"realtime": 0.75, "batch": 0.75})


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_lost_minutes_do_not_depend_on_where_the_series_is_cut(lost):
    time_s = np.arange(len(lost)) * 15.0
    cut = len(lost) // 2
    parts = [mttr.lost_service_min(time_s[s], np.array(lost)[s]) for s in (slice(0, cut + 1), slice(cut, None))]
    assert math.isclose(sum(parts), mttr.lost_service_min(time_s, lost), abs_tol=1e-9)


def test_recovered_means_inside_the_limit_for_the_whole_hold_time():
    time_ms = np.arange(0, 1_200_000, 60_000)
    lost = np.where((time_ms >= 120_000) & (time_ms < 300_000), 0.5, 0.0)
    lost[time_ms == 420_000] = 0.5  # a relapse before five minutes are over
    assert mttr.first_loss_ms(time_ms, lost) == 120_000
    assert mttr.recovered_ms(time_ms, lost, hold_s=300, after_ms=120_000) == 480_000
    assert mttr.recovered_ms(time_ms, lost, hold_s=60, after_ms=120_000) == 300_000
    assert mttr.recovered_ms(time_ms[:12], lost[:12], hold_s=300, after_ms=120_000) is None
    assert mttr.first_loss_ms(time_ms, np.zeros(len(time_ms))) is None


@pytest.mark.parametrize("bad", [([0, 1], [0.0]), ([1, 0], [0.0, 0.0]), ([0, 1], [0.0, math.nan])])
def test_a_series_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        mttr.lost_service_min(*bad)


# Comparisons


def test_the_paired_difference_finds_what_noise_between_incidents_hides():
    rng = np.random.default_rng(3)
    theirs = rng.lognormal(4, 1.5, 40)
    found = mttr.paired(theirs - 5.0 + rng.normal(0, 1, 40), theirs, np.random.default_rng(1))
    assert found.n == 40
    assert found.diff_mean == pytest.approx(-5.0, abs=0.6)
    assert found.ci95[0] < found.diff_mean < found.ci95[1] < 0
    assert found.sign_p < 1e-6


def test_the_same_generator_gives_the_same_interval():
    a, b = np.arange(10.0), np.arange(10.0)[::-1].copy()
    first, again = (mttr.paired(a, b, np.random.default_rng(5)) for _ in range(2))
    assert first == again


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(200):
        low, high = mttr.mean_ci95(rng.normal(1.0, 2.0, 40), rng, resamples=400)
        hits += low <= 1.0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_the_sign_test_is_the_binomial():
    assert mttr.sign_test([-1.0] * 5) == pytest.approx(2 / 32)
    assert mttr.sign_test([-1.0, 1.0]) == 1.0
    assert mttr.sign_test([0.0, 0.0]) == 1.0
    assert mttr.sign_test([1.0] * 9 + [-1.0, 0.0]) == pytest.approx(2 * (1 + 10) / 2**10)


@pytest.mark.parametrize("bad", [([], []), ([1.0], [1.0, 2.0]), ([math.inf], [1.0])])
def test_pairs_that_cannot_be_compared_are_refused(bad):
    with pytest.raises(ValueError, match="pair"):
        mttr.paired(*bad, np.random.default_rng(0))


def test_machine_thinking_and_human_time_are_charged_from_tables():
    assert set(CHARGED_S) <= set(PARTS)
    assert CHARGED_S["rehearse_s"] + CHARGED_S["plan_s"] <= 60
    assert [HUMAN_S[name] for name in ("foretwin_0s", "foretwin_2m", "foretwin_5m")] == [0.0, 120.0, 300.0]
