"""The life of a plan: states, the only edges between them, and what each set of states means."""

from __future__ import annotations

from typing import Literal

PlanState = Literal[
    "proposed",
    "rehearsed",
    "approved",
    "executing",
    "verifying",
    "rolling_back",
    "verified",
    "rolled_back",
    "rejected",
    "expired",
    "superseded",
    "stale",
    "cancelled",
    "failed_needs_human",
]

_END_EARLY: tuple[PlanState, ...] = ("expired", "superseded", "stale", "cancelled")
EDGES: dict[PlanState, tuple[PlanState, ...]] = {
    "proposed": ("rehearsed", "rejected", *_END_EARLY),
    "rehearsed": ("approved", "rejected", *_END_EARLY),
    "approved": ("executing", *_END_EARLY),
    "executing": ("verifying", "rolling_back", "failed_needs_human"),
    # a failed verification keeps the protection in place and calls a person: lifting a cap in a hot hall makes it worse
    "verifying": ("verified", "rolling_back", "failed_needs_human"),
    "rolling_back": ("rolled_back", "failed_needs_human"),
    "verified": (),
    "rolled_back": (),
    "rejected": (),
    "expired": (),
    "superseded": (),
    "stale": (),
    "cancelled": (),
    "failed_needs_human": (),
}

TERMINAL = tuple(state for state, nexts in EDGES.items() if not nexts)
OPEN: tuple[PlanState, ...] = ("proposed", "rehearsed")
"""Still to be decided; a rival on the same target may supersede them."""
PENDING: tuple[PlanState, ...] = ("proposed", "rehearsed", "approved")
"""Not started; these expire."""
ACTIVE: tuple[PlanState, ...] = ("approved", "executing", "verifying", "rolling_back")
"""These hold their targets; so does failed_needs_human until a person closes it."""
RUNNING: tuple[PlanState, ...] = ("executing", "verifying", "rolling_back")
