"""What `foretwin doctor` says of each configured source: reachable, readable, share of its samples a rule takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from plant.errors import ConfigError, ForetwinError
from plant.site import Site, load_site
from verbs import settings as config_file

Check = tuple[bool, str, str]


def checks(config: str | Path, now_ms: int) -> dict[str, Callable[[], Check]]:
    """One check for each source of the settings, by name; one that fails where the settings cannot be read."""
    try:
        told = config_file.load(config)
    except ConfigError as error:
        # bound now: the name of an exception is gone when its handler ends
        found = "; ".join(f"{fault.where}: {fault.found}" for fault in error.faults)
        cure = "; ".join(dict.fromkeys(fault.cure or fault.allowed for fault in error.faults)) or "correct the settings"
        return {"settings": lambda: (False, found, cure)}
    if not told.sources.tables:
        return {}
    from verbs.feeding import check

    site = _site(told.site.file)
    return {
        f"source {name}": lambda name=name, table=table: check(name, table, site, now_ms)  # type: ignore[misc]
        for name, table in told.sources.tables.items()
    }


def _site(file: str) -> Site | None:
    """The site, None where it cannot be read: that is said by a check of its own."""
    try:
        return load_site(file)
    except ForetwinError:
        return None
