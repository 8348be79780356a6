"""Accelerators and fans of nodes over one step of the grid: a part of `Derived`. Crossings: twin/gpu_lives.py.

What a step needs is cached and changes only when a node's power, fan level or slowdown does: the rise above the inlet,
the share of the distance that is left after a step, the temperatures at which something happens. A step is then one
pure function and two comparisons over (M, columns); see plant/gpu.py for the equations and plant/gpubuild.py for the
columns. A site without such tables costs nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import gpu, power
from plant.site import Site
from twin.columns import GpuOut
from twin.kernels import kernels
from twin.layout import Array, Rows, some_rows
from twin.plain_gpus import gpu_columns
from twin.state import State

Flags = NDArray[np.bool_]
RESTART_BELOW_SLOW_K = 20.0  # a node that was too hot starts again when its accelerators are this far below [assumed]
RESTART_FANS_FRAC = 0.5  # ... and its fans give at least this share of their air [assumed]


class GpuHeat:
    """Rises, decays and thresholds of all columns of all members. Shapes (M, G) unless said otherwise."""

    def __init__(self, site: Site, state: State) -> None:
        """Everything is dirty at first."""
        self.site, self.state, self.of = site, state, site.gpus
        m, g = state.members, len(site.gpus.node)
        self.present, self.fans = g > 0, site.gpus.any_fans
        self.kernels, self.columns = kernels(state.backend), gpu_columns(site.gpus)
        self.numbers = np.arange(m)
        self.reached = GpuOut(up=False, down=False, memory=False)
        # all nodes in order need no gathering
        self.whole = g == len(site.node_ids)
        self.rise_k, self.above_k = np.zeros((m, g)), np.zeros((m, g))
        self.up_c, self.down_c = np.full((m, g), np.inf), np.full((m, g), -np.inf)
        self.fan_down_c, self.stage_down_c = np.full((m, g), -np.inf), np.full((m, g), -np.inf)
        self.speed, self.resistance, self.keep = np.ones((m, g)), np.zeros((m, g)), np.zeros((m, g))
        self.extra_kw, self.flow_frac = np.zeros((m, g)), np.ones((m, g))
        self.mem_keep = np.zeros(g)
        self.dt_s = 0.0
        self.air_dirty, self.limits_dirty = np.ones(m, dtype=bool), np.ones(m, dtype=bool)
        self.raised = True
        """Some fan runs fast or some node is slowed down, so that something may fall."""

    def mark(self, rows: Rows, *, air: bool) -> None:
        """Say that a fan level or slowdown of some nodes of these rows changed; air: and with it their air speed."""
        self.limits_dirty[rows] = True
        if air:
            self.air_dirty[rows] = True

    def take(self, nodes: Array) -> Array:
        """Return the columns of an array over all nodes."""
        return nodes if self.whole else nodes.take(self.of.node, axis=1)

    def limit(self, rows: Rows, demand_kw: Array, cap_kw: Array) -> tuple[Array, Array]:
        """Return (demand with fast fans, cap with slowdowns) of all nodes of some rows; both arrays are written to."""
        if not self.present:
            return demand_kw, cap_kw
        s, at = self.state, self.of.node
        if self.air_dirty.any():
            self._refresh_air(some_rows(self.air_dirty))
        if self.fans and self.whole:
            demand_kw += self.extra_kw[rows]
        elif self.fans:
            demand_kw[:, at] += self.extra_kw[rows]
        stage = s.gpu_stage[rows]
        if stage.any():
            floor_kw = power.CAP_FLOOR_FRAC * self.of.node_peak_kw
            slowed = floor_kw + gpu.STAGE_RATIO[stage] * (demand_kw[:, at] - floor_kw)
            cap_kw[:, at] = np.where(stage > 0, np.minimum(cap_kw[:, at], slowed), cap_kw[:, at])
        return demand_kw, cap_kw

    def refresh(self, rows: Rows, drawn_kw: Array, demand_kw: Array) -> None:
        """Compute rises and thresholds of some rows from what their nodes draw and would draw unslowed (rows, N)."""
        if not self.present:
            return
        self.kernels.gpu_rises(
            self.numbers[rows], self.columns, drawn_kw, self.extra_kw, self.speed, self.resistance, self.rise_k,
            self.above_k,
        )  # fmt: skip
        if self.limits_dirty[rows].any():
            self._refresh_limits(rows)
        if self.raised:
            node_kw, extra_kw = self.take(drawn_kw), self.extra_kw[rows]
            gpu_kw = np.where(node_kw > 0.0, self._gpu_kw(node_kw - extra_kw), 0.0)
            self._refresh_falls(rows, node_kw, gpu_kw, extra_kw, self.take(demand_kw))

    def _gpu_kw(self, work_kw: Array) -> Array:
        """Power of one accelerator [kW] of nodes that draw work_kw without what fast fans add."""
        of = self.of
        return np.maximum((of.idle_kw - of.gain * of.node_idle_kw) + of.gain * work_kw, 0.0)

    def _rise(self, node_kw: Array, gpu_kw: Array, speed: Array, resistance: Array) -> Array:
        of = self.of
        return gpu.rise_k(gpu_kw, node_kw, of.preheat_k / of.node_peak_kw, speed, resistance)

    def _refresh_limits(self, rows: Rows) -> None:
        """Compute at which temperature the next fan level or slowdown stage is taken."""
        s, of = self.state, self.of
        level, stage = s.fan_level[rows], s.gpu_stage[rows]
        stage_up = np.where(stage == 0, of.slow_c, np.where(stage == 1, of.hard_c, of.stop_c))
        self.up_c[rows] = np.minimum(of.fan_above_c[of.kind, level], stage_up) if self.fans else stage_up
        self.raised = bool(s.fan_level.any() or s.gpu_stage.any())
        if not self.raised:
            for falls in (self.fan_down_c, self.stage_down_c, self.down_c):
                falls[...] = -np.inf
        self.limits_dirty[rows] = False

    def _refresh_falls(self, rows: Rows, node_kw: Array, gpu_kw: Array, extra_kw: Array, demand_kw: Array) -> None:
        """Compute below which temperature fans slow down and slowdowns end."""
        s, of = self.state, self.of
        level, stage = s.fan_level[rows], s.gpu_stage[rows]
        fan_down = np.full(stage.shape, -np.inf)
        stage_down = fan_down.copy()
        if level.any():
            lower = np.maximum(level - 1, 0).astype(np.int8)
            speed = gpu.air_speed_frac(lower, s.fan_ok_frac[rows], of.fan_speed_frac, of.kind)
            resistance = gpu.resistance_k_per_kw(of.chip_k_per_kw, of.air_k_per_kw, speed)
            slower = self._rise(node_kw, gpu_kw, speed, resistance) + of.offset_k
            below = gpu.release_c(of.fan_above_c[of.kind, lower], slower - self.rise_k[rows])
            fan_down = np.where(level > 0, below, fan_down)
        if stage.any():
            floor_kw = power.CAP_FLOOR_FRAC * of.node_peak_kw
            freer_kw = floor_kw + gpu.STAGE_RATIO[np.maximum(stage - 1, 0)] * (demand_kw - floor_kw)
            top = np.full(stage.shape, of.fan_speed_frac.shape[1] - 1, dtype=np.int8)
            speed = gpu.air_speed_frac(top, s.fan_ok_frac[rows], of.fan_speed_frac, of.kind)
            resistance = gpu.resistance_k_per_kw(of.chip_k_per_kw, of.air_k_per_kw, speed)
            freer = self._rise(freer_kw, self._gpu_kw(freer_kw - extra_kw), speed, resistance) + of.offset_k
            below = gpu.release_c(np.where(stage == 2, of.hard_c, of.slow_c), freer - self.rise_k[rows])
            stage_down = np.where(stage > 0, below, stage_down)
        self.fan_down_c[rows], self.stage_down_c[rows] = fan_down, stage_down
        self.down_c[rows] = np.maximum(fan_down, stage_down)

    def _refresh_air(self, rows: Rows) -> None:
        """Compute air speeds of some rows and what follows from them."""
        s, of = self.state, self.of
        self.speed[rows] = gpu.air_speed_frac(s.fan_level[rows], s.fan_ok_frac[rows], of.fan_speed_frac, of.kind)
        self.resistance[rows] = gpu.resistance_k_per_kw(of.chip_k_per_kw, of.air_k_per_kw, self.speed[rows])
        self.extra_kw[rows] = of.fan_extra_kw(s.fan_level[rows])
        self.flow_frac[rows] = self.speed[rows] / of.design_frac
        self._refresh_keep(rows)
        self.air_dirty[rows] = False

    def _refresh_keep(self, rows: Rows) -> None:
        of, resistance = self.of, self.resistance[rows]
        tau_s = of.capacity_kj_per_k * np.where(resistance > 0.0, resistance, 1.0)
        self.keep[rows] = np.exp(-self.dt_s / tau_s)
        self.mem_keep = np.exp(-self.dt_s / of.mem_tau_s)

    def air_share(self, rows: Rows, powered: Array) -> Array:
        """Return the share of design air flow that each node moves (rows, N): 0 off, else by its fans' speed.

        powered (rows, N): 1 for nodes that run, 0 for others; written to. Air speeds are those of the last `refresh`.
        """
        if self.fans and self.whole:
            powered *= self.flow_frac[rows]
        elif self.fans:
            powered[:, self.of.node] *= self.flow_frac[rows]
        return powered

    def bandwidth_ok(self) -> Array:
        """Return 0 for nodes (M, N) whose memory has lost bandwidth, 1 for all others."""
        good = np.ones(self.state.node_phase.shape)
        good[:, self.of.node] = np.where(self.state.gpu_mem_slow, 0.0, 1.0)
        return good

    def may_start(self) -> Flags:
        """Return which nodes (M, N) their accelerators and fans allow to start again after a shutdown."""
        s, of = self.state, self.of
        good = np.ones(s.node_phase.shape, dtype=bool)
        if self.present:
            cool = s.gpu_c < np.where(of.has_gpu, of.slow_c - RESTART_BELOW_SLOW_K, np.inf)
            good[:, of.node] = cool & (s.fan_ok_frac >= RESTART_FANS_FRAC)
        return good

    def advance(self, dt_s: float) -> None:
        """Advance the temperatures of accelerators and memory by one step."""
        s = self.state
        if dt_s != self.dt_s:
            self.dt_s = dt_s
            self._refresh_keep(slice(None))
        self.reached = self.kernels.gpu_step(
            self.columns, cold_c(self.site, s), self.rise_k, self.above_k, self.keep, self.mem_keep, self.up_c,
            self.down_c, s.gpu_c, s.gpu_mem_c,
        )  # fmt: skip


def cold_c(site: Site, s: State) -> Array:
    """Return what cools the accelerators of each rack (M, R): its air, or its coolant.

    Without its CDU a cold plate takes nothing away: the accelerators then stand above equipment that warms up.
    """
    plant = site.cooling
    if not plant.has_liquid:
        return s.rack_inlet_c
    of_rack = np.maximum(plant.rack_cdu, 0)
    runs = (s.cdu_off == 0).take(of_rack, axis=1)
    liquid = np.where(runs, s.cdu_coolant_c.take(of_rack, axis=1), s.rack_mass_c)
    return np.where(plant.rack_cdu >= 0, liquid, s.rack_inlet_c)


def settle(site: Site, s: State) -> None:
    """Start where idle nodes settle: each fan at the level that its own temperature asks for, no slowdown."""
    of = site.gpus
    s.fan_ok_frac[...] = 1.0
    if not len(of.node):
        return
    inlet_c = cold_c(site, s).take(of.rack, axis=1) + of.offset_k
    for _ in range(of.fan_speed_frac.shape[1]):
        speed = gpu.air_speed_frac(s.fan_level, s.fan_ok_frac, of.fan_speed_frac, of.kind)
        resistance = gpu.resistance_k_per_kw(of.chip_k_per_kw, of.air_k_per_kw, speed)
        rise = gpu.rise_k(of.idle_kw, of.node_idle_kw, of.preheat_k / of.node_peak_kw, speed, resistance)
        s.gpu_c[...] = inlet_c + rise
        s.arrays["fan_level"] = (s.fan_level + (s.gpu_c >= of.fan_above_c[of.kind, s.fan_level])).astype(np.int8)
    s.gpu_mem_c[...] = s.gpu_c + of.mem_idle_k + of.mem_gain_k_per_kw * of.idle_kw
