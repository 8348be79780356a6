"""Electric power of nodes, power supplies and UPS modules as pure functions over arrays (kW, fractions)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# Cap law, notes/incidents.md B.5: speed = ((Pcap - P0) / (Pdemand - P0)) ** a with P0 = 0.14 Pmax.
CAP_FLOOR_FRAC = 0.14
# 80 PLUS Platinum, 230 V redundant: 90 / 94 / 91 % at 20 / 50 / 100 % load, as loss over rating c0 + c1 x + c2 x^2.
PSU_LOSS = (0.0284631, -0.0566328, 0.1270706)
# Loss over rating as a polynomial of load over rating through the published points. 80 PLUS Titanium, 230 V redundant:
# 90 / 94 / 96 / 91 % at 10 / 20 / 50 / 100 %.
PSU_CURVES: dict[str, tuple[float, ...]] = {
    "platinum": PSU_LOSS,
    "titanium": (0.00846564454720487, 0.03442328619633536, -0.09476380265387202, 0.15077597081143057),
}


def node_demand_kw(util_frac: Array, idle_kw: Array, peak_kw: Array, concave_frac: Array) -> Array:
    """Return the power a running node asks for [kW] at a utilisation [0..1].

    idle + (peak - idle) * ((1 - k) u + k sqrt(u)): k = 0 is the linear law, k > 0 the concave one of real hosts.
    """
    u = np.minimum(util_frac, 1.0)
    return np.asarray(idle_kw + (peak_kw - idle_kw) * ((1.0 - concave_frac) * u + concave_frac * np.sqrt(u)))


class Curve(NamedTuple):
    """A law of its own for some nodes: the share of (peak - idle) drawn at a load.

    nodes: their indices. cores 0: measured, load is utilisation; straight lines between the points, (0, 0) first and
    (1, 1) last, never falling. Else in steps: load is busy cores of so many, each step adds to the share (packages
    that wake up).
    """

    nodes: Ints
    load: Array
    share_frac: Array
    cores: int = 0


def busy_cores(util_frac: Array, cores: Array | int) -> Ints:
    """Return the busy cores of a node, rounded to the nearest whole one: one busy thread never reads exactly one."""
    return np.floor(util_frac * cores + 0.5).astype(np.int64)


def wake_curve(nodes: Ints, wake_cores: Sequence[int], wake_frac: Sequence[float], cores: int) -> Curve:
    """Return the law of packages: each adds its share of (peak - idle) once so many cores are busy.

    A package that wakes draws most of its power at once; on the SURF hosts this fits better than any smooth law
    (twin/realdata/powerfit.py finds it).
    """
    load = np.concatenate([[0.0], np.asarray(wake_cores, np.float64)])
    return Curve(nodes, load, np.concatenate([[0.0], np.cumsum(wake_frac)]), cores)


def curve_share_frac(util_frac: Array, curve: Curve) -> Array:
    """Return the share of (peak - idle) that a curve gives at a utilisation [0..1]."""
    u = np.minimum(util_frac, 1.0)
    if curve.cores:
        step = np.searchsorted(curve.load, busy_cores(u, curve.cores), side="right") - 1
        return np.asarray(curve.share_frac[step])
    return np.interp(u, curve.load, curve.share_frac)


def demand_kw(
    util_frac: Array, idle_kw: Array, peak_kw: Array, concave_frac: Array, curves: tuple[Curve, ...] = ()
) -> Array:
    """Return what running nodes ask for [kW], shaped like util_frac (members, nodes): see node_demand_kw.

    Nodes with a curve of their own follow that.
    """
    asked = node_demand_kw(util_frac, idle_kw, peak_kw, concave_frac)
    for curve in curves:
        at = curve.nodes
        span = (peak_kw - idle_kw)[at]
        asked[:, at] = idle_kw[at] + span * curve_share_frac(util_frac.take(at, axis=1), curve)
    return asked


def cap_speed_frac(demand_kw: Array, cap_kw: Array, peak_kw: Array, exponent: Array) -> Array:
    """Return the speed [0..1] left to a node that asks for demand_kw under a cap of cap_kw (1 where it fits)."""
    floor_kw = CAP_FLOOR_FRAC * peak_kw
    span_kw = np.maximum(demand_kw - floor_kw, 1e-9)
    ratio = np.clip((cap_kw - floor_kw) / span_kw, 0.0, 1.0)
    return np.where(demand_kw <= cap_kw, 1.0, ratio**exponent)


def psu_input_kw(output_kw: Array, rated_kw: Array, healthy: Array, loss: Sequence[float | Array] = PSU_LOSS) -> Array:
    """Return the power drawn from the feed [kW] by `healthy` supplies that share output_kw equally.

    loss: coefficients of PSU_CURVES, numbers or one array each. A rating of 0 means that power is metered at the wall
    and no loss is added; with no healthy supply nothing flows.
    """
    rating_kw = rated_kw * healthy
    x = output_kw / np.where(rating_kw > 0.0, rating_kw, 1.0)
    loss_frac: float | Array = loss[-1]
    for coefficient in reversed(loss[:-1]):
        loss_frac = coefficient + x * loss_frac
    loss_kw = rating_kw * loss_frac
    return np.where(output_kw > 0.0, output_kw + loss_kw, 0.0)


def ups_loss_kw(load_kw: Array, rated_kw: Array, c0: Array, c1: Array, c2: Array) -> Array:
    """Return the loss of a UPS [kW]: rating * (c0 + c1 x + c2 x^2), x = load over rating (APC white paper 108)."""
    x = load_kw / rated_kw
    return np.asarray(rated_kw * (c0 + x * (c1 + x * c2)))
