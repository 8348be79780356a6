"""Real traces as jobs of a site: read by their columns, scaled to its nodes, the same every time, and lived by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from twin_stories import T0_MS, tiny

from plant.errors import TelemetryError
from plant.jobsample import read_sample
from plant.site import load_site
from plant.workload import JOB_CLASSES
from twin import jobs as J
from twin.engine import run
from twin.ensemble import make_state
from twin.jobfile import jobs_of
from twin.tracefile import read_rates, read_swing, read_trace
from twin.tracejobs import site_jobs

SITE = tiny()
HOUR_S = 3600.0


def made_up(folder: Path, count: int = 6000) -> Path:
    """A trace of our own in the layout of the re-sampled ones: 60 days, half an hour to five hours a job."""
    rng = np.random.default_rng(2)
    table = {
        "arrival_time": np.sort(rng.uniform(0.0, 1440.0, count)),
        "length": rng.uniform(0.5, 5.0, count),
        "cpus": rng.choice([1, 4, 16, 96, 200], count),
    }
    path = folder / "made_up.parquet"
    pq.write_table(pa.table(table), path)
    return path


def mean_nodes(rows, with_gpus: bool, hours: float) -> float:
    """Nodes that these jobs keep at work on average within the window."""
    kept = [r for r in rows if (r.gpus > 0) == with_gpus]
    inside = [min(r.arrival_s + r.run_s, hours * HOUR_S) - r.arrival_s for r in kept]
    return sum(r.width_nodes * r.share_frac * s for r, s in zip(kept, inside, strict=True)) / (hours * HOUR_S)


@pytest.mark.parametrize("busy_frac", [0.3, 0.8])
def test_a_trace_is_scaled_to_the_nodes_of_the_site(tmp_path, busy_frac):
    rows = site_jobs(read_trace(made_up(tmp_path)), SITE, hours=240.0, busy_frac=busy_frac)
    for with_gpus in (False, True):
        nodes = int(((SITE.node_gpus > 0) == with_gpus).sum())
        assert mean_nodes(rows, with_gpus, 240.0) == pytest.approx(busy_frac * nodes, rel=0.15)


def test_jobs_fit_the_site_and_stand_in_order_of_arrival(tmp_path):
    rows = site_jobs(read_trace(made_up(tmp_path)), SITE, hours=48.0, from_h=30.0)
    assert [r.arrival_s for r in rows] == sorted(r.arrival_s for r in rows)
    assert len({r.id for r in rows}) == len(rows)
    assert {r.job_class for r in rows} <= {c.name for c in JOB_CLASSES}
    gpu_nodes = int((SITE.node_gpus > 0).sum())
    for r in rows:
        assert 0.0 <= r.arrival_s < 48.0 * HOUR_S
        assert r.run_s >= 60.0
        assert 1 <= r.width_nodes <= len(SITE.node_ids)
        assert 0.0 < r.share_frac <= 1.0
        assert r.gpus <= r.width_nodes * int(SITE.node_gpus.max())
        assert not r.gpus or r.width_nodes <= gpu_nodes


def test_work_in_progress_arrives_at_once_with_what_it_still_has_to_do(tmp_path):
    trace = read_trace(made_up(tmp_path))
    rows = site_jobs(trace, SITE, hours=24.0, from_h=100.0)
    at_once = [r for r in rows if r.arrival_s == 0.0]
    assert at_once
    for r in at_once:
        whole_s = float(trace.run_s[int(r.id.split("-")[1])])
        assert r.run_s < whole_s


def test_the_same_trace_gives_the_same_jobs_and_another_seed_others(tmp_path):
    path = made_up(tmp_path)
    one, same, other = (site_jobs(read_trace(path), SITE, hours=24.0, seed=s) for s in (3, 3, 4))
    assert one == same
    assert one != other


def test_a_site_without_accelerators_runs_everything_on_its_processors(tmp_path):
    plain = replace(SITE, node_gpus=np.zeros_like(SITE.node_gpus))
    rows = site_jobs(read_trace(made_up(tmp_path)), plain, hours=240.0, busy_frac=0.5)
    assert {r.job_class for r in rows} == {"big_data", "scientific", "web"}
    assert not any(r.gpus for r in rows)
    assert mean_nodes(rows, False, 240.0) == pytest.approx(0.5 * len(SITE.node_ids), rel=0.15)


def test_the_twin_lives_on_a_trace(tmp_path):
    rows = site_jobs(read_trace(made_up(tmp_path)), SITE, hours=6.0, busy_frac=0.6)
    state = run(make_state(SITE, T0_MS, jobs=jobs_of(rows, T0_MS)), SITE, T0_MS + 6 * 3600 * 1000)
    assert (state.job_phase == J.DONE).sum() > 3
    assert (state.job_phase == J.RUNNING).any()


@pytest.mark.parametrize(
    "table, found",
    [({"when": [1.0], "cpus": [2]}, "columns when, cpus"), (None, "Parquet")],
)
def test_what_is_no_trace_is_refused_with_what_would_be_one(tmp_path, table, found):
    path = tmp_path / "wrong.parquet"
    if table is None:
        path.write_text("arrival_time,length,cpus\n")
    else:
        pq.write_table(pa.table(table), path)
    for read in (read_trace, read_rates):
        with pytest.raises(TelemetryError, match=found):
            read(path)
    with pytest.raises(TelemetryError, match="no such file"):
        read_trace(tmp_path / "absent.parquet")


def test_requests_become_a_rate(tmp_path):
    at = np.array([0, 10, 20, 70, 130, 185], dtype="int64") * 1_000_000_000
    path = tmp_path / "llm.parquet"
    pq.write_table(pa.table({"time": pa.array(at, pa.timestamp("ns")), "context_tokens": [1] * 6}), path)
    assert read_rates(path, 60.0) == pytest.approx(np.array([3, 1, 1]) / 60.0)


def test_the_verb_writes_a_table_that_the_benchmark_lives_on(tmp_path, capfd):
    import json

    import cli

    path, out = made_up(tmp_path), tmp_path / "jobs.csv"
    assert cli.answer(["jobs", "import", str(path), "--site", "tiny", "--hours", "6", "--out", str(out), "--json"]) == 0
    made = json.loads(capfd.readouterr().out)["results"]
    assert made["ok"]
    assert made["path"] == str(out)
    assert sum(item["jobs"] for item in made["items"]) == made["jobs"] == len(read_sample(out))
    for jobs in (out, path):
        assert cli.answer(["bench", "twin", "--case", "small", "--jobs", str(jobs), "--json"]) == 0
        lived = json.loads(capfd.readouterr().out)["results"]
        assert lived["jobs_in"] > 10
        assert lived["energy_balance_rel"] < 1e-9
    assert cli.answer(["jobs", "import", str(path), "--out", str(tmp_path / "no" / "jobs.csv")]) == 2


def test_services_follow_a_trace_of_requests(tmp_path, capfd):
    import json

    import cli

    path = tmp_path / "rates.parquet"
    pq.write_table(pa.table({"requests": [1.0, 9.0, 2.0]}), path)
    factor, step_s = read_swing(path)
    assert (factor.tolist(), step_s) == ([0.25, 2.25, 0.5], 3600.0)
    found = {}
    for asked in ((), ("--requests", str(path))):
        assert cli.answer(["bench", "twin", "--case", "small", *asked, "--json"]) == 0
        found[bool(asked)] = json.loads(capfd.readouterr().out)["results"]
    assert found[True]["services"] == found[False]["services"] > 0
    assert found[True]["requests_lost"] > found[False]["requests_lost"]
    assert found[True]["service_late_min"] > found[False]["service_late_min"]


# --- the real traces, where they are ----------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "jobs_azure_vm_100k",
        pytest.param("jobs_alibaba_pai_100k", marks=pytest.mark.slow),
        pytest.param("alibaba_gpu2023_openb_pods", marks=pytest.mark.slow),
    ],
)
def test_a_day_of_a_real_trace_fits_a_hall(shared_data, name):
    site = load_site("hall")
    trace = read_trace(shared_data / "workload" / f"{name}.parquet")
    rows = site_jobs(trace, site, hours=24.0, from_h=48.0, busy_frac=0.65)
    jobs = jobs_of(rows, T0_MS)
    assert len(jobs) > 100
    assert set(jobs.kinds) <= {c.name for c in JOB_CLASSES}
    nodes = int((site.node_gpus > 0).sum()) if "openb" in name else int((site.node_gpus == 0).sum())
    busy = mean_nodes(rows, "openb" in name, 24.0) / nodes
    assert 0.15 < busy < 1.6  # real load comes in waves; only its long-run mean is scaled


def test_real_request_rates(shared_data):
    conv = read_rates(shared_data / "workload" / "azure_llm_2023_conv.parquet")
    assert conv.mean() == pytest.approx(19366 / 3600.0, rel=0.05)
    wiki = read_rates(shared_data / "workload" / "wikipedia_de_hourly.parquet")
    assert wiki.mean() == pytest.approx(1.0)
    assert len(wiki) == 8760
    factor, step_s = read_swing(shared_data / "workload" / "azure_llm_2023_code.parquet")
    assert (factor.mean(), step_s) == (pytest.approx(1.0), 60.0)
    assert factor.max() > 1.5  # real requests come in bursts
