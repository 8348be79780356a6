"""The pause switch: a file, so that it works with every database down. Its content says who, why and since when."""

from __future__ import annotations

import os
from pathlib import Path

from plant.errors import ConfigError


def pause(path: Path, who: str, why: str, at: str) -> None:
    """Stop the start of new steps; `at` is the instant as text. A second pause keeps the first one's words."""
    if not who.strip() or not why.strip():
        raise ConfigError("pause", "no name or no reason", "both", "say who pauses and why")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return
    with os.fdopen(handle, "w") as file:
        file.write(f"{who.strip()} since {at}: {why.strip()}\n")


def resume(path: Path) -> bool:
    """Take the switch away; False if nothing was paused."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
