"""The emulated site: it stands for the physical one in demos and replays, and is reached only through store and ports.

Its parameters are hidden: drawn from a seed of its own, never told to the twin. Everything it says is simulated.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from plant.incident import ResolvedIncident
from plant.site import Site
from twin import story
from twin.commands import Commands
from twin.drivers import Drivers
from twin.emulated_jobs import Wave, emulated_jobs
from twin.engine import Engine
from twin.ensemble import Spread, make_state
from twin.nodephase import ON
from twin.sensors import Quality, Sensors
from twin.telemetry.store import Batch, Event, Store

# Hidden parameters are uniform within +- 20 % in effect: two of these standard deviations.
# Sensors of the emulator have a bias of their own (`twin/sensors.py`).
HIDDEN = Spread(0.1, 0.1, 0.1, 0.05, 0.2, 0.1, 0.05, 0.1, 0.03, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
# For trials of what is learned: every parameter uniform within +-20 % (+-0.2 in its logarithm).
HIDDEN_WIDE = Spread(
    0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.0, uniform=True
)  # fmt: skip
HIDDEN_MEMBER = 1_000_003  # a member id that no ensemble uses: the truth is nobody's twin
SETTLE_S = 2 * 3600.0


@dataclass
class Scenario:
    """What is emulated: hidden seed, start, length, how busy halls are, the incident if any, sensor quality.

    hidden: how far its parameters may lie from the site file's; waves: work that arrives all at once.
    """

    hidden_seed: int
    start_ms: int
    hours: float
    busy_frac: dict[str, float]
    incident: ResolvedIncident | None = None
    quality: Quality = field(default_factory=Quality)
    hidden: Spread = HIDDEN
    waves: tuple[Wave, ...] = ()


class Emulator:
    """A site that runs by itself: advance it in time, read it through the store, command it by key."""

    def __init__(self, site: Site, scenario: Scenario, store: Store, drivers: Drivers | None = None) -> None:
        """Build the hidden site and let it settle before its start."""
        self.site, self.scenario, self.store = site, scenario, store
        begin_ms = scenario.start_ms - int(SETTLE_S * 1000)
        jobs = emulated_jobs(
            site, scenario.hidden_seed, begin_ms, scenario.hours + SETTLE_S / 3600.0, scenario.busy_frac, scenario.waves
        )
        state = make_state(site, begin_ms, jobs=jobs, seed=scenario.hidden_seed, spread=scenario.hidden)
        state.member[...] = HIDDEN_MEMBER
        if scenario.incident is not None:
            story.write(state, site, scenario.incident)
        self.engine = Engine(state, site, drivers=drivers)
        self.engine.run(scenario.start_ms)
        # walls and floor need a day to settle, not two hours: they have stood in this air for long
        warmer_k = state.hall_hot_c - state.hall_structure_c
        state.heat_sync_kj[...] += (state.hall_structure_kj_per_k * warmer_k).sum(axis=1)
        state.hall_structure_c[...] += warmer_k
        _reset_counters(state.arrays)
        self.sensors = Sensors(site, scenario.hidden_seed, scenario.quality)
        self.commands = Commands(self.engine)
        self._late: list[tuple[int, Batch]] = []
        self._node_on = state.node_phase[0] == ON
        self._chiller_on = state.chiller_phase[0].copy()

    @property
    def now_ms(self) -> int:
        """The emulated instant [Unix ms]."""
        return self.engine.state.now_ms

    def advance(self, to_ms: int) -> dict[str, Any]:
        """Run to an instant step by step, write what the sensors say on the way, and return the true figures."""
        step_ms = self.engine.state.step_ms
        while self.now_ms < to_ms:
            self.engine.run(min(to_ms, self.now_ms + step_ms))
            self._write_readings()
            self._write_events()
        self.commands.follow()
        return self.truth()

    def advance_unread(self, to_ms: int) -> dict[str, Any]:
        """Run to an instant without sensors, when nobody reads any more, and return the true figures."""
        self.engine.run(to_ms)
        return self.truth()

    def _write_readings(self) -> None:
        self.engine.derived.refresh()
        batch, arrive = self.sensors.read(self.engine.derived, self.now_ms)
        on_time = arrive <= self.now_ms
        due = [b for at, b in self._late if at <= self.now_ms]
        self._late = [(at, b) for at, b in self._late if at > self.now_ms]
        self._late += [(int(arrive[i]), batch.take(np.array([i]))) for i in np.flatnonzero(~on_time)]
        self.store.write(Batch.joined([*due, batch.take(on_time)]))

    def _write_events(self) -> None:
        s = self.engine.state
        on, chillers = s.node_phase[0] == ON, s.chiller_phase[0].copy()
        events = [
            Event(self.now_ms, self.site.node_ids[i], "node_up" if on[i] else "node_down", str(int(s.node_phase[0, i])))
            for i in np.flatnonzero(on != self._node_on)
        ]
        events += [
            Event(self.now_ms, self.site.chiller_ids[k], "chiller", str(int(chillers[k])))
            for k in np.flatnonzero(chillers != self._chiller_on)
        ]
        self._node_on, self._chiller_on = on, chillers
        if events:
            self.store.write_events(events)

    def request(self, verb: str, args: dict[str, Any]) -> Any:
        """Answer one request of a port: plain data in, plain data out."""
        if verb == "command":
            return self.commands.call(args["verb"], args["key"], int(args["epoch"]), args["args"])
        if verb == "query":
            return self.commands.query(args["key"])
        if verb == "fence":
            return self.commands.fence(int(args["epoch"]))
        if verb == "observe":
            return self.commands.observe()
        if verb == "nodes":
            return self.commands.nodes()
        if verb == "advance":
            return self.advance(int(args["to_ms"]))
        if verb == "truth":
            return self.truth()
        if verb == "log":
            return self.commands.log
        raise ValueError(f"the emulator knows no request '{verb}'")

    def truth(self) -> dict[str, Any]:
        """Return what only the emulated world knows, for measuring afterwards; the twin never sees it."""
        s = self.engine.state
        return {
            "simulated": True,
            "now_ms": self.now_ms,
            "jobs_version": self.commands.version,
            "lost_service_min": float(s.lost_service_s[0]) / 60.0,
            "lost_gpu_h": float(s.lost_gpu_h[0]),
            "service_frac": float(s.service_frac[0]),
            "energy_kwh": float(s.energy_kwh[0].sum()),
            "carbon_kgco2": float(s.carbon_kgco2[0]),
            "moved_gb": float(s.moved_gb[0]),
            "node_stops": float(s.node_stops[0]),
            "first_stop_ms": int(s.first_stop_ms[0]),
            "peak_inlet_c": float(s.peak_inlet_c[0]),
            "max_inlet_c": float(s.rack_inlet_c[0].max()),
        }

    def digest(self) -> str:
        """Return a hash of the hidden state and of what was commanded, for tests of determinism."""
        text = self.engine.state.digest() + json.dumps(self.commands.log, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _reset_counters(arrays: dict[str, Any]) -> None:
    """Start counting when the emulation starts, not while it settles."""
    for name in (
        "energy_it_kwh",
        "energy_kwh",
        "carbon_kgco2",
        "lost_service_s",
        "lost_gpu_h",
        "moved_gb",
        "node_stops",
    ):
        arrays[name][...] = 0.0
    arrays["first_stop_ms"][...] = -1
    arrays["peak_inlet_c"][...] = arrays["rack_inlet_c"].max(axis=1)
