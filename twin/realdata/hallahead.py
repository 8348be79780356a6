"""Forecasts of a hall from every moment of a window: inputs known, readings not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from twin.realdata.hallfollow import CHANNELS, TIMING_STEPS, Follower, Frame, Noise, known_at
from twin.realdata.hallmembers import Bias, HallRows, Known, joined
from twin.realdata.halltwin import HallCase
from twin.realdata.tables import Floats, Ints

AHEAD_S = 600.0
LEAD_IN_S = 3600.0  # readings before a window that the ensemble hears first
BATCH = 48  # moments from which forecasts run side by side


@dataclass(frozen=True)
class Told:
    """What was forecast for a channel and with what standard deviation, NaN = nothing: (racks, rounds) or (n, 1)."""

    value: Floats
    sd: Floats


@dataclass(frozen=True)
class Ahead:
    """Forecasts by channel; of inlets and heat there are none where the inlets were given."""

    outlet: Told
    inlet: Told
    heat: Told


@dataclass(frozen=True)
class _Wanted:
    """From which cell each target is forecast, -1 for none, and how many cells ahead: rounds, heat readings."""

    round_from: Ints
    round_steps: Floats
    heat_from: Ints
    heat_steps: int


def follow(case: HallCase, start: Follower, window: slice, *, spread: bool) -> Ahead:
    """Let an ensemble hear the readings of a window and forecast each of them AHEAD_S earlier.

    start: before the window; the ensemble hears the readings of LEAD_IN_S before the window's first forecast as well.
    spread: forecast with all members, for the standard deviation; otherwise their mean goes ahead alone.
    """
    wanted = _targets(case, window, start.given)
    last = max(wanted.round_from.max(initial=-1), wanted.heat_from.max(initial=-1)) + 1
    flags = np.zeros(len(case.inputs.power_kw), dtype=bool)
    for cells in (wanted.round_from, wanted.heat_from):
        flags[cells[cells >= 0]] = True
    start.wait(begin_of(case, window))
    told, frames = _Filled(case, start.given), start.hear(last, flags, spread=spread)
    while batch := list(islice(frames, BATCH)):
        told.fill(batch, wanted, start.noise)
    return told.ahead()


def begin_of(case: HallCase, window: slice) -> int:
    """Return the cell from which on readings are heard for a window: its first forecast starts LEAD_IN_S later."""
    before = round((LEAD_IN_S + AHEAD_S) / case.inputs.dt_s)
    return max(0, int(window.start - 1) * case.per_reading - before)


def _targets(case: HallCase, window: slice, given: bool) -> _Wanted:
    targets, dt_s = case.targets, case.inputs.dt_s
    inside = case.rounds_in(window) & np.isfinite(targets.outlet_c)
    at_s = np.where(inside, targets.at_s, -1.0)
    origin = np.ceil((at_s - AHEAD_S) / dt_s).astype(np.int64) - 1
    origin = np.where(inside & (origin >= 0), origin, -1)
    readings = np.arange(case.data.samples)
    back = max(1, round(AHEAD_S / case.data.step_s))
    cell = (readings - back) * case.per_reading - 1
    mine = (readings >= window.start) & (readings < window.stop) & (cell >= 0) & (not given)
    return _Wanted(origin, at_s / dt_s - 1.0 - origin, np.where(mine, cell, -1), back * case.per_reading)


class _Filled:
    """Forecasts put in their places as the batches come."""

    def __init__(self, case: HallCase, given: bool) -> None:
        self.case, self.given, self.dt_s = case, given, case.inputs.dt_s
        rounds, readings = case.targets.at_s.shape, (case.data.samples, 1)
        shapes = dict(zip(CHANNELS, (rounds, rounds, readings), strict=True))
        self.told = {c: Told(np.full(s, np.nan), np.full(s, np.nan)) for c, s in shapes.items()}

    def ahead(self) -> Ahead:
        """Return what was forecast."""
        return Ahead(**self.told)

    def fill(self, frames: list[Frame], wanted: _Wanted, noise: Noise) -> None:
        """Run the forecasts that start from these frames and put them in their places."""
        steps = round(AHEAD_S / self.dt_s)
        first, last = min(steps - 1, wanted.heat_steps), max(steps + 1, wanted.heat_steps)
        tail = _run(self.case, frames, noise, range(first, last + 1), self.given)
        variance = {c: _bias_variance(frames, noise, c, AHEAD_S) for c in CHANNELS}
        for c, series in tail.items():
            rate = (series[-1] - series[0]).mean(axis=1) / ((last - first) * self.dt_s)
            variance[c] = variance[c] + (TIMING_STEPS * self.case.data.step_s * rate) ** 2
        if not self.given:
            variance["outlet"] = variance["outlet"] + variance["inlet"]  # what is wrong at the inlet comes out behind
        for b, frame in enumerate(frames):
            racks, rounds = np.nonzero(wanted.round_from == frame.cell)
            place = np.clip(wanted.round_steps[racks, rounds] - first, 0.0, last - first - 1e-6)
            for channel in ("outlet",) if self.given else ("outlet", "inlet"):
                each = _between(tail[channel][:, b][:, :, racks], place)
                self._put(channel, (racks, rounds), each, variance[channel][b, racks])
            readings = np.flatnonzero(wanted.heat_from == frame.cell)
            if len(readings):
                self._put("heat", (readings, 0), tail["heat"][wanted.heat_steps - first, b], variance["heat"][b])

    def _put(self, channel: str, at: tuple[Ints, Ints | int], each: Floats, bias_variance: Floats) -> None:
        """Put a forecast of all members (members, targets) in its place."""
        told = self.told[channel]
        ensemble = each.var(axis=0, ddof=1) if len(each) > 1 else 0.0
        told.value[at] = each.mean(axis=0)
        told.sd[at] = np.sqrt(ensemble + bias_variance)


def _between(series: Floats, place: Floats) -> Floats:
    """Return a series (steps, members, targets) at a place between its lines for each target (members, targets)."""
    low = place.astype(np.int64)
    which = np.arange(series.shape[2])
    before, after = series[low, :, which].T, series[low + 1, :, which].T
    return np.asarray(before + (place - low) * (after - before))


def _run(case: HallCase, frames: list[Frame], noise: Noise, kept: range, given: bool) -> dict[str, Floats]:
    """Step all rows of all frames ahead; return the channels after kept steps (kept, frames, members, racks or 1)."""
    members, moment = joined([f.members for f in frames]), joined([f.moment for f in frames])
    rows, b = HallRows(members, case.inputs.dt_s, given=given), len(frames)
    m = len(moment.racks.air_c) // b
    start = np.array([f.cell for f in frames])
    left = {c: noise[c].fade(case.inputs.dt_s) for c in CHANNELS}
    said: dict[str, list[Floats]] = {c: [] for c in CHANNELS}
    for s in range(1, kept.stop):
        cells = np.minimum(start + s, len(case.inputs.power_kw) - 1)
        bias = moment.bias
        moment.bias = Bias(
            bias.outlet_k * left["outlet"], bias.inlet_k * left["inlet"], bias.heat_kw * left["heat"]
        )  # fmt: skip
        rows.step(moment, _repeated(known_at(case, cells, given), m))
        if s in kept:
            for c, series in zip(CHANNELS, (rows.outlet_c, rows.inlet_c, rows.heat_kw), strict=True):
                value = series(moment)
                said[c].append(value.reshape(b, m, value.shape[1]))
    return {c: np.stack(series) for c, series in said.items()}


def _repeated(known: Known, m: int) -> Known:
    """Return inputs of each frame for all of its members."""
    if m == 1:
        return known
    wide = {name: None if x is None else np.repeat(x, m, axis=0) for name, x in vars(known).items()}
    return replace(known, **wide)  # type: ignore[arg-type]


def _bias_variance(frames: list[Frame], noise: Noise, channel: str, ahead_s: float) -> Floats:
    """Variance of a reading that the biases and the reading itself will have ahead (frames, racks or 1)."""
    mine = noise[channel]
    name = next(n for n in vars(frames[0].variance) if n.startswith(channel))
    now = np.concatenate([getattr(f.variance, name) for f in frames])
    left = mine.fade(ahead_s) ** 2
    return np.asarray(left * now + (1.0 - left) * mine.bias_sd**2 + mine.reading_sd**2)
