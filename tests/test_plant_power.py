"""Power of nodes, supplies and UPS: the published tables, and what a cap may and may not do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant.power import (
    Curve,
    busy_cores,
    cap_speed_frac,
    curve_share_frac,
    demand_kw,
    node_demand_kw,
    psu_input_kw,
    ups_loss_kw,
    wake_curve,
)

fracs = st.floats(0.0, 1.0)


def arr(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


@given(u=fracs, v=fracs, k=fracs)
def test_a_node_draws_between_idle_and_peak_and_never_less_for_more_work(u, v, k):
    low, high = sorted((u, v))
    drawn = node_demand_kw(arr(0.0, low, high, 1.0, 1.7), arr(0.25), arr(0.8), arr(k))
    assert drawn[0] == 0.25
    assert drawn[3] == drawn[4] == pytest.approx(0.8, rel=1e-15)  # more than all is all
    assert (np.diff(drawn) >= -1e-15).all()


def test_concave_hosts_draw_more_at_part_load():
    flat, bent = (float(node_demand_kw(arr(0.25), arr(100.0), arr(300.0), arr(k))[0]) for k in (0.0, 1.0))
    assert (flat, bent) == (150.0, 200.0)


@given(u=fracs, v=fracs, k=st.floats(0.0, 2.0))
def test_the_most_concave_law_still_never_falls(u, v, k):
    low, high = sorted((u, v))
    drawn = node_demand_kw(arr(low, high, 1.0), arr(0.25), arr(0.8), arr(k))
    assert (np.diff(drawn) >= -1e-15).all()
    assert drawn[2] == pytest.approx(0.8, rel=1e-15)


NODES = np.array([1, 3], dtype=np.int64)
MEASURED = Curve(NODES, arr(0.0, 0.1, 0.6, 1.0), arr(0.0, 0.4, 0.7, 1.0))
PACKAGES = wake_curve(NODES, (1, 9), (0.7, 0.3), 16)


def test_a_measured_curve_passes_through_its_points_and_leaves_other_nodes_alone():
    idle, peak = np.full(4, 0.2), np.full(4, 1.2)
    for u, share in ((0.0, 0.0), (0.1, 0.4), (0.35, 0.55), (0.6, 0.7), (1.0, 1.0), (1.4, 1.0)):
        drawn = demand_kw(np.full((2, 4), u), idle, peak, np.zeros(4), (MEASURED,))
        assert drawn[:, NODES] == pytest.approx(np.full((2, 2), 0.2 + share))
        assert drawn[:, [0, 2]] == pytest.approx(np.full((2, 2), 0.2 + min(u, 1.0)))


@given(u=fracs, v=fracs, curve=st.sampled_from([MEASURED, PACKAGES]))
def test_a_curve_never_falls(u, v, curve):
    low, high = sorted((u, v))
    share = curve_share_frac(arr(0.0, low, high, 1.0), curve)
    assert (np.diff(share) >= 0.0).all()
    assert share[0] == 0.0
    assert share[3] == pytest.approx(1.0)


@given(busy=st.integers(0, 16), noise=st.floats(-0.4, 0.4))
def test_a_package_wakes_when_its_cores_are_busy_in_the_engine_as_in_the_fit(busy, noise):
    """The engine's curve and the fit's count of busy cores (realdata/powerfit.py) say the same at every utilisation."""
    u = arr(min(max(busy + noise, 0.0), 16.0) / 16.0)
    assert busy_cores(u, 16)[0] == busy
    awake = 0.7 * (busy >= 1) + 0.3 * (busy >= 9)
    assert curve_share_frac(u, PACKAGES)[0] == pytest.approx(awake)


@pytest.mark.parametrize(("load", "efficiency"), [(0.2, 0.90), (0.5, 0.94), (1.0, 0.91)])
def test_a_platinum_supply_meets_its_table(load, efficiency):
    output = arr(3.0 * load)
    assert float(output[0] / psu_input_kw(output, arr(3.0), arr(1.0))[0]) == pytest.approx(efficiency, abs=5e-5)


def test_losing_one_of_two_supplies_makes_the_other_lose_much_more():
    """1+1 at full load: each at half, 94 %; the one that is left is full, 91 % (notes/incidents.md B.5)."""
    output, rated = arr(2.0), arr(2.0)
    both, one = (float(psu_input_kw(output, rated, arr(n))[0] - output[0]) for n in (2.0, 1.0))
    assert both == pytest.approx(2.0 * (1.0 / 0.94 - 1.0), abs=2e-4)
    assert one == pytest.approx(2.0 * (1.0 / 0.91 - 1.0), abs=2e-4)
    assert one / (both / 2.0) > 2.0  # heat of the survivor itself: more than doubled


@given(output=st.floats(0.0, 10.0), rated=st.floats(0.5, 4.0), healthy=st.integers(1, 6))
def test_a_supply_never_gives_more_than_it_takes(output, rated, healthy):
    drawn = float(psu_input_kw(arr(output), arr(rated), arr(healthy))[0])
    assert drawn >= output
    assert drawn > output or output == 0.0


def test_metered_at_the_wall_adds_no_loss_and_off_draws_nothing():
    assert psu_input_kw(arr(0.7, 0.0), arr(0.0, 0.9), arr(2.0, 2.0)).tolist() == [0.7, 0.0]


def test_ups_loss_follows_the_published_coefficients():
    rated, load = arr(1000.0), arr(0.0, 250.0, 500.0, 1000.0)
    loss = ups_loss_kw(load, rated, arr(0.01333), arr(0.00640), arr(0.01081))
    assert loss == pytest.approx([13.33, 15.6056, 19.2325, 30.54], rel=1e-4)
    assert (load[1:] / (load[1:] + loss[1:])).tolist() == pytest.approx([0.9412, 0.9630, 0.9704], abs=1e-4)


def test_the_same_form_holds_a_measured_double_conversion_ups():
    """90.5 / 93.6 / 94.0 / 93.9 % at 25 / 50 / 75 / 100 % of 500 kVA (notes/incidents.md B.5)."""
    x, measured = arr(0.25, 0.5, 0.75, 1.0), arr(0.905, 0.936, 0.940, 0.939)
    c2, c1, c0 = np.polyfit(x, x * (1.0 / measured - 1.0), 2)
    load = 500.0 * x
    efficiency = load / (load + ups_loss_kw(load, arr(500.0), arr(c0), arr(c1), arr(c2)))
    assert efficiency == pytest.approx(measured, abs=0.002)


@pytest.mark.parametrize(("exponent", "speed"), [(0.3, 0.95), (0.5, 0.91), (0.75, 0.87)])
def test_a_gpu_capped_from_700_to_600_w_keeps_the_published_speed(exponent, speed):
    assert float(cap_speed_frac(arr(700.0), arr(600.0), arr(700.0), arr(exponent))[0]) == pytest.approx(
        speed, abs=0.005
    )


@given(demand=fracs, cap=fracs, lower=fracs, exponent=st.floats(0.05, 1.0))
def test_a_lower_cap_never_speeds_up_and_a_cap_that_is_not_reached_costs_nothing(demand, cap, lower, exponent):
    peak = arr(1.0)
    speed, slower = (float(cap_speed_frac(arr(demand), arr(c), peak, arr(exponent))[0]) for c in (cap, cap * lower))
    assert 0.0 <= slower <= speed <= 1.0
    assert speed == 1.0 or demand > cap


@given(u=fracs, k=fracs, cap=st.floats(0.3, 1.0), lower=fracs, scale=st.floats(0.5, 1.5))
def test_a_cap_never_raises_power(u, k, cap, lower, scale):
    """As the twin applies it: power is the smaller of demand and cap, losses of the supplies on top."""
    demand = node_demand_kw(arr(u), arr(0.8), arr(4.0), arr(k)) * scale
    free, capped, tighter = (
        float(psu_input_kw(np.minimum(demand, arr(c * 4.0)), arr(2.2), arr(4.0))[0]) for c in (9.0, cap, cap * lower)
    )
    assert tighter <= capped <= free
