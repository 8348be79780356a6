"""Heat in racks, metal and halls: exact steps of any length for what is held over the step.

A rack is two nodes, equipment and air, solved together:

    Cs dTs/dt = P - UA (Ts - Ta)            equipment (metal)
    Ca dTa/dt = UA (Ts - Ta) - m (Ta - Tin)  air; m = mass flow times specific heat [kW/K]

A structure is metal, walls or floor that only trades heat with air (a chassis behind its servers, the body of a hall):

    C dT/dt = UA (Tair - T)                 in well-mixed air
    C dT/dt = m (1 - exp(-UA / m)) (Tair - T)   washed by a stream that enters at Tair (one-pass exchanger, NTU law)

Constants: notes/incidents.md B.1. Temperatures [C], heat [kW], capacities [kJ/K], conductances [kW/K], time [s].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class RackStep(NamedTuple):
    """Coefficients of one exact step, shaped like the racks: new deviations from Tin = old ones mixed + P gained."""

    ss: Array  # equipment from equipment
    sa: Array  # equipment from air
    sp: Array  # equipment per kW [K/kW]
    as_: Array  # air from equipment
    aa: Array  # air from air
    ap: Array  # air per kW [K/kW]


def rack_step(
    mass_kj_per_k: Array, air_kj_per_k: Array, ua_kw_per_k: Array, flow_kw_per_k: Array, dt_s: float
) -> RackStep:
    """Return the coefficients of an exact step of dt_s; flow 0 is allowed (the slow eigenvalue is then 0)."""
    a, b, c = ua_kw_per_k / mass_kj_per_k, ua_kw_per_k / air_kj_per_k, flow_kw_per_k / air_kj_per_k
    total = a + b + c
    fast = -0.5 * (total + np.sqrt(np.maximum(total * total - 4.0 * a * c, 0.0)))
    slow = a * c / fast
    e_fast, e_slow = np.exp(fast * dt_s), np.exp(slow * dt_s)
    gap = slow - fast
    e1 = (e_slow - e_fast) / gap
    e0 = (slow * e_fast - fast * e_slow) / gap
    i_fast, i_slow = (e_fast - 1.0) / fast, _integral(slow, dt_s)
    g1 = (i_slow - i_fast) / gap
    g0 = (slow * i_fast - fast * i_slow) / gap
    return RackStep(
        ss=e0 - a * e1,
        sa=a * e1,
        sp=(g0 - a * g1) / mass_kj_per_k,
        as_=b * e1,
        aa=e0 - (b + c) * e1,
        ap=b * g1 / mass_kj_per_k,
    )


def _integral(rate: Array, dt_s: float) -> Array:
    """Integral of exp(rate t) over the step, safe at rate 0."""
    near_zero = np.abs(rate * dt_s) < 1e-12
    safe = np.where(near_zero, 1.0, rate)
    return np.where(near_zero, dt_s, np.expm1(safe * dt_s) / safe)


def advance_rack(step: RackStep, mass_c: Array, air_c: Array, heat_kw: Array, inlet_c: Array) -> tuple[Array, Array]:
    """Return (equipment, air) temperatures [C] after the step, with heat and inlet temperature held over it."""
    s, a = mass_c - inlet_c, air_c - inlet_c
    return (
        inlet_c + step.ss * s + step.sa * a + step.sp * heat_kw,
        inlet_c + step.as_ * s + step.aa * a + step.ap * heat_kw,
    )


def structure_frac(structure_kj_per_k: Array, ua_kw_per_k: Array, dt_s: float) -> Array:
    """Return the share of its distance to the air that a structure makes up in a step with the air held, 0..1.

    A structure without capacity takes no heat: 0, so that a site without one behaves as before.
    """
    there = structure_kj_per_k > 0.0
    rate_per_s = np.where(there, ua_kw_per_k, 0.0) / np.where(there, structure_kj_per_k, 1.0)
    return np.asarray(-np.expm1(-rate_per_s * dt_s))


def structure_heat_kj(air_c: Array, structure_c: Array, structure_kj_per_k: Array, frac: Array) -> Array:
    """Return the heat that goes from the air into the structure over the step [kJ]; negative when the metal is warmer.

    frac: `structure_frac` of the step. The structure ends at its temperature plus this heat over its capacity, and the
    air has lost exactly as much: what leaves one place enters the other.
    """
    return np.asarray(structure_kj_per_k * frac * (air_c - structure_c))


def washed_ua_kw_per_k(ua_kw_per_k: Array, flow_kw_per_k: Array) -> Array:
    """Return the conductance between metal and the temperature at which a stream enters it: m (1 - exp(-UA / m)).

    It is UA while the stream is large, m while it is small (no stream takes more than it carries), 0 without flow.
    """
    ntu = ua_kw_per_k / np.maximum(flow_kw_per_k, 1e-12)
    return np.asarray(-flow_kw_per_k * np.expm1(-ntu))


def reading_frac(lag_s: Array, dt_s: float) -> Array:
    """Return the share of its distance to the true value that a sensor of first order makes up in a step, 0..1.

    A sensor without lag (0 s) reads the true value: 1.
    """
    lags = lag_s > 0.0
    return np.asarray(np.where(lags, -np.expm1(-dt_s / np.where(lags, lag_s, 1.0)), 1.0))


class AirStep(NamedTuple):
    """Coefficients of one exact step of well-mixed air: of what it was above the inlet, and K per kW of heat."""

    keep: Array  # at the end, of the start
    mean: Array  # in the mean over the step, of the start
    gain: Array  # at the end, per kW [K/kW]
    mean_gain: Array  # in the mean over the step, per kW [K/kW]


def air_step(air_kj_per_k: Array, flow_kw_per_k: Array, dt_s: float) -> AirStep:
    """Return the coefficients of C dT/dt = heat - m (T - Tin) over a step; flow 0 is allowed (nothing is carried)."""
    x = flow_kw_per_k / air_kj_per_k * dt_s
    small = x < 1e-4
    safe = np.where(small, 1.0, x)
    # (1 - exp(-x)) / x and (1 - that) / x, by their series where the difference would lose digits
    left = np.where(small, 1.0 - x * (0.5 - x / 6.0), -np.expm1(-safe) / safe)
    late = np.where(small, 0.5 - x * (1.0 / 6.0 - x / 24.0), (1.0 - left) / safe)
    per_kw = dt_s / air_kj_per_k
    return AirStep(1.0 - x * left, left, per_kw * left, per_kw * late)


def advance_air(step: AirStep, air_c: Array, heat_kw: Array, inlet_c: Array) -> tuple[Array, Array]:
    """Return well-mixed air at the end of the step and in the mean over it [C], heat and inlet held.

    The stream carries m (mean - Tin) dt away over the step, and the balance closes with the end.
    """
    above_k = air_c - inlet_c
    return (
        inlet_c + step.keep * above_k + step.gain * heat_kw,
        inlet_c + step.mean * above_k + step.mean_gain * heat_kw,
    )
