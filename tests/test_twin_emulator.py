"""The emulated site: the same world twice, hidden from the twin, with sensors that err and commands that act once."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from emulated_world import PERFECT, SITE, TICK_MS, emulated, quickly
from twin_stories import DATA, MINUTE_MS, T0_MS, some_jobs

from plant import streams
from plant.actions import Action
from plant.incident import ResolvedIncident, load_incident
from plant.site import load_site
from twin import story
from twin.emulator import HIDDEN_MEMBER
from twin.engine import run
from twin.ensemble import make_state
from twin.sensors import Quality
from twin.state import State
from twin.telemetry.memory_store import MemoryStore

END_MS = T0_MS + 10 * MINUTE_MS
HALL = SITE.hall_ids[0]
KEY = "aaaaaaaaaaaaaaaa:0"


def told(store: MemoryStore) -> bytes:
    """Everything a store was told, in order of arrival, as bytes."""
    batch, _ = store.tail(0)
    names = json.dumps([batch.component.tolist(), batch.channel.tolist()]).encode()
    events = repr(store.events(0, 2**62)).encode()
    return batch.time_ms.tobytes() + batch.value.tobytes() + names + events


def airlock(site: str = "hall") -> ResolvedIncident:
    """The shipped incident in its likeliest world."""
    return load_incident("alibaba-hk-2022-12-18", load_site(site)).likeliest()


# --- the same world twice ---------------------------------------------------------------------


def test_the_same_scenario_gives_the_same_site_and_the_same_bytes():
    first, second = emulated(5), emulated(5)
    for emulator, _ in (first, second):
        emulator.advance(END_MS)
    assert first[0].digest() == second[0].digest()
    assert told(first[1]) == told(second[1])


def test_a_copy_of_a_settled_site_is_that_site():
    whole, copied = emulated(5), quickly(5)
    for emulator, _ in (whole, copied):
        emulator.advance(T0_MS + MINUTE_MS)
    assert whole[0].digest() == copied[0].digest()
    assert told(whole[1]) == told(copied[1])


def test_how_often_it_is_asked_does_not_matter():
    (steps, one), (leap, other) = quickly(5), quickly(5)
    for at_ms in range(T0_MS + TICK_MS, END_MS + 1, TICK_MS):
        steps.advance(at_ms)
        steps.request("observe", {})
        steps.request("nodes", {})
    leap.advance(END_MS)
    assert steps.digest() == leap.digest()
    assert told(one) == told(other)
    assert leap.advance(END_MS) == leap.truth()  # asked for the present, nothing happens
    assert told(one) == told(other)


def test_what_is_commanded_is_part_of_its_history():
    free, capped = quickly(5)[0], quickly(5)[0]
    capped.request("command", {"verb": "cap", "key": KEY, "epoch": 1, "args": {"nodes": [SITE.node_ids[0]],
                                                                               "cap_frac": 0.6}})  # fmt: skip
    assert free.digest() != capped.digest()


# --- hidden from the twin ---------------------------------------------------------------------


def a_twin(members: int = 4) -> State:
    return make_state(SITE, T0_MS, jobs=some_jobs(), members=members, seed=9)


def test_another_hidden_seed_changes_the_readings_and_no_byte_of_a_twin_that_hears_none():
    seen, twins = [], []
    for hidden in (5, 6):
        emulator, store = quickly(hidden)
        twin = a_twin()
        emulator.advance(END_MS)
        twins.append(run(twin, SITE, END_MS).digest())
        seen.append(told(store))
    assert seen[0] != seen[1]
    assert twins[0] == twins[1] == run(a_twin(), SITE, END_MS).digest()


def test_hidden_parameters_differ_from_the_file_and_from_seed_to_seed():
    states = [emulated(hidden)[0].engine.state for hidden in (5, 6)]
    for name in ("rack_mass_kj_per_k", "loop_water_kj_per_k", "chiller_cop", "node_power_scale", "node_stop_c"):
        a, b = (s.arrays[name] for s in states)
        assert not np.array_equal(a, b), name
    file = SITE.rack_mass_kj_per_k
    off = states[0].rack_mass_kj_per_k[0] / file
    assert (np.abs(np.log(off)) <= 0.2 + 1e-12).all()  # within 20 %
    assert (off != 1.0).all()
    assert (states[0].member == HIDDEN_MEMBER).all()


def test_sensor_biases_are_hidden_too():
    a, b = (quickly(hidden)[0].sensors.bias["rack", "inlet_c"] for hidden in (5, 6))
    assert a.shape == (len(SITE.rack_ids),)
    assert not np.array_equal(a, b)


# --- sensors ----------------------------------------------------------------------------------


def rows_of(store: MemoryStore, channel: str) -> list[tuple[int, str, str, float]]:
    return [row for row in store.tail(0)[0].rows() if row[2] == channel]


def test_perfect_sensors_tell_the_truth():
    emulator, store = quickly(5, quality=PERFECT)
    emulator.advance(T0_MS + TICK_MS)
    heard = {c: v for _, c, _, v in rows_of(store, "hot_c")}
    assert heard == dict(zip(SITE.hall_ids, emulator.engine.state.hall_hot_c[0].tolist(), strict=True))


def test_every_sensor_speaks_at_its_pace_when_nothing_is_lost():
    emulator, store = quickly(5, quality=PERFECT)
    emulator.advance(END_MS)
    count: dict[tuple[str, str], int] = {}
    for _, component, channel, _ in store.tail(0)[0].rows():
        count[component, channel] = count.get((component, channel), 0) + 1
    for pace_s, kind, channel in ((15, "loop", "supply_c"), (30, "rack", "inlet_c"), (300, "node", "power_kw")):
        assert {count[c, channel] for c in SITE.components(kind)} == {600 // pace_s}


def test_readings_carry_noise_about_their_truth():
    plain, noisy = quickly(5, quality=PERFECT), quickly(5, quality=dataclasses.replace(PERFECT, temp_k=0.12))
    for emulator, _ in (plain, noisy):
        emulator.advance(END_MS)
    true, heard = (np.array([r[3] for r in rows_of(store, "inlet_c")]) for _, store in (plain, noisy))
    assert len(true) == len(heard) == 160
    error = heard - true
    assert error.std() == pytest.approx(0.12, rel=0.2)
    assert abs(error.mean()) < 3.0 * 0.12 / np.sqrt(len(error))
    assert abs(np.corrcoef(error[:-1], error[1:])[0, 1]) < 0.25


def test_some_readings_never_come_and_some_come_late():
    quality = Quality(gap_frac=0.1, late_frac=0.2, late_s=90.0)
    (whole, all_), (torn, some) = quickly(5, quality=PERFECT), quickly(5, quality=quality)
    for emulator in (whole, torn):
        emulator.advance(END_MS)
    sent = {(t, c, ch) for t, c, ch, _ in all_.tail(0)[0].rows()}
    got = [(t, c, ch) for t, c, ch, _ in some.tail(0)[0].rows()]
    assert len(got) == len(set(got))
    assert set(got) <= sent
    waiting = sum(len(batch) for _, batch in torn._late)
    assert (len(got) + waiting) / len(sent) == pytest.approx(0.9, abs=0.02)
    # arrival order: a late reading stands behind newer ones, at most 90 s and one step behind its time
    newest, late, worst_ms = 0, 0, 0
    for time_ms, _, _ in got:
        late += time_ms < newest
        worst_ms = max(worst_ms, newest - time_ms)
        newest = max(newest, time_ms)
    # a delay of less than a step comes with the next one and stands in front of it
    assert late / len(sent) == pytest.approx(0.2 * 75.0 / 90.0, abs=0.03)
    assert 15_000 <= worst_ms <= 90_000 + TICK_MS


def test_a_late_reading_keeps_the_time_at_which_it_was_taken():
    _, store = torn = quickly(5, quality=dataclasses.replace(PERFECT, late_frac=0.5, late_s=60.0))
    torn[0].advance(T0_MS + TICK_MS)
    early = {row[:3] for row in store.tail(0)[0].rows()}
    cursor = store.tail_end()
    torn[0].advance(T0_MS + 6 * TICK_MS)
    after = store.tail(cursor)[0].rows()
    old = [row for row in after if row[0] == T0_MS + TICK_MS]
    assert old
    assert not {row[:3] for row in old} & early


def test_stops_and_trips_are_told_as_events():
    emulator, store = quickly(5)
    s, k = emulator.engine.state, int(np.flatnonzero(~SITE.chiller_standby)[0])
    s.agenda.add(T0_MS + 20_000, "chiller", SITE.chiller_ids[k], "out", {"repaired_ms": T0_MS * 2})
    s.node_stop_c[0, 0] = 1.0
    emulator.engine.derived.mark()
    emulator.advance(T0_MS + 2 * MINUTE_MS)
    told_of = {(e.component, e.type) for e in store.events(T0_MS, END_MS)}
    assert (SITE.chiller_ids[k], "chiller") in told_of
    assert (SITE.node_ids[0], "node_down") in told_of


# --- commands ---------------------------------------------------------------------------------


def command(emulator, verb: str, key: str, epoch: int, **args: object):
    return emulator.request("command", {"verb": verb, "key": key, "epoch": epoch, "args": args})


def test_the_same_key_acts_once_and_an_old_epoch_never():
    emulator, _ = quickly(5)
    node = SITE.node_ids[2]
    first = command(emulator, "cap", KEY, 3, nodes=[node], cap_frac=0.6)
    emulator.advance(T0_MS + MINUTE_MS)
    digest = emulator.digest()
    assert command(emulator, "cap", KEY, 3, nodes=[node], cap_frac=0.6) == first
    assert command(emulator, "cap", KEY, 3, nodes=[node], cap_frac=0.5)["code"] == "key_reused"
    assert command(emulator, "cap", "b:0", 2, nodes=[node], cap_frac=0.4)["code"] == "fenced"
    assert emulator.request("query", {"key": "b:0"}) is None
    assert emulator.digest() == digest
    assert emulator.engine.state.node_cap_frac[0, 2] == 0.6


def test_bad_commands_are_answers_not_accidents():
    emulator, _ = quickly(5)
    for i, (verb, args) in enumerate(
        [("cap", {"nodes": [SITE.node_ids[0]], "cap_frac": 0.1}), ("cordon", {"nodes": ["nobody"], "reason": ""}),
         ("move", {"jobs": ["nobody"], "to_hall": HALL, "concurrent": 1}), ("dance", {}), ("cap", {}),
         ("plant", {"step": Action.of("cordon", [HALL]).as_dict()})]
    ):  # fmt: skip
        answer = command(emulator, verb, f"a:{i}", 1, **args)
        assert (answer["status"], bool(answer["detail"])) == ("rejected", True), verb
    with pytest.raises(ValueError, match="no request 'peek'"):
        emulator.request("peek", {})


def test_answers_are_plain_data():
    emulator, _ = quickly(5)
    answers = [emulator.request(verb, {}) for verb in ("observe", "nodes", "truth")]
    answers.append(command(emulator, "requeue", KEY, 1, jobs=[emulator.request("observe", {})[0]["id"]]))
    answers.append(emulator.request("advance", {"to_ms": T0_MS + MINUTE_MS}))
    assert json.loads(json.dumps(answers, allow_nan=False)) == answers


def test_a_move_that_did_not_happen_is_not_done():
    emulator, _ = quickly(5)
    full = [n for n in SITE.node_ids if n.startswith(SITE.hall_ids[1])]
    command(emulator, "cordon", "b:0", 1, nodes=full, reason="full")
    one = next(j for j in emulator.request("observe", {}) if j["hall"] == HALL and j["phase"] == "running")
    command(emulator, "move", KEY, 1, jobs=[one["id"]], to_hall=SITE.hall_ids[1], concurrent=1)
    emulator.advance(END_MS)
    after = next(j for j in emulator.request("observe", {}) if j["id"] == one["id"])
    assert after["hall"] == HALL
    assert emulator.request("query", {"key": KEY})["status"] != "done"


def test_a_capped_hall_draws_less_power():
    (free, _), (capped, _) = quickly(5), quickly(5)
    nodes = [n for n in SITE.node_ids if n.startswith(HALL)]
    command(capped, "cap", KEY, 1, nodes=nodes, cap_frac=0.5)
    energy = [e.advance(END_MS)["energy_kwh"] for e in (free, capped)]
    assert energy[1] < energy[0]


# --- outcomes never enter ---------------------------------------------------------------------


def test_an_incident_without_its_outcome_writes_the_same_story(tmp_path):
    site = load_site("hall")
    text = (DATA / "incidents" / "alibaba-hk-2022-12-18.toml").read_text(encoding="utf-8")
    head, _, rest = text.partition("\n[outcome]")
    bare = tmp_path / "alibaba-hk-2022-12-18.toml"
    bare.write_text(head + rest[rest.index("\n[sources]") :], encoding="utf-8")

    def draw(purpose: str, name: str) -> float:
        return float(streams.uniform(3, purpose, 0, streams.component_key(name)))

    entries = []
    for incident in (load_incident("alibaba-hk-2022-12-18", site), load_incident(bare, site)):
        state = make_state(site, T0_MS)
        story.write(state, site, incident.resolve(draw))
        entries.append((incident.hash, sorted(state.agenda.entries.values())))
    assert load_incident(bare, site).outcome is None
    assert entries[0] == entries[1]
    assert len(entries[0][1]) > 3


def test_the_story_makes_the_emulated_hall_hot():
    site, world = load_site("hall"), airlock()
    state = make_state(site, T0_MS)
    story.write(state, site, world)
    kinds = {e.kind for e in state.agenda.entries.values()}
    assert {"loop_airlock", "chiller"} <= kinds
    trip_ms = world.at_ms(world.cause("air_ingress").at_min)
    assert min(e.due_ms for e in state.agenda.entries.values()) == world.at_ms(world.first_sign_min) <= trip_ms
