"""`foretwin sync report`: how well the twin follows its site, as the running or the last worker has posted it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plant.errors import ConfigError
from twin.board import Board


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
        "at": datetime.fromtimestamp(at_ms / 1000.0, UTC).isoformat(timespec="seconds"),
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
