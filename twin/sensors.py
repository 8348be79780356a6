"""What the sensors of an emulated site say: the truth with bias, noise, gaps and delays. Simulated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plant import cooling, streams
from plant.site import Site
from twin.airside import unit_fan_power_kw
from twin.derived import Derived
from twin.electricity import ups_loads
from twin.nodephase import ON
from twin.telemetry.store import Batch
from twin.waterside import chiller_power_kw, water_flow_frac

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


WAKE_UP_C = 85.0  # what the register of a DS18B20 holds before its first conversion (data sheet)


@dataclass(frozen=True)
class Quality:
    """How good the sensors are: standard deviations, shares of readings lost and late, longest delay [s].

    outlier_frac: share of readings of temperatures and amounts that are plain wrong (see `_spoil`); states never are.
    """

    temp_k: float = 0.12
    bias_k: float = 0.2
    relative: float = 0.01
    gap_frac: float = 0.02
    late_frac: float = 0.02
    late_s: float = 90.0
    outlier_frac: float = 0.0


@dataclass(frozen=True)
class Group:
    """One channel of one kind: who has it, how often, how noisy ("k" kelvin, "rel" relative, "" exact), its truth."""

    kind: str
    channel: str
    every_s: int
    noise: str
    truth: Callable[[Derived], Array]


def _loop_return_c(d: Derived) -> Array:
    """Water returns warmer by heat over nominal flow; nominal flow carries the halls' design heat at 6 K.

    A loop that serves racks through coolant units and no hall has the nominal flow of its plant.
    """
    s, flow = d.state, d.site.cooling.loop_flow_kw_per_k
    design = np.array([d.site.hall_design_kw[h].sum() for h in d.layout.loop_halls])
    design = np.where(design > 0.0, design, np.maximum(6.0 * flow, 1.0))
    return np.asarray(s.loop_supply_c[0] + 6.0 * s.loop_heat_kw[0] / design)


def _fan_frac(d: Derived) -> Array:
    return np.where(d.state.unit_running[0], d.fan_speed[0][d.site.unit_hall], 0.0)


def _gpu_c(d: Derived) -> Array:
    """The hottest accelerator of each node, nan where a node has none (or none is modelled)."""
    of = d.site.gpus
    out = np.full(len(d.site.node_ids), np.nan)
    out[of.node[of.has_gpu]] = d.state.gpu_c[0, of.has_gpu]
    return out


def _gpu_mem_c(d: Derived) -> Array:
    """Its memory, likewise."""
    of = d.site.gpus
    out = np.full(len(d.site.node_ids), np.nan)
    out[of.node[of.has_gpu]] = d.state.gpu_mem_c[0, of.has_gpu]
    return out


def _node_fan_frac(d: Derived) -> Array:
    """The speed of each node's own fans, 0 while it is off, nan where it has none."""
    of, s = d.site.gpus, d.state
    out = np.full(len(d.site.node_ids), np.nan)
    runs = s.node_phase[0, of.node] == ON
    speed = np.where(runs, of.speed_frac(s.fan_level)[0] * s.fan_ok_frac[0], 0.0)
    out[of.node[of.has_fans]] = speed[of.has_fans]
    return out


GROUPS: tuple[Group, ...] = (
    Group("loop", "supply_c", 15, "k", lambda d: d.state.loop_supply_c[0]),
    Group("loop", "return_c", 15, "k", _loop_return_c),
    Group("loop", "flow_frac", 15, "rel", lambda d: water_flow_frac(d)[0]),
    Group("loop", "pressure_kpa", 15, "rel", lambda d: cooling.loop_pressure_kpa(water_flow_frac(d)[0])),
    Group("pump", "running", 15, "", lambda d: (d.state.pump_off[0] == 0).astype(np.float64)),
    Group("cdu", "running", 15, "", lambda d: (d.state.cdu_off[0] == 0).astype(np.float64)),
    Group("cdu", "coolant_c", 15, "k", lambda d: d.state.cdu_coolant_c[0]),
    Group("chiller", "running", 15, "", lambda d: (d.state.chiller_phase[0] == 0).astype(np.float64)),
    Group("chiller", "power_kw", 30, "rel", lambda d: chiller_power_kw(d)[0]),
    Group("cooling_unit", "running", 30, "", lambda d: d.state.unit_running[0].astype(np.float64)),
    Group("cooling_unit", "supply_c", 30, "k", lambda d: d.state.hall_supply_c[0][d.site.unit_hall]),
    Group("cooling_unit", "fan_frac", 30, "rel", _fan_frac),
    Group("cooling_unit", "power_kw", 30, "rel", lambda d: unit_fan_power_kw(d)[0]),
    Group("hall", "hot_c", 15, "k", lambda d: d.state.hall_hot_c[0]),
    Group("hall", "power_kw", 15, "rel", lambda d: d.hall_kw[0]),
    Group("rack", "inlet_c", 30, "k", lambda d: d.state.rack_inlet_c[0]),
    Group("rack", "outlet_c", 60, "k", lambda d: d.state.rack_air_c[0]),
    Group("node", "gpu_c", 60, "k", _gpu_c),
    Group("node", "gpu_mem_c", 60, "k", _gpu_mem_c),
    Group("node", "fan_frac", 60, "rel", _node_fan_frac),
    Group("node", "power_kw", 300, "rel", lambda d: d.node_kw[0]),
    Group("node", "ok", 300, "", lambda d: (d.state.node_phase[0] == ON).astype(np.float64)),
    Group("ups", "load_frac", 60, "rel", lambda d: _ups_load(d) / d.site.ups_rated_kw),
    Group("ups", "battery_frac", 60, "", lambda d: _battery_frac(d)),
    Group("feed", "ok", 60, "", lambda d: d.supply.feed_live[0].astype(np.float64)),
    Group("region", "power_kw", 15, "rel", lambda d: d.facility_kw[0]),
)


def _ups_load(d: Derived) -> Array:
    return np.asarray(ups_loads(d)[0])


def _battery_frac(d: Derived) -> Array:
    """Return the charge of each UPS; one that ran out within a step shows 0, one without batteries too."""
    full = d.site.ups_battery_kwh
    return np.asarray(np.maximum(d.state.ups_battery_kwh[0], 0.0) / np.where(full > 0.0, full, 1.0))


class Sensors:
    """The sensors of one site: names, keys and hidden biases prepared once."""

    def __init__(self, site: Site, hidden_seed: int, quality: Quality) -> None:
        """Draw each sensor's bias from the hidden seed."""
        self.hidden_seed, self.quality = hidden_seed, quality
        self.names = {g.kind: np.array(site.components(g.kind), dtype=object) for g in GROUPS}
        self.keys = {
            (g.kind, g.channel): streams.component_keys(f"{name}/{g.channel}" for name in self.names[g.kind])
            for g in GROUPS
        }
        self.who = {(g.kind, g.channel): np.arange(len(self.names[g.kind])) for g in GROUPS}
        of = site.gpus
        self.who["node", "gpu_c"] = self.who["node", "gpu_mem_c"] = of.node[of.has_gpu]
        self.who["node", "fan_frac"] = of.node[of.has_fans]
        # what a unit with a compressor draws is not found one by one
        self.who["cooling_unit", "power_kw"] = np.flatnonzero(~site.cooling.unit_dx)
        self.bias = {
            key: quality.bias_k * streams.normal(hidden_seed, "sensor bias", 0, keys) for key, keys in self.keys.items()
        }

    def read(self, d: Derived, now_ms: int) -> tuple[Batch, NDArray[np.int64]]:
        """Return the readings taken now and when each arrives [Unix ms]; slow channels take turns by component."""
        turns = [(g, self._turn(g, now_ms, d.state.step_ms)) for g in GROUPS]
        value = np.concatenate([g.truth(d)[which] for g, which in turns]).astype(np.float64)
        key = np.concatenate([self.keys[g.kind, g.channel][which] for g, which in turns])
        size = [len(which) for _, which in turns]
        kelvin = np.repeat([g.noise == "k" for g, _ in turns], size)
        relative = np.repeat([g.noise == "rel" for g, _ in turns], size)
        bias = np.concatenate([self.bias[g.kind, g.channel][which] for g, which in turns])
        value = self._disturb(value, key, kelvin, relative, bias, now_ms // 1000)
        if self.quality.outlier_frac > 0.0:
            value = self._spoil(value, key, kelvin, relative, now_ms // 1000)
        names = np.concatenate([self.names[g.kind][which] for g, which in turns])
        channel = np.repeat(np.array([g.channel for g, _ in turns], dtype=object), size)
        batch = Batch(np.full(len(value), now_ms, dtype=np.int64), names, channel, value)
        return self._deliver(batch, key, now_ms)

    def _turn(self, g: Group, now_ms: int, step_ms: int) -> NDArray[np.int64]:
        turns = max(1, g.every_s * 1000 // step_ms)
        return self.who[g.kind, g.channel][(now_ms // step_ms) % turns :: turns]

    def _disturb(
        self, value: Array, key: NDArray[np.uint64], kelvin: Flags, relative: Flags, bias: Array, draw: int
    ) -> Array:
        """Add bias and noise to temperatures, relative noise to amounts, nothing to states."""
        q = self.quality
        scale = np.where(kelvin, q.temp_k, np.where(relative, q.relative * value, 0.0))
        value = value + scale * streams.normal(self.hidden_seed, "sensor noise", 0, key, draw)
        value = np.where(kelvin, value + bias, value)
        return np.where(relative, np.maximum(value, 0.0), value)

    def _spoil(self, value: Array, key: NDArray[np.uint64], kelvin: Flags, relative: Flags, draw: int) -> Array:
        """Replace some readings by what real buses and boards say instead; four kinds, equally often.

        A spike (3 to 15 K, or 0.3 to 0.9 of an amount, up or down), nothing (0), a slipped decimal (ten times or a
        tenth), the value of a sensor that has just been switched on (85 C, or a full scale of three times the amount).
        """
        luck = streams.uniform(self.hidden_seed, "sensor outlier", 0, key, draw)
        hit = (luck < self.quality.outlier_frac) & (kelvin | relative)
        if not hit.any():
            return value
        inside = luck / self.quality.outlier_frac
        kind, rest = np.floor(4.0 * inside), 4.0 * inside % 1.0
        up, size = np.where(rest < 0.5, -1.0, 1.0), 2.0 * rest % 1.0
        spike = np.where(kelvin, value + up * (3.0 + 12.0 * size), value * (1.0 + up * (0.3 + 0.6 * size)))
        slipped = value * np.where(up > 0.0, 10.0, 0.1)
        woken = np.where(kelvin, WAKE_UP_C, 3.0 * value)
        return np.where(hit, np.select([kind == 0, kind == 1, kind == 2], [spike, 0.0 * value, slipped], woken), value)

    def _deliver(self, batch: Batch, key: NDArray[np.uint64], now_ms: int) -> tuple[Batch, NDArray[np.int64]]:
        """Lose some readings, delay others."""
        q, draw = self.quality, now_ms // 1000
        luck = streams.uniform(self.hidden_seed, "sensor gap", 0, key, draw)
        kept = luck >= q.gap_frac
        # what is left of the same number decides lateness and, within it, by how much
        within = (luck - q.gap_frac) / max(q.late_frac, 1e-12)
        delay_ms = np.where((within >= 0.0) & (within < 1.0), q.late_s * 1000.0 * within, 0.0)
        return batch.take(kept), (now_ms + delay_ms[kept]).astype(np.int64)
