"""`foretwin map suggest`: rules for series that no rule takes, to be looked at and copied by a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from plant.site import load_site
from twin.telemetry.mapping import load_mapping, load_shipped
from twin.telemetry.suggesting import suggest
from verbs.mapfiles import read_files


def run(files: Sequence[str], mapping: str | None, site: str | None) -> dict[str, Any]:
    """Return the results of the verb: shipped rules to include, proposals, the surest first; nothing is written."""
    stage = None if site is None else load_site(site)
    kind_of = None if stage is None else {c: kind for kind in stage.kinds for c in stage.components(kind)}
    names = load_mapping(mapping, kind_of)
    samples, _ = read_files(files, names)
    unmatched = list(names.translate(samples).unmatched)
    shipped = load_shipped()
    known = {series: rule for series in unmatched if (rule := shipped.rule_of(series)) is not None}
    found = suggest([series for series in unmatched if series not in known], kind_of, names.hosts)
    return {
        "ok": True,
        "unmatched": len(unmatched),
        "include": sorted({f"builtin:{rule.name.partition(':')[0]}" for rule in known.values()}),
        "include_takes": len(known),
        "proposed_for": sum(one.series for one in found),
        "items": [
            {"channel": one.channel, "series": one.series, "alike_frac": one.alike_frac, "toml": one.toml}
            for one in found
        ],
    }


def as_text(results: dict[str, Any]) -> str:
    """The proposals as a mapping file holds them, each with how sure it is."""
    rules = [f"# {one['channel']}, {one['alike_frac']:.0%} alike, {one['series']} series\n{one['toml']}"
             for one in results["items"]]  # fmt: skip
    named = ", ".join(f'"{one}"' for one in results["include"])
    head = [f"# shipped rules know {results['include_takes']} series\ninclude = [{named}]"] if named else []
    return "\n".join([*head, *rules])
