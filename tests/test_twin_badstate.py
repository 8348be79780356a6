"""Snapshots of another site or version and states that are not sound: each refused in one clear line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cli
from plant.errors import SnapshotMismatch
from plant.site import load_site
from twin import snapshot
from twin.engine import run
from twin.ensemble import make_state
from twin.jobs import make_jobs
from twin.state import State

SITE, T0_MS = load_site("tiny"), 1_700_000_000_000


def sound() -> State:
    """A small State that has run, with jobs and something still to come."""
    jobs = make_jobs(["a", "b"], arrival_ms=np.array([T0_MS, T0_MS + 1000]), work_s=np.array([900.0, 60.0]))
    state = make_state(SITE, T0_MS, jobs=jobs, members=2)
    loop = SITE.loop_ids[0]
    state.agenda.add(T0_MS + 60_000, "loop_airlock", loop, "low_flow", {"bled_ms": T0_MS + 120_000}, rows=(1,))
    return run(state, SITE, T0_MS + 30_000)


def put(name: str, value: float) -> Callable[[State], None]:
    """Write one value into an array."""

    def act(state: State) -> None:
        state.arrays[name].flat[0] = value

    return act


def entry(**changes: Any) -> Callable[[State], None]:
    """Change the entry of the air lock."""

    def act(state: State) -> None:
        found = state.agenda.of_kind("loop_airlock")[0]
        state.agenda.entries[found.seq] = found._replace(**changes)

    return act


def attribute(name: str, value: Any) -> Callable[[State], None]:
    """Change one number of the State."""

    def act(state: State) -> None:
        setattr(state, name, value)

    return act


def replace(name: str, made: Callable[[Any], Any]) -> Callable[[State], None]:
    """Put another array in the place of one."""

    def act(state: State) -> None:
        state.arrays[name] = made(state.arrays[name])

    return act


def job(name: str, value: float) -> Callable[[State], None]:
    """Write one value into a column of the job table."""

    def act(state: State) -> None:
        getattr(state.jobs, name)[0] = value

    return act


def without(name: str) -> Callable[[State], None]:
    """Take an array out."""

    def act(state: State) -> None:
        del state.arrays[name]

    return act


BAD: dict[str, tuple[Callable[[State], None], tuple[str, ...]]] = {
    "another site": (
        attribute("site_hash", "0" * 64),
        ("state: site hash 000000000000", "(tiny)", "load the site file"),
    ),
    "nan in the air": (put("rack_air_c", np.nan), ("state.rack_air_c: 1 values that are not finite", "finite numbers")),
    "infinite heat": (put("heat_in_kj", np.inf), ("state.heat_in_kj: 1 values that are not finite",)),
    "nan for one member": (put("service_frac", np.nan), ("state.service_frac: 1 values", "earlier snapshot")),
    "kelvin": (put("loop_supply_c", 6000.0), ("state.loop_supply_c: 1 values outside, such as 6000 C", "-60..1000 C")),
    "percent": (put("loop_flow_frac", 45.0), ("state.loop_flow_frac: 1 values outside, such as 45", "0..1")),
    "negative flow": (put("loop_flow_frac", -0.2), ("such as -0.2", "0..1")),
    "negative mass": (put("rack_mass_kj_per_k", -3.0), ("such as -3 kJ/K", "0..inf kJ/K")),
    "unknown phase": (put("node_phase", 99), ("state.node_phase: 1 values outside, such as 99", "0..")),
    "node that does not exist": (put("slot_node", 10_000), ("state.slot_node", "such as 10000", "-1..")),
    "hall that does not exist": (put("job_hall", 77), ("state.job_hall", "such as 77")),
    "missing array": (without("rack_mass_c"), ("state.rack_mass_c: nothing", "float64 (2, ", "rebuild the state")),
    "unknown array": (
        attribute("arrays", None),
        ("state.rack_mas_c: an array this program does not know", "did you mean 'rack_mass_c'?"),
    ),
    "no members": (replace("member", lambda a: a[:0]), ("state.member: no member rows",)),
    "other shape": (replace("rack_air_c", lambda a: a[:, :-1].copy()), ("state.rack_air_c: float64 (2, ", "C order")),
    "other type": (replace("rack_air_c", lambda a: a.astype(np.float32)), ("state.rack_air_c: float32",)),
    "not contiguous": (replace("rack_air_c", np.asfortranarray), ("state.rack_air_c: float64", "C order")),
    "step of nothing": (attribute("step_ms", 0), ("state.step_ms: 0 ms", "above 0 ms")),
    "clock in seconds": (attribute("now_ms", 1.7e9), ("state.now_ms: 1700000000.0", "a whole number")),
    "grid after the clock": (
        attribute("now_ms", T0_MS),
        ("state.grid_ms:", "15000 ms after the clock", "at most now_ms"),
    ),
    "work not finite": (job("work_s", np.nan), ("jobs.work_s: 1 values that are not finite",)),
    "job of no node": (job("width", 0), ("jobs.width: a job of 0 nodes", "at least 1 node")),
    "arrivals out of order": (job("arrival_ms", T0_MS + 9999), ("jobs.arrival_ms: arrivals out of order",)),
    "unknown happening": (entry(kind="loop_airlok"), ("kind 'loop_airlok'", "did you mean 'loop_airlock'?")),
    "component of another site": (
        entry(kind="chiller", component="hk/zone-c/loop/ch1"),
        ("no chiller 'hk/zone-c/loop/ch1'", "a component of site tiny"),
    ),
    "rows that do not exist": (entry(rows=(5,)), ("rows (5,)", "0..1")),
    "due at no instant": (entry(due_ms=float("nan")), ("due at nan", "whole milliseconds")),
    "datum not finite": (entry(data=(("bled_ms", float("inf")),)), ("'bled_ms' is not finite",)),
    "number of the future": (entry(seq=4000), ("number 4000", "below next_seq")),
}


def spoil(name: str, state: State) -> None:
    """Break a sound State in the named way."""
    if name == "unknown array":
        state.arrays["rack_mas_c"] = state.arrays["rack_mass_c"].copy()
    else:
        BAD[name][0](state)


@pytest.mark.parametrize("name", list(BAD))
def test_bad_state_is_refused_in_one_clear_line(name: str) -> None:
    state = sound()
    state.check(SITE)
    spoil(name, state)
    with pytest.raises(SnapshotMismatch) as refusal:
        state.check(SITE)
    lines = str(refusal.value).splitlines()
    assert any(all(part in line for part in BAD[name][1]) for line in lines), lines
    assert all(fault.where and fault.found and (fault.allowed or fault.cure) for fault in refusal.value.faults)


def test_all_faults_come_at_once() -> None:
    state = sound()
    for name in ("nan in the air", "percent", "unknown happening", "missing array"):
        spoil(name, state)
    with pytest.raises(SnapshotMismatch) as refusal:
        state.check(SITE)
    assert len(refusal.value.faults) == 4


def test_what_a_run_makes_is_sound(tmp_path: Path) -> None:
    state = sound()
    again = snapshot.load(snapshot.save(state, tmp_path), SITE)
    assert again.digest() == state.digest()
    run(again, SITE, T0_MS + 200_000).check(SITE)


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A snapshot with other meta data."""
    with np.load(path) as file:
        packed = {name: file[name] for name in file.files}
    meta = json.loads(packed["meta"].tobytes())
    change(meta)
    packed["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    np.savez(path, **packed)  # type: ignore[arg-type]
    return path


META: dict[str, tuple[Callable[[dict[str, Any]], None], tuple[str, ...]]] = {
    "newer": (lambda m: m.update(version=snapshot.VERSION + 1), (f"version {snapshot.VERSION + 1}", "update foretwin")),
    "older": (lambda m: m.update(version=0), ("snapshot version 0", "take a new snapshot")),
    "no version": (lambda m: m.pop("version"), ("snapshot version None",)),
    "another site": (lambda m: m.update(site_hash="f" * 64), ("state: site hash ffffffffffff", "(tiny)")),
    "no agenda": (lambda m: m.pop("agenda"), ("a part is missing or misshapen", "agenda")),
    "agenda of text": (lambda m: m.update(agenda=["soon"]), ("a part is missing or misshapen",)),
    "jobs without names": (lambda m: m.update(job_ids=[]), ("jobs.work_s: shape (2,)", "(0,)")),
    "another clock": (lambda m: m.update(now_ms=m["now_ms"] + 15_000), ("content that does not fit its hash",)),
    "no digest": (lambda m: m.pop("digest"), ("content that does not fit its hash",)),
}


@pytest.mark.parametrize("name", list(META))
def test_bad_snapshot_names_file_and_cure(name: str, tmp_path: Path) -> None:
    change, parts = META[name]
    path = rewritten(snapshot.save(sound(), tmp_path), change)
    with pytest.raises(SnapshotMismatch) as refusal:
        snapshot.load(path, SITE)
    lines = str(refusal.value).splitlines()
    assert any(all(part in line for part in (str(path), *parts)) for line in lines), lines


CONTENT: dict[str, bytes] = {
    "empty": b"",
    "text": b"site = 'tiny'\n",
    "zip of nothing": b"PK\x05\x06" + bytes(18),
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtin\x94.",
}


@pytest.mark.parametrize("name", list(CONTENT))
def test_a_file_that_is_no_snapshot_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(CONTENT[name])
    with pytest.raises(SnapshotMismatch, match=r"no readable snapshot.*written by foretwin"):
        snapshot.load(path, SITE)


def test_one_flipped_byte_is_noticed(tmp_path: Path) -> None:
    state = sound()
    path = snapshot.save(state, tmp_path)
    with np.load(path) as file:
        packed = {name: file[name] for name in file.files}
    packed["state/rack_air_c"].view(np.uint8).flat[0] ^= 1
    np.savez(path, **packed)  # type: ignore[arg-type]
    with pytest.raises(SnapshotMismatch, match="does not fit its hash"):
        snapshot.load(path, SITE)


def test_front_door_refuses_with_one_line_and_code_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = snapshot.save(sound(), tmp_path)
    assert cli.answer(["site", "check", "tiny", "--snapshot", str(path), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["results"]["snapshot"]["members"] == 2
    assert cli.answer(["site", "check", "hall", "--snapshot", str(path), "--json"]) == 2
    told = capfd.readouterr()
    error = json.loads(told.out)["error"]
    assert "site hash" in error["found"]
    assert "(hall)" in error["allowed"]
    assert "load the site file" in error["cure"]
    assert str(path) in error["where"]
    assert len(told.err.strip().splitlines()) == 1
    assert cli.answer(["site", "check", "tiny", "--snapshot", str(tmp_path / "none.npz")]) == 2
    assert len(capfd.readouterr().err.strip().splitlines()) == 1
