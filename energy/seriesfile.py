"""Reads hourly series from CSV or Parquet and says everything that is wrong with a file at once.

Columns: `zone`, a time (`time_utc`; `time_local` with a table of offsets beside the file; `hour_utc` 0..23 for one day
that repeats) and a value whose name carries its unit. Lines of a CSV that begin with # are notes on its source.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from energy.series import HOUR_MS, Series, Zone
from plant.errors import ConfigError, Fault
from plant.units import probable_slip, shown

KINDS = ("carbon_intensity", "electricity_price", "weather")
FORMS = (".csv", ".parquet")
DATA = Path(__file__).resolve().parent.parent / "data" / "energy"
OFFSETS = "weather_sites.csv"
MOST_FAULTS = 10  # of one file; the rest is counted


@dataclass(frozen=True)
class Column:
    """A value column: its unit once scaled, the factor to it, and the possible range in that unit."""

    unit: str
    scale: float
    low: float
    high: float


_CARBON, _PRICE = ("kgCO2/kWh", 0.0, 3.0), (-1e6, 1e6)
COLUMNS: dict[str, dict[str, Column]] = {
    "carbon_intensity": {
        "kgco2_per_kwh": Column(_CARBON[0], 1.0, *_CARBON[1:]),
        "g_per_kwh": Column(_CARBON[0], 1e-3, *_CARBON[1:]),
        "ci_direct_g_per_kwh": Column(_CARBON[0], 1e-3, *_CARBON[1:]),
        "ci_lca_g_per_kwh": Column(_CARBON[0], 1e-3, *_CARBON[1:]),
    },
    "electricity_price": {
        "usd_per_kwh": Column("USD/kWh", 1.0, *_PRICE),
        "usd_per_mwh": Column("USD/kWh", 1e-3, *_PRICE),
        "price_per_mwh": Column("{currency}/kWh", 1e-3, *_PRICE),
    },
    "weather": {"temp_c": Column("C", 1.0, -60.0, 60.0), "outdoor_c": Column("C", 1.0, -60.0, 60.0)},
}


@dataclass
class _Table:
    """Columns of a file as lists or arrays, its notes, and how to call a row."""

    columns: dict[str, Any]
    notes: str
    row_name: Callable[[int], str]


def find_file(folder: str | Path, kind: str) -> Path:
    """The one file `<kind>_*.csv` or `.parquet` of a folder. Raises ConfigError when there is none or several."""
    where = Path(folder)
    found = sorted(p for form in FORMS for p in where.glob(f"{kind}_*{form}") if p.name != OFFSETS)
    if len(found) == 1:
        return found[0]
    said = f"several {kind} files: {' '.join(p.name for p in found)}" if found else f"no file {kind}_*.csv or .parquet"
    raise ConfigError(where.name or str(where), said, "exactly one", "name the file you mean")


def load_series(path: str | Path, kind: str | None = None, column: str | None = None) -> Series:
    """Read one file. `kind` defaults to the prefix of its name, `column` to the first known value column it has.

    Raises ConfigError with every fault at once.
    """
    file = Path(path)
    kind = kind or next((k for k in KINDS if file.name.startswith(f"{k}_")), None)
    if kind not in COLUMNS:
        raise ConfigError(
            file.name, "a name that does not say what it holds", f"a name beginning with {' '.join(KINDS)}"
        )
    table = _read(file)
    faults: list[Fault] = []
    name = _value_column(file, kind, column, table)
    zone = np.array([str(z).strip() for z in table.columns["zone"]], dtype=object)
    times_ms, daily = _times(file, table, zone, faults)
    values = _numbers(file, table, name, COLUMNS[kind][name], faults)
    _twice(file, table, zone, times_ms, faults)
    if faults:
        more = len(faults) - MOST_FAULTS
        tail = [Fault(file.name, f"and {more} more faults")] if more > 0 else []
        raise ConfigError(faults=[*faults[:MOST_FAULTS], *tail])
    unit = COLUMNS[kind][name].unit
    zones = _zones(zone, times_ms, values, lambda rows: _unit(file, table, unit, rows))
    return Series(kind, name, table.notes or file.name, zones, daily)


def _read(file: Path) -> _Table:
    if file.suffix not in FORMS:
        raise ConfigError(file.name, f"a file of form '{file.suffix}'", " or ".join(FORMS), "convert it")
    if not file.is_file():
        raise ConfigError(file.name, "no such file", "a CSV or Parquet file", "check the path")
    table = _read_csv(file) if file.suffix == ".csv" else _read_parquet(file)
    if "zone" not in table.columns:
        raise ConfigError(file.name, f"columns {' '.join(table.columns) or 'none'}", "a column 'zone'")
    if not len(table.columns["zone"]):
        raise ConfigError(file.name, "no rows", "one row for each zone and hour")
    return table


def _read_csv(file: Path) -> _Table:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(file.name, f"byte {error.start} is no UTF-8 text", "a CSV file in UTF-8") from None
    notes = " ".join(line.lstrip("# ").strip() for line in lines if line.startswith("#"))
    kept = [(i, line) for i, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    rows = list(csv.reader(line for _, line in kept))
    if not rows:
        raise ConfigError(file.name, "an empty file", "a header and one row for each zone and hour")
    head, width = [name.strip() for name in rows[0]], len(rows[0])
    ragged = [
        Fault(f"{file.name}: line {kept[i][0]}", f"{len(row)} values", f"{width}, as the header has")
        for i, row in enumerate(rows)
        if len(row) != width
    ]
    if ragged:
        raise ConfigError(faults=ragged[:MOST_FAULTS])
    numbers = [i for i, _ in kept[1:]]
    columns = {name: [row[at] for row in rows[1:]] for at, name in enumerate(head)}
    return _Table(columns, notes, lambda row: f"line {numbers[row]}")


def _read_parquet(file: Path) -> _Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        read = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(
            file.name, f"not a Parquet file ({str(error).splitlines()[0]})", "Parquet", "export it again"
        ) from None
    columns = {name: read.column(name).to_numpy() for name in read.column_names}
    return _Table(columns, "", lambda row: f"row {row + 1}")


def _value_column(file: Path, kind: str, column: str | None, table: _Table) -> str:
    known = COLUMNS[kind]
    found = [name for name in ([column] if column else known) if name in table.columns and name in known]
    if not found:
        said = f"no column '{column}'" if column else f"columns {' '.join(table.columns)}"
        raise ConfigError(file.name, said, f"one of {' '.join(known)}", "name the value column with its unit")
    return found[0]


def _times(file: Path, table: _Table, zone: NDArray[np.object_], faults: list[Fault]) -> tuple[NDArray[np.int64], bool]:
    """First instant of each row's hour [Unix ms], and whether they are hours of one repeating day."""
    for name in ("time_utc", "time_local", "hour_utc"):
        if name in table.columns:
            times_ms = _instants(file, table, name, faults)
            return (times_ms - _offset_ms(file, zone) if name == "time_local" else times_ms), name == "hour_utc"
    raise ConfigError(file.name, f"columns {' '.join(table.columns)}", "one of time_utc time_local hour_utc")


def _instants(file: Path, table: _Table, name: str, faults: list[Fault]) -> NDArray[np.int64]:
    column = table.columns[name]
    if isinstance(column, np.ndarray) and np.issubdtype(column.dtype, np.datetime64):
        return np.asarray(column.astype("datetime64[ms]").astype(np.int64))
    out = np.zeros(len(column), dtype=np.int64)
    for i, cell in enumerate(column):
        try:
            out[i] = _hour_ms(str(cell)) if name == "hour_utc" else _stamp_ms(str(cell))
        except ValueError:
            allowed = "a whole hour 0 to 23" if name == "hour_utc" else "a time such as 2022-12-18T08:00:00Z"
            faults.append(Fault(f"{file.name}: {table.row_name(i)}: {name}", f"'{cell}'", allowed))
            out[i] = -i - 1  # so that one fault does not look like a repeated hour as well
    return out


def _hour_ms(text: str) -> int:
    hour = int(text)
    if not 0 <= hour <= 23:
        raise ValueError(text)
    return hour * HOUR_MS


def _stamp_ms(text: str) -> int:
    """A time with or without an offset; without one it is taken as it stands."""
    at = datetime.fromisoformat(text.strip())
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _offset_ms(file: Path, zone: NDArray[np.object_]) -> NDArray[np.int64]:
    """What to take from local times, by zone; one fixed offset all year, as the table beside the file says."""
    beside = file.parent / OFFSETS
    if not beside.is_file():
        raise ConfigError(
            file.name, "local times", f"{OFFSETS} beside it (zone, utc_offset_seconds)", "or use time_utc"
        )
    offsets = _read_csv(beside).columns
    try:
        by_zone = dict(zip(offsets["zone"], (int(s) * 1000 for s in offsets["utc_offset_seconds"]), strict=True))
    except (KeyError, ValueError):
        raise ConfigError(beside.name, "no usable offsets", "columns zone and utc_offset_seconds") from None
    unknown = sorted(set(zone) - set(by_zone))
    if unknown:
        raise ConfigError(beside.name, f"no offset of zone '{unknown[0]}'", f"a row for each zone of {file.name}")
    return np.array([by_zone[z] for z in zone], dtype=np.int64)


def _numbers(file: Path, table: _Table, name: str, column: Column, faults: list[Fault]) -> NDArray[np.float64]:
    """The values in our unit; an empty cell or nan is a gap, what is no number or impossible a fault."""
    cells = table.columns[name]
    raw = np.full(len(cells), np.nan)
    if isinstance(cells, np.ndarray) and np.issubdtype(cells.dtype, np.number):
        raw[:] = cells
    else:
        for i, cell in enumerate(cells):
            try:
                raw[i] = float(cell) if str(cell).strip() else np.nan
            except ValueError:
                faults.append(Fault(f"{file.name}: {table.row_name(i)}: {name}", f"'{cell}'", "a number"))
    values = raw * column.scale
    for i in np.flatnonzero(~np.isnan(values) & ~((values >= column.low) & (values <= column.high))):
        allowed = f"{shown(column.low)} to {shown(column.high)} {column.unit}"
        slip = probable_slip(float(values[i]), column.unit, column.low, column.high)
        cure = f"looks like {slip[0]}" if slip else ""
        where = f"{file.name}: {table.row_name(int(i))}: {name}"
        faults.append(Fault(where, f"{shown(float(values[i]))} {column.unit}", allowed, cure))
    return values


def _twice(
    file: Path, table: _Table, zone: NDArray[np.object_], times_ms: NDArray[np.int64], faults: list[Fault]
) -> None:
    seen: dict[tuple[str, int], int] = {}
    for i, key in enumerate(zip(zone.tolist(), times_ms.tolist(), strict=True)):
        first = seen.setdefault(key, i)
        if first != i:
            where = f"{file.name}: {table.row_name(i)}"
            faults.append(
                Fault(where, f"the hour of {table.row_name(first)} of zone '{key[0]}' again", "each hour once")
            )


def _unit(file: Path, table: _Table, unit: str, rows: NDArray[np.int64]) -> str:
    if "{currency}" not in unit:
        return unit
    found = sorted({str(table.columns["currency"][i]) for i in rows}) if "currency" in table.columns else []
    if len(found) != 1:
        raise ConfigError(file.name, f"currencies {' '.join(found) or 'not said'}", "one currency for each zone")
    return unit.format(currency=found[0])


def _zones(
    zone: NDArray[np.object_],
    times_ms: NDArray[np.int64],
    values: NDArray[np.float64],
    unit: Callable[[NDArray[np.int64]], str],
) -> dict[str, Zone]:
    """Each zone's hours in order of time, gaps left out."""
    out: dict[str, Zone] = {}
    known = np.isfinite(values)
    for name in dict.fromkeys(zone.tolist()):
        rows = np.flatnonzero((zone == name) & known)
        rows = rows[np.argsort(times_ms[rows], kind="stable")]
        out[name] = Zone(np.ascontiguousarray(times_ms[rows]), np.ascontiguousarray(values[rows]), unit(rows))
    return out
