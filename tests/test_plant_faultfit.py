"""Fault files are what the real logs say: fitted again here, and inside the intervals of the data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from plant import faultfit, faultlog
from plant.faultbuild import compile_faults
from plant.faultfile import FaultsTable, load_faults
from plant.faultlog import FaultLog
from plant.repair import length_s

SOURCES = {
    "ai-cluster": ("gpu_cluster_faults", faultlog.gpu_cluster),
    "hpc-cluster": ("lanl_node_failures", faultlog.lanl),
}
GPUS = {"ai-cluster": 8, "hpc-cluster": 0}


@pytest.fixture(scope="module", params=["ai-cluster", pytest.param("hpc-cluster", marks=pytest.mark.slow)])
def case(request, shared_data) -> tuple[str, FaultLog]:
    folder, read = SOURCES[request.param]
    return request.param, read(shared_data / folder)


def test_shipped_figures_are_the_fitted_ones(case):
    name, log = case
    file, want = load_faults(name), faultfit.figures(faultfit.fit(log))
    repeat = want.pop("repeat")
    assert {key: getattr(file.repeat, key) for key in repeat} == repeat
    assert [k.id for k in file.kind] == list(want)
    for k in file.kind:
        row = want[k.id]
        gpus = GPUS[name] if k.per_gpu else 1
        assert k.rate_per_y * gpus == pytest.approx(row["rate_per_y"], rel=1e-3), k.id
        assert (k.beta, k.struck_mean) == (row["beta"], row["struck_mean"]), k.id
        assert [stage.model_dump() for stage in k.repair] == row["repair"], k.id
        assert k.source.startswith(f"{row['faults']} faults of {log.name}")


def test_repair_quantiles_lie_in_the_interval_of_the_data(case):
    name, log = case
    laws = compile_faults(FaultsTable(table=name), load_faults(name), [GPUS[name]])
    checked = 0
    for seed in (1, 2, 3):
        rng = np.random.default_rng(seed)
        for k, kind in enumerate(laws.kinds):
            if log.of(kind).sum() < faultfit.FEW:
                continue  # of fewer repairs a bootstrap only draws the same few again
            drawn = length_s(laws, np.full(30_000, k), rng.random(30_000), rng.normal(size=30_000)) / 3600.0
            for q, interval in faultfit.repair_intervals(log, kind).items():
                assert interval.holds(float(np.quantile(drawn, q))), (kind, q, interval)
                checked += 1
    assert checked >= 3 * 4 * 7


def test_the_logs_are_what_the_notes_say(shared_data):
    log = faultlog.gpu_cluster(shared_data / "gpu_cluster_faults")
    counts = {kind: int(log.of(kind).sum()) for kind in log.kinds()}
    assert counts["gpu"] + counts["gpu_memory"] == 121
    assert [counts[k] for k in ("link", "fan", "nic", "psu")] == [31, 22, 17, 18]
    assert (log.gap_d() < faultlog.AGAIN_D).sum() == 137
    per_day = len(log.node) / log.nodes / log.days * 1000.0
    assert per_day == pytest.approx(4.18, abs=0.01)


# --- the fit on logs whose truth is known ---------------------------------------------------------


def invented(seed: int, p_fails: float, factor: float, nodes: int = 1500, days: float = 400.0) -> FaultLog:
    """A log made by the laws themselves: lemons, repairs that fail, shared causes of two."""
    rng = np.random.default_rng(seed)
    rate = np.where(rng.random(nodes) < 0.1, factor, 1.0) * 0.8 / 365.25
    node, start, hours = [], [], []
    for i in range(nodes):
        t = rng.exponential(1.0 / rate[i])
        while t < days:
            node.append(i)
            start.append(t)
            hours.append(20.0 * np.exp(1.5 * rng.normal()))
            t += hours[-1] / 24.0
            again = rng.random() < p_fails
            t += np.exp(1.0 * rng.normal()) * 0.2 if again else rng.exponential(1.0 / rate[i])
    return faultlog.make_log("invented", nodes, days, ["psu"] * len(node), node, start, hours)


def test_known_truth_is_found_again():
    found = faultfit.fit(invented(3, 0.3, 4.0))
    assert found.p_repair_fails == pytest.approx(0.3, abs=0.02)
    assert found.return_median_h == pytest.approx(0.2 * 24.0, rel=0.1)
    assert found.lemon_factor == pytest.approx(4.0, rel=0.25)
    # a lemon among ten at factor 4 makes the average node fail 1.3 times as often as a good one
    assert found.kinds[0].rate_per_y == pytest.approx(0.8 * 1.3, rel=0.05)
    repair = found.kinds[0].repair
    spread = np.sqrt((repair.share * (repair.sigma**2 + np.log(repair.median_h) ** 2)).sum()
                     - (repair.share * np.log(repair.median_h)).sum() ** 2)  # fmt: skip
    assert spread == pytest.approx(1.5, rel=0.05)


def test_nothing_repeats_where_nothing_does():
    found = faultfit.fit(invented(4, 0.0, 1.0))
    assert found.p_repair_fails < 0.02
    assert found.lemon_factor < 1.5


def test_shared_causes_are_counted_once():
    start = np.array([1.0, 1.0005, 1.001, 5.0, 9.0])
    log = faultlog.make_log("few", 10, 20.0, ["fan"] * 5, [1, 2, 3, 4, 5], start, np.ones(5))
    shared, struck = faultfit.fit_shared(log, "fan")
    assert (shared, struck) == (1, 2.0)


def test_the_poisson_interval_is_exact():
    for count in (0, 1, 7, 50):
        low, high = faultfit.poisson_interval(count)
        assert stats.poisson.sf(count - 1, low) == pytest.approx(0.025, abs=1e-9) if count else low == 0.0
        assert stats.poisson.cdf(count, high) == pytest.approx(0.025, abs=1e-9)
