"""The first law of the house: run(0 -> T) == run(0 -> t), snapshot, restore, run(t -> T), to the last bit."""

from __future__ import annotations

import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twin_stories import MINUTE_MS, T0_MS, apply_plan, crisis, tiny

from plant.errors import SnapshotMismatch
from twin import snapshot
from twin.engine import run
from twin.ensemble import make_state
from twin.flows import stored_heat_kj
from twin.state import State

SITE = tiny()
END_MS = T0_MS + 60 * MINUTE_MS
PLAN_MS = T0_MS + 21 * MINUTE_MS
CASES = ((1, "numba"), (4, "numba"), (2, "numpy"))  # members, backend
# `make test-all` takes every way with every case; the default run takes each way and each case once
FAST_CASES = [pytest.param(CASES[0], marks=pytest.mark.slow), CASES[1]]
# instants at which something is due: grid points, a tie of three entries, a cut, an entry one millisecond off the grid
BUSY_MS = (0, 15_000, 300_000, 420_001, 540_000, 724_321, 740_999, 600_333, PLAN_MS - T0_MS, 2_100_333, 3_600_000)


def start(members: int, backend: str = "numba") -> State:
    """Return the story with a plan that will be applied mid-run."""
    state = crisis(SITE, members)
    state.backend = backend
    apply_plan(state, SITE, PLAN_MS)
    return state


@cache
def whole(case: tuple[int, str]) -> str:
    """Return the digest of the run in one go, which all others have to meet."""
    return run(start(*case), SITE, END_MS).digest()


instants = st.one_of(st.sampled_from(BUSY_MS), st.integers(0, 3_600_000)).map(lambda ms: T0_MS + ms)
quick = settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("case", FAST_CASES)
@given(t=instants)
@quick
def test_restored_run_equals_whole_run(case: tuple[int, str], t: int, tmp_path: Path) -> None:
    half = run(start(*case), SITE, t)
    again = snapshot.load(snapshot.save(half, tmp_path), SITE)
    assert run(again, SITE, END_MS).digest() == whole(case)


@pytest.mark.parametrize("case", FAST_CASES)
@given(ts=st.lists(instants, min_size=2, max_size=8))
@quick
def test_chain_of_forks_and_reads_equals_whole_run(case: tuple[int, str], ts: list[int]) -> None:
    state = start(*case)
    for t in sorted(ts):
        state = pickle.loads(pickle.dumps(run(state, SITE, t).fork()))
        state.digest()
    assert run(state, SITE, END_MS).digest() == whole(case)


@pytest.mark.parametrize(
    ("case", "busy_ms"),
    [
        (CASES[0], BUSY_MS[::2]),
        (CASES[2], BUSY_MS[5:7]),
        *(pytest.param(case, BUSY_MS, marks=pytest.mark.slow) for case in CASES),
    ],
)
def test_every_busy_instant_restores(case: tuple[int, str], busy_ms: tuple[int, ...]) -> None:
    for ms in busy_ms:
        half = run(start(*case), SITE, T0_MS + ms)
        assert run(half.fork(), SITE, END_MS).digest() == whole(case), f"at {ms} ms"


def test_restored_in_a_new_process_equals_whole_run(tmp_path: Path) -> None:
    path = snapshot.save(run(start(4), SITE, T0_MS + 724_321), tmp_path)
    code = (
        "import sys; from pathlib import Path; from plant.site import load_site; from twin import snapshot;"
        "from twin.engine import run; site = load_site(sys.argv[1]);"
        "print(run(snapshot.load(Path(sys.argv[2]), site), site, int(sys.argv[3])).digest())"
    )
    site_file = Path(__file__).parent.parent / "data" / "sites" / "tiny.toml"
    done = subprocess.run(
        [sys.executable, "-c", code, str(site_file), str(path), str(END_MS)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == whole((4, "numba"))


def test_plan_applied_mid_run_equals_plan_applied_after_restore(tmp_path: Path) -> None:
    t = T0_MS + 18 * MINUTE_MS + 7_777
    parent = run(crisis(SITE, 4), SITE, t)
    fork = snapshot.load(snapshot.save(parent, tmp_path), SITE)
    for state in (parent, fork):
        apply_plan(state, SITE, PLAN_MS)
    assert run(parent, SITE, END_MS).digest() == run(fork, SITE, END_MS).digest()


def test_fork_never_touches_its_parent() -> None:
    parent = run(start(4), SITE, PLAN_MS)
    before = parent.digest()
    run(parent.fork(), SITE, END_MS)
    assert parent.digest() == before


def test_rows_alone_or_in_a_block_give_the_same_bits() -> None:
    block = run(start(4), SITE, END_MS)
    for rows in ([2], [3, 1]):
        part = run(start(4).rows(rows), SITE, END_MS)
        for name, a in part.arrays.items():
            assert np.array_equal(a, block.arrays[name][rows]), name


def test_running_to_now_or_to_the_past_does_nothing() -> None:
    state = run(start(1), SITE, PLAN_MS)
    before = state.digest()
    assert run(run(state, SITE, PLAN_MS), SITE, T0_MS).digest() == before


def test_a_run_is_half_open() -> None:
    s = make_state(SITE, T0_MS)
    s.agenda.add(T0_MS + 15_000, "cooling_unit", SITE.unit_ids[0], "stop", {"repaired_ms": T0_MS + MINUTE_MS})
    run(s, SITE, T0_MS + 15_000)
    assert s.unit_running[0, 0]
    run(s, SITE, T0_MS + 15_001)
    assert not s.unit_running[0, 0]


@pytest.mark.parametrize("members", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_energy_balance_closes_on_every_step(members: int) -> None:
    s = start(members)
    plenum = SITE.hall_plenum_kj_per_k
    for step in range(1, 241):
        stored, given_kj = stored_heat_kj(plenum, s), (s.heat_in_kj - s.heat_out_kj).copy()
        heat_in = s.heat_in_kj.copy()
        run(s, SITE, T0_MS + step * 15_000 + 1)
        change = stored_heat_kj(plenum, s) - stored
        scale = np.maximum(np.maximum(s.heat_in_kj - heat_in, np.abs(change)), 1.0)
        # cumulated counters carry their own rounding: one part in 1e15 of the total so far
        slack = 1e-9 * scale + 1e-15 * np.maximum(s.heat_in_kj, stored)
        assert (np.abs(change - (s.heat_in_kj - s.heat_out_kj - given_kj)) <= slack).all(), step


def test_the_story_really_happens() -> None:
    s = run(start(4), SITE, END_MS)
    assert (s.node_stops > 0).any()
    assert (s.node_failures > 0).any()
    assert (s.moved_gb > 0).any()
    assert (s.lost_service_s > 0).all()
    dip = run(start(4), SITE, T0_MS + 13 * MINUTE_MS)  # recharged long before the end
    assert (dip.ups_battery_kwh < SITE.ups_battery_kwh).all()
    assert (s.saving_gpu_h > 0).any()
    assert (s.service_late_s > 0).any()
    assert (s.requests_lost > 0).any()


def test_state_holds_only_plain_data() -> None:
    s = run(start(1), SITE, PLAN_MS)
    assert all(type(a) is np.ndarray and a.flags.c_contiguous and a.dtype != object for a in s.arrays.values())
    for e in s.agenda.entries.values():
        assert type(e.due_ms) is int
        assert all(type(v) in (int, float, str) for _, v in e.data)


def test_snapshot_of_another_site_or_damaged_is_refused(tmp_path: Path) -> None:
    path = snapshot.save(make_state(SITE, T0_MS), tmp_path)
    other = make_state(SITE, T0_MS)
    other.site_hash = "0" * 64
    with pytest.raises(SnapshotMismatch, match="site hash"):
        snapshot.load(snapshot.save(other, tmp_path), SITE)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SnapshotMismatch, match="snapshot"):
        snapshot.load(path, SITE)


def test_state_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    state = make_state(SITE, T0_MS)
    state.rack_air_c[0, 0] = np.nan
    with pytest.raises(SnapshotMismatch, match=r"rack_air_c.*not finite"):
        snapshot.load(snapshot.save(state, tmp_path), SITE)
