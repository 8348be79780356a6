"""What happens to an emulated site while a twin's following is measured: quiet work, or loads and cooling that move.

The times below are fixed; a seed only moves them by a few minutes and chooses hidden parameters, sensors and jobs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plant import streams
from plant.actions import Action
from plant.site import Site
from twin.emulated_jobs import Wave
from twin.emulator import HIDDEN_WIDE, Emulator, Scenario
from twin.sensors import Quality
from twin.telemetry.store import Store

MINUTE_MS = 60_000
START_MS = 1_767_225_600_000  # 2026-01-01T00:00Z, an instant like any other
SENSORS = Quality(gap_frac=0.05, outlier_frac=0.02)
CALM_BUSY_FRAC, EVENTFUL_BUSY_FRAC = 0.6, 0.35
WAVE_FRAC = 0.4  # of a hall's nodes
WAVE_MIN, WAVE_RUN_MIN = (10.0, 88.0), (66.0, 200.0)  # when work comes [min], and how long it stays
SETPOINT_MIN, SETPOINT_K = (26.0, 40.0), 2.0  # raised and put back
OUT_MIN = (50.0, 78.0)  # chillers of a loop fail and come back
OUT_SHARE = 0.6  # of the loop's heat in a wave is more than the others can take
UNITS_MIN = (97.0, 109.0)  # cooling units stop and come back
UNITS_SHARE = 0.85  # of the hall's design air that is left
CONTROL_ERROR_K = 0.5  # the sensor by which a hall's control holds its supply air errs, evenly within this
JITTER_MIN = 4.0
SECOND_HALL_MIN = 5.0  # halls do not move together


@dataclass(frozen=True)
class Happening:
    """Something that changes inlets at an instant and that nobody said beforehand."""

    at_ms: int
    hall: str
    kind: str


@dataclass(frozen=True)
class Change:
    """A change of a hall's supply air set-point."""

    at_ms: int
    hall: int
    by_k: float


@dataclass(frozen=True)
class Story:
    """A site, how busy it is, and what happens from its start on; without happenings a calm one."""

    site: Site
    seed: int
    hours: float
    eventful: bool

    @property
    def name(self) -> str:
        """The word of reports."""
        return "eventful" if self.eventful else "calm"

    def _at_ms(self, minute: float, what: str, hall: int) -> int:
        luck = float(streams.uniform(self.seed, "trial time", 0, streams.component_key(f"{what}/{hall}")))
        minute += JITTER_MIN * (2.0 * luck - 1.0) + SECOND_HALL_MIN * hall
        return START_MS + round(minute * 4.0) * MINUTE_MS // 4  # on the grid of 15 s

    def waves(self) -> tuple[Wave, ...]:
        """Work that arrives all at once."""
        if not self.eventful:
            return ()
        return tuple(
            Wave(hall, self._at_ms(at_min, f"wave{n}", h), WAVE_FRAC, 60.0 * run_min)
            for h, hall in enumerate(self.site.hall_ids)
            for n, (at_min, run_min) in enumerate(zip(WAVE_MIN, WAVE_RUN_MIN, strict=True))
        )

    def emulator(self, store: Store) -> Emulator:
        """The emulated site, settled, with everything that will happen to it in its agenda."""
        busy = dict.fromkeys(self.site.hall_ids, EVENTFUL_BUSY_FRAC if self.eventful else CALM_BUSY_FRAC)
        scenario = Scenario(
            self.seed, START_MS, self.hours, busy, quality=SENSORS, hidden=HIDDEN_WIDE, waves=self.waves()
        )
        emulator = Emulator(self.site, scenario, store)
        luck = streams.uniform(self.seed, "trial control error", 0, streams.component_keys(self.site.hall_ids))
        emulator.engine.state.hall_setpoint_c[...] += CONTROL_ERROR_K * (2.0 * luck - 1.0)
        if self.eventful:
            self._write(emulator)
        return emulator

    def _write(self, emulator: Emulator) -> None:
        agenda, site = emulator.engine.state.agenda, self.site
        for h in range(len(site.hall_ids)):
            mended = {"repaired_ms": self._at_ms(OUT_MIN[1], "chillers", h)}
            for k in self._chillers(h):
                agenda.add(self._at_ms(OUT_MIN[0], "chillers", h), "chiller", site.chiller_ids[k], "out", mended)
            back = {"repaired_ms": self._at_ms(UNITS_MIN[1], "units", h)}
            for unit in self._units(h):
                agenda.add(self._at_ms(UNITS_MIN[0], "units", h), "cooling_unit", site.unit_ids[unit], "stop", back)

    def _chillers(self, hall: int) -> list[int]:
        """Chillers that fail: so many of those on duty that the others take `OUT_SHARE` of a wave's heat at most."""
        loop = int(self.site.hall_loop[hall])
        duty = np.flatnonzero((self.site.chiller_loop == loop) & ~self.site.chiller_standby)
        busy = EVENTFUL_BUSY_FRAC + WAVE_FRAC
        heat_kw = busy * float(self.site.hall_design_kw[self.site.hall_loop == loop].sum())
        able = np.cumsum(self.site.chiller_capacity_kw[duty]) <= OUT_SHARE * heat_kw
        return [int(k) for k in duty[int(able.sum()) :]]

    def _units(self, hall: int) -> list[int]:
        """Cooling units that stop: so many that the others give at most `UNITS_SHARE` of the design air."""
        units = np.flatnonzero(self.site.unit_hall == hall)
        design = float(self.site.rack_flow_kw_per_k[self.site.rack_hall == hall].sum())
        air = self.site.unit_flow_kw_per_k[units]
        left = [n for n in range(1, len(units) + 1) if air[:n].sum() >= UNITS_SHARE * design]
        return [int(u) for u in units[left[0] if left else len(units) :]]

    def kinds(self) -> dict[str, str]:
        """Component -> kind, as a gate wants it."""
        return {c: kind for kind in self.site.kinds for c in self.site.components(kind)}

    def setpoints(self) -> list[Change]:
        """Set-points that people change, in order of time."""
        if not self.eventful:
            return []
        return sorted(
            (
                Change(self._at_ms(at_min, "set-point", h), h, by_k)
                for h in range(len(self.site.hall_ids))
                for at_min, by_k in zip(SETPOINT_MIN, (SETPOINT_K, -SETPOINT_K), strict=True)
            ),
            key=lambda change: change.at_ms,
        )

    def command(self, emulator: Emulator, change: Change) -> None:
        """Change a set-point of the emulated site, as its operators would; its control keeps its own error."""
        supply_c = float(emulator.engine.state.hall_setpoint_c[0, change.hall]) + change.by_k
        step = Action.of("set_cooling", (self.site.hall_ids[change.hall],), supply_c=supply_c)
        args = {"step": step.as_dict()}
        key = f"{change.at_ms:016d}:{change.hall}"
        emulator.request("command", {"verb": "plant", "key": key, "epoch": 1, "args": args})

    def happenings(self) -> list[Happening]:
        """Everything that the twin cannot know before it happens."""
        out = [Happening(c.at_ms, self.site.hall_ids[c.hall], "set-point") for c in self.setpoints()]
        if not self.eventful:
            return out
        for h, hall in enumerate(self.site.hall_ids):
            out += [Happening(self._at_ms(m, "chillers", h), hall, "chillers") for m in OUT_MIN]
            out += [Happening(self._at_ms(m, "units", h), hall, "cooling units") for m in UNITS_MIN]
        for wave in self.waves():
            out.append(Happening(wave.at_ms, wave.hall, "work comes"))
            out.append(Happening(wave.at_ms + int(wave.run_s * 1000), wave.hall, "work ends"))
        return sorted(out, key=lambda one: one.at_ms)
