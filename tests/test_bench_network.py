"""The benchmarks of the network and of growth: keys of the contracts, on work small enough for every run."""

from __future__ import annotations

import json

import numpy as np
import pytest

import cli
from plant.files import DATA
from plant.site import load_site
from plant.sitebuild import compile_site, read_site_file
from verbs import bench_growth, bench_network


def test_network_has_the_keys_of_the_contract(capfd):
    capfd.readouterr()
    assert cli.answer(["bench", "network", "--hours", "1", "--tries", "1", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)["results"]
    assert (found["nodes"], found["sim_s"], found["links"], found["switches"]) == (792, 3600, 178, 52)
    assert found["faults"] > 0
    assert found["ratio"] == pytest.approx(found["cpu_s"] / found["cpu_s_without"])


def test_growth_has_the_keys_of_the_contract():
    found = bench_growth.run(sizes=(100, 1000, 2000), tries=1, node_steps=60_000)
    assert [row["nodes"] for row in found["rows"]] == [100, 1000, 2000]
    for row in found["rows"]:
        assert row["jobs_running"] > 0
        assert row["ns_per_node_step"] == pytest.approx(row["step_ms"] * 1e6 / row["nodes"])
    late = [row["ns_per_node_step"] for row in found["rows"][1:]]
    assert found["worst_ratio"] == pytest.approx(max(late) / late[0])
    assert found["step_ms_100"] == found["rows"][0]["step_ms"]


@pytest.mark.parametrize("nodes", [100, 1000, 3000])
def test_made_up_sites_have_their_size_and_are_sound(nodes):
    site = compile_site(bench_growth.site_file(nodes))
    assert len(site.node_ids) == nodes
    assert site.network.present
    assert len(site.hall_ids) == -(-nodes // bench_growth.HALL_NODES)


def test_both_runs_have_the_same_jobs_and_a_hall_of_their_own():
    site = load_site("fabric")
    bare = compile_site(read_site_file(DATA / "sites" / "fabric.toml").model_copy(update={"network": ()}))
    one, other = (bench_network.jobs(each, 0, 7200) for each in (site, bare))
    assert one.digest() == other.digest()
    assert set(np.unique(one.home)) == {0, 1}
    assert (one.net_gb_per_s > 0.0).all()
