"""What must hold after a chaos run: every acknowledged reading in the database once, with its last value."""

from __future__ import annotations

from typing import Any

from twin.telemetry.influx_query import InfluxQuery, text
from verbs.chaos_scene import DATABASE, SITES, Scene
from verbs.chaos_writer import BULK, BULK_CHANNELS, batch_of

# How much either process may grow beyond what it had at rest.
GROWTH_MB = 96.0
LISTED = 20


def check_readings(scene: Scene) -> dict[str, Any]:
    """Read the whole database and hold it against the record: counts, and `violations` in sentences."""
    query = InfluxQuery(scene.server.url, DATABASE, scene.server.token)
    counts = {"acknowledged": 0, "found": 0, "lost": 0, "wrong": 0, "duplicates": 0, "unasked": 0}
    try:
        for site in SITES:
            for name, n in _check_site(scene, query, site).items():
                counts[name] += n
    finally:
        query.close()
    bad = {"lost": "lost", "wrong": "with another value", "duplicates": "there twice", "unasked": "that nobody wrote"}
    violations = [f"{counts[name]} readings {words}" for name, words in bad.items() if counts[name]]
    return {**counts, "violations": violations}


def _check_site(scene: Scene, query: InfluxQuery, site: str) -> dict[str, int]:
    """Counts for one site; a reading is known by component, channel and time."""
    kind, channels = ("node", BULK_CHANNELS) if site == BULK else ("rack", ("inlet_c",))
    found = query.rows(kind, list(channels), f'"site" = {text(site)}')
    rows = found.rows()
    values = {(component, channel, time_ms): value for time_ms, component, channel, value in rows}
    acknowledged, begun = _versions(scene, site, "A"), _versions(scene, site, "B")
    counts = {"found": len(rows), "duplicates": len(rows) - len(values), "acknowledged": 0, "lost": 0, "wrong": 0}
    for time_ms, versions in begun.items():
        # What was begun and not acknowledged may be there or not.
        sure = max(acknowledged.get(time_ms, ()), default=None)
        allowed = [v for v in versions if sure is None or v >= sure]
        batches = [batch_of(site, time_ms, v) for v in allowed]
        for i, (component, channel) in enumerate(zip(batches[0].component, batches[0].channel, strict=True)):
            value = values.pop((component, channel, time_ms), None)
            counts["acknowledged"] += sure is not None
            counts["lost"] += sure is not None and value is None
            counts["wrong"] += value is not None and all(abs(value - b.value[i]) > 1e-9 for b in batches)
    return counts | {"unasked": len(values)}


def _versions(scene: Scene, site: str, what: str) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for mark, of_site, time_ms, version in scene.record():
        if (mark, of_site) == (what, site):
            found.setdefault(time_ms, []).append(version)
    return found


def limits(scene: Scene) -> list[str]:
    """Sentences about what grew too much or was left behind."""
    seen, said = scene.measured(), []
    for name in ("writer", "worker"):
        growth_mb = seen[f"{name}_peak_rss_mb"] - seen[f"{name}_rss_mb"]
        if growth_mb > GROWTH_MB:
            said.append(f"the {name} grew by {growth_mb:.0f} MB")
    if seen["left_in_spool"]:
        said.append(f"{seen['left_in_spool']} readings stayed in the spool")
    if seen["rejected_by_server"]:
        said.append(f"the server rejected {seen['rejected_by_server']} readings")
    return sorted(set(said))[:LISTED]
