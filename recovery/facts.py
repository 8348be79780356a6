"""What the executor must know about the site to act safely; the loop answers from telemetry, a test answers by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from plant.actions import Plan


def _nobody_knows(component: str) -> float | None:
    return None


def _not_known(name: str) -> bool:
    return False


def _still_needed(plan: Plan) -> str | None:
    return None


@dataclass(frozen=True)
class Facts:
    """Every default is the careful answer: no telemetry, no condition met, service not back.

    age_s: age of the newest reading that speaks for a component [s], None if there is none.
    triggered: does a condition of `plant.action_kinds.TRIGGERS` hold?
    moot: why a plan has lost its sense (cause gone, target recovered or replaced), or None.
    service_ok_since_ms: since when the service indicator has been inside its limit without a break, None if it is not.
    service_read_ms: instant of the newest reading behind that indicator.
    """

    age_s: Callable[[str], float | None] = _nobody_knows
    triggered: Callable[[str], bool] = _not_known
    moot: Callable[[Plan], str | None] = _still_needed
    service_ok_since_ms: int | None = None
    service_read_ms: int | None = None
