"""`foretwin map check`: what a mapping covers, and what is in a wrong unit, out of range, doubled or unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from plant.site import load_site
from twin.telemetry.mapcheck import Placed, Report, check
from twin.telemetry.mapping import load_mapping
from verbs.mapfiles import read_files, since

SHOWN = 1_000
UNREADABLE = 5


def run(
    files: Sequence[str],
    mapping: str | None,
    site: str | None,
    now_ms: int,
    start: str = "",
    min_coverage_frac: float = 0.95,
    *,
    every_series: bool = True,
) -> dict[str, Any]:
    """Return the results of the verb; raises TelemetryError, ConfigError or SiteFileError.

    `ok` is false below min_coverage_frac, and where a unit or a clock is probably wrong, two series share a place, or a
    rule gives a component that the site does not have. every_series: with a row for each.
    """
    stage = None if site is None else load_site(site)
    kind_of = None if stage is None else {c: kind for kind in stage.kinds for c in stage.components(kind)}
    names = load_mapping(mapping, kind_of)
    samples, unreadable = read_files(files, names)
    found = check(since(samples, start), names, stage, now_ms)
    wrong = _wrong(found, unreadable, min_coverage_frac)
    return {
        "ok": not wrong,
        "wrong": wrong,
        "coverage_frac": found.coverage if found.samples else None,
        **({} if found.samples else {"coverage_frac_reason": "no samples"}),
        "min_coverage_frac": min_coverage_frac,
        "samples": found.samples,
        "series": found.series,
        "events": found.events,
        "dropped": found.dropped,
        "unreadable": found.unreadable + len(unreadable),
        "unreadable_rows": [{"row": row} for row in unreadable[:UNREADABLE]],
        "unmatched": [{"name": name, "samples": n} for name, n in found.unmatched],
        "items": [finding.as_dict() for finding in found.findings],
        "out_of_range_frac": found.out_of_range,
        "duplicates": [{"place": place, "series": names} for place, names in found.duplicates.items()],
        "unknown_components": [{"component": name, "series": n} for name, n in list(found.unknown.items())[:20]],
        "channels": _channels(found.placed),
    } | ({"readings": [_row(one) for one in found.placed[:SHOWN]]} if every_series else {})


def _wrong(found: Report, unreadable: Sequence[str], min_coverage_frac: float) -> list[str]:
    """Why a mapping is not right, in words; empty where nothing is found."""
    share = f"rules take {found.coverage:.1%} of the samples, {min_coverage_frac:.1%} are asked for"
    rows, first = found.samples + len(unreadable), unreadable[0] if unreadable else ""
    said = (
        (not found.samples, "no samples"),
        (
            len(unreadable) > (1.0 - min_coverage_frac) * rows,
            f"{len(unreadable)} of {rows} rows cannot be read, the first: {first}",
        ),
        (found.samples and found.coverage < min_coverage_frac, share),
        (found.findings, f"{len(found.findings)} findings, see items"),
        (found.duplicates, f"{len(found.duplicates)} places are given to several series"),
        (found.unknown, f"{len(found.unknown)} names are no component of the site: say under [hosts] which they are"),
    )
    return [text for yes, text in said if yes]


def _row(one: Placed) -> dict[str, Any]:
    """One series: where it went, how often it comes, its longest gap."""
    row = {
        "name": str(one.series),
        "rule": one.meaning.rule,
        "component": one.meaning.component,
        "channel": one.meaning.channel,
        "samples": one.beat.n,
        "interval_s": one.beat.interval_s,
        "longest_gap_s": one.beat.longest_s,
        "gaps": one.beat.gaps,
    }
    return row | ({"interval_s_reason": "one sample"} if one.beat.interval_s is None else {})


def _channels(placed: Sequence[Placed]) -> list[dict[str, Any]]:
    """One line for each channel of a kind: series, usual values in our unit, interval, gaps."""
    groups: dict[str, list[Placed]] = {}
    for one in placed:
        groups.setdefault(f"{one.kind or '?'}.{one.meaning.channel}", []).append(one)
    return [_channel(name, group) for name, group in sorted(groups.items())]


def _channel(name: str, group: Sequence[Placed]) -> dict[str, Any]:
    values = np.concatenate([one.value for one in group]) if group else np.empty(0)
    steps = [one.beat.interval_s for one in group if one.beat.interval_s is not None]
    low, middle, high = (float(x) for x in np.percentile(values, [5, 50, 95])) if len(values) else (None,) * 3
    row: dict[str, Any] = {
        "channel": name,
        "unit": group[0].unit,
        "series": len(group),
        "p5": low,
        "median": middle,
        "p95": high,
        "interval_s": float(np.median(steps)) if steps else None,
        "gaps": sum(one.beat.gaps for one in group),
    }
    reasons = {"median_reason": "no number"} if middle is None else {}
    return row | reasons | ({} if steps else {"interval_s_reason": "single samples"})
