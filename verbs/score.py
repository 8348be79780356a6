"""`foretwin score`: the risk of every watched component of a site from the readings of a store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plant.errors import TelemetryError
from plant.files import DATA, shipped
from plant.site import load_site
from predict.alarms import AlarmBoard
from predict.catchup import SPAN_S, catch_up, newest_ms
from predict.registry import newest
from predict.risk import Risk
from predict.score import Scorer
from twin.telemetry.store import Store

SHIPPED = DATA / "models"


def run(
    site: str | Path,
    store: Store,
    at_ms: int | None = None,
    *,
    models: Sequence[Path] = (SHIPPED,),
    span_s: float = SPAN_S,
) -> dict[str, Any]:
    """Return the `results` object of the verb: risks, most urgent first, and the alerts they make.

    site: path or shipped name; at_ms: Unix ms, None takes the newest reading; models: folders, the first that holds a
    model gives it, none falls back to the residual tier. Raises TelemetryError when the store holds no reading.
    """
    now_ms = newest_ms(store) if at_ms is None else at_ms
    if now_ms is None:
        raise TelemetryError("store", "no reading in it", "at least one", "bring readings in: foretwin ingest FILE")
    model = next((found for root in models if (found := newest(root))), None)
    scorer = Scorer(load_site(shipped("sites", site)), model)
    risks = catch_up(scorer, store, now_ms, span_s)
    alerts = AlarmBoard(scorer.parent).update(now_ms, risks)
    return {
        "at": _iso(now_ms),
        "model": model.version if model else None,
        "risks": [_row(risk) for risk in sorted(risks, key=urgency)],
        "alerts": [
            {"root": alert.root, "children": list(alert.children), "reasons": list(alert.reasons)} for alert in alerts
        ],
        "watched": len(risks),
    }


def for_people(results: dict[str, Any]) -> dict[str, Any]:
    """The results with one line for each risk; the rest of the horizons is for --json."""
    return results | {"risks": [_line(row) for row in results["risks"]]}


def _line(row: dict[str, Any]) -> dict[str, Any]:
    p, times = row["p_fail"].get("3600"), row["ttf_quantiles_s"]
    middle_s = times[1] if times else None
    return {
        "component": row["component"],
        "P(fail in 1 h)": "unknown" if p is None else f"{100.0 * p:.2g} %",
        "median time to it": "-" if middle_s is None else f"{middle_s / 60.0:.0f} min",
        "act": row["act"],
        "newest": "-" if row["age_s"] is None else f"{row['age_s']:.0f} s old",
        "why": "; ".join(row["reasons"]),
    }


def urgency(risk: Risk) -> tuple[bool, bool, float, str]:
    """Sort key: act first, then unknown, then by P(fail within the hour), then by name."""
    return not risk.act, not risk.unknown, -(risk.within(3600) or 0.0), risk.component


def _row(risk: Risk) -> dict[str, Any]:
    row = risk.as_dict()
    row["at"] = _iso(row.pop("at_ms"))
    return row


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000.0, UTC).isoformat()
