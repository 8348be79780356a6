"""Water around the chillers: flow by running pumps, what a coil gets of it, free cooling. Pure functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Head of a centrifugal pump at no flow over its head at design: a flat catalogue curve [assumed].
PUMP_SHUTOFF_RATIO = 1.25
# A coil carries full heat until water flow falls below this share: water is laid out for 6 K, air for 12 K [assumed].
COIL_FULL_FLOW_FRAC = 0.5
DESIGN_RANGE_K = 6.0  # return above supply at design load and full flow [assumed]


def pump_flow_frac(running: Array, needed: Array) -> Array:
    """Return the flow as a share of nominal when `running` of `needed` equal parallel pumps run.

    Head of one pump h0 - (h0 - 1) n^2 q^2, head of the pipes Q^2, Q = running q: in units of the design point
    Q^2 = h0 / (1 + (h0 - 1) (n / running)^2). More pumps than needed are throttled back to the nominal flow.
    """
    ratio = needed / np.maximum(running, 1e-9)
    flow = np.sqrt(PUMP_SHUTOFF_RATIO / (1.0 + (PUMP_SHUTOFF_RATIO - 1.0) * ratio * ratio))
    return np.where(running > 0.0, np.minimum(1.0, flow), 0.0)


def coil_flow_frac(flow_frac: Array) -> Array:
    """Return the share of a coil's heat transfer left at a share of nominal water flow."""
    return np.clip(flow_frac / COIL_FULL_FLOW_FRAC, 0.0, 1.0)


def return_c(supply_c: Array, heat_kw: Array, flow_frac: Array, flow_kw_per_k: Array) -> Array:
    """Return the temperature of the water that comes back [C] from coils that give it heat_kw."""
    flow = np.maximum(flow_frac, 0.05) * flow_kw_per_k
    return np.asarray(supply_c + heat_kw / np.maximum(flow, 1e-9))


def free_cooling_kw(
    back_c: Array, outdoor_c: Array, capacity_kw: Array, approach_k: Array, range_k: Array, flow_frac: Array
) -> Array:
    """Return the heat [kW] an economiser can take from return water of back_c.

    All of it while the outdoors is an approach below the supply (return less range), none once it is within an approach
    of the return, in proportion between: notes/incidents.md B.4.
    """
    share = np.clip((back_c - outdoor_c - approach_k) / range_k, 0.0, 1.0)
    return np.asarray(capacity_kw * share * np.clip(flow_frac, 0.0, 1.0))
