"""`foretwin sync report`: how well the twin follows its site, as the running or the last worker has posted it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plant.channels import CHANNELS
from plant.errors import ConfigError
from twin.board import Board

AHEAD = {0: "now", 600: "10 min", 3600: "1 h"}


def run(home: Path) -> dict[str, Any]:
    """Return the `results` of contracts.md. Raises ConfigError where no worker has reported, StoreUnavailable."""
    path = home / "telemetry.sqlite"
    posted = _posted(path) if path.is_file() else {}
    sync, status = posted.get("sync"), posted.get("status")
    if not sync or not isinstance(sync[0].get("rows"), list):
        raise ConfigError(
            str(path),
            "no report of a worker",
            "the folder of a worker that runs or has run",
            f"start foretwin run, or set FORETWIN_HOME to its folder (a demo's is {home / 'demo'})",
        )
    found, at_ms = sync
    known = status[0] if status else {}
    return {
        "in_sync": found.get("in_sync"),
        "sync_reason": found.get("sync_reason", ""),
        "at": _iso(at_ms),
        "site": known.get("site"),
        "simulated": bool(known.get("simulated")),
        "age_s": known.get("age_s"),
        "refused_by_reason": found.get("refused") or {},
        "not_used_by_reason": found.get("not_used") or {},
        "rows": [_row(row) for row in found["rows"]],
        "halls": found.get("halls") or [],
        "shut_out": found.get("shut_out") or [],
        "sources": _sources(posted.get("sources")),
    }


def for_people(results: dict[str, Any]) -> dict[str, Any]:
    """The results with what a screen holds of each row: errors with their unit, shares in percent, ages in seconds."""
    return results | {
        "rows": [_line(row) for row in results["rows"]],
        "halls": [_hall(row) for row in results["halls"]],
        "shut_out": [_sensor(row) for row in results.get("shut_out", [])],
        "sources": [_source(row) for row in results["sources"]],
    }


def _line(row: dict[str, Any]) -> dict[str, Any]:
    unit, share = _unit(str(row["channel"])), _percent
    ahead_s = row.get("horizon_s") or 0
    return {
        "channel": row["channel"],
        "ahead": AHEAD.get(ahead_s, f"{ahead_s} s"),
        "n": row["n"],
        "rmse": _number(row["rmse"], unit),
        "last held": _number(row["persistence_rmse"], unit),
        "mape": share(row["mape"]),
        "nmbe": share(row["nmbe"]),
        "cv-rmse": share(row["cv_rmse"]),
        "in 80 % band": share(row["coverage80"]),
    }


def _hall(row: dict[str, Any]) -> dict[str, Any]:
    since = row.get("since_ms")
    return {
        "hall": row.get("hall"),
        "state": f"out of sync since {_utc(since)}" if row.get("out") and since else "out" if row.get("out") else "in",
        "worst channel": row.get("channel") or "none judged yet",
        "times expected (out above 3)": row.get("level"),
    }


def _sensor(row: dict[str, Any]) -> dict[str, Any]:
    since = row.get("since_ms")
    return {key: value for key, value in row.items() if key != "since_ms"} | {"since": _utc(since) if since else "-"}


def _source(row: dict[str, Any]) -> dict[str, Any]:
    error, at_ms = row.get("last_error"), row.get("last_error_ms")
    return {
        "source": row.get("name"),
        "kind": row.get("kind"),
        "state": row.get("state"),
        "newest": _of_s(row.get("age_s")),
        **{key: row.get(key) for key in ("readings", "refused", "unmatched", "waiting")},
        "last error": f"{_utc(at_ms)} {error}" if error and at_ms else error or "none",
    }


def _unit(channel: str) -> str:
    """Unit of an error: a difference of temperatures is in kelvin."""
    unit = next((one.unit for one in CHANNELS if ".".join(one.key) == channel), "")
    return {"C": "K", "fraction": "", "flag": ""}.get(unit, unit)


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.3g} {unit}".strip()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{round(100.0 * value, 2) + 0.0:.2f} %"  # plus 0.0: no minus nothing


def _of_s(age_s: float | None) -> str:
    return "no sample yet" if age_s is None else f"{age_s:.0f} s old"


def _utc(at_ms: float) -> str:
    """An instant, short enough for a column.

    >>> _utc(1_671_323_760_000)
    '2022-12-18T00:36:00Z'
    """
    return _iso(at_ms).replace("+00:00", "Z")


def _iso(at_ms: float) -> str:
    return datetime.fromtimestamp(at_ms / 1000.0, UTC).isoformat(timespec="seconds")


KEYS = (
    "channel", "horizon_s", "n", "rmse", "persistence_rmse", "mape", "nmbe", "cv_rmse", "coverage80",
    "persistence_mape", "stale", "refused",
)  # fmt: skip


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """The keys of the contract first, absent ones None; the rest as posted."""
    return {key: row.get(key) for key in KEYS} | row


def _sources(posted: tuple[Any, int] | None) -> list[dict[str, Any]]:
    """What the feeder has said of its sources, where one runs."""
    value = posted[0] if posted else []
    rows = value.get("rows", []) if isinstance(value, dict) else value
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _posted(path: Path) -> dict[str, tuple[Any, int]]:
    board = Board(path, read_only=True)
    try:
        found = {key: board.get_json(key) for key in ("sync", "status", "sources")}
    finally:
        board.close()
    return {key: (one.value, one.updated_ms) for key, one in found.items() if one is not None and one.value}
