"""One replay: an emulated site lives through an incident under a policy, and what it cost is measured. Simulated."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from energy.drivers import drivers_of
from energy.seriesfile import load_series
from plant import streams
from plant.incident import Incident, ResolvedIncident
from plant.site import Site
from predict.score import Scorer
from recovery import mttr
from recovery.emulated_plant import EmulatedPlant
from recovery.ledger import Ledger
from recovery.loop import TICK_S, Settings, Wiring, Worker
from recovery.rehearse import HORIZON_S
from recovery.rows import PlanRow
from recovery.service import ServiceRecord
from scheduler.emulated import EmulatedScheduler
from twin.drivers import Drivers
from twin.emulator import SETTLE_S, Emulator, Scenario
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.store import Batch, Event

CARBON_EXAMPLE = Path(__file__).parent.parent / "data" / "energy" / "carbon_intensity_example.csv"
STATIC_C = 27.0  # the usual static alert: upper end of the recommended inlet range (ASHRAE TC 9.9)
WARM_MIN = 45.0  # telemetry before the first sign: references need it
TAIL_MIN = 120.0  # after the last repair: time to restart and to hold
QUIET_MIN = -60.0  # where a quiet replay starts, beside an incident whose first sign is near its trip
BUSY_FRAC = {"victim": 0.6, "other": 0.2}  # how full the halls are [assumed]; the sister hall is kept half-empty
TICK_MS = int(TICK_S * 1000)
THINKING_MS = int(1000 * sum(mttr.CHARGED_S[part] for part in ("diagnose_s", "plan_s", "rehearse_s")))
APPROVER = "demo operator (automatic)"


class StaticAlarm:
    """A store that keeps nothing but the first instant at which any rack inlet reads 27 C: the static alert."""

    def __init__(self) -> None:
        """Nothing has been read."""
        self.first_ms: int | None = None

    def write(self, batch: Batch) -> int:
        """Look at a batch and forget it."""
        if self.first_ms is None:
            hot = (batch.channel == "inlet_c") & (batch.value >= STATIC_C)
            if hot.any():
                self.first_ms = int(batch.time_ms[hot].min())
        return len(batch)

    def write_events(self, events: list[Event]) -> None:
        """Forget events."""


@dataclass(frozen=True)
class Case:
    """What is replayed: site, incident or None for a quiet stretch of the same length, seed, hidden seed."""

    site: Site
    incident: Incident
    seed: int
    quiet: bool = False
    busy_frac: dict[str, float] = field(default_factory=dict)
    likeliest: bool = False

    @property
    def world(self) -> ResolvedIncident:
        """The possible world of this seed, or the likeliest one; the outcome stands nowhere in it."""
        if self.likeliest:
            return self.incident.without_outcome().likeliest()
        return self.incident.without_outcome().resolve(lambda purpose, name: float(_uniform(self.seed, purpose, name)))

    @property
    def window_ms(self) -> tuple[int, int]:
        """Start and end of the replay [Unix ms], on the grid."""
        world = self.world
        first_min = QUIET_MIN + WARM_MIN if self.quiet else world.first_sign_min
        last_min = max(r.at_min for r in world.repairs)
        start = world.at_ms(first_min - WARM_MIN) // TICK_MS * TICK_MS
        return start, start + (world.at_ms(last_min + TAIL_MIN) - start) // TICK_MS * TICK_MS

    def drivers(self) -> Drivers:
        """Carbon intensity hour by hour where a shipped series knows the region, else the site file's mean."""
        start_ms, end_ms = self.window_ms
        begin_ms = start_ms - int(SETTLE_S * 1000)
        hours = (end_ms - begin_ms) / 3.6e6 + HORIZON_S / 3600.0 + 1.0
        carbon = load_series(CARBON_EXAMPLE)
        knows = not carbon.zones.keys().isdisjoint(self.site.region_ids)
        drivers = drivers_of(self.site, begin_ms, hours, carbon if knows else None)
        for region, outdoor_c in self.world.outdoor_c:
            drivers.outdoor_c[:, self.site.region_ids.index(region)] = outdoor_c
        return drivers

    def scenario(self) -> Scenario:
        """The emulated world: hidden parameters follow from the seed, never from what the twin knows."""
        start_ms, end_ms = self.window_ms
        busy = self.busy_frac or busy_halls(self.site, self.world)
        hidden = int.from_bytes(streams.component_key(f"hidden {self.seed}").to_bytes(8, "little")[:4], "little")
        return Scenario(hidden, start_ms, (end_ms - start_ms) / 3.6e6, busy, None if self.quiet else self.world)


def _uniform(seed: int, purpose: str, name: str) -> Any:
    return streams.uniform(seed, purpose, 0, streams.component_key(name))


def busy_halls(site: Site, world: ResolvedIncident) -> dict[str, float]:
    """Return how busy each hall is: those on a loop or path of a cause as the file assumes, the others half-empty."""
    hit = {name for cause in world.causes for name in cause.components}
    loops = [site.loop_ids[int(loop)] for loop in site.hall_loop]
    victims = {
        hall
        for hall, loop in zip(site.hall_ids, loops, strict=True)
        if any(name in (hall, loop) or name.startswith((hall + "/", loop + "/")) for name in hit)
    }
    values = dict(world.values)
    busy = values.get("util_frac", BUSY_FRAC["victim"])
    return {h: busy if h in victims else BUSY_FRAC["other"] for h in site.hall_ids}


@dataclass
class Measured:
    """What one policy made of one case; every figure comes from simulation."""

    policy: str
    truth: dict[str, Any]
    service: ServiceRecord
    t0_ms: int
    static_ms: int | None = None
    alert_ms: int | None = None
    alert_right: bool = False
    alerts: list[tuple[int, str]] = field(default_factory=list)
    plans: list[dict[str, Any]] = field(default_factory=list)
    chosen: PlanRow | None = None
    times: mttr.Times | None = None

    def recovery(self) -> mttr.Recovery:
        """Outcome, MTTR and its parts."""
        loss, end = self.service.first_loss_ms(self.t0_ms), self.service.times_ms[-1]
        back = self.service.recovered_ms(self.t0_ms, mttr.HOLD_S)
        base = self.times or mttr.Times(self.t0_ms)
        return mttr.recovery(mttr.Times(**{**base.__dict__, "loss_ms": loss, "verified_ms": back, "end_ms": end}))


def play_none(case: Case) -> Measured:
    """Do nothing: faults and repairs happen, nobody moves, caps or drains anything."""
    alarm = StaticAlarm()
    emulator = Emulator(case.site, case.scenario(), alarm, case.drivers())  # type: ignore[arg-type]
    service, truth = ServiceRecord(), emulator.truth()
    start_ms, end_ms = case.window_ms
    for now_ms in range(start_ms + TICK_MS, end_ms + 1, TICK_MS):
        # the static alarm is all that reads the sensors here, and it listens for one reading only
        truth = emulator.advance(now_ms) if alarm.first_ms is None else emulator.advance_unread(now_ms)
        service.note(now_ms, truth["service_frac"])
    return Measured("none", truth, service, onset_ms(case), static_ms=alarm.first_ms)


def onset_ms(case: Case) -> int:
    """Return t0, the fault itself: precursors come before it."""
    world = case.world
    return world.at_ms(min(cause.at_min for cause in world.causes))


class Replay:
    """Foretwin against an emulated site in one process: the worker reaches it through store and ports alone."""

    def __init__(self, case: Case, scorer: Scorer, settings: Settings, home: Path, human_s: float) -> None:
        """Build site, store, ledger and worker."""
        self.case, self.human_s = case, human_s
        self.store = MemoryStore()
        drivers = case.drivers()
        self.emulator = Emulator(case.site, case.scenario(), self.store, drivers)
        self.ledger = Ledger(home / "ledger.sqlite")
        scheduler, plant = EmulatedScheduler(self.emulator.request), EmulatedPlant(self.emulator.request)
        wiring = Wiring(case.site, self.store, self.ledger, scheduler, plant, home / "pause", scorer, drivers)
        self.start_ms, self.end_ms = case.window_ms
        self.worker = Worker(wiring, self.start_ms, settings)
        self.measured = Measured("foretwin", self.emulator.truth(), ServiceRecord(), onset_ms(case))

    def run(self, on_tick: Callable[[int], None] | None = None) -> Measured:
        """Play to the end of the window and return what was measured."""
        m = self.measured
        for now_ms in range(self.start_ms + TICK_MS, self.end_ms + 1, TICK_MS):
            m.truth = self.emulator.advance(now_ms)
            m.service.note(now_ms, m.truth["service_frac"])
            tick = self.worker.tick(now_ms, m.truth["jobs_version"])
            note_alerts(m, self.case, tick.alerts)
            if tick.proposed and not m.plans:
                m.plans = [j.as_dict() for j in tick.proposed]
            approve_when_due(self.ledger, now_ms, self.human_s)
            if on_tick is not None:
                on_tick(now_ms)
        conclude(m, self.ledger)
        self.ledger.close()
        return m


def note_alerts(m: Measured, case: Case, alerts: tuple[Any, ...]) -> None:
    """Remember each alert when it first stands, and the first one on the right component."""
    seen = {root for _, root in m.alerts}
    for alert in alerts:
        if alert.root not in seen:
            m.alerts.append((alert.since_ms, alert.root))
            if not m.alert_right and is_right(case, alert.root):
                m.alert_ms, m.alert_right = alert.since_ms, True


def is_right(case: Case, component: str) -> bool:
    """Tell whether an alert points at the incident: a failed component, its loop, or something that hangs on it."""
    if case.quiet:
        return False
    site = case.site
    hit = {name for cause in case.world.causes for name in cause.components}
    loops = {name if site.kind_of(name) == "loop" else name.rsplit("/", 1)[0] for name in hit}
    halls = {h for i, h in enumerate(site.hall_ids) if site.loop_ids[int(site.hall_loop[i])] in loops}
    return any(component == one or component.startswith(one + "/") for one in (*hit, *loops, *halls))


def approve_when_due(ledger: Ledger, now_ms: int, human_s: float) -> None:
    """Approve the recommended plan once thinking and human time have passed since it was proposed."""
    for row in ledger.waiting():
        shown = row.rehearsal or {}
        good = row.rank == 0 and not shown.get("gate_reasons") and row.label != "do_nothing"
        if good and now_ms - row.created_ms >= THINKING_MS + human_s * 1000:
            ledger.decide(row.id, APPROVER, "approve", "best of the rehearsed plans", now_ms)
            return


def conclude(m: Measured, ledger: Ledger) -> None:
    """Read the instants of the incident out of the ledger."""
    rows = [r for r in ledger.plans() if any(d.what == "approve" for d in ledger.decisions(r.id))]
    if m.alert_ms is None:
        return
    charged = mttr.CHARGED_S
    cause_ms = m.alert_ms + int(charged["diagnose_s"] * 1000)
    proposed_ms = cause_ms + int(charged["plan_s"] * 1000)
    times = {"alert_ms": m.alert_ms, "cause_ms": cause_ms, "proposed_ms": proposed_ms}
    times["rehearsed_ms"] = proposed_ms + int(charged["rehearse_s"] * 1000)
    if rows:
        m.chosen = min(rows, key=lambda r: r.created_ms)
        steps = [s for s in ledger.steps(m.chosen.id) if m.chosen.plan.steps[s.no].get("when") is None]
        receipts = [s.receipt_ms for s in steps if s.receipt_ms is not None]
        intents = [s.intent_ms for s in steps if s.intent_ms is not None]
        times["decided_ms"] = min(d.at_ms for d in ledger.decisions(m.chosen.id))
        times |= {"first_effect_ms": min(intents)} if intents else {}
        times |= {"last_step_ms": max(receipts)} if receipts else {}
    m.times = mttr.Times(m.t0_ms, **times)


def play_foretwin(case: Case, model: Any, settings: Settings, human_s: float = 0.0) -> Measured:
    """Let Foretwin watch, rehearse, be approved and act."""
    with tempfile.TemporaryDirectory() as folder:
        return Replay(case, Scorer(case.site, model), settings, Path(folder), human_s).run()


def seconds(m: Measured, at_ms: int | None) -> float | None:
    """Return seconds from the fault, negative before it, None when it did not happen."""
    return None if at_ms is None else (at_ms - m.t0_ms) / 1000.0
