"""`foretwin map explain`: which rule took a series, what it became, the value before and after."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from plant.errors import TelemetryError
from plant.site import load_site
from twin.telemetry import lineprotocol
from twin.telemetry.mapping import Mapping, load_mapping
from twin.telemetry.mappingfile import UNITS
from twin.telemetry.matching import Matcher, name_of
from twin.telemetry.samples import Samples, Series
from verbs.mapfiles import read_files

LISTED = 50
STRANGER = "no component of the site"
HOW = "a name of the file such as upsd.time_left_ns, a pattern over it, or a whole line of line protocol in quotes"


def run(name: str, files: Sequence[str], mapping: str | None, site: str | None) -> dict[str, Any]:
    """Return the results of the verb; TelemetryError where no series bears the name.

    name: pattern over what rules match, or over the written series; without files a line of line protocol.
    """
    stage = None if site is None else load_site(site)
    kind_of = None if stage is None else {c: kind for kind in stage.kinds for c in stage.components(kind)}
    names = load_mapping(mapping, kind_of)
    samples = read_files(files, names)[0] if files else lineprotocol.parse(name)
    bearing = [n for n, one in enumerate(samples.series) if not files or _bears(one, name)]
    if not bearing:
        near = ", ".join(sorted({name_of(one) for one in samples.series})[:8])
        raise TelemetryError(name, "no series of that name", HOW, f"there are {near}" if near else "give a FILE too")
    items = [_item(samples, n, names, kind_of or {}) for n in bearing[:LISTED]]
    return {"ok": all(item["rule"] for item in items), "items": items, "series": len(bearing)}


def for_people(results: dict[str, Any]) -> dict[str, Any]:
    """The results with a line for each series that a screen holds: rule, place, values with their units."""
    return results | {"items": [_line(item) for item in results["items"]]}


def _line(item: dict[str, Any]) -> dict[str, Any]:
    line = {"series": item["series"][0]["name"], "rule": item["rule"] or "none", "becomes": _becomes(item)}
    if "value_before" in item:
        after = item["value_after"]
        line["before"] = f"{_short(item['value_before'])} {item['unit_before']}".strip()
        line["after"] = item.get("value_after_reason", "no value") if after is None else _short(after)
        line["after"] += f" {item['unit_after']}" if after is not None else ""
    return line


def _becomes(item: dict[str, Any]) -> str:
    """The place that a series fills, or why it fills none."""
    if "channel" not in item:
        near = "".join(f"; {one}" for one in item.get("near", []))
        return item.get("event") or ("left out" if item.get("left_out") else f"{item['rule_reason']}{near}")
    joined = f", {item['combine']} of several" if item["combine"] else ""
    stranger = ", no component of the site" if item.get("kind_reason") == STRANGER else ""
    also = f", and its {item['also']}'s mean" if item["also"] else ""
    return f"{item['component']} {item['channel']}{joined}{also}{stranger}"


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _bears(series: Series, name: str) -> bool:
    words = (name_of(series), str(series), series.field, series.measurement)
    return any(fnmatchcase(word, name) for word in words) or name in str(series)


def _item(samples: Samples, n: int, names: Mapping, kind_of: dict[str, str]) -> dict[str, Any]:
    series = samples.series[n]
    rows = np.flatnonzero(samples.which == n)
    meaning, happening = names.meaning(series), names.happening(series)
    row: dict[str, Any] = {"matched_as": name_of(series)}
    row["rule"] = meaning.rule if meaning else "events" if happening else None
    if meaning is not None and not meaning.drop_all:
        unit = UNITS.get(meaning.channel, "")
        value = float(samples.value[rows[-1]])
        row |= {
            "component": meaning.component,
            "kind": kind_of.get(meaning.component) if kind_of else None,
            "channel": meaning.channel,
            # a rule that says scale and offset has not said what theirs is called
            "unit_before": meaning.unit or (unit if (meaning.scale, meaning.offset) == (1.0, 0.0) else ""),
            "unit_after": f"{unit} from the rate each second" if meaning.counter else unit,
            "value_before": samples.text.get(int(rows[-1]), value),
            "value_after": None if meaning.counter else _after(samples, int(rows[-1]), meaning),
            "combine": meaning.combine,
            "also": meaning.also,
        }
        row |= {"value_after_reason": "a counter needs two samples"} if meaning.counter else {}
        row |= {} if row["kind"] else {"kind_reason": STRANGER if kind_of else "no site given"}
    elif meaning is not None:
        row["left_out"] = True
    if happening is not None and happening.rule.event is not None:
        row["event"] = f"{happening.component} {happening.rule.event.type} {happening.code}"
    row |= {"series": [{"name": str(series)}]}
    return row if row["rule"] else row | {"rule_reason": "no rule takes it", "near": _near(names, series)}


def _after(samples: Samples, row: int, meaning: Any) -> float | None:
    word = samples.text.get(row)
    value = (meaning.words or {}).get(word) if word is not None else float(samples.value[row])
    if word is None and meaning.numbers:
        value = meaning.numbers.get(value)
    return None if value is None else value * meaning.scale + meaning.offset


def _near(names: Mapping, series: Series) -> list[str]:
    """Rules whose name fits but whose tags do not."""
    name = name_of(series)
    return [_said(m) for m in names.matchers if m.fits(name)][:5]


def _said(matcher: Matcher) -> str:
    return f"{matcher.name} asks for {matcher.rule.when or 'tags of its component'}"
