"""Leaf-spine fabrics: what a site file compiles to, the laws of their links, the luck of their parts, bad files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant import network as N
from plant import networkfaults as F
from plant.errors import SiteFileError
from plant.site import Site, load_site
from plant.streams import component_keys

TINY = (Path(__file__).resolve().parent.parent / "data/sites/tiny.toml").read_text()
FABRIC = """
[[network]]
hall = "lab/{hall}"
leaves = "leaf[1-4]"
spines = "spine[1-3]"
uplink_gbit_per_s = 80.0
node_gbit_per_s = 80.0
"""
GANG = 1.0 - N.COPIES_FRAC
BOTH = FABRIC.format(hall="a") + FABRIC.format(hall="b")


def site_of(tmp_path: Path, text: str) -> Site:
    file = tmp_path / "site.toml"
    file.write_text(text)
    return load_site(file)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> N.Network:
    """Four leaves on three spines in each of two halls; each link carries 10 GB/s."""
    return site_of(tmp_path_factory.mktemp("net"), TINY + BOTH).network


def healthy(net: N.Network, rows: int = 1) -> tuple[np.ndarray, ...]:
    links, switches = len(net.uplink_ids), len(net.switch_ids)
    return (
        np.zeros((rows, links), np.int8),
        np.zeros((rows, links)),
        np.zeros((rows, switches), np.int8),
        np.zeros((rows, switches)),
    )


def capacity_of(net: N.Network, *state: np.ndarray) -> tuple[np.ndarray, ...]:
    return N.leaf_capacity(net, *N.uplink_share(net, *state))


# --- compiling ---------------------------------------------------------------------------------


def test_a_site_without_fabrics_has_an_empty_network():
    site = load_site("tiny")
    assert not site.network.present
    assert site.components("switch") == ()
    assert site.components("link") == site.link_ids


def test_fabrics_compile_into_routes(tmp_path, net):
    site = site_of(tmp_path, TINY + BOTH)
    assert site.counts()["switch"] == 2 * (4 + 3)
    assert site.counts()["link"] == 1 + 2 * 4 * 3
    assert site.components("link")[0] == "lab/link-ab"
    assert site.kind_of("lab/a/leaf1/spine2") == "link"
    assert site.kind_of("lab/b/spine3") == "switch"
    assert site.index("link", "lab/a/leaf1/spine2") == 2
    assert net.node_leaf.tolist() == np.repeat(np.arange(8), 4).tolist()
    assert (np.diff(net.leaf_start) == 3).all()
    assert net.leaf_keep.tolist() == [2] * 8  # half of three paths, rounded up
    for array in vars(net).values():
        if isinstance(array, np.ndarray):
            assert array.flags.c_contiguous
            assert not array.flags.writeable


def test_a_leaf_may_hang_on_some_spines(tmp_path):
    text = TINY + BOTH + 'uplinks = { leaf2 = ["spine3", "spine1"] }\n'
    net = site_of(tmp_path, text).network
    assert np.diff(net.leaf_start).tolist() == [3, 3, 3, 3, 3, 2, 3, 3]
    assert [i for i in net.uplink_ids if "lab/b/leaf2" in i] == ["lab/b/leaf2/spine1", "lab/b/leaf2/spine3"]


def test_several_racks_share_a_leaf(tmp_path):
    text = TINY + BOTH.replace("leaf[1-4]", "leaf[1-2]").replace("spines =", "racks_per_leaf = 3\nspines =")
    assert site_of(tmp_path, text).network.rack_leaf.tolist() == [0, 0, 0, 1, 2, 2, 2, 3]


BAD = {
    "unknown hall": (BOTH.replace("lab/b", "lab/c"), ("network[1].hall: no hall 'lab/c'", "did you mean")),
    "two for a hall": (BOTH.replace("lab/b", "lab/a"), ("already has network[0]", "merge")),
    "one hall bare": (FABRIC.format(hall="a"), ("network: lab/b has no network", "every hall or in none")),
    "zero capacity": (BOTH.replace("uplink_gbit_per_s = 80.0", "uplink_gbit_per_s = 0.0", 1), ("0.1..12800 Gbit/s",)),
    "no capacity": (BOTH.replace("node_gbit_per_s = 80.0", "", 1), ("network[0].node_gbit_per_s: missing",)),
    "too few leaves": (BOTH.replace("leaf[1-4]", "leaf[1-3]", 1), ("names 3 leaves for 4 racks", "4 leaves")),
    "leaf without spine": (BOTH + "uplinks = { leaf2 = [] }\n", ("leaf 'leaf2' hangs on no spine",)),
    "unknown leaf": (BOTH + 'uplinks = { leaf9 = ["spine1"] }\n', ("no leaf 'leaf9'", "did you mean 'leaf4'")),
    "unknown spine": (BOTH + 'uplinks = { leaf2 = ["spin1"] }\n', ("no spine 'spin1'", "did you mean 'spine1'")),
    "leaf to leaf": (BOTH + 'uplinks = { leaf2 = ["leaf1", "spine1"] }\n', ("'leaf1' is a leaf", "circle")),
    "spine upwards": (BOTH + 'uplinks = { spine1 = ["spine2"] }\n', ("'spine1' is a spine", "circle")),
    "spine twice": (BOTH + 'uplinks = { leaf2 = ["spine1", "spine1"] }\n', ("names 'spine1' twice",)),
    "two islands": (
        BOTH + 'uplinks = { leaf1 = ["spine1"], leaf2 = ["spine2"] }\n',
        ("leaves 'leaf1' and 'leaf2' share no spine",),
    ),
    "idle spine": (
        BOTH + "uplinks = { " + ", ".join(f'leaf{i} = ["spine1"]' for i in range(1, 5)) + " }\n",
        ("spine[2-3] is wired to no leaf",),
    ),
    "name taken": (BOTH.replace("leaf[1-4]", "r[01-04]", 1), ("already names a rack of 'lab/a'",)),
    "leaf named as spine": (BOTH.replace("spine[1-3]", "leaf[2-4]", 1), ("already names a leaf of 'lab/a'",)),
    "too many spines": (BOTH.replace("spine[1-3]", "spine[01-64]", 1), ("64 spines", "1..63")),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_fabrics_are_refused_with_a_cure(tmp_path, case):
    more, words = BAD[case]
    with pytest.raises(SiteFileError) as refusal:
        site_of(tmp_path, TINY + more)
    for word in words:
        assert word in str(refusal.value)


# --- laws of the links --------------------------------------------------------------------------


def test_a_healthy_leaf_has_all_its_links(net):
    capacity, gang, loss, mask = capacity_of(net, *healthy(net))
    assert capacity.tolist() == [[30.0] * 8]
    assert gang[0] == pytest.approx([GANG * 30.0] * 8)
    assert not loss.any()
    assert (mask == 0b111).all()


def test_each_dead_part_takes_its_paths(net):
    link, loss, switch, grey = healthy(net, 5)
    link[0, 0] = N.DOWN
    link[1, 0] = N.DISABLED
    switch[2, 8] = N.DOWN  # the first spine of hall a
    switch[3, 0] = N.DOWN  # the first leaf
    link[4, :3] = N.DOWN
    capacity, gang, _, mask = capacity_of(net, link, loss, switch, grey)
    want = [[20.0, 30.0], [20.0, 30.0], [20.0, 20.0], [0.0, 30.0], [0.0, 30.0]]
    assert capacity[:, :2].tolist() == want
    assert gang[:, :2] == pytest.approx(GANG * np.array(want))
    assert (capacity[:, 4:] == 30.0).all(), "the other hall"
    assert mask[:, 0].tolist() == [0b110, 0b110, 0b110, 0, 0]


def test_a_flapping_link_is_away_for_its_share_of_time(net):
    link, loss, switch, grey = healthy(net)
    link[0, 0] = N.FLAPPING
    capacity, gang, _, _ = capacity_of(net, link, loss, switch, grey)
    assert capacity[0, 0] == pytest.approx(30.0 - 10.0 * N.FLAP_DOWN_FRAC)
    assert gang[0, 0] == pytest.approx(GANG * 30.0 * (1.0 - N.FLAP_DOWN_FRAC))


def test_a_grey_switch_hurts_every_leaf_it_serves(net):
    link, loss, switch, grey = healthy(net)
    switch[0, 8], grey[0, 8] = N.LOSSY, 0.01
    capacity, gang, worst, _ = capacity_of(net, link, loss, switch, grey)
    assert (capacity == 30.0).all()
    assert gang[0, :4] == pytest.approx(GANG * 30.0 * 0.99 / 1.29)
    assert gang[0, 4:] == pytest.approx(GANG * 30.0)
    assert worst[0].tolist() == pytest.approx([0.01] * 4 + [0.0] * 4)


def test_without_the_lossy_link_a_lightly_used_leaf_is_better_off(net):
    link, loss, switch, grey = healthy(net, 2)
    loss[:, 0] = 0.03
    link[0, 0], link[1, 0] = N.LOSSY, N.DISABLED
    gang = capacity_of(net, link, loss, switch, grey)[1][:, 0]
    light, heavy = 17.0, 28.0
    with_it, without = N.carried_frac(gang, np.array(light))
    assert with_it < without == 1.0
    assert gang[1] == pytest.approx(GANG * 20.0)
    assert gang[1] < heavy


shares = st.floats(0.0, 1.0)


@given(a=shares, b=shares)
def test_goodput_falls_with_loss(a, b):
    low, high = min(a, b), max(a, b)
    good_low, good_high = (float(N.rdma_goodput_frac(np.array(p))) for p in (low, high))
    assert 0.0 <= good_high <= good_low <= 1.0
    assert float(N.rdma_goodput_frac(np.array(0.0))) == 1.0
    assert float(N.rdma_goodput_frac(np.array(1.0))) == 0.0


def test_tcp_follows_mathis():
    # 8960 B, 100 us, p = 1e-4: 716.8 Mbit/s per segment and trip x 1.2247 / 0.01 = 87.8 Gbit/s
    assert float(N.tcp_gb_per_s(np.array(1e-4), np.array(1e-4))) == pytest.approx(87.79 / 8.0, rel=1e-3)
    assert np.isinf(N.tcp_gb_per_s(np.array(0.0), np.array(1e-4)))
    four, one = N.tcp_gb_per_s(np.array([4e-4, 1e-4]), np.array(1e-4))
    assert one / four == pytest.approx(2.0)


@given(
    capacity=st.floats(0.0, 100.0, allow_subnormal=False),
    demands=st.lists(st.floats(0.0, 100.0), min_size=1, max_size=6),
)
def test_a_link_never_carries_more_than_it_can(capacity, demands):
    frac = float(N.carried_frac(np.array(capacity), np.array(sum(demands))))
    assert 0.0 <= frac <= 1.0
    assert sum(demands) * frac <= capacity * (1.0 + 1e-12)


def test_copies_take_what_gangs_leave_and_half_at_least():
    link = np.array(40.0)
    assert [float(N.copies_gb_per_s(link, np.array(g))) for g in (0.0, 10.0, 20.0, 35.0)] == [40.0, 30.0, 20.0, 20.0]


@given(live=st.integers(0, 8), keep=st.integers(1, 8))
def test_a_link_is_taken_out_only_while_the_leaf_keeps_its_paths(live, keep):
    assert bool(N.may_disable(np.array(live), keep)) == (live - 1 >= keep)


# --- luck ----------------------------------------------------------------------------------------


def test_rates_and_kinds_of_faults_are_the_stated_ones():
    count = 40_000
    keys, member = component_keys(f"l{i}" for i in range(count)), np.zeros(count, np.int64)
    zero = np.zeros(count, np.int64)
    life = F.life_ms(1, member, keys, zero, F.LINK_PER_YEAR)
    assert F.YEAR_MS / life.mean() == pytest.approx(F.LINK_PER_YEAR, rel=0.02)
    kind = F.link_fault(1, member, keys, zero)
    assert (kind == N.FLAPPING).mean() == pytest.approx(F.FLAP_SHARE, abs=0.01)
    assert (kind == N.LOSSY).mean() == pytest.approx(F.LOSS_SHARE, abs=0.01)
    assert (F.switch_fault(1, member, keys, zero) == N.LOSSY).mean() == pytest.approx(F.GREY_SHARE, abs=0.01)
    loss = F.loss_frac(1, member, keys, zero)
    assert F.LOSS_LOW < loss.min() < loss.max() < F.LOSS_HIGH
    assert np.log10(np.median(loss)) == pytest.approx(-3.5, abs=0.05)
    for phase, switch, median_s in (
        (N.DOWN, False, F.LINK_REPAIR_S),
        (N.DOWN, True, F.SWITCH_REPAIR_S),
        (N.FLAPPING, False, F.SPELL_S),
        (N.LOSSY, True, F.GREY_REPAIR_S),
    ):
        lasts = F.lasts_ms(1, member, keys, zero, np.full(count, phase, np.int8), switch=switch)
        assert np.median(lasts) / 1000.0 == pytest.approx(median_s, rel=0.03)


def test_luck_follows_name_member_and_episode():
    keys = component_keys(["a", "b"])
    first = F.life_ms(1, np.array([0, 0]), keys, np.array([0, 0]), 0.1)
    again = F.life_ms(1, np.array([0]), keys[1:], np.array([0]), 0.1)
    assert first[1] == again[0] != first[0]
    assert F.life_ms(1, np.array([1]), keys[1:], np.array([0]), 0.1) != again
    assert F.life_ms(1, np.array([0]), keys[1:], np.array([1]), 0.1) != again


# --- monotone laws -------------------------------------------------------------------------------


@given(
    dead=st.sets(st.integers(0, 23)), more=st.integers(0, 23), demand=st.floats(0.1, 60.0), extra=st.floats(0.0, 60.0)
)
def test_losing_a_link_or_asking_for_more_never_speeds_a_gang_up(net, dead, more, demand, extra):
    link, loss, switch, grey = healthy(net, 2)
    link[:, sorted(dead)] = N.DOWN
    link[1, more] = N.DOWN
    capacity, gang, _, mask = capacity_of(net, link, loss, switch, grey)
    assert (capacity[1] <= capacity[0]).all()
    assert (gang[1] <= gang[0]).all()
    assert ((mask[1] & ~mask[0]) == 0).all()
    few, many = (N.carried_frac(gang, np.full(gang.shape, d)) for d in (demand, demand + extra))
    assert (many <= few).all()
    assert (few[1] <= few[0]).all()
