"""Accelerators and fans of a site as arrays over the nodes that have them, compiled from `gpu` and `fans` tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant import power
from plant.gpufile import FanTable, GpuTable
from plant.sitefile import NodeType, SiteFile

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NO_GPU = GpuTable(
    idle_kw=0.0, peak_kw=0.01, chip_k_per_kw=0.0, mem_above_idle_k=0.0, mem_above_peak_k=0.0, tau_s=1.0, mem_tau_s=1.0
)
NO_FANS = FanTable(kw=0.0, above_c=(), speed_frac=(1.0, 1.0), design_frac=1.0)


@dataclass(frozen=True, eq=False)
class Gpus:
    """Nodes with accelerators or fans: one column each, in node order. Temperatures [C], power [kW], time [s].

    A node with fans and no accelerator has its inlet for a sensor: no power, no resistance, thresholds at infinity.
    """

    node: Ints
    """Index of the node."""
    rack: Ints
    has_gpu: NDArray[np.bool_]
    has_fans: NDArray[np.bool_]
    idle_kw: Floats
    """One accelerator while its node draws its idle power, fans at their lowest speed."""
    gain: Floats
    """kW of one accelerator for each kW of its node above idle."""
    node_idle_kw: Floats
    node_peak_kw: Floats
    offset_k: Floats
    preheat_k: Floats
    chip_k_per_kw: Floats
    air_k_per_kw: Floats
    capacity_kj_per_k: Floats
    """tau over resistance, both at full fan speed."""
    mem_tau_s: Floats
    mem_idle_k: Floats
    mem_gain_k_per_kw: Floats
    """Memory above the chip at no power, and what each kW of the accelerator adds."""
    slow_c: Floats
    hard_c: Floats
    stop_c: Floats
    mem_slow_c: Floats
    kind: Ints
    """Row of the fan tables."""
    fan_kw: Floats
    """All fans at full speed."""
    design_frac: Floats
    fan_speed_frac: Floats
    """(kinds, levels), the last speed repeated where a kind has fewer levels."""
    fan_above_c: Floats
    """(kinds, levels): temperature above which a level is left for the next one, inf at the last."""

    @property
    def any_fans(self) -> bool:
        """Whether any node has fans of its own."""
        return bool(self.has_fans.any())

    def speed_frac(self, level: NDArray[np.int8]) -> Floats:
        """Speed of each node's fans at a level (members, columns)."""
        return np.asarray(self.fan_speed_frac[self.kind, level])

    def fan_extra_kw(self, level: NDArray[np.int8]) -> Floats:
        """Fan power at a level beyond that of the lowest one, which the node's idle power holds."""
        speed, least = self.fan_speed_frac[self.kind, level], self.fan_speed_frac[self.kind, 0]
        return np.asarray(self.fan_kw * (speed**3 - least**3))


def law_peak_kw(kind: NodeType) -> float:
    """Power of a node at full load, fans at their lowest speed: what fans add on top is counted by their level."""
    if kind.fans is None:
        return kind.peak_kw
    return kind.peak_kw - kind.fans.kw * (1.0 - kind.fans.speed_frac[0] ** 3)


def design_fan_kw(kind: NodeType) -> float:
    """Fan power at design speed beyond that of the lowest one."""
    return 0.0 if kind.fans is None else kind.fans.kw * (kind.fans.design_frac**3 - kind.fans.speed_frac[0] ** 3)


def curve_of(kind: NodeType, nodes: Ints) -> power.Curve | None:
    """The power law of a type that has one of its own, for its nodes; None where it is linear or concave."""
    if kind.power_curve:
        at, share = zip(*kind.power_curve, strict=True)
        return power.Curve(nodes, np.asarray(at, np.float64), np.asarray(share, np.float64))
    if kind.wake_cores:
        return power.wake_curve(nodes, kind.wake_cores, kind.wake_frac, kind.cores)
    return None


def node_curves(types: list[NodeType], of: NDArray[np.int32]) -> tuple[power.Curve, ...]:
    """The power laws of types that have one of their own, with the nodes they hold for."""
    found = (curve_of(kind, np.flatnonzero(of == t)) for t, kind in enumerate(types))
    return tuple(curve for curve in found if curve is not None)


def build_gpus(file: SiteFile, parts: Mapping[str, Any]) -> Gpus:
    """Compile the columns of all nodes whose type has a `gpu` or a `fans` table."""
    of = parts["node_type"]
    kinds = [kind for kind in file.node_type if kind.gpu is not None or kind.fans is not None]
    row = {kind.id: i for i, kind in enumerate(kinds)}
    node = np.flatnonzero(np.array([kind.id in row for kind in file.node_type])[of]).astype(np.int64)
    kind_of = np.array([row.get(kind.id, -1) for kind in file.node_type], dtype=np.int64)[of[node]]
    values = {name: _column(kinds, kind_of, take) for name, take in _TAKEN.items()}
    speeds, above = _fan_tables(kinds)
    gpus = Gpus(
        node=node,
        rack=parts["node_rack"][node].astype(np.int64),
        has_gpu=np.array([kind.gpu is not None for kind in kinds], dtype=bool)[kind_of],
        has_fans=np.array([kind.fans is not None for kind in kinds], dtype=bool)[kind_of],
        offset_k=parts["node_inlet_offset_k"][node],
        node_idle_kw=parts["node_idle_kw"][node],
        node_peak_kw=parts["node_peak_kw"][node],
        kind=kind_of,
        fan_speed_frac=speeds,
        fan_above_c=above,
        **values,
    )
    for value in vars(gpus).values():
        value.flags.writeable = False
    return gpus


def _gpu(kind: NodeType) -> GpuTable:
    return kind.gpu or NO_GPU


def _gpu_span_kw(kind: NodeType) -> float:
    return 0.0 if kind.gpu is None else kind.gpu.peak_kw - kind.gpu.idle_kw


def _capacity(kind: NodeType) -> float:
    table = _gpu(kind)
    resistance = table.chip_k_per_kw + table.air_k_per_kw
    return table.tau_s / resistance if resistance > 0.0 else table.tau_s


def _limit(name: str) -> Callable[[NodeType], float]:
    return lambda kind: float(np.inf) if kind.gpu is None else float(getattr(kind.gpu, name))


def _plain(name: str) -> Callable[[NodeType], float]:
    return lambda kind: float(getattr(_gpu(kind), name))


def mem_gain_k_per_kw(kind: NodeType) -> float:
    """How much the memory comes away from the chip with each kW of its accelerator; may be negative."""
    span, table = _gpu_span_kw(kind), _gpu(kind)
    return (table.mem_above_peak_k - table.mem_above_idle_k) / span if span > 0.0 else 0.0


_TAKEN: dict[str, Callable[[NodeType], float]] = {
    "idle_kw": lambda kind: 0.0 if kind.gpu is None else kind.gpu.idle_kw,
    "gain": lambda kind: _gpu_span_kw(kind) / (law_peak_kw(kind) - kind.idle_kw),
    "preheat_k": _plain("preheat_k"),
    "chip_k_per_kw": _plain("chip_k_per_kw"),
    "air_k_per_kw": _plain("air_k_per_kw"),
    "capacity_kj_per_k": _capacity,
    "mem_tau_s": _plain("mem_tau_s"),
    "mem_idle_k": lambda kind: _gpu(kind).mem_above_idle_k - mem_gain_k_per_kw(kind) * _gpu(kind).idle_kw,
    "mem_gain_k_per_kw": mem_gain_k_per_kw,
    "slow_c": _limit("slow_c"),
    "hard_c": _limit("hard_c"),
    "stop_c": _limit("stop_c"),
    "mem_slow_c": _limit("mem_slow_c"),
    "fan_kw": lambda kind: (kind.fans or NO_FANS).kw,
    "design_frac": lambda kind: (kind.fans or NO_FANS).design_frac,
}


def _column(kinds: list[NodeType], kind_of: Ints, take: Callable[[NodeType], float]) -> Floats:
    return np.ascontiguousarray(np.array([take(kind) for kind in kinds], dtype=np.float64)[kind_of])


def _fan_tables(kinds: list[NodeType]) -> tuple[Floats, Floats]:
    """(speeds, thresholds), one row a kind, as many columns as the kind with most levels has."""
    tables = [kind.fans or NO_FANS for kind in kinds]
    levels = max((len(table.above_c) + 1 for table in tables), default=1)
    speeds, above = np.ones((len(tables), levels)), np.full((len(tables), levels), np.inf)
    for i, table in enumerate(tables):
        n = len(table.above_c) + 1
        speeds[i, :n], speeds[i, n:] = table.speed_frac[:n], table.speed_frac[n - 1]
        above[i, : n - 1] = table.above_c
    return speeds, above
