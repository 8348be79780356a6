"""`foretwin bench sync`: a batch of readings with names, in, to a corrected ensemble, out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from plant import streams
from plant.files import DATA
from plant.nodetypes import with_node_types
from plant.site import Site
from plant.sitebuild import compile_site
from plant.streams import component_keys
from twin.derived import Derived
from twin.engine import Engine
from twin.ensemble import make_state
from twin.sync.synchronise import Synchroniser
from twin.telemetry.store import Batch
from verbs.bench_growth import site_file
from verbs.bench_scene import START_MS

NODES, TRIES, WARM = 1_000, 12, 3
CHANNELS = ("power_kw", "inlet_c", "gpu_c", "gpu_mem_c", "ok")
ROUND_MS = 60_000  # long enough that what is kept of node powers is taken in with every round
NOISE = {"power_kw": 0.05, "inlet_c": 0.5, "gpu_c": 1.0, "gpu_mem_c": 1.0, "ok": 0.0}
LIKE = "dgx-h100"


def run(
    members: int = 32,
    seed: int = 0,
    nodes: int = NODES,
    tries: int = TRIES,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Return the `results` of contracts.md: the best and the median of several rounds of all readings."""
    site = _site(nodes)
    engine = Engine(make_state(site, START_MS, members=members, seed=seed), site)
    sync, spent_ms = Synchroniser(site), []
    for turn in range(WARM + tries):
        now_ms = START_MS + (turn + 1) * ROUND_MS
        engine.run(now_ms)
        batch = _readings(site, engine.derived, seed, now_ms)
        before = engine.state.gpu_c.copy()
        began_s = time.perf_counter()
        sync.correct(engine.derived, batch, now_ms)
        spent_ms.append((time.perf_counter() - began_s) * 1000.0)
        moved = bool((engine.state.gpu_c != before).any())
        told(turn + 1, WARM + tries)
    counted = spent_ms[WARM:]
    return {
        "ok": moved and not sync.refused,
        "nodes": len(site.node_ids),
        "channels": len(CHANNELS),
        "members": members,
        "readings": len(batch),
        "update_ms": min(counted),
        "median_ms": float(np.median(counted)),
        "tries": tries,
        "simulated": True,
    }


def _site(nodes: int) -> Site:
    """A made-up site whose nodes all have accelerators, so that each has all five channels."""
    kind = with_node_types({"node_type": [{"id": "node", "like": LIKE}]}, DATA)["node_type"][0]
    return compile_site(site_file(nodes, kind, kind["peak_kw"]))


def _readings(site: Site, d: Derived, seed: int, now_ms: int) -> Batch:
    """What all sensors say: the first member, with noise."""
    s, of = d.state, site.gpus
    gpu_c, mem_c = np.zeros((2, len(site.node_ids)))
    gpu_c[of.node], mem_c[of.node] = s.gpu_c[0], s.gpu_mem_c[0]
    inlet_c = s.rack_inlet_c[0][site.node_rack] + site.node_inlet_offset_k
    truth = {"power_kw": d.node_kw[0], "inlet_c": inlet_c, "gpu_c": gpu_c, "gpu_mem_c": mem_c}
    truth["ok"] = np.ones(len(site.node_ids))
    values = []
    for name in CHANNELS:
        keys = component_keys(f"{node}/{name}" for node in site.node_ids)
        values.append(truth[name] + NOISE[name] * streams.normal(seed, "bench sync", 0, keys, now_ms // 1000))
    n = len(site.node_ids)
    return Batch.of(
        np.full(n * len(CHANNELS), now_ms), list(site.node_ids) * len(CHANNELS), np.repeat(CHANNELS, n).tolist(),
        np.concatenate(values),
    )  # fmt: skip
