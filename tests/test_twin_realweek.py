"""The real week: reading it, running it, fitting the node law, and what is said when files are not in order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from plant.errors import ConfigError, TelemetryError
from plant.jobsample import make_sample, read_sample, to_csv
from plant.power import node_demand_kw
from plant.streams import uniform
from twin.jobfile import jobs_of
from twin.realdata.evaluate import FIGURES
from twin.realdata.powerfit import features_of, fit_power
from twin.realdata.realweek import windows
from twin.realdata.residual import choose, forecast_kw, held, slow_gain
from twin.realdata.week import WeekData, load_week
from twin.realdata.weekbase import regression_kw, task_sums
from twin.realdata.weekrun import run_week
from twin.realdata.weeksite import week_jobs, week_site, with_law
from twin.realdata.weekuse import node_util, place_first_fit
from twin.realdata.window import parse_window, require_apart
from verbs.evaluate_sync import run

HOUR = 120  # samples
DATA = Path(__file__).resolve().parent.parent / "data"


@pytest.fixture(scope="module")
def week(shared_data: Path) -> WeekData:
    return load_week(shared_data / "surf_week")


@pytest.fixture(scope="module")
def results(shared_data: Path) -> dict:
    return run(shared_data / "surf_week")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder of our own making: 6 h of two tasks, power that follows the concave law of two of the hosts."""
    n = 6 * HOUR
    start = np.array(["2024-01-01T00:00:00", "2024-01-01T01:00:00"], dtype="datetime64[ms]")
    tasks = {"id": ["1", "2"], "submission_time": start, "duration": [n * 30_000, (n - HOUR) * 30_000]}
    write(tmp_path / "tasks.parquet", **tasks, cpu_count=[16, 16])
    u = 0.5 + 0.45 * np.sin(np.arange(n) / 17.0)
    use = np.concatenate([u, u[: n - HOUR] ** 2])
    ids = ["1"] * n + ["2"] * (n - HOUR)
    write(tmp_path / "fragments.parquet", id=ids, cpu_count=[16] * len(use), cpu_usage=33_600.0 * use)
    second = np.concatenate([np.zeros(HOUR), u[: n - HOUR] ** 2])
    kw = node_demand_kw(np.stack([u, second]), np.full((2, 1), 0.1), np.full((2, 1), 0.4), np.full((2, 1), 0.6))
    write(tmp_path / "power.parquet", offset_ms=30_000 * (1 + np.arange(n)), power_w=1000.0 * kw.sum(axis=0) + 500.0)
    return tmp_path


def write(file: Path, **columns: object) -> None:
    pq.write_table(pa.table(columns), file)


# --- the figures ----------------------------------------------------------------------------------------------------


def test_open_loop_beats_the_peer_and_the_regressions(results: dict):
    open_loop = results["rows"][0]
    assert open_loop["horizon_s"] == 0
    assert open_loop["mape"] <= 0.015
    assert open_loop["mape"] < open_loop["baseline_mape"]
    assert open_loop["below_10pct_frac"] >= 0.985
    assert open_loop["diff_vs_baseline_ci90"][1] < 0.0


def test_ahead_beats_persistence_and_the_held_residual_of_the_regression(results: dict):
    ten_min, hour = results["rows"][1:]
    assert ten_min["mape"] < ten_min["persistence_mape"]
    assert ten_min["held_mape"] <= 0.0107
    assert hour["mape"] < hour["persistence_mape"]
    assert hour["held_mape"] <= 0.0170
    assert results["in_sync"]


def test_the_regressions_of_the_readme_are_reproduced(results: dict):
    found = {r["name"]: round(100 * r["mape"], 2) for r in results["regressions"]}
    assert found == {"linear": 2.03, "squares": 1.76, "roots": 1.5}


def test_every_row_has_every_figure_and_a_reason_where_there_is_none(results: dict):
    json.dumps(results, allow_nan=False)
    for row in results["rows"]:
        assert {"channel", "horizon_s", "n", "stale", "refused", *FIGURES} <= set(row)
        if row["persistence_mape"] is None:
            assert row["persistence_reason"]


def test_other_days_than_the_usual_ones_beat_the_concave_regression_too(shared_data: Path):
    other = run(shared_data / "surf_week", fit="3..5", test="1..2")
    assert other["rows"][0]["mape"] < other["rows"][0]["baseline_mape"]


def test_readings_of_the_test_window_do_not_reach_the_open_loop_row(week: WeekData):
    from dataclasses import replace

    from twin.realdata.realweek import evaluate_week, fit_week

    fit, test = windows(week, None, None)
    util = node_util(week, place_first_fit(week), len(week.power_kw))
    shaken = week.power_kw.copy()
    shaken[test] *= 1.5
    other = replace(week, power_kw=shaken)
    plain, moved = fit_week(week, util, fit), fit_week(other, util, fit)
    assert plain.law == moved.law
    np.testing.assert_array_equal(plain.said_kw[plain.law.name], moved.said_kw[moved.law.name])
    assert evaluate_week(other, moved, fit, test, 0)["rows"][0]["mape"] > 0.3


# --- through the engine ---------------------------------------------------------------------------------------------


def test_the_engine_and_the_direct_sum_agree(week: WeekData):
    first, last = 41 * HOUR, 42 * HOUR
    there, _ = run_week(week, week_site(week), first, last)
    here = node_util(week, place_first_fit(week), last)[first:]
    np.testing.assert_allclose(np.sort(there, axis=1), np.sort(here, axis=1), atol=1e-12)


def test_the_fitted_concave_law_comes_out_of_the_state(results: dict):
    assert results["engine_samples"] == HOUR
    assert results["engine_util_max_diff_frac"] < 1e-12
    assert results["engine_power_max_diff_frac"] < 1e-9


@pytest.mark.slow
def test_parts_side_by_side_give_the_same_as_one_after_the_other(small: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("twin.realdata.weekrun.PART_S", 1800.0)
    week = load_week(small)
    site = week_site(week)
    one, two = (run_week(week, site, 0, HOUR, workers=workers) for workers in (1, 2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


def test_a_task_under_way_goes_on_at_its_place_in_its_profile(small: Path):
    week = load_week(small)
    jobs = week_jobs(week, 2 * HOUR, 3 * HOUR)
    assert len(jobs) == 2
    whole = week.profile_frac[week.profile_start[0] : week.profile_start[1]]
    np.testing.assert_array_equal(jobs.profile_frac[: jobs.profile_start[1]], whole[2 * HOUR :])


# --- the fit --------------------------------------------------------------------------------------------------------


def test_a_known_concave_law_is_found_again(small: Path):
    week = load_week(small)
    util = node_util(week, place_first_fit(week), len(week.power_kw))
    fit = slice(0, 4 * HOUR)
    law = fit_power(features_of(util, 16), week.power_kw, fit, step_s=30.0, cores=16, packages=2, name="concave")
    assert law.span_kw == pytest.approx(0.3, rel=1e-3)
    assert law.concave_frac == pytest.approx(0.6, rel=1e-2)
    assert law.base_kw == pytest.approx(0.2 + 0.5, rel=1e-3)
    site = with_law(week_site(week), law)
    assert site.node_idle_kw.sum() == pytest.approx(law.base_kw)


@pytest.mark.parametrize("name", ["linear", "concave", "packages"])
def test_no_fitted_law_falls_with_load(week: WeekData, name: str):
    util = node_util(week, place_first_fit(week), 6 * HOUR)
    fit = slice(0, 6 * HOUR)
    law = fit_power(features_of(util, 16), week.power_kw[fit], fit, step_s=30.0, cores=16, packages=2, name=name)
    ramp = features_of(np.linspace(0.0, 1.0, 201)[:, None], 16)
    assert (np.diff(law.site_kw(ramp)) >= -1e-12).all()
    assert law.base_kw >= 0.0


def test_the_power_of_a_law_is_that_of_the_node_law_in_plant(week: WeekData):
    util = node_util(week, place_first_fit(week), 6 * HOUR)
    fit = slice(0, 6 * HOUR)
    law = fit_power(features_of(util, 16), week.power_kw[fit], fit, step_s=30.0, cores=16, packages=2, name="concave")
    idle = np.full(util.shape[1], law.base_kw / util.shape[1])
    there = node_demand_kw(util, idle, idle + law.span_kw, np.full(util.shape[1], law.concave_frac)).sum(axis=1)
    np.testing.assert_allclose(law.site_kw(features_of(util, 16)), there, rtol=1e-12)


def test_the_engine_draws_what_the_law_of_packages_says(small: Path):
    week = load_week(small)
    util = node_util(week, place_first_fit(week), len(week.power_kw))
    fit = slice(0, 4 * HOUR)
    law = fit_power(features_of(util, 16), week.power_kw, fit, step_s=30.0, cores=16, packages=2, name="packages")
    assert law.span_kw > 0.0
    there, power_kw = run_week(week, with_law(week_site(week), law), 0, HOUR)
    np.testing.assert_allclose(power_kw, law.site_kw(features_of(there, 16)), rtol=1e-9)
    assert len(np.unique(power_kw.round(9))) > 1, "and it changes with the load"


def test_the_correction_learns_a_constant_bias_and_ignores_noise():
    n, fit, slow = 2000, slice(0, 1500), slow_gain(30.0)
    model = np.full(n, 20.0)
    biased = np.full(n, 21.0)
    found = choose(biased, model[None], fit, 20, slow)
    assert found.damping == 1.0
    np.testing.assert_allclose(forecast_kw(model, biased - model, found)[fit.stop :], 21.0)
    # by chance, not by turns: what alternates can be forecast
    noisy = model + 2.0 * uniform(0, "test", 0, 0, np.arange(n)) - 1.0
    said = forecast_kw(model, noisy - model, choose(noisy, model[None], fit, 20, slow))
    assert np.abs(said[fit.stop :] - 20.0).max() < 0.2


def test_a_forecast_uses_nothing_newer_than_its_horizon():
    model, residual = np.zeros(50), np.zeros(50)
    residual[30] = 1.0
    said = forecast_kw(model, residual, held(10))
    assert np.flatnonzero(said).tolist() == [40]


# --- windows --------------------------------------------------------------------------------------------------------


def test_days_and_instants_name_the_same_window():
    epoch_ms = 1_665_093_600_000  # 2022-10-06T22:00:00Z
    days = parse_window("1..2", epoch_ms, 30_000, 14_400, "--fit")
    assert days == slice(0, 5760)
    assert parse_window("2022-10-06T22:00:00Z..2022-10-08T22:00", epoch_ms, 30_000, 14_400, "--fit") == days


@pytest.mark.parametrize("text", ["", "2..1", "0..1", "yesterday..today", "1...2..3", "9..10"])
def test_a_window_that_cannot_be_used_is_refused(text: str):
    with pytest.raises(ConfigError) as caught:
        parse_window(text, 0, 30_000, 14_400, "--test")
    assert caught.value.where == "--test"
    assert caught.value.cure


def test_overlapping_windows_are_refused():
    with pytest.raises(ConfigError, match="overlap"):
        require_apart(slice(0, 10), slice(9, 20))


# --- bad input ------------------------------------------------------------------------------------------------------


def test_a_missing_folder_says_how_to_get_such_files(tmp_path: Path):
    with pytest.raises(ConfigError, match="one row per 30 s"):
        run(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["tasks.parquet", "fragments.parquet", "power.parquet"])
def test_a_missing_or_broken_file_says_how_to_get_such_files(small: Path, name: str):
    (small / name).write_bytes(b"not parquet")
    with pytest.raises(TelemetryError, match=r"cannot be read.*sacct"):
        load_week(small)
    (small / name).unlink()
    with pytest.raises(TelemetryError, match=r"no such file.*sacct") as caught:
        load_week(small)
    assert name in caught.value.where


def test_a_missing_column_is_named_with_those_there_are(small: Path):
    write(small / "power.parquet", offset_ms=[30_000], watts=[1.0])
    with pytest.raises(TelemetryError, match=r"no column power_w.*offset_ms, watts"):
        load_week(small)


def test_bad_readings_are_refused_and_counted(small: Path):
    table = pq.read_table(small / "power.parquet").to_pydict()
    table["power_w"][10] = float("nan")
    table["power_w"][11] = -5.0
    table["offset_ms"][12] = table["offset_ms"][13]
    write(small / "power.parquet", **table)
    week = load_week(small)
    assert sorted(week.refused.values()) == [1, 2]
    assert np.flatnonzero(np.isnan(week.power_kw)).tolist() == [10, 11, 12]


def test_gaps_in_the_power_are_stale_and_do_not_stop_the_run(small: Path):
    table = pq.read_table(small / "power.parquet").to_pydict()
    table["power_w"][5 * HOUR : 5 * HOUR + 40] = [float("nan")] * 40
    write(small / "power.parquet", **table)
    at = ("2024-01-01T00:00Z", "2024-01-01T04:00Z", "2024-01-01T06:00Z")
    found = run(small, fit=f"{at[0]}..{at[1]}", test=f"{at[1]}..{at[2]}")
    json.dumps(found, allow_nan=False)
    assert [r["stale"] for r in found["rows"]] == [40, 40, 40]
    assert found["rows"][0]["diff_vs_baseline_ci90"] is None
    assert found["rows"][0]["diff_reason"]


def test_too_short_a_fit_window_is_refused(small: Path):
    with pytest.raises(ConfigError, match="at least 240"):
        run(small, fit="2024-01-01T00:00Z..2024-01-01T01:00Z", test="2024-01-01T04:00Z..2024-01-01T06:00Z")


def test_power_in_a_wrong_time_unit_is_refused_before_memory_runs_out(small: Path):
    mapping = (DATA / "mappings" / "surf_week.toml").read_text().replace('time_unit = "ms"', 'time_unit = "h"')
    (small / "mapping.toml").write_text(mapping)
    with pytest.raises(TelemetryError, match="time_unit"):
        load_week(small)


def test_a_scale_that_contradicts_its_unit_is_refused(small: Path):
    mapping = (DATA / "mappings" / "surf_week.toml").read_text().replace("scale = 0.001", "scale = 1.0")
    (small / "mapping.toml").write_text(mapping)
    with pytest.raises(ConfigError, match=r"rule.*scale"):
        load_week(small)


def test_an_unknown_key_of_a_mapping_is_refused(small: Path):
    shutil.copy(DATA / "mappings" / "surf_week.toml", small / "mapping.toml")
    with (small / "mapping.toml").open("a") as file:
        file.write('tset = "3..5"\n')
    with pytest.raises(ConfigError, match="tset"):
        load_week(small)


def test_regressions_use_only_the_fit_window(small: Path):
    week = load_week(small)
    sums = task_sums(week, len(week.power_kw))
    shaken = week.power_kw.copy()
    shaken[4 * HOUR :] += 100.0
    fit = slice(0, 4 * HOUR)
    plain, moved = (regression_kw(sums, kw, fit, "squares") for kw in (week.power_kw, shaken))
    np.testing.assert_array_equal(plain, moved)


# --- the job sample that is shipped ---------------------------------------------------------------------------------


def test_the_shipped_job_sample_is_what_the_generator_makes():
    made = make_sample()
    assert (DATA / "jobs" / "sample.csv").read_text() == to_csv(made)
    assert read_sample(DATA / "jobs" / "sample.csv") == made


def test_the_job_sample_has_the_classes_of_table_2_in_their_shares():
    kinds = [job.job_class for job in make_sample(400)]
    shares = {name: kinds.count(name) / 400 for name in set(kinds)}
    assert shares == {"training": 0.35, "inference": 0.25, "big_data": 0.2, "scientific": 0.15, "web": 0.05}


def test_the_job_sample_becomes_the_table_of_the_engine():
    rows = make_sample(50, seed=3)
    jobs = jobs_of(rows, start_ms=1_000_000)
    assert len({name.split("/")[0] for name in jobs.ids}) == 50  # a service has one job per replica
    assert jobs.arrival_ms.min() >= 1_000_000
    assert (jobs.priority > 0).all()


def test_a_bad_job_table_gives_all_faults_at_once(tmp_path: Path):
    lines = to_csv(make_sample(20)).splitlines()
    lines[3] = lines[3].replace("inference,", "gaming,", 1)
    lines[5] = ",".join([*lines[5].split(",")[:-1], "1.7"])
    (tmp_path / "jobs.csv").write_text("\n".join(lines))
    with pytest.raises(TelemetryError) as caught:
        read_sample(tmp_path / "jobs.csv")
    assert [fault.where for fault in caught.value.faults] == ["jobs.csv: line 4", "jobs.csv: line 6"]
