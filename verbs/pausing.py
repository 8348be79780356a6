"""`foretwin pause | resume`: the switch that stops new steps. It needs no database and no worker."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

from recovery import pause as switch


def pause(home: Path, who: str, reason: str, at: str) -> dict[str, Any]:
    """Set the switch; `at` is the instant as text. A switch that is set already keeps its first words."""
    path = home / "pause"
    switch.pause(path, who or getpass.getuser(), reason, at)
    return {"ok": True, "path": str(path), "items": [path.read_text(encoding="utf-8").strip()]}


def resume(home: Path) -> dict[str, Any]:
    """Take the switch away; nothing to take away is no error."""
    path = home / "pause"
    said = path.read_text(encoding="utf-8").strip() if path.is_file() else None
    was_paused = switch.resume(path)
    return {"ok": True, "path": str(path), "was_paused": was_paused, "items": [said] if said else []}
