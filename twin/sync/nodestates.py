"""What a scheduler knows of nodes by its own watch becomes a fact in the twin: those down are off, those up live.

A node that is down for the scheduler is off in every member until the scheduler says otherwise: the twin does not mend
it by its own luck. A node that the twin thinks has failed, but that the scheduler sees working, works. One that the
twin holds stopped by heat or dark without power is left to telemetry, which sees that sooner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from twin.derived import Derived
from twin.node_repairs import found_up
from twin.nodephase import FAILED, HEALTHY, NEVER_MS, ON


def adopt_up(d: Derived, seen: Sequence[Any]) -> bool:
    """Take `up` of nodes (views with `id` and `up`) in place; tell whether a node changed."""
    s = d.state
    row = {name: i for i, name in enumerate(d.site.node_ids)}
    down, up = np.zeros(len(row), dtype=bool), np.zeros(len(row), dtype=bool)
    for view in seen:
        at = row.get(view.id)
        if at is not None:
            (up if view.up else down)[at] = True
    before = s.node_phase.copy()
    back = up & (s.node_phase == FAILED)
    if back.any():
        found_up(d, back)
        s.node_phase[back] = ON
    gone = np.broadcast_to(down, s.node_phase.shape)
    s.node_phase[gone] = FAILED
    s.node_until_ms[gone] = NEVER_MS
    s.node_fault[gone] = HEALTHY
    changed = not np.array_equal(before, s.node_phase)
    if changed:
        d.mark()
    return changed
