"""The mapping file of a day of a hall: which file and column holds what, and which meter readings are drop-outs."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from plant.errors import ConfigError
from plant.files import DATA, load_toml
from plant.keys import Part, number, text

SHIPPED = DATA / "mappings" / "rise_pod.toml"
OWN_NAME = "mapping.toml"


class HallFiles(Part):
    """File names inside the folder given by `--path`; Parquet, or CSV by its ending."""

    servers: str = text("one row per server and poll")
    facility: str = text("one row per instant: coolers, heat carried away")


class ServerColumns(Part):
    """Columns of the server file."""

    time: str = text("column with the instant of the poll, UTC")
    rack: str = text("column with the rack's number or name")
    server: str = text("column with the server's id")
    power: str = text("column with the power drawn [W]")
    inlet: str = text("column with the inlet temperature [C]")
    outlet: str = text("column with the outlet temperature [C]")
    fan: str = text("column with the fan speed [rpm]")


class FacilityColumns(Part):
    """Columns of the facility file; coolers in the same order in both lists."""

    time: str = text("column with the instant, UTC")
    cooler_fan: tuple[str, ...] = Field(min_length=1, description="columns with the fan signal of each cooler [%]")
    discharge: tuple[str, ...] = Field(min_length=1, description="columns with each cooler's discharge temperature [C]")
    it_w: str = text("column with the electric power of all IT [W]; only the plain lags use it")


class HeatMeter(Part):
    """The meter of the heat carried away, and the rule for its drop-outs."""

    heat: str = text("column with the heat carried away [W]")
    dropout_frac: float = number("ratio", 0, 1, "share of the median around a drop-out that it stays below", 0.5)
    recovery_s: float = number("s", 0, 7200, "longest time after a drop-out that is left out as well", 900.0)


class HallSplit(Part):
    """Default windows: clock times of the first day (`06:30..11:20`, UTC) or two instants in UTC."""

    fit: str = text("window the parameters are fitted on")
    test: str = text("window the errors are reported on")


class HallMapping(Part):
    """A whole mapping file of a hall."""

    data: HallFiles
    servers: ServerColumns
    facility: FacilityColumns
    meter: HeatMeter
    split: HallSplit


def load_hall_mapping(path: Path) -> HallMapping:
    """Read a data folder's own `mapping.toml`, or the shipped one where it has none. Raises ConfigError."""
    own = path / OWN_NAME
    mapping: HallMapping = load_toml(own if own.is_file() else SHIPPED, HallMapping, ConfigError)
    fans, discharges = len(mapping.facility.cooler_fan), len(mapping.facility.discharge)
    if fans != discharges:
        raise ConfigError(
            where="facility.discharge",
            found=f"{discharges} columns for {fans} cooler fans",
            allowed="one discharge temperature for each cooler fan",
            cure="name the columns of the same coolers in both lists",
        )
    return mapping


def is_hall(path: Path) -> bool:
    """Tell whether a folder holds a day of a hall (its mapping names a server file, or the shipped names are there)."""
    import tomllib

    own = path / OWN_NAME
    if own.is_file():
        try:
            return "servers" in tomllib.loads(own.read_text(encoding="utf-8")).get("data", {})
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            return False  # the reader of the week says what is wrong with it
    files = load_toml(SHIPPED, HallMapping, ConfigError).data
    return (path / files.servers).is_file() or (path / files.facility).is_file()
