"""Emulated histories: many members of a site live through quiet hours, air in the water, and scares that pass.

The members are run by the twin's own engine with spread parameters; on top come sensor bias, noise and gaps. They
teach the network the shapes of trouble. They say nothing about how often it comes, nor how well it is foreseen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant.cooling import loop_pressure_kpa
from plant.site import Site
from predict.histories import History
from predict.watched import WATCHES
from twin.emulated_jobs import emulated_jobs
from twin.engine import run
from twin.ensemble import Spread, make_state
from twin.nodephase import STOPPED
from twin.sensors import Quality
from twin.state import State

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Luck = np.random.Generator

KINDS = ("loop", "rack")
MEMBERS = 16  # in one run; they share jobs, nothing else
HOURS = 5.0
SETTLE_MS = 45 * 60_000  # from an idle start until loads and temperatures are those of a working day
SAMPLE_MS = 30_000
RACKS_PER_HALL = 3

# What befalls a loop of a member: air that ends in a trip, air that is bled in time, one chiller lost, nothing.
FATES = ("airlock", "scare", "chiller", "quiet")
FATE_SHARES = (0.5, 0.15, 0.1, 0.25)
# Lead from the first sign to the trip: median 27 min, 5 % below 8, 95 % above 90; 30 % show nothing (notes B.8).
LEAD_MEDIAN_MIN, LEAD_SIGMA, NO_WARNING_SHARE = 27.0, 0.73, 0.3
TRIP_FLOW_FRAC = (0.35, 0.55)
SCARE_FLOW_FRAC = (0.85, 0.97)
RESIDUAL_FLOW_FRAC = (0.0, 0.15)
REPAIR_MIN = (20.0, 240.0)

# Sensors: those of the emulated site, or up to twice as noisy; relative ones are as noisy as flow and pressure meters.
QUALITY = Quality()
NOISIER = (1.0, 2.0)
GAP_FRAC = (0.01, 0.05)
BUSY_FRAC = (0.4, 0.8)


@dataclass(frozen=True)
class Fate:
    """What happens to one loop of one member [ms from the start of the run]; an airlock trips at `end_ms`."""

    name: str
    onset_ms: int
    end_ms: int

    @property
    def trip_ms(self) -> int | None:
        """When its chillers trip, None if they do not."""
        return self.end_ms if self.name == "airlock" else None


def emulate_histories(
    site: Site, n: int, seed: int, *, hours: float = HOURS, told: Callable[[int, int], None] | None = None
) -> list[History]:
    """Return the histories of loops and some racks of `n` members of a site; `told(done, n)` hears progress.

    A loop fails when its chillers trip, a rack when the first of its nodes shuts itself down.
    """
    out: list[History] = []
    for first in range(0, n, MEMBERS):
        count = min(MEMBERS, n - first)
        luck = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, first])))
        out += _lived(site, count, luck, int(hours * 3.6e6))
        if told:
            told(first + count, n)
    return out


def _lived(site: Site, members: int, luck: Luck, end_ms: int) -> list[History]:
    """Run some members side by side and return their histories."""
    seed = int(luck.integers(2**31))
    busy_frac = {hall: float(luck.uniform(*BUSY_FRAC)) for hall in site.hall_ids}
    jobs = emulated_jobs(site, seed, 0, end_ms / 3.6e6, busy_frac)
    state = make_state(site, 0, jobs=jobs, members=members, seed=seed, spread=Spread())
    fates = [[_fate(luck, end_ms) for _ in site.loop_ids] for _ in range(members)]
    for member, row in enumerate(fates):
        for loop, fate in enumerate(row):
            _write(state, site, member, loop, fate, luck)
    passing = {(member, loop): fate for member, row in enumerate(fates) for loop, fate in enumerate(row)}
    racks = _some_racks(site, luck)
    times = np.arange(SETTLE_MS, end_ms, SAMPLE_MS)
    truth: list[dict[str, Array]] = []
    stopped_ms = np.full((members, len(site.rack_ids)), -1, np.int64)
    for now_ms in times.tolist():
        run(state, site, now_ms)
        _scares(state, passing, now_ms)
        truth.append(_true_values(state, racks))
        down = np.maximum.reduceat(state.node_phase == STOPPED, site.rack_start[:-1], axis=1)
        stopped_ms[down & (stopped_ms < 0)] = now_ms
    tripped_ms = np.array([[fate.trip_ms or -1 for fate in row] for row in fates], np.int64)
    troubled = np.array([[fate.name != "quiet" for fate in row] for row in fates])
    events = {"loop": tripped_ms, "rack": stopped_ms[:, racks]}
    of_loop = {
        "loop": np.arange(len(site.loop_ids)),
        "hall": site.hall_loop,
        "rack": site.hall_loop[site.rack_hall[racks]],
    }
    names = {"loop": site.loop_ids, "rack": tuple(site.rack_ids[r] for r in racks)}
    found: list[History] = []
    for kind in KINDS:
        values = np.stack([at[kind] for at in truth], axis=2)
        seen = _measured(kind, values, luck)
        found += [
            History(
                kind,
                names[kind][c],
                times,
                seen[m, c],
                int(events[kind][m, c]) if events[kind][m, c] >= 0 else None,
                end_ms,
                bool(troubled[m, of_loop[kind][c]]),
            )
            for m in range(members)
            for c in range(len(names[kind]))
        ]
    return found


def _fate(luck: Luck, end_ms: int) -> Fate:
    """Draw what happens to one loop; the first sign shows after enough quiet for a reference."""
    name = str(luck.choice(FATES, p=FATE_SHARES))
    lead_min = LEAD_MEDIAN_MIN * np.exp(LEAD_SIGMA * luck.standard_normal())
    if name == "airlock" and luck.random() < NO_WARNING_SHARE:
        lead_min = 0.0
    earliest = SETTLE_MS + 30 * 60_000
    onset_ms = int(luck.uniform(earliest, max(earliest + 1, end_ms - 90 * 60_000)))
    return Fate(name, onset_ms, onset_ms + int(lead_min * 60_000))


def _write(state: State, site: Site, member: int, loop: int, fate: Fate, luck: Luck) -> None:
    """Put a fate into the agenda of one member; a scare is steered by `_scares`."""
    repaired_ms = fate.end_ms + int(luck.uniform(*REPAIR_MIN) * 60_000)
    if fate.name == "airlock":
        data = {
            "trip_ms": fate.end_ms,
            "trip_flow_frac": luck.uniform(*TRIP_FLOW_FRAC),
            "residual_flow_frac": luck.uniform(*RESIDUAL_FLOW_FRAC),
            "bled_ms": repaired_ms,
            "chillers_back": 4,
            "all_back_ms": repaired_ms + 600_000,
        }
        phase = "ingress" if fate.end_ms > fate.onset_ms else "low_flow"
        state.agenda.add(fate.onset_ms, "loop_airlock", site.loop_ids[loop], phase, data, (member,))
    elif fate.name == "scare":
        drop = luck.uniform(1.0 - SCARE_FLOW_FRAC[1], 1.0 - SCARE_FLOW_FRAC[0])
        state.loop_flow_per_s[member, loop] = -drop / max((fate.end_ms - fate.onset_ms) / 1000.0, 60.0)
    elif fate.name == "chiller":
        mine = np.flatnonzero((site.chiller_loop == loop) & ~site.chiller_standby)
        one = site.chiller_ids[int(luck.choice(mine))]
        state.agenda.add(fate.onset_ms, "chiller", one, "trip", {"repaired_ms": repaired_ms}, (member,))


def _scares(state: State, fates: dict[tuple[int, int], Fate], now_ms: int) -> None:
    """Air that is bled in time: flow drifts between onset and end, then is back at once."""
    for (member, loop), fate in fates.items():
        if fate.name == "scare" and not fate.onset_ms <= now_ms < fate.end_ms:
            state.loop_flow_frac[member, loop] = 1.0


def _true_values(state: State, racks: Ints) -> dict[str, Array]:
    """Return what the judged channels of each kind truly are now, (members, components, channels)."""
    flow = state.loop_flow_frac
    return {
        "loop": np.stack([state.loop_supply_c, flow, loop_pressure_kpa(flow)], axis=2),
        "rack": state.rack_inlet_c[:, racks, None].copy(),
    }


def _measured(kind: str, truth: Array, luck: Luck) -> Array:
    """Return truth (members, components, times, judged channels) as sensors tell it, all watched channels, NaN gaps."""
    judged = [column for column, watch in enumerate(WATCHES[kind]) if watch.worse]
    kelvin = np.array([WATCHES[kind][column].channel.endswith("_c") for column in judged])
    bias = QUALITY.bias_k * kelvin * luck.standard_normal((*truth.shape[:2], 1, truth.shape[3]))
    sigma = luck.uniform(*NOISIER) * np.where(kelvin, QUALITY.temp_k, QUALITY.relative * truth)
    seen = truth + bias + sigma * luck.standard_normal(truth.shape)
    values = np.full((*truth.shape[:3], len(WATCHES[kind])), np.nan)
    values[..., judged] = np.where(luck.random(truth.shape) < luck.uniform(*GAP_FRAC), np.nan, seen)
    return values


def _some_racks(site: Site, luck: Luck) -> Ints:
    halls = [np.flatnonzero(site.rack_hall == hall) for hall in range(len(site.hall_ids))]
    return np.concatenate([luck.choice(mine, min(RACKS_PER_HALL, len(mine)), replace=False) for mine in halls])
