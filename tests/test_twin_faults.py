"""How nodes fail, warn and come back in the twin: rates and repairs of a real log, crews, parts, lemons, stories."""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np
import pytest
from twin_stories import DATA, MINUTE_MS, T0_MS, some_jobs, tiny

from plant import faultfit, faultlog
from plant.faultlog import FaultLog
from plant.incident import ResolvedCause, ResolvedIncident, ResolvedRepair
from plant.site import Site, load_site
from twin import snapshot, story
from twin.derived import Derived
from twin.engine import run
from twin.ensemble import make_state
from twin.jobs import EMPTY, RESTARTING, RUNNING, Jobs
from twin.layout import layout_of
from twin.node_faults import severity
from twin.node_hazard import rack_rate_per_s
from twin.node_lives import cross_nodes
from twin.nodephase import FAILED, HEALTHY, NEVER_MS, ON
from twin.state import State

TINY = (DATA / "sites" / "tiny.toml").read_text(encoding="utf-8")


def site_with(folder, table: str, *changes: tuple[str, str]) -> Site:
    """The tiny site with a [faults] table and other changes."""
    text = TINY + "\n[faults]\n" + table
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / "some.toml"
    file.write_text(text)
    return load_site(file)


def cluster(folder, table: str = "ai-cluster", per_rack: int = 35, age_d: float = 556.0, gpus: int = 8) -> Site:
    """Eight racks of equal nodes, at rest under the temperature and load at which the rates of the table hold."""
    more = [(f'nodes = "n[{a}]"\nnodes_per_rack = 4', f'nodes = "n[{b:04d}-{b + 2 * per_rack - 1:04d}]"\n'
             f'nodes_per_rack = {per_rack}') for a, b in (("01-08", 1), ("09-16", 1 + 2 * per_rack))]  # fmt: skip
    # small ones, so that the tiny plant still carries them
    less = [("peak_kw = 4.0", "peak_kw = 0.07"), ("idle_kw = 0.8", "idle_kw = 0.01"), ("gpus = 0", f"gpus = {gpus}"),
            ("peak_kw = 0.8", "peak_kw = 0.07"), ("idle_kw = 0.25", "idle_kw = 0.01"), ("gpus = 8", f"gpus = {gpus}"),
            ("psu_rated_kw = 0.9", "psu_rated_kw = 0.1"), ("psu_rated_kw = 2.2", "psu_rated_kw = 0.1")]  # fmt: skip
    site = site_with(folder, f'table = "{table}"\nage_d = {age_d}', *more, *less)
    return dataclasses.replace(site, faults=dataclasses.replace(site.faults, load_frac=0.0))


def lived(site: Site, members: int, seed: int, days: float, step_s: float) -> list[FaultLog]:
    """One log per member: only the lives of nodes go on, so that a year takes seconds."""
    s = make_state(site, T0_MS, members=members, seed=seed)
    d = Derived(site, s, layout_of(site))
    rows: list[tuple[int, int, int, float, float]] = []
    was = s.node_phase == FAILED
    count = s.node_failures.sum()
    for _ in range(int(days * 86_400.0 / step_s)):
        s.grid_ms += int(step_s * 1000)
        d.refresh()
        cross_nodes(d, step_s)
        if s.node_failures.sum() != count:
            count = s.node_failures.sum()
            row, node = np.nonzero((s.node_phase == FAILED) & ~was)
            hours = (s.node_until_ms[row, node] - s.grid_ms) / 3.6e6
            when = np.full(len(row), (s.grid_ms - T0_MS) / 8.64e7)
            rows += zip(row, node, s.node_fault[row, node], when, hours, strict=True)
        was = s.node_phase == FAILED
    names = np.array(site.faults.kinds)
    table = np.array(rows)
    logs = []
    for m in range(members):
        _, node, kind, when, hours = table[table[:, 0] == m].T
        logs.append(faultlog.make_log("lived", s.node_phase.shape[1], days, names[kind.astype(int)], node, when, hours))
    return logs


def check_against(log: FaultLog, lives: list[FaultLog]) -> int:
    """Rates of every kind lie in the 95 % interval of the data, repair quantiles agree; returns how many were seen.

    A few lives have quantiles of their own: their intervals must overlap. The law itself is held in the interval by
    tests/test_plant_faultfit.py.
    """
    years = sum(each.nodes * each.days for each in lives) / 365.25
    looked = 0
    for kind in log.kinds():
        rate = sum(each.of(kind).sum() for each in lives) / years
        interval = faultfit.rate_interval(log, kind)
        assert interval.holds(rate), (kind, rate, interval)
        looked += 1
        if log.of(kind).sum() >= faultfit.FEW:
            found, want = (faultfit.repair_intervals(each, kind) for each in (joined(lives), log))
            for q, span in want.items():
                assert found[q].low <= span.high, (kind, q, found[q], span)
                assert span.low <= found[q].high, (kind, q, found[q], span)
                looked += 1
    return looked


def joined(lives: list[FaultLog]) -> FaultLog:
    """All repairs of several lives."""
    kind, hours = (np.concatenate([getattr(each, name) for each in lives]) for name in ("kind", "repair_h"))
    return lives[0]._replace(kind=kind, repair_h=hours)


def worst_tenth_frac(log: FaultLog) -> float:
    return faultfit.worst_share(np.bincount(log.node, minlength=log.nodes)[None, :].astype(float))


def again_frac(log: FaultLog) -> float:
    return float((log.gap_d() < faultlog.AGAIN_D).sum() / len(log.node))


def shared_frac(log: FaultLog) -> float:
    return float(np.isin(log.groups(), np.flatnonzero(np.bincount(log.groups()) > 1)).mean())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_cluster_lives_as_the_real_one_did(shared_data, tmp_path, seed):
    log = faultlog.gpu_cluster(shared_data / "gpu_cluster_faults")
    lives = lived(cluster(tmp_path), 10, seed, log.days, 1800.0)
    assert check_against(log, lives) >= 40
    # what the laws add up to: faults heap up on few nodes, come again, and come together
    assert np.mean([worst_tenth_frac(each) for each in lives]) == pytest.approx(worst_tenth_frac(log), abs=0.06)
    assert np.mean([again_frac(each) for each in lives]) == pytest.approx(again_frac(log), abs=0.05)
    assert np.mean([shared_frac(each) for each in lives]) == pytest.approx(shared_frac(log), abs=0.07)


@pytest.mark.slow
def test_a_thousand_nodes_live_as_those_of_los_alamos_did(shared_data, tmp_path):
    log = faultlog.lanl(shared_data / "lanl_node_failures")
    site = cluster(tmp_path, "hpc-cluster", 128, 119.0, 0)
    assert len(site.node_ids) == log.nodes
    assert check_against(log, lived(site, 2, 1, log.days, 3600.0)) >= 45


def test_a_cluster_fails_as_often_as_the_real_one(tmp_path):
    lives = lived(cluster(tmp_path), 4, 5, 60.0, 7200.0)
    per_day = sum(len(each.node) for each in lives) / sum(each.nodes * each.days for each in lives) * 1000.0
    assert 3.3 < per_day < 5.1  # 4.18 per 1,000 node-days; faults of one node hang together
    hours = np.concatenate([each.repair_h for each in lives])
    assert 12.0 < np.median(hours) < 32.0
    assert {"gpu", "gpu_memory", "fan", "psu", "nic", "link"} <= set(np.concatenate([each.kind for each in lives]))


# --- the laws inside the twin ---------------------------------------------------------------------


def test_heat_and_load_speed_up_what_wears_under_them(tmp_path):
    site = tiny()
    s = make_state(site, T0_MS)
    d = Derived(site, s, layout_of(site))
    cool = rack_rate_per_s(d)
    s.rack_inlet_c[...] += 10.0
    warm = rack_rate_per_s(d)
    d.util_frac[...] = 1.0
    busy = rack_rate_per_s(d)
    gpu = int(site.node_rack[next(i for i, n in enumerate(site.node_gpus) if n)])
    assert (warm / cool > 1.0).all()
    assert (warm / cool < 2.0).all(), "software and cables do not care"
    assert (busy > warm).all()
    assert cool[0, gpu] > cool[0, 0], "a node of eight GPUs fails more often than one of none"
    assert warm[0, gpu] / cool[0, gpu] > warm[0, 0] / cool[0, 0]


def test_old_fans_fail_more_often(tmp_path):
    old, young = (site_with(tmp_path, f"age_d = {days}") for days in (3000, 300))
    rates = []
    for site in (young, old):
        s = make_state(site, T0_MS)
        rates.append(rack_rate_per_s(Derived(site, s, layout_of(site))))
    assert (rates[1] > rates[0]).all()


def test_lemons_fail_more_often_by_their_factor(tmp_path):
    site = tiny()
    s = make_state(site, T0_MS, members=400, seed=2)
    assert s.node_lemon.mean() == pytest.approx(site.faults.lemon_frac, abs=0.01)
    healthy = s.node_fault == HEALTHY
    good, lemon = (s.node_fails_at[healthy & flag].mean() for flag in (~s.node_lemon, s.node_lemon))
    assert good / lemon == pytest.approx(site.faults.lemon_factor, rel=0.1)


def test_signs_grow_until_the_fault_strikes(tmp_path):
    site = tiny()
    s = make_state(site, T0_MS, members=40, seed=4)
    s.node_fails_at[s.node_fault == HEALTHY] *= 1e-4
    seen = np.zeros(s.node_phase.shape)
    warned = watched = grown = 0
    for _ in range(24):
        live(site, s, 1.0, 600.0)
        now = severity(site, s)
        assert ((now >= 0.0) & (now <= 1.0)).all()
        assert (now[s.node_phase != ON] == 0.0).all()
        still = (seen > 0.0) & (now > 0.0)
        warned += int((seen > 0.0)[s.node_phase == FAILED].sum())
        grown += int((now[still] >= seen[still]).sum())
        watched += int(still.sum())
        seen = np.where(s.node_phase == FAILED, 0.0, now)
    assert s.node_failures.sum() > 100
    assert warned > 20
    assert grown > 0.95 * watched > 0.0, "only a repair that failed starts signs anew"


def test_a_fleet_is_not_born_today():
    site = tiny()
    s = make_state(site, T0_MS, members=2000, seed=1)
    ill = s.node_fault >= 0
    assert 0.002 < ill.mean() < 0.02  # fans warn for a month, supplies for days
    assert (s.node_onset_ms[ill] <= T0_MS).all()
    assert (s.node_fault_ms[ill] >= T0_MS).all()
    assert (s.node_fails_at[ill] > 1e200).all()


# --- crews, parts, shared causes ------------------------------------------------------------------


def live(site: Site, s: State, hours: float, step_s: float = 300.0) -> State:
    """Only the lives of nodes go on, as on the grid of a run."""
    d = Derived(site, s, layout_of(site))
    for _ in range(round(hours * 3600.0 / step_s)):
        s.grid_ms += int(step_s * 1000)
        d.refresh()
        cross_nodes(d, step_s)
    return s


def quiet(s: State) -> State:
    """Nothing fails by itself."""
    s.node_fails_at[...], s.node_fault[...] = 1e9, HEALTHY
    s.node_until_ms[...] = s.node_fault_ms[...] = s.node_onset_ms[...] = NEVER_MS
    return s


def crisis_of(site: Site, members: int, seed: int = 3, jobs: Jobs = EMPTY) -> State:
    """Many faults within hours."""
    s = make_state(site, T0_MS, jobs=jobs, members=members, seed=seed)
    s.node_fails_at[s.node_fault == HEALTHY] *= 3e-5
    return s


def test_no_more_repairs_than_crews_and_the_longest_waiting_first(tmp_path):
    site = site_with(tmp_path, "crews = 2")
    s = crisis_of(site, 8)
    waited = 0
    for _ in range(24):
        before = np.where((s.node_phase == FAILED) & (s.node_until_ms == NEVER_MS), s.node_fault_ms, NEVER_MS)
        live(site, s, 0.5)
        failed = s.node_phase == FAILED
        assert ((failed & (s.node_until_ms != NEVER_MS)).sum(axis=1) <= 2).all()
        started = (before != NEVER_MS) & failed & (s.node_until_ms != NEVER_MS)
        left = (before != NEVER_MS) & failed & (s.node_until_ms == NEVER_MS)
        for row in np.flatnonzero(started.any(axis=1) & left.any(axis=1)):
            assert before[row][started[row]].max() <= before[row][left[row]].min()
        waited += int(left.sum())
    assert waited > 50, "some had to wait"


def test_repairs_wait_for_parts_and_deliveries_bring_them(tmp_path):
    site = site_with(tmp_path, "spares = 1\nrestock_d = 0.25")
    s = crisis_of(site, 8)
    assert s.part_back_ms.shape == (8, len(site.faults.kinds))
    live(site, s, 3.0)
    waiting = (s.node_phase == FAILED) & (s.node_until_ms == NEVER_MS)
    assert waiting.any()
    row, node = np.nonzero(waiting)
    assert site.faults.needs_part[s.node_fault[row, node]].all(), "software waits for nothing"
    assert (s.part_back_ms[row, s.node_fault[row, node]] > s.grid_ms).all(), "nobody waits beside a part"
    longest = s.node_fault_ms[waiting].min()
    live(site, s, 45.0)
    still = (s.node_phase == FAILED) & (s.node_until_ms == NEVER_MS)
    assert not (still & (s.node_fault_ms == longest)).any()


@pytest.mark.parametrize("kept", [0, 1])
def test_a_standby_takes_the_job_of_a_node_that_fails(tmp_path, kept):
    site = site_with(tmp_path, f"standbys = {kept}")
    s = quiet(make_state(site, T0_MS, jobs=some_jobs(200), members=2))  # more than there is room for
    run(s, site, T0_MS + 20 * MINUTE_MS)
    d = Derived(site, s, layout_of(site))
    assert s.node_standby.sum() == 2 * 4 * kept, "two halls, two types"
    assert (d.used_frac[s.node_standby] == 0.0).all()
    whole = np.flatnonzero((s.job_phase[0] == RUNNING) & (s.jobs.share_frac == 1.0) & (s.jobs.gpus > 0.0))
    job, others = int(whole[0]), s.node_standby[0].copy()
    node = int(s.slot_node[0, s.jobs.slot_start[job]])
    data = {"repaired_ms": T0_MS + 40 * MINUTE_MS}
    s.agenda.add(T0_MS + 21 * MINUTE_MS, "node", site.node_ids[node], "fail", data, (0,))
    run(s, site, T0_MS + 21 * MINUTE_MS + 31_000)
    again = s.job_phase[0, job] in (RESTARTING, RUNNING)
    assert again == bool(kept), "without a standby it waits, for the site is full"
    assert others.sum() - s.node_standby[0].sum() == kept
    assert s.node_standby[1].sum() == others.sum(), "only where the node failed"
    run(s, site, T0_MS + 41 * MINUTE_MS)
    assert s.node_standby[0].sum() == others.sum(), "the repaired node is kept in its place"


def test_without_limits_nobody_waits(tmp_path):
    site = tiny()
    s = crisis_of(site, 8)
    live(site, s, 3.0)
    assert s.node_failures.sum() > 50
    assert not ((s.node_phase == FAILED) & (s.node_until_ms == NEVER_MS)).any()


def test_a_shared_cause_strikes_neighbours_in_the_same_rack_at_once(tmp_path):
    site = tiny()
    laws = dataclasses.replace(
        site.faults, beta=np.ones(len(site.faults.kinds)), struck_mean=np.full(len(site.faults.kinds), 3.0)
    )
    s = make_state(site, T0_MS, members=4)
    quiet(s)
    first = site.rack_start[:-1]
    s.node_fails_at[:, first] = 0.0
    live(dataclasses.replace(site, faults=laws), s, 1.0 / 60.0, 60.0)
    assert (s.node_phase == FAILED).all(), "racks of four, three struck on average: all of them"
    assert (s.node_fault == s.node_fault[:, first].repeat(4, axis=1)).all(), "of the same kind"
    assert (s.node_fault_ms == s.grid_ms).all()


def test_a_repair_that_fails_brings_the_same_fault_again(tmp_path):
    site = tiny()
    laws = dataclasses.replace(site.faults, p_repair_fails=1.0, return_median_s=600.0, return_sigma=0.1, p_cure=1.0)
    site = dataclasses.replace(site, faults=laws)
    s = crisis_of(site, 4)
    live(site, s, 1.0)
    once = s.node_fault.copy()
    was = s.node_failures.copy()
    s.node_fails_at[s.node_fails_at < 1e200] = 1e9
    live(site, s, 23.0)
    again = once >= 0
    assert (s.node_fault[again] == once[again]).all()
    assert (s.node_failures > was + 3).all()
    assert (s.node_episode[again] > 0).any()


def test_a_repair_that_works_cures_a_lemon(tmp_path):
    site = tiny()
    for p_cure in (0.0, 1.0):
        laws = dataclasses.replace(site.faults, p_repair_fails=0.0, p_cure=p_cure, lemon_frac=0.5)
        place = dataclasses.replace(site, faults=laws)
        s = crisis_of(place, 8)
        lemon = s.node_lemon.copy()
        live(place, s, 24.0)
        renewed = lemon & (s.node_episode > 0)
        assert renewed.sum() > 10
        assert s.node_lemon[renewed].mean() == 1.0 - p_cure


# --- the law of the house, and stories ------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "table",
    ["crews = 1", "crews = 2\nspares = 1\nrestock_d = 0.05\nstandbys = 1"],
)
def test_runs_split_anywhere_are_one_run(tmp_path, table):
    site = site_with(tmp_path, table)
    end_ms = T0_MS + 70 * MINUTE_MS
    whole = run(crisis_of(site, 2, jobs=some_jobs()), site, end_ms)
    assert whole.node_failures.sum() > 10
    parts = crisis_of(site, 2, jobs=some_jobs())
    for at_ms in (T0_MS + 59_999, T0_MS + 60_000, T0_MS + 61 * MINUTE_MS + 7):
        parts = snapshot.load(snapshot.save(run(parts, site, at_ms), tmp_path / str(at_ms)), site)
    assert run(parts, site, end_ms).digest() == whole.digest()
    alone = run(crisis_of(site, 2, jobs=some_jobs()).rows([1]), site, end_ms)
    assert (alone.node_fault_ms[0] == whole.node_fault_ms[1]).all()


def told(site: Site, onset_min: float, at_min: float, back_min: float) -> ResolvedIncident:
    at = datetime.datetime.fromtimestamp(T0_MS / 1000.0, datetime.UTC)
    node = (site.node_ids[3],)
    cause = ResolvedCause("dies", "node_fails", node, at_min, 1.0, "", onset_min, "linear")
    return ResolvedIncident("test", at, "", (cause,), (ResolvedRepair(node, back_min, "replaced", "dies"),), ())


def test_a_node_of_a_story_warns_fails_and_is_back(tmp_path):
    site = tiny()
    s = quiet(make_state(site, T0_MS, jobs=some_jobs(), members=2))
    story.write(s, site, told(site, 5.0, 20.0, 50.0))
    run(s, site, T0_MS + 4 * MINUTE_MS)
    assert (severity(site, s) == 0.0).all()
    run(s, site, T0_MS + 15 * MINUTE_MS)
    assert (severity(site, s)[:, 3] > 0.0).all()
    assert (s.node_phase[:, 3] == ON).all()
    run(s, site, T0_MS + 21 * MINUTE_MS)
    assert (s.node_phase[:, 3] == FAILED).all()
    assert (s.node_failures == 1).all()
    run(s, site, T0_MS + 49 * MINUTE_MS)
    assert (s.node_phase[:, 3] == FAILED).all()
    run(s, site, T0_MS + 51 * MINUTE_MS)
    assert (s.node_phase[:, 3] == ON).all()
    assert (s.node_episode[:, 3] == 1).all()
    assert (s.node_fails_at[:, 3] < 1e9).all(), "a new life has begun"
