"""Survival arithmetic, the act rule and alerts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from predict.alarms import MERGE_S, AlarmBoard, roots
from predict.calibrate import fit, hazards
from predict.risk import ActRule, Decider, Risk
from predict.survival import HORIZONS_S, exposure, fail_prob, log_likelihood, time_quantiles_s

BINS = len(HORIZONS_S)
any_hazards = arrays(np.float64, (3, BINS), elements=st.floats(0, 1))


@given(any_hazards)
def test_p_fail_never_falls_with_the_horizon(h):
    p = fail_prob(h)
    assert (np.diff(p, axis=1) >= 0).all()
    assert ((p >= 0) & (p <= 1)).all()


@given(any_hazards)
def test_time_quantiles_are_ordered_and_absent_where_not_reached(h):
    p = fail_prob(h)
    times = time_quantiles_s(p)
    for row in range(len(p)):
        known = times[row][~np.isnan(times[row])]
        assert (np.diff(known) >= 0).all()
        assert np.isnan(times[row]).tolist() == [
            bool(-np.log1p(-min(p[row, -1], 1 - 1e-12)) < -np.log1p(-q)) for q in (0.1, 0.5, 0.9)
        ]


def test_time_quantiles_of_a_constant_rate_are_those_of_the_exponential_law():
    rate_per_s = 1 / 7200.0
    p = 1 - np.exp(-rate_per_s * np.array(HORIZONS_S, float))[None]
    assert time_quantiles_s(p)[0] == pytest.approx(-np.log1p(-np.array([0.1, 0.5, 0.9])) / rate_per_s)


def test_a_censored_window_says_only_what_it_saw():
    survived, failed = exposure(np.array([np.nan, 900.0]), np.array([900.0, 5000.0]))
    assert survived[0].tolist() == [1.0, 0.5, *[0.0] * (BINS - 2)]
    assert (survived[1].tolist(), failed[1].tolist()) == ([1.0] + [0.0] * (BINS - 1), [0.0, 1.0] + [0.0] * (BINS - 2))
    h = np.full((2, BINS), 0.1)
    assert log_likelihood(h, np.array([np.nan, 900.0]), np.array([900.0, 900.0])) == pytest.approx(
        [1.5 * np.log(0.9), np.log(0.9) + np.log(0.1)]
    )


def test_calibration_finds_a_bias_that_was_put_in():
    rng = np.random.default_rng(0)
    logits = rng.normal(-2.5, 1.0, (3000, BINS))
    true = hazards(logits + 0.8, np.zeros(3000, np.int64), np.array([[1.0, 0.0]]))
    fell = rng.random(true.shape) < true
    first = np.where(fell.any(axis=1), fell.argmax(axis=1), BINS)
    event_s = np.where(first < BINS, np.array([*HORIZONS_S, np.inf])[first] - 1.0, np.nan)
    table = fit(logits, np.zeros(3000, np.int64), event_s, np.full(3000, 1e6), np.ones(3000), ("loop",))
    assert table[0] == pytest.approx([1.0, 0.8], abs=0.1)


# --- act ----------------------------------------------------------------------------------------


def decisions(rule: ActRule, *rounds: float) -> list[bool]:
    decider = Decider(1, rule)
    return [bool(decider.decide(15_000 * i, np.array([p]))[0]) for i, p in enumerate(rounds)]


def test_acting_pays_from_the_expected_cost_threshold():
    assert ActRule(cost_act=1, cost_fail=5, effect_frac=0.7).threshold == pytest.approx(0.2857, abs=1e-4)


def test_act_needs_persistence_and_a_blip_does_nothing():
    rule = ActRule(persist=3)
    assert decisions(rule, 0.9, 0.9, 0.9) == [False, False, True]
    assert not any(decisions(rule, 0.9, 0.9, 0.0, 0.9, 0.9, 0.0))


def test_act_ends_only_after_several_scores_below_the_hysteresis():
    rule = ActRule(persist=1, release=2, hysteresis=0.05)
    at = rule.threshold
    assert decisions(rule, 0.9, at - 0.01, at - 0.01, at - 0.01)[-1]
    assert decisions(rule, 0.9, 0.0, 0.0) == [True, True, False]


def test_unknown_neither_starts_nor_ends_an_episode():
    rule = ActRule(persist=2, release=1)
    assert decisions(rule, 0.9, np.nan, 0.9, np.nan, np.nan) == [False, False, True, True, True]


def test_a_threshold_above_one_never_acts():
    assert not any(decisions(ActRule(cost_act=10, cost_fail=1), *[1.0] * 10))


def test_the_budget_holds_back_all_but_the_nearly_certain_and_never_a_shared_cause():
    rule = ActRule(persist=1, budget_per_day=1, certain_prob=0.9)
    upstream = np.array([[-1], [-1], [-1], [0]])
    decider = Decider(4, rule, upstream)
    acting = decider.decide(0, np.array([0.8, 0.7, 0.0, 0.5]))
    assert acting.tolist() == [True, False, False, True]
    assert decider.decide(15_000, np.array([0.8, 0.7, 0.95, 0.5])).tolist() == [True, False, True, True]
    assert decider.held_back >= 1
    day_later = decider.decide(2 * Decider.DAY_MS, np.array([0.8, 0.7, 0.95, 0.5]))
    assert day_later.tolist() == [True] * 4


# --- alerts -------------------------------------------------------------------------------------

PARENT = {"h": "l", "h2": "l2", "u0": "h", "c0": "l", "c1": "l"} | {f"r{i}": "h" for i in range(6)}


def risk(component: str, p: float = 0.9, act: bool = True) -> Risk:
    return Risk(
        component, "rack", 0, dict.fromkeys(HORIZONS_S, p), None, "residual", (component,), None, 0.0, False, act
    )


def test_many_racks_are_one_alert_on_what_they_share():
    assert roots(["r0", "r1", "r2"], PARENT) == dict.fromkeys(["r0", "r1", "r2"], "h")
    assert roots(["r0", "r1", "c0", "c1"], PARENT) == dict.fromkeys(["r0", "r1", "c0", "c1"], "l")
    assert roots(["r0", "l"], PARENT) == {"r0": "l", "l": "l"}


def test_one_ill_rack_is_its_own_alert():
    assert roots(["r0"], PARENT) == {"r0": "r0"}
    assert roots(["r0", "r5"], PARENT) == {"r0": "r0", "r5": "r5"}


def test_an_alert_grows_into_its_root_and_keeps_its_age():
    board = AlarmBoard(PARENT)
    board.update(1000, [risk("r0")])
    (alert,) = board.update(2000, [risk("r0"), risk("l", 0.99)])
    assert (alert.root, alert.since_ms, alert.children, alert.inferred) == ("l", 1000, ("r0",), False)
    assert alert.reasons == ("l",)


def test_an_inferred_root_says_so():
    (alert,) = AlarmBoard(PARENT).update(0, [risk("r0", 0.5), risk("r1", 0.8), risk("r2", 0.6)])
    assert (alert.root, alert.inferred, alert.reasons) == ("h", True, ("r1",))


def test_a_short_dip_does_not_make_a_second_alert():
    board = AlarmBoard(PARENT)
    board.update(0, [risk("r0")])
    assert len(board.update(int(MERGE_S * 500), [risk("r0", act=False)])) == 1
    (alert,) = board.update(int(MERGE_S * 900), [risk("r0")])
    assert alert.since_ms == 0
    assert board.update(int(MERGE_S * 2000), []) == ()
