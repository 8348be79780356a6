"""The power chain: published tables of supplies, UPS and breakers, monotone laws, and topologies that cannot be."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import power_site
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant import breaker, power, ups, wiring
from plant.chain import PowerChain, feed_of, feeds_live, sides_live
from plant.errors import SiteFileError
from plant.pue import design_pue
from plant.site import Site, load_site

fracs = st.floats(0.0, 1.0)
curves = st.sampled_from(sorted(power.PSU_CURVES))


def arr(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def flags(*values: int) -> np.ndarray:
    return np.array([values], dtype=bool)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    file = tmp_path_factory.mktemp("site") / "site.toml"
    file.write_text(power_site.text())
    return load_site(file)


# --- power supplies ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("curve", "points"),
    [
        ("platinum", {0.2: 0.90, 0.5: 0.94, 1.0: 0.91}),
        ("titanium", {0.1: 0.90, 0.2: 0.94, 0.5: 0.96, 1.0: 0.91}),
    ],
)
def test_80_plus_tables(curve: str, points: dict[float, float]) -> None:
    for load, efficiency in points.items():
        drawn = power.psu_input_kw(arr(3.0 * load), arr(3.0), arr(1.0), power.PSU_CURVES[curve])
        assert 3.0 * load / float(drawn[0]) == pytest.approx(efficiency, abs=5e-5)


@given(curve=curves, supplies=st.sampled_from((2, 4, 6)), low=fracs, high=fracs)
def test_more_load_never_takes_less_from_the_feed(curve: str, supplies: int, low: float, high: float) -> None:
    load = np.sort(arr(low, high)) * supplies
    drawn = power.psu_input_kw(load, arr(1.0), arr(float(supplies)), power.PSU_CURVES[curve])
    assert drawn[1] >= drawn[0]
    assert (drawn >= load).all()


@given(curve=curves, total=st.sampled_from((2, 4, 6)), load=st.floats(0.5, 1.0), lost=st.integers(1, 3))
def test_losing_a_supply_never_lowers_the_input_from_half_load_on(
    curve: str, total: int, load: float, lost: int
) -> None:
    """From half load of each supply on; below it fewer supplies are the better ones (see the next test)."""
    output = arr(load * total * 1.0)
    before, after = (
        float(power.psu_input_kw(output, arr(1.0), arr(float(n)), power.PSU_CURVES[curve])[0])
        for n in (total, max(total - lost, 1))
    )
    assert after >= before


@pytest.mark.parametrize("curve", sorted(power.PSU_CURVES))
def test_at_low_load_one_supply_beats_two(curve: str) -> None:
    """Cold redundancy: at 10 % of both, one at 20 % is the better point of the published table."""
    two, one = (float(power.psu_input_kw(arr(0.2), arr(1.0), arr(n), power.PSU_CURVES[curve])[0]) for n in (2.0, 1.0))
    assert one < two


@pytest.mark.parametrize(("total", "needed"), [(2, 1), (4, 2), (6, 4)])
def test_load_and_heat_jump_when_a_supply_dies(total: int, needed: int) -> None:
    """At the peak that the needed ones carry, the survivors' load rises by n / (n - 1) and their own heat by more."""
    output = arr(float(needed))
    before, after = (
        float(power.psu_input_kw(output, arr(1.0), arr(float(n)))[0] - output[0]) for n in (total, total - 1)
    )
    load_jump = total / (total - 1)
    assert (after / (total - 1)) / (before / total) > load_jump


# --- breakers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "low_s", "high_s"),
    [(0.8, np.inf, np.inf), (1.05, np.inf, np.inf), (1.13, np.inf, np.inf), (1.45, 3599.0, 3601.0),
     (2.5, 10.0, 60.0), (3.0, 10.0, 60.0), (5.0, 0.0, 1.0), (10.0, 0.0, 0.0)],
)  # fmt: skip
def test_a_breaker_trips_where_its_curve_says(x: float, low_s: float, high_s: float) -> None:
    assert low_s <= float(breaker.trip_s(breaker.RACK_BREAKER, arr(x))[0]) <= high_s


@pytest.mark.parametrize(("x", "seconds"), [(1.0, np.inf), (1.25, 600.0), (1.5, 60.0), (2.0, 0.0)])
def test_inverters_bear_an_overload_as_long_as_their_data_sheet(x: float, seconds: float) -> None:
    assert float(breaker.trip_s(breaker.UPS_OVERLOAD, arr(x))[0]) == pytest.approx(seconds, rel=1e-3)


@given(x=st.floats(1.2, 7.0), parts=st.integers(1, 50))
def test_heat_reaches_one_at_the_trip_time_however_it_is_cut(x: float, parts: int) -> None:
    time_s = float(breaker.trip_s(breaker.RACK_BREAKER, arr(x))[0])
    heat = arr(0.0)
    for _ in range(parts):
        heat = breaker.advance_heat(breaker.RACK_BREAKER, heat, arr(x), time_s / parts)
    assert float(heat[0]) == pytest.approx(1.0, rel=1e-9)


@given(low=st.floats(0.0, 12.0), high=st.floats(0.0, 12.0), heat=fracs, dt_s=st.floats(0.1, 15.0))
def test_more_current_never_trips_later(low: float, high: float, heat: float, dt_s: float) -> None:
    x = np.sort(arr(low, high))
    after = breaker.advance_heat(breaker.RACK_BREAKER, arr(heat, heat), x, dt_s)
    assert after[0] <= after[1]
    assert (after <= 1.0).all()
    assert (after[x <= 1.13] <= heat).all()


# --- UPS and battery --------------------------------------------------------------------------

APC = (arr(0.01333), arr(0.00640), arr(0.01081))


@pytest.mark.parametrize(("load", "loss"), [(0.0, 13.33), (250.0, 15.6056), (500.0, 19.2325), (1000.0, 30.54)])
def test_a_ups_with_all_modules_loses_what_is_published(load: float, loss: float) -> None:
    assert float(ups.loss_kw(arr(load), arr(250.0), arr(4.0), *APC)[0]) == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize(
    ("type_", "full", "half"),
    [((0.0086, 0.0241, -0.0027), 0.971, 0.962), ((0.0241, 0.0353, 0.0617), 0.892, 0.897),
     ((0.0518, 0.1787, 0.0947), 0.755, 0.752)],
)  # fmt: skip
def test_the_three_ups_of_seed_003(type_: tuple[float, ...], full: float, half: float) -> None:
    """Table 2 of the paper and the efficiencies it implies (notes/seeds_spec.md S3)."""
    load = arr(15_000.0, 7_500.0)
    loss = ups.loss_kw(load, arr(15_000.0), arr(1.0), *(arr(c) for c in type_))
    assert load / (load + loss) == pytest.approx([full, half], abs=6e-4)


@given(load=st.floats(1.0, 750.0), ok=st.integers(3, 4))
def test_staging_saves_loss_at_part_load_and_keeps_a_spare(load: float, ok: int) -> None:
    one = arr(250.0)
    every = ups.modules_running(arr(load), one, arr(float(ok)), arr(1.0), arr(np.inf))
    few = ups.modules_running(arr(load), one, arr(float(ok)), arr(1.0), arr(0.8))
    assert every[0] == ok
    assert few[0] <= ok
    assert few[0] == ok or (few[0] - 1.0) * 250.0 * 0.8 >= load - 1e-6
    if load < 100.0:
        assert ups.loss_kw(arr(load), one, few, *APC) < ups.loss_kw(arr(load), one, every, *APC)


@given(low=fracs, high=fracs, stage=st.sampled_from((np.inf, 0.5, 0.8)))
def test_more_load_never_takes_less_from_a_ups(low: float, high: float, stage: float) -> None:
    """With all modules; with staging a waking module may save more than the load adds, by at most its own loss."""
    load = np.sort(arr(low, high)) * 1000.0
    running = ups.modules_running(load, arr(250.0), arr(4.0), arr(0.0), arr(stage))
    drawn = load + ups.loss_kw(load, arr(250.0), running, *APC)
    assert drawn[1] >= drawn[0] - (0.0 if np.isinf(stage) else 250.0 * 0.01081)


@given(kwh=st.floats(1.0, 500.0), kw=st.floats(5.0, 2000.0), dt_s=st.sampled_from((1.0, 7.5, 15.0)))
def test_battery_autonomy_is_energy_over_power(kwh: float, kw: float, dt_s: float) -> None:
    left, seconds = arr(kwh), 0.0
    closed_s = float(ups.autonomy_s(arr(kwh), arr(kw))[0])
    while left[0] > 0.0 and seconds < 4000.0:
        left, seconds = ups.discharge(left, arr(kw), dt_s), seconds + dt_s
    assert kwh - float(left[0]) == pytest.approx(kw * seconds / 3600.0, rel=1e-9)
    if left[0] <= 0.0:
        assert closed_s - 1e-6 <= seconds <= closed_s + dt_s + 1e-6
        assert closed_s < 50.0 * dt_s or seconds == pytest.approx(closed_s, rel=0.02)
    else:
        assert closed_s > 4000.0 - dt_s


@given(held=fracs, dt_s=st.floats(1.0, 3600.0))
def test_recharging_never_overfills_and_loses_its_share(held: float, dt_s: float) -> None:
    after, drawn = ups.recharge(arr(10.0 * held), arr(10.0), arr(4.0), dt_s)
    assert 10.0 * held <= float(after[0]) <= 10.0
    assert float(after[0]) - 10.0 * held == pytest.approx(float(drawn[0]) * ups.CHARGE_EFFICIENCY, abs=1e-9)


def test_every_array_of_the_chain_is_in_the_page_on_words() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "nomenclature.md").read_text(encoding="utf-8")
    part = page.split("## The power chain", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)
    assert sorted(rows) == sorted(field.name for field in dataclasses.fields(PowerChain))


# --- topology ---------------------------------------------------------------------------------


def test_the_chain_is_compiled(site: Site) -> None:
    chain = site.chain
    assert site.counts()["pdu"] == 8
    assert site.counts()["generator"] == 2
    assert site.kind_of("lab/a/r01/pdu-b") == "pdu"
    assert chain.rack_source[0].tolist() == [0, 1]  # A on its own UPS, B on that of the other hall
    assert chain.rack_source[2].tolist() == [0, 3]  # B straight on feed B
    assert chain.rack_source[7].tolist() == [1, 1]  # no PDU: both on the UPS of the hall
    assert chain.unit_order.tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    assert chain.generator_start_s.tolist() == [13.0, 13.0]
    assert design_pue(vars(site), 0).ups_loss_kw > 0.0


def test_a_feed_lives_by_its_utility_or_by_its_generator(site: Site) -> None:
    live, utility = feeds_live(site.chain, flags(1, 0), flags(0, 1))
    assert live.tolist() == [[True, True]]
    assert utility.tolist() == [[True, False]]
    assert feeds_live(site.chain, flags(0, 0), flags(0, 0))[0].tolist() == [[False, False]]


def test_both_feeds_fall_with_their_substation(tmp_path: Path) -> None:
    grid = '[[feed]]\nid = "lab/grid"\ncapacity_kw = 400.0\n\n[[feed]]\nid = "lab/feed-a"\nbehind = "lab/grid"'
    file = tmp_path / "site.toml"
    file.write_text(power_site.text(('[[feed]]\nid = "lab/feed-a"', grid)))
    chain = load_site(file).chain
    assert feeds_live(chain, flags(0, 1, 1), flags(0, 0))[0].tolist() == [[False, False, True]]
    assert feeds_live(chain, flags(0, 1, 1), flags(1, 0))[0].tolist() == [[False, True, True]]


def test_a_taker_prefers_falls_back_and_goes_dark() -> None:
    order = np.array([[0, 1], [1, -1]], dtype=np.int32)
    wish = np.array([[-1, -1]], dtype=np.int8)
    assert feed_of(order, wish, flags(1, 1)).tolist() == [[0, 1]]
    assert feed_of(order, wish, flags(0, 1)).tolist() == [[1, 1]]
    assert feed_of(order, wish, flags(1, 0)).tolist() == [[0, -1]]
    assert feed_of(order, np.array([[1, -1]], dtype=np.int8), flags(1, 1)).tolist() == [[1, 1]]


def test_an_open_breaker_takes_one_side_and_a_dead_ups_takes_its_racks(site: Site) -> None:
    closed = np.zeros((1, 8), dtype=bool)
    opened = closed.copy()
    opened[0, 0] = True
    a, b = sides_live(site.chain, flags(1, 1, 1, 1), opened)
    assert a[0].tolist() == [False, *[True] * 7]
    assert b.all()
    a, b = sides_live(site.chain, flags(0, 1, 1, 1), closed)
    assert a[0].tolist() == [False] * 4 + [True] * 4
    assert b.all()


def test_who_serves_whom(site: Site) -> None:
    row = site.index("pdu", "lab/a/r03/pdu-b")
    assert wiring.served_by(site, "pdu", row) == [("feed", "lab/feed-b")]
    assert ("pdu", "lab/a/r01/pdu-b") in wiring.serves(site, "ups", 1)


BAD: dict[str, tuple[str, tuple[str, ...]]] = {
    "ups without a feed": (
        power_site.text(('feeds = ["lab/feed-a", "lab/feed-b"]', "feeds = []")),
        ("ups[0].feeds: UPS 'lab/a/ups' hangs on no feed", "at least one feed"),
    ),
    "pdu on nothing": (
        power_site.text(('b = "lab/b/ups"', 'b = "lab/b/upz"')),
        ("pdu[0].b: no ups or feed 'lab/b/upz'", "did you mean 'lab/b/ups'?"),
    ),
    "orphan supplies": (
        power_site.text(('b = "lab/b/ups"\n', "")),
        ("pdu[0]: 1 of 2 supplies of 'cpu' in r[01-02] have no side B", "add b ="),
    ),
    "pdu of no rack": (
        power_site.text(('racks = "r[03-04]"', 'racks = "r[03-09]"')),
        ("pdu[1].racks: hall 'lab/a' has no rack r[05-09]",),
    ),
    "rack on two groups": (
        power_site.text(('racks = "r[03-04]"', 'racks = "r[02-04]"')),
        ("pdu[1].racks: r02 already hangs on pdu[0]",),
    ),
    "circle of feeds": (
        power_site.text(
            ('id = "lab/feed-a"', 'id = "lab/feed-a"\nbehind = "lab/feed-b"'),
            ('id = "lab/feed-b"', 'id = "lab/feed-b"\nbehind = "lab/feed-a"'),
        ),
        ("feed[0].behind: goes in a circle: lab/feed-a behind lab/feed-b behind lab/feed-a",),
    ),
    "feed behind nothing": (
        power_site.text(('id = "lab/feed-a"', 'id = "lab/feed-a"\nbehind = "lab/feed-c"')),
        ("feed[0].behind: no feed 'lab/feed-c'",),
    ),
    "generator too small": (
        power_site.text(("capacity_kw = 120.0", "capacity_kw = 60.0")),
        ("generator[0].capacity_kw: 1 on 'lab/feed-a' = 60 kW", "at least the 92 kW"),
    ),
    "generator of no feed": (
        power_site.text(('feeds = ["lab/feed-a"]', 'feeds = ["lab/feed-x"]')),
        ("generator[0].feeds[0]: no feed 'lab/feed-x'",),
    ),
    "generator backs nothing": (
        power_site.text(('feeds = ["lab/feed-a"]\ncap', "feeds = []\ncap")),
        ("generator[0].feeds",),
    ),
    "generator twice": (
        power_site.text(('id = "lab/gen-b"', 'id = "lab/gen-a"')),
        ("generator[1].id: generator 'lab/gen-a' is already at generator[0].id",),
    ),
    "breaker of zero": (power_site.text(("breaker_kw = 4.0", "breaker_kw = 0.0")), ("pdu[0].breaker_kw: is 0 kW",)),
    "breaker too small": (
        power_site.text(("breaker_kw = 4.0", "breaker_kw = 1.5")),
        ("pdu[0].breaker_kw: is 1.5 kW for a design load of 1.5 kW a side", "carries 80 %"),
    ),
    "ups too small for a lost side": (
        power_site.text(("module_kw = 30.0", "module_kw = 20.0"), ("module_kw = 30.0", "module_kw = 20.0")),
        ("ups[1]: 2 needed x 20 kW = 40 kW", "when their other side is lost"),
    ),
    "boot on more than there are": (
        power_site.text(('psu_redundancy = "1+1"', 'psu_redundancy = "1+1"\npsu_boot = 3')),
        ("node_type[0].psu_boot: needs 3 of 2 supplies",),
    ),
    "unknown curve": (
        power_site.text(('psu_redundancy = "1+1"', 'psu_redundancy = "1+1"\npsu_curve = "platin"')),
        ("node_type[0].psu_curve", "titanium"),
    ),
    "reset times fall": (
        power_site.text(("[5.0, 20.0]", "[20.0, 5.0]")),
        ("sag.manual_reset_min: is [20, 5] min",),
    ),
    "unused ups": (
        power_site.text(('ups = "lab/b/ups"', 'ups = "lab/a/ups"'), ('b = "lab/b/ups"', 'b = "lab/a/ups"')),
        ("ups[1]: ups 'lab/b/ups' is used by nothing",),
    ),
}


@pytest.mark.parametrize("name", list(BAD))
def test_an_impossible_topology_gets_one_clear_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(BAD[name][0])
    with pytest.raises(SiteFileError) as refusal:
        load_site(file)
    lines = str(refusal.value).splitlines()
    assert any(all(part in line for part in BAD[name][1]) for line in lines), "\n".join(lines)
    assert len(lines) == 1, "\n".join(lines)
