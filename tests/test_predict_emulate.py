"""Emulated histories, the verbs that use them, and the model that ships."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from plant.errors import ModelNotTrained, TelemetryError
from plant.files import DATA, shipped
from plant.site import load_site
from predict.catchup import by_tick, catch_up
from predict.emulate import KINDS, emulate_histories
from predict.features import INPUTS, MOMENT
from predict.registry import CARD, LIMIT_BYTES, WEIGHTS, load, newest
from predict.score import Scorer
from predict.survival import HORIZONS_S
from predict.watched import WATCHES, Watched
from twin.sensors import GROUPS
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.store import Batch
from verbs import score as score_verb
from verbs import train as train_verb

TINY = load_site(shipped("sites", "tiny"))
START_MS = 1_671_310_800_000


@pytest.fixture(scope="module")
def histories():
    return emulate_histories(TINY, 6, seed=1, hours=3.0)


def test_the_same_seed_gives_the_same_histories(histories):
    again = emulate_histories(TINY, 6, seed=1, hours=3.0)
    other = emulate_histories(TINY, 6, seed=2, hours=3.0)
    assert len(histories) == len(again)
    for one, two in zip(histories, again, strict=True):
        assert np.array_equal(one.values, two.values, equal_nan=True)
        assert one.event_ms == two.event_ms
    assert any(one.event_ms != two.event_ms for one, two in zip(histories, other, strict=True))


def test_histories_hold_failures_near_misses_and_quiet_lives(histories):
    loops = [history for history in histories if history.kind == "loop"]
    assert {history.kind for history in histories} == set(KINDS)
    assert any(history.event_ms is not None for history in loops)
    assert any(not history.rare for history in loops)
    assert all(history.rare for history in histories if history.event_ms is not None)
    assert all(history.values.shape == (len(history.times_ms), len(WATCHES[history.kind])) for history in histories)


def test_sensors_have_gaps_and_flow_falls_before_a_warned_trip(histories):
    seen = np.concatenate([history.values[:, 1] for history in histories if history.kind == "loop"])
    assert 0.001 < np.isnan(seen).mean() < 0.1
    lows = [
        float(np.nanmin(history.values[history.times_ms < history.event_ms, 1]))
        for history in histories
        if history.kind == "loop" and history.event_ms
    ]
    assert min(lows) < 0.8


def test_progress_is_told(histories):
    heard = []
    emulate_histories(TINY, 1, seed=0, hours=1.0, told=lambda done, of: heard.append((done, of)))
    assert heard == [(1, 1)]


def test_every_judged_channel_of_the_kinds_trained_on_is_one_the_emulated_site_measures():
    measured = {(group.kind, group.channel) for group in GROUPS}
    judged = {(kind, watch.channel) for kind in KINDS for watch in WATCHES[kind] if watch.worse}
    assert judged <= measured


# --- the model that ships -----------------------------------------------------------------------


def test_the_shipped_model_loads_is_small_and_says_what_it_is():
    (card_file,) = (DATA / "models").glob(f"*/*/{CARD}")
    card = json.loads(card_file.read_text())
    model = load(card_file.parent)
    assert (card_file.parent / WEIGHTS).stat().st_size < LIMIT_BYTES
    assert card["simulated"] is True
    assert card["data"] == "emulated"
    assert card["command"] == "foretwin train --site hall --seed 0"
    assert set(model.kinds) == set(KINDS)
    assert not any("auroc" in key or "recall" in key or "accuracy" in key for key in json.dumps(card).lower().split())


def test_the_shipped_model_is_calm_about_a_healthy_component():
    model = newest(DATA / "models")
    logits = model.encoder.logits(np.zeros((30, 2, INPUTS)), np.arange(2), np.zeros((2, MOMENT)))
    assert logits.shape == (2, len(HORIZONS_S))
    assert (logits < -5).all()


# --- verbs --------------------------------------------------------------------------------------


def filled_store(hours: float = 0.6, flow: float = 1.0) -> MemoryStore:
    """Half an hour of healthy readings of the tiny site's first loop and racks, then low flow for some minutes."""
    store, rng, rows = MemoryStore(), np.random.default_rng(0), []
    loop = TINY.loop_ids[0]
    for tick in range(int(hours * 240)):
        at = START_MS + tick * 15_000
        now = 1.0 if tick < hours * 240 - 40 else flow
        for channel, value, noise in (
            ("supply_c", 11.0, 0.1),
            ("flow_frac", now, 0.01),
            ("pressure_kpa", 300 * now**2, 2.0),
        ):
            rows.append((at, loop, channel, value + noise * rng.standard_normal()))
        rows += [(at, rack, "inlet_c", 22.0 + 0.1 * rng.standard_normal()) for rack in TINY.rack_ids]
    store.write(Batch.from_rows(rows))
    return store


def test_score_prints_what_the_contract_names():
    results = score_verb.run("tiny", filled_store(flow=0.8))
    json.dumps(results, allow_nan=False)
    first = results["risks"][0]
    named = {"component", "at", "p_fail", "ttf_quantiles_s", "tier", "reasons", "age_s", "unknown", "act"}
    assert named <= set(first)
    assert first["component"] == TINY.loop_ids[0]
    assert first["act"] is True
    assert results["alerts"][0]["root"] == TINY.loop_ids[0]
    assert first["at"].endswith("+00:00")
    silent = [row for row in results["risks"] if row["unknown"]]
    assert all(row["p_fail"]["3600"] is None and row["age_s"] is None for row in silent)


def test_score_of_an_empty_store_says_what_to_do():
    with pytest.raises(TelemetryError, match="foretwin ingest"):
        score_verb.run("tiny", MemoryStore())


def test_score_without_any_model_falls_back_to_the_residual(tmp_path):
    results = score_verb.run("tiny", filled_store(), models=[tmp_path])
    assert results["model"] is None
    assert {row["tier"] for row in results["risks"] if not row["unknown"]} == {"residual"}


def test_catching_up_gives_what_living_through_gave():
    watched = Watched({"loop": TINY.loop_ids[:1], "rack": TINY.rack_ids}, {})
    store = filled_store(flow=0.8)
    end_ms = START_MS + 144 * 15_000
    lived = Scorer(watched)
    everything = store.read(None, None, 0, end_ms + 1)
    for at_ms, batch in by_tick(everything, START_MS - 15_000, end_ms):
        lived.update(batch)
        risks = lived.score(at_ms)
    caught = catch_up(Scorer(watched), store, end_ms)
    assert [risk.act for risk in caught] == [risk.act for risk in risks]
    for one, two in zip(caught, risks, strict=True):
        assert one.within(3600) == pytest.approx(two.within(3600), rel=0.05)


def test_ticks_hold_every_reading_once():
    batch = Batch.from_rows([(ms, "a", "b", 0.0) for ms in (1, 14_999, 15_000, 15_001, 31_000)])
    found = [(at, batch.time_ms.tolist()) for at, batch in by_tick(batch, 0, 31_000)]
    assert found == [(15_000, [1, 14_999, 15_000]), (30_000, [15_001]), (31_000, [31_000])]


@pytest.mark.slow
def test_train_writes_a_model_that_loads(tmp_path):
    results = train_verb.run("tiny", 3, tmp_path, "2026-01-01T00:00:00+00:00", members=6)
    model = load(Path(results["path"]))
    assert results["simulated"] is True
    assert model.card["command"] == "foretwin train --site tiny --seed 3 --members 6"


@pytest.mark.slow
def test_the_command_on_the_card_gives_the_shipped_model_again(tmp_path):
    shipped_one = newest(DATA / "models")
    again = load(Path(train_verb.run("hall", 0, tmp_path, "")["path"]))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 50, INPUTS)), np.arange(50) % 2, rng.standard_normal((50, MOMENT))
    assert again.card["counts"] == shipped_one.card["counts"]
    # the last bits of a sum differ between machine types, and training amplifies them
    assert again.encoder.logits(*x) == pytest.approx(shipped_one.encoder.logits(*x), abs=1.0)


def test_train_on_a_site_where_nothing_fails_says_so(tmp_path):
    with pytest.raises(ModelNotTrained, match="no failure"):
        train_verb.run("tiny", 0, tmp_path, "", members=0)
