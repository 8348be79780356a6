"""A day of a real hall as arrays: what the servers drew and felt, what the coolers did, what the heat meter read.

Files of others are read here and nowhere else; every missing file or column says how to get such files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.errors import ConfigError, TelemetryError
from twin.realdata.hallmap import OWN_NAME, HallMapping, load_hall_mapping
from twin.realdata.tables import (
    NO_TIME_MS,
    Bools,
    Floats,
    Ints,
    count_refused,
    instants_ms,
    names,
    numbers,
    read_columns,
)

KW_PER_W = 1e-3
LEAST_READINGS = 20
MOST_READINGS = 1_000_000
DROPOUT_WINDOW_S = 1800.0
CAUGHT_UP_FRAC = 0.1
TEMPERATURES_C = (-40.0, 120.0)
HOW_TO_GET = (
    "such files are two tables: servers (time in UTC, rack, server, power in W, inlet and outlet temperature in C, fan"
    " speed in rpm, one row per poll) and facility (time in UTC, fan signal in % and discharge temperature in C of each"
    " cooler, heat carried away in W); take them from IPMI or Redfish and from the building management system, name"
    f" their columns in DIR/{OWN_NAME} (start from data/mappings/rise_pod.toml), or use the RISE ICE module: github"
    " jsjolund/rafsine, folder problems/ocp"
)


@dataclass(frozen=True)
class Polls:
    """What the servers answered, in order of server and time: server (p,), at_s (p,) since the epoch, and the values.

    power_kw, inlet_c, outlet_c, fan_rpm (p,), NaN where one is missing. rack (servers,): index of each server's rack.
    """

    server: Ints
    at_s: Floats
    power_kw: Floats
    inlet_c: Floats
    outlet_c: Floats
    fan_rpm: Floats
    rack: Ints
    rack_names: tuple[str, ...]

    @property
    def servers_per_rack(self) -> Ints:
        """Number of servers of each rack."""
        return np.bincount(self.rack, minlength=len(self.rack_names)).astype(np.int64)


@dataclass(frozen=True)
class HallData:
    """Servers and facility on one clock: reading j of the facility is at epoch + j * step.

    fan_frac, discharge_c (n, coolers): inputs, the last reading held where one is missing (`held` counts those).
    heat_kw (n,): heat carried away, NaN where there is none or the meter dropped out; recovering (n,) marks readings
    shortly after a drop-out. it_kw (n,): for the plain lags only. refused: rows and readings left out, by reason.
    """

    mapping: HallMapping
    epoch_ms: int
    step_ms: int
    fan_frac: Floats
    discharge_c: Floats
    heat_kw: Floats
    recovering: Bools
    it_kw: Floats
    polls: Polls
    held: int
    refused: dict[str, int]

    @property
    def step_s(self) -> float:
        """Time between two facility readings [s]."""
        return self.step_ms / 1000.0

    @property
    def samples(self) -> int:
        """Number of facility readings."""
        return len(self.heat_kw)


def load_hall(path: str | Path) -> HallData:
    """Read a folder of server polls and facility readings. Raises ConfigError (mapping), TelemetryError (contents)."""
    folder = Path(path)
    if not folder.is_dir():
        raise ConfigError(str(folder), "no such folder", "a folder with servers and facility", HOW_TO_GET)
    mapping = load_hall_mapping(folder)
    refused: dict[str, int] = {}
    epoch_ms, step_ms, columns, held = _facility(folder, mapping, refused)
    heat = columns[mapping.meter.heat] * KW_PER_W
    dropped, recovering = meter_faults(heat, step_ms / 1000.0, mapping.meter.dropout_frac, mapping.meter.recovery_s)
    count_refused(refused, "heat reading that is a drop-out of the meter", dropped)
    return HallData(
        mapping=mapping,
        epoch_ms=epoch_ms,
        step_ms=step_ms,
        fan_frac=np.stack([columns[c] for c in mapping.facility.cooler_fan], axis=1) / 100.0,
        discharge_c=np.stack([columns[c] for c in mapping.facility.discharge], axis=1),
        heat_kw=np.where(dropped, np.nan, heat),
        recovering=recovering & ~dropped,
        it_kw=columns[mapping.facility.it_w] * KW_PER_W,
        polls=_polls(folder, mapping, epoch_ms, len(heat) * step_ms, refused),
        held=held,
        refused=refused,
    )


def meter_faults(heat_kw: Floats, step_s: float, dropout_frac: float, recovery_s: float) -> tuple[Bools, Bools]:
    """Return which heat readings are drop-outs, and which follow one while the meter catches up.

    A drop-out is a reading below dropout_frac of the median of the half hour around it (or below 0). The meter has
    recovered once a reading is within CAUGHT_UP_FRAC of the median of the half hour before, after recovery_s at most.
    """
    from numpy.lib.stride_tricks import sliding_window_view

    reach = max(1, round(0.5 * DROPOUT_WINDOW_S / step_s))
    around = sliding_window_view(np.pad(heat_kw, reach, constant_values=np.nan), 2 * reach + 1)
    seen = np.isfinite(around).any(axis=1)
    median = np.full(len(heat_kw), np.nan)
    median[seen] = np.nanmedian(around[seen], axis=1)
    with np.errstate(invalid="ignore"):
        dropped = (heat_kw < dropout_frac * median) | (heat_kw < 0.0)
    recovering = np.zeros(len(heat_kw), dtype=bool)
    good = np.isfinite(heat_kw) & ~dropped
    for i in np.flatnonzero(dropped & ~np.append(dropped[1:], False)).tolist():
        earlier = slice(max(0, i - 2 * reach), i)
        last = min(len(heat_kw), i + 1 + int(recovery_s / step_s))
        usual_kw = float(np.median(heat_kw[earlier][good[earlier]])) if good[earlier].any() else np.nan
        caught_up = np.flatnonzero(np.abs(heat_kw[i + 1 : last] - usual_kw) <= CAUGHT_UP_FRAC * usual_kw)
        recovering[i + 1 : i + 1 + int(caught_up[0]) if len(caught_up) else last] = True
    return dropped, recovering


def _read(folder: Path, file: str, columns: list[str]) -> Any:
    mapping = f"{folder / OWN_NAME} (start from data/mappings/rise_pod.toml)"
    return read_columns(folder / file, columns, HOW_TO_GET, mapping)


def _facility(folder: Path, mapping: HallMapping, refused: dict[str, int]) -> tuple[int, int, dict[str, Floats], int]:
    """Read the facility onto its own regular grid: (epoch_ms, step_ms, column -> values, inputs held over gaps)."""
    f, file = mapping.facility, folder / mapping.data.facility
    inputs = [*f.cooler_fan, *f.discharge]
    wanted = list(dict.fromkeys([*inputs, mapping.meter.heat, f.it_w]))
    table = _read(folder, mapping.data.facility, [f.time, *wanted])
    at_ms = instants_ms(table, f.time, file, HOW_TO_GET)
    epoch_ms, step_ms, row = _grid(at_ms, file, f.time, refused)
    columns, held = {}, 0
    for name in wanted:
        values = numbers(table, name, file)
        series = np.full(int(row.max()) + 1, np.nan)
        series[row[row >= 0][::-1]] = values[row >= 0][::-1]  # the first reading of an instant stays
        if name in inputs:
            held += int((~np.isfinite(series)).sum())
            series = _hold(series, f"{file}: {name}")
        elif name == f.it_w and np.isfinite(series).any():
            series = _hold(series, f"{file}: {name}")
        columns[name] = series
    return epoch_ms, step_ms, columns, held


def _grid(at_ms: Ints, file: Path, column: str, refused: dict[str, int]) -> tuple[int, int, Ints]:
    """Return the first instant, the usual spacing and each row's place on that grid (-1 where it has no time)."""
    timed = at_ms != NO_TIME_MS
    count_refused(refused, "facility row without a time", ~timed)
    instants = np.unique(at_ms[timed])
    if len(instants) < LEAST_READINGS:
        raise TelemetryError(str(file), f"{len(instants)} instants", f"at least {LEAST_READINGS}", HOW_TO_GET)
    step_ms = int(np.median(np.diff(instants)))
    row = np.where(timed, np.rint((at_ms - instants[0]) / step_ms), -1).astype(np.int64)
    if row.max() >= MOST_READINGS:
        raise TelemetryError(
            where=f"{file}: {column}",
            found=f"{row.max() + 1} steps of {step_ms / 1000:g} s from first to last",
            allowed=f"at most {MOST_READINGS}",
            cure="keep one day, or correct the times",
        )
    return int(instants[0]), step_ms, row


def _hold(series: Floats, where: str) -> Floats:
    """Fill gaps with the last reading, and the start with the first one."""
    seen = np.flatnonzero(np.isfinite(series))
    if not len(seen):
        raise TelemetryError(where, "no number", "readings of every cooler", HOW_TO_GET)
    last = np.maximum.accumulate(np.where(np.isfinite(series), np.arange(len(series)), seen[0]))
    return np.asarray(series[last])


def _polls(folder: Path, mapping: HallMapping, epoch_ms: int, span_ms: int, refused: dict[str, int]) -> Polls:
    """Read the polls; servers that never report power or fan speed are left out and counted."""
    m, file = mapping.servers, folder / mapping.data.servers
    table = _read(folder, mapping.data.servers, [m.time, m.rack, m.server, m.power, m.inlet, m.outlet, m.fan])
    at_ms = instants_ms(table, m.time, file, HOW_TO_GET)
    low, high = TEMPERATURES_C
    power, fan = _within(table, m.power, file, 0.0, 1e5), _within(table, m.fan, file, 1.0, 1e5)
    inlet, outlet = _within(table, m.inlet, file, low, high), _within(table, m.outlet, file, low, high)
    owner, of = np.unique(names(table, m.server), return_inverse=True)
    count_refused(refused, "server poll without a time", at_ms == NO_TIME_MS)
    reports = np.bincount(of, np.isfinite(power) & np.isfinite(fan), len(owner)) > 0
    count_refused(refused, "server poll of a machine without power or fan speed", ~reports[of])
    usable = reports[of] & (at_ms != NO_TIME_MS)
    outside = usable & ((at_ms < epoch_ms) | (at_ms >= epoch_ms + span_ms))
    count_refused(refused, "server poll outside the facility's readings", outside)
    keep = np.flatnonzero(usable & ~outside)
    keep = keep[np.lexsort((at_ms[keep], of[keep]))]
    again = np.zeros(len(keep), dtype=bool)
    again[1:] = (of[keep][1:] == of[keep][:-1]) & (at_ms[keep][1:] == at_ms[keep][:-1])
    count_refused(refused, "server poll that came twice", again)
    keep = keep[~again]
    if not len(keep):
        raise TelemetryError(str(file), f"{len(at_ms)} rows, none usable", "polls within the facility's", HOW_TO_GET)
    present, server = np.unique(of[keep], return_inverse=True)
    rack_names, rack = _racks(names(table, m.rack), of, present)
    return Polls(
        server=server.astype(np.int64),
        at_s=(at_ms[keep] - epoch_ms) / 1000.0,
        power_kw=power[keep] * KW_PER_W,
        inlet_c=inlet[keep],
        outlet_c=outlet[keep],
        fan_rpm=fan[keep],
        rack=rack,
        rack_names=rack_names,
    )


def _racks(rack_of_row: NDArray[np.str_], of: Ints, present: Ints) -> tuple[tuple[str, ...], Ints]:
    """Return the racks in order of number (or name) and each present server's rack: that of its first row."""
    first = np.full(int(of.max()) + 1, -1, dtype=np.int64)
    first[of[::-1]] = np.arange(len(of))[::-1]
    mine = rack_of_row[first[present]]
    ordered = sorted(
        set(mine.tolist()), key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)
    )
    place = {name: i for i, name in enumerate(ordered)}
    return tuple(ordered), np.array([place[name] for name in mine.tolist()], dtype=np.int64)


def _within(table: Any, column: str, file: Path, low: float, high: float) -> Floats:
    """Return a column with what no such sensor can read as NaN."""
    values = numbers(table, column, file)
    return np.where((values >= low) & (values <= high), values, np.nan)
