"""How much an ensemble of a hall should trust its model and its readings: decided inside the fit window alone.

Each half of the fit window is followed by members of the twin that was fitted on the other half, and forecast 10 min
ahead. What has the least error is taken, channel by channel: how far the members' parameters are spread (a share of
what the fit leaves open; 0 = one member), how large the model's lasting error is, and how long it lasts. What a single
reading is off by comes from the fit's own residuals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from twin.realdata.hallahead import Ahead, Told, begin_of, follow
from twin.realdata.hallfollow import CHANNELS, ChannelNoise, Follower, Noise
from twin.realdata.hallmembers import draw_members
from twin.realdata.halltwin import Chosen, HallCase, HallTwin, rack_rmse
from twin.realdata.tables import Floats

MEMBERS = 32
WIDTHS = (0.0, 0.5, 1.0)
BIAS_SHARES = (1.0, 0.3, 3.0)  # of the fit's residual; the first is where the search begins
FADES_S = (3600.0, 14400.0)
LEAST_SD = 1e-3
BETTER = 0.99  # what is tried later must be better than so much of the best before
MOST_ALIKE = 60
INSIDE = 0.8  # share of readings a band should hold


@dataclass(frozen=True)
class Trust:
    """What was decided, by channel: width of the members' spread, noise, its error in the halves.

    bands: how many standard deviations hold 80 % of the readings there (`outlet_given`: with measured inlets).
    """

    width: dict[str, float]
    noise: Noise
    bands: dict[str, float]
    errors: dict[str, float]


def measured_of(case: HallCase, channel: str, window: slice) -> Floats:
    """Return what was measured of a channel in a window, NaN elsewhere: (racks, rounds), heat (n, 1)."""
    if channel == "heat":
        return case.heat_in(window)[:, None]
    measured = case.targets.outlet_c if channel == "outlet" else case.targets.inlet_c
    return np.where(case.rounds_in(window), measured, np.nan)


def modelled_of(case: HallCase, twin: HallTwin, channel: str) -> Floats:
    """Return what a twin says open loop of a channel, where it is measured; outlets: measured inlets given."""
    if channel == "heat":
        return case.at_readings(twin.said.heat_kw)[:, None]
    series = twin.outlet_c if channel == "outlet" else twin.said.inlet_c
    return np.asarray(case.targets.sample(series, case.inputs.dt_s)[0])


def error_of(channel: str, measured: Floats, told: Floats) -> float:
    """Return the RMSE of a channel, in the mean over racks; NaN where nothing was told."""
    if channel == "heat":
        measured, told = measured.T, told.T
    each = rack_rmse(measured, told, np.isfinite(measured))
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def decide(case: HallCase, chosen: Chosen, fit: slice, seed: int) -> Trust:
    """Return how much to trust what, by cross-validation over the halves of the fit window."""
    search = _Search(case, chosen, fit, seed)
    search.settle(("outlet",), given=True)
    search.settle(("inlet",), given=False)
    search.settle(("heat",), given=False)  # after the inlets, which move the heat out of the racks
    return search.trust()


def ensemble(case: HallCase, twin: HallTwin, trust: Trust, seed: int, *, given: bool) -> Follower:
    """Return the ensemble of a fitted twin, at rest at the start of the day."""
    return _follower(case, twin, trust.width, trust.noise, seed, given)


def _follower(
    case: HallCase, twin: HallTwin, width: dict[str, float], noise: Noise, seed: int, given: bool
) -> Follower:
    spread = max(width["outlet"], 0.0 if given else max(width["inlet"], width["heat"]))
    members = draw_members(twin.rack, twin.hall, case.servers, MEMBERS if spread else 1, width, seed)
    return Follower(case, members, noise, given=given)


class _Search:
    """Tries one thing at a time; each channel keeps what is best for it."""

    def __init__(self, case: HallCase, chosen: Chosen, fit: slice, seed: int) -> None:
        self.case, self.chosen, self.seed = case, chosen, seed
        self.width = dict.fromkeys(CHANNELS, WIDTHS[0])
        self.scale = {c: self._residual(c, fit) for c in CHANNELS}
        self.noise: Noise = {}
        for c in CHANNELS:
            sd = _sd(self.scale[c])
            self.noise[c] = ChannelNoise(sd, BIAS_SHARES[0] * sd, FADES_S[0], _alike(self.scale[c]))
        self.best = dict.fromkeys(CHANNELS, np.inf)
        self.starts: dict[tuple[int, tuple[float, ...], bool], Follower] = {}

    def _residual(self, channel: str, fit: slice) -> Floats:
        """Residuals of the fit, instants along the first axis."""
        residual = measured_of(self.case, channel, fit) - modelled_of(self.case, self.chosen.twin, channel)
        return residual if channel == "heat" else residual.T

    def settle(self, channels: tuple[str, ...], *, given: bool) -> None:
        """Decide width, weight of a reading, size and duration of the lasting error, in this order."""
        for width in WIDTHS:
            self._try(channels, given, {c: (width, self.noise[c]) for c in channels})
        self._try(channels, given, {c: (self.width[c], replace(self.noise[c], alike=1.0)) for c in channels})
        for share in BIAS_SHARES[1:]:
            sd = {c: share * _sd(self.scale[c]) for c in channels}
            self._try(channels, given, {c: (self.width[c], replace(self.noise[c], bias_sd=sd[c])) for c in channels})
        for fade_s in FADES_S[1:]:
            self._try(channels, given, {c: (self.width[c], replace(self.noise[c], fade_s=fade_s)) for c in channels})

    def _try(self, channels: tuple[str, ...], given: bool, settings: dict[str, tuple[float, ChannelNoise]]) -> None:
        width = self.width | {c: s[0] for c, s in settings.items()}
        noise = self.noise | {c: s[1] for c, s in settings.items()}
        told = [a for a, _ in self._halves(width, noise, given, spread=False)]
        for c in channels:
            error = self._error(c, told)
            if error < BETTER * self.best[c] or not np.isfinite(self.best[c]):
                self.best[c], self.width[c], self.noise[c] = error, *settings[c]

    def _halves(self, width: dict[str, float], noise: Noise, given: bool, *, spread: bool) -> list[tuple[Ahead, slice]]:
        answer = []
        for i, part in enumerate(reversed(self.chosen.halves)):
            start = self._start(i, part, tuple(width.values()), given).branch(noise)
            answer.append((follow(self.case, start, part, spread=spread), part))
        return answer

    def _start(self, i: int, part: slice, widths: tuple[float, ...], given: bool) -> Follower:
        """Return the ensemble of half i's twin where it begins to hear readings for the other half; made once."""
        key = (i, widths, given)
        if key not in self.starts:
            width = dict(zip(CHANNELS, widths, strict=True))
            follower = _follower(self.case, self.chosen.of_halves[i], width, self.noise, self.seed, given)
            follower.wait(begin_of(self.case, part))
            self.starts[key] = follower
        return self.starts[key]

    def _error(self, channel: str, told: list[Ahead]) -> float:
        errors = [
            error_of(channel, measured_of(self.case, channel, part), getattr(ahead, channel).value)
            for ahead, part in zip(told, reversed(self.chosen.halves), strict=True)
        ]
        return float(np.nanmean(errors)) if np.isfinite(errors).any() else float("inf")

    def trust(self) -> Trust:
        """Return what was decided, with the bands that held 80 % of the halves' readings."""
        bands = {}
        for given in (True, False):
            told = self._halves(self.width, self.noise, given, spread=True)
            for channel in ("outlet",) if given else CHANNELS:
                bands[f"{channel}_given" if given else channel] = self._band(channel, told)
        return Trust(self.width, self.noise, bands, self.best)

    def _band(self, channel: str, told: list[tuple[Ahead, slice]]) -> float:
        """Return how many standard deviations hold INSIDE of the readings, the normal law's where nothing is known."""
        off = []
        for ahead, part in told:
            said: Told = getattr(ahead, channel)
            off.append((np.abs(measured_of(self.case, channel, part) - said.value) / said.sd).ravel())
        known = np.concatenate(off)
        known = known[np.isfinite(known)]
        return float(np.quantile(known, INSIDE)) if len(known) >= 20 else 1.2816


def _sd(residual: Floats) -> float:
    """Standard deviation of residuals about 0 (instants, components)."""
    return max(LEAST_SD, float(np.sqrt(np.nanmean(residual**2)))) if np.isfinite(residual).any() else 1.0


def _alike(residual: Floats) -> float:
    """Return how many residuals in a row tell as much as one: 1 + 2 sum of autocorrelations to the first below 0."""
    size, alike = _sd(residual), 1.0
    for lag in range(1, min(MOST_ALIKE, len(residual))):
        both = residual[lag:] * residual[:-lag]
        if not np.isfinite(both).any() or np.nanmean(both) <= 0.0:
            break
        alike += 2.0 * float(np.nanmean(both)) / size**2
    return alike
