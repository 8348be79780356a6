"""Carbon of energy: hour by hour, nothing lost between the hours."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy.carbon import carbon_between_kgco2, carbon_kgco2, intensity_at, spread_kwh
from energy.series import DAY_MS, HOUR_MS, Series, Zone, mean_between
from energy.seriesfile import DATA, find_file, load_series
from plant.errors import ConfigError

T0_MS = 1_671_321_600_000
DAY = load_series(DATA / "carbon_intensity_example.csv")
instants = st.integers(0, 3 * DAY_MS).map(lambda ms: T0_MS + ms)
spans = st.tuples(instants, instants, instants).map(sorted)


def flat(value: float, kind: str = "carbon_intensity") -> Series:
    return Series(kind, "", "", {"a": Zone(np.arange(24) * HOUR_MS, np.full(24, value), "kgCO2/kWh")}, daily=True)


@given(span=spans, energy_kwh=st.floats(0.0, 1e6))
def test_energy_spread_over_hours_adds_up(span, energy_kwh):
    _, parts = spread_kwh(energy_kwh, span[0], span[2])
    assert parts.sum() == pytest.approx(energy_kwh, rel=1e-12)
    assert (parts >= 0.0).all()


@given(span=spans, power_kw=st.floats(0.1, 1e5))
def test_carbon_of_two_parts_is_the_carbon_of_the_whole(span, power_kw):
    a, b, c = span

    def carbon(start: int, end: int) -> float:
        return carbon_between_kgco2(DAY, power_kw * (end - start) / HOUR_MS, start, end)

    assert carbon(a, b) + carbon(b, c) == pytest.approx(carbon(a, c), rel=1e-9, abs=1e-9)


@given(span=spans)
def test_carbon_of_even_energy_is_energy_times_the_mean_intensity(span):
    start, end = span[0], span[2]
    assert carbon_between_kgco2(DAY, 7.0, start, end) == pytest.approx(7.0 * mean_between(DAY, start, end), rel=1e-12)


def test_constant_intensity_is_plain_multiplication():
    assert carbon_between_kgco2(flat(0.5), 12.0, T0_MS + 17, T0_MS + 5 * HOUR_MS + 3) == pytest.approx(6.0, rel=1e-14)


def test_a_whole_day_is_the_sum_of_its_hours():
    energy = np.arange(1.0, 25.0)
    times = T0_MS + HOUR_MS * np.arange(24)
    by_hand = sum(float(e) * float(intensity_at(DAY, int(t))) for e, t in zip(energy, times, strict=True))
    assert float(carbon_kgco2(energy, intensity_at(DAY, times))) == pytest.approx(by_hand, rel=1e-14)


def test_many_members_at_once():
    energy = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert carbon_kgco2(energy, [0.5, 0.25]).tolist() == [1.0, 2.5]


def test_a_gap_gives_no_number():
    hole = Series("carbon_intensity", "", "", {"a": Zone(np.array([T0_MS]), np.array([0.4]), "kgCO2/kWh")})
    assert math.isnan(carbon_between_kgco2(hole, 1.0, T0_MS, T0_MS + 2 * HOUR_MS))


def test_a_price_is_no_intensity():
    with pytest.raises(ConfigError, match="electricity_price"):
        intensity_at(flat(0.1, "electricity_price"), T0_MS)


def test_a_real_year_of_constant_power_is_its_mean_intensity(shared_data):
    real = load_series(find_file(shared_data / "energy", "carbon_intensity"))
    zone = real.zone("DE-LU")
    start, end = int(zone.times_ms[0]), int(zone.times_ms[-1]) + HOUR_MS
    assert (end - start) // HOUR_MS == len(zone) == 8760
    year_kwh = 100.0 * 8760.0
    assert carbon_between_kgco2(real, year_kwh, start, end, "DE-LU") == pytest.approx(
        year_kwh * float(zone.values.mean()), rel=1e-9
    )
