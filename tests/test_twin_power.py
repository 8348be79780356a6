"""The power chain in the twin: who has power and for how long, what trips and returns; no kilowatt is lost."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import power_site
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from twin_stories import MINUTE_MS, T0_MS, some_jobs

from plant import ups as upslaw
from plant.actions import Action
from plant.incident import ResolvedCause, ResolvedIncident, ResolvedRepair
from plant.site import Site, load_site
from twin import effects
from twin.cooling_bits import CHILLER_ON, STARTING
from twin.electricity import ups_flows
from twin.engine import Engine, run
from twin.ensemble import make_state
from twin.jobs import ENDLESS_WORK_S, make_jobs
from twin.nodephase import DARK, ON
from twin.state import State
from twin.story import write as write_story
from twin.supply import GEN_FAILED, GEN_RUNNING, GEN_STANDBY

END_MS = T0_MS + 90 * MINUTE_MS


def site_of(tmp: Path, *pairs: tuple[str, str]) -> Site:
    file = tmp / "site.toml"
    file.write_text(power_site.text(*pairs))
    return load_site(file)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return site_of(tmp_path_factory.mktemp("power"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The same without generators."""
    text = power_site.text()
    file = tmp_path_factory.mktemp("bare") / "site.toml"
    start, end = text.index("[[generator]]"), text.index("[sag]")
    file.write_text(text[:start] + text[end:])
    return load_site(file)


def busy(site: Site, members: int = 1, seed: int = 3, share: float = 1.0) -> State:
    """Every node at full load for ever."""
    n = len(site.node_ids)
    jobs = make_jobs(
        [f"j{i}" for i in range(n)],
        arrival_ms=np.full(n, T0_MS), work_s=np.full(n, ENDLESS_WORK_S), width=np.ones(n, dtype=np.int64),
        share_frac=np.full(n, 1.0), activity_frac=np.full(n, share), priority=np.ones(n), gpus=np.zeros(n),
        checkpoint_s=np.full(n, 600.0), restart_s=np.full(n, 90.0), state_gb=np.zeros(n),
        home=np.full(n, -1),
    )  # fmt: skip
    s = make_state(site, T0_MS, jobs=jobs, members=members, seed=seed)
    s.node_fails_at[...] = 1e9
    return s


def lose(s: State, feed: str, at_min: float, back_min: float, rows: tuple[int, ...] | None = None) -> None:
    back = {"back_ms": T0_MS + round(back_min * MINUTE_MS)}
    s.agenda.add(T0_MS + round(at_min * MINUTE_MS), "feed", feed, "lost", back, rows)


def at(minute: float) -> int:
    return T0_MS + round(minute * MINUTE_MS)


# --- both feeds, batteries, generators --------------------------------------------------------


def test_one_lost_feed_takes_no_node_and_moves_the_ups_to_the_other(bare: Site) -> None:
    s = busy(bare)
    lose(s, "lab/feed-a", 5.0, 60.0)
    run(s, bare, at(30.0))
    assert (s.node_phase == ON).all()
    assert (s.ups_battery_kwh == bare.ups_battery_kwh).all()
    d = Engine(s, bare).derived
    assert d.supply.ups_on.tolist() == [[1, 1]]


def test_machines_on_a_lost_feed_are_interrupted_by_their_transfer_switch(bare: Site) -> None:
    s = busy(bare)
    lose(s, "lab/feed-a", 5.0, 60.0)
    run(s, bare, at(5.0) + 1)
    assert s.unit_running[0].tolist() == [False, True, False, True]
    run(s, bare, at(6.0))
    assert s.unit_running.all()
    assert (s.chiller_phase[0] == STARTING).any()
    run(s, bare, at(14.0))
    assert not (s.chiller_phase[0] == STARTING).any()


def test_without_any_feed_cooling_stops_at_once_and_nodes_when_the_batteries_are_empty(bare: Site) -> None:
    s = busy(bare)
    s.node_stop_c[...] = 500.0  # else heat would stop them first
    for feed in bare.feed_ids:
        lose(s, feed, 5.0, 60.0)
    run(s, bare, at(5.0) + 1)
    assert not s.unit_running.any()
    d = Engine(s, bare).derived
    load = d.source_kw[:, :2]
    loss = upslaw.loss_kw(
        load, bare.chain.ups_module_kw, s.ups_modules_ok, bare.ups_loss0, bare.ups_loss1, bare.ups_loss2
    )
    expect_s = upslaw.autonomy_s(s.ups_battery_kwh, load + loss)[0]
    run(s, bare, at(5.0) + int(expect_s.min() * 1000) - 16_000)
    assert (s.node_phase[0, :8] == ON).all()
    run(s, bare, at(5.0) + int(expect_s.max() * 1000) + 120_000)
    assert (s.node_phase == DARK).all()
    assert (s.ups_battery_kwh <= 0.0).all()
    run(s, bare, END_MS)
    assert (s.node_phase == ON).all()
    assert s.unit_running.all()


def test_autonomy_in_the_twin_is_the_closed_form(tmp_path: Path) -> None:
    """One UPS, steady load, no cooling needed: dark within a grid step of energy over power, 2 % of 20 minutes."""
    site = load_site("tiny")
    s = busy(site, share=0.3)
    s.node_stop_c[...] = 500.0
    for feed in site.feed_ids:
        lose(s, feed, 5.0, 600.0)
    run(s, site, at(5.0) + 1)
    d = Engine(s, site).derived
    flows = ups_flows(d, 1e-9)
    expect_s = float(upslaw.autonomy_s(site.ups_battery_kwh, (flows.load_kw + flows.loss_kw)[0])[0])
    assert expect_s > 750.0
    run(s, site, at(5.0) + int(expect_s * 1000) - 30_000)
    assert (s.node_phase[0, :16] == ON).all()
    while (s.node_phase[0, :16] == ON).all():
        run(s, site, s.now_ms + 1000)
    assert (s.grid_ms - at(5.0)) / 1000.0 == pytest.approx(expect_s, rel=0.02)


def test_a_dip_between_two_grid_points_draws_exactly_its_length(site: Site) -> None:
    s = busy(site)
    for feed in site.feed_ids:
        lose(s, feed, 5.1, 5.1 + 3.0 / 60.0)
    run(s, site, at(5.1) + 1)
    before = s.ups_battery_kwh.copy()
    flows = ups_flows(Engine(s, site).derived, 1e-9)
    run(s, site, at(5.1) + 3_001)
    drawn = (flows.load_kw + flows.loss_kw) * 3.0 / 3600.0
    assert before - s.ups_battery_kwh == pytest.approx(drawn, rel=1e-6)


def test_generators_carry_the_site_after_their_times_and_let_go_again(site: Site) -> None:
    s = busy(site)
    for feed in site.feed_ids:
        lose(s, feed, 5.0, 30.0)
    chain = site.chain
    carry_ms = at(5.0) + int((chain.generator_wait_s + chain.generator_start_s)[0] * 1000)
    run(s, site, carry_ms)
    assert not (s.generator_phase == GEN_RUNNING).any()
    run(s, site, carry_ms + 1)
    assert (s.generator_phase == GEN_RUNNING).all()
    run(s, site, at(29.0))
    assert (s.node_phase == ON).all()
    assert s.unit_running.all()
    assert s.generator_kwh[0] > 0.0
    low = s.ups_battery_kwh.min()
    run(s, site, at(39.0))
    assert (s.generator_phase == GEN_RUNNING).all()
    run(s, site, at(41.0))
    assert (s.generator_phase == GEN_STANDBY).all()
    assert (s.node_phase == ON).all()
    assert s.ups_battery_kwh.min() >= low
    run(s, site, END_MS)
    assert Engine(s, site).derived.supply.quiet


def test_a_short_dip_asks_no_generator(site: Site) -> None:
    s = busy(site)
    for feed in site.feed_ids:
        lose(s, feed, 5.0, 5.0 + 4.0 / 60.0)
    run(s, site, at(10.0))
    assert (s.generator_demands == 0).all()
    assert (s.node_phase == ON).all()


def test_generators_fail_to_start_as_often_as_stated(site: Site, tmp_path: Path) -> None:
    odd = site_of(tmp_path, ("capacity_kw = 120.0", "capacity_kw = 120.0\nstart_failure_prob = 0.3"))
    s = make_state(odd, T0_MS, members=400, seed=5)
    lose(s, "lab/feed-a", 0.5, 40.0)
    run(s, odd, at(2.0))
    failed = float((s.generator_phase[:, 0] == GEN_FAILED).mean())
    assert abs(failed - 0.3) < 3.0 * np.sqrt(0.3 * 0.7 / 400)
    assert (s.generator_demands[:, 0] == 1).all()
    assert (s.generator_demands[:, 1] == 0).all()


def test_a_generator_that_a_person_mends_takes_the_load(tmp_path: Path) -> None:
    text = ("capacity_kw = 120.0", "capacity_kw = 120.0\nstart_failure_prob = 1.0\nmanual_start_min = 8.0")
    odd = site_of(tmp_path, text)
    s = busy(odd)
    s.generator_phase[0, 1], s.generator_until_ms[0, 1] = GEN_FAILED, at(600.0)
    for feed in odd.feed_ids:
        lose(s, feed, 5.0, 60.0)
    run(s, odd, at(13.0))
    assert s.generator_phase[0, 0] == GEN_FAILED
    run(s, odd, at(13.5) + 1)
    assert s.generator_phase[0, 0] == GEN_RUNNING
    assert s.unit_running.sum() == 0  # fans need their half minute
    run(s, odd, at(20.0))
    assert s.unit_running.all()


def test_a_generator_that_fails_under_load_takes_its_feed_with_it(site: Site) -> None:
    s = busy(site)
    lose(s, "lab/feed-a", 1.0, 60.0)
    lose(s, "lab/feed-b", 1.0, 60.0)
    s.agenda.add(at(10.0), "generator", "lab/gen-a", "fail", {"repaired_ms": at(50.0)})
    run(s, site, at(12.0))
    d = Engine(s, site).derived
    assert d.supply.feed_live.tolist() == [[False, True]]
    assert (s.node_phase == ON).all()


# --- breakers, supplies, UPS modules ----------------------------------------------------------


def test_a_tripped_breaker_kills_one_side_and_the_other_side_jumps(site: Site) -> None:
    s = busy(site)
    run(s, site, at(5.0))
    whole = Engine(s, site).derived.pdu_kw[0, :2].copy()
    s.pdu_until_ms[0, 0] = at(30.0)
    d = Engine(s, site).derived
    assert d.pdu_kw[0, 0] == 0.0
    assert d.pdu_kw[0, 1] > 1.95 * whole[1]
    run(s, site, at(31.0))
    assert (s.pdu_until_ms == 0).all()
    assert (s.node_phase == ON).all()
    assert Engine(s, site).derived.pdu_kw[0, :2] == pytest.approx(whole, rel=1e-9)


def test_a_breaker_too_small_for_both_sides_trips_after_its_time_when_the_other_is_lost(tmp_path: Path) -> None:
    """Side loss at 1.45 In: an hour; the rack then goes dark, the breakers are closed later and it returns."""
    tight = site_of(tmp_path, ("breaker_kw = 4.0", "breaker_kw = 2.45\nreset_min = 200.0"))
    s = busy(tight)
    run(s, tight, at(5.0))
    s.pdu_until_ms[0, 0] = at(400.0)
    x = float(Engine(s, tight).derived.pdu_kw[0, 1] / 2.45)
    from plant.breaker import RACK_BREAKER, trip_s

    expect_s = float(trip_s(RACK_BREAKER, np.array([x]))[0])
    assert 1.3 < x < 1.5
    run(s, tight, at(5.0) + int(expect_s * 1000) - 16_000)
    assert (s.node_phase[0, :4] == ON).all()
    run(s, tight, at(5.0) + int(expect_s * 1000) + 31_000)
    assert (s.node_phase[0, :4] == DARK).all()
    assert (s.node_phase[0, 4:] == ON).all()


@pytest.mark.parametrize(("lost", "dark"), [(1, False), (2, False), (3, True), (4, True)])
def test_a_2_plus_2_node_at_peak_loses_power_with_its_third_supply(site: Site, lost: int, dark: bool) -> None:
    s = busy(site)
    node = 8  # the first of the GPU nodes: 4 kW on 4 x 2.2 kW
    for k in range(1, lost + 1):
        s.agenda.add(at(5.0), "psu", f"{site.node_ids[node]}/psu{k}", "fail", {"replaced_ms": at(60.0)})
    run(s, site, at(6.0))
    assert (s.node_phase[0, node] == DARK) == dark
    run(s, site, at(89.0))
    assert s.node_phase[0, node] == ON
    assert s.node_psu_ok[0, node] == 4


def test_a_node_with_a_brake_slows_down_instead(tmp_path: Path) -> None:
    slow = site_of(tmp_path, ('psu_redundancy = "2+2"', 'psu_redundancy = "2+2"\npsu_brake = true\npsu_boot = 1'))
    s = busy(slow)
    for k in (1, 2, 3):
        s.agenda.add(at(5.0), "psu", f"{slow.node_ids[8]}/psu{k}", "fail", {"replaced_ms": at(60.0)})
    run(s, slow, at(6.0))
    d = Engine(s, slow).derived
    assert s.node_phase[0, 8] == ON
    assert d.drawn_kw[0, 8] == pytest.approx(2.2)
    assert 0.3 < d.node_ratio[0, 8] < 0.6


@pytest.mark.parametrize("lost", [0, 2, 3, 4, 5])
def test_a_4_plus_2_node_with_a_brake_runs_as_fast_as_its_supplies_carry(lost: int, tmp_path: Path) -> None:
    """A DGX H100: six supplies of 3.3 kW, four needed; 10.2 kW at peak; with three left it slows down."""
    old = 'psus = 4\npsu_rated_kw = 2.2\npsu_redundancy = "2+2"'
    new = 'psus = 6\npsu_rated_kw = 1.3\npsu_redundancy = "4+2"\npsu_boot = 3\npsu_brake = true'
    odd = site_of(tmp_path, (old, new))  # 3.9 of 4 kW with three, as 9.9 of 10.2
    s = busy(odd)
    for k in range(1, lost + 1):
        s.agenda.add(at(5.0), "psu", f"{odd.node_ids[8]}/psu{k}", "fail", {"replaced_ms": at(60.0)})
    run(s, odd, at(6.0))
    d = Engine(s, odd).derived
    assert s.node_phase[0, 8] == ON
    floor_kw = 0.14 * 4.0
    speed = min(1.0, ((6 - lost) * 1.3 - floor_kw) / (4.0 - floor_kw))
    assert float(d.node_ratio[0, 8]) == pytest.approx(speed, abs=1e-9)


def test_the_loss_of_one_region_s_feeds_leaves_the_other_alone() -> None:
    two = load_site("c3o")
    s = make_state(two, T0_MS)
    for feed in two.feed_ids[:2]:
        lose(s, feed, 1.0, 90.0)
    run(s, two, at(2.0))
    east = two.unit_hall == 0
    assert not s.unit_running[0, east].any()
    assert s.unit_running[0, ~east].all()
    assert (s.ups_battery_kwh[0] < two.ups_battery_kwh).tolist() == [True, False]


def test_a_node_that_loses_a_supply_heats_its_rack(site: Site) -> None:
    s = busy(site)
    run(s, site, at(5.0))
    before = Engine(s, site).derived.rack_kw[0, 0]
    s.node_psu_ok[0, :4] -= 1
    assert Engine(s, site).derived.rack_kw[0, 0] > before * 1.02


@pytest.mark.parametrize(("out", "bypass"), [(1, False), (2, True), (3, True)])
def test_a_ups_short_of_modules_falls_to_its_bypass_and_returns(bare: Site, out: int, bypass: bool) -> None:
    """Two modules of 30 kW are needed for both halls' 45 kW or so: with one left it is overloaded."""
    s = busy(bare)
    lose(s, "lab/feed-b", 1.0, 80.0)
    s.pdu_until_ms[0, 1::2] = at(80.0)  # all of hall a on its own UPS
    for _ in range(out):
        s.agenda.add(at(5.0), "ups", "lab/a/ups", "module_out", {"repaired_ms": at(40.0)})
    run(s, bare, at(30.0))
    assert bool(s.ups_bypass[0, 0]) == bypass
    assert (s.node_phase == ON).all()
    if bypass:  # on bypass nothing is behind the feed
        lost = s.fork()
        lost.agenda.add(at(31.0), "feed", "lab/feed-a", "lost", {"back_ms": at(80.0)})
        run(lost, bare, at(31.0) + 1)
        assert (lost.node_phase[0, :16] == DARK).all()
        assert (lost.node_phase[0, 16:] == ON).all()
    run(s, bare, at(70.0))
    assert not s.ups_bypass.any()


def test_losing_one_feed_trips_the_main_breaker_of_the_other_and_the_generator_catches_it(tmp_path: Path) -> None:
    """Each feed is set to carry its own half: with both halves it trips after minutes, nothing on IT behind the UPS."""
    halves = 'id = "lab/feed-{}"\ncapacity_kw = 160.0'
    odd = site_of(
        tmp_path,
        *((halves.format(x), halves.format(x) + "\ntrip_kw = 60.0\nreset_min = 20.0") for x in "ab"),
        ('feeds = ["lab/feed-a", "lab/feed-b"]', 'feeds = ["lab/feed-b", "lab/feed-a"]'),
        ('id = "lab/gen-b"\nfeeds = ["lab/feed-b"]', 'id = "lab/gen-b"\nfeeds = ["lab/feed-a", "lab/feed-b"]'),
    )
    s = busy(odd)
    s.generator_phase[0, 0], s.generator_until_ms[0, 0] = GEN_FAILED, at(600.0)
    s.generator_phase[0, 1], s.generator_until_ms[0, 1] = GEN_FAILED, at(60.0)
    lose(s, "lab/feed-a", 5.0, 85.0)
    run(s, odd, at(6.0))
    assert (s.feed_heat > 0.0).tolist() == [[False, True]]
    run(s, odd, at(20.0))
    assert s.feed_ok.tolist() == [[False, False]]
    assert s.feed_until_ms[0, 1] > 0
    run(s, odd, at(60.0) - 1)
    assert not s.feed_until_ms.any() or s.feed_until_ms[0, 1] > at(40.0)


# --- sags -------------------------------------------------------------------------------------


def test_a_sag_trips_cooling_but_no_node(site: Site) -> None:
    s = busy(site, members=64)
    for feed in site.feed_ids:
        s.agenda.add(at(5.0), "feed", feed, "sag", {"depth_frac": 0.4, "lasts_s": 0.3})
    run(s, site, at(5.0) + 1)
    assert not s.unit_running.any()
    assert (s.node_phase == ON).all()
    assert (s.chiller_phase != CHILLER_ON).all()
    run(s, site, at(6.0))
    auto = float(s.unit_running.mean())
    share = 1.0 - site.chain.sag.manual_reset_prob
    assert abs(auto - share) < 3.0 * np.sqrt(share * (1.0 - share) / s.unit_running.size)
    run(s, site, at(31.0))
    assert s.unit_running.all()
    assert (s.ups_battery_kwh == site.ups_battery_kwh).all()


@pytest.mark.parametrize(("depth", "lasts_s"), [(0.2, 10.0), (0.9, 0.02)])
def test_a_shallow_or_very_short_sag_trips_nothing(site: Site, depth: float, lasts_s: float) -> None:
    s = busy(site)
    s.agenda.add(at(5.0), "feed", "lab/feed-a", "sag", {"depth_frac": depth, "lasts_s": lasts_s})
    run(s, site, at(6.0))
    assert s.unit_running.all()
    assert (s.chiller_phase == site.chiller_standby).all()


def test_a_sag_drops_it_without_a_ups(site: Site) -> None:
    s = busy(site)
    s.ups_bypass[0, 0], s.ups_heat[0, 0] = True, 0.9
    s.agenda.add(at(1.0), "feed", "lab/feed-a", "sag", {"depth_frac": 0.9, "lasts_s": 0.8})
    run(s, site, at(1.0) + 1)
    assert (s.node_phase[0, :8] == ON).all()  # side B on the other UPS
    assert (s.node_phase[0, 8:16] == ON).all()  # side B on the other feed
    s.agenda.add(at(1.2), "feed", "lab/feed-b", "lost", {"back_ms": at(50.0)})
    s.agenda.add(at(1.3), "feed", "lab/feed-a", "sag", {"depth_frac": 0.9, "lasts_s": 0.8})
    run(s, site, at(1.3) + 1)
    assert (s.node_phase[0, :8] == ON).all()
    assert (s.node_phase[0, 8:16] == DARK).all()


# --- energy -----------------------------------------------------------------------------------


def story(site: Site, members: int) -> State:
    """Return a state to which everything of the chain happens within 90 minutes, member by member in part."""
    s = make_state(site, T0_MS, jobs=some_jobs(), members=members, seed=9)
    some = tuple(range(0, members, 2))
    lose(s, "lab/feed-a", 7.123, 30.0)
    lose(s, "lab/feed-b", 7.123, 26.0)
    lose(s, "lab/feed-b", 50.0, 60.0, some)
    s.agenda.add(at(12.0), "generator", "lab/gen-a", "fail", {"repaired_ms": at(20.0)}, some)
    s.agenda.add(at(15.0), "ups", "lab/a/ups", "module_out", {"repaired_ms": at(45.0)}, some)
    s.agenda.add(at(16.0), "ups", "lab/a/ups", "module_out", {"repaired_ms": at(40.0)})
    s.agenda.add(at(3.0), "psu", site.psu_ids[1], "fail", {"replaced_ms": at(70.0)}, some)
    s.agenda.add(at(3.5), "psu", site.psu_ids[0], "fail", {"replaced_ms": at(65.0)})
    s.agenda.add(at(65.0), "feed", "lab/feed-a", "sag", {"depth_frac": 0.5, "lasts_s": 0.5})
    s.pdu_heat[:, 2] = 0.9
    s.pdu_until_ms[0, 3] = at(35.0)
    s.ups_battery_kwh[...] *= 0.5
    effects.schedule(s, Action.of("transfer_feed", ["lab/b"], to_feed="lab/feed-b"), at(48.0))
    return s


@pytest.mark.parametrize("staged", [False, True])
def test_what_the_feeds_give_is_what_is_used_lost_and_stored(site: Site, staged: bool, tmp_path: Path) -> None:
    if staged:
        site = site_of(tmp_path, ("needed = 2", "needed = 2\nstage_load_frac = 0.6"))
    e = Engine(story(site, 3), site)
    s, d, looked = e.state, e.derived, 0
    for step in range(1, 361):
        battery, energy, was_quiet = s.ups_battery_kwh.copy(), s.energy_kwh.copy(), d.supply.quiet
        e.run(T0_MS + step * 15_000 + 1)
        if was_quiet or d.supply.quiet:  # then the loads of the feeds are not computed
            continue
        looked += 1
        given, used = d.feed_kw.sum(axis=1), d.facility_kw.sum(axis=1)
        assert given == pytest.approx(used, rel=1e-9, abs=1e-9)
        assert (given >= -1e-9).all()
        if (d.supply.ups_in.all()) and (s.ups_battery_kwh == battery).all():
            assert (used > d.hall_kw.sum(axis=1)).all()
        assert (s.energy_kwh >= energy).all()
        assert (s.ups_battery_kwh <= site.ups_battery_kwh).all()
    assert looked > 200


def test_the_energy_of_a_blackout_and_of_its_recharge_is_booked(bare: Site) -> None:
    """While dark nothing is drawn from outside; what the batteries gave is drawn later with its charging loss."""
    s = busy(bare, share=0.2)
    run(s, bare, at(5.0) + 1)
    for feed in bare.feed_ids:
        lose(s, feed, 5.01, 9.0)
    run(s, bare, at(5.01) + 1)
    e0 = s.energy_kwh.copy()
    run(s, bare, at(9.0) + 1)
    assert (s.energy_kwh - e0)[0, 0] == pytest.approx(0.0, abs=1e-9)
    gave = bare.ups_battery_kwh.sum() - s.ups_battery_kwh[0].sum()
    assert gave > 0.5
    drawn = 0.0
    while (s.ups_battery_kwh < bare.ups_battery_kwh).any():
        run(s, bare, s.grid_ms + 1)
        drawn += float(ups_flows(Engine(s.fork(), bare).derived, 15.0).charge_kw.sum()) * 15.0 / 3600.0
        run(s, bare, s.grid_ms + 15_001)
    assert drawn == pytest.approx(gave / upslaw.CHARGE_EFFICIENCY, rel=1e-6)


@given(low=st.floats(0.0, 1.0), high=st.floats(0.0, 1.0), cap=st.floats(0.3, 1.0), side=st.booleans())
@settings(max_examples=examples(15), deadline=None)
def test_more_work_never_draws_less_and_a_cap_never_more(
    site: Site, low: float, high: float, cap: float, side: bool
) -> None:
    """Input of all UPS and of the rack sides straight on feeds, with one side of a rack dead or not."""
    low, high = sorted((low, high))
    drawn = []
    for share, cap_frac in ((low, 1.0), (high, 1.0), (high, cap)):
        s = busy(site, share=max(share, 1e-3))
        run(s, site, at(0.5))
        s.node_cap_frac[...] = cap_frac
        s.pdu_until_ms[0, 4] = at(600.0) if side else 0
        d = Engine(s, site).derived
        flows = ups_flows(d, 1e-9)
        drawn.append(float(flows.input_kw.sum() + d.source_kw[:, 2:].sum()))
    less, more, capped = drawn
    assert more >= less - 1e-9
    assert capped <= more + 1e-9


# --- the law of forks -------------------------------------------------------------------------

INSTANTS = st.one_of(
    st.sampled_from((7.123, 7.4233, 12.0, 15.0, 16.0, 26.0, 30.0, 48.0, 50.0, 60.0, 65.0)).map(at),
    st.integers(T0_MS, END_MS),
)


@pytest.fixture(scope="module")
def whole(site: Site) -> str:
    return run(story(site, 2), site, END_MS).digest()


@given(t=INSTANTS)
@settings(max_examples=2, deadline=None)
def test_a_restored_run_equals_a_whole_run(site: Site, whole: str, t: int) -> None:
    half = run(story(site, 2), site, t)
    assert run(half.fork(), site, END_MS).digest() == whole


@pytest.mark.slow
@given(t=INSTANTS)
@settings(max_examples=examples(40), deadline=None)
def test_a_restored_run_equals_a_whole_run_at_many_instants(site: Site, whole: str, t: int) -> None:
    half = run(story(site, 2), site, t)
    assert run(half.fork(), site, END_MS).digest() == whole


def test_rows_alone_give_the_same_bits(site: Site) -> None:
    whole = run(story(site, 4), site, END_MS)
    for rows in ([1], [2, 3]):
        part = run(story(site, 4).rows(rows), site, END_MS)
        for name, a in part.arrays.items():
            assert np.array_equal(a, whole.arrays[name][rows]), name
    assert (whole.generator_demands > 0).any()
    assert (whole.node_stops == 0).any()


# --- plans ------------------------------------------------------------------------------------


def test_a_transferred_hall_does_not_feel_the_loss_of_its_old_feed(bare: Site) -> None:
    s = busy(bare)
    effects.schedule(s, Action.of("transfer_feed", ["lab/a"], to_feed="lab/feed-b"), at(2.0))
    lose(s, "lab/feed-a", 5.0, 60.0)
    run(s, bare, at(5.0) + 1)
    assert s.unit_running[0].tolist() == [True, True, False, True]
    assert s.ups_on_feed.tolist() == [[1, -1]]
    assert (s.chiller_phase[0, :3] == bare.chiller_standby[:3]).all()


def test_a_return_waits_for_the_utility(site: Site) -> None:
    s = busy(site)
    for feed in site.feed_ids:
        lose(s, feed, 1.0, 30.0)
    effects.schedule(s, Action.of("cap_power", ["lab/a"], cap_frac=0.7, when="power_back"), at(2.0))
    run(s, site, at(30.0))
    assert (s.node_cap_frac == 1.0).all()
    run(s, site, at(42.0))
    assert (s.node_cap_frac[0, :16] == 0.7).all()


# --- stories ----------------------------------------------------------------------------------


def test_the_causes_of_the_power_chain_can_be_played(site: Site) -> None:
    causes = (
        ("lab/gen-a", "generator_fails", 1.0, 1.0), ("lab/a/ups", "ups_module_fails", 1.0, 2.0),
        ("lab/feed-b", "feed_sag", 0.6, 3.0), ("lab/feed-a", "feed_loss", 1.0, 5.0),
    )  # fmt: skip
    world = ResolvedIncident(
        "made-up",
        datetime.datetime.fromtimestamp(T0_MS / 1000, datetime.UTC),
        "",
        tuple(
            ResolvedCause(kind, kind, (one,), minute, how, kind, minute, "step") for one, kind, how, minute in causes
        ),
        (ResolvedRepair(("lab/feed-a",), 30.0, "back", ()),),
        (("sag_s", 0.4),),
    )
    s = busy(site)
    s.pdu_until_ms[0, 1] = 0
    write_story(s, site, world)
    run(s, site, at(3.0) + 1)
    assert not s.unit_running.all()
    assert s.ups_modules_ok.tolist() == [[2, 3]]
    run(s, site, at(20.0))
    d = Engine(s, site).derived
    assert d.supply.feed_live.tolist() == [[False, True]]
    assert s.generator_phase[0].tolist() == [GEN_FAILED, GEN_STANDBY]
    assert (s.node_phase == ON).all()
    run(s, site, at(40.0))
    assert Engine(s, site).derived.supply.feed_live.all()
