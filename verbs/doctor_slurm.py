"""What `foretwin doctor` says of a configured Slurm: does it answer, does it meet the site, does its profile flow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from plant.errors import ConfigError
from plant.site import load_site
from verbs import settings as config_file
from verbs.settings import Settings

Check = tuple[bool, str, str]
PLUGIN = "acct_gather_profile/influxdb"


def checks(config: str | Path, now_ms: int) -> dict[str, Callable[[], Check]]:
    """The checks, where the settings name Slurm as the scheduler; settings that cannot be read are said elsewhere."""
    try:
        told = config_file.load(config)
    except ConfigError:
        return {}
    if told.scheduler.kind != "slurm":
        return {}
    found: dict[str, Callable[[], Check]] = {"slurm": lambda: _answers(told, now_ms)}
    if told.scheduler.profile_url is not None:
        found["slurm profile"] = lambda: _profile(told, now_ms)
    return found


def _answers(told: Settings, now_ms: int) -> Check:
    """Version, how many jobs run and wait, which of its nodes the site lacks; an error on the way is the finding."""
    from scheduler.slurm_commands import Commands
    from verbs.schedulers import slurm_of

    version = Commands(told.scheduler.conf or "").version()
    port = slurm_of(told, load_site(told.site.file), lambda: now_ms)
    port.close()
    running, strangers = len(port.running()), port.outside
    found = f"{version}, {running} jobs run, {len(port.jobs) - running} wait, {len(port.machines)} nodes"
    if strangers:
        found += f", {len(strangers)} of them not in the site: {' '.join(strangers[:5])}"
    return len(strangers) < len(port.machines), found, "make the site from Slurm's own list: foretwin site import"


def _profile(told: Settings, now_ms: int) -> Check:
    """The plugin is switched on, its interval is known, and its database holds CPU use."""
    from scheduler.slurm_commands import Commands
    from scheduler.slurm_profile import MEASUREMENT
    from verbs.schedulers import profile_of

    commands = Commands(told.scheduler.conf or "")
    plugin, every_s = commands.config().get("AcctGatherProfileType", ""), commands.profile_every_s()
    if PLUGIN not in plugin:
        cure = f"AcctGatherProfileType={PLUGIN} in slurm.conf, then restart slurmctld and the slurmds"
        return False, f"AcctGatherProfileType is {plugin or 'not set'}", cure
    profile = profile_of(told, every_s)
    try:
        there = profile.check()
    finally:
        profile.close()
    late = f"samples every {every_s:g} s, use known {profile.lag_ms / 1000:g} s later"
    if MEASUREMENT not in there:
        cure = "ProfileInfluxDBDefault=ALL and the address in acct_gather.conf; a first job has to run for a while"
        return False, f"{late}, but no {MEASUREMENT} in the database", cure
    cure = "JobAcctGatherFrequency=task=1 (or 5) in slurm.conf"
    return profile.lag_ms <= 600_000, late, cure
