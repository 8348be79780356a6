"""`foretwin doctor`: what this machine and this state folder lack, each with its cure."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import sys
import tempfile
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from plant.errors import ForetwinError
from plant.files import DATA
from plant.incident import load_incident
from plant.site import load_site
from predict.registry import CARD, load
from recovery.ledger import Ledger
from twin.telemetry.sqlite_store import SqliteStore
from verbs import doctor_slurm, doctor_store
from verbs.doctor_sources import checks
from verbs.settings import CONFIG

ROOT = Path(__file__).resolve().parent.parent
LEAST_CPUS, LEAST_RAM_GB, LEAST_DISK_GB = 2, 2.0, 1.0
SCREEN_PORT = 8501
SERVERS = ("influxd", "nginx", "chromium")
Check = tuple[bool, str, str]


def run(home: Path, config: str | Path = CONFIG, now_ms: int = 0) -> dict[str, Any]:
    """Return every check as name, ok, found, cure; `optional` ones do not make the verdict bad.

    config: the settings whose sources are tried. now_ms (Unix): what their ages are judged by.
    """
    needed: dict[str, Callable[[], Check]] = {
        "python": _python,
        "packages": _packages,
        "cpus": _cpus,
        "memory": _memory,
        "disk": lambda: _disk(home),
        "home writable": lambda: _writable(home),
        "site files": lambda: _loads("sites", load_site),
        "incident files": lambda: _loads("incidents", load_incident),
        "model card": _models,
        "ledger": lambda: _ledger(home),
        "telemetry schema": lambda: _telemetry(home),
    }
    needed |= doctor_store.checks(config) | checks(config, now_ms) | doctor_slurm.checks(config, now_ms)
    wished: dict[str, Callable[[], Check]] = {"screen port": _port, "servers": _servers, "pinned versions": _pinned}
    rows = [_row(name, check, False) for name, check in needed.items()]
    rows += [_row(name, check, True) for name, check in wished.items()]
    return {"ok": all(row["ok"] or row["optional"] for row in rows), "checks": rows}


def _row(name: str, check: Callable[[], Check], optional: bool) -> dict[str, Any]:
    """One check; an error on the way is its finding."""
    try:
        ok, found, cure = check()
    except ForetwinError as error:
        ok, found, cure = False, error.found or str(error), error.cure or "see the message"
    except OSError as error:
        ok, found, cure = False, str(error), "check path and permissions"
    return {"name": name, "ok": ok, "found": found, "cure": "" if ok else cure, "optional": optional}


def _python() -> Check:
    return sys.version_info >= (3, 11), platform.python_version(), "install Python 3.11 or newer"


def _packages() -> Check:
    """Every runtime dependency is there in a version that is allowed; torch is checked by its exact pin."""
    from packaging.requirements import Requirement

    wrong = []
    for need in map(Requirement, _project()["dependencies"]):
        try:
            found = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{need.name} missing")
            continue
        if not need.specifier.contains(found, prereleases=True):
            wrong.append(f"{need.name} {found}, allowed {need.specifier}")
    return not wrong, "; ".join(wrong) or "all within their bounds", "run make setup"


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def _pinned() -> Check:
    """Installed versions that differ from the tested set."""
    differ = []
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        pin = re.match(r"^([A-Za-z0-9._-]+)==(\S+)", line)
        if pin is None:
            continue
        try:
            found = metadata.version(pin[1]).split("+")[0]
        except metadata.PackageNotFoundError:
            continue
        if found != pin[2]:
            differ.append(f"{pin[1]} {found}, tested {pin[2]}")
    return not differ, "; ".join(differ[:8]) or "as tested", "run make setup, which installs the tested versions"


def _cpus() -> Check:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count >= LEAST_CPUS, f"{count} CPUs", f"rehearsals want {LEAST_CPUS}; fewer work, slower"


def _memory() -> Check:
    total_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return total_gb >= LEAST_RAM_GB, f"{total_gb:.1f} GB", f"at least {LEAST_RAM_GB:g} GB"


def _disk(home: Path) -> Check:
    folder = next(p for p in (home.absolute(), *home.absolute().parents) if p.exists())
    free_gb = shutil.disk_usage(folder).free / 1e9
    return free_gb >= LEAST_DISK_GB, f"{free_gb:.1f} GB free", f"free {LEAST_DISK_GB:g} GB or set FORETWIN_HOME"


def _writable(home: Path) -> Check:
    """Whether state can be written: tried with a file that has no name and leaves nothing behind."""
    folder = next(p for p in (home.absolute(), *home.absolute().parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return False, f"{folder}: {error.strerror or error}", "set FORETWIN_HOME to a folder of yours"
    return True, str(home) if folder == home.absolute() else f"{home}, not made yet", ""


def _loads(folder: str, load_one: Callable[[Path], Any]) -> Check:
    files = sorted((DATA / folder).glob("*.toml"))
    faults = []
    for file in files:
        try:
            load_one(file)
        except ForetwinError as error:
            faults += str(error).splitlines()
    return not faults and bool(files), "; ".join(faults) or f"{len(files)} load", f"restore data/{folder}"


def _models() -> Check:
    cards = sorted((DATA / "models").glob(f"*/*/{CARD}"))
    versions = [load(card.parent).version for card in cards]
    return bool(versions), ", ".join(versions) or "no model", "foretwin train --site hall, or restore data/models"


def _ledger(home: Path) -> Check:
    path = home / "ledger.sqlite"
    if not path.is_file():
        return True, "none yet", ""
    ledger = Ledger(path)
    try:
        rows, ok, bad = ledger.verify()
    finally:
        ledger.close()
    return ok, f"{rows} rows" if ok else f"row {bad} is bad", "restore a backup; do not approve on this ledger"


def _telemetry(home: Path) -> Check:
    path = home / "telemetry.sqlite"
    if not path.is_file():
        return True, "none yet", ""
    store = SqliteStore(path, read_only=True)
    try:
        return True, f"readable, {len(store.components())} components", ""
    finally:
        store.close()


def _port() -> Check:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", SCREEN_PORT))
        except OSError:
            return False, f"{SCREEN_PORT} is taken", "another demo may run; choose one: foretwin demo --port N"
    return True, f"{SCREEN_PORT} is free", ""


def _servers() -> Check:
    """Real servers that only the full test suite and production need."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    missing = [name for name in SERVERS if shutil.which(name, path=path) is None]
    return not missing, f"missing {', '.join(missing)}" if missing else "all there", "make servers"
