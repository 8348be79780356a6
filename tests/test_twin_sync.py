"""Sync: the twin follows a site through its readings alone, keeps its heat ledger, refuses what is too late."""

from __future__ import annotations

import numpy as np
import pytest
from emulated_world import PERFECT, SITE, Beside, emulated, quickly
from twin_stories import MINUTE_MS, T0_MS

from plant.site import Site, load_site
from twin import cooling_bits
from twin.engine import Engine, run
from twin.ensemble import make_state
from twin.flows import stored_heat_kj
from twin.nodephase import FAILED, HEALTHY, ON, SPENT, STOPPED
from twin.sync.divergence import Divergence
from twin.sync.lateness import LATE_MS
from twin.sync.synchronise import Synchroniser
from twin.telemetry.store import Batch

PLENUM = SITE.hall_plenum_kj_per_k
RACK, LOOP = SITE.rack_ids[0], SITE.loop_ids[0]


def alone(members: int = 6) -> tuple[Engine, Synchroniser]:
    """A twin at rest a quarter of an hour after its start, and what corrects it."""
    state = run(make_state(SITE, T0_MS, members=members), SITE, T0_MS + 15 * MINUTE_MS + 1)
    return Engine(state, SITE), Synchroniser(SITE)


def reading(component: str, channel: str, value: float, age_ms: int = 0, now_ms: int = T0_MS + 15 * MINUTE_MS) -> Batch:
    return Batch.from_rows([(now_ms - age_ms, component, channel, value)])


def report(beside: Beside) -> dict[str, dict[str, float]]:
    return {str(row["channel"]): row for row in beside.twin.sync.report()}  # type: ignore[misc]


# --- following --------------------------------------------------------------------------------


def an_hour(hidden_seed: int) -> Beside:
    """An hour of a calm site followed by 16 members."""
    beside = Beside(*quickly(hidden_seed), members=16)
    for _ in range(240):
        beside.tick()
    return beside


@pytest.fixture(scope="module")
def followed() -> Beside:
    """What tests of following share; none of them moves it."""
    return an_hour(7)


def test_inlets_and_water_are_followed_better_than_by_persistence(followed):
    for channel in ("rack.inlet_c", "loop.supply_c"):
        row = report(followed)[channel]
        assert row["n"] > 100
        assert row["rmse"] < row["persistence_rmse"], channel


def test_the_twin_says_that_it_is_in_sync(followed):
    assert followed.twin.in_sync() == (True, "")


def test_the_twin_comes_nearer_to_the_truth_than_without_readings(followed):
    free = make_state(SITE, T0_MS, members=16, seed=1)
    truth = followed.emulator.engine.state
    run(free, SITE, truth.now_ms)
    for name in ("rack_air_c", "hall_hot_c"):
        error, blind = (np.abs(s.arrays[name].mean(axis=0) - truth.arrays[name][0]).mean() for s in
                        (followed.twin.state, free))  # fmt: skip
        assert error < 0.5 * blind, name


@pytest.fixture(scope="module")
def hall_followed() -> Beside:
    """Half an hour of a calm full-size hall, followed from rest."""
    beside = Beside(*emulated(5, load_site("hall")), members=8)
    for _ in range(120):
        beside.tick()
    return beside


def test_a_hall_is_followed_from_rest_within_half_an_hour(hall_followed):
    for channel in ("rack.outlet_c", "hall.hot_c", "rack.inlet_c", "loop.supply_c"):
        row = report(hall_followed)[channel]
        assert row["rmse"] < 2.0 * row["persistence_rmse"], channel


def test_following_a_hall_does_not_bend_its_air_flows(hall_followed):
    twin, truth = hall_followed.twin.state, hall_followed.emulator.engine.state
    ratio = twin.rack_flow_kw_per_k.mean(axis=0) / truth.rack_flow_kw_per_k[0]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.03)
    assert 0.7 < ratio.min() < ratio.max() < 1.4


def test_a_channel_far_from_what_is_expected_is_noticed():
    engine, sync = alone(members=6)
    divergence = Divergence(engine.site, sync)
    for i in range(120):  # a twin that has just begun is given twenty minutes
        now_ms = T0_MS + 15 * MINUTE_MS + i * 15_000
        sync.correct(engine.derived, reading(RACK, "inlet_c", 45.0 if i else 20.0, now_ms=now_ms), now_ms)
        divergence.note(now_ms)
    followed, why = divergence.in_sync()
    assert not followed
    assert "rack.inlet_c" in why


def test_one_reading_bends_a_flow_by_a_tenth_at_most():
    engine, sync = alone(members=6)
    s, now_ms = engine.state, T0_MS + 15 * MINUTE_MS
    for i, value in enumerate((25.0, 200.0)):
        before = s.rack_flow_kw_per_k.copy()
        sync.correct(engine.derived, reading(RACK, "outlet_c", value, now_ms=now_ms + i), now_ms + i)
    ratio = s.rack_flow_kw_per_k / before
    assert (ratio[:, 0] > 0.85).all()  # a tenth, and the least spread
    assert (ratio[:, 1:] == 1.0).all()


def no_parameter_collapsed(beside: Beside) -> None:
    flow = beside.twin.state.rack_flow_kw_per_k
    assert (flow.std(axis=0) > 0.0).all()
    assert (flow.mean(axis=0) > 0.3 * SITE.rack_flow_kw_per_k).all()


def test_no_parameter_collapses_at_its_bound(followed):
    no_parameter_collapsed(followed)


@pytest.mark.slow
def test_no_parameter_collapses_with_another_truth():
    no_parameter_collapsed(an_hour(9))


# --- the ledger of heat -----------------------------------------------------------------------


def test_the_ledger_closes_on_every_tick_with_what_sync_added():
    beside = Beside(*quickly(7), members=4)
    s = beside.twin.state
    start = stored_heat_kj(PLENUM, s) - (s.heat_in_kj - s.heat_out_kj) - s.heat_sync_kj
    for tick in range(60):
        beside.tick()
        s = beside.twin.state
        held = stored_heat_kj(PLENUM, s)
        balance = start + s.heat_in_kj - s.heat_out_kj + s.heat_sync_kj
        scale = np.maximum(np.abs(held), s.heat_in_kj)
        assert (np.abs(held - balance) <= 1e-9 * scale).all(), tick
    assert (s.heat_sync_kj != 0.0).all()


def test_one_reading_enters_the_ledger_with_exactly_its_heat():
    engine, sync = alone(members=1)
    s = engine.state
    before, water = stored_heat_kj(PLENUM, s)[0], s.loop_supply_c[0, 0]
    sync.correct(engine.derived, reading(LOOP, "supply_c", 14.0), s.now_ms)
    assert water < s.loop_supply_c[0, 0] < 14.0
    added = s.loop_water_kj_per_k[0, 0] * (s.loop_supply_c[0, 0] - water)
    assert s.heat_sync_kj[0] == pytest.approx(added, rel=1e-9)
    assert stored_heat_kj(PLENUM, s)[0] - before == pytest.approx(s.heat_sync_kj[0], rel=1e-9)


# --- what is refused --------------------------------------------------------------------------


def test_a_reading_that_is_too_late_is_refused_and_counted():
    engine, sync = alone()
    now_ms = T0_MS + 15 * MINUTE_MS
    before = engine.state.digest()
    sync.correct(engine.derived, reading(RACK, "outlet_c", 60.0, age_ms=LATE_MS + 1), now_ms)
    assert engine.state.digest() == before
    assert sync.refused == 1
    sync.correct(engine.derived, reading(RACK, "outlet_c", 60.0, age_ms=LATE_MS), now_ms)
    assert engine.state.digest() != before
    assert sync.refused == 1


def test_a_reading_older_than_the_last_one_of_its_sensor_is_refused():
    engine, sync = alone()
    now_ms = T0_MS + 15 * MINUTE_MS
    sync.correct(engine.derived, reading(RACK, "outlet_c", 31.0, age_ms=30_000), now_ms)
    after = engine.state.digest()
    for age_ms in (30_000, 45_000):  # the same again, and an older one
        sync.correct(engine.derived, reading(RACK, "outlet_c", 50.0, age_ms=age_ms), now_ms)
    assert (engine.state.digest(), sync.refused) == (after, 2)


def test_what_no_sensor_of_the_twin_is_changes_nothing():
    engine, sync = alone()
    before = engine.state.digest()
    for component, channel in (("nobody", "inlet_c"), (RACK, "humidity"), (SITE.ups_ids[0], "load_frac")):
        sync.correct(engine.derived, reading(component, channel, 50.0), T0_MS + 15 * MINUTE_MS)
    sync.correct(engine.derived, Batch.empty(), T0_MS + 15 * MINUTE_MS)
    assert engine.state.digest() == before


# --- states as reported -----------------------------------------------------------------------


def hear(component: str, channel: str, *values: float) -> Engine:
    engine, sync = alone(members=3)
    for i, value in enumerate(values):
        now_ms = T0_MS + 15 * MINUTE_MS + i
        sync.correct(engine.derived, reading(component, channel, value, now_ms=now_ms), now_ms)
    return engine


def test_a_chiller_stands_as_it_is_reported():
    duty, spare = (int(np.flatnonzero(SITE.chiller_standby == flag)[0]) for flag in (False, True))
    off, back = hear(SITE.chiller_ids[duty], "running", 0.0), hear(SITE.chiller_ids[duty], "running", 0.0, 1.0)
    assert (off.state.chiller_phase[:, duty] == cooling_bits.TRIPPED).all()
    assert (back.state.chiller_phase[:, duty] == cooling_bits.CHILLER_ON).all()
    started, stopped = hear(SITE.chiller_ids[spare], "running", 1.0), hear(SITE.chiller_ids[spare], "running", 1.0, 0.0)
    assert (started.state.chiller_phase[:, spare] == cooling_bits.CHILLER_ON).all()
    assert (stopped.state.chiller_phase[:, spare] == cooling_bits.STANDBY).all()
    others = np.arange(len(SITE.chiller_ids)) != duty
    assert (off.state.chiller_phase[:, others] == alone(3)[0].state.chiller_phase[:, others]).all()


def test_units_feeds_and_nodes_stand_as_they_are_reported():
    assert not hear(SITE.unit_ids[1], "running", 0.0).state.unit_running[:, 1].any()
    assert hear(SITE.unit_ids[1], "running", 0.0, 1.0).state.unit_running.all()
    assert not hear(SITE.feed_ids[0], "ok", 0.0).state.feed_ok[:, 0].any()
    assert (hear(SITE.node_ids[3], "ok", 0.0).state.node_phase[:, 3] == STOPPED).all()
    assert (hear(SITE.node_ids[3], "ok", 0.0, 1.0).state.node_phase[:, 3] == ON).all()


def test_a_node_thought_to_have_failed_that_answers_is_healthy_and_stays_so():
    engine, sync = alone(members=3)
    s, now_ms = engine.state, T0_MS + 15 * MINUTE_MS
    s.node_phase[:, 3], s.node_fault[:, 3], s.node_fails_at[:, 3] = FAILED, 0, SPENT
    s.node_fault_ms[:, 3], s.node_until_ms[:, 3] = T0_MS, now_ms + MINUTE_MS
    sync.correct(engine.derived, reading(SITE.node_ids[3], "ok", 1.0, now_ms=now_ms), now_ms)
    assert (s.node_phase[:, 3] == ON).all()
    assert (s.node_fault[:, 3] == HEALTHY).all()
    s.node_fails_at[:, 3] += 1.0  # no new fault within this test
    engine.run(now_ms + 30 * MINUTE_MS)
    assert (s.node_phase[:, 3] == ON).all()


def test_a_node_reported_off_says_nothing_about_its_power():
    """Its flag and its meter come in one batch: 0 kW of a stopped node is no news about the node's scale."""
    engine, sync = alone(members=6)
    now_ms, scale = T0_MS + 15 * MINUTE_MS, engine.state.node_power_scale.copy()
    rows = [(now_ms, SITE.node_ids[3], "ok", 0.0), (now_ms, SITE.node_ids[3], "power_kw", 0.0)]
    sync.correct(engine.derived, Batch.from_rows(rows), now_ms)
    assert engine.state.node_power_scale[:, 3].mean() == pytest.approx(scale[:, 3].mean(), rel=1e-9)


def test_a_twin_told_of_lost_chillers_forecasts_the_heat():
    engine, sync = alone(members=3)
    now_ms = T0_MS + 15 * MINUTE_MS
    off = [(now_ms, SITE.chiller_ids[k], "running", 0.0) for k in np.flatnonzero(SITE.chiller_loop == 0)]
    sync.correct(engine.derived, Batch.from_rows(off), now_ms)
    before = engine.state.loop_supply_c.copy()
    Engine(engine.state, SITE).run(now_ms + 30 * MINUTE_MS)
    assert (engine.state.loop_supply_c[:, 0] > before[:, 0] + 3.0).all()
    assert engine.state.loop_supply_c[:, 1] == pytest.approx(before[:, 1], abs=0.5)


def test_perfect_sensors_give_the_true_flags_at_once():
    emulator, store = quickly(5, quality=PERFECT)
    beside = Beside(emulator, store, members=2)
    k = int(np.flatnonzero(SITE.chiller_loop == 1)[0])
    emulator.engine.state.agenda.add(
        emulator.now_ms + 20_000, "chiller", SITE.chiller_ids[k], "out", {"repaired_ms": emulator.now_ms * 2}
    )
    for _ in range(3):
        beside.tick()
    assert (beside.twin.state.chiller_phase == emulator.engine.state.chiller_phase).all()


def sensors_of(site: Site) -> set[tuple[str, str]]:
    names = Synchroniser(site).names
    return {(names.ids[i], names.keys[k][1]) for i, k in enumerate(names.key_of)}


def test_every_sensor_of_the_twin_is_a_channel_of_the_table():
    from plant.channels import channel

    for component, name in sensors_of(SITE):
        assert channel(str(SITE.kind_of(component)), name).name == name


def power_of(engine: Engine, racks: np.ndarray, factor: float, now_ms: int) -> Batch:
    """All nodes of the site as predicted, those of some racks times a factor."""
    kw = engine.derived.node_kw.mean(axis=0) * np.where(racks[SITE.node_rack], factor, 1.0)
    return Batch.from_rows([(now_ms, n, "power_kw", float(v)) for n, v in zip(SITE.node_ids, kw, strict=True)])


def test_a_slow_reading_that_nobody_can_expect_any_more_moves_nothing():
    """Chillers said what they draw; until their turn comes the water is too warm to tell what they should."""
    engine, sync = alone(members=6)
    s, now_ms, names = engine.state, T0_MS + 15 * MINUTE_MS, SITE.chiller_ids
    sync._taken_ms["chiller", "power_kw"] = now_ms
    drawn_kw = sync.operators["chiller", "power_kw"].predict(engine.derived).mean(axis=0).tolist()
    rows = [(now_ms, name, "power_kw", kw + 0.02) for name, kw in zip(names, drawn_kw, strict=True)]
    sync.correct(engine.derived, Batch.from_rows(rows), now_ms)
    assert sync._kept["chiller", "power_kw"][1].all()
    before = s.chiller_cop.copy()
    s.loop_supply_c += 5.0
    now_ms += 2 * MINUTE_MS
    sync.correct(engine.derived, reading(SITE.hall_ids[0], "hot_c", 30.0, now_ms=now_ms), now_ms)
    assert not sync._kept["chiller", "power_kw"][1].any(), "their turn has come"
    np.testing.assert_allclose(s.chiller_cop, before, rtol=1e-3)  # no more than it forgets in two minutes
    assert all(np.isfinite(value) for value in report_of(sync, "chiller.power_kw").values())


def report_of(sync: Synchroniser, channel: str) -> dict[str, float]:
    """The statistics of one channel, as far as they are numbers; none where it has not been heard."""
    rows = [row for row in sync.report() if row["channel"] == channel]
    return {k: v for row in rows for k, v in row.items() if isinstance(v, float)}


def test_what_all_nodes_of_a_rack_say_moves_the_power_curve_of_that_rack():
    engine, sync = alone(members=16)
    one = np.arange(len(SITE.rack_ids)) == 2
    s, now_ms = engine.state, T0_MS + 15 * MINUTE_MS
    names = ("rack_idle_scale", "rack_bend_scale", "rack_psu_loss_scale")
    before = {name: s.arrays[name].mean(axis=0) for name in names}
    wanted_kw = 1.1 * engine.derived.rack_kw.mean(axis=0)[2]
    first_kw = engine.derived.rack_kw.mean(axis=0)[2]
    sync.correct(engine.derived, power_of(engine, one, 1.1, now_ms), now_ms)
    engine.derived.refresh()
    moved = {name: s.arrays[name].mean(axis=0) / before[name] - 1.0 for name in names}
    assert moved["rack_idle_scale"][2] > 0.01  # idle nodes: it shows in what they draw at rest
    assert np.abs(moved["rack_idle_scale"][~one]).max() < 0.003
    assert abs(engine.derived.rack_kw.mean(axis=0)[2] - wanted_kw) < 0.4 * abs(first_kw - wanted_kw)


def test_the_meter_of_a_rack_moves_its_curve_and_its_nodes():
    engine, sync = alone(members=16)
    now_ms, s = T0_MS + 15 * MINUTE_MS, engine.state
    scale, kw = s.node_power_scale.mean(axis=0), float(engine.derived.rack_kw.mean(axis=0)[0])
    sync.correct(engine.derived, reading(RACK, "power_kw", 1.08 * kw, now_ms=now_ms), now_ms)
    moved = s.node_power_scale.mean(axis=0) - scale
    assert moved[SITE.node_rack == 0].mean() >= 0.0
    assert (moved[SITE.node_rack != 0] == 0.0).all()
    engine.derived.refresh()
    assert kw < engine.derived.rack_kw.mean(axis=0)[0] < 1.1 * kw


def test_a_fork_of_a_corrected_twin_lives_on_bit_for_bit():
    beside = Beside(*quickly(7), members=6)
    for _ in range(20):
        beside.tick()
    s = beside.twin.state
    fork, until_ms = s.fork(), s.now_ms + 10 * MINUTE_MS
    assert run(s.fork(), SITE, until_ms).digest() == run(fork, SITE, until_ms).digest()
