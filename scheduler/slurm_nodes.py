"""Nodes of Slurm as `scontrol show nodes --json` (23.02 and newer) or `sinfo --json` (22.05) tells them.

| Slurm says | up | new jobs kept off |
|---|---|---|
| IDLE, ALLOCATED, MIXED | yes | no |
| DOWN, ERROR, INVALID, POWERED_DOWN, POWERING_DOWN, POWERING_UP | no | no |
| NOT_RESPONDING (`idle*`) before it is DOWN | yes | yes |
| DRAIN, FAIL, MAINT, RESERVED, REBOOT_*, POWER_DOWN, INVALID_REG, BLOCKED, UNKNOWN, a word nobody knows | yes | yes |
| FUTURE | left out | |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plant.slurmtext import accelerators, states, unknown_states, whole

OFF = frozenset({"DOWN", "ERROR", "INVALID", "POWERED_DOWN", "POWERING_DOWN", "POWERING_UP"})
KEPT_OFF = frozenset(
    {"DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "MAINT", "MAINTENANCE", "RES", "RESERVED", "REBOOT",
     "REBOOT_ISSUED", "REBOOT_REQUESTED", "POWER_DOWN", "POWER_DOWN_FORCE", "POWER_DRAIN", "INVALID_REG", "BLOCKED",
     "NOT_RESPONDING", "NO_RESPOND", "UNKNOWN"}
)  # fmt: skip
LONGEST_REASON = 120


@dataclass(frozen=True)
class SlurmNode:
    """One node: its logical CPUs, accelerators, whether it is up and free, and why new jobs are kept off it."""

    name: str
    cpus: int | None
    gpus: int
    up: bool
    free: bool
    kept_off: str
    state: tuple[str, ...]


def nodes_of(told: Mapping[str, Any]) -> list[SlurmNode]:
    """Every node that exists. Raises ValueError where the answer holds no list of nodes."""
    rows = told.get("nodes")
    if not isinstance(rows, list):
        raise ValueError("no list of nodes")
    found = [_node(row) for row in rows if isinstance(row, dict) and isinstance(row.get("name"), str)]
    return [node for node in found if "FUTURE" not in node.state]


def _node(row: Mapping[str, Any]) -> SlurmNode:
    state = tuple(dict.fromkeys(states(row.get("state")) + states(row.get("state_flags"))))
    off, odd = set(state) & OFF, unknown_states(state)
    words = [word for word in state if word in KEPT_OFF] + [f"unknown state {word}" for word in odd]
    up = not off
    reason = " ".join(str(row.get("reason") or "").split())[:LONGEST_REASON]
    kept_off = f"{' '.join(words).lower()}{f': {reason}' if reason else ''}" if words and up else ""
    return SlurmNode(
        str(row["name"]),
        whole(row.get("effective_cpus")) or whole(row.get("cpus")),
        accelerators(str(row.get("gres") or ""))[0],
        up,
        up and not words and "IDLE" in state and "PLANNED" not in state,
        kept_off,
        state,
    )
