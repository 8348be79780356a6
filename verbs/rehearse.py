"""`foretwin rehearse`: stop an emulated incident at an instant and rehearse the candidates there. Simulated."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plant.errors import ConfigError
from plant.incident import load_incident
from plant.site import load_site
from predict import registry
from predict.score import Scorer
from recovery.choose import Judged
from recovery.loop import Settings
from recovery.propose import Context, propose
from twin import fanout
from verbs.livework import MODELS
from verbs.replay_run import TICK_MS, Case, Replay


def run(
    site: str = "hall",
    incident: str = "alibaba-hk-2022-12-18",
    at_min: float = 0.0,
    members: int = 32,
    finalists: int = 256,
    seed: int = 0,
    workers: int = 2,
    backend: str = "loky",
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Return the `results` of contracts.md; at_min counts from the first alarm of the incident file.

    The twin follows the emulated site up to that instant through telemetry alone. Raises ConfigError when the instant
    is outside the replay.
    """
    fanout.check_backend(backend)
    there = load_site(site)
    case = Case(there, load_incident(incident, there), seed)
    start_ms, end_ms = case.window_ms
    stop_ms = case.world.at_ms(at_min) // TICK_MS * TICK_MS
    if not start_ms + TICK_MS <= stop_ms <= end_ms:
        low, high = ((x - case.world.at_ms(0.0)) / 60000.0 for x in (start_ms, end_ms))
        raise ConfigError("--at", f"{at_min:g} min", f"{low:.1f} to {high:.1f} min from the first alarm")
    settings = Settings(members=members, finalists=finalists, seed=seed, workers=workers, backend=backend)
    with tempfile.TemporaryDirectory() as folder:
        replay = Replay(case, Scorer(there, registry.newest(MODELS)), settings, Path(folder), 0.0)
        say(f"following the emulated site for {(stop_ms - start_ms) / 60000.0:.0f} min of site time")
        for now_ms in range(start_ms + TICK_MS, stop_ms + 1, TICK_MS):
            replay.worker.look(now_ms, replay.emulator.advance(now_ms)["jobs_version"])
        begun_s = time.monotonic()
        judged = _ask(replay, case, stop_ms)
        wall_s = time.monotonic() - begun_s
        snapshot = replay.worker.twin.state.digest()
        in_sync, why = replay.worker.twin.in_sync()
        rows = [j.as_dict() | replay.worker.sync_of(j.rehearsal.plan) for j in judged]
        replay.ledger.close()
    return {
        "simulated": True,
        "snapshot": snapshot,
        "in_sync": in_sync,
        "sync_reason": why,
        "incident": incident,
        "site": site,
        "at_s": at_min * 60.0,
        "candidates": rows,
        "ranking": [row["label"] for row in rows],
        "recommended": next((r["label"] for r in rows if not r["gate_reasons"]), None),
        "replications": {row["label"]: row["members"] for row in rows},
        "wall_s": wall_s,
    }


def _ask(replay: Replay, case: Case, now_ms: int) -> list[Judged]:
    """Rehearse for the alert that stands, or else for the cause of the incident at the risk it is given now."""
    worker = replay.worker
    alert = worker.watch.to_plan_for()
    cause = alert.root if alert else case.world.causes[0].components[0]
    risk = next((r for r in worker.watch.risks if r.component == cause), None)
    known = {h: p for h, p in (risk.p_fail if risk else {}).items() if p is not None}
    snapshot = worker.twin.state.digest()
    plans = propose(case.site, Context(cause, (), snapshot, worker.settings.policy_hash, now_ms))
    return worker.judge(cause, known or {86_400: 0.0}, plans)
