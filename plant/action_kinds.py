"""The closed set of action kinds, as one table: what each needs, promises, undoes and how dangerous it is.

Arbitrary scripts cannot be tested exhaustively, ten typed kinds can. A kind that is not in the table does not exist.
Step tiers: 0 no effect outside, 1 small and reversible, 2 moves or slows work (one approver), 3 loses work or touches
the feed of a whole hall (two people).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from plant.migration import MODES

ActionKind = Literal[
    "cap_power",
    "cordon",
    "drain_at_checkpoint",
    "migrate",
    "requeue",
    "start_standby",
    "transfer_feed",
    "set_cooling",
    "disable_link",
    "ordered_return",
]
KINDS: tuple[ActionKind, ...] = get_args(ActionKind)

TRIGGERS = ("cooling_back", "power_back", "network_back", "cause_cleared")
"""Conditions a step may wait for; whoever runs the plan (executor or rehearsal) says when one holds."""

ParamValue = float | int | str


@dataclass(frozen=True)
class ParamRule:
    """One parameter: its type, closed range or set of words, default (None: none) and meaning with unit."""

    type: type[float] | type[int] | type[str]
    meaning: str
    low: float | None = None
    high: float | None = None
    words: tuple[str, ...] = ()
    default: ParamValue | None = None
    required: bool = False

    @property
    def allowed(self) -> str:
        """The rule as an error message states it."""
        if self.words:
            return "one of " + ", ".join(self.words)
        if self.type is str:
            return "a component id"
        noun = "a whole number" if self.type is int else "a finite number"
        return f"{noun} from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class KindRule:
    """One kind: scope, conditions before and after, compensation (None: nothing to undo), timeout [s], step tier."""

    scope: str
    precondition: str
    postcondition: str
    compensation: str | None
    timeout_s: float
    tier: int
    params: dict[str, ParamRule]
    one_of: tuple[str, ...] = ()


# Waiting is the same for every kind: after_s counts from the first step of the plan.
WAIT_PARAMS = {
    "after_s": ParamRule(float, "do not start before this long after the first step [s]", 0.0, 604_800.0),
    "when": ParamRule(str, "do not start before this condition holds", words=TRIGGERS),
}
_CONCURRENT = ParamRule(int, "jobs moved at the same time", 1, 10_000, default=4)

# Timeouts are the patience of the executor, not a forecast; the long ones contain waiting for checkpoints or copying.
RULES: dict[ActionKind, KindRule] = {
    "cap_power": KindRule(
        scope="nodes, racks or halls",
        precondition="the nodes answer",
        postcondition="no node draws more than cap_frac of its peak",
        compensation="uncap",
        timeout_s=120.0,
        tier=2,
        # below 0.3 of peak a server is mostly idle power: the cap could not be met
        params={"cap_frac": ParamRule(float, "fraction of peak power", 0.3, 1.0, required=True)},
    ),
    "cordon": KindRule(
        scope="nodes, racks or halls",
        precondition="the nodes are known to the scheduler",
        postcondition="no new job starts on the nodes",
        compensation="uncordon",
        timeout_s=120.0,
        tier=1,
        params={},
    ),
    "drain_at_checkpoint": KindRule(
        scope="nodes, racks or halls",
        precondition="running jobs write checkpoints",
        postcondition="no job runs on the nodes; none lost more than its save",
        compensation=None,
        timeout_s=7_200.0,
        tier=2,
        params={},
    ),
    "migrate": KindRule(
        scope="nodes, racks or halls",
        precondition="the landing has room",
        postcondition="every moved job runs in to_hall, once",
        compensation=None,
        timeout_s=3_600.0,
        tier=2,
        params={
            "to_hall": ParamRule(str, "hall that receives the jobs", required=True),
            "concurrent": _CONCURRENT,
            "mode": ParamRule(str, "how jobs move; left out, as their class does", words=MODES),
        },
    ),
    "requeue": KindRule(
        scope="nodes, racks or halls",
        precondition="the jobs may be restarted",
        postcondition="the jobs wait in the queue",
        compensation=None,
        timeout_s=300.0,
        tier=3,
        params={},
    ),
    "start_standby": KindRule(
        scope="chillers or pumps",
        precondition="the unit stands by and is healthy",
        postcondition="the unit carries load",
        compensation="undo",
        timeout_s=1_200.0,
        tier=2,
        params={},
    ),
    "transfer_feed": KindRule(
        scope="UPS, racks or halls",
        precondition="the other feed is live and carries the sum",
        postcondition="the load hangs on to_feed",
        compensation="undo",
        timeout_s=300.0,
        tier=3,
        params={"to_feed": ParamRule(str, "feed that takes the load", required=True)},
    ),
    "set_cooling": KindRule(
        scope="cooling units, loops or halls",
        precondition="the unit answers",
        postcondition="the set-point is in force",
        compensation="undo",
        timeout_s=300.0,
        tier=2,
        params={
            "supply_c": ParamRule(float, "supply temperature set-point [°C]", 5.0, 35.0),
            "fan_frac": ParamRule(float, "fan speed as a fraction of full speed", 0.2, 1.0),
        },
        one_of=("supply_c", "fan_frac"),
    ),
    "disable_link": KindRule(
        scope="links",
        precondition="the other paths carry the traffic",
        postcondition="no traffic on the link",
        compensation="undo",
        timeout_s=120.0,
        tier=2,
        params={},
    ),
    "ordered_return": KindRule(
        scope="nodes, racks or halls",
        precondition="the cause is gone",
        postcondition="cordons and caps of this plan are gone; moved jobs are home where asked",
        compensation=None,
        timeout_s=7_200.0,
        tier=1,
        params={
            "concurrent": _CONCURRENT,
            "jobs_home": ParamRule(int, "1: bring the jobs this plan moved home, 0: leave them", 0, 1, default=0),
        },
    ),
}
