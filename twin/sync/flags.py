"""States as they are reported (runs, stands still, has power): facts, not estimates, the same in every member."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin import cooling_bits as bits
from twin.derived import Derived
from twin.node_repairs import found_up
from twin.nodephase import ON, STOPPED

Array = NDArray[np.float64]
Key = tuple[str, str]
Heard = Mapping[Key, tuple[Array, NDArray[np.bool_]]]

STAGED_K = 1.0  # a chiller that stands still while its water is this near the set-point was not needed
FLAGS: tuple[Key, ...] = (
    ("chiller", "running"),
    ("cooling_unit", "running"),
    ("pump", "running"),
    ("cdu", "running"),
    ("node", "ok"),
    ("feed", "ok"),
)
MOVED = ("chiller_phase", "unit_running", "pump_off", "cdu_off", "feed_ok", "node_phase")


def set_flags(site: Site, d: Derived, heard: Heard) -> bool:
    """Take states (values and presence by kind and channel) in place; tell whether one is news."""
    s = d.state
    before = [s.arrays[name] for name in MOVED]
    for (kind, channel), (value, present) in heard.items():
        on = value > 0.5
        if kind == "chiller":
            _chillers(site, d, on, present)
        elif kind == "cooling_unit":
            s.arrays["unit_running"] = np.where(present, on, s.unit_running)
            why = np.where(on, 0, np.where(s.unit_off == 0, bits.BROKEN, s.unit_off))
            s.arrays["unit_off"] = np.where(present, why, s.unit_off).astype(np.int8)
        elif kind in ("pump", "cdu"):
            name = f"{kind}_off"
            why = np.where(on, 0, np.where(s.arrays[name] == 0, bits.BROKEN, s.arrays[name]))
            s.arrays[name] = np.where(present, why, s.arrays[name]).astype(np.int8)
        elif kind == "feed":
            s.arrays["feed_ok"] = np.where(present, on, s.feed_ok)
        elif (kind, channel) == ("node", "ok"):
            _nodes(d, on, present)
    # a flag that was heard has a new array
    return any(
        s.arrays[name] is not old and not np.array_equal(s.arrays[name], old)
        for name, old in zip(MOVED, before, strict=True)
    )


def _chillers(site: Site, d: Derived, on: NDArray[np.bool_], present: NDArray[np.bool_]) -> None:
    s = d.state
    now = np.where(s.chiller_phase == bits.CHILLER_ON, bits.TRIPPED, s.chiller_phase)
    # a control stops chillers that the load does not need: while the water is cold that is no fault
    cold = (s.loop_supply_c < s.loop_setpoint_c + STAGED_K) & site.cooling.loop_controlled
    rests = site.chiller_standby | cold.take(site.chiller_loop, axis=1)
    rests &= s.chiller_phase != bits.STARTING  # it said that it is coming up
    off = np.where(rests, bits.STANDBY, now)
    phase = np.where(present, np.where(on, bits.CHILLER_ON, off), s.chiller_phase)
    s.arrays["chiller_phase"] = phase.astype(np.int8)
    s.arrays["chiller_off"] = np.where(present & on, 0, s.chiller_off).astype(np.int8)


def _nodes(d: Derived, on: NDArray[np.bool_], present: NDArray[np.bool_]) -> None:
    s = d.state
    up = present & on & (s.node_phase != ON)
    if up.any():
        found_up(d, up)
    fallen = np.where(s.node_phase == ON, STOPPED, s.node_phase)
    s.arrays["node_phase"] = np.where(present, np.where(on, ON, fallen), s.node_phase).astype(np.int8)
