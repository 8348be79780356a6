"""A hall followed by its readings: what corrects what, what is not believed, and what a forecast may know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plant.streams import normal
from tests.test_twin_hall import CELLS, DT_S, SERVERS, inputs, true_hall, true_inlets, true_racks
from twin.realdata.hall import HallData, Polls
from twin.realdata.hallahead import AHEAD_S, follow
from twin.realdata.hallfit import HallFit, RackFit, fit_hall, fit_racks
from twin.realdata.hallfollow import ChannelNoise, Follower, Noise
from twin.realdata.hallmap import SHIPPED, HallMapping
from twin.realdata.hallmembers import Members, draw_members
from twin.realdata.hallmodel import run_hall, run_racks
from twin.realdata.halltargets import Targets
from twin.realdata.halltwin import HallCase

NOISE: Noise = {
    "outlet": ChannelNoise(0.1, 0.2, 3600.0),
    "inlet": ChannelNoise(0.1, 0.2, 3600.0),
    "heat": ChannelNoise(0.3, 0.5, 3600.0),
}
EVERYTHING = np.ones(CELLS, dtype=bool)
AFTER_S = 9000.0  # the window that is forecast begins here


def hall_of(outlet_k: float = 0.0, inlet_k: float = 0.0, heat_kw: float = 0.0) -> HallCase:
    """The synthetic hall as a case, its readings off by what is given; one facility reading per cell."""
    from plant.errors import ConfigError
    from plant.files import load_toml

    day = inputs()
    truth = run_hall(day, true_racks(), true_hall(), true_inlets())
    cells = np.arange(3, CELLS, 4)
    at = np.repeat(((cells + 1) * DT_S)[None], 2, axis=0)
    targets = Targets(at, truth.inlet_c[cells, 0].T + inlet_k, truth.outlet_c[cells, 0].T + outlet_k)
    heat = np.concatenate([truth.heat_kw[:1, 0], truth.heat_kw[:-1, 0]]) + heat_kw
    nothing, none = np.empty(0), np.empty(0, dtype=np.int64)
    polls = Polls(none, nothing, nothing, nothing, nothing, nothing, none, ("a", "b"))
    mapping: HallMapping = load_toml(SHIPPED, HallMapping, ConfigError)
    data = HallData(
        mapping, 0, round(DT_S * 1000), day.cooler_frac, day.discharge_c, heat, np.zeros(CELLS, dtype=bool),
        day.power_kw.sum(axis=1), polls, 0, {},
    )  # fmt: skip
    return HallCase(data, day, targets, 1, SERVERS)


def truth_alone() -> Members:
    return Members(true_racks(), true_hall(), true_inlets())


def window_of(case: HallCase) -> slice:
    return slice(round(AFTER_S / DT_S) + 1, case.data.samples)


def told(case: HallCase, members: Members, *, given: bool, spread: bool = False):
    return follow(case, Follower(case, members, NOISE, given=given), window_of(case), spread=spread)


@pytest.fixture(scope="module")
def fits() -> tuple[RackFit, HallFit]:
    """A twin fitted on the first hour and a half, when only the first rack had seen load."""
    case = hall_of()
    window = case.rounds_in(slice(1, 180))
    racks = fit_racks(case.inputs, case.targets, window, SERVERS, chassis=True)
    heat = case.heat_in(slice(1, 180))
    return racks, fit_hall(case.inputs, racks.params, heat, 1, case.targets, window, structures=1)


def drawn(fits: tuple[RackFit, HallFit], count: int = 32, width: float = 1.0) -> Members:
    return draw_members(*fits, SERVERS, count, dict.fromkeys(("outlet", "inlet", "heat"), width), 7)


def test_stepped_by_itself_a_member_is_the_model():
    case = hall_of()
    follower = Follower(case, truth_alone(), NOISE, given=False)
    follower.wait(CELLS)
    truth = run_hall(case.inputs, true_racks(), true_hall(), true_inlets())
    assert follower.rows.outlet_c(follower.moment)[0] == pytest.approx(truth.outlet_c[-1, 0], abs=1e-9)
    assert follower.rows.inlet_c(follower.moment)[0] == pytest.approx(truth.inlet_c[-1, 0], abs=1e-9)
    assert follower.rows.heat_kw(follower.moment)[0, 0] == pytest.approx(truth.heat_kw[-1, 0], abs=1e-9)
    given = Follower(case, truth_alone(), NOISE, given=True)
    given.wait(CELLS)
    alone = run_racks(case.inputs, true_racks())
    assert given.rows.outlet_c(given.moment)[0] == pytest.approx(alone[-1, 0], abs=1e-9)


def test_forecasts_of_a_perfect_model_are_right():
    case = hall_of()
    ahead, wanted = told(case, truth_alone(), given=False), case.rounds_in(window_of(case))
    assert np.nanmax(np.abs(ahead.outlet.value - case.targets.outlet_c)[wanted]) < 0.02
    assert np.nanmax(np.abs(ahead.inlet.value - case.targets.inlet_c)[wanted]) < 0.02
    assert np.nanmax(np.abs(ahead.heat.value[window_of(case), 0] - case.data.heat_kw[window_of(case)])) < 0.05
    assert np.isnan(ahead.heat.value[: window_of(case).start]).all()


@pytest.mark.parametrize("off", [{"outlet_k": 0.5}, {"inlet_k": -0.4}, {"heat_kw": 1.5}])
def test_what_is_always_off_becomes_a_bias(off: dict[str, float]):
    case = hall_of(**off)
    ahead, wanted = told(case, truth_alone(), given=False), case.rounds_in(window_of(case))
    size = max(abs(v) for v in off.values())
    assert np.sqrt(np.nanmean((ahead.outlet.value - case.targets.outlet_c)[wanted] ** 2)) < 0.4 * size
    assert np.sqrt(np.nanmean((ahead.inlet.value - case.targets.inlet_c)[wanted] ** 2)) < 0.4 * size
    heat = (ahead.heat.value[:, 0] - case.data.heat_kw)[window_of(case)]
    assert np.sqrt(np.nanmean(heat**2)) < 0.4 * size


def test_a_forecast_does_not_know_what_is_read_later():
    case = hall_of()
    clean = told(case, truth_alone(), given=False)
    cut_s = 11_000.0
    later = case.targets.at_s > cut_s
    poisoned = replace(
        case,
        targets=replace(
            case.targets,
            outlet_c=np.where(later, 90.0, case.targets.outlet_c),
            inlet_c=np.where(later, 50.0, case.targets.inlet_c),
        ),
        data=replace(case.data, heat_kw=np.where(np.arange(CELLS) * DT_S > cut_s, 500.0, case.data.heat_kw)),
    )
    other = told(poisoned, truth_alone(), given=False)
    early = case.targets.at_s <= cut_s + AHEAD_S
    for name in ("outlet", "inlet"):
        a, b = getattr(clean, name).value, getattr(other, name).value
        assert np.array_equal(a[early], b[early], equal_nan=True)
        assert not np.array_equal(a[~early], b[~early], equal_nan=True)
    known = np.arange(CELLS) * DT_S <= cut_s + AHEAD_S
    assert np.array_equal(clean.heat.value[known], other.heat.value[known], equal_nan=True)


def test_one_wild_reading_moves_little():
    case = hall_of()
    outlet = case.targets.outlet_c.copy()
    outlet[0, 80] += 40.0
    wild = replace(case, targets=replace(case.targets, outlet_c=outlet))
    clean, other = (told(c, truth_alone(), given=True).outlet.value for c in (case, wild))
    assert 0.0 < np.nanmax(np.abs(clean - other)) < 1.0


def test_members_are_spread_as_the_fit_leaves_it_open_around_the_fit(fits: tuple[RackFit, HallFit]):
    members = drawn(fits)
    racks, hall = fits
    assert members.rack.offset_k.mean(axis=0) == pytest.approx(racks.params.offset_k[0], abs=1e-9)
    shares = fits[1].inlet.covariance[:, 1, 1]
    assert members.inlet.cold_frac.var(axis=0, ddof=1) == pytest.approx(shares, rel=1e-6)
    assert members.hall.base_kw.mean() == pytest.approx(hall.params.base_kw[0, 0], abs=1e-9)
    one = drawn(fits, count=1)
    assert one.rack.flow_kw_per_k == pytest.approx(racks.params.flow_kw_per_k)


def test_readings_teach_a_rack_what_the_fit_had_not_seen(fits: tuple[RackFit, HallFit]):
    case = hall_of()
    follower = Follower(case, drawn(fits), NOISE, given=False)
    before = follower.members.inlet.warmed_frac.std(axis=0)[1]
    frames = list(follower.hear(CELLS, EVERYTHING, spread=True))
    learnt = frames[-1].members.inlet.warmed_frac
    assert learnt.std(axis=0)[1] < 0.7 * before  # the second rack's load came after the fit
    assert abs(learnt.mean(axis=0)[1] - 0.08) < abs(fits[1].inlet.params.warmed_frac[0, 1] - 0.08)
    for array in (*vars(frames[-1].members.rack).values(), *vars(frames[-1].members.hall).values()):
        assert np.isfinite(array).all()
        assert (array > -5.0).all()


def test_the_ensemble_forecasts_better_than_its_twin_alone(fits: tuple[RackFit, HallFit]):
    case = hall_of()
    noisy = np.asarray(normal(3, "noise", np.arange(2)[:, None], 0, np.arange(CELLS // 4)[None, :])) * 0.05
    case = replace(case, targets=replace(case.targets, inlet_c=case.targets.inlet_c + noisy))
    wanted = case.rounds_in(window_of(case))
    ahead = told(case, drawn(fits), given=False, spread=True)
    alone = run_hall(case.inputs, fits[0].params, fits[1].params, fits[1].inlet.params)
    open_loop = case.targets.sample(alone.inlet_c, DT_S)[0]
    ours = np.sqrt(np.nanmean((ahead.inlet.value - case.targets.inlet_c)[wanted] ** 2))
    theirs = np.sqrt(np.nanmean((open_loop - case.targets.inlet_c)[wanted] ** 2))
    assert ours < 0.7 * theirs
    assert (ahead.inlet.sd[wanted] > 0.09).all()  # never surer than one reading


def test_nothing_heard_leaves_the_spread_of_a_bias_to_grow():
    case = hall_of()
    silent = replace(
        case,
        targets=replace(case.targets, outlet_c=np.where(case.targets.at_s > 6000.0, np.nan, case.targets.outlet_c)),
    )
    frames = list(Follower(silent, truth_alone(), NOISE, given=True).hear(CELLS, EVERYTHING, spread=True))
    heard, waited = frames[190].variance.outlet_k, frames[-1].variance.outlet_k
    assert (heard < 0.5 * waited).all()
    assert (waited <= NOISE["outlet"].bias_sd ** 2 + 1e-12).all()
