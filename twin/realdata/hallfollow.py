"""A hall followed by its readings: every round of polls and every reading of the heat meter corrects the ensemble.

Outlets correct the temperatures and parameters of their rack, inlets those of its intake, heat those of the hall, by
the square-root update of `twin/sync/assimilate.py`. What the members cannot explain goes into a bias per channel and
rack that fades (an Ornstein-Uhlenbeck process); its variance is kept beside the ensemble's. A reading that lies further
off than `DOUBTED_SD` counts as if it lay there. A round's mean is one reading, at the mean instant of its polls.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np

from twin.realdata.hallair import HallAir
from twin.realdata.hallmembers import Bias, HallRows, Known, Members, Moment, copied, mean_of
from twin.realdata.halltwin import HallCase
from twin.realdata.tables import Bools, Floats
from twin.sync.assimilate import Correction, Observed

DOUBTED_SD = 4.0
TIMING_STEPS = 0.5  # when a load changed is known to this share of the time between two facility readings
LEAST_OF_FIT, MOST_OF_FIT = 1.0 / 3.0, 3.0  # how far readings may move what must stay above 0
RACK_PARAMS = (
    "equipment_kj_per_k", "equipment_kw_per_k", "chassis_kj_per_k", "chassis_kw_per_k", "flow_kw_per_k",
)  # fmt: skip
INLET_PARAMS = ("offset_k", "cold_frac", "own_frac", "warmed_frac", "hall_frac", "washed_k")
HALL_PARAMS = ("air_kj_per_k", "structure_kj_per_k", "structure_kw_per_k", "coil_kj_per_k", "coil_kw_per_k")
CHANNELS = ("outlet", "inlet", "heat")


@dataclass(frozen=True)
class ChannelNoise:
    """Errors of a channel [K or kW]: of one reading by itself, and of the model, which stay alike for fade_s.

    alike: so many readings in a row tell as much as one, because what they are off by is alike.
    """

    reading_sd: float
    bias_sd: float
    fade_s: float
    alike: float = 1.0

    @property
    def error_var(self) -> float:
        """Variance a reading counts with."""
        return self.alike * self.reading_sd**2

    def fade(self, dt_s: float) -> float:
        """Return the share of a bias that is left after dt_s."""
        return float(np.exp(-dt_s / self.fade_s))


Noise = dict[str, ChannelNoise]  # by channel: outlet, inlet, heat


@dataclass(frozen=True)
class Frame:
    """Members or their mean at the end of a cell: parameters, state, and the variance of the biases (1, racks or 1)."""

    cell: int
    members: Members
    moment: Moment
    variance: Bias


def known_at(case: HallCase, cells: int | np.ndarray, given: bool) -> Known:
    """Return the inputs of one or more cells (k, ...); inlets only where they are given."""
    inputs, at = case.inputs, np.atleast_1d(cells)
    each = inputs.cooler_frac[at]
    blown = each.mean(axis=1, keepdims=True)
    total = np.maximum(each.sum(axis=1, keepdims=True), 1e-9)
    cold = (each * inputs.discharge_c[at]).sum(axis=1, keepdims=True) / total
    surplus = blown / np.maximum(inputs.speed_frac[at].mean(axis=1, keepdims=True), 1e-9) - 1.0
    inlet = inputs.inlet_c[at] if given else None
    return Known(inputs.power_kw[at], inputs.speed_frac[at], blown, cold, surplus, inlet)


class Follower:
    """An ensemble on its way through the day; `given`: inlets are inputs, hall and heat are left out."""

    def __init__(self, case: HallCase, members: Members, noise: Noise, *, given: bool) -> None:
        self.case, self.noise, self.given, self.dt_s = case, noise, given, case.inputs.dt_s
        self.timing_s = TIMING_STEPS * case.data.step_s
        self.m = max(len(members.rack.flow_kw_per_k), len(members.hall.heat_gain))
        self.members = copied(members, self.m)
        self.rows = HallRows(self.members, self.dt_s, given=given)
        self.moment = copied(self.rows.at_rest(known_at(case, 0, given)), self.m)
        self.cell = 0  # the next one
        self.variance = _bias_variances(noise, len(case.servers))
        self._bounds = _bounds(self.members)
        self._rounds = _rounds_by_cell(case)

    def branch(self, noise: Noise) -> Follower:
        """Return a follower that stands where this one does and trusts differently; biases must still be 0."""
        other = copy(self)
        other.noise, other.variance = noise, _bias_variances(noise, len(self.case.servers))
        other.members, other.moment = copied(self.members, self.m), copied(self.moment, self.m)
        other.rows = HallRows(other.members, self.dt_s, given=self.given)
        return other

    def wait(self, until: int) -> None:
        """Go on to a cell without hearing anything."""
        for i in range(self.cell, until):
            self.rows.step(self.moment, known_at(self.case, i, self.given))
        self.cell = max(self.cell, until)

    def hear(self, until: int, wanted: Bools, *, spread: bool) -> Iterator[Frame]:
        """Go on to a cell, corrected by all readings on the way; give a frame at the end of each wanted cell.

        A frame is a copy of all members, or without `spread` their mean alone.
        """
        for i in range(self.cell, until):
            before = (self.rows.outlet_c(self.moment), self.rows.inlet_c(self.moment))
            heat_kw = self.rows.heat_kw(self.moment)
            self.rows.step(self.moment, known_at(self.case, i, self.given))
            self._fade()
            self._hear_rounds(i, before)
            self._hear_meter(i, heat_kw)
            self.cell = i + 1
            if wanted[i]:
                both = [copied(x, self.m) if spread else mean_of(x) for x in (self.members, self.moment)]
                yield Frame(i, both[0], both[1], copied(self.variance, 1))

    def _fade(self) -> None:
        biases, variances = vars(self.moment.bias).values(), vars(self.variance).values()
        for channel, bias, variance in zip(CHANNELS, biases, variances, strict=True):
            noise = self.noise[channel]
            left = noise.fade(self.dt_s)
            bias *= left
            variance += (1.0 - left * left) * (noise.bias_sd**2 - variance)

    def _hear_rounds(self, i: int, before: tuple[Floats, Floats]) -> None:
        if i not in self._rounds:
            return
        targets, (racks, rounds) = self.case.targets, self._rounds[i]
        part = np.zeros(len(self.case.servers))
        part[racks] = targets.at_s[racks, rounds] / self.dt_s - i
        moment, now = self.moment, (self.rows.outlet_c(self.moment), self.rows.inlet_c(self.moment))
        said = [b + np.clip(part, 0.0, 1.0) * (n - b) for b, n in zip(before, now, strict=True)]
        value = np.full(len(part), np.nan)
        value[racks] = targets.outlet_c[racks, rounds]
        rate = [(n - b).mean(axis=0) / self.dt_s for b, n in zip(before, now, strict=True)]
        outlet = self._heard("outlet", said[0], value, rate[0])
        states = [moment.racks.equipment_c, moment.racks.air_c, moment.racks.chassis_c, moment.racks.reading_c]
        self._correct(outlet, [*states, moment.racks.exhaust_c], self.members.rack, (*RACK_PARAMS, "offset_k"))
        if not self.given:
            value[racks] = targets.inlet_c[racks, rounds]
            inlet = self._heard("inlet", said[1], value, rate[1])
            self._correct(inlet, [moment.intake.seen_c, moment.intake.warm_k], self.members.inlet, INLET_PARAMS)

    def _hear_meter(self, i: int, before_kw: Floats) -> None:
        reading, rest = divmod(i + 1, self.case.per_reading)
        if self.given or rest or reading >= self.case.data.samples or self.case.data.recovering[reading]:
            return
        value = self.case.data.heat_kw[reading : reading + 1]
        said, air = self.rows.heat_kw(self.moment), self.moment.air
        heat = self._heard("heat", said, value, (said - before_kw).mean(axis=0) / self.dt_s)
        self._correct(heat, [air.hot_c, air.coil_c, air.read_kw], self.members.hall, ("heat_gain", "base_kw"))
        wide = heat.take(np.zeros(air.structure_c.shape[1], dtype=np.intp)) if self.m > 1 else None
        if wide is not None:
            wide.apply(air.structure_c)
            for name in HALL_PARAMS:
                array = getattr(self.members.hall, name)
                (wide if array.shape[1] > 1 else heat).apply(array, doubtful=True)
                np.clip(array, *self._bounds[name], out=array)
            self.rows.air = HallAir(self.members.hall, self.dt_s)

    def _heard(self, channel: str, said: Floats, value: Floats, rate: Floats) -> Correction:
        """Return the correction of a channel's readings (NaN = none) and move its bias and the bias's variance.

        rate: how fast the model says they change; a change at a slightly wrong moment looks like an error of that size.
        """
        noise, bias = self.noise[channel], vars(self.moment.bias)
        name = next(n for n in bias if n.startswith(channel))
        variance = getattr(self.variance, name)
        present, mean = np.isfinite(value), said.mean(axis=0)
        error_var = noise.error_var + (self.timing_s * rate) ** 2
        sd = np.sqrt(said.var(axis=0) + variance[0] + error_var)
        heard = mean + np.clip(np.where(present, value - mean, 0.0), -DOUBTED_SD * sd, DOUBTED_SD * sd)
        correction = Correction.of(said, Observed(heard, present, error_var, variance[0]))
        correction.push(bias[name])
        variance *= 1.0 - present * correction.noise_gain
        return correction

    def _correct(self, correction: Correction, states: list[Floats], params: object, names: tuple[str, ...]) -> None:
        if self.m < 2:
            return  # one member has no spread to listen with
        for state in states:
            correction.apply(state)
        for name in names:
            array = getattr(params, name)
            correction.apply(array, doubtful=True)
            if name in self._bounds:
                np.clip(array, *self._bounds[name], out=array)


def _bias_variances(noise: Noise, racks: int) -> Bias:
    """The biases' variances before anything was heard."""
    each = zip(CHANNELS, (racks, racks, 1), strict=True)
    return Bias(*(np.full((1, n), noise[c].bias_sd ** 2) for c, n in each))


def _bounds(members: Members) -> dict[str, tuple[Floats, Floats]]:
    """How far capacities, conductances and flows may go from their fitted values."""
    both = [(name, getattr(members.rack, name)) for name in RACK_PARAMS]
    both += [(name, getattr(members.hall, name)) for name in HALL_PARAMS]
    means = {name: array.mean(axis=0) for name, array in both}
    return {name: (LEAST_OF_FIT * mean, MOST_OF_FIT * mean) for name, mean in means.items()}


def _rounds_by_cell(case: HallCase) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return by cell which rounds of which racks lie in it."""
    targets = case.targets
    rack, which = np.nonzero(np.isfinite(targets.outlet_c) & np.isfinite(targets.at_s))
    cell = np.ceil(targets.at_s[rack, which] / case.inputs.dt_s).astype(np.int64) - 1
    order = np.argsort(cell, kind="stable")
    edges = np.flatnonzero(np.diff(cell[order], prepend=np.nan))
    parts = [order[a:b] for a, b in zip(edges, [*edges[1:], len(order)], strict=True)]
    return {int(cell[p[0]]): (rack[p], which[p]) for p in parts}
