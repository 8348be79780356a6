"""Logs of real node faults in one shape, whatever the source: who failed, of what, when, for how long.

pandas and pyarrow are imported only here and only when a log is read: nothing that simulates needs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

SHORTEST_H = 0.01  # a repair of zero length is one nobody timed: 36 s
GROUP_D = 90.0 / 86_400.0  # faults of different nodes this close have one cause (notes/predict.md 1.1)
AGAIN_D = 7.0  # a fault this soon after a repair of the same node belongs to that repair (notes/predict.md 1.1)


class FaultLog(NamedTuple):
    """Faults in the order of their start; kinds are names of `plant.faultfile.KINDS`."""

    name: str
    nodes: int
    days: float
    kind: NDArray[np.str_]
    node: Ints
    start_d: Array
    repair_h: Array

    def of(self, kind: str) -> NDArray[np.bool_]:
        """Which faults are of a kind."""
        return np.asarray(self.kind == kind)

    def kinds(self) -> tuple[str, ...]:
        """The kinds that occur, most frequent first."""
        names, count = np.unique(self.kind, return_counts=True)
        return tuple(str(name) for name in names[np.lexsort((names, -count))])

    def gap_d(self) -> Array:
        """Days from the end of the node's last repair to each fault; nan for its first."""
        order = np.lexsort((self.start_d, self.node))
        node, start = self.node[order], self.start_d[order]
        end = start + self.repair_h[order] / 24.0
        gap = np.full(len(node), np.nan)
        gap[1:] = np.where(node[1:] == node[:-1], start[1:] - end[:-1], np.nan)
        out = np.empty(len(gap))
        out[order] = gap
        return out

    def groups(self) -> Ints:
        """Number of the common start that each fault belongs to: faults within GROUP_D of the one before."""
        return np.concatenate([[0], np.cumsum(np.diff(self.start_d) > GROUP_D)]).astype(np.int64)


def make_log(name: str, nodes: int, days: float, kind: Any, node: Any, start_d: Any, repair_h: Any) -> FaultLog:
    """Sort by start and floor the repairs."""
    start = np.asarray(start_d, dtype=np.float64)
    order = np.argsort(start, kind="stable")
    hours = np.maximum(np.asarray(repair_h, dtype=np.float64), SHORTEST_H)
    return FaultLog(
        name,
        nodes,
        days,
        np.asarray(kind, dtype=np.str_)[order],
        np.asarray(node, dtype=np.int64)[order],
        start[order],
        hours[order],
    )


# --- GPU cluster (arXiv 2502.03885) -------------------------------------------------------------

GPU_NODES, GPU_DAYS = 281, 348.0  # 163 faulty and 118 healthy nodes (README of the data set)
GPU_CLASSES = {
    "GPU": "gpu",
    "CPU": "cpu",
    "Fan": "fan",
    "NIC": "nic",
    "Parameter Plane Cable": "link",
    "Power Supply": "psu",
}
GPU_MEMORY = ("DBE", "SBE")  # error-correcting memory gave up


def gpu_cluster(folder: Path) -> FaultLog:
    """The fault log of a production LLM cluster, from data/gpu_cluster_faults."""
    import pandas as pd

    rows = pd.read_parquet(folder / "faults.parquet")
    node = rows["node"].str[1:].astype(int)
    kinds = [_gpu_kind(*each) for each in zip(rows["level"], rows["cls"], rows["desc"], strict=True)]
    return make_log("gpu_cluster_faults", GPU_NODES, GPU_DAYS, kinds, node, rows["start_day"], rows["repair_hours"])


def _gpu_kind(level: str, cls: str, desc: str) -> str:
    if level == "Hardware Failure":
        memory = cls == "GPU" and any(word in desc for word in GPU_MEMORY)
        return "gpu_memory" if memory else GPU_CLASSES.get(cls, "board")
    return "software" if level == "Software Failure" else "unexplained"


# --- Los Alamos (LA-UR-05-7318) -----------------------------------------------------------------

LANL_SYSTEM = 18  # 1,024 equal four-way nodes, in production for 3.4 years
LANL_HARDWARE = {
    "CPU": "cpu",
    "Memory Dimm": "memory",
    "Memory Module": "memory",
    "Disk Drive": "disk",
    "Power Supply": "psu",
    "Fan": "fan",
    "Fan Assembly": "fan",
}
LANL_NETWORK = ("Interconnect", "Ethernet", "Fibre Cable", "Network")
LANL_CAUSES = {"software": "software", "network": "link", "facilities": "facility"}


def lanl(folder: Path, system: int = LANL_SYSTEM) -> FaultLog:
    """The outages of one system at Los Alamos, from data/lanl_node_failures."""
    import pandas as pd

    rows = pd.read_parquet(folder / "failures.parquet")
    rows = rows[rows["system"] == system]
    first = rows["t_start"].min().normalize()
    start_d = (rows["t_start"] - first).dt.total_seconds() / 86_400.0
    days = float((rows["t_fixed"].max() - first).total_seconds() / 86_400.0)
    kinds = [_lanl_kind(*each) for each in zip(rows["cause"], rows["subcause"], strict=True)]
    nodes = int(rows["nodes"].iloc[0])
    return make_log(
        f"lanl_node_failures {system}", nodes, days, kinds, rows["nodenumz"], start_d, rows["down_min"] / 60.0
    )


def _lanl_kind(cause: str, subcause: str) -> str:
    if cause == "hardware":
        network = any(str(subcause).startswith(word) or word in str(subcause) for word in LANL_NETWORK)
        return "link" if network else LANL_HARDWARE.get(str(subcause), "board")
    return LANL_CAUSES.get(cause, "unexplained")
