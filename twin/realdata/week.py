"""A week of a real cluster as arrays: what ran, how busy it was, what the meters read.

Files of others are read here and nowhere else; every missing file or column says how to get such files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.errors import ConfigError, TelemetryError
from twin.realdata.tables import NO_TIME_MS, Floats, Ints, count_refused, instants_ms, names, numbers, read_columns
from twin.realdata.weekmap import MS_PER, OWN_NAME, WeekMapping, load_mapping

MS_PER_S = 1000
MOST_SAMPLES = 10_000_000
HOW_TO_GET = (
    "such files are three tables: tasks (id, submission time in UTC, duration in ms, cores), fragments (task, CPU use"
    " in MHz over all its cores, one row per 30 s from its start), power (ms since the first submission, W of all"
    " hosts together); take them from the accounting of your scheduler (sacct), node monitoring and power meters, name"
    f" their columns in DIR/{OWN_NAME} (start from data/mappings/surf_week.toml), or use the SURF week:"
    " github atlarge-research/opendt, folder workload/SURF"
)


@dataclass(frozen=True)
class WeekData:
    """Jobs in, power out, on one clock.

    epoch_ms: Unix ms of the first submission. Tasks in order of start: task_ids, start_ms (T,) since the epoch,
    duration_ms (T,), cores (T,). The use of a task is profile_frac[profile_start[j]:profile_start[j + 1]], one value of
    node utilisation (0..1, per host it occupies) per step_ms; no_profile (T,) marks tasks that came without.
    power_kw (n,): sample i is the reading at (i + 1) * step_ms, NaN where none is. refused: rows left out, by reason.
    """

    mapping: WeekMapping
    epoch_ms: int
    step_ms: int
    task_ids: tuple[str, ...]
    start_ms: Ints
    duration_ms: Ints
    cores: Ints
    profile_start: Ints
    profile_frac: Floats
    no_profile: NDArray[np.bool_]
    power_kw: Floats
    refused: dict[str, int]

    @property
    def width(self) -> Ints:
        """Number of hosts each task occupies (T,)."""
        return np.asarray(np.maximum(1, -(-self.cores // self.mapping.hosts.cores)))

    @property
    def share_frac(self) -> Floats:
        """Share of each of its hosts' cores that a task holds (T,)."""
        return np.asarray(self.cores / (self.width * self.mapping.hosts.cores))


def load_week(path: str | Path) -> WeekData:
    """Read a folder of tasks, fragments and power. Raises ConfigError (mapping) or TelemetryError (contents)."""
    folder = Path(path)
    if not folder.is_dir():
        raise ConfigError(str(folder), "no such folder", "a folder with tasks, fragments and power", HOW_TO_GET)
    mapping = load_mapping(folder)
    refused: dict[str, int] = {}
    tasks = _tasks(folder, mapping, refused)
    start, frac, bare = _profiles(folder, mapping, tasks, refused)
    return WeekData(
        mapping=mapping,
        epoch_ms=tasks.pop("epoch_ms"),
        step_ms=round(mapping.fragments.step_s * MS_PER_S),
        profile_start=start,
        profile_frac=frac,
        no_profile=bare,
        power_kw=_power(folder, mapping, refused),
        refused=refused,
        **tasks,
    )


def _table(folder: Path, name: str, columns: list[str], as_dictionary: list[str] | None = None) -> Any:
    mapping = f"{folder / OWN_NAME} (start from data/mappings/surf_week.toml)"
    return read_columns(folder / name, columns, HOW_TO_GET, mapping, as_dictionary)


def _tasks(folder: Path, mapping: WeekMapping, refused: dict[str, int]) -> dict[str, Any]:
    """Read the tasks in order of start; rows without a time, a run time or cores are refused and counted."""
    m, file = mapping.tasks, folder / mapping.data.tasks
    table = _table(folder, mapping.data.tasks, [m.unit_id, m.time, m.duration, m.cores])
    at_ms = instants_ms(table, m.time, file, HOW_TO_GET)
    duration = numbers(table, m.duration, file) * MS_PER[m.duration_unit]
    cores = numbers(table, m.cores, file)
    most = mapping.hosts.count * mapping.hosts.cores
    bad = ~np.isfinite(duration) | (duration < 0) | ~(cores >= 1) | (cores > most) | (at_ms == NO_TIME_MS)
    count_refused(refused, "task without time, run time or cores, or larger than the site", bad)
    keep = np.flatnonzero(~bad)
    if not len(keep):
        raise TelemetryError(str(file), f"{len(bad)} rows, none usable", "tasks with time, run time, cores", HOW_TO_GET)
    keep = keep[np.argsort(at_ms[keep], kind="stable")]
    ids = names(table, m.unit_id)[keep]
    epoch_ms = int(at_ms[keep[0]])
    return {
        "epoch_ms": epoch_ms,
        "task_ids": tuple(ids.tolist()),
        "start_ms": at_ms[keep] - epoch_ms,
        "duration_ms": duration[keep].astype(np.int64),
        "cores": cores[keep].astype(np.int64),
    }


def _profiles(
    folder: Path, mapping: WeekMapping, tasks: dict[str, Any], refused: dict[str, int]
) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    """Read the use of each task as one CSR profile of node utilisation; a task without rows is idle or busy by rule."""
    m, file = mapping.fragments, folder / mapping.data.fragments
    table = _table(folder, mapping.data.fragments, [m.unit_id, m.usage], [m.unit_id])
    ids = table[m.unit_id].combine_chunks()
    ids = ids if hasattr(ids, "indices") else ids.dictionary_encode()
    usage = numbers(table, m.usage, file)
    tasks_n = len(tasks["task_ids"])
    row = {name: j for j, name in enumerate(tasks["task_ids"])}
    owner = np.array([row.get(str(v), -1) for v in ids.dictionary.to_pylist()], dtype=np.int64)[ids.indices.to_numpy()]
    bad = ~np.isfinite(usage) | (usage < 0)
    count_refused(refused, "fragment of an unknown task", owner < 0)
    count_refused(refused, "fragment without a usable number (taken as 0)", bad)
    # a bad number must not shift the rows behind it, so it stays in its place as 0
    usage = np.where(bad, 0.0, usage)
    known = np.flatnonzero(owner >= 0)
    known = known[np.argsort(owner[known], kind="stable")]
    lengths = np.bincount(owner[known], minlength=tasks_n)
    hosts = np.maximum(1, -(-tasks["cores"] // mapping.hosts.cores))
    frac = usage[known] / (hosts[owner[known]] * mapping.hosts.cores * mapping.hosts.core_mhz)
    count_refused(refused, "fragment above the host's capacity (taken as full)", frac > 1.0 + 1e-9)
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return start, np.minimum(frac, 1.0), lengths == 0


def _power(folder: Path, mapping: WeekMapping, refused: dict[str, int]) -> Floats:
    """Read the measured power on the step grid [kW]; readings off the grid go to the sample they are nearest to."""
    m, rule, file = mapping.power, mapping.rule[0], folder / mapping.data.power
    table = _table(folder, mapping.data.power, [m.time, rule.match])
    at_ms = numbers(table, m.time, file) * MS_PER[m.time_unit]
    value = numbers(table, rule.match, file) * rule.scale
    step_ms = mapping.fragments.step_s * MS_PER_S
    bad = ~np.isfinite(at_ms) | ~np.isfinite(value) | (value <= 0) | (at_ms < 0.5 * step_ms)
    count_refused(refused, "power reading without a usable time or value", bad)
    if bad.all():
        raise TelemetryError(str(file), f"{len(bad)} rows, none usable", "times and powers above 0", HOW_TO_GET)
    sample = np.rint(at_ms[~bad] / step_ms).astype(np.int64) - 1
    if sample.max() >= MOST_SAMPLES:
        raise TelemetryError(
            where=f"{file}: {m.time}",
            found=f"a reading {at_ms[~bad].max() / MS_PER['h']:.3g} h after the first submission",
            allowed=f"at most {MOST_SAMPLES} steps of {mapping.fragments.step_s:g} s",
            cure="correct [power] time_unit",
        )
    twice = len(sample) - len(np.unique(sample))
    if twice:
        refused["power reading for a sample that already has one"] = twice
    series = np.full(int(sample.max()) + 1, np.nan)
    # written last to first, so that the earliest reading of a sample stays
    series[sample[::-1]] = value[~bad][::-1]
    return series
