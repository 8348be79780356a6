"""Accelerators, memory and fans in the running twin: slowdown, shutdown, fan loss, and the first law of the house."""

from __future__ import annotations

import datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from cooling_world import TABLES, at_work, site_of
from twin_stories import MINUTE_MS, T0_MS, apply_plan, crisis, some_jobs

from plant.errors import IncidentFileError
from plant.incident import ResolvedCause, ResolvedIncident, ResolvedRepair, load_incident
from plant.site import Site, load_site
from twin import snapshot, story
from twin.engine import Engine, run
from twin.ensemble import make_state
from twin.flows import stored_heat_kj
from twin.jobs import ENDLESS_WORK_S, Jobs, make_jobs
from twin.nodephase import ON, STARTING, STOPPED
from twin.sensors import Quality, Sensors
from twin.state import State

TINY = (Path(__file__).parent.parent / "data/sites/tiny.toml").read_text(encoding="utf-8")
KEYS = """
[node_type.gpu]
idle_kw = 0.05
peak_kw = 0.35
chip_k_per_kw = 45.0
air_k_per_kw = 45.0
preheat_k = 3.0
mem_above_idle_k = 12.0
mem_above_peak_k = 4.0

[node_type.fans]
kw = 0.4
above_c = [45.0, 55.0, 65.0]
speed_frac = [0.4, 0.55, 0.75, 1.0]
design_frac = 0.55
"""
END_MS = T0_MS + 46 * MINUTE_MS


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The tiny site, its sixteen GPU nodes with accelerators and fans of their own."""
    head, tail = TINY.split("[[rack]]", 1)
    path = tmp_path_factory.mktemp("chips") / "chips.toml"
    path.write_text(f"{head}{KEYS}\n[[rack]]{tail}")
    return load_site(path)


def all_busy(site: Site, activity: float = 1.0, exponent: float = 0.5) -> Jobs:
    """One endless job on every node."""
    n = len(site.node_ids)
    return make_jobs(
        [f"j{i}" for i in range(n)],
        arrival_ms=np.full(n, T0_MS),
        work_s=np.full(n, ENDLESS_WORK_S),
        activity_frac=np.full(n, activity),
        cap_exponent=np.full(n, exponent),
    )


@lru_cache(maxsize=4)
def settled(site: Site, exponent: float) -> State:
    """One member in which every node has worked for an hour."""
    state = make_state(site, T0_MS, jobs=all_busy(site, exponent=exponent))
    state.node_fails_at[...] = 1e9
    return run(state, site, T0_MS + 3_600_000)


def busy(site: Site, exponent: float = 0.5) -> State:
    """A state in which every node works and has settled."""
    return settled(site, exponent).fork()


def lose_fans(state: State, site: Site, nodes: list[int], severity: float, back_min: float = 600.0) -> None:
    """Let the fans of some nodes fail now."""
    at_ms = state.now_ms
    for node in nodes:
        data = {"lost_frac": severity, "fail_ms": at_ms, "replaced_ms": at_ms + int(back_min * MINUTE_MS)}
        state.agenda.add(at_ms, "fan", site.node_ids[node], "fail", data)


def test_a_settled_node_stands_at_the_closed_form(site: Site) -> None:
    state = busy(site)
    heat = Engine(state, site).derived.heat
    inlet = state.rack_inlet_c.take(site.gpus.rack, axis=1)
    assert state.gpu_c == pytest.approx(inlet + heat.rise_k, abs=0.05)
    assert state.gpu_mem_c == pytest.approx(inlet + heat.rise_k + heat.above_k, abs=0.05)
    assert (state.gpu_stage == 0).all()
    assert (state.fan_level > 0).all(), "full load needs more than the lowest fan speed"


def test_fan_power_is_node_power_and_heat(site: Site) -> None:
    """The same load with its fans forced to full draws more by the cube law, and moves more air."""
    state = busy(site)
    engine = Engine(state, site)
    before = engine.derived.node_kw.copy()
    state.fan_level[...] = 3
    after = Engine(state, site).derived
    extra = site.gpus.fan_kw * (1.0 - site.gpus.speed_frac(busy(site).fan_level) ** 3)
    drawn = after.node_kw[:, site.gpus.node] - before[:, site.gpus.node]
    # the supplies lose a little of it on the way
    assert (drawn > extra).all()
    assert (drawn < 1.15 * extra).all()
    assert after.rack_kw.sum() == pytest.approx(after.node_kw.sum())
    assert (after.rack_flow[:, 2:4] > engine.derived.rack_flow[:, 2:4]).all()


def test_fan_loss_throttles_before_it_kills(site: Site) -> None:
    state = busy(site)
    node = int(site.gpus.node[3])
    lose_fans(state, site, [node], severity=1.0)
    seen = []
    while state.node_phase[0, node] == ON and len(seen) < 100:
        run(state, site, state.now_ms + 15_000)
        seen.append((int(state.gpu_stage[0, 3]), float(state.gpu_c[0, 3])))
    stages = [stage for stage, _ in seen]
    assert state.node_phase[0, node] == STOPPED
    assert 1 in stages[:-1] or 2 in stages[:-1], "slowed down for a step at least before it stopped"
    assert state.node_stops[0] == 1
    assert 1 <= len(seen) <= 12, "within three minutes"
    others = np.delete(state.node_phase[0], node)
    assert (others == ON).all()


def test_a_node_without_fans_starts_again_only_when_they_are_replaced(site: Site) -> None:
    state = busy(site)
    node = int(site.gpus.node[0])
    lose_fans(state, site, [node], severity=1.0, back_min=40.0)
    run(state, site, state.now_ms + 39 * MINUTE_MS)
    assert state.node_phase[0, node] == STOPPED
    run(state, site, state.now_ms + 2 * MINUTE_MS)
    assert state.node_phase[0, node] == STARTING
    run(state, site, state.now_ms + 60 * MINUTE_MS)
    assert state.node_phase[0, node] == ON


def test_losing_some_air_speeds_up_the_fans_that_are_left(site: Site) -> None:
    state = busy(site)
    level = state.fan_level[0].copy()
    lose_fans(state, site, [int(site.gpus.node[0])], severity=0.4)
    run(state, site, state.now_ms + 20 * MINUTE_MS)
    assert state.fan_level[0, 0] > level[0]
    assert (state.fan_level[0, 1:] == level[1:]).all()
    assert (state.node_phase[0] == ON).all()


def test_a_slowdown_lowers_power_and_speed_and_holds_still(site: Site) -> None:
    """Hot supply air: the accelerators slow down, draw less, and do not chatter for the half hour that it lasts."""
    state = busy(site)
    state.node_stop_c[...] = 90.0
    state.hall_setpoint_c[...] = 57.0
    before = Engine(state, site).derived
    power, speed = before.node_kw[0, site.gpus.node].copy(), before.speed[0].copy()
    changes, stage = 0, state.gpu_stage.copy()
    for _ in range(2 * 120):
        run(state, site, state.now_ms + 30_000)
        changes += int((state.gpu_stage != stage).sum())
        stage = state.gpu_stage.copy()
    slowed = stage[0] > 0
    assert slowed.all()
    after = Engine(state, site).derived
    assert (after.node_kw[0, site.gpus.node] < power).all()
    assert after.speed[0].min() < speed.min() == 1.0
    assert changes <= 3 * 16, "a stage is left only where it would not be taken again"
    state.hall_setpoint_c[...] = 22.0
    run(state, site, state.now_ms + 3_600_000)
    assert (state.gpu_stage == 0).all(), "and it ends when the air is cool"


def test_a_cap_never_warms_an_accelerator_at_the_same_fan_speed(site: Site) -> None:
    free, capped = busy(site), busy(site)
    capped.node_cap_frac[...] = 0.6
    for state in (free, capped):
        state.site_hash = site.hash
        engine = Engine(state, site)
        engine.derived.heat.up_c[...] = np.inf
        engine.derived.heat.down_c[...] = -np.inf
        for _ in range(40):
            engine.derived.heat.advance(15.0)
    assert (capped.gpu_c < free.gpu_c).all()
    assert (capped.gpu_mem_c < free.gpu_mem_c).all()


def test_hot_memory_slows_a_memory_bound_job_and_not_its_power(site: Site) -> None:
    state = busy(site, exponent=0.3)
    power = Engine(state, site).derived.node_kw.copy()
    state.gpu_mem_c[...] = 96.0
    engine = Engine(state, site)
    from twin.gpu_lives import cross_gpus

    engine.derived.heat.advance(0.001)  # notices what the temperatures have reached
    cross_gpus(engine.derived)
    engine.derived.refresh()
    on_gpu = np.isin(state.slot_node[0], site.gpus.node)
    assert engine.derived.speed[0, on_gpu] == pytest.approx((2.3 / 3.1) ** 0.7)
    assert (engine.derived.speed[0, ~on_gpu] == 1.0).all()
    assert (engine.derived.node_kw == power).all()
    run(state, site, state.now_ms + 5 * MINUTE_MS)
    assert not state.gpu_mem_slow.any(), "it ends once the memory has cooled"


def hot_story(site: Site, members: int) -> State:
    """Everything of the usual story, with hot supply air and failing fans on top."""
    state = crisis(site, members)
    state.node_stop_c[...] += 40.0  # so that what stops is stopped by its accelerators
    for column, minute, severity in ((0, 3, 1.0), (3, 6, 0.6), (8, 8, 1.0), (12, 8, 1.0), (13, 9, 1.0)):
        at_ms = T0_MS + minute * MINUTE_MS + 77
        data = {"lost_frac": severity, "fail_ms": at_ms + 90_000, "replaced_ms": at_ms + 35 * MINUTE_MS}
        rows = None if column else tuple(range(0, members, 2))
        state.agenda.add(at_ms, "fan", site.node_ids[int(site.gpus.node[column])], "wear", data, rows)
    apply_plan(state, site, T0_MS + 21 * MINUTE_MS)
    return state


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 4])
def test_restored_run_equals_whole_run(site: Site, members: int, tmp_path: Path) -> None:
    whole = run(hot_story(site, members), site, END_MS).digest()
    for ms in (180_077, 270_078, 1_500_333, 2_370_077)[:: 1 if members > 1 else 3]:
        half = run(hot_story(site, members), site, T0_MS + ms)
        again = snapshot.load(snapshot.save(half, tmp_path), site)
        assert run(again, site, END_MS).digest() == whole, ms


def test_rows_alone_or_in_a_block_give_the_same_bits(site: Site) -> None:
    whole = run(hot_story(site, 4), site, END_MS)
    for rows in ([2], [3, 1]):
        part = run(hot_story(site, 4).rows(rows), site, END_MS)
        for name, a in part.arrays.items():
            assert np.array_equal(a, whole.arrays[name][rows]), name


def test_the_hot_story_really_happens(site: Site) -> None:
    state, levels, stages = hot_story(site, 4), set(), set()
    for minute in range(60):
        run(state, site, T0_MS + minute * MINUTE_MS)
        levels |= set(state.fan_level.ravel().tolist())
        stages |= set(state.gpu_stage.ravel().tolist())
    assert levels == {0, 1, 2, 3}
    assert stages >= {0, 1}
    assert state.node_stops.max() > 0


def test_energy_balance_closes_with_fans(site: Site) -> None:
    state = hot_story(site, 2)
    plenum = site.hall_plenum_kj_per_k
    for step in range(1, 61):
        stored, given_kj = stored_heat_kj(plenum, state), (state.heat_in_kj - state.heat_out_kj).copy()
        heat_in = state.heat_in_kj.copy()
        run(state, site, T0_MS + step * 30_000 + 1)
        change = stored_heat_kj(plenum, state) - stored
        scale = np.maximum(np.maximum(state.heat_in_kj - heat_in, np.abs(change)), 1.0)
        slack = 1e-9 * scale + 1e-15 * np.maximum(state.heat_in_kj, stored)
        assert (np.abs(change - (state.heat_in_kj - state.heat_out_kj - given_kj)) <= slack).all(), step


def test_an_incident_file_can_lose_fans(site: Site) -> None:
    node = site.node_ids[int(site.gpus.node[2])]
    at = datetime.datetime.fromtimestamp(T0_MS / 1000, datetime.UTC)

    def world(component: str) -> ResolvedIncident:
        cause = ResolvedCause("fans", "fan_fails", (component,), 10.0, 1.0, "", 4.0, "step")
        repair = ResolvedRepair((component,), 30.0, "replaced", ("fans",))
        return ResolvedIncident("x", at, "", (cause,), (repair,), ())

    state = make_state(site, T0_MS, jobs=some_jobs())
    story.write(state, site, world(node))
    run(state, site, T0_MS + 5 * MINUTE_MS)
    assert state.fan_ok_frac[0, 2] == pytest.approx(0.7), "worn before they fail"
    run(state, site, T0_MS + 11 * MINUTE_MS)
    assert state.fan_ok_frac[0, 2] == 0.0
    run(state, site, T0_MS + 31 * MINUTE_MS)
    assert state.fan_ok_frac[0, 2] == 1.0
    with pytest.raises(IncidentFileError, match="has no fans of its own"):
        story.write(state, site, world(site.node_ids[0]))


def test_accelerators_of_a_liquid_cooled_rack_stand_above_its_coolant(tmp_path: Path) -> None:
    """While its CDU runs; without it they follow the equipment, which warms up, and slow down."""
    old = "mass_kj_per_k = 30.0\nstop_c = 42.0\n"
    plates = KEYS[: KEYS.index("[node_type.fans]")].replace("air_k_per_kw = 45.0", "air_k_per_kw = 0.0")
    cooled = site_of(tmp_path, TABLES, (old, old + plates))
    state = run(at_work(cooled, 0.9), cooled, T0_MS + 3_600_000)
    heat = Engine(state, cooled).derived.heat
    liquid = np.flatnonzero(cooled.cooling.rack_cdu[cooled.gpus.rack] >= 0)
    assert len(liquid) == 8
    above = state.gpu_c[0, liquid] - heat.rise_k[0, liquid]
    assert above == pytest.approx(np.full(8, state.cdu_coolant_c[0, 0]), abs=0.05)
    before = state.gpu_c[0].copy()
    state.cdu_off[...] = 1
    run(state, cooled, state.now_ms + 20 * MINUTE_MS)
    warmer = state.gpu_c[0] - before
    assert (warmer[liquid] > 10.0).all()
    assert (np.delete(warmer, liquid) < 5.0).all()


def test_sensors_read_accelerators_of_the_nodes_that_have_them(site: Site) -> None:
    state = busy(site)
    derived = Engine(state, site).derived
    sensors = Sensors(site, 5, Quality(temp_k=0.1, bias_k=0.0, gap_frac=0.0))
    names = [site.node_ids[int(n)] for n in site.gpus.node]
    seen: dict[str, dict[str, float]] = {"gpu_c": {}, "gpu_mem_c": {}, "fan_frac": {}}
    for tick in range(4):
        batch, _ = sensors.read(derived, state.now_ms + 15_000 * tick)
        for channel, values in seen.items():
            mine = (batch.channel == channel) & np.isin(batch.component, names)
            values |= dict(zip(batch.component[mine], batch.value[mine], strict=True))
    truth = {"gpu_c": state.gpu_c[0], "gpu_mem_c": state.gpu_mem_c[0]}
    truth["fan_frac"] = site.gpus.speed_frac(state.fan_level)[0]
    for channel, values in seen.items():
        assert set(values) == set(names)
        assert [values[name] for name in names] == pytest.approx(truth[channel], rel=0.05)


def test_accelerators_that_move_end_the_long_steps_of_a_calm_site(site: Site) -> None:
    state = busy(site)
    state.calm_step_ms = 60_000
    run(state, site, state.now_ms + 10 * MINUTE_MS)
    assert state.next_grid_ms - state.grid_ms == 60_000
    state.gpu_c[...] -= 20.0
    run(state, site, state.next_grid_ms + 1)
    assert state.next_grid_ms - state.grid_ms == state.step_ms


INCIDENT = """
id = "rack-fans"
title = "The fans of one rack fail"
at = 2024-05-01T00:00:00Z
site = "selene"
component_kind = "node"

[[cause]]
name = "fans"
component = "sc/pods/r03/n[009-012]"
kind = "fan_fails"
at_min = 10.0
severity = 1.0

[[repair]]
component = "sc/pods/r03/n[009-012]"
at_min = 40.0
what = "fans replaced"
clears = ["fans"]
source = "made-up"

[sources]
made-up = "for this test"
"""


def test_a_rack_of_dgx_that_loses_its_fans_slows_down_then_stops(tmp_path: Path) -> None:
    """From an incident file on a shipped site, at full load: the rack slows down and stops, the other 276 do not."""
    path = tmp_path / "rack-fans.toml"
    path.write_text(INCIDENT)
    selene = load_site("selene")
    incident = load_incident(path, selene)
    world = incident.resolve(lambda purpose, name: 0.5)
    start_ms = round(incident.at.timestamp() * 1000)
    n = len(selene.node_ids)
    jobs = make_jobs(
        [f"j{i}" for i in range(n)],
        arrival_ms=np.full(n, start_ms - 3_600_000),
        work_s=np.full(n, ENDLESS_WORK_S),
        activity_frac=np.ones(n),
    )
    state = make_state(selene, start_ms - 3_600_000, jobs=jobs)
    state.node_fails_at[...] = 1e9
    story.write(state, selene, world)
    run(state, selene, start_ms + 10 * MINUTE_MS)
    assert (state.gpu_stage == 0).all()
    rack = slice(8, 12)
    slowed_ms, stopped_ms = 0, 0
    while not stopped_ms and state.now_ms < start_ms + 20 * MINUTE_MS:
        run(state, selene, state.now_ms + 15_000)
        slowed_ms = slowed_ms or state.now_ms * int((state.gpu_stage[0, rack] > 0).any())
        stopped_ms = state.now_ms * int((state.node_phase[0, rack] == STOPPED).all())
    assert 0 < slowed_ms < stopped_ms
    assert (np.delete(state.node_phase[0], np.r_[rack]) == ON).all()
    assert state.node_stops[0] == 4
