"""`foretwin chaos telemetry`: a database is killed, paused, filled and restarted at random while telemetry pours in.

A writer process judges and stores readings of two sites and records what was acknowledged; a worker follows one of
them and posts its board. Afterwards the whole database is read: every acknowledged reading must be there once, with
its last acknowledged value. All the while the age that a screen would show is held against the record.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from plant import streams
from plant.errors import StoreUnavailable
from verbs.chaos_check import check_readings, limits
from verbs.chaos_scene import Scene
from verbs.scratch_influx import InfluxServer

KINDS = ("kill", "pause", "fill", "restart")
PURPOSE = "chaos telemetry"
CALM_S, HOLD_S = (0.1, 0.6), {"kill": (0.0, 1.0), "pause": (0.2, 2.5), "fill": (0.3, 1.5), "restart": (0.0, 0.0)}
# One whose disk was full does not take writes again by itself: it is started anew, as a person would.
PATIENCE_S, RECOVER_S = 3.0, 60.0
DISK_MB = 192


def run(
    injections: int, seed: int = 0, told: Callable[[int, int], None] = lambda done, of: None, keep: str = ""
) -> dict[str, Any]:
    """Return the `results` of contracts.md; `ok` is whether nothing was violated.

    keep: a folder that takes everything the run leaves behind. Raises ConfigError where no server is installed.
    """
    with tempfile.TemporaryDirectory(prefix="foretwin-chaos-") as scratch:
        folder = Path(keep or scratch).resolve()
        # The index in memory, 1.6's own default: killed in its first moments, the one on disk is lost for good.
        with InfluxServer(folder / "server", index="inmem", disk_mb=DISK_MB) as server:
            disk = "a file system of its own" if server.disk else "played by the proxy (507)"
            with Scene(server, folder) as scene:
                rows = [
                    _inject(scene, seed, n, kind, told, injections) for n, kind in enumerate(_kinds(injections, seed))
                ]
                scene.finish()
                found = check_readings(scene)
    failed = [row for row in rows if row["why"]]
    violations = scene.violations + found.pop("violations") + limits(scene)
    return {
        "ok": not failed and not violations,
        "injections": injections,
        "passed": len(rows) - len(failed),
        "failed": failed,
        "violations": violations,
        "by_kind": {kind: sum(row["kind"] == kind for row in rows) for kind in KINDS},
        "needed_restart": sum(row["restarted"] for row in rows),
        "recovery_s_worst": max((row["recovery_s"] or RECOVER_S for row in rows), default=None),
        "full_disk": disk,
        **found,
        **scene.measured(),
        "simulated": True,
    }


def _kinds(injections: int, seed: int) -> list[str]:
    """A kind for each injection: every four of them are the four kinds in a random order."""
    luck = streams.uniform(seed, PURPOSE, 0, np.arange(-(-injections // len(KINDS)) * len(KINDS)))
    order = np.argsort(luck.reshape(-1, len(KINDS)), axis=1).ravel()
    return [KINDS[k] for k in order[:injections].tolist()]


def _luck(seed: int, n: int, draw: int, low_high: tuple[float, float]) -> float:
    low, high = low_high
    return low + (high - low) * float(streams.uniform(seed, PURPOSE, 1 + draw, n))


def _inject(scene: Scene, seed: int, n: int, kind: str, told: Callable[[int, int], None], of: int) -> dict[str, Any]:
    """One injury: a calm while, the blow, its length, its end, and the wait until the worker sees new readings."""
    server = scene.server
    time.sleep(_luck(seed, n, 0, CALM_S))
    hold_s = _luck(seed, n, 1, HOLD_S[kind])
    begin = {
        "kill": lambda: server.stop_database(signal.SIGKILL),
        "pause": server.pause_database,
        "fill": server.fill_disk,
        "restart": server.stop_database,
    }[kind]
    end = {
        "kill": server.start_database,
        "pause": server.continue_database,
        "fill": server.free_disk,
        "restart": server.start_database,
    }[kind]
    begin()
    scene.outage_begins(kind)
    time.sleep(hold_s)
    scene.outage_ends()
    why, restarted, recovery_s = "", False, None
    try:
        end()
        recovery_s = scene.recovered(PATIENCE_S)
        if recovery_s is None and kind == "fill":
            restarted = True
            server.stop_database()
            server.start_database()
        recovery_s = recovery_s or scene.recovered(RECOVER_S)
        why = "" if recovery_s is not None else f"no new reading reached the worker within {RECOVER_S:.0f} s"
    except StoreUnavailable as error:
        why = str(error)
    told(n + 1, of)
    scene.say(f"{kind} over: held {hold_s:.2f} s, recovered in {recovery_s} s {'after a restart ' * restarted}{why}")
    return {
        "n": n,
        "kind": kind,
        "hold_s": round(hold_s, 2),
        "restarted": restarted,
        "recovery_s": recovery_s,
        "why": why,
    }
