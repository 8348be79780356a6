"""What happens to accelerators and fans after each step: fans speed up, firmware slows down, hot nodes stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plant import gpu
from twin.derived import Derived
from twin.node_lives import stop_nodes

if TYPE_CHECKING:
    from twin.processes import Life, Turn

WORN_FRAC = 0.3  # share of the later loss of air that worn fans show before they fail [assumed]


def cross_gpus(d: Derived) -> None:
    """Let fans, slowdowns and memory follow their temperatures; a node that is too hot shuts itself down."""
    heat, s, of = d.heat, d.state, d.site.gpus
    if not heat.present:
        return
    if heat.reached.up or heat.reached.down:
        _follow(d)
    if heat.reached.memory or s.gpu_mem_slow.any():
        slow = gpu.next_memory(s.gpu_mem_slow, s.gpu_mem_c, of.mem_slow_c)
        moved = (slow != s.gpu_mem_slow).any(axis=1)
        if moved.any():
            s.arrays["gpu_mem_slow"] = slow
            d.mark(np.flatnonzero(moved))


def _follow(d: Derived) -> None:
    """Take the next fan level and slowdown stage where a threshold was passed; stop what is too hot."""
    heat, s, of = d.heat, d.state, d.site.gpus
    level = s.fan_level
    if heat.fans:
        level = gpu.next_level(level, s.gpu_c, of.fan_above_c[of.kind, level], heat.fan_down_c)
    stage = gpu.next_stage(s.gpu_stage, s.gpu_c, of.slow_c, of.hard_c, heat.stage_down_c)
    held = s.gpu_stage
    faster = (level != s.fan_level).any(axis=1)
    moved = faster | (stage != s.gpu_stage).any(axis=1)
    s.arrays["fan_level"], s.arrays["gpu_stage"] = level, stage
    if moved.any():
        heat.mark(np.flatnonzero(moved), air=False)
        heat.mark(np.flatnonzero(faster), air=True)
        d.mark(np.flatnonzero(moved))
    # firmware slows down within a second: what passes both limits in one step is slowed first, and stops if that fails
    hot = (s.gpu_c >= of.stop_c) & (held == 2)
    if hot.any():
        nodes = np.zeros(s.node_phase.shape, dtype=bool)
        nodes[:, of.node] = hot
        stop_nodes(d, nodes)


def lose_fans(d: Derived, node: int, rows: NDArray[np.int64], ok_frac: float) -> None:
    """Leave a node's fans a share of their air in some rows."""
    column = int(np.searchsorted(d.site.gpus.node, node))
    d.state.fan_ok_frac[rows, column] = ok_frac
    d.heat.mark(rows, air=True)
    d.mark(rows)


def fan(w: Turn) -> Life:
    """The fans of a node wear, then fail, and are replaced: its accelerators slow down, then it shuts itself down."""
    while w.entry is not None:
        yield w.due()
        if w.entry is None:
            return
        e, rows, node = w.entry, w.rows, w.index("node")
        lost_frac = e.number("lost_frac", 1.0)
        if w.at("wear"):
            lose_fans(w.engine.derived, node, rows, 1.0 - WORN_FRAC * lost_frac)
            w.next("fail", e.number("fail_ms"))
        elif w.at("fail"):
            lose_fans(w.engine.derived, node, rows, 1.0 - lost_frac)
            w.next("replace", e.number("replaced_ms"))
        else:
            lose_fans(w.engine.derived, node, rows, 1.0)
            w.end()


GPU_LIVES: dict[str, Callable[[Turn], Life]] = {"fan": fan}
