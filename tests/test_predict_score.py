"""Scoring: one contract for every tier, unknown on silence, and the two stories it is for: airlock and quiet day."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from synthetic import START_MS, TICK_S, Airlock, plain_site, ticks
from test_predict_model import weights

from plant.site import load_site
from predict.alarms import AlarmBoard
from predict.encoder import Encoder
from predict.registry import Model
from predict.score import STALE_S, Scorer
from predict.survival import HORIZONS_S
from predict.watched import Watched
from twin.telemetry.store import Batch


def loud_model() -> Model:
    """A network that fears everything, so that its tier speaks."""
    arrays = weights(kinds=3)
    arrays["head.bias"] = np.full(len(HORIZONS_S), -1.0)
    card = {"class": "cooling", "sha256": "0" * 64}
    return Model(Encoder(arrays), ("chiller", "loop", "rack"), np.tile([1.0, 0.0], (3, 1)), card)


def scored(hours: float, seed: int = 0, model: Model | None = None, airlock: Airlock | None = None) -> Scorer:
    scorer = Scorer(plain_site(racks=5), model)
    for now_ms, batch in ticks(scorer.watched, hours, seed, airlock):
        scorer.update(batch)
        scorer.score(now_ms)
    return scorer


END_MS = START_MS + 1800_000
CASES = {
    "base rate": lambda: (scored(0.1), START_MS + 360_000, "base_rate"),
    "residual": lambda: (scored(0.5), END_MS, "residual"),
    "lstm": lambda: (scored(0.5, model=loud_model()), END_MS, "lstm"),
    "unknown": lambda: (scored(0.5), END_MS + 600_000, "residual"),
    "airlock": lambda: (scored(0.5, airlock=Airlock(900, 1800)), END_MS, "residual"),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def round_(request):
    scorer, now_ms, tier = request.param()
    return scorer, scorer.score(now_ms), tier


def test_every_component_has_exactly_one_risk(round_):
    scorer, risks, _ = round_
    assert [risk.component for risk in risks] == list(scorer.watched.ids)


def test_the_expected_tier_speaks_and_signs_with_its_version(round_):
    _, risks, tier = round_
    risk = next(risk for risk in risks if risk.kind == "loop")
    assert risk.tier == tier
    assert (risk.model is not None) == (tier == "lstm")


def test_p_fail_is_a_probability_that_never_falls_with_the_horizon(round_):
    for risk in round_[1]:
        p = list(risk.p_fail.values())
        assert tuple(risk.p_fail) == HORIZONS_S
        if not risk.unknown:
            assert all(0.0 <= value <= 1.0 for value in p)
            assert all(low <= high for low, high in pairwise(p))


def test_no_nan_ever_comes_out(round_):
    for risk in round_[1]:
        json.dumps(risk.as_dict(), allow_nan=False)


def test_every_risk_says_why(round_):
    assert all(risk.reasons and all(risk.reasons) for risk in round_[1])


def test_unknown_has_no_probability_and_known_has_all(round_):
    for risk in round_[1]:
        assert all((p is None) == risk.unknown for p in risk.p_fail.values())
        assert (risk.within(3600) is None) == risk.unknown
        assert not (risk.unknown and risk.ttf_quantiles_s)


def test_silence_becomes_unknown_and_never_low():
    scorer = scored(0.5)
    fresh = scorer.score(END_MS)
    stale = scorer.score(END_MS + int(STALE_S * 1000) + TICK_S * 1000)
    assert not any(risk.unknown for risk in fresh)
    assert all(risk.unknown and "s old" in risk.reasons[0] for risk in stale)


def test_a_component_that_never_reported_is_unknown():
    scorer = Scorer(plain_site(racks=2))
    (risk, *_) = scorer.score(START_MS)
    assert (risk.unknown, risk.age_s, risk.act) == (True, None, False)
    assert risk.reasons == ("unknown: no reading yet, fresh means at most 180 s",)


def test_one_channel_of_several_is_not_enough_and_the_silent_ones_are_named():
    site = load_site("tiny")
    scorer, loop = Scorer(site), site.loop_ids[0]
    scorer.update(Batch.from_rows([(START_MS, loop, "supply_c", 12.0)]))
    risk = next(risk for risk in scorer.score(START_MS + 15_000) if risk.component == loop)
    assert risk.unknown
    assert risk.age_s == 15.0
    (reason,) = risk.reasons
    assert reason.startswith("unknown: ")
    assert "channels have no fresh reading (" in reason
    assert "flow_frac" in reason
    assert "supply_c" not in reason


def test_a_wrong_clock_of_one_sensor_never_makes_the_site_look_calm():
    airlock = Airlock(1200, 900)
    scorer = Scorer(plain_site(racks=2))
    for now_ms, batch in ticks(scorer.watched, 0.55, 0, airlock):
        wrong = Batch.from_rows([(now_ms + 900_000, "s/h0/rack0", "inlet_c", 22.0)])
        scorer.update(Batch.joined([wrong, batch]))
        risk = scorer.score(now_ms)[0]
    assert risk.act
    assert risk.within(3600) > 0.9


def test_one_dead_sensor_of_three_does_not_hide_the_rest():
    airlock = Airlock(1500, 900)
    scorer = Scorer(plain_site(racks=2))
    for now_ms, batch in ticks(scorer.watched, 0.6, 0, airlock):
        scorer.update(batch.take(batch.channel != "flow_frac"))
        risk = scorer.score(now_ms)[0]
    assert not risk.unknown
    assert risk.act
    assert "pressure" in risk.reasons[0]


def test_the_order_of_components_does_not_matter():
    site = plain_site(racks=4)
    turned = Watched({kind: list(names)[::-1] for kind, names in site.components.items()}, site.parent)
    one, two = Scorer(site, loud_model()), Scorer(turned, loud_model())
    rng = np.random.default_rng(0)
    for now_ms, batch in ticks(site, 0.4, 3, Airlock(900, 900)):
        one.update(batch)
        two.update(batch.take(rng.permutation(len(batch))))
        first = {risk.component: risk for risk in one.score(now_ms)}
        second = {risk.component: risk for risk in two.score(now_ms)}
    assert first.keys() == second.keys()
    for name, risk in first.items():
        assert list(risk.p_fail.values()) == pytest.approx(list(second[name].p_fail.values()), rel=1e-4, abs=1e-9)
        assert (risk.tier, risk.reasons, risk.act) == (second[name].tier, second[name].reasons, second[name].act)


def test_the_network_raises_a_risk_and_never_lowers_it():
    plain, with_network = scored(0.5), scored(0.5, model=loud_model())
    for low, high in zip(plain.score(END_MS), with_network.score(END_MS), strict=True):
        assert all(a <= b + 1e-12 for a, b in zip(low.p_fail.values(), high.p_fail.values(), strict=True))


def test_risk_rises_when_the_supply_temperature_rises():
    p = []
    for rise_k in (0.0, 0.5, 1.0, 2.0, 4.0):
        scorer = scored(0.5)
        for tick in range(1, 13):
            at = END_MS + tick * TICK_S * 1000
            rows = [("supply_c", 11.0 + rise_k), ("flow_frac", 1.0), ("pressure_kpa", 300.0)]
            scorer.update(Batch.from_rows([(at, "s/h0/loop", channel, value) for channel, value in rows]))
        p.append(scorer.score(at)[0].within(3600))
    assert p == sorted(p)
    assert p[-1] > 0.9 > 0.01 > p[0]


def test_an_airlock_is_one_alert_on_the_loop_long_before_a_rack_reaches_27_c():
    airlock = Airlock(2400, 1200)
    scorer = Scorer(plain_site(racks=5, loops=2))
    board, first_s, static_s = AlarmBoard(scorer.parent), None, None
    for now_ms, batch in ticks(scorer.watched, 1.5, 0, airlock):
        scorer.update(batch)
        alerts = board.update(now_ms, scorer.score(now_ms))
        if alerts and first_s is None:
            first_s, first = (now_ms - START_MS) / 1000, alerts
        if static_s is None and (batch.value[batch.channel == "inlet_c"] > 27.0).any():
            static_s = (now_ms - START_MS) / 1000
    assert [alert.root for alert in first] == ["s/h0/loop"]
    assert airlock.onset_s < first_s <= airlock.onset_s + 480
    assert static_s - first_s >= 300
    (alert,) = alerts
    assert alert.root == "s/h0/loop"
    assert len(alert.children) >= 5


def test_a_quiet_afternoon_raises_no_alert():
    scorer = Scorer(plain_site(racks=20, loops=2))
    worst = 0.0
    for now_ms, batch in ticks(scorer.watched, 4.0, 5, gap_frac=0.05):
        scorer.update(batch)
        scores = scorer.score_arrays(now_ms)
        worst = max(worst, float(np.nanmax(scores.p_fail[:, 3])))
        assert not scores.act.any()
    assert worst < 0.05
