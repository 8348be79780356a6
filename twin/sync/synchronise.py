"""Synchronise: readings correct the live ensemble, channel by channel; residuals say how well it follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin import cooling_bits as bits
from twin.derived import Derived
from twin.flows import stored_heat_kj
from twin.node_repairs import found_up
from twin.nodephase import ON, STOPPED
from twin.sync.assimilate import Observed, inflate, update
from twin.telemetry.store import Batch
from twin.waterside import water_flow_frac

Array = NDArray[np.float64]
Heard = dict[tuple[str, str], tuple[Array, NDArray[np.bool_]]]
Places = NDArray[np.intp]

LATE_MS = 120_000  # an older reading says nothing about now: refused and counted
OUT_OF_SYNC_SIGMAS = 3.0  # mean |innovation| over its expected size above which the twin is out of sync
STAGED_K = 1.0  # a chiller that stands still while its water is this near the set-point was not needed
MEMORY = 0.98  # residual statistics forget with a time constant of about 50 updates


@dataclass(frozen=True)
class Operator:
    """How a channel corrects the twin: what predicts it, its own arrays, linked ones, error and model noise (sd)."""

    kind: str
    channel: str
    predict: Callable[[Derived], Array]
    own: tuple[str, ...]
    linked: tuple[str, ...]
    error_sd: float
    noise_sd: float


OPERATORS: tuple[Operator, ...] = (
    Operator(
        "loop", "supply_c", lambda d: d.state.loop_supply_c, ("loop_supply_c",), ("loop_water_kj_per_k",), 0.3, 0.3
    ),
    Operator("cdu", "coolant_c", lambda d: d.state.cdu_coolant_c, ("cdu_coolant_c",), (), 0.3, 0.3),
    Operator("loop", "flow_frac", water_flow_frac, ("loop_flow_frac",), (), 0.015, 0.02),
    Operator("hall", "hot_c", lambda d: d.state.hall_hot_c, ("hall_hot_c",), ("hall_structure_c",), 0.3, 0.3),
    Operator("rack", "inlet_c", lambda d: d.state.rack_inlet_c, (), ("rack_recirc_frac",), 0.3, 0.0),
    Operator(
        "rack",
        "outlet_c",
        lambda d: d.state.rack_air_c,
        # the air takes its temperature from the equipment within seconds: a correction of the air alone is forgotten
        # by the next step, and the rack's flow would be blamed for the rest
        ("rack_air_c", "rack_mass_c"),
        ("rack_flow_kw_per_k",),
        0.3,
        0.3,
    ),
    Operator("node", "power_kw", lambda d: d.node_kw, (), ("node_power_scale",), 0.02, 0.0),
)
UNKNOWN_AT_REST = ("supply_c", "hot_c", "outlet_c")
FLAGS: tuple[tuple[str, str], ...] = (
    ("chiller", "running"),
    ("cooling_unit", "running"),
    ("pump", "running"),
    ("cdu", "running"),
    ("node", "ok"),
    ("feed", "ok"),
)
# Positive parameters move in their logarithm, at most by this share in one update: a single bad reading or a passing
# fault of the model cannot turn a rack into another one.
RELATIVE = {"rack_flow_kw_per_k": 0.1, "node_power_scale": 0.5, "loop_water_kj_per_k": 0.1}
LEAST_SD = {"node_power_scale": 0.03, "rack_recirc_frac": 0.005, "rack_flow_kw_per_k": 0.02}  # of RELATIVE: relative
# Shares of the site's own value: beyond half or double it the site file is wrong, which is for a person to say. The
# power scale also carries what the twin cannot know of a job's activity.
SITE_BOUNDS = {"rack_flow_kw_per_k": (0.5, 2.0), "loop_water_kj_per_k": (0.3, 3.0), "node_power_scale": (0.3, 3.0)}
BOUNDS = {"rack_recirc_frac": (0.0, 0.95), "loop_flow_frac": (0.0, 1.0)}
NODE_POWER = ("node", "power_kw")
NODE_POWER_EVERY_MS = 60_000  # a node's own scale is slow: its readings are taken in together once a minute
JUMP_SIGMAS = 5.0
FIRST_SD = 5.0  # [K] of a temperature before its first reading: a twin at rest knows nothing of the site's present


@dataclass
class Following:
    """How well one channel is followed: running mean square of residual, of persistence and of what was expected."""

    last: Array  # newest reading of each component, nan before its first
    n: int = 0
    residual2: float = 0.0
    persistence2: float = 0.0
    expected2: float = 0.0

    def note(self, at: Places, value: Array, difference: Array, expected: Array, known: NDArray[np.bool_]) -> None:
        """Take one round of innovations of the components `at`, judged where they had spoken before (`known`)."""
        if known.any():
            # a single jump (a fault) counts for a bounded amount: only a divergence that lasts is one of the twin
            squared = np.minimum(difference[known] ** 2, JUMP_SIGMAS**2 * expected[known])
            self.residual2 = _blend(self.n, self.residual2, float(np.mean(squared)))
            self.expected2 = _blend(self.n, self.expected2, float(np.mean(expected[known])))
            change = (value - self.last[at])[known]
            self.persistence2 = _blend(self.n, self.persistence2, float(np.mean(change**2)))
            self.n += 1
        self.last[at] = value


def _settle(d: Derived, racks: NDArray[np.intp]) -> None:
    """Let the equipment of racks heard for the first time stand where its power holds it above their air.

    A twin at rest has it at idle; minutes of warming up would be blamed on the rack's flow.
    """
    s = d.state
    excess_k = d.rack_kw[:, racks] / s.rack_ua_kw_per_k[:, racks]
    s.rack_mass_c[:, racks] = s.rack_air_c[:, racks] + excess_k


def _blend(n: int, old: float, new: float) -> float:
    keep = min(MEMORY, n / (n + 1.0))
    return keep * old + (1.0 - keep) * new


class Synchroniser:
    """Corrects one live State from batches of readings; knows which sensor is which array element."""

    def __init__(self, site: Site) -> None:
        """Build the index of sensors."""
        self.site = site
        keys = [(o.kind, o.channel) for o in OPERATORS] + list(FLAGS)
        self.place = {
            (component, channel): ((kind, channel), i)
            for kind, channel in keys
            for i, component in enumerate(site.components(kind))
        }
        self.size = {key: len(site.components(key[0])) for key in keys}
        self.following = {
            (o.kind, o.channel): Following(np.full(self.size[o.kind, o.channel], np.nan)) for o in OPERATORS
        }
        self.newest_ms: dict[tuple[str, str], NDArray[np.int64]] = {
            k: np.zeros(n, np.int64) for k, n in self.size.items()
        }
        self.bounds = dict[str, tuple[float | Array, float | Array]](BOUNDS)
        for name, (low, high) in SITE_BOUNDS.items():
            own = getattr(site, name, np.ones(len(site.node_ids)))  # a scale has no value of the site but 1
            self.bounds[name] = (low * own, high * own)
        self.refused = 0
        self._node_ms = 0
        self._excess_kw = np.zeros(len(site.node_ids))
        self._excess_from = np.zeros(len(site.node_ids), dtype=bool)

    def correct(self, d: Derived, batch: Batch, now_ms: int) -> None:
        """Correct d.state by a batch of readings, in place; the energy ledger takes the increment."""
        heard = self._sort(batch, now_ms)
        if not heard:
            return
        s = d.state
        before = stored_heat_kj(self.site.hall_plenum_kj_per_k, s)
        if self._set_flags(d, heard):
            d.mark()
            d.mark_supply()
        d.refresh()  # nothing to do in a calm tick; a flag, a cap or a job that changed shows in power at once
        self._gather(d, heard, now_ms)
        touched = set[str]()
        for o in OPERATORS:
            if (o.kind, o.channel) in heard:
                self._apply(d, o, *heard[o.kind, o.channel])
                touched.update(o.own, o.linked)
        for name in touched & set(self.bounds):
            low, high = self.bounds[name]
            np.clip(s.arrays[name], low, high, out=s.arrays[name])
        s.heat_sync_kj[...] += stored_heat_kj(self.site.hall_plenum_kj_per_k, s) - before
        if "node_power_scale" in touched:
            d.mark()
        else:
            d.mark_air()

    def _sort(self, batch: Batch, now_ms: int) -> Heard:
        """Return newest value and presence per channel; readings too late or older than a used one are refused."""
        heard: Heard = {}
        rows = zip(
            batch.time_ms.tolist(), batch.component.tolist(), batch.channel.tolist(), batch.value.tolist(), strict=True
        )
        for time_ms, component, channel, value in rows:
            place = self.place.get((component, channel))
            if place is None:
                continue
            key, i = place
            if time_ms < now_ms - LATE_MS or time_ms <= self.newest_ms[key][i]:
                self.refused += 1
                continue
            self.newest_ms[key][i] = time_ms
            if key not in heard:
                heard[key] = np.zeros(self.size[key]), np.zeros(self.size[key], dtype=bool)
            heard[key][0][i], heard[key][1][i] = value, True
        return heard

    def _gather(self, d: Derived, heard: Heard, now_ms: int) -> None:
        """Keep what node powers said against the twin at their time, and hand it on once a minute."""
        mean_kw = d.node_kw.mean(axis=0)
        if NODE_POWER in heard:
            value, present = heard.pop(NODE_POWER)
            self._excess_kw = np.where(present, value - mean_kw, self._excess_kw)
            self._excess_from |= present
        if self._excess_from.any() and now_ms - self._node_ms >= NODE_POWER_EVERY_MS:
            heard[NODE_POWER] = np.maximum(mean_kw + self._excess_kw, 0.0), self._excess_from
            self._excess_from, self._node_ms = np.zeros(len(mean_kw), dtype=bool), now_ms

    def _apply(self, d: Derived, o: Operator, value: Array, present: NDArray[np.bool_]) -> None:
        """Correct by one channel, only the components that spoke: slow channels take turns."""
        s, at = d.state, np.flatnonzero(present)
        predicted = o.predict(d)[:, at]
        if o.kind == "node":  # a node that draws nothing says nothing about its scale
            sound = predicted.mean(axis=0) > 1e-6
            at, predicted = at[sound], predicted[:, sound]
        if not len(at):
            return
        following = self.following[o.kind, o.channel]
        known = np.isfinite(following.last[at])
        noise_sd = np.where(known, o.noise_sd, FIRST_SD) if o.channel in UNKNOWN_AT_REST else o.noise_sd
        own = [s.arrays[n][:, at] for n in o.own]
        linked = [np.log(s.arrays[n][:, at]) if n in RELATIVE else s.arrays[n][:, at] for n in o.linked]
        seen = Observed(value[at], np.ones(len(at), dtype=bool), o.error_sd**2, noise_sd**2)
        innovation = update(predicted, seen, own, linked)
        for name, new in zip(o.own, own, strict=True):
            s.arrays[name][:, at] = new
        for name, new in zip(o.linked, linked, strict=True):
            self._take(s.arrays[name], name, at, new)
        if o.channel == "hot_c":  # walls and steel that nobody measures have had the air of this hall for hours
            new_at = at[~known]
            s.hall_structure_c[:, new_at] = s.hall_hot_c[:, new_at]
        if o.channel == "outlet_c":
            _settle(d, at[~known])
        expected = innovation.variance + o.error_sd**2 + o.noise_sd**2
        # persistence says nothing about a first reading, so the twin is not judged by it either
        following.note(at, value[at], innovation.difference, expected, known)

    def _take(self, array: Array, name: str, at: Places, new: Array) -> None:
        """Take corrected parameters, relative ones as logarithms: bounded in their step, never without spread."""
        least_sd = LEAST_SD.get(name, 0.0)
        if name not in RELATIVE:
            inflate(new, least_sd)
            array[:, at] = new
            return
        old, most = np.log(array[:, at]), np.log1p(RELATIVE[name])
        low, high = self.bounds[name]
        np.clip(new, old - most, old + most, out=new)
        np.clip(new, np.log(np.asarray(low)[at]), np.log(np.asarray(high)[at]), out=new)
        inflate(new, least_sd)
        array[:, at] = np.exp(new)

    def _set_flags(self, d: Derived, heard: Heard) -> bool:
        """Take states as they are reported: they are facts, not estimates; tell whether one is news."""
        s = d.state
        names = ("chiller_phase", "unit_running", "pump_off", "cdu_off", "feed_ok", "node_phase")
        before = [s.arrays[name] for name in names]
        for key, (value, present) in heard.items():
            on = value > 0.5
            if key == ("chiller", "running"):
                now = np.where(s.chiller_phase == bits.CHILLER_ON, bits.TRIPPED, s.chiller_phase)
                # a control stops chillers that the load does not need: while the water is cold that is no fault
                cold = (s.loop_supply_c < s.loop_setpoint_c + STAGED_K) & self.site.cooling.loop_controlled
                rests = self.site.chiller_standby | cold.take(self.site.chiller_loop, axis=1)
                off = np.where(rests, bits.STANDBY, now)
                s.arrays["chiller_phase"] = np.where(
                    present, np.where(on, bits.CHILLER_ON, off), s.chiller_phase
                ).astype(np.int8)
                s.arrays["chiller_off"] = np.where(present & on, 0, s.chiller_off).astype(np.int8)
            elif key == ("cooling_unit", "running"):
                s.arrays["unit_running"] = np.where(present, on, s.unit_running)
                why = np.where(on, 0, np.where(s.unit_off == 0, bits.BROKEN, s.unit_off))
                s.arrays["unit_off"] = np.where(present, why, s.unit_off).astype(np.int8)
            elif key in (("pump", "running"), ("cdu", "running")):
                name = f"{key[0]}_off"
                why = np.where(on, 0, np.where(s.arrays[name] == 0, bits.BROKEN, s.arrays[name]))
                s.arrays[name] = np.where(present, why, s.arrays[name]).astype(np.int8)
            elif key == ("feed", "ok"):
                s.arrays["feed_ok"] = np.where(present, on, s.feed_ok)
            elif key == ("node", "ok"):
                up = present & on & (s.node_phase != ON)
                if up.any():
                    found_up(d, up)
                fallen = np.where(s.node_phase == ON, STOPPED, s.node_phase)
                s.arrays["node_phase"] = np.where(present, np.where(on, ON, fallen), s.node_phase).astype(np.int8)
        # a flag that was heard has a new array
        return any(
            s.arrays[name] is not old and not np.array_equal(s.arrays[name], old)
            for name, old in zip(names, before, strict=True)
        )

    def report(self) -> list[dict[str, object]]:
        """Return one row per channel: residual and persistence RMSE, n; simulated sources say so elsewhere."""
        return [
            {
                "channel": f"{kind}.{channel}",
                "rmse": f.residual2**0.5,
                "persistence_rmse": f.persistence2**0.5,
                "expected": f.expected2**0.5,
                "n": f.n,
            }
            for (kind, channel), f in self.following.items()
            if f.n
        ]

    def in_sync(self) -> tuple[bool, str]:
        """Tell whether the twin follows, and if not which channel ran away."""
        for (kind, channel), f in self.following.items():
            if f.n > 3 and f.residual2 > OUT_OF_SYNC_SIGMAS**2 * f.expected2:
                return False, f"{kind}.{channel}: residual {f.residual2**0.5:.2f}, expected {f.expected2**0.5:.2f}"
        return True, ""
