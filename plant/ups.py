"""A UPS of equal modules with its battery: who runs, what is lost, how long it lasts (kW, kWh, s).

The loss is quadratic in the load of each running module (APC white paper 108; seed 003). A UPS whose modules are all in
service shares the load among all of them; one that stages lets modules sleep while few are asked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import power

Array = NDArray[np.float64]

CHARGE_EFFICIENCY = 0.9  # of what goes into a battery, so much can be taken out [assumed]
RECHARGE_FRAC = 0.1  # recharging takes ten times as long as a discharge at full load (notes/incidents.md B.2)


def modules_running(load_kw: Array, module_kw: Array, ok: Array, spare: Array, stage_frac: Array) -> Array:
    """Return how many modules run: all healthy ones, or with staging those the load asks for and the spare ones.

    stage_frac is the load of a module above which one more wakes; infinite means that none ever sleeps.
    """
    finite = np.where(np.isfinite(stage_frac), stage_frac, 1.0)
    asked = np.ceil(load_kw / (finite * module_kw) - 1e-9) + spare
    return np.where(np.isfinite(stage_frac), np.clip(asked, 1.0, np.maximum(ok, 1.0)), ok) * (ok > 0.0)


def loss_kw(load_kw: Array, module_kw: Array, running: Array, c0: Array, c1: Array, c2: Array) -> Array:
    """Return the loss of `running` modules that share a load equally; no module loses nothing."""
    rated = module_kw * running
    return np.where(running > 0.0, power.ups_loss_kw(load_kw, np.where(running > 0.0, rated, 1.0), c0, c1, c2), 0.0)


def autonomy_s(battery_kwh: Array, drawn_kw: Array) -> Array:
    """Return how long a battery lasts at a constant draw, losses included [s]: energy over power."""
    return np.where(drawn_kw > 0.0, battery_kwh / np.where(drawn_kw > 0.0, drawn_kw, 1.0) * 3600.0, np.inf)


def discharge(battery_kwh: Array, drawn_kw: Array, dt_s: float) -> Array:
    """Return the energy left [kWh] after dt_s at a constant draw.

    It may end below 0, by at most what the last step drew: the reserve below the cut-off. So no energy is invented when
    a battery runs out within a step.
    """
    return np.asarray(battery_kwh - drawn_kw * (dt_s / 3600.0))


def recharge(battery_kwh: Array, full_kwh: Array, charge_kw: Array, dt_s: float) -> tuple[Array, Array]:
    """Return (energy held, energy drawn for it) [kWh] after dt_s of charging at up to charge_kw at the input."""
    drawn = np.minimum(charge_kw * (dt_s / 3600.0), np.maximum(full_kwh - battery_kwh, 0.0) / CHARGE_EFFICIENCY)
    return np.minimum(battery_kwh + drawn * CHARGE_EFFICIENCY, full_kwh), drawn
