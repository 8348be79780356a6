"""The scheduler that a running worker follows, opened from its settings: the reference one in a file, or Slurm."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np

from plant.errors import StoreUnavailable
from plant.site import Site
from scheduler.simulated import SimulatedScheduler
from scheduler.slurm import SlurmScheduler
from scheduler.slurm_classes import ClassRule
from scheduler.slurm_commands import Commands
from scheduler.slurm_profile import SlurmProfile
from verbs.settings import Settings

Scheduler = SimulatedScheduler | SlurmScheduler


def open_scheduler(told: Settings, home: Path, site: Site, now_ms: Callable[[], int]) -> Scheduler:
    """The scheduler of the settings. Raises StoreUnavailable, SourceUnavailable or ConfigError with the cure."""
    if told.scheduler.kind == "slurm":
        return slurm_of(told, site, now_ms)
    return _simulated(home / told.scheduler.path, told.scheduler.move_s, site, now_ms)


def slurm_of(told: Settings, site: Site, now_ms: Callable[[], int]) -> SlurmScheduler:
    """Slurm as the settings name it, asked once. Raises SourceUnavailable or ConfigError."""
    asked = told.scheduler
    commands = Commands(asked.conf or "")
    return SlurmScheduler(
        now_ms,
        site,
        commands=commands,
        classes=[ClassRule.parse(text) for text in asked.classes],
        halls=asked.halls,
        look_ms=round(asked.look_s * 1000),
        profile=None if asked.profile_url is None else profile_of(told, commands.profile_every_s()),
    )


def profile_of(told: Settings, every_s: float) -> SlurmProfile:
    """The database of Slurm's profile plugin. The store's token goes to no other server than the store's."""
    url = (told.scheduler.profile_url or "").rstrip("/")
    token = told.store.token.get_secret_value() if url == (told.store.url or "").rstrip("/") else ""
    return SlurmProfile(url, told.scheduler.profile_database, token, every_s=every_s)


def _simulated(path: Path, move_s: float, site: Site, now_ms: Callable[[], int]) -> SimulatedScheduler:
    """Open the scheduler's file; an empty one is given the site's nodes. Raises StoreUnavailable."""
    try:
        scheduler = SimulatedScheduler(now_ms, path, move_s=move_s)
        if not scheduler.nodes():
            for h, hall in enumerate(site.hall_ids):
                scheduler.add_nodes(hall, [site.node_ids[n] for n in np.flatnonzero(site.node_hall == h)])
    except sqlite3.Error as error:
        raise StoreUnavailable(str(path), str(error), "the file of a scheduler", "set [scheduler] path") from error
    return scheduler


def lacks(scheduler: Scheduler, name: str) -> list[tuple[str, str]]:
    """What keeps a scheduler from showing all there is: (thing, what about it), nothing when all is well."""
    rows = []
    if not scheduler.observe():
        rows.append(("jobs", f"the scheduler {name} knows none"))
    if isinstance(scheduler, SlurmScheduler):
        rows.append(("acting on Slurm", "it is only read: carry out what a plan asks of jobs and nodes with scontrol"))
        rows += [("slurm", scheduler.trouble)] if scheduler.trouble else []
        outside = scheduler.outside
        if outside:
            said = f"{len(outside)} of Slurm's nodes are not in the site: {' '.join(outside[:5])}"
            rows.append(("nodes", f"{said}; add them with foretwin site import"))
        rows += [("profile", scheduler.profile_trouble)] if scheduler.profile_trouble else []
    return rows
