"""`foretwin ledger verify`: is the audit chain whole? With `--bench N`, how long does a chain of N rows take?"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from plant.errors import ConfigError
from recovery import audit
from recovery.ledger import Ledger


def run(home: Path, bench: int = 0) -> dict[str, Any]:
    """Return rows, ok, first_bad_row and wall_s of the ledger at home, or of a scratch ledger of `bench` rows."""
    if bench:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ledger.sqlite"
            began_s = time.perf_counter()
            _fill(path, bench)
            made_s = time.perf_counter() - began_s
            return {**_verify(path), "made_s": round(made_s, 4), "scratch": True}
    path = home / "ledger.sqlite"
    if not path.is_file():
        raise ConfigError(str(path), "no such ledger", "the ledger of a worker", "set FORETWIN_HOME to its folder")
    return {**_verify(path), "path": str(path)}


def _verify(path: Path) -> dict[str, Any]:
    ledger = Ledger(path)
    try:
        began_s = time.perf_counter()
        rows, ok, first_bad = ledger.verify()
        wall_s = time.perf_counter() - began_s
        number, head = ledger.head()
    finally:
        ledger.close()
    results: dict[str, Any] = {"rows": rows, "ok": ok, "first_bad_row": first_bad, "wall_s": round(wall_s, 4)}
    return {**results, "first_bad_row_reason": "none is bad"} | {"anchor": f"{number} {head}"} if ok else results


def _fill(path: Path, rows: int) -> None:
    ledger = Ledger(path)
    try:
        with ledger.transaction() as db:
            for n in range(rows):
                audit.append(db, n, "bench", "note", f"{n:016x}", "rehearsed", "approved", "a row of usual length")
    finally:
        ledger.close()
