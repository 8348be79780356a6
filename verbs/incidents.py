"""`foretwin incidents list | show | check`: what happened where, and is an incident file sound?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plant.files import DATA, shipped
from plant.incident import Incident, load_incident
from plant.site import load_site


def list_all() -> dict[str, Any]:
    """Return one row for each shipped incident."""
    files = sorted((DATA / "incidents").glob("*.toml"))
    return {"ok": True, "items": [_summary(load_incident(file)) for file in files]}


def show(name: str) -> dict[str, Any]:
    """Return one incident: causes, repairs, assumed values, facts, sources, and the outcome that no run reads."""
    incident = load_incident(name)
    parts = {
        "causes": [cause.model_dump(mode="json") for cause in incident.causes],
        "repairs": [repair.model_dump(mode="json") for repair in incident.repairs],
        "assumed": [assumed.model_dump(mode="json") for assumed in incident.assumed],
        "weather": [day.model_dump(mode="json") for day in incident.weather],
    }
    outcome = None if incident.outcome is None else incident.outcome.model_dump(mode="json")
    return {
        "ok": True,
        "items": [_summary(incident)],
        "hash": incident.hash,
        "summary": incident.summary,
        **parts,
        "facts": dict(incident.facts),
        "sources": dict(incident.sources),
        "outcome_for_comparison_only": outcome,
    }


def check(file: str, site: str | None) -> dict[str, Any]:
    """Check a file and every component it names against its site; raises IncidentFileError with every fault at once.

    site: path or shipped name; None takes the one that the incident names: beside it, else a shipped one.
    """
    incident = load_incident(file)
    stage = site or _stage(shipped("incidents", file), incident.site)
    load_incident(file, load_site(stage))
    path = str(shipped("incidents", file))
    return {"ok": True, "path": path, "site": str(stage), "items": [_summary(incident)]}


def _stage(file: Path, name: str) -> str:
    beside = file.parent / f"{name}.toml"
    return str(beside) if beside.is_file() else name


def _summary(incident: Incident) -> dict[str, Any]:
    return {
        "id": incident.id,
        "at": incident.at.isoformat(),
        "title": incident.title,
        "site": incident.site,
        "component_kind": incident.component_kind,
        "causes": len(incident.causes),
        "repairs": len(incident.repairs),
        "assumed": len(incident.assumed),
    }
