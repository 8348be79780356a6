"""`foretwin site check FILE`: is a site file sound, what does it describe, does a snapshot of a twin belong to it?"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np

from plant.files import shipped
from plant.pue import design_pue
from plant.site import Site, load_site


def run(file: str, snapshot: Path | None = None) -> dict[str, Any]:
    """Return what the file describes.

    Raises SiteFileError with every fault at once, and SnapshotMismatch when the snapshot cannot be continued on it.
    """
    site = load_site(file)
    kept = {} if snapshot is None else {"snapshot": _kept(snapshot, site)}
    regions = [_region(site, g) for g in range(len(site.region_ids))]
    return {
        "ok": True,
        "path": str(shipped("sites", file)),
        "site": site.name,
        "hash": site.hash,
        "counts": site.counts(),
        "design_kw": float(site.hall_design_kw.sum()),
        "items": regions,
        **kept,
    }


def _kept(file: Path, site: Site) -> dict[str, Any]:
    """What a snapshot holds, once it has passed every check."""
    from twin import snapshot

    state = snapshot.load(file, site)
    at = datetime.datetime.fromtimestamp(state.now_ms / 1000, tz=datetime.UTC)
    return {"at": at.isoformat(), "members": state.members, "jobs": len(state.jobs), "backend": state.backend}


def _region(site: Site, region: int) -> dict[str, Any]:
    """Power at the design point and PUE, with what the stated PUE holds beyond the modelled chain."""
    energy = design_pue(vars(site), region)
    stated = float(site.region_pue[region])
    row: dict[str, Any] = {
        "region": site.region_ids[region],
        "design_kw": energy.it_kw,
        "cooling_kw": energy.fan_kw + energy.pump_kw + energy.chiller_kw,
        "ups_loss_kw": energy.ups_loss_kw,
        "pue": energy.pue + float(site.other_kw_frac[region]),
        "pue_modelled_chain": energy.pue,
        "pue_stated": None if np.isnan(stated) else stated,
    }
    return row | ({"pue_stated_reason": "the file states none"} if np.isnan(stated) else {})
