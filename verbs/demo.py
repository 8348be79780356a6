"""`foretwin demo`: an emulated site, the worker and the app; a real incident unfolds. Everything here is simulated."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from plant.errors import ConfigError, StoreUnavailable
from plant.site import Site
from recovery.loop import Settings
from twin import fanout
from twin.kernels import DEFAULT, kernels
from twin.sync import ahead
from verbs.demo_site import ADDRESS_FILE, Stage
from verbs.demo_worker import DemoWorker, Pace
from verbs.ending import stop_cleanly
from verbs.replay_run import Measured, play_none, seconds

ROOT = Path(__file__).parent.parent
MARK = ".foretwin-demo"
STARTS_WITHIN_S = 60.0
Say = Callable[[str], None]


def run(
    home: Path,
    incident: str = "alibaba-hk-2022-12-18",
    site: str = "hall",
    *,
    speed: float | None = 60.0,
    headless: bool = False,
    auto_approve: bool = False,
    no_wait: bool = False,
    human_s: float = 120.0,
    seed: int = 0,
    port: int = 8501,
    finalists: int = 32,
    workers: int = 2,
    say: Say = print,
) -> dict[str, Any]:
    """Run the demo and return the `results` of contracts.md; with the app it stays up until interrupted.

    speed: site seconds per wall second, None as fast as it goes. human_s: decision time charged when auto_approve.
    """
    stop_cleanly()
    stage = Stage(site, incident, seed)
    folder = fresh_home(home)
    pace = Pace(None if headless else speed, auto_approve, human_s, wait=not (no_wait or headless))
    for name, told in (("stage", stage), ("pace", pace)):
        (folder / f"{name}.json").write_text(json.dumps(asdict(told)))
    settings = Settings(finalists=finalists, workers=workers, seed=seed)
    with (
        ProcessPoolExecutor(1) as pool,
        ProcessPoolExecutor(1) as second,
        emulated_site(folder),
        app(folder, port, headless, say),
    ):
        aside = Aside(pool, stage)
        second.submit(_ready, stage)  # before there are threads that a fork would not have
        threading.Thread(target=fanout.warm, args=(workers,), daemon=True).start()
        worker = DemoWorker(folder, stage, pace, settings, say, aside.begin, partial(second.submit, _ahead, stage))
        measured = worker.run()
        results = report(worker, measured, aside)
        worker.end(results)
        worker.link("stop", {})
        _tell(results, say)
        if not headless:
            _stay(folder, port, say)
    return results


def fresh_home(home: Path) -> Path:
    """Return an empty folder for this demo; what an earlier demo left is replaced, anything else is refused."""
    folder = home / "demo"
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise ConfigError(
                str(folder),
                "a folder that no demo made",
                "an empty one",
                "choose another FORETWIN_HOME or move it away",
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    return folder


@contextmanager
def emulated_site(folder: Path) -> Iterator[None]:
    """Run the emulated site in its own process for as long as the demo lasts."""
    process = subprocess.Popen([sys.executable, "-m", "verbs.demo_site", str(folder)], cwd=ROOT, env=_single_thread())
    try:
        until_s = time.monotonic() + STARTS_WITHIN_S
        while not (folder / ADDRESS_FILE).exists():
            if process.poll() is not None or time.monotonic() > until_s:
                raise StoreUnavailable("emulated site", "it did not start", "a running emulator", "see the lines above")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def app(folder: Path, port: int, headless: bool, say: Say) -> Iterator[None]:
    """Run the Streamlit app on loopback, signed in as the marked demo operator; headless runs none."""
    if headless:
        yield
        return
    env = {**os.environ, "FORETWIN_HOME": str(folder), "FORETWIN_IDENTITY__DEMO": "1"}
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), "--server.port", str(port)]
    command += ["--server.address", "127.0.0.1", "--server.headless", "true"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    say(f"Foretwin demo (simulated site): http://127.0.0.1:{port}")
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def _single_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Aside:
    """What is computed beside the demo, in a process of its own, once the rehearsals no longer need both cores."""

    def __init__(self, pool: ProcessPoolExecutor, stage: Stage) -> None:
        """Nothing runs yet."""
        self.pool, self.stage = pool, stage
        self.future: Future[tuple[Measured, dict[str, Any]]] | None = None

    def begin(self) -> Future[tuple[Measured, dict[str, Any]]]:
        """Start it, once."""
        if self.future is None:
            self.future = self.pool.submit(_aside, self.stage)
        return self.future


@lru_cache(maxsize=1)
def _site(stage: Stage) -> Site:
    return stage.case().site


def _ready(stage: Stage) -> None:
    """Load site and kernels in the process that looks ahead."""
    os.nice(5)  # nobody needs a forecast before its time has come
    _site(stage)
    kernels(DEFAULT)


def _ahead(stage: Stage, *told: Any) -> ahead.Forecast:
    """Let members of the live twin live on by themselves."""
    return ahead.live_on(_site(stage), *told)


def _aside(stage: Stage) -> tuple[Measured, dict[str, Any]]:
    """What is computed beside the demo: the same world with nobody acting, and the twin on a real week."""
    os.nice(10)  # the worker and the site go first
    return play_none(stage.case()), real_week()


def real_week() -> dict[str, Any]:
    """Return power errors against persistence on the real week, or why there are none."""
    folder = Path(os.environ.get("FORETWIN_WEEK", ROOT.parent / "shared" / "data" / "surf_week"))
    if not folder.is_dir():
        return {"power_mape": None, "power_mape_reason": "no real week here: set FORETWIN_WEEK to its folder"}
    from verbs.evaluate_sync import run as evaluate

    rows = [row for row in evaluate(folder)["rows"] if row["channel"] == "power"]
    kept = ("horizon_s", "mape", "persistence_mape", "baseline_mape", "n")
    return {"rows": [{k: row.get(k) for k in kept} for row in rows]}


def report(worker: DemoWorker, m: Measured, aside: Aside) -> dict[str, Any]:
    """Return the results object; times count from the fault, negative before it."""
    nothing, sync = aside.begin().result()
    found, base = m.recovery(), nothing.recovery()
    stop_ms = int(nothing.truth["first_stop_ms"])
    return {
        "simulated": True,
        "incident": worker.case.incident.id,
        "site": worker.case.site.name,
        "seed": worker.case.seed,
        "t_first_alert_s": seconds(m, m.alert_ms),
        "t_static_alert_s": seconds(nothing, nothing.static_ms),
        "t_first_stop_do_nothing_s": seconds(nothing, None if stop_ms < 0 else stop_ms),
        "alerts": [{"component": root, "at_s": seconds(m, at_ms)} for at_ms, root in m.alerts],
        "plans": m.plans,
        "chosen": m.chosen.label if m.chosen else None,
        "outcome": found.outcome,
        "outcome_do_nothing": base.outcome,
        "lost_service_min": m.truth["lost_service_min"],
        "lost_service_min_do_nothing": nothing.truth["lost_service_min"],
        "mttr_s": found.mttr_s,
        "mttr_do_nothing_s": base.mttr_s,
        "parts": dict(found.parts) if found.parts else None,
        "lead_s": found.lead_s,
        "human_s": worker.pace.human_s if worker.pace.auto_approve else None,
        "truth": m.truth,
        "sync": sync,
    } | ({} if found.parts else {"parts_reason": f"{found.outcome}: no time to recovery to divide"})


def _tell(results: dict[str, Any], say: Say) -> None:
    mttr = results["mttr_s"]
    say(
        f"simulated outcome: {results['outcome']}; lost service {results['lost_service_min']:.1f} min with "
        f"'{results['chosen']}', {results['lost_service_min_do_nothing']:.1f} min doing nothing"
        + (f"; MTTR {mttr / 60:.1f} min" if mttr is not None else "")
    )


def _stay(folder: Path, port: int, say: Say) -> None:
    say(f"the demo is over and stays up at http://127.0.0.1:{port}; press Ctrl-C to end it (state in {folder})")
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        return
