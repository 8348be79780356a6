"""The loop of the worker, one tick: ingest, sync, score, propose, rehearse, (approval), execute, verify.

The one process that changes anything. It keeps nothing that matters: a killed worker starts again from ledger, store
and ports. Time is the site's and is passed in; thinking is charged from `mttr.CHARGED_S`, never from the clock.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from plant.actions import DO_NOTHING, Plan
from plant.errors import PlanRejected, StoreUnavailable
from plant.site import Site
from predict.alarms import Alert
from predict.score import Scorer
from recovery.choose import Judged, Policy, held_back, judge
from recovery.execute import Executor, Facts, Patience, Progress
from recovery.ledger import Ledger
from recovery.livetwin import LiveTwin
from recovery.plant_port import PlantPort
from recovery.propose import Context, propose
from recovery.rehearse import HORIZON_S, Question, rehearse, together
from recovery.service import ServiceRecord
from recovery.states import PlanState
from recovery.watch import Watch
from scheduler.port import SchedulerPort
from twin.drivers import Drivers
from twin.sync.divergence import halls_behind
from twin.sync.events import AT_REST_MS, Announced
from twin.telemetry.admit import Gate
from twin.telemetry.store import Batch, Store

TICK_S = 15.0
IN_HAND: tuple[PlanState, ...] = ("approved", "executing", "verifying", "rolling_back")
OPEN: tuple[PlanState, ...] = ("proposed", "rehearsed", *IN_HAND)
IDLE_HEARTBEAT_MS = 60_000
NOT_FOLLOWED = "the twin does not follow the site"


@dataclass(frozen=True)
class Settings:
    """What a site may set: members that screen, members of finalists, seed, workers and backend, whether work
    comes and goes while a plan is rehearsed, horizon, judgement."""

    members: int = 32
    finalists: int = 256
    seed: int = 0
    workers: int = 1
    backend: str = "loky"
    coming: bool = True
    horizon_s: float = HORIZON_S
    policy: Policy = field(default_factory=Policy)
    patience: Patience = field(default_factory=Patience)

    @property
    def policy_hash(self) -> str:
        """The identity of the rules that plans are judged by."""
        return hashlib.sha256(json.dumps(asdict(self.policy), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Wiring:
    """What the worker is connected to; `pause_path` is the pause switch."""

    site: Site
    store: Store
    ledger: Ledger
    scheduler: SchedulerPort
    plant: PlantPort
    pause_path: Path
    scorer: Scorer
    drivers: Drivers | None = None


@dataclass
class Tick:
    """What one tick saw and did."""

    now_ms: int
    alerts: tuple[Alert, ...]
    service_frac: float
    readings: int
    proposed: list[Judged]
    progress: list[Progress]


class Worker:
    """One running loop."""

    def __init__(
        self, wiring: Wiring, now_ms: int, settings: Settings, holder: str = "worker", twin: LiveTwin | None = None
    ) -> None:
        """Take the lease, start the twin (or go on with a restored one); the first tick resolves what was left open."""
        self.w, self.settings = wiring, settings
        self.twin = twin or LiveTwin(wiring.site, now_ms, settings.members, settings.seed, wiring.drivers)
        self.watch = Watch(wiring.site, wiring.scorer)
        self.service = ServiceRecord()
        self.executor = Executor.start(
            wiring.ledger, wiring.scheduler, wiring.plant, wiring.pause_path, holder, now_ms, patience=settings.patience
        )
        self.kinds = {c: kind for kind in wiring.site.kinds for c in wiring.site.components(kind)}
        self.gate = Gate(self.kinds)
        self.refused = Counter[str]()  # readings the gate refused, by kind and channel
        self.cursor = 0
        self.announced = Announced(now_ms - AT_REST_MS if twin is None else twin.state.now_ms)
        self.batch: Batch | None = None
        self._progress: list[Progress] = []
        self._handled: tuple[object, bool] = (None, False)

    def tick(self, now_ms: int, version: object = None, ahead: Callable[[], None] | None = None) -> Tick:
        """Bring the twin to now, judge, plan if need be, and advance the plans in hand.

        version: tells whether the scheduler changed since the last tick, None when it cannot tell. ahead: called once
        jobs and readings of now are in.
        """
        try:
            readings = self.look(now_ms, version, ahead)
        except StoreUnavailable:
            self._execute(now_ms)  # stale readings start nothing, but undoing must not wait for a database
            raise
        proposed = self._plan(now_ms)
        progress = self._execute(now_ms)
        return Tick(now_ms, self.watch.alerts, self.service.frac[-1], readings, proposed, progress)

    def look(self, now_ms: int, version: object = None, ahead: Callable[[], None] | None = None) -> int:
        """The half of a tick that changes nothing outside: advance, follow, ingest, score; return readings taken."""
        self.twin.advance(now_ms)
        self.twin.follow(self.w.scheduler, now_ms, version)
        events = self.w.store.events(self.announced.since_ms, now_ms + 1)
        batch, self.cursor = self.w.store.tail(self.cursor)
        if ahead is not None:
            ahead()
        self.twin.hear(self.announced.news(events, now_ms))
        readings = self._ingest(batch, now_ms)
        self.service.note(now_ms, self.twin.service_frac())
        self.watch.look(now_ms)
        return readings

    def _ingest(self, batch: Batch, now_ms: int) -> int:
        good, bad = self.gate.admit(batch, now_ms)
        if bad:
            self.w.store.refuse_all(bad)
            self.refused.update(f"{self.kinds.get(r.component, 'unknown')}.{r.channel}" for r in bad)
        self.batch = good
        self.twin.correct(good, now_ms)
        self._tell_sensors()
        self.twin.look_ahead(good, now_ms)
        self.watch.take(good)
        return len(good)

    def _tell_sensors(self) -> None:
        """Keep as events which sensors the twin has shut out or let in; risks of their components say so."""
        shutouts = self.twin.sync.shutouts
        events = shutouts.take_events()
        if events:
            self.w.store.write_events(events)
            self.watch.doubted = shutouts.in_words()

    def _plan(self, now_ms: int) -> list[Judged]:
        """Propose and rehearse for the oldest alert that nothing is in hand or waiting for."""
        alert = self.watch.to_plan_for()
        if alert is None or self._in_hand(alert, now_ms):
            return []
        risk = self.watch.risk_of(alert)
        snapshot = self.twin.state.digest()
        evidence = (("alert_ms", float(alert.since_ms)), ("why", "; ".join(alert.reasons)[:400]), ("tier", risk.tier))
        context = Context(alert.root, evidence, snapshot, self.settings.policy_hash, now_ms)
        try:
            plans = propose(self.w.site, context)
        except PlanRejected:
            return []
        known = {h: p for h, p in risk.p_fail.items() if p is not None}
        return self._record(self.judge(alert.root, known, plans), now_ms)

    def _in_hand(self, alert: Alert, now_ms: int) -> bool:
        """Something waits for a decision, is under way, or was decided against for this cause."""
        key = (alert.root, now_ms // IDLE_HEARTBEAT_MS, tuple(sorted(self.w.ledger.counts().items())))
        if self._handled[0] != key:
            self._handled = key, self._is_handled(alert, now_ms)
        return self._handled[1]

    def _is_handled(self, alert: Alert, now_ms: int) -> bool:
        rows = [r for r in self.w.ledger.plans() if r.cause == alert.root]
        if any(r.state in IN_HAND for r in rows) or any(r.state == "failed_needs_human" for r in rows):
            return True
        if any(r.state in ("proposed", "rehearsed") and r.expires_ms > now_ms for r in rows):
            return True
        after_alert = [r for r in rows if r.created_ms >= alert.since_ms]
        return any(r.state in ("rejected", "verified") for r in after_alert)

    def judge(self, cause: str, p_fail: Mapping[int, float], plans: list[Plan]) -> list[Judged]:
        """Screen all candidates, then give the best two and do_nothing more members."""
        s = self.settings
        question = Question(
            self.twin.state, self.w.site, cause, dict(p_fail), s.seed + 1, self.w.drivers, s.horizon_s, s.coming
        )
        first = rehearse(question, plans, s.members, s.workers, s.backend)
        screened = judge(first, s.policy)
        if s.finalists <= s.members:
            return self._held_back(screened)
        best = [j.rehearsal.plan.id for j in screened if j.rehearsal.plan.label != DO_NOTHING and not j.gate_reasons]
        finalists = [p for p in plans if p.label == DO_NOTHING or p.id in best[:2]]
        more = rehearse(question, finalists, s.finalists, s.workers, s.backend, first=s.members)
        known = {r.plan.id: r for r in first}
        final = judge([together(known[r.plan.id], r) for r in more], s.policy)
        chosen = {p.id for p in finalists}
        rest = [j for j in screened if j.rehearsal.plan.id not in chosen]
        ranked = final + [Judged(**{**j.__dict__, "rank": len(final) + n + 1}) for n, j in enumerate(rest)]
        return self._held_back(ranked)

    def out_of_sync(self, plan: Plan) -> str:
        """Why the twin says little about a plan: a hall behind its cause or where it acts is not followed; or ''."""
        places = {plan.cause, *plan.targets, *(str(s.get("to_hall")) for s in plan.steps if s.get("to_hall"))}
        halls = set[str]().union(*(halls_behind(self.w.site, place) for place in places))
        return self.twin.divergence.in_sync(halls)[1]

    def sync_of(self, plan: Plan) -> dict[str, Any]:
        """Return whether the twin follows where a plan acts, and if not why, in the words of a ledger row."""
        why = self.out_of_sync(plan)
        return {"in_sync": not why, "sync_reason": why}

    def _held_back(self, judged: list[Judged]) -> list[Judged]:
        """Let no plan that acts through the gate on the word of a twin that does not follow the site."""
        acting = [j.rehearsal.plan for j in judged if j.rehearsal.plan.label != DO_NOTHING]
        against = {plan.id: why for plan in acting if (why := self.out_of_sync(plan))}
        return held_back(judged, {one: f"{NOT_FOLLOWED}: {why}" for one, why in against.items()})

    def _record(self, judged: list[Judged], now_ms: int) -> list[Judged]:
        ledger = self.w.ledger
        for j in judged:
            plan = j.rehearsal.plan
            shown = {**j.as_dict(), **self.sync_of(plan)}
            if ledger.propose(plan, now_ms).ok:
                ledger.rehearsed(plan.id, shown, j.rank - 1, now_ms)
        return judged

    def _nothing_to_do(self) -> bool:
        """No plan is open, or those in hand all wait for cooling that is not back."""
        open_now = {state for state in self.w.ledger.counts() if state in OPEN}
        if open_now - {"executing"}:
            return False
        waits = all(p.what == "waiting" for p in self._progress) and bool(self._progress)
        return not open_now or (waits and not self._cooling_back())

    def _cooling_back(self) -> bool:
        """Tell whether the cooling behind every waiting step is back and the alert that called for the plan is over."""
        rows = self.w.ledger.plans(*IN_HAND)
        if {r.cause for r in rows} & {alert.root for alert in self.watch.alerts}:
            return False
        scopes = {step.scope for r in rows for step in r.plan.steps if step.get("when") == "cooling_back"}
        return all(self.twin.cooling_back(scope) for scope in scopes)

    def _execute(self, now_ms: int) -> list[Progress]:
        """Advance what is in hand; while nothing is, or all of it waits, only the lease is renewed now and then."""
        if now_ms % IDLE_HEARTBEAT_MS and self._nothing_to_do():
            return []
        facts = Facts(
            age_s=lambda component: self.watch.age_s(component, now_ms),
            triggered=lambda name: name == "cooling_back" and self._cooling_back(),
            moot=lambda plan: "the alert is over" if self.watch.gone(plan.cause, now_ms) else None,
            service_ok_since_ms=self.service.ok_since_ms,
            service_read_ms=now_ms,
        )
        progress = self._progress = self.executor.step(now_ms, facts)
        if any(p.what in ("done", "accepted") for p in progress):
            self.twin.acted()
        return progress

    def alert_json(self) -> dict[str, Any] | None:
        """Return the alert that plans are about, as the board posts it."""
        alert = self.watch.to_plan_for() or next(iter(self.watch.alerts), None)
        if alert is None:
            return None
        rows = [r for r in self.w.ledger.plans() if r.cause == alert.root]
        newest = max((r.created_ms for r in rows), default=0)
        current = [r for r in rows if r.created_ms == newest]
        current.sort(key=lambda r: 99 if r.rank is None else r.rank)
        states = {r.state for r in current}
        status = next((s for s in (*IN_HAND, "verified", "failed_needs_human") if s in states), None)
        waiting = "awaiting_approval" if "rehearsed" in states else "rejected" if current else "planning"
        risk = self.watch.risk_of(alert)
        return {
            "cause": alert.root,
            "kind": self.w.site.kind_of(alert.root),
            "since_ms": alert.since_ms,
            "children": list(alert.children),
            "reasons": list(alert.reasons),
            "p_fail": {str(h): p for h, p in alert.p_fail.items()},
            "ttf_s": risk.ttf_quantiles_s[1] if risk.ttf_quantiles_s else None,
            "plans": [r.id for r in current],
            "recommended": current[0].label if current else None,
            "status": status or waiting,
        }
