"""Snapshots on disk: plain arrays and JSON in one .npz named by its content hash; nothing in them can run code."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.errors import Fault, SnapshotMismatch
from plant.site import Site
from twin.agenda import Agenda, Entry
from twin.jobs import Jobs
from twin.services import Services
from twin.state import NUMBERS, State

VERSION = 2  # 2: more uncertain parameters, errors of sensors


def machine_type() -> dict[str, Any]:
    """Return what bit equality depends on: the NumPy version and the CPU features it found."""
    features = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    return {"numpy": np.__version__, "cpu": sorted(name for name, there in features.items() if there)}


def save(state: State, folder: Path) -> Path:
    """Write a snapshot and return its path `<folder>/<hash>.npz`; the file appears whole or not at all."""
    digest = state.digest()
    meta = {
        "version": VERSION,
        "digest": digest,
        "backend": state.backend,
        "site_hash": state.site_hash,
        "machine": machine_type(),
        **{name: getattr(state, name) for name in NUMBERS},
        "next_seq": state.agenda.next_seq,
        "agenda": sorted(state.agenda.entries.values()),
        "job_ids": state.jobs.ids,
        "job_kinds": state.jobs.kinds,
        "profile_step_s": state.jobs.profile_step_s,
        "service_names": state.jobs.services.names,
        "service_step_s": state.jobs.services.step_s,
    }
    packed: dict[str, NDArray[Any]] = {f"state/{name}": a for name, a in state.arrays.items()}
    packed |= {f"jobs/{f.name}": getattr(state.jobs, f.name) for f in _columns(Jobs)}
    packed |= {f"services/{f.name}": getattr(state.jobs.services, f.name) for f in _columns(Services)}
    packed["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / f"{digest}.npz", folder / f".{digest}.{os.getpid()}.part"
    with part.open("wb") as file:
        np.savez(file, **packed)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return path


def load(path: Path, site: Site) -> State:
    """Read a snapshot of that site.

    Raises SnapshotMismatch, all faults at once, when it is another site's, of another version, damaged or not finite.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            packed = {name: file[name] for name in file.files}
        meta = dict(json.loads(packed.pop("meta").tobytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise SnapshotMismatch(
            str(path),
            f"no readable snapshot ({type(error).__name__})",
            "a .npz written by foretwin",
            "take another one",
        ) from error
    _check_version(path, meta.get("version"))
    try:
        state = _rebuild(packed, meta)
        state.check(site)
    except SnapshotMismatch as error:
        faults = [Fault(f"{path}: {f.where}", f.found, f.allowed, f.cure) for f in error.faults]
        raise SnapshotMismatch(faults=faults) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        found = f"a part is missing or misshapen ({type(error).__name__}: {error})"
        raise SnapshotMismatch(str(path), found, "what foretwin wrote", "take another one") from error
    if state.digest() != meta.get("digest"):
        raise SnapshotMismatch(str(path), "content that does not fit its hash", "an unchanged file", "take another one")
    return state


def _check_version(path: Path, version: object) -> None:
    """Refuse a snapshot of another layout: an older one cannot be continued bit for bit, a newer one not be read."""
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        cure = "update foretwin" if newer else "take a new snapshot; the twin settles again within minutes of telemetry"
        raise SnapshotMismatch(str(path), f"snapshot version {version}", f"version {VERSION}", cure)


def _rebuild(packed: dict[str, NDArray[Any]], meta: dict[str, Any]) -> State:
    columns = {name.removeprefix("jobs/"): a for name, a in packed.items() if name.startswith("jobs/")}
    of_services = {name.removeprefix("services/"): a for name, a in packed.items() if name.startswith("services/")}
    services = Services(names=tuple(meta["service_names"]), step_s=meta["service_step_s"], **of_services)
    jobs = Jobs(
        ids=tuple(meta["job_ids"]),
        kinds=tuple(meta["job_kinds"]),
        profile_step_s=meta["profile_step_s"],
        services=services,
        **columns,
    )
    entries = {}
    for due_ms, seq, kind, component, rows, phase, data in meta["agenda"]:
        pairs = tuple((name, value) for name, value in data)
        entries[seq] = Entry(due_ms, seq, kind, component, None if rows is None else tuple(rows), phase, pairs)
    return State(
        {name.removeprefix("state/"): a for name, a in packed.items() if name.startswith("state/")},
        Agenda(entries, meta["next_seq"]),
        jobs,
        **{name: meta[name] for name in NUMBERS},
        site_hash=meta["site_hash"],
        backend=meta["backend"],
    )


def _columns(table: type[Jobs] | type[Services]) -> list[Any]:
    """Return the fields of a table that hold arrays."""
    return [f for f in fields(table) if f.name not in ("ids", "kinds", "names", "profile_step_s", "step_s", "services")]
