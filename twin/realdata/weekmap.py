"""The mapping file of a week of jobs and power: which file, column and unit holds what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from plant import keys
from plant.errors import ConfigError
from plant.files import DATA, load_toml
from plant.keys import Part, number, text

SHIPPED = DATA / "mappings" / "surf_week.toml"
OWN_NAME = "mapping.toml"

TimeUnit = Literal["ms", "s", "min", "h"]
MS_PER: dict[str, int] = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000}
KW_PER: dict[str, float] = {"W": 1e-3, "kW": 1.0, "MW": 1e3}


class DataFiles(Part):
    """File names inside the folder given by `--path`; Parquet, or CSV by its ending."""

    tasks: str = text("one row per task")
    fragments: str = text("CPU use of each task, one row per step")
    power: str = text("measured power of the whole set of hosts")


class Hosts(Part):
    """The machines: how many, how large."""

    count: int = keys.count(1, 1_000_000, "number of hosts")
    cores: int = keys.count(1, 4096, "cores of one host")
    core_mhz: float = number("MHz", 100, 10_000, "clock by which CPU use is counted")
    packages: int = keys.count(1, 16, "CPU packages (sockets) of a host", 2)


class TaskColumns(Part):
    """Columns of the task file."""

    unit_id: str = text("column with the task's id")
    time: str = text("column with the instant of submission, UTC")
    duration: str = text("column with the run time")
    duration_unit: TimeUnit = Field("ms", description="unit of the run time")
    cores: str = text("column with the number of cores")


class FragmentColumns(Part):
    """Columns of the file of CPU use."""

    unit_id: str = text("column with the task's id")
    usage: str = text("column with the CPU use, MHz over all cores of the task")
    step_s: float = number("s", 1, 3600, "time one row stands for", 30.0)
    missing: Literal["idle", "busy"] = Field("idle", description="use of a task that has no row")


class PowerTime(Part):
    """The clock of the power file."""

    time: str = text("column with the time since the first submission")
    time_unit: TimeUnit = Field("ms", description="unit of that time")


class ChannelRule(Part):
    """One column of the power file and the channel it feeds."""

    match: str = text("column name")
    channel: Literal["power"] = Field("power", description="channel it feeds")
    unit: Literal["W", "kW", "MW"] = Field("W", description="unit in the file")
    scale: float = number("ratio", 1e-9, 1e9, "factor to kW", 1e-3)


class Split(Part):
    """Default windows: days since the first submission (`1..2`, both included) or two instants in UTC."""

    fit: str = text("window the parameters are fitted on", "1..2")
    test: str = text("window the errors are reported on", "3..5")


class WeekMapping(Part):
    """A whole mapping file."""

    data: DataFiles
    hosts: Hosts
    tasks: TaskColumns
    fragments: FragmentColumns
    power: PowerTime
    rule: tuple[ChannelRule, ...] = Field(min_length=1, description="columns of the power file")
    split: Split = Split()


def load_mapping(path: Path) -> WeekMapping:
    """Read a data folder's own `mapping.toml`, or the shipped one where it has none. Raises ConfigError."""
    own = path / OWN_NAME
    mapping: WeekMapping = load_toml(own if own.is_file() else SHIPPED, WeekMapping, ConfigError)
    for rule in mapping.rule:
        if abs(rule.scale - KW_PER[rule.unit]) > 1e-12 * KW_PER[rule.unit]:
            raise ConfigError(
                where=f"rule.{rule.match}.scale",
                found=f"{rule.scale:g} for unit {rule.unit}",
                allowed=f"{KW_PER[rule.unit]:g}, the factor from {rule.unit} to kW",
                cure="correct the unit or the scale",
            )
    return mapping
