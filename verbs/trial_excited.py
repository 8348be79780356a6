"""Which parameters a story excites: decided from physics before anything is learned, not from what was learned.

A twin with the site file's parameters lives through the story beside the emulated site, with one member for each
parameter that is moved by one prior standard deviation, up in one half of the components and down in the other. The
differences are what each parameter does to outlet and inlet (a rack) or to the water (a loop). What new work draws is
unknown until the nodes have been metered: that has members of its own, one for each half hour. With the sensors' noise
and bias and the prior of all parameters together they give the best that any linear observer could know; a parameter
counts as excited on a component when that is at most `EXCITED_FRAC` of the prior. Two parameters that do the same to
the readings are told apart by none, so neither counts, while their common effect (a time constant) may.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from recovery.livetwin import LiveTwin
from scheduler.emulated import EmulatedScheduler
from twin.ensemble import NONE, make_state
from twin.sync.follow import WORK_SD
from verbs.trial_run import Following
from verbs.trial_story import SENSORS, START_MS

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

EXCITED_FRAC = 0.25  # half of what is asked of the band of a real filter
PRIOR_SD = 0.1155  # of a logarithm that lies evenly within +-0.2
METER_SD = 0.01  # what is left unknown of a rack's power: its nodes are metered
SUPPLY_SD_K = 0.1  # of the supply air of a hall: many sensors see it
HEAT_SD = 0.03  # of the heat that reaches a loop
METERED_MS = 150_000  # how long the power of new work is unknown in the mean: nodes are read every 300 s
HALF_HOURS, HALF_HOUR_MS = 4, 1_800_000
MOVED = (
    "rack_mass_kj_per_k", "rack_ua_kw_per_k", "rack_air_kj_per_k", "rack_flow_kw_per_k", "rack_recirc_frac",
    "node_power_scale", "loop_water_kj_per_k", "chiller_capacity_kw",
)  # fmt: skip
INLETS, OUTLETS, WATERS = 2.0, 1.0, 4.0  # readings a minute


@dataclass
class Observer(Following):
    """The twin that lives through a story with one parameter moved in each of its members."""

    unknown_until_ms: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def live(self, scheduler: EmulatedScheduler, now_ms: int, version: object) -> None:
        """Live as the others do, and move the power of new work in the member of this half hour."""
        self.twin.advance(now_ms)
        used = self.twin.engine.derived.util_frac
        self.twin.follow(scheduler, now_ms, version)
        d, site = self.twin.engine.derived, self.twin.site
        if not len(self.unknown_until_ms):
            self.unknown_until_ms = np.zeros(len(site.node_ids), dtype=np.int64)
        new = np.abs(d.util_frac[0] - used[0]) > 1e-6
        self.unknown_until_ms[new] = now_ms + METERED_MS
        row = 1 + len(MOVED) + min((now_ms - START_MS) // HALF_HOUR_MS, HALF_HOURS - 1)
        moved = np.exp(WORK_SD * _signs(site, "node_power_scale", len(site.node_ids)))
        scale = d.state.node_power_scale
        now = np.where(self.unknown_until_ms > now_ms, moved, 1.0)
        if (scale[row] != now).any():
            scale[row] = now
            d.mark()


def observer(site: Site, seed: int) -> Observer:
    """Return such a twin, at rest."""
    state = make_state(site, START_MS, members=1 + len(MOVED) + HALF_HOURS, seed=seed, spread=NONE)
    for row, name in enumerate(MOVED, start=1):
        values = state.arrays[name]
        values[row] = values[row] * np.exp(PRIOR_SD * _signs(site, name, values.shape[1]))
    twin = LiveTwin(site, START_MS, state.members, seed, state=state, doubts=False)
    return Observer(twin, corrected=False, trace=[], forecasting=False)


def _signs(site: Site, name: str, count: int) -> Array:
    """Up and down in turns; the nodes of a rack together, and chillers of a loop too."""
    racks = np.where(np.arange(len(site.rack_ids)) % 2 == 0, 1.0, -1.0)
    if name == "node_power_scale":
        return np.asarray(racks[site.node_rack])
    return racks if name.startswith("rack") else np.ones(count)


def excited(site: Site, observed: Following) -> dict[str, Flags]:
    """Return by parameter which components a story excites."""
    assert observed.trace is not None
    inlet, outlet, water = (np.array(part) for part in zip(*observed.trace, strict=True))
    racks, loops = _racks(site, inlet, outlet), _loops(site, water)
    out = {name: ratio <= EXCITED_FRAC for name, ratio in (racks | loops).items()}
    # each node's power is metered by itself: one reading knows it to a tenth of the prior
    return out | {"node_power": np.ones(len(site.node_ids), dtype=bool)}


def _moved(trace: Array, site: Site, name: str, count: int) -> Array:
    """What a parameter does to a reading, per unit of its logarithm: (minutes, components)."""
    row = 1 + MOVED.index(name)
    signs = _signs(site, name, count)
    signs = signs[site.rack_start[:-1]] if name == "node_power_scale" and count != len(signs) else signs
    signs = signs[:1] if name == "chiller_capacity_kw" else signs
    return np.asarray((trace[:, row] - trace[:, 0]) / (PRIOR_SD * signs))


def _worked(trace: Array, site: Site) -> Array:
    """What the unknown power of the new work of each half hour does to a reading, per unit of its logarithm."""
    first = 1 + len(MOVED)
    signs = _signs(site, "rack", trace.shape[2])
    return np.stack([(trace[:, first + k] - trace[:, 0]) / (WORK_SD * signs) for k in range(HALF_HOURS)])


def _racks(site: Site, inlet: Array, outlet: Array) -> dict[str, Array]:
    """Best knowledge over prior of each rack's parameters (R,)."""
    names = MOVED[:6]
    count = len(site.rack_ids)
    h_in = np.stack([_moved(inlet, site, n, count) for n in names])  # (P, minutes, R)
    h_out = np.stack([_moved(outlet, site, n, count) for n in names])
    one, nil = np.ones((1, *h_in.shape[1:])), np.zeros((1, *h_in.shape[1:]))
    # sensor at the inlet, sensor at the outlet, supply air, new work
    h_in = np.concatenate([h_in, one, nil, one, _worked(inlet, site)])
    h_out = np.concatenate([h_out, nil, one, one, _worked(outlet, site)])
    biases = [SENSORS.bias_k, SENSORS.bias_k, SUPPLY_SD_K]
    prior = np.array([PRIOR_SD] * 5 + [METER_SD, *biases] + [WORK_SD] * HALF_HOURS) ** 2
    known = np.einsum("ptr,qtr->rpq", h_in, h_in) * INLETS + np.einsum("ptr,qtr->rpq", h_out, h_out) * OUTLETS
    posterior = np.linalg.inv(known / SENSORS.temp_k**2 + np.diag(1.0 / prior))
    sd = np.sqrt(np.einsum("rpp->rp", posterior))
    ratios = {name: sd[:, i] / PRIOR_SD for i, name in enumerate(
        ("rack_mass", "rack_ua", "rack_air", "rack_flow", "rack_recirc"))}  # fmt: skip
    by_ua = site.rack_flow_kw_per_k / (site.rack_ua_kw_per_k + site.rack_flow_kw_per_k)
    slow = np.zeros((count, len(prior)))
    slow[:, 0], slow[:, 1], slow[:, 3] = 1.0, -by_ua, -(1.0 - by_ua)
    after = np.einsum("rp,rpq,rq->r", slow, posterior, slow)
    return ratios | {"rack_time_constant": np.sqrt(after / (slow**2 * prior).sum(axis=1))}


def _loops(site: Site, water: Array) -> dict[str, Array]:
    """Best knowledge over prior of each loop's parameters (L,)."""
    count = len(site.loop_ids)
    h = np.stack([_moved(water, site, n, count) for n in ("loop_water_kj_per_k", "chiller_capacity_kw")])
    # all power up by its unit in half of the racks and down in the others says nothing here: heat acts like less water
    heat = -h[:1]
    h = np.concatenate([h, heat, np.ones((1, *h.shape[1:]))])
    prior = np.array([PRIOR_SD, PRIOR_SD, HEAT_SD, SENSORS.bias_k]) ** 2
    known = np.einsum("ptl,qtl->lpq", h, h) * WATERS / SENSORS.temp_k**2
    sd = np.sqrt(np.einsum("lpp->lp", np.linalg.inv(known + np.diag(1.0 / prior))))
    return {"loop_water": sd[:, 0] / PRIOR_SD, "loop_capacity": sd[:, 1] / PRIOR_SD}
