"""The numba kernels against their oracle in plain NumPy: the same decisions, the same sums."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from twin_stories import MINUTE_MS, T0_MS, crisis, tiny

from plant.errors import SnapshotMismatch
from plant.thermal import RackStep, rack_step
from twin.columns import GpuColumns, JobColumns, RackOut
from twin.engine import run
from twin.kernels import kernels

NODES, HALLS, MEMBERS = 30, 2, 3


def fixed(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Arrays as those of a site, which nobody writes to: kernels are compiled for them, once for all."""
    for array in arrays:
        array.setflags(write=False)
    return arrays


def scene(seed: int, full: bool) -> dict[str, Any]:
    """Return random jobs, some of them on nodes, over three rows."""
    rng = np.random.default_rng(seed)
    jobs = int(rng.integers(1, 15))
    width = rng.integers(1, 6, jobs)
    slot_start = np.concatenate([[0], np.cumsum(width)])
    phase = rng.integers(1, 6, (MEMBERS, jobs)).astype(np.int8)
    slot_node = np.where(
        np.repeat(phase, width, axis=1) > 1, rng.integers(0, NODES, (MEMBERS, slot_start[-1])), -1
    ).astype(np.int32)
    return {
        "rows": np.array([0, 2]),
        "live": np.flatnonzero(rng.random(jobs) < 0.8) if jobs > 1 else np.array([0]),
        "job_phase": phase,
        "slot_start": slot_start.astype(np.int64),
        "slot_node": slot_node,
        "share": rng.choice([0.25, 0.5, 1.0], jobs),
        "width": width,
        "job_hall": rng.integers(-1, HALLS, (MEMBERS, jobs)),
        "node_need": rng.choice([0.0, 8.0], jobs),
        "shape": np.arange(jobs),
        "node_phase": rng.choice([0, 0, 0, 2], (MEMBERS, NODES)).astype(np.int8),
        "node_cordon": rng.random((MEMBERS, NODES)) < 0.1,
        "node_gpus": fixed(rng.choice([0, 8], NODES).astype(np.int32))[0],
        "hall_start": np.array([0, 18, NODES]),
        "used_frac": rng.choice([0.0, 0.5, 1.0] if full else [0.0], (MEMBERS, NODES)),
    }


@given(seed=st.integers(0, 10**6), full=st.booleans())
@settings(max_examples=examples(60), deadline=None)
def test_placement_takes_the_same_nodes(seed: int, full: bool) -> None:
    s = scene(seed, full)
    found = []
    for name in ("numpy", "numba"):
        slot_node, used = s["slot_node"].copy(), s["used_frac"].copy()
        slot_node[np.repeat(s["job_phase"], s["width"], axis=1) == 1] = -1
        started = np.zeros((2, len(s["live"])), dtype=bool)
        kernels(name).place_queue(
            s["rows"], s["live"], s["job_phase"], s["job_hall"], s["share"], s["node_need"], s["width"], s["shape"],
            s["slot_start"], slot_node, s["node_phase"], s["node_cordon"], s["node_gpus"], s["hall_start"], used,
            started,
        )  # fmt: skip
        found.append((slot_node, used, started))
    for plain, fast in zip(*found, strict=True):
        assert np.array_equal(plain, fast)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=examples(60), deadline=None)
def test_load_and_gang_speed_are_the_same_bits(seed: int) -> None:
    s = scene(seed, False)
    if not len(s["live"]):
        return
    use = np.random.default_rng(seed).random((2, len(s["live"])))
    ratio = np.random.default_rng(seed).random((MEMBERS, NODES))
    found = []
    for name in ("numpy", "numba"):
        used, util, least = (
            np.full((MEMBERS, NODES), -1.0), np.full((MEMBERS, NODES), -1.0), np.full((MEMBERS, len(s["live"])), -1.0),
        )  # fmt: skip
        k = kernels(name)
        k.occupancy(s["rows"], s["live"], s["job_phase"], s["slot_start"], s["slot_node"], s["share"], use, used, util)
        k.slowest(s["rows"], s["live"], s["job_phase"], s["slot_start"], s["slot_node"], ratio, least)
        found.append((used, util, least))
    for plain, fast in zip(*found, strict=True):
        assert np.array_equal(plain, fast)
        assert (fast[1] == -1.0).all(), "a row that was not asked for was written"


@given(seed=st.integers(0, 10**6))
@settings(max_examples=examples(40), deadline=None)
def test_sums_over_replicas_are_the_same_bits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    live, rows, services = int(rng.integers(0, 12)), 2, 3
    service, servers = rng.integers(-1, services, live), rng.integers(1, 9, live).astype(np.float64)
    speed, asked = rng.choice([0.0, 0.7, 1.0], (rows, live)), rng.random((rows, live)) < 0.7
    plain, fast = np.full((rows, 4, services), -1.0), np.full((rows, 4, services), -1.0)
    kernels("numpy").replica_sums(service, servers, speed, asked, plain[:, :3])
    kernels("numba").replica_sums(service, servers, speed, asked, fast[:, :3])
    assert np.array_equal(plain, fast)
    assert (fast[:, 3] == -1.0).all()


def test_both_backends_meet_the_same_failures_and_temperatures() -> None:
    site = tiny()
    ends = []
    for backend in ("numpy", "numba"):
        state = crisis(site, 4)
        state.backend = backend
        ends.append(run(state, site, T0_MS + 60 * MINUTE_MS))
    plain, fast = ends
    for name in ("node_phase", "node_episode", "chiller_phase", "job_phase", "slot_node", "first_stop_ms"):
        assert np.array_equal(plain.arrays[name], fast.arrays[name]), name
    for name in ("rack_mass_c", "rack_air_c", "hall_hot_c", "loop_supply_c", "energy_kwh", "job_work_s"):
        assert np.allclose(plain.arrays[name], fast.arrays[name], rtol=0.0, atol=1e-9), name


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(SnapshotMismatch, match="numpy numba"):
        kernels("fortran")


def test_fast_kernels_load_neither_scipy_nor_pandas() -> None:
    code = (
        "import sys; from twin.kernels import kernels; kernels('numba');"
        "print(*({'scipy', 'pandas'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert out.stdout.strip() == ""


@given(seed=st.integers(0, 10**6))
@settings(max_examples=examples(40), deadline=None)
def test_nodes_draw_and_watch_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    idle, peak = rng.uniform(0.1, 0.9, NODES), rng.uniform(1.0, 4.0, NODES)
    rack_start = np.array([0, 7, 19, NODES], dtype=np.int32)
    rows = np.array([0, 2])
    util, scale = rng.uniform(0.0, 1.1, (MEMBERS, NODES)), rng.uniform(0.9, 1.1, (MEMBERS, NODES))
    cap_frac = rng.choice([0.2, 0.6, 1.0], (MEMBERS, NODES))
    bend = rng.choice([0.0, 0.5, 1.4], NODES)
    by_rack = rng.uniform(0.7, 1.3, (3, MEMBERS, 3))  # idle power, bend of the curve, loss of supplies
    live, rated = rng.integers(0, 3, (2, NODES)).astype(np.int8), rng.choice([0.0, 2.2], NODES)
    loss = np.stack([np.full(NODES, c) for c in (0.0284631, -0.0566328, 0.1270706)])
    phase = rng.integers(0, 5, (MEMBERS, NODES)).astype(np.int8)
    fails, stop = rng.random((MEMBERS, NODES)), rng.uniform(30.0, 45.0, (MEMBERS, NODES))
    offset, until = rng.uniform(0.0, 3.0, NODES), rng.integers(0, 10**6, (MEMBERS, NODES))
    fixed(idle, peak, bend, rack_start, rated, offset)
    found = []
    for name in ("numpy", "numba"):
        k, demand, cap, drawn = kernels(name), *np.empty((3, 2, NODES))
        k.node_demand(rows, util, idle, peak, bend, scale, *by_rack[:2], rack_start, cap_frac, demand, cap)
        node_kw, ratio = np.full((2, MEMBERS, NODES), -1.0)
        racks, next_up = RackOut(*np.full((4, MEMBERS, 3), -1.0)), np.full(MEMBERS, -1)
        rack_kw = np.full((MEMBERS, 3), -1.0)
        k.settle_nodes(
            rows, demand, cap, live, phase, rated, loss, peak, rack_start, by_rack[2], drawn, node_kw, ratio, rack_kw
        )  # fmt: skip
        k.watch_racks(rows, phase, rack_start, fails, stop, offset, until, racks, next_up)
        found.append((demand, cap, drawn, node_kw, ratio, rack_kw, *racks, next_up))
    for plain, fast in zip(*found, strict=True):
        assert np.allclose(plain, fast, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=examples(40), deadline=None)
def test_accelerators_warm_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    g, racks = 9, 3
    of = GpuColumns(
        np.sort(rng.choice(NODES, g, replace=False)), np.sort(rng.integers(0, racks, g)), rng.uniform(0.05, 0.2, g),
        rng.uniform(-0.1, 0.1, g), rng.uniform(0.0, 5.0, g), rng.uniform(1.0, 4.0, g), rng.uniform(1.0, 5.0, g),
        rng.uniform(5.0, 20.0, g), np.full(g, 95.0),
    )  # fmt: skip
    fixed(*of[:3], of[4], *of[6:])
    rows, drawn = np.array([0, 2]), rng.choice([0.0, 2.0, 6.0], (2, NODES))
    extra, speed, resistance = rng.random((MEMBERS, g)), rng.uniform(0.1, 1.0, (MEMBERS, g)), rng.random((MEMBERS, g))
    cold, keep, mem_keep = rng.uniform(15.0, 60.0, (MEMBERS, racks)), rng.random((MEMBERS, g)), rng.random(g)
    up, down = rng.uniform(60.0, 120.0, (MEMBERS, g)), rng.uniform(0.0, 60.0, (MEMBERS, g))
    gpu_c, mem_c = rng.uniform(20.0, 90.0, (2, MEMBERS, g))
    found = []
    for name in ("numpy", "numba"):
        k, rise, above = kernels(name), *np.full((2, MEMBERS, g), 1.0)
        k.gpu_rises(rows, of, drawn, extra, speed, resistance, rise, above)
        gpu_out, mem_out = gpu_c.copy(), mem_c.copy()
        reached = k.gpu_step(of, cold, rise, above, keep, mem_keep, up, down, gpu_out, mem_out)
        found.append((rise, above, gpu_out, mem_out, np.array(reached)))
    for plain, fast in zip(*found, strict=True):
        assert np.allclose(plain, fast, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=examples(40), deadline=None)
def test_racks_warm_the_same_and_only_changed_ones_are_computed_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    racks, rack_hall, dt_s = 6, np.array([0, 0, 1, 1, 1, 1], dtype=np.int32), 15.0
    fixed(rack_hall)
    mass, air = rng.uniform(100.0, 900.0, (MEMBERS, racks)), rng.uniform(9.0, 20.0, (MEMBERS, racks))
    ua, flow = rng.uniform(0.3, 3.0, (MEMBERS, racks)), rng.choice([0.0, 0.1, 2.0], (MEMBERS, racks))
    heat, inlet = rng.uniform(0.0, 30.0, (MEMBERS, racks)), rng.uniform(15.0, 45.0, (MEMBERS, racks))
    mass_c, air_c = rng.uniform(20.0, 60.0, (2, MEMBERS, racks))
    changed = np.where(rng.random((MEMBERS, racks)) < 0.3, flow * 0.5 + 0.1, flow)
    found = []
    for name in ("numpy", "numba"):
        k, seen = kernels(name), np.full((4, MEMBERS, racks), np.nan)
        step = RackStep(*np.zeros((6, MEMBERS, racks)))
        k.rack_coefficients(np.arange(MEMBERS), mass, air, ua, flow, dt_s, seen, step)
        k.rack_coefficients(np.array([0, 2]), mass, air, ua, changed, dt_s, seen, step)
        out = mass_c.copy(), air_c.copy(), np.zeros_like(inlet), np.full(MEMBERS, 30.0), np.ones((MEMBERS, 2))
        k.rack_air(step, rack_hall, heat, inlet, mass, air, dt_s, *out)
        found.append((*step, *out))
    fresh = rack_step(mass[0], air[0], ua[0], changed[0], dt_s)
    for kept, new in zip(found[0][:6], fresh, strict=True):
        assert np.allclose(kept[0], new, rtol=1e-12, atol=1e-14)
    for plain, fast in zip(*found, strict=True):
        assert np.allclose(plain, fast, rtol=1e-10, atol=1e-10)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=examples(40), deadline=None)
def test_jobs_advance_save_and_serve_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    jobs, live = 8, np.array([0, 2, 3, 7])
    tau = rng.choice([0.0, 60.0, 300.0], jobs)
    of = JobColumns(
        rng.choice([0.9, 1.0], jobs), tau, np.where(tau > 0.0, tau + 5.0, np.inf), np.full(jobs, 5.0),
        rng.random(jobs), rng.choice([200.0, 1e9], jobs),
    )  # fmt: skip
    phase = rng.integers(1, 6, (MEMBERS, jobs)).astype(np.int8)
    speed = np.where(phase[:, live] == 2, rng.random((MEMBERS, 4)), 0.0)
    drain, until = rng.random((MEMBERS, jobs)) < 0.5, rng.integers(0, 2000, (MEMBERS, jobs))
    start, weight, gpus = rng.integers(-1, 2, (MEMBERS, jobs)), rng.random(jobs), rng.integers(0, 9, jobs) * 1.0
    work = rng.uniform(0.0, 900.0, (MEMBERS, jobs))
    saved = work - rng.uniform(0.0, 400.0, (MEMBERS, jobs))
    found = []
    for name in ("numpy", "numba"):
        k, event = kernels(name), np.empty((MEMBERS, 4), dtype=np.int8)
        out = work.copy(), saved.copy(), np.ones(MEMBERS)
        happened = k.advance_jobs(live, of, 15.0, 1000, speed, phase, drain, until, *out, event)
        given = np.full((MEMBERS, 4), -1.0), *np.full((3, MEMBERS), -1.0)
        k.service(np.array([0, 2]), live, phase, start, weight, gpus, speed, speed**2, *given)
        assert happened == bool(event.any())
        found.append((*out, event, *given))
    for plain, fast in zip(*found, strict=True):
        assert np.allclose(plain, fast, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_setup_compiles_every_kernel() -> None:
    code = (
        "import importlib, pkgutil, twin; from numba.core.dispatcher import Dispatcher; from verbs import warm;"
        "warm.main();"
        "parts = [m.name for m in pkgutil.iter_modules(twin.__path__) if m.name.startswith('numba_')];"
        "kernels = {v.__name__: v for p in parts for v in vars(importlib.import_module('twin.' + p)).values()"
        " if isinstance(v, Dispatcher) and not v.__name__.startswith('_')};"
        "print(len(kernels), *(n for n, k in kernels.items() if not k.signatures))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    count, *left = out.stdout.split()
    assert int(count) >= 15
    assert not left, "a first run would wait for these"
