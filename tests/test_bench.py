"""Benchmarks: the keys of the contracts, on work small enough for every run; budgets belong to `make bench`."""

from __future__ import annotations

import json
import time

import pytest

import cli
from plant.site import load_site
from verbs import bench_rehearse, bench_scene
from verbs.meter import Meter, cpu_s

TWIN = "nodes members sim_s step_s jobs_in jobs_done cpu_s wall_s peak_rss_mb sim_s_per_cpu_s energy_balance_rel"
FORK = "nodes members fork_ms state_bytes bit_identical"
REHEARSE = "case plans members horizon_s step_s nodes workers wall_s cpu_s"


def results(capfd, *args: str) -> dict:
    capfd.readouterr()
    assert cli.answer([*args, "--json"]) == 0
    return json.loads(capfd.readouterr().out)["results"]


def test_twin_lives_and_balances(capfd):
    found = results(capfd, "bench", "twin", "--case", "small")
    assert found.keys() >= set(TWIN.split())
    assert (found["nodes"], found["sim_s"], found["step_s"]) == (32, 21_600, 15.0)
    assert 0 < found["jobs_done"] <= found["jobs_in"]
    assert found["energy_balance_rel"] < 1e-9
    assert found["cpu_s"] > 0
    assert found["sim_s_per_cpu_s"] == pytest.approx(found["sim_s"] / found["cpu_s"])


def test_fork_continues_bit_for_bit(capfd):
    found = results(capfd, "bench", "fork", "--members", "2")
    assert found.keys() >= set(FORK.split())
    assert found["bit_identical"] is True
    assert found["state_bytes"] > 0


@pytest.mark.slow
def test_rehearsal_has_eight_plans_of_the_promised_size(capfd):
    found = results(capfd, "bench", "rehearse", "--members", "2", "--workers", "1")
    assert found.keys() >= set(REHEARSE.split())
    assert (found["plans"], found["members"], found["workers"]) == (8, 2, 1)
    assert (found["horizon_s"], found["step_s"], found["nodes"]) == (1800.0, 10.0, 1002)
    assert len(set(found["labels"])) == 8


def test_the_scene_is_busy_and_its_plans_differ():
    site, state = bench_scene.busy("hall", 1, 0)
    # within a few nodes of what was asked for: the jobs are whole
    assert (state.slot_node >= 0).sum() > 0.3 * len(site.node_ids)
    ids = [plan.id for plan in bench_rehearse.candidates(site, state.digest(), state.now_ms)]
    assert len(set(ids)) == 8


def test_the_meter_counts_work_and_not_waiting():
    meter = Meter()
    time.sleep(0.2)
    slept = meter.read()
    assert slept["wall_s"] >= 0.2
    assert slept["cpu_s"] < 0.15
    until_s = time.process_time() + 0.1
    while time.process_time() < until_s:
        pass
    assert meter.read()["cpu_s"] >= slept["cpu_s"] + 0.09


def test_the_meter_sees_children_alive_and_gone():
    import subprocess
    import sys

    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    before_s = cpu_s()
    with subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert cpu_s() - before_s >= 0.28
        child.communicate(b"\n")
    assert cpu_s() - before_s >= 0.28


def test_a_day_takes_only_jobs_that_fit():
    site = load_site("tiny")
    assert bench_scene.day(site, 1, 0).jobs.width.max() <= len(site.node_ids)
