"""Weather as a series: read from a CSV beside the site file, held between its times, refused in one line a fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from cooling_world import TINY
from twin_stories import MINUTE_MS, T0_MS

from energy.drivers import drivers_of
from plant.errors import SiteFileError
from plant.site import Site, load_site
from plant.weather import DAY_MS, read_weather
from twin.drivers import of_site
from twin.engine import run
from twin.ensemble import make_state

DAY = "# typical\ntime,outdoor_c\n06:00,10\n15:00,30\n21:30,18\n"
DATED = "time,outdoor_c\n2022-12-18T00:00:00+00:00,20\n2022-12-18T01:00:00Z,24.5\n2022-12-18T09:00:00+08:00,26\n"


def site_with(folder: Path, text: str, name: str = "w.csv") -> Site:
    (folder / name).write_text(text)
    (folder / "site.toml").write_text(TINY.replace("outdoor_c = 15.0", f'outdoor_c = 15.0\nweather = "{name}"'))
    return load_site(folder / "site.toml")


def test_a_typical_day_repeats_and_its_night_is_the_evening_before(tmp_path: Path):
    day = site_with(tmp_path, DAY).cooling.region_weather[0]
    assert day is not None
    at = [day.at(20 * DAY_MS + int(h * 3_600_000)) for h in (0.0, 5.99, 6.0, 14.99, 15.0, 22.0)]
    assert at == [18.0, 18.0, 10.0, 10.0, 30.0, 18.0]


def test_dated_values_hold_until_the_next_and_beyond_the_last(tmp_path: Path):
    site = site_with(tmp_path, DATED.replace("\n2022-12-18T09:00:00+08:00,26", "\n2022-12-18T10:00:00+08:00,26"))
    series = of_site(site)
    start = 1_671_321_600_000  # 18 December 2022, 00:00 UTC
    got = [float(series.at(start + m * MINUTE_MS)[0][0, 0]) for m in (-60, 0, 59, 60, 119, 120, 5000)]
    assert got == [20.0, 20.0, 20.0, 24.5, 24.5, 26.0, 26.0]
    assert drivers_of(site, start, 3.0).outdoor_c[:, 0].tolist() == [20.0, 24.5, 26.0]


def test_another_series_is_another_site(tmp_path: Path):
    one, two = site_with(tmp_path, DAY), site_with(tmp_path, DAY.replace("30", "31"))
    assert one.hash != two.hash
    assert one.hash == site_with(tmp_path, DAY).hash


def test_the_twin_pays_for_a_hot_afternoon(tmp_path: Path):
    energy = []
    for text in (DAY, DAY.replace("10", "-5").replace("30", "5").replace("18", "0")):
        site = site_with(tmp_path, text)
        energy.append(float(run(make_state(site, T0_MS), site, T0_MS + 10 * MINUTE_MS).energy_kwh[0, 0]))
    assert energy[0] > energy[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "columns none"),
        ("when,outdoor_c\n06:00,1\n", "has columns when outdoor_c"),
        ("time,outdoor_c\n2022-12-18T00:00:00,20\n", "an ISO instant with its offset"),
        ("time,outdoor_c\n06:00,1\n2022-12-18T00:00:00Z,2\n", "HH:MM as in the first row"),
        ("time,outdoor_c\n06:00,288.15\n", "looks like kelvin: write 15"),
        ("time,outdoor_c\n06:00,warm\n", "outdoor_c 'warm'"),
        ("time,outdoor_c\n06:00,nan\n", "outdoor_c is nan"),
        ("time,outdoor_c\n06:00,1\n05:00,2\n", "row 2: its time is not after the one before"),
    ],
)
def test_a_weather_file_that_cannot_be_is_refused(tmp_path: Path, text: str, said: str):
    with pytest.raises(SiteFileError) as refusal:
        site_with(tmp_path, text)
    assert said in str(refusal.value)
    assert "region[0].weather" in str(refusal.value)


def test_a_missing_weather_file_is_refused(tmp_path: Path):
    series, faults = read_weather(tmp_path / "none.csv", "region[0].weather")
    assert series is None
    assert "No such file" in str(faults[0])
