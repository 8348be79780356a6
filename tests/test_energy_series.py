"""Hourly series: what a file must say, what it may leave open, and one line for each thing that is wrong."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy.series import DAY_MS, HOUR_MS, Series, Zone, cuts_ms, mean_between, values_at
from energy.seriesfile import DATA, find_file, load_series
from plant.errors import ConfigError

T0_MS = 1_671_321_600_000  # 2022-12-18T00:00:00Z
HEAD = "zone,time_utc,kgco2_per_kwh\n"
minutes = st.integers(0, 4 * 60).map(lambda m: T0_MS + m * 60_000)


def write(folder: Path, text: str, name: str = "carbon_intensity_x.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(path: Path, **more: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_series(path, **more)
    return str(caught.value)


def four_hours() -> Series:
    times = T0_MS + HOUR_MS * np.array([0, 1, 3, 4])  # the third hour is missing
    return Series(
        "carbon_intensity", "kgco2_per_kwh", "made up", {"a": Zone(times, np.array([0.1, 0.2, 0.4, 0.5]), "")}
    )


def test_a_value_holds_for_its_hour_and_a_gap_stays_a_gap():
    at = [T0_MS - 1, T0_MS, T0_MS + HOUR_MS - 1, T0_MS + HOUR_MS, T0_MS + 2 * HOUR_MS, T0_MS + 3 * HOUR_MS]
    found = values_at(four_hours(), at)
    assert np.array_equal(found, [np.nan, 0.1, 0.1, 0.2, np.nan, 0.4], equal_nan=True)
    assert math.isnan(float(values_at(four_hours(), T0_MS + 5 * HOUR_MS)))
    assert values_at(four_hours(), np.full((2, 3), T0_MS)).shape == (2, 3)


def test_a_zone_of_gaps_alone_has_no_value(tmp_path):
    series = load_series(write(tmp_path, HEAD + "a,2022-12-18T00:00Z,\n"))
    assert np.isnan(values_at(series, [T0_MS, T0_MS + HOUR_MS])).all()


def test_a_day_repeats_every_day():
    day = load_series(DATA / "carbon_intensity_example.csv")
    assert day.daily
    for hour in (0, 7, 23):
        seen = values_at(day, [T0_MS + hour * HOUR_MS + k * DAY_MS for k in (0, 1, 400)])
        assert len(set(seen.tolist())) == 1


def test_the_shipped_day_says_that_it_is_made_up_and_keeps_the_mean_of_its_site():
    from plant.site import load_site

    day, site = load_series(find_file(DATA, "carbon_intensity")), load_site("hall")
    assert "Made up" in day.source
    assert set(day.zones) == set(site.region_ids)
    assert len(day.zone()) == 24
    assert mean_between(day, T0_MS, T0_MS + DAY_MS) == pytest.approx(site.region_carbon_kgco2_per_kwh[0], abs=1e-9)


@given(a=minutes, b=minutes)
def test_cuts_hold_the_ends_and_every_whole_hour_between(a, b):
    start, end = min(a, b), max(a, b)
    edges = cuts_ms(start, end)
    assert (edges[0], edges[-1]) == (start, end)
    assert (edges[1:-1] % HOUR_MS == 0).all()
    assert (np.diff(edges) <= HOUR_MS).all()
    assert (np.diff(edges) > 0).all() or start == end


def test_an_interval_that_runs_backwards_is_refused():
    with pytest.raises(ConfigError, match="ends 1 ms before"):
        cuts_ms(T0_MS, T0_MS - 1)


def test_one_row_an_hour_in_any_order_with_gaps(tmp_path):
    rows = "b,2022-12-18T01:00:00Z,0.3\na,2022-12-18T03:00+02:00,0.2\na,2022-12-18 00:00,0.1\na,2022-12-18T02:00Z,\n"
    series = load_series(write(tmp_path, "# source: nobody\n" + HEAD + rows))
    assert series.source == "source: nobody"
    assert sorted(series.zones) == ["a", "b"]
    assert series.zone("a").times_ms.tolist() == [T0_MS, T0_MS + HOUR_MS]
    assert series.zone("a").values.tolist() == [0.1, 0.2]
    assert series.zone("a").unit == "kgCO2/kWh"


def test_grams_become_kilograms_and_megawatt_hours_kilowatt_hours(tmp_path):
    carbon = load_series(write(tmp_path, "zone,time_utc,g_per_kwh\na,2022-12-18T00:00Z,250\n"))
    assert carbon.zone().values.tolist() == [0.25]
    text = "zone,time_utc,price_per_mwh,currency\nde,2022-12-18T00:00Z,-30,EUR\n"
    price = load_series(write(tmp_path, text, "electricity_price_x.csv"))
    assert (price.zone().values.tolist(), price.zone().unit) == ([-0.03], "EUR/kWh")


def test_local_times_need_their_offsets(tmp_path):
    path = write(tmp_path, "zone,time_local,temp_c\nhk,2022-12-18T08:00,15\n", "weather_x.csv")
    assert "weather_sites.csv beside it" in faults_of(path)
    write(tmp_path, "zone,utc_offset_seconds\nhk,28800\n", "weather_sites.csv")
    assert load_series(path).zone().times_ms.tolist() == [T0_MS]
    write(tmp_path, "zone,utc_offset_seconds\nde,3600\n", "weather_sites.csv")
    assert "no offset of zone 'hk'" in faults_of(path)


def test_parquet_reads_like_csv(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = HEAD + "a,2022-12-18T00:00Z,0.1\na,2022-12-18T01:00Z,0.2\n"
    plain = load_series(write(tmp_path, text))
    path = tmp_path / "carbon_intensity_y.parquet"
    at = pa.array([T0_MS * 1000, (T0_MS + HOUR_MS) * 1000], pa.timestamp("us"))
    pq.write_table(pa.table({"zone": ["a", "a"], "time_utc": at, "kgco2_per_kwh": [0.1, 0.2]}), path)
    packed = load_series(path)
    assert packed.zone().times_ms.tolist() == plain.zone().times_ms.tolist()
    assert packed.zone().values.tolist() == plain.zone().values.tolist()


BAD = {
    "empty": ("", "an empty file"),
    "header only": (HEAD, "no rows"),
    "no zone": ("place,time_utc,g_per_kwh\na,2022-12-18T00:00Z,1\n", "a column 'zone'"),
    "no time": ("zone,when,g_per_kwh\na,2022-12-18T00:00Z,1\n", "time_utc time_local hour_utc"),
    "no value column": ("zone,time_utc,carbon\na,2022-12-18T00:00Z,1\n", "kgco2_per_kwh"),
    "not a time": (HEAD + "a,yesterday,0.1\n", "line 2: time_utc: 'yesterday'"),
    "hour 24": ("zone,hour_utc,kgco2_per_kwh\na,24,0.1\n", "a whole hour 0 to 23"),
    "not a number": (HEAD + "a,2022-12-18T00:00Z,much\n", "'much'; a number"),
    "infinite": (HEAD + "a,2022-12-18T00:00Z,inf\n", "inf kgCO2/kWh"),
    "grams called kilograms": (HEAD + "a,2022-12-18T00:00Z,650\n", "looks like grams"),
    "negative": (HEAD + "a,2022-12-18T00:00Z,-0.1\n", "0 to 3 kgCO2/kWh"),
    "an hour twice": (HEAD + "a,2022-12-18T00:00Z,0.1\na,2022-12-18T00:00Z,0.2\n", "line 3: the hour of line 2"),
    "ragged": (HEAD + "a,2022-12-18T00:00Z\n", "line 2: 2 values; 3"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD)
def test_a_faulty_file_is_refused_in_one_line(tmp_path, text, said):
    message = faults_of(write(tmp_path, text))
    assert said in message
    assert len(message.splitlines()) == 1
    assert message.startswith("carbon_intensity_x.csv")


def test_all_faults_come_at_once_and_many_are_counted(tmp_path):
    message = faults_of(write(tmp_path, HEAD + "a,never,0.1\na,2022-12-18T01:00Z,x\na,2022-12-18T02:00Z,9\n"))
    assert [part in message for part in ("line 2", "line 3", "line 4")] == [True] * 3
    many = "".join(f"a,2022-12-18T{h:02d}:00Z,x\n" for h in range(15))
    assert faults_of(write(tmp_path, HEAD + many)).endswith("and 5 more faults")


def test_not_text_not_parquet_not_there_not_named(tmp_path):
    path = tmp_path / "carbon_intensity_b.csv"
    path.write_bytes(b"zone\xff\xfe")
    assert "UTF-8" in faults_of(path)
    packed = tmp_path / "carbon_intensity_b.parquet"
    packed.write_bytes(b"PAR1 and no more")
    assert "not a Parquet file" in faults_of(packed)
    assert "no such file" in faults_of(tmp_path / "weather_none.csv")
    assert "does not say what it holds" in faults_of(write(tmp_path, HEAD, "mine.csv"))
    assert "form '.xlsx'" in faults_of(write(tmp_path, HEAD, "weather_a.xlsx"))


def test_a_zone_must_be_named_where_there_are_several(tmp_path):
    rows = "a,2022-12-18T00:00Z,0.1\nb,2022-12-18T00:00Z,0.2\n"
    series = load_series(write(tmp_path, HEAD + rows))
    for zone in (None, "c"):
        with pytest.raises(ConfigError, match="one of a b"):
            values_at(series, T0_MS, zone)


def test_a_file_is_found_by_its_prefix(tmp_path):
    with pytest.raises(ConfigError, match="no file weather_"):
        find_file(tmp_path, "weather")
    write(tmp_path, "zone,utc_offset_seconds\n", "weather_sites.csv")
    one = write(tmp_path, "", "weather_2022.csv")
    assert find_file(tmp_path, "weather") == one
    write(tmp_path, "", "weather_2023.csv")
    with pytest.raises(ConfigError, match="several weather files"):
        find_file(tmp_path, "weather")


REAL = {"carbon_intensity": (15, 8760), "electricity_price": (8, 8734), "weather": (15, 8760)}


@pytest.mark.parametrize("kind", REAL)
def test_the_real_year_loads_whole(shared_data, kind):
    series = load_series(find_file(shared_data / "energy", kind))
    zones, least_hours = REAL[kind]
    assert len(series.zones) == zones
    for name, zone in series.zones.items():
        assert len(zone) >= least_hours, name
        assert (np.diff(zone.times_ms) > 0).all()
        assert (zone.times_ms % HOUR_MS == 0).all() or name == "IN-WE"  # India is half an hour off
    if kind == "carbon_intensity":
        assert series.zone("US-TEX-ERCO").values.mean() == pytest.approx(0.338, abs=0.0006)  # the README's yearly mean
        assert series.zone("GB").values.mean() == pytest.approx(0.156, abs=0.0006)
    if kind == "electricity_price":
        assert {series.zone(z).unit for z in ("DE-LU", "JP-TK")} == {"EUR/kWh", "JPY/kWh"}
        assert series.zone("US-TEX-ERCO").values.mean() == pytest.approx(0.064, abs=0.001)
