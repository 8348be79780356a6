"""A day of a hall and its fitted twin: inputs on the grid, structure chosen inside the fit window, what the twin says.

Structure (a chassis behind the servers or none, one or two structures in the hall) is chosen by cross-validation: each
half of the fit window is forecast by parameters fitted on the other half. The test window is not read here at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plant.errors import TelemetryError
from twin.realdata.hall import HOW_TO_GET, HallData
from twin.realdata.hallfit import HallFit, RackFit, fit_hall, fit_racks
from twin.realdata.hallmodel import HallInputs, HallSaid, run_hall, run_racks
from twin.realdata.hallpolls import ItMeter, change_instants_s, rack_means, rounds_of
from twin.realdata.halltargets import Targets
from twin.realdata.tables import Bools, Floats

CELL_S = 15.0  # the grid of the running twin
REFERENCE_RPM_QUANTILE = 0.5
CHASSIS = (False, True)
STRUCTURES = (1, 2)


@dataclass(frozen=True)
class HallCase:
    """One day, ready to be fitted: inputs on the grid, targets, and how many cells one facility reading takes."""

    data: HallData
    inputs: HallInputs
    targets: Targets
    per_reading: int
    servers: Floats

    def rounds_in(self, window: slice) -> Bools:
        """Return which rounds (racks, rounds) lie in a window of facility readings: after its first, up to its last."""
        low, high = (window.start - 1) * self.data.step_s, (window.stop - 1) * self.data.step_s
        with np.errstate(invalid="ignore"):
            return np.asarray((self.targets.at_s > low) & (self.targets.at_s <= high))

    def heat_in(self, window: slice) -> Floats:
        """Return the heat readings of a window, NaN elsewhere and where the meter is recovering."""
        heat = np.full(self.data.samples, np.nan)
        heat[window] = self.data.heat_kw[window]
        heat[self.data.recovering] = np.nan
        return heat

    def at_readings(self, series: Floats) -> Floats:
        """Return a series on the grid (cells, 1) at the facility readings (n,)."""
        return np.asarray(series[np.maximum(np.arange(self.data.samples) * self.per_reading - 1, 0), 0])


def hall_case(data: HallData) -> HallCase:
    """Put a day on the grid."""
    per_reading = max(1, round(data.step_s / CELL_S))
    dt_s, cells = data.step_s / per_reading, data.samples * per_reading
    changes = change_instants_s(data.polls, ItMeter(data.step_s, data.it_kw))
    rounds = rounds_of(data.polls)
    servers = data.polls.servers_per_rack.astype(np.float64)
    middles_s = (np.arange(cells, dtype=np.float64) + 0.5) * dt_s
    fan = rack_means(data.polls, data.polls.fan_rpm, changes, cells, dt_s)
    inputs = HallInputs(
        dt_s=dt_s,
        power_kw=rack_means(data.polls, data.polls.power_kw, changes, cells, dt_s) * servers,
        speed_frac=fan / float(np.quantile(fan, REFERENCE_RPM_QUANTILE)),
        inlet_c=_between(rounds.at_s, rounds.inlet_c, middles_s, data.polls.rack_names),
        cooler_frac=_inside(data.fan_frac / np.maximum(data.fan_frac.mean(), 1e-6), per_reading),
        discharge_c=_inside(data.discharge_c, per_reading),
    )
    return HallCase(data, inputs, Targets(rounds.at_s, rounds.inlet_c, rounds.outlet_c), per_reading, servers)


def _inside(readings: Floats, per_reading: int) -> Floats:
    """Return facility readings (n, columns) at the middles of the cells, straight lines between them."""
    at = (np.arange(len(readings) * per_reading) + 0.5) / per_reading
    return np.stack([np.interp(at, np.arange(len(readings)), column) for column in readings.T], axis=1)


def _between(at_s: Floats, values: Floats, when_s: Floats, names: tuple[str, ...]) -> Floats:
    """Return rack means of rounds on the grid (cells, racks), straight lines between them. Raises TelemetryError."""
    columns = []
    for name, at, value in zip(names, at_s, values, strict=True):
        seen = np.isfinite(value)
        if not seen.any():
            raise TelemetryError(
                f"rack {name}", "no round of inlets and outlets", "half of its servers each", HOW_TO_GET
            )
        columns.append(np.interp(when_s, at[seen], value[seen]))
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class HallTwin:
    """Fitted parameters and what they say: outlets with measured inlets (cells, 1, racks), the rest in `said`."""

    rack: RackFit
    hall: HallFit
    outlet_c: Floats
    said: HallSaid


@dataclass(frozen=True)
class Trial:
    """One structure in cross-validation: what it has, and the error of each half when the other one was fitted."""

    name: str
    rmse_of_halves: tuple[float, float]

    @property
    def score(self) -> float:
        """Mean over the halves."""
        return float(np.mean(self.rmse_of_halves))


@dataclass(frozen=True)
class Chosen:
    """The chosen twin, the trials, and the twins of the halves: `of_halves[i]` was fitted on half i alone."""

    twin: HallTwin
    trials: tuple[Trial, ...]
    chassis: bool
    structures: int
    of_halves: tuple[HallTwin, HallTwin]
    halves: tuple[slice, slice]


def halves(window: slice) -> tuple[slice, slice]:
    """Return the two halves of a window."""
    middle = (window.start + window.stop) // 2
    return slice(window.start, middle), slice(middle, window.stop)


def choose_twin(case: HallCase, fit: slice) -> Chosen:
    """Choose the structure by cross-validation over the halves of the fit window, then fit it on all of it."""
    parts = halves(fit)
    trials: list[Trial] = []
    racks = {chassis: [_rack(case, part, chassis) for part in parts] for chassis in CHASSIS}
    outlets = {c: swapped(case, [_outlets(case, r) for r in racks[c]], parts) for c in CHASSIS}
    for c in CHASSIS:
        name = "equipment and chassis" if c else "equipment alone"
        trials.append(Trial(f"outlets: {name}", _outlet_errors(case, outlets[c], parts)))
    chassis = min(CHASSIS, key=lambda c: trials[int(c)].score)
    twins: dict[int, tuple[HallTwin, HallTwin]] = {}
    for n in STRUCTURES:
        first, second = (_on_top(case, rack, part, n) for rack, part in zip(racks[chassis], parts, strict=True))
        twins[n] = (first, second)
        heat = swapped_heat([case.at_readings(twin.said.heat_kw) for twin in twins[n]], parts)
        trials.append(Trial(f"heat: {n} structure{'s' if n > 1 else ''}", _heat_errors(case, heat, parts)))
    structures = min(STRUCTURES, key=lambda n: trials[len(CHASSIS) + STRUCTURES.index(n)].score)
    twin = fit_twin(case, fit, chassis, structures)
    return Chosen(twin, tuple(trials), chassis, structures, twins[structures], parts)


def fit_twin(case: HallCase, window: slice, chassis: bool, structures: int) -> HallTwin:
    """Fit racks and hall of a given structure on one window."""
    return _on_top(case, _rack(case, window, chassis), window, structures)


def _on_top(case: HallCase, rack: RackFit, window: slice, structures: int) -> HallTwin:
    """Fit the hall on top of fitted racks, and run both through the day."""
    hall = _hall(case, rack, window, structures)
    said = run_hall(case.inputs, rack.params, hall.params, hall.inlet.params)
    return HallTwin(rack, hall, run_racks(case.inputs, rack.params), said)


def _rack(case: HallCase, window: slice, chassis: bool) -> RackFit:
    return fit_racks(case.inputs, case.targets, case.rounds_in(window), case.servers, chassis)


def _hall(case: HallCase, rack: RackFit, window: slice, structures: int) -> HallFit:
    heat, rounds = case.heat_in(window), case.rounds_in(window)
    return fit_hall(case.inputs, rack.params, heat, case.per_reading, case.targets, rounds, structures)


def _outlets(case: HallCase, rack: RackFit) -> Floats:
    return np.asarray(case.targets.sample(run_racks(case.inputs, rack.params), case.inputs.dt_s)[0])


def swapped(case: HallCase, said: list[Floats], parts: tuple[slice, slice]) -> Floats:
    """Return what each half is told by the parameters of the other, NaN outside both."""
    answer = np.full(said[0].shape, np.nan)
    for told, part in zip(reversed(said), parts, strict=True):
        answer = np.where(case.rounds_in(part), told, answer)
    return answer


def swapped_heat(said: list[Floats], parts: tuple[slice, slice]) -> Floats:
    """Return what each half is told by the other's parameters at the facility readings (n,), NaN outside both."""
    answer = np.full(len(said[0]), np.nan)
    for told, part in zip(reversed(said), parts, strict=True):
        answer[part] = told[part]
    return answer


def _outlet_errors(case: HallCase, said: Floats, parts: tuple[slice, slice]) -> tuple[float, float]:
    first, second = (rack_rmse(case.targets.outlet_c, said, case.rounds_in(part)) for part in parts)
    return float(np.nanmean(first)), float(np.nanmean(second))


def _heat_errors(case: HallCase, said: Floats, parts: tuple[slice, slice]) -> tuple[float, float]:
    """RMSE over mean of each half."""
    both = [(case.heat_in(part), said) for part in parts]
    first, second = (float(np.sqrt(np.nanmean((s - y) ** 2)) / np.nanmean(y)) for y, s in both)
    return first, second


def rack_rmse(measured: Floats, said: Floats, used: Bools) -> Floats:
    """Return the RMSE of each rack over the used rounds (racks,), NaN for a rack without one."""
    error = np.where(used & np.isfinite(measured) & np.isfinite(said), said - measured, np.nan)
    count = np.isfinite(error).sum(axis=1)
    return np.asarray(np.sqrt(np.where(count, np.nansum(error**2, axis=1) / np.maximum(count, 1), np.nan)))
