"""States as they are reported (runs, stands still, has power): facts, not estimates, the same in every member.

Those of nodes: `twin.sync.nodefacts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin import cooling_bits as bits
from twin.derived import Derived
from twin.sync.lateness import Past, Round
from twin.sync.names import Key, Names
from twin.sync.nodefacts import NodeFacts

Array = NDArray[np.float64]
Heard = Mapping[Key, tuple[Array, NDArray[np.bool_]]]

STAGED_K = 1.0  # a chiller that stands still while its water is this near the set-point was not needed
RUNNING: Key = ("chiller", "running")
FLAGS: tuple[Key, ...] = (
    RUNNING,
    ("cooling_unit", "running"),
    ("pump", "running"),
    ("cdu", "running"),
    ("feed", "ok"),
)
MOVED = ("chiller_phase", "unit_running", "pump_off", "cdu_off", "feed_ok")


class Machines:
    """Takes the newest state of each machine; an older one than is known says nothing."""

    def __init__(self, site: Site, names: Names) -> None:
        """Nothing has been reported."""
        self.site, self.names, self.nodes = site, names, NodeFacts(site)
        self.moved = False
        """Whether a machine of the plant, not only nodes, was news when it was last heard."""

    def hear(self, d: Derived, rounds: Sequence[Round], past: Past, shut_out: NDArray[np.bool_], now_ms: int) -> bool:
        """Take rounds of readings in place; shut_out: node meters nobody believes (N,). Tell whether one is news."""
        heard: dict[Key, tuple[Array, NDArray[np.bool_]]] = {}
        nodes = False
        for r in rounds:
            for key in FLAGS:
                if key not in r:
                    continue
                at, value, _, time_ms = r[key]
                new = past.is_newest(key, at, time_ms)
                n = self.names.size[key]
                values, present = heard.setdefault(key, (np.zeros(n), np.zeros(n, dtype=bool)))
                values[at[new]], present[at[new]] = value[new], True
            nodes |= self.nodes.hear(d, r, past, shut_out, now_ms)
        self.moved = bool(heard) and set_flags(self.site, d, heard)
        return self.moved or nodes


def set_flags(site: Site, d: Derived, heard: Heard) -> bool:
    """Take states (values and presence by kind and channel) in place; tell whether one is news."""
    s = d.state
    before = [s.arrays[name] for name in MOVED]
    for (kind, _), (value, present) in heard.items():
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
