"""The network in the running twin: speeds of gangs, stalls, shared copies, plans, incidents, and the first law."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from network_stories import LEAVES, SPINES, UPLINK_GB_PER_S, fabric_site, gangs, lasting, network_crisis, story
from twin_stories import MINUTE_MS, T0_MS, tiny

from plant import network as N
from plant import networkfaults as F
from plant.actions import Action
from plant.errors import IncidentFileError
from plant.incident import ResolvedCause, ResolvedIncident, ResolvedRepair, load_incident
from plant.site import load_site
from twin import effects, snapshot
from twin import jobs as J
from twin import story as stories
from twin.engine import Engine, run
from twin.ensemble import make_state
from twin.jobs import make_jobs
from twin.kernels import kernels
from twin.state import State

SITE = fabric_site()
NET = SITE.network
END_MS = T0_MS + 30 * MINUTE_MS
LEAF_GB_PER_S = SPINES * UPLINK_GB_PER_S
GANG_GB_PER_S = (1.0 - N.COPIES_FRAC) * LEAF_GB_PER_S
FIRST_UPLINK = len(SITE.link_ids)


def lived(s: State, minutes: float, site: object = SITE) -> Engine:
    engine = Engine(s, site)
    engine.run(T0_MS + int(minutes * MINUTE_MS))
    engine.derived.refresh()
    return engine


# --- the first law -----------------------------------------------------------------------------

WHOLE = run(network_crisis(SITE, 4), SITE, END_MS)
INSTANTS = (180_077, 6 * MINUTE_MS, 7 * MINUTE_MS, 495_333, 900_000, 1_200_100)


def test_restored_run_equals_whole_run(tmp_path):
    half = network_crisis(SITE, 4)
    for ms in INSTANTS:
        half = snapshot.load(snapshot.save(run(half, SITE, T0_MS + ms), tmp_path), SITE)
        assert run(half.fork(), SITE, END_MS).digest() == WHOLE.digest(), f"at {ms} ms"


def test_the_story_is_one():
    s = WHOLE
    assert (s.net_faults > 5).all()
    assert s.net_requeues.sum() > 0
    assert s.moved_gb.sum() > 0
    assert len({row.tobytes() for row in s.link_phase}) > 1, "members have luck of their own"


def test_a_row_alone_has_the_same_bits():
    block = network_crisis(SITE, 4)
    alone = run(block.rows([2]), SITE, END_MS)
    for name, array in alone.arrays.items():
        assert array.tobytes() == WHOLE.arrays[name][2:3].tobytes(), name


def test_both_backends_meet_the_same_faults():
    plain = network_crisis(SITE, 2)
    fast = plain.fork()
    plain.backend, fast.backend = "numpy", "numba"
    run(plain, SITE, END_MS), run(fast, SITE, END_MS)
    for name in ("link_phase", "switch_phase", "job_phase", "slot_node", "net_requeues"):
        assert np.array_equal(plain.arrays[name], fast.arrays[name]), name
    assert np.allclose(plain.job_work_s, fast.job_work_s, rtol=0, atol=1e-9)


# --- kernels -----------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6))
@settings(max_examples=examples(60), deadline=None)
def test_traffic_kernels_agree_to_the_bit(seed):
    rng = np.random.default_rng(seed)
    rows, jobs, nodes, leaves, halls = 3, 6, 24, 8, 2
    width = rng.integers(1, 9, jobs)
    start = np.concatenate([[0], np.cumsum(width)]).astype(np.int64)
    node = rng.integers(-1 if seed % 3 else 0, nodes, (rows, start[-1])).astype(np.int32)
    node_leaf = (np.arange(nodes) // 3).astype(np.int32)
    leaf_hall = (np.arange(leaves) // 4).astype(np.int32)
    for array in (node_leaf, leaf_hall):
        array.setflags(write=False)  # as those of a site: kernels are compiled for them, once for all
    table = (
        np.array([0, 2]), np.arange(jobs), rng.integers(1, 4, (rows, jobs)).astype(np.int8), start, node, node_leaf,
        leaf_hall, rng.choice([0.0, 1.5], jobs),
    )  # fmt: skip
    mask = rng.choice([0, 1, 2, 3, 7], (rows, leaves), p=[0.05, 0.1, 0.1, 0.15, 0.6]).astype(np.uint64)
    leaf_share, hall_share = rng.random((rows, leaves)), rng.random((rows, halls, halls))
    found = []
    for name in ("numpy", "numba"):
        k = kernels(name)
        out = np.full((rows, leaves), -1.0), np.full((rows, halls, halls), -1.0), np.full((rows, jobs), -1.0)
        tight = np.zeros(rows, dtype=bool)
        k.traffic(*table, 10.0 * leaf_share, out[0], out[1], tight)
        k.carried(*table, leaf_share, mask, hall_share, out[2])
        found.append((*out, np.where(tight, 1.0, [0.0, -1.0, 0.0])))
    for plain, fast in zip(*found, strict=True):
        assert np.array_equal(plain, fast)
        assert (fast[1] == -1.0).all(), "a row that was not asked for was written"


# --- what gangs get ----------------------------------------------------------------------------


def test_a_network_nobody_uses_changes_nothing():
    site = tiny()
    jobs = gangs(3, 7, 2, want=0.0)
    with_it = run(lasting(SITE, jobs), SITE, T0_MS + 20 * MINUTE_MS)
    without = run(lasting(site, jobs), site, T0_MS + 20 * MINUTE_MS)
    for name, array in without.arrays.items():
        # where there are links, cables fail as links and no longer as a part of the node
        if not name.startswith(("link_", "switch_", "rack_hazard")):
            assert array.tobytes() == with_it.arrays[name].tobytes(), name


def test_a_gang_under_one_leaf_needs_no_uplink():
    d = lived(lasting(SITE, gangs(4, want=50.0)), 1).derived
    assert not d.fabric.leaf_asked.any()
    assert d.speed.tolist() == [[1.0]]


def test_a_gang_runs_at_the_share_its_worst_leaf_carries():
    # eight nodes on two leaves: each node sends 4/7 of its 20 GB/s up, 4 x 4/7 x 20 = 45.7 over 30
    d = lived(lasting(SITE, gangs(8, want=20.0)), 1).derived
    asked = 4 * 4 / 7 * 20.0
    assert d.fabric.leaf_asked[0, :2] == pytest.approx([asked, asked])
    assert d.speed[0, 0] == pytest.approx(GANG_GB_PER_S / asked)


def test_gangs_that_share_a_leaf_are_slowed_alike():
    # 6 + 6 nodes on leaves 1, 1 | 2, 2 ... : the second gang's nodes lie on leaves 2 and 3
    d = lived(lasting(SITE, gangs(6, 6, want=12.0)), 1).derived
    asked = d.fabric.leaf_asked[0]
    one, two, three = (12.0 / 5 * part for part in (4 * 2, 2 * 4 + 2 * 4, 4 * 2))
    assert asked[:3] == pytest.approx([one, two, three])
    assert d.speed[0] == pytest.approx([GANG_GB_PER_S / two] * 2)


def test_a_node_sends_no_more_than_its_port():
    site = fabric_site(node_gbit_per_s=40.0)
    d = lived(lasting(site, gangs(4, want=20.0)), 1, site).derived
    assert d.speed[0, 0] == pytest.approx(5.0 / 20.0)


def test_a_gang_across_halls_shares_the_link_between_them():
    d = lived(lasting(SITE, gangs(16, 8, want=3.0, home=-1)), 1).derived
    assert not d.fabric.hall_asked[0].any(), "one hall each"
    wide = lived(lasting(SITE, gangs(24, want=3.0, home=-1)), 1).derived
    asked = 3.0 * 16 * 8 / 23
    assert wide.fabric.hall_asked[0, 0, 1] == wide.fabric.hall_asked[0, 1, 0] == pytest.approx(asked)
    assert wide.speed[0, 0] == pytest.approx(SITE.link_gb_per_s[0, 1] / asked)


@pytest.mark.parametrize("dead", [0, 1, 2])
def test_dead_links_take_their_share_of_capacity(dead):
    s = lasting(SITE, gangs(8, want=20.0))
    s.link_phase[:, FIRST_UPLINK : FIRST_UPLINK + dead] = N.DOWN
    speed = lived(s, 1).derived.speed[0, 0]
    assert speed == pytest.approx((1.0 - dead / SPINES) * GANG_GB_PER_S / (4 * 4 / 7 * 20.0))


def test_power_cap_and_network_do_not_multiply():
    """A gang that computes more slowly also talks less: the tighter of the two limits holds."""
    s = lasting(SITE, gangs(8, want=20.0))
    s.node_cap_frac[...] = 0.7
    d = lived(s, 1).derived
    capped = lasting(SITE, gangs(8, want=0.0))
    capped.node_cap_frac[...] = 0.7
    assert d.speed[0, 0] == min(d.fabric.job_share[0, 0], lived(capped, 1).derived.speed[0, 0])


# --- stalls ------------------------------------------------------------------------------------


def test_an_unreachable_node_stalls_its_gang_then_it_is_requeued_elsewhere():
    s = lasting(SITE, gangs(6, want=1.0, checkpoint_s=np.full(1, 300.0)))
    story(s, "switch", NET.leaf_ids[0], N.DOWN, 12, 600)
    engine = lived(s, 13)
    d = engine.derived
    assert d.speed[0, 0] == 0.0
    assert s.job_stall_ms[0, 0] == T0_MS + 12 * MINUTE_MS + 15_000
    work_s = s.job_work_s[0, 0]
    engine.run(T0_MS + 22 * MINUTE_MS)
    assert s.job_work_s[0, 0] == work_s
    engine.run(T0_MS + 25 * MINUTE_MS)
    d.refresh()
    assert s.net_requeues[0] == 1.0
    assert (NET.node_leaf[s.slot_node[0]] > 0).all(), "no node behind the dead leaf"
    assert (s.job_phase[0, 0], d.speed[0, 0], s.job_stall_ms[0, 0]) == (J.RUNNING, 1.0, -1)


def test_a_short_cut_is_waited_for():
    s = lasting(SITE, gangs(6, want=1.0))
    story(s, "switch", NET.leaf_ids[0], N.DOWN, 12, 18)
    where = lived(s, 13).state.slot_node.copy()
    d = lived(s, 30).derived
    assert (s.net_requeues[0], s.job_stall_ms[0, 0], d.speed[0, 0]) == (0.0, -1, 1.0)
    assert np.array_equal(where, s.slot_node)
    assert s.switch_phase[0, 0] == N.UP
    assert s.job_work_s[0, 0] == pytest.approx(30 * 60 - 6 * 60, abs=31)


def test_leaves_without_a_common_spine_cannot_talk():
    s = lasting(SITE, gangs(8, want=1.0))
    for link in (0, 1, 5):  # leaf 1 keeps spine 3, leaf 2 keeps spines 1 and 2
        s.link_phase[:, FIRST_UPLINK + link] = N.DOWN
    d = lived(s, 1).derived
    assert (d.fabric.leaf_mask[0, :2] != 0).all()
    assert d.speed[0, 0] == 0.0


def test_nothing_is_placed_behind_a_dead_leaf():
    s = lasting(SITE, gangs(6, 6, want=1.0))
    s.switch_phase[:, 1] = N.DOWN
    lived(s, 1)
    assert set(NET.node_leaf[s.slot_node[s.slot_node >= 0]].tolist()) == {0, 2, 3}


# --- copies ------------------------------------------------------------------------------------


def moved(want: float, *stories: tuple, widths: tuple[int, ...] = (4, 4), gb: float = 600.0) -> list[float]:
    """GB copied after each 15 s while the jobs of hall a move to hall b; a wide gang may stay and talk across."""
    n = len(widths)
    jobs = gangs(*widths, want=want, state_gb=np.full(n, gb))
    s = lasting(SITE, jobs)
    for one in stories:
        story(s, *one)
    effects.schedule(
        s, Action.of("migrate", [SITE.hall_ids[0]], to_hall=SITE.hall_ids[1], concurrent=n), T0_MS + 2 * MINUTE_MS
    )
    engine, seen = Engine(s, SITE), []
    for k in range(1, 400):
        engine.run(T0_MS + 15_000 * k)
        seen.append(float(s.moved_gb[0]))
    return seen


def test_bytes_are_conserved_and_the_link_never_exceeded():
    for stories_ in ((), (("link", SITE.link_ids[0], N.FLAPPING, 3, 5),), (("link", SITE.link_ids[0], N.DOWN, 3, 9),)):
        seen = moved(0.0, *stories_)
        assert seen[-1] == pytest.approx(1200.0, rel=1e-12), "what left one hall arrived in the other"
        assert np.diff(seen).max() <= SITE.link_gb_per_s[0, 1] * 15.0 * (1 + 1e-12)
        assert (np.diff(seen) >= 0.0).all()


def test_a_dead_link_holds_copies_until_it_is_back():
    seen = np.diff(moved(0.0, ("link", SITE.link_ids[0], N.DOWN, 3, 9), gb=6000.0))
    still = seen[13:35]
    assert not still.any()
    assert seen[38:].sum() > 0


def test_loss_slows_copies_by_mathis():
    loss = 1e-3
    seen = np.diff(moved(0.0, ("link", SITE.link_ids[0], N.LOSSY, 0, 99, loss), widths=(4,), gb=60_000.0))
    rate = N.TCP_STREAMS * float(N.tcp_gb_per_s(np.array(loss), np.array(N.HALL_RTT_S + 2e-3)))
    assert rate < SITE.link_gb_per_s[0, 1]
    assert seen[:370].max() / 15.0 == pytest.approx(rate)


def test_copies_get_what_gangs_leave_of_the_uplinks():
    from twin.fabric import moves_gb_per_s

    d = lived(lasting(SITE, gangs(16, want=100.0)), 1).derived
    one, zero = np.ones((1, 1), dtype=np.int64), np.zeros((1, 1), dtype=np.int64)
    rate = moves_gb_per_s(d.fabric, one > 0, zero, one, np.array([4]))
    assert rate[0, 0] == pytest.approx(N.COPIES_FRAC * LEAVES * LEAF_GB_PER_S)
    idle = lived(lasting(SITE, gangs(4, want=1.0)), 1).derived
    assert moves_gb_per_s(idle.fabric, one > 0, zero, one, np.array([4]))[0, 0] == SITE.link_gb_per_s[0, 1]
    assert not moves_gb_per_s(idle.fabric, one < 0, zero, one, np.array([4])).any()


def test_a_link_between_halls_is_never_overbooked():
    """A gang across both halls and copies the same way: together they fill the link and no more."""
    jobs = gangs(4, 20, want=3.0, home=-1, state_gb=np.full(2, 60_000.0))
    s = lasting(SITE, jobs)
    effects.schedule(s, Action.of("migrate", [f"{SITE.rack_ids[0]}"], to_hall=SITE.hall_ids[1]), T0_MS + 2 * MINUTE_MS)
    engine = lived(s, 3)
    d, before = engine.derived, float(s.moved_gb[0])
    assert s.job_phase[0].tolist() == [J.MOVING, J.RUNNING]
    link, asked = SITE.link_gb_per_s[0, 1], d.fabric.hall_asked[0, 0, 1]
    engine.run(T0_MS + 4 * MINUTE_MS)
    copied = (float(s.moved_gb[0]) - before) / 60.0
    assert asked > link / 2
    assert copied == pytest.approx(link / 2)
    assert d.fabric.job_share[0, 1] * asked + copied <= link * (1 + 1e-12)


# --- plans -------------------------------------------------------------------------------------


def taken_out(s: State, *links: str) -> np.ndarray:
    effects.schedule(s, Action.of("disable_link", list(links)), T0_MS + MINUTE_MS)
    lived(s, 2)
    return s.link_phase[:, [SITE.index("link", one) for one in links]]


def test_a_plan_takes_out_a_lossy_link_and_the_gang_is_faster():
    up = NET.uplink_ids[0]
    s = lasting(SITE, gangs(8, want=8.0), members=2)
    story(s, "link", up, N.LOSSY, 0, 40, 0.05, (0, 1))
    slow = lived(s.fork(), 2).derived.speed[0, 0]
    assert taken_out(s, up).tolist() == [[N.DISABLED]] * 2
    assert slow < lived(s, 3).derived.speed[0, 0] == 1.0
    lived(s, 41)
    assert (s.link_phase == N.UP).all(), "it is repaired in its time and comes back"


def test_a_leaf_keeps_its_paths():
    """Two of three must live (keep_frac 0.5): the second link is refused, and so is one beside a dead one."""
    s = lasting(SITE, gangs(8, want=8.0), members=2)
    s.link_phase[1, FIRST_UPLINK + 2] = N.DOWN
    assert taken_out(s, *NET.uplink_ids[:2]).tolist() == [[N.DISABLED, N.UP], [N.UP, N.UP]]


def test_the_only_link_between_halls_stays():
    assert taken_out(lasting(SITE, gangs(2, want=0.0)), SITE.link_ids[0]).tolist() == [[N.UP]]


# --- incidents and luck ------------------------------------------------------------------------


def test_incidents_play_links_and_switches():
    leaf, spine, up = NET.leaf_ids[0], NET.spine_ids[1], NET.uplink_ids[5]
    causes = tuple(
        ResolvedCause(name, kind, (part,), 1.0, severity, name, 1.0, "step")
        for name, kind, part, severity in (
            ("a", "switch_fails", leaf, 1.0),
            ("b", "grey_switch", spine, 0.5),
            ("c", "link_flaps", up, 1.0),
            ("d", "link_degrades", SITE.link_ids[0], 1.0),
            ("e", "link_fails", NET.uplink_ids[-1], 1.0),
        )
    )
    repairs = tuple(ResolvedRepair((part,), 8.0, "repaired", ()) for part in (leaf, spine, up, NET.uplink_ids[-1]))
    at = datetime.datetime.fromtimestamp(T0_MS / 1000.0, datetime.UTC)
    world = ResolvedIncident("x", at, "0", causes, repairs, ())
    s = lasting(SITE, gangs(8, want=1.0), members=2)
    stories.write(s, SITE, world)
    lived(s, 3)
    assert s.switch_phase[:, 0].tolist() == [N.DOWN] * 2
    assert (s.switch_phase[0, 2 * LEAVES + 1], s.switch_loss_frac[0, 2 * LEAVES + 1]) == (
        N.LOSSY,
        pytest.approx(10**-3.5),
    )
    assert [s.link_phase[0, i] for i in (0, FIRST_UPLINK + 5, -1)] == [N.LOSSY, N.FLAPPING, N.DOWN]
    assert s.link_loss_frac[0, 0] == pytest.approx(F.LOSS_HIGH)
    assert s.net_faults.tolist() == [5.0, 5.0]
    lived(s, 9)
    assert (s.switch_phase == N.UP).all()
    assert s.link_phase[0].tolist() == [N.LOSSY] + [N.UP] * len(NET.uplink_ids), "no repair in the file"


INCIDENT = """
id = "made-up"
title = "a grey spine and a dead leaf"
at = 2021-09-02T07:30:00+09:00
site = "fabric"
component_kind = "switch"
[[cause]]
name = "grey"
component = "lab/a/spine[1-2]"
kind = "grey_switch"
at_min = 0.0
severity = 0.5
[[cause]]
name = "leaf"
component = "{leaf}"
kind = "switch_fails"
at_min = 5.0
[[repair]]
component = "lab/a/spine[1-2]"
at_min = 12.0
what = "taken out and replaced"
source = "us"
[sources]
us = "made up"
"""


def test_an_incident_file_about_switches_is_read_checked_and_played(tmp_path):
    site = load_site("fabric")
    file = tmp_path / "made-up.toml"
    file.write_text(INCIDENT.format(leaf="lab/a/leaf01/spine1"))
    with pytest.raises(IncidentFileError, match="is a link; a switch, which switch_fails befalls"):
        load_incident(file, site)
    file.write_text(INCIDENT.format(leaf="lab/a/leaf01"))
    world = load_incident(file, site).likeliest()
    s = make_state(site, world.at_ms(-1.0))
    stories.write(s, site, world)
    run(s, site, world.at_ms(6.0))
    kinds = [int(s.switch_phase[0, site.index("switch", f"lab/a/{name}")]) for name in ("spine1", "spine2", "leaf01")]
    assert kinds == [N.LOSSY, N.LOSSY, N.DOWN]
    run(s, site, world.at_ms(13.0))
    assert s.switch_phase[0].tolist() == [N.DOWN] + [N.UP] * 51


def test_links_live_die_and_are_repaired_by_their_own_luck():
    """Two years in steps of a day: as many faults as the rates say, each part with luck of its own."""
    from twin.link_lives import cross_network

    s = make_state(SITE, T0_MS, jobs=gangs(2, want=0.0), members=200, seed=3)
    engine = Engine(s, SITE)
    d, years = engine.derived, 2.0
    for day in range(int(365.25 * years)):
        s.grid_ms = T0_MS + (day + 1) * 86_400_000
        cross_network(d)
        d.fabric.refresh()
    links, leaves, spines = len(SITE.components("link")), len(NET.leaf_ids), len(NET.spine_ids)
    a_year = links * F.LINK_PER_YEAR + leaves * F.LEAF_PER_YEAR + spines * F.SPINE_PER_YEAR
    assert s.net_faults.mean() == pytest.approx(a_year * years, rel=0.05)
    assert s.net_faults.std() == pytest.approx(np.sqrt(a_year * years), rel=0.2)
    down = (s.link_phase != N.UP).mean()
    assert 0.0 < down < 0.01
    assert ((s.link_loss_frac > 0.0) == (s.link_phase == N.LOSSY)).all()


def test_without_fabrics_links_never_fail_by_themselves():
    s = make_state(tiny(), T0_MS, members=2)
    assert (s.link_until_ms == N.NEVER_MS).all()
    assert s.switch_phase.shape == (2, 0)


def test_copies_ahead_of_a_move_take_their_part_of_the_link_too():
    jobs = gangs(
        1, 24, want=0.0, home=-1, state_gb=np.array([5000.0, 1.0]), move_mode=np.array([1, 0]),
        dirty_gb_per_s=np.array([0.01, 0.0]),
    )  # fmt: skip
    jobs.net_gb_per_s[...] = [0.0, 1.5]
    s = lasting(SITE, jobs)
    lived(s, 2)
    s.job_target[:, 0] = 1
    engine = lived(s, 3)
    assert s.job_ahead[0].tolist() == [True, False], "the job works on while it is copied"
    link, asked = SITE.link_gb_per_s[0, 1], engine.derived.fabric.hall_asked[0, 0, 1]
    assert engine.derived.fabric.job_share[0, 1] * asked == pytest.approx(link / 2)


def test_a_fabric_with_room_for_all_gives_what_the_full_count_gives():
    """The short cut for one hall of whole nodes changes no share, no speed and no digest."""
    site = load_site("frontier")
    jobs = make_jobs(
        [f"j{i}" for i in range(6)], arrival_ms=np.full(6, T0_MS), work_s=np.full(6, 9000.0),
        width=np.array([3, 200, 64, 1, 128, 40]), net_gb_per_s=np.full(6, 2.0),
    )  # fmt: skip
    ends = []
    for roomy in (True, False):
        state = make_state(site, T0_MS, jobs=jobs)
        engine = Engine(state, site)
        assert engine.derived.fabric.roomy
        engine.derived.fabric.roomy = roomy
        engine.run(T0_MS + 3 * MINUTE_MS)
        state.link_phase[0, :7] = N.DOWN  # with one path left a leaf is short, and the short cut must not be taken
        later = Engine(state, site)
        later.derived.fabric.roomy = later.derived.fabric.roomy and roomy
        later.derived.fabric.mark()
        later.derived.mark(load=True)
        later.run(T0_MS + 6 * MINUTE_MS)
        ends.append((state.digest(), later.derived.fabric.job_share.copy()))
    assert ends[0][0] == ends[1][0]
    assert np.array_equal(ends[0][1], ends[1][1])
