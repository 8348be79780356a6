"""Plant controls of the emulated site keep the laws of PlantPort: one key one effect, fencing, undo of what is done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emulated_world import SITE, emulated, quickly
from network_stories import fabric_site
from twin_stories import MINUTE_MS, T0_MS

from plant.network import DISABLED, UP
from recovery.emulated_plant import EmulatedPlant
from recovery.plant_port import PlantPort
from twin import cooling_bits
from twin.emulator import Emulator

HALL, LOOP = SITE.hall_ids[0], SITE.loop_ids[0]
SPARE = int(np.flatnonzero(SITE.chiller_standby)[0])
ALPHA = "aaaaaaaaaaaaaaaa"


@pytest.fixture
def world() -> tuple[PlantPort, Emulator]:
    emulator, _ = quickly(5)
    return EmulatedPlant(emulator.request), emulator


CALLS: dict[str, Any] = {
    "supply air": lambda p, k, e: p.set_point(k, e, [HALL], "supply_c", 19.0),
    "supply water": lambda p, k, e: p.set_point(k, e, [LOOP], "supply_c", 9.0),
    "standby": lambda p, k, e: p.standby(k, e, [SITE.chiller_ids[SPARE]], True),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@each_call
def test_the_same_key_acts_once_and_is_remembered(world, call):
    port, emulator = world
    first = call(port, f"{ALPHA}:0", 1)
    digest = emulator.digest()
    assert first.status in ("done", "accepted")
    assert call(port, f"{ALPHA}:0", 1) == first
    assert EmulatedPlant(emulator.request).query(f"{ALPHA}:0") == first
    assert emulator.digest() == digest


@each_call
def test_an_old_epoch_is_refused_and_leaves_no_trace(world, call):
    port, emulator = world
    assert port.fence(5)
    digest = emulator.digest()
    refused = call(port, f"{ALPHA}:0", 4)
    assert (refused.status, refused.code) == ("rejected", "fenced")
    assert port.query(f"{ALPHA}:0") is None
    assert emulator.digest() == digest
    assert not port.fence(4)


def test_a_key_with_other_content_is_refused(world):
    port, emulator = world
    port.set_point(f"{ALPHA}:0", 1, [HALL], "supply_c", 19.0)
    other = port.set_point(f"{ALPHA}:0", 1, [HALL], "supply_c", 18.0)
    assert (other.status, other.code) == ("rejected", "key_reused")
    assert emulator.engine.state.hall_setpoint_c[0, 0] == 19.0


def test_a_colder_set_point_is_felt_and_undone(world):
    port, emulator = world
    before = emulator.engine.state.hall_setpoint_c.copy()
    port.set_point(f"{ALPHA}:0", 1, [HALL], "supply_c", 18.0)
    emulator.advance(T0_MS + 5 * MINUTE_MS)
    assert emulator.engine.state.hall_supply_c[0].tolist() == pytest.approx([18.0, before[0, 1]], abs=0.5)
    assert port.undo(f"{ALPHA}:0:undo1", 1, f"{ALPHA}:0").status == "done"
    assert (emulator.engine.state.hall_setpoint_c == before).all()


def test_undoing_what_never_arrived_is_done_and_changes_nothing(world):
    port, emulator = world
    before = emulator.engine.state.digest()
    assert port.undo(f"{ALPHA}:0:undo1", 1, f"{ALPHA}:0").status == "done"
    assert emulator.engine.state.digest() == before


def test_undo_puts_back_only_what_its_call_changed(world):
    port, emulator = world
    port.set_point(f"{ALPHA}:0", 1, [HALL], "supply_c", 18.0)
    port.set_point("bbbbbbbbbbbbbbbb:0", 1, [SITE.hall_ids[1]], "supply_c", 20.0)
    port.undo(f"{ALPHA}:0:undo1", 1, f"{ALPHA}:0")
    assert emulator.engine.state.hall_setpoint_c[0].tolist() == [SITE.hall_supply_c[0], 20.0]


def test_a_standby_chiller_carries_load_after_its_restart_time(world):
    port, emulator = world
    assert port.standby(f"{ALPHA}:0", 1, [SITE.chiller_ids[SPARE]], True).status == "done"
    assert emulator.engine.state.chiller_phase[0, SPARE] == cooling_bits.STARTING
    emulator.advance(T0_MS + int(SITE.chiller_restart_s[SPARE] * 1000) + 30_000)
    assert emulator.engine.state.chiller_phase[0, SPARE] == cooling_bits.CHILLER_ON


def test_what_is_not_emulated_is_refused_in_words(world):
    port, emulator = world
    before = emulator.engine.state.digest()
    for i, call in enumerate(
        (
            lambda k: port.link(k, 1, list(SITE.link_ids), True),
            lambda k: port.power(k, 1, [SITE.node_ids[0]], False),
            lambda k: port.standby(k, 1, [SITE.chiller_ids[SPARE]], False),
        )
    ):
        receipt = call(f"{ALPHA}:{i}")
        assert receipt.status == "rejected"
        assert "not emulated" in receipt.detail
    assert emulator.engine.state.digest() == before


def test_a_link_is_taken_out_only_where_the_others_carry_on_and_put_back():
    site = fabric_site()
    emulator, _ = emulated(5, site, 0.5)
    port, s = EmulatedPlant(emulator.request), emulator.engine.state
    first, second, _ = site.network.uplink_ids[:3]
    before = s.link_until_ms.copy()
    assert port.link(f"{ALPHA}:0", 1, [first], False).status == "done"
    assert s.link_phase[0, 1] == DISABLED
    refused = port.link(f"{ALPHA}:1", 1, [second], False)  # two of three paths are kept
    assert (refused.status, s.link_phase[0, 2]) == ("rejected", UP)
    assert "would not carry on" in refused.detail
    assert port.link(f"{ALPHA}:2", 1, [site.link_ids[0]], False).status == "rejected"
    assert port.undo(f"{ALPHA}:0:undo1", 1, f"{ALPHA}:0").status == "done"
    assert not s.link_phase.any()
    assert np.array_equal(s.link_until_ms, before)


def test_a_hall_is_put_on_another_feed_and_back(world):
    port, emulator = world
    s = emulator.engine.state
    assert port.feed(f"{ALPHA}:0", 1, [HALL], SITE.feed_ids[1]).status == "done"
    assert s.ups_on_feed[0].tolist() == [1, -1]
    assert s.hall_on_feed[0].tolist() == [1, -1]
    assert port.undo(f"{ALPHA}:1", 1, f"{ALPHA}:0").status == "done"
    assert (s.ups_on_feed == -1).all()
    assert (s.loop_on_feed == -1).all()
    s.feed_ok[0, 1] = False
    emulator.engine.derived.mark_supply()
    refused = port.feed(f"{ALPHA}:2", 1, [HALL], SITE.feed_ids[1])
    assert refused.status == "rejected"
    assert "is dead" in refused.detail


BAD: dict[str, Any] = {
    "a feed that is none": lambda p: p.feed(f"{ALPHA}:0", 1, [HALL], "lab/feed-z"),
    "nobody": lambda p: p.set_point(f"{ALPHA}:0", 1, ["nowhere"], "supply_c", 19.0),
    "nothing": lambda p: p.set_point(f"{ALPHA}:0", 1, [], "supply_c", 19.0),
    "a fan, which is not emulated": lambda p: p.set_point(f"{ALPHA}:0", 1, [SITE.unit_ids[0]], "fan_frac", 0.5),
    "no standby unit": lambda p: p.standby(f"{ALPHA}:0", 1, ["nowhere"], True),
}


@pytest.mark.parametrize("call", BAD.values(), ids=BAD)
def test_what_cannot_be_is_refused_and_changes_nothing(world, call):
    port, emulator = world
    before = emulator.engine.state.digest()
    assert call(port).status == "rejected"
    assert emulator.engine.state.digest() == before
