"""Histories of a gang job: against a plain list of servers lived one by one, and against the peer's figures."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import cli
from plant import faults, lots
from plant.errors import ConfigError
from plant.reliabilityfile import ReliabilityCase, load_case
from twin.reliability import simulate

SMALL = Path(__file__).parent / "data" / "reliability_small.toml"
KEYS = "case members training_min_mean training_min_sd failures_mean cpu_s_per_member"


def lived_one_by_one(case: ReliabilityCase, seed: int) -> tuple[float, int]:
    """Training time [min] and failures of one history: every server an object, every rule of the case as it reads."""
    rng = random.Random(seed)
    f, p, j, r = case.failures, case.pool, case.job, case.repair
    total = p.working + p.spares
    bad = {k: k < int(total * f.lemon_frac) for k in range(total)}
    names = list(bad)
    rng.shuffle(names)
    idle, spares, warm = names[: p.working], names[p.working :], []
    repairs: list[tuple[float, int, bool]] = []
    now, left, failures = 0.0, j.compute_d * 1440.0, 0

    def come_back() -> None:
        for end, server, works in sorted(x for x in repairs if x[0] <= now):
            repairs.remove((end, server, works))
            bad[server] &= not works
            (warm if len(warm) < p.standbys else idle).append(server)

    while left > 0:
        if len(idle) < j.servers:
            while len(idle) < j.servers + p.standbys:
                now = now + p.spare_move_min if spares else max(now, min(repairs)[0])
                idle += [spares.pop(0)] if spares else []
                come_back()
                idle, warm = idle + warm, []
        chosen = rng.sample(idle, min(len(idle), j.servers + p.standbys))
        idle = [s for s in idle if s not in chosen]
        gang, warm = chosen[: j.servers], chosen[j.servers :]
        now += j.host_selection_min
        while True:
            rates = [(f.rate_per_d + bad[s] * f.lemon_extra_per_d) / 1440.0 for s in gang]
            ran = rng.expovariate(sum(rates))
            if ran >= left:
                return now + left, failures
            now, left, failures = now + ran, left - ran, failures + 1
            failed = rng.choices(gang, rates)[0]
            gang.remove(failed)
            manual = rng.random() < r.p_manual
            length = rng.expovariate(1 / r.auto_mean_min) + manual * rng.expovariate(1 / r.manual_mean_min)
            works = rng.random() >= (r.p_manual_fails if manual else r.p_auto_fails)
            repairs.append((now + length, failed, works))
            now += j.recovery_min
            come_back()
            if not warm:
                idle += gang
                break
            gang.append(warm.pop(0))
    raise AssertionError("a job without work")


@pytest.mark.slow
def test_counts_say_what_a_list_of_servers_says():
    case = load_case(SMALL)
    ours = simulate(case, 2500, seed=3)
    plain = np.array([lived_one_by_one(case, seed) for seed in range(300)])
    for found, want in ((ours.training_min, plain[:, 0]), (ours.failures, plain[:, 1])):
        assert stats.ttest_ind(found, want, equal_var=False).pvalue > 0.005
        assert stats.ks_2samp(found, want).pvalue > 0.005
    assert ours.spares_moved.max() == case.pool.spares, "the case walks every branch"


def test_a_member_lives_the_same_alone_and_in_company():
    case = load_case(SMALL)
    few, many = simulate(case, 3, seed=5), simulate(case, 40, seed=5)
    assert all((a == b[:3]).all() for a, b in zip(few, many, strict=True))
    assert (simulate(case, 3, seed=6).training_min != few.training_min).any()


def test_a_job_that_nothing_stops_takes_its_compute_and_one_selection():
    quiet = {"rate_per_d": 1e-9, "lemon_extra_per_d": 0.0, "lemon_frac": 0.0}
    case = load_case(SMALL)
    case = case.model_copy(update={"failures": case.failures.model_copy(update=quiet)})
    found = simulate(case, 8)
    assert (found.training_min == case.job.compute_d * 1440.0 + case.job.host_selection_min).all()
    assert (found.failures == 0).all()


def test_better_repairs_mean_fewer_failures_and_standbys_fewer_selections():
    case = load_case(SMALL)
    better = case.model_copy(update={"repair": case.repair.model_copy(update={"p_manual_fails": 0.0})})
    without = case.model_copy(update={"pool": case.pool.model_copy(update={"standbys": 0})})
    base = simulate(case, 400)
    assert simulate(better, 400).failures.mean() < base.failures.mean() - 0.5
    assert simulate(without, 400).host_selections.mean() > 2 * base.host_selections.mean()


# --- laws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "marked", "handful"), [(4160, 624, 48), (20, 5, 2), (7, 7, 3), (9, 0, 4), (64, 30, 64)])
def test_lots_follow_the_hypergeometric_law(n, marked, handful):
    u = (np.arange(1000) + 0.5) / 1000
    full = np.full(1000, n)
    found = lots.marked_in_handful(full, np.full(1000, marked), np.full(1000, handful), u)
    assert (found == stats.hypergeom(n, marked, handful).ppf(u)).all()


@pytest.mark.parametrize("shape", [0.7, 1.0, 1.5, 3.0])
def test_the_first_of_many_lives_costs_one_draw(shape):
    rng = np.random.default_rng(4)
    rates = np.array([2e-6] * 5 + [9e-6] * 3)
    scale = np.array([faults.weibull_scale_s(1.0 / rate, shape) for rate in rates])
    lives = scale * rng.weibull(shape, (40_000, len(rates)))
    weight = sum(faults.hazard_weight(float(rate), shape) for rate in rates)
    first = faults.first_failure_s(rng.exponential(size=40_000), np.full(40_000, weight), shape)
    assert stats.ks_2samp(first, lives.min(axis=1)).pvalue > 0.01
    assert lives.mean(axis=0) == pytest.approx(1.0 / rates, rel=0.03)


def test_what_cannot_fail_never_does():
    assert faults.first_failure_s(np.ones(1), np.zeros(1), 1.0)[0] == np.inf
    assert faults.hazard_weight(0.0, 2.0) == 0.0


# --- files and shell ----------------------------------------------------------------------------


def test_a_pool_too_small_is_refused(tmp_path):
    file = tmp_path / "poor.toml"
    file.write_text(
        SMALL.read_text().replace("working = 20", "working = 17").replace("p_manual = 0.8", "p_manual = 80")
    )
    with pytest.raises(ConfigError) as refused:
        load_case(file)
    assert "repair.p_manual: is 80; a number, 0..1; looks like percent: write 0.8" in str(refused.value)
    assert len(refused.value.faults) == 2
    file.write_text(SMALL.read_text().replace("working = 20", "working = 17"))
    with pytest.raises(ConfigError, match=r"pool\.working: 17 servers; at least job\.servers \+ pool\.standbys = 18"):
        load_case(file)


def answer(capfd, *args: str) -> dict:
    capfd.readouterr()
    assert cli.answer(["bench", "reliability", *args, "--json"]) == 0
    return json.loads(capfd.readouterr().out)["results"]


def test_the_shell_says_what_the_contract_asks(capfd):
    found = answer(capfd, "--case", str(SMALL), "--members", "20")
    assert found.keys() >= set(KEYS.split())
    assert "peer" not in found


def test_the_young_gang_agrees_with_the_peer(capfd):
    found = answer(capfd, "--case", "airesim-short-weibull", "--members", "300")
    assert found["agrees"]
    assert found["times_faster"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("case", ["airesim-short", "airesim-default"])
def test_the_long_gangs_agree_with_the_peer(capfd, case):
    found = answer(capfd, "--case", case)
    assert found["members"] >= 30
    for row in found["difference"].values():
        assert row["agrees"]
        assert abs(row["rel"]) <= 0.01
    assert found["times_faster"] > 10
