"""A small world for the tests of recovery: two halls, a ledger and a scheduler in files, and hands to break things."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plant.actions import Action, Plan
from recovery import plant_port
from recovery.execute import Executor, Facts, Patience
from recovery.guards import Limits
from recovery.ledger import Ledger
from recovery.plant_port import WorkOrderPlant
from scheduler.port import JobView
from scheduler.simulated import SimulatedScheduler

EAST, WEST = "r/east", "r/west"
START_MS = 1_700_000_000_000
LIFE_MS = 600_000
# a world of ten nodes: one hall is half of it, so only a person's approval lets a plan through the percent budget
LIMITS = Limits()


class Crash(BaseException):
    """The process dies here: not an Exception, so that nothing on the way can swallow it."""


@dataclass
class Fuse:
    """Counts the points at which a process could die, and dies at the chosen ones."""

    at: tuple[int, ...] = ()
    seen: int = 0
    where: list[str] = field(default_factory=list)

    def point(self, name: str) -> None:
        self.seen += 1
        self.where.append(name)
        if self.seen in self.at:
            raise Crash(name)


class CrashingLedger(Ledger):
    def __init__(self, path: Path, fuse: Fuse, **more: Any) -> None:
        self.fuse = fuse
        super().__init__(path, **more)
        # a process that dies loses nothing that the kernel has; FULL is for power cuts, and slow a thousand times over
        self._db.execute("PRAGMA synchronous=OFF")

    def _commit(self) -> None:
        self.fuse.point("before commit")
        super()._commit()
        self.fuse.point("after commit")


class CrashingPort:
    """A port whose caller may die before the call has its effect or after it, before the receipt comes back."""

    def __init__(self, port: Any, fuse: Fuse) -> None:
        self._port, self._fuse = port, fuse

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        call = getattr(self._port, verb)

        def wrapped(*args: Any, **named: Any) -> Any:
            self._fuse.point(f"before {verb}")
            answer = call(*args, **named)
            self._fuse.point(f"after {verb}")
            return answer

        return wrapped


class FaultyPort:
    """A port that loses, drops or refuses calls of chosen verbs: `faults[verb]` is a list eaten from the front.

    "lost": the effect happens, the reply does not. "dropped": neither. "refused": a rejection. "ok": nothing wrong.
    """

    def __init__(self, port: Any, faults: dict[str, list[str]]) -> None:
        self._port, self.faults, self.calls = port, faults, []

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        call = getattr(self._port, verb)

        def wrapped(*args: Any, **named: Any) -> Any:
            self.calls.append((verb, args))
            fault = self.faults.get(verb, [])
            kind = fault.pop(0) if fault else "ok"
            if kind == "dropped":
                raise TimeoutError("no route")
            if kind == "refused":
                # the port itself refuses, so that it also remembers having refused
                return self._port.requeue(args[0], args[1], ["no such job"])
            answer = call(*args, **named)
            if kind == "lost":
                raise ConnectionResetError("reply lost")
            return answer

        return wrapped


@dataclass
class World:
    """Files in `home`; `boot` opens them like a fresh process would."""

    home: Path
    now_ms: int = START_MS
    age_s: float | None = 5.0
    cooling_back: bool = False
    service_ok: bool = True
    moot: str | None = None
    limits: Limits = LIMITS
    patience: Patience = field(default_factory=lambda: Patience(hold_s=30.0, verify_s=600.0, wait_s=3_600.0))

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.pause_path = self.home / "pause"
        self.scheduler = self.new_scheduler()
        for hall, count in ((EAST, 4), (WEST, 6)):
            self.scheduler.add_nodes(hall, [f"{hall}/n{i}" for i in range(count)])
        self.scheduler.add_job(JobView("j0", "batch", EAST, (f"{EAST}/n0", f"{EAST}/n1"), "running", 1))
        self.scheduler.add_job(JobView("j1", "realtime", EAST, (f"{EAST}/n2",), "running", 5))
        self.ledger: Ledger = CrashingLedger(self.home / "ledger.sqlite", Fuse())

    def clock(self) -> int:
        return self.now_ms

    def new_scheduler(self) -> SimulatedScheduler:
        scheduler = SimulatedScheduler(self.clock, self.home / "scheduler.sqlite", move_s=14.0)
        scheduler._db.execute("PRAGMA synchronous=OFF")
        return scheduler

    def close(self) -> None:
        self.scheduler.close()
        self.ledger.close()

    def facts(self) -> Facts:
        return Facts(
            age_s=lambda component: self.age_s,
            triggered=lambda name: name == "cooling_back" and self.cooling_back,
            moot=lambda plan: self.moot,
            service_ok_since_ms=START_MS if self.service_ok else None,
            service_read_ms=self.now_ms,
        )

    def boot(self, ledger: Ledger | None = None, scheduler: Any = None, plant: Any = None) -> Executor:
        ledger = ledger or self.ledger
        plant = plant or WorkOrderPlant(ledger, self.clock)
        ports = scheduler or self.scheduler, plant
        return Executor.start(ledger, *ports, self.pause_path, "test", self.now_ms, self.limits, self.patience)

    def wait(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)

    def people_work(self, ledger: Ledger | None = None, done: bool = True) -> None:
        """Somebody carries every open work order out, or refuses it."""
        for key, *_ in plant_port.open_orders(ledger or self.ledger):
            plant_port.confirm(ledger or self.ledger, key, "grace", done, "checked on site", self.now_ms)

    def approved(self, plan: Plan, who: str = "ada") -> str:
        """Propose, rehearse and approve a plan; returns its id."""
        for verdict in (
            self.ledger.propose(plan, self.now_ms),
            self.ledger.rehearsed(plan.id, {"p_worse_than_nothing": 0.01}, 0, self.now_ms),
            self.ledger.decide(plan.id, who, "approve", "the hall is getting hot", self.now_ms),
        ):
            assert verdict.ok, verdict
        return plan.id

    def run(self, executor: Executor, steps: int = 60, every_s: float = 15.0) -> None:
        """Let the worker's loop turn until every plan has ended, or the steps are used up."""
        for _ in range(steps):
            executor.step(self.now_ms, self.facts())
            self.people_work(executor.ledger)
            if not self.ledger.plans("approved", "executing", "verifying", "rolling_back"):
                return
            self.wait(every_s)

    def state(self, plan_id: str) -> str:
        row = self.ledger.plan(plan_id)
        assert row is not None
        return row.state

    def effects(self) -> list[str]:
        return [verb for _, verb in self.scheduler.effects()]

    def node(self, name: str) -> Any:
        return next(one for one in self.scheduler.nodes() if one.id == name)

    def hall_of(self, job: str) -> str:
        return next(one.hall for one in self.scheduler.observe() if one.id == job)


def a_plan(*steps: Action, label: str = "cap + migrate", life_ms: int = LIFE_MS, cause: str = EAST) -> Plan:
    """A plan for the hot east hall; by default the one of the demo: cap, cordon, migrate, return when cool."""
    return Plan(label, steps or DEMO, cause, (), "snapshot", "policy", START_MS, START_MS + life_ms)


CAP = Action.of("cap_power", [EAST], cap_frac=0.6)
CORDON = Action.of("cordon", [EAST])
MIGRATE = Action.of("migrate", [EAST], to_hall=WEST, concurrent=1)
RETURN = Action.of("ordered_return", [EAST], when="cooling_back")
STANDBY = Action.of("start_standby", [f"{EAST}/chiller-5"])
DEMO = (CAP, CORDON, MIGRATE, RETURN)
