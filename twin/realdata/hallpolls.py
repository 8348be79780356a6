"""Server polls on a regular grid: when a load really changed, what a rack drew, what its sensors said per round.

A server is asked every two minutes or so, so a change of its load is only known to lie between two polls. Loads change
together and servers are polled at different moments: the instant taken is the one nearest to all overlapping intervals,
or, where a meter of all IT power shows the same change, the moment at which half of it was made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant.errors import TelemetryError
from twin.realdata.hall import HOW_TO_GET, Polls
from twin.realdata.tables import Floats, Ints

JUMP_KW = 0.05  # smaller changes are idle chatter of one server [assumed]
JUMP_FRAC = 0.5  # of the largest change any server made
MOST_ROUNDS = 20_000
METER_SEES_FRAC = 0.5  # a meter's change between half and twice that of the polls is the same change [assumed]
SETTLING_STEPS = 2  # readings after the last poll in which the meter may still follow
LEAST_SHARE = 0.5  # of a rack's servers that must answer for a rack mean


@dataclass(frozen=True)
class Rounds:
    """Rack means per round of polls, each (racks, rounds), NaN where less than half of the rack answered.

    at_s: mean instant of the round's polls since the epoch.
    """

    at_s: Floats
    inlet_c: Floats
    outlet_c: Floats


@dataclass(frozen=True)
class ItMeter:
    """A meter of all IT power: reading j is the mean of the step_s before j * step_s [kW], NaN where there is none."""

    step_s: float
    it_kw: Floats

    def half_way_s(self, first_s: float, last_s: float, change_kw: float) -> float:
        """Return when half of a change between two instants was made; NaN where the meter does not show such a one."""
        low = max(0, int(first_s / self.step_s))
        power = self.it_kw[low : int(last_s / self.step_s) + 2 + SETTLING_STEPS]
        if len(power) < 2 or not np.isfinite(power).all():
            return float("nan")
        made_kw = power[-1] - power[0]
        if not METER_SEES_FRAC <= made_kw / change_kw <= 1.0 / METER_SEES_FRAC:
            return float("nan")
        share = (power - power[0]) / made_kw
        after = int(np.argmax(share >= 0.5))
        part = (0.5 - share[after - 1]) / (share[after] - share[after - 1])
        # a reading is the mean of the step before it
        return (low + after - 1 + float(part) - 0.5) * self.step_s


def change_instants_s(polls: Polls, meter: ItMeter | None = None) -> Floats:
    """Return for each poll the instant at which its values began to hold (p,): -inf for a server's first poll.

    Between two polls it is the middle, or the common instant where the load jumped together with that of others.
    """
    first = np.ones(len(polls.at_s), dtype=bool)
    first[1:] = polls.server[1:] != polls.server[:-1]
    before = np.concatenate([[0], np.arange(len(first) - 1)])
    start = np.where(first, -np.inf, polls.at_s[before])
    with np.errstate(invalid="ignore"):
        change = np.where(first, 0.0, polls.power_kw - polls.power_kw[before])
    change = np.nan_to_num(change)
    at = np.where(first, -np.inf, 0.5 * (start + polls.at_s))
    jump = np.abs(change) > max(JUMP_KW, JUMP_FRAC * float(np.abs(change).max(initial=0.0)))
    for sign in (-1.0, 1.0):
        one = np.flatnonzero(jump & (np.sign(change) == sign))
        at[one] = _common_s(start[one], polls.at_s[one], change[one], meter)
    return at


def _common_s(start_s: Floats, end_s: Floats, change_kw: Floats, meter: ItMeter | None) -> Floats:
    """Return one instant per interval: that of its group of overlapping ones, moved inside the interval."""
    answer = 0.5 * (start_s + end_s)
    left = np.arange(len(start_s))
    while len(left):
        s, e = start_s[left], end_s[left]
        edges = np.sort(np.concatenate([s, e]))
        middle = 0.5 * (edges[1:] + edges[:-1])
        covered = np.searchsorted(np.sort(s), middle, "right") - np.searchsorted(np.sort(e), middle, "left")
        best = float(middle[int(np.argmax(covered))])
        reach = float(np.median(e - s))
        group = (s <= best + reach) & (e >= best - reach)
        instant = _nearest_to_all(s[group], e[group])
        if meter is not None:
            seen = meter.half_way_s(float(s[group].min()), float(e[group].max()), float(change_kw[left[group]].sum()))
            instant = seen if np.isfinite(seen) else instant
        answer[left[group]] = np.clip(instant, s[group], e[group])
        left = left[~group]
    return answer


def _nearest_to_all(start_s: Floats, end_s: Floats) -> float:
    """Return the instant with the least sum of distances to all intervals; the middle where many are as good.

    A server that had not changed yet, or had already, pulls the instant past its own poll: it tells more than the many
    whose intervals are wide.
    """
    s, e = np.sort(start_s), np.sort(end_s)
    at = np.unique(np.concatenate([s, e]))
    ahead, behind = np.searchsorted(s, at, "right"), np.searchsorted(e, at, "left")
    tail, head = np.concatenate([np.cumsum(s[::-1])[::-1], [0.0]]), np.concatenate([[0.0], np.cumsum(e)])
    cost = (tail[ahead] - at * (len(s) - ahead)) + (at * behind - head[behind])
    least = np.flatnonzero(cost <= cost.min() + 1e-6)
    return float(0.5 * (at[least[0]] + at[least[-1]]))


def rack_means(polls: Polls, values: Floats, change_s: Floats, cells: int, cell_s: float) -> Floats:
    """Return the mean over each rack's servers in each cell of the grid (cells, racks); NaN polls are passed over.

    Each server's value holds from its change instant to the next; before its first poll the first one holds. A change
    inside a cell counts for the part of the cell that is left.
    """
    seen = np.flatnonzero(np.isfinite(values))
    server, value = polls.server[seen], values[seen]
    first = np.ones(len(seen), dtype=bool)
    first[1:] = server[1:] != server[:-1]
    step = np.where(first, value, value - value[np.maximum(np.arange(len(seen)) - 1, 0)])
    at = np.clip(np.where(first, 0.0, change_s[seen]) / cell_s, 0.0, float(cells))
    racks = len(polls.rack_names)
    cell = np.minimum(at.astype(np.int64), cells - 1)
    part = at - cell
    rack = polls.rack[server]
    size = (cells + 1) * racks
    gained = np.bincount(cell * racks + rack, step * (1.0 - part), size)
    gained += np.bincount((cell + 1) * racks + rack, step * part, size)
    answering = np.bincount(rack[first], minlength=racks)
    _every_rack(answering, polls)
    return np.asarray(np.cumsum(gained.reshape(cells + 1, racks), axis=0)[:cells] / answering)


def _every_rack(answering: Ints, polls: Polls) -> None:
    for name, count in zip(polls.rack_names, answering.tolist(), strict=True):
        if not count:
            raise TelemetryError(f"rack {name}", "no usable poll", "power, fan speed and inlets of a rack", HOW_TO_GET)


def rounds_of(polls: Polls) -> Rounds:
    """Return rack means of inlet and outlet temperature per round of polls."""
    period_s, offset_s = _period_s(polls)
    which = np.floor((polls.at_s - offset_s) / period_s).astype(np.int64)
    which -= which.min()
    count, racks = int(which.max()) + 1, len(polls.rack_names)
    if count > MOST_ROUNDS:
        raise TelemetryError("server polls", f"{count} rounds", f"at most {MOST_ROUNDS}", "keep one day")
    seen = np.isfinite(polls.inlet_c) & np.isfinite(polls.outlet_c)
    place = (polls.rack[polls.server] * count + which)[seen]
    answered = np.bincount(place, minlength=racks * count).reshape(racks, count)
    enough = answered >= LEAST_SHARE * polls.servers_per_rack[:, None]

    def mean(values: Floats) -> Floats:
        total = np.bincount(place, values[seen], racks * count).reshape(racks, count)
        return np.where(enough, total / np.maximum(answered, 1), np.nan)

    return Rounds(mean(polls.at_s), mean(polls.inlet_c), mean(polls.outlet_c))


def _period_s(polls: Polls) -> tuple[float, float]:
    """Return the usual time between two polls of a server and the phase at which fewest servers answer [s]."""
    gap = np.diff(polls.at_s)[polls.server[1:] == polls.server[:-1]]
    period = float(np.median(gap)) if len(gap) else 120.0
    phase = np.floor((polls.at_s % period) / period * 24.0).astype(np.int64)
    quiet: NDArray[np.int64] = np.bincount(np.minimum(phase, 23), minlength=24)
    # the middle of the quietest sixth of the circle
    calm = sum(np.roll(quiet, -shift) for shift in range(4))
    return period, (int(np.argmin(calm)) + 2) / 24.0 * period
