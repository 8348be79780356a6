"""What the worker writes back for dashboards: measurements `risk` and `sync`, floats and strings, in nanoseconds.

    risk,component=<id>,kind=<kind>,site=<site> p_fail_3600s=0.02,ttf_q50_s=86400,act=0,unknown=0,age_s=4,tier="lstm"
    sync,channel=<kind.channel>,horizon_s=<s>,site=<site> rmse=0.21,nmbe=...,in_sync=1,age_s=4,refused=0

Tags name what a panel groups by; tier and model are strings, so that a component stays one series when they change.
What is unknown is left out, never written as 0. Yes and no are 1 and 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from twin.telemetry.store import name_ok

QUANTILES = ("ttf_q10_s", "ttf_q50_s", "ttf_q90_s")


def risk_lines(site: str, at_ms: int, risks: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per component: `risks` have the keys that `score --json` prints for each."""
    return [line for risk in risks if (line := _risk_line(site, at_ms, risk))]


def _risk_line(site: str, at_ms: int, risk: Mapping[str, Any]) -> str:
    fields = {f"p_fail_{horizon}s": p for horizon, p in risk["p_fail"].items()}
    fields |= dict(zip(QUANTILES, risk["ttf_quantiles_s"] or (None,) * 3, strict=True))
    fields |= {key: risk[key] for key in ("act", "unknown", "age_s", "tier", "model")}
    tags = {"component": risk["component"], "kind": risk["kind"], "site": site}
    return line("risk", tags, fields, at_ms)


def sync_lines(
    site: str,
    at_ms: int,
    rows: Sequence[Mapping[str, Any]],
    *,
    in_sync: bool,
    age_s: float | None,
    counts: Mapping[str, int],
) -> list[str]:
    """A line per channel and horizon of a sync report, all its numbers as fields, and one for the whole site.

    The site's line has the channel `all`: whether the twin follows, age of the newest reading [s], and counts of
    readings: refused by us, waiting in the spool, rejected by the database.
    """
    common = {"in_sync": in_sync, "age_s": age_s}
    whole = line("sync", {"channel": "all", "horizon_s": "0", "site": site}, {**common, **counts}, at_ms)
    found = [whole]
    for row in rows:
        horizon = row.get("horizon_s") or 0
        tags = {"channel": str(row["channel"]), "horizon_s": f"{horizon:g}", "site": site}
        numbers = {k: v for k, v in row.items() if k not in ("channel", "horizon_s") and isinstance(v, int | float)}
        found.append(line("sync", tags, {**common, **numbers}, at_ms))
    return [one for one in found if one]


def line(measurement: str, tags: Mapping[str, str], fields: Mapping[str, Any], at_ms: int) -> str:
    """One line with its end; empty when a tag is no name or no field has a value."""
    said = [f"{key}={_value(value)}" for key, value in fields.items() if name_ok(key) and _is_said(value)]
    if not said or not all(map(name_ok, tags.values())):
        return ""
    head = ",".join([measurement, *(f"{key}={value}" for key, value in sorted(tags.items()))])
    return f"{head} {','.join(said)} {at_ms * 1_000_000}\n"


def _is_said(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _value(value: Any) -> str:
    """A field's text: strings quoted, everything else a float, so that no field ever changes its type."""
    if isinstance(value, str):
        return quoted_text(value)
    return repr(float(value))


def quoted_text(said: str) -> str:
    """A string field."""
    escaped = said.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
