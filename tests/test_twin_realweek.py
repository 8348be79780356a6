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
from plant.streams import normal, uniform
from twin.jobfile import jobs_of
from twin.realdata.band import follow
from twin.realdata.drift import Drift, fit_drift, news
from twin.realdata.evaluate import FIGURES
from twin.realdata.metrics import mape
from twin.realdata.powerfit import features_of, fit_power
from twin.realdata.realweek import windows
from twin.realdata.residual import choose, forecast_kw, held, slow_gain
from twin.realdata.week import WeekData, load_week
from twin.realdata.weekahead import assimilate
from twin.realdata.weekbase import regression_kw, task_sums
from twin.realdata.weekensemble import BLOCK, DRIFT_S, PowerEnsemble
from twin.realdata.weekrun import run_week
from twin.realdata.weeksite import week_jobs, week_site, with_law
from twin.realdata.weekuse import node_util, place_first_fit
from twin.realdata.widelaw import WideLaw, parts_of
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


@pytest.mark.slow
def test_open_loop_beats_the_peer_and_the_regressions(results: dict):
    open_loop = results["rows"][0]
    assert open_loop["horizon_s"] == 0
    assert open_loop["mape"] <= 0.015
    assert open_loop["mape"] < open_loop["baseline_mape"]
    assert open_loop["below_10pct_frac"] >= 0.985
    assert open_loop["diff_vs_baseline_ci90"][1] < 0.0


@pytest.mark.slow
def test_ahead_beats_persistence_and_the_held_residual_of_the_regression(results: dict):
    ten_min, hour = results["rows"][1:]
    assert ten_min["mape"] < ten_min["persistence_mape"]
    assert ten_min["held_mape"] <= 0.0107
    assert hour["mape"] < hour["persistence_mape"]
    assert hour["held_mape"] <= 0.0170
    assert results["in_sync"]


@pytest.mark.slow
def test_the_regressions_of_the_readme_are_reproduced(results: dict):
    found = {r["name"]: round(100 * r["mape"], 2) for r in results["regressions"]}
    assert found == {"linear": 2.03, "squares": 1.76, "roots": 1.5}


@pytest.mark.slow
def test_every_row_has_every_figure_and_a_reason_where_there_is_none(results: dict):
    json.dumps(results, allow_nan=False)
    for row in results["rows"]:
        assert {"channel", "horizon_s", "n", "stale", "refused", *FIGURES} <= set(row)
        if row["persistence_mape"] is None:
            assert row["persistence_reason"]


@pytest.mark.slow
def test_other_days_than_the_usual_ones_beat_the_concave_regression_too(shared_data: Path):
    rows = run(shared_data / "surf_week", fit="3..5", test="1..2")["rows"]
    assert all(row["mape"] < row["baseline_mape"] for row in rows)
    assert all(row["coverage80_ok"] and row["width_rel"] <= 0.6 for row in rows[1:])


def test_readings_of_the_test_window_do_not_reach_the_open_loop_row(week: WeekData):
    from dataclasses import replace

    from twin.realdata.realweek import fit_week

    fit, test = windows(week, None, None)
    util = node_util(week, place_first_fit(week), len(week.power_kw))
    shaken = week.power_kw.copy()
    shaken[test] *= 1.5
    other = replace(week, power_kw=shaken)
    plain, moved = fit_week(week, util, fit), fit_week(other, util, fit)
    assert plain.law == moved.law
    np.testing.assert_array_equal(plain.said_kw[plain.law.name], moved.said_kw[moved.law.name])
    assert mape(shaken[test], moved.said_kw[moved.law.name][test]) > 0.3


@pytest.mark.slow
def test_assimilation_is_inside_its_limits_and_beats_the_smoothed_regressions(results: dict):
    ten_min, hour = results["rows"][1:]
    assert ten_min["mape"] <= 0.0095
    assert hour["mape"] <= 0.0140
    for row in (ten_min, hour):
        assert row["diff_block_s"] == 86_400.0
        assert row["diff_vs_baseline_ci90"][1] < 0.0
        assert row["mape"] < row["damped_mape"] < row["held_mape"]
        assert {b["name"].split(",")[0] for b in row["baselines"]} == {"linear", "squares", "roots"}
        assert all(row["mape"] < b["mape"] for b in row["baselines"])
    assert 0.0090 < ten_min["baseline_mape"] < 0.0102
    assert 0.0139 < hour["baseline_mape"] < 0.0148


@pytest.mark.slow
def test_the_stated_interval_holds_and_is_narrower_than_the_climatology(results: dict):
    ten_min, hour = results["rows"][1:]
    assert ten_min["coverage80_n"] == 216
    assert ten_min["coverage80_ok"]
    assert ten_min["coverage80_binomial_ci99"][0] < 0.75 < 0.85 < ten_min["coverage80_binomial_ci99"][1]
    assert ten_min["width_rel"] <= 0.6
    assert ten_min["width_rel_whole"] <= ten_min["width_rel"], "the narrower climatology is the opponent"
    assert hour["coverage80_n"] == 216


@pytest.mark.slow
@pytest.mark.parametrize(("fit", "test"), [("2..3", "4..5"), ("1..3", "4..5"), ("4..5", "1..3")])
def test_other_windows_keep_the_limits_and_the_interval(shared_data: Path, fit: str, test: str):
    ten_min, hour = run(shared_data / "surf_week", fit=fit, test=test)["rows"][1:]
    assert ten_min["mape"] <= min(0.0095, ten_min["baseline_mape"])
    assert hour["mape"] <= min(0.0140, hour["baseline_mape"])
    assert ten_min["coverage80_ok"]
    assert hour["coverage80_ok"]
    assert ten_min["width_rel"] <= 0.6


# --- through the engine ---------------------------------------------------------------------------------------------


def test_the_engine_and_the_direct_sum_agree(week: WeekData):
    first, last = 41 * HOUR, 42 * HOUR
    there, _ = run_week(week, week_site(week), first, last)
    here = node_util(week, place_first_fit(week), last)[first:]
    np.testing.assert_allclose(np.sort(there, axis=1), np.sort(here, axis=1), atol=1e-12)


@pytest.mark.slow
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


def test_members_have_exactly_the_spread_of_the_fit_and_listen_to_readings():
    law = WideLaw(np.array([10.0, 2.0]), np.array([[0.5, -0.2], [-0.2, 0.4]]))
    drift = Drift(3600.0, 0.3, 300.0, 0.1, 0.02)
    crowd = PowerEnsemble(law, drift, 30.0, seed=3)
    weights = crowd.state[:, :2]
    np.testing.assert_allclose(weights.mean(axis=0), law.mean, atol=1e-12)
    np.testing.assert_allclose(np.cov(weights.T), law.covariance, rtol=1e-9)
    parts = np.array([1.0, 3.0])
    before, wide = crowd.ahead(parts, 20)
    for _ in range(40):
        crowd.step(parts, 17.0)
    after, narrow = crowd.ahead(parts, 20)
    assert abs(after - 17.0) < 0.2 < abs(before - 17.0)
    assert narrow < wide


def test_the_ensemble_agrees_with_the_kalman_filter_it_stands_for():
    """Two weights and two drifts: filterpy knows the exact answer, the members have its mean and covariance."""
    from filterpy.kalman import KalmanFilter

    drift = Drift(3600.0, 0.3, 300.0, 0.1, 0.02)
    law = WideLaw(np.array([10.0, 1.0]), np.array([[4.0, -0.5], [-0.5, 0.3]]))
    n = 10 * BLOCK
    parts = np.column_stack([np.ones(n), np.sin(np.arange(n) / 9.0)])
    truth = parts @ (11.0, 1.4) + 0.2 * np.sin(np.arange(n) / 40.0)
    exact = KalmanFilter(dim_x=4, dim_z=1)
    exact.x, exact.P = np.array([[10.0], [1.0], [0.0], [0.0]]), np.zeros((4, 4))
    exact.P[:2, :2], exact.P[2, 2], exact.P[3, 3] = law.covariance, drift.slow_kw**2, drift.fast_kw**2
    exact.F, exact.R = np.diag([1.0, 1.0, *drift.kept(30.0)]), drift.meter_kw**2
    crowd = PowerEnsemble(law, drift, 30.0, seed=0, members=64)
    for i, value in enumerate(truth.tolist()):
        exact.Q = np.diag([0.0, 0.0, *np.square(drift.noise_sd(30.0))])
        if i % BLOCK == 0:
            exact.Q[:2, :2] = law.covariance * BLOCK * 30.0 / DRIFT_S
        exact.predict()
        exact.update(value, H=np.array([[*parts[i], 1.0, 1.0]]))
        crowd.step(parts[i], value)
    np.testing.assert_allclose(crowd.state.mean(axis=0), exact.x[:, 0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.cov(crowd.state.T), exact.P, rtol=1e-6, atol=1e-8)


def test_one_odd_reading_is_bounded_and_missing_ones_widen():
    law, drift = WideLaw(np.array([10.0]), np.array([[0.01]])), Drift(3600.0, 0.3, 300.0, 0.1, 0.02)
    crowd = PowerEnsemble(law, drift, 30.0, seed=0)
    for _ in range(100):
        crowd.step(np.ones(1), 10.0)
    calm, narrow = crowd.ahead(np.ones(1), 20)
    crowd.step(np.ones(1), 100.0)
    shaken, _ = crowd.ahead(np.ones(1), 20)
    assert abs(shaken - calm) < 1.0
    for _ in range(200):
        crowd.step(np.ones(1), float("nan"))
    assert crowd.ahead(np.ones(1), 20)[1] > narrow


def test_known_drifts_are_found_again():
    true, n, step_s = Drift(7200.0, 0.5, 240.0, 0.2, 0.02), 8000, 30.0
    kept, sd = np.array(true.kept(step_s)), np.array(true.noise_sd(step_s))
    luck = normal(7, "drifts", np.arange(3)[:, None], 0, np.arange(n)[None, :])
    states, residual = np.zeros(2), np.empty(n)
    for i in range(n):
        states = kept * states + sd * luck[:2, i]
        residual[i] = states.sum() + true.meter_kw * luck[2, i]
    found = fit_drift(residual, step_s, 20.0)
    assert found.fast_kw == pytest.approx(true.fast_kw, rel=0.25)
    assert found.slow_kw == pytest.approx(true.slow_kw, rel=0.4)
    assert found.fast_s == pytest.approx(true.fast_s, rel=0.5)


def test_a_meter_that_repeats_itself_brings_no_news():
    assert np.isnan(news(np.array([5.0, 5.0, 5.1, np.nan, 5.1]))).tolist() == [False, True, False, True, False]


def test_an_interval_that_starts_wrong_becomes_right_and_knows_nothing_of_the_future():
    z = 2.0 * normal(1, "z", 0, 0, np.arange(6000))
    low, high = follow(z, 20, (-1.0, 1.0))
    late = slice(3000, None)
    assert np.mean((z[late] >= low[late]) & (z[late] <= high[late])) == pytest.approx(0.8, abs=0.03)
    shaken = z.copy()
    shaken[4000:] = 1e3
    again = follow(shaken, 20, (-1.0, 1.0))[1]
    np.testing.assert_array_equal(again[:4020], high[:4020])
    assert again[4020] > high[4020]


def test_nothing_of_the_test_window_reaches_a_forecast_before_it_is_read(small: Path):
    week = load_week(small)
    util = node_util(week, place_first_fit(week), len(week.power_kw))
    fit, test = slice(0, 4 * HOUR), slice(4 * HOUR, 6 * HOUR)
    parts = parts_of(features_of(util, 16), task_sums(week, len(week.power_kw)))
    said, at = [], 5 * HOUR
    for factor in (1.0, 1.5):
        power = week.power_kw.copy()
        power[at:] *= factor
        rehearsed = np.full(len(power), np.nanmean(power[fit]))
        found = assimilate(parts, power, rehearsed, fit, test, (20,), step_s=30.0, hosts=277, seed=0, members=64)
        said.append(found.said[20])
    for name in ("mean_kw", "low_kw", "high_kw"):
        plain, moved = (getattr(one, name) for one in said)
        np.testing.assert_array_equal(plain[: at + 20], moved[: at + 20])
    assert said[0].mean_kw[at + 20] != said[1].mean_kw[at + 20]


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


def test_a_power_that_never_changes_is_foretold_and_has_no_climatology(small: Path):
    table = pq.read_table(small / "power.parquet").to_pydict()
    write(small / "power.parquet", offset_ms=table["offset_ms"], power_w=[5000.0] * len(table["power_w"]))
    at = ("2024-01-01T00:00Z", "2024-01-01T04:00Z", "2024-01-01T06:00Z")
    found = run(small, fit=f"{at[0]}..{at[1]}", test=f"{at[1]}..{at[2]}")
    json.dumps(found, allow_nan=False)
    for row in found["rows"][1:]:
        assert row["mape"] < 1e-3
        assert row["width_rel"] is None
        assert row["width_rel_reason"]


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
