"""Series as the twin takes them, and carbon of a run at them."""

from __future__ import annotations

import numpy as np
import pytest
from twin_stories import T0_MS as RUN_MS
from twin_stories import tiny

from energy.carbon import carbon_kgco2
from energy.drivers import drivers_of
from energy.series import HOUR_MS, Series, Zone
from energy.seriesfile import DATA, find_file, load_series
from plant.errors import ConfigError
from plant.site import load_site
from twin.drivers import constant
from twin.engine import run
from twin.ensemble import make_state

SITE = tiny()


def day(kind: str, zone: str, low: float, high: float) -> Series:
    return Series(kind, "", "", {zone: Zone(np.arange(24) * HOUR_MS, np.linspace(low, high, 24), "")}, daily=True)


def test_without_series_the_site_file_speaks():
    d, mean = drivers_of(SITE, RUN_MS, 3.0), constant(SITE)
    for at_ms in (RUN_MS, RUN_MS + HOUR_MS):
        assert all(np.array_equal(a, b) for a, b in zip(d.at(at_ms), mean.at(at_ms), strict=True))


def test_each_hour_has_its_values_from_its_first_millisecond():
    carbon, weather = day("carbon_intensity", "lab", 0.1, 0.9), day("weather", "lab", 10.0, 33.0)
    d = drivers_of(SITE, RUN_MS, 5.5, carbon, weather)
    for at_ms in range(RUN_MS, RUN_MS + 5 * HOUR_MS, 600_001):
        outdoor, intensity = d.at(at_ms)
        hour = at_ms % (24 * HOUR_MS) // HOUR_MS
        assert outdoor[0, 0] == weather.zone().values[hour]
        assert intensity[0, 0] == carbon.zone().values[hour]


def test_a_region_without_a_zone_keeps_its_mean():
    site = load_site("c3o")
    d = drivers_of(site, RUN_MS, 1.0, day("carbon_intensity", "east", 0.5, 0.5))
    _, intensity = d.at(RUN_MS)
    assert intensity.tolist() == [[0.5, 0.21]]


def test_zones_are_named_where_they_are_called_otherwise():
    d = drivers_of(SITE, RUN_MS, 1.0, day("carbon_intensity", "DE", 0.3, 0.3), zones={"lab": "DE"})
    assert d.at(RUN_MS)[1].tolist() == [[0.3]]


def test_what_does_not_fit_is_said_at_once():
    short = Series("carbon_intensity", "", "", {"lab": Zone(np.array([RUN_MS]), np.array([0.4]), "")})
    cases = {
        "no zone of lab": (day("carbon_intensity", "DE", 0.1, 0.1), None),
        "kind 'weather'": (day("weather", "lab", 1.0, 2.0), None),
        "no zone 'XX' for region 'lab'": (day("carbon_intensity", "DE", 0.1, 0.1), {"lab": "XX"}),
        "region 'moon' in zones": (day("carbon_intensity", "lab", 0.1, 0.1), {"moon": "DE"}),
        "hours of zone 'lab' missing": (short, None),
    }
    for said, (series, zones) in cases.items():
        with pytest.raises(ConfigError, match=said):
            drivers_of(SITE, RUN_MS, 4.0, series, zones=zones)


def test_carbon_of_a_run_is_the_energy_of_each_hour_at_its_intensity():
    start = RUN_MS // HOUR_MS * HOUR_MS
    carbon = day("carbon_intensity", "lab", 0.1, 2.4)
    drivers = drivers_of(SITE, start, 3.0, carbon)
    state, energy = make_state(SITE, start), [0.0]
    for hour in range(1, 4):
        run(state, SITE, start + hour * HOUR_MS + 1, drivers=drivers)  # a run is half-open
        energy.append(float(state.energy_kwh[0].sum()))
    intensity = drivers.carbon_kgco2_per_kwh[:3, 0]
    assert len(set(intensity)) == 3
    assert state.carbon_kgco2[0] == pytest.approx(float(carbon_kgco2(np.diff(energy), intensity)), rel=1e-12)


def test_hotter_weather_costs_chillers_more():
    def energy(outdoor: float) -> float:
        drivers = drivers_of(SITE, RUN_MS, 2.0, weather=day("weather", "lab", outdoor, outdoor))
        return float(run(make_state(SITE, RUN_MS), SITE, RUN_MS + HOUR_MS, drivers=drivers).energy_kwh.sum())

    assert energy(35.0) > energy(15.0) > energy(0.0)


def test_the_shipped_day_drives_the_incident_site():
    d = drivers_of(load_site("hall"), RUN_MS, 24.0, load_series(find_file(DATA, "carbon_intensity")))
    assert len(np.unique(d.carbon_kgco2_per_kwh)) > 10
    assert np.isfinite(d.carbon_kgco2_per_kwh).all()
