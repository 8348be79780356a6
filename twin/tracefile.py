"""Real traces of jobs and of request rates, read from Parquet column by column.

Two layouts of jobs are known by their columns: re-sampled cluster traces (`arrival_time` and `length` in hours, `cpus`:
Alibaba PAI 2020, Azure VM, both from umassos/GAIA) and Alibaba's GPU pods of 2023 (`scheduled_time` ... in seconds,
`num_gpu`, `gpu_milli`, `qos`). Two layouts of rates: one row per request (`time`: Azure LLM 2023), one row per hour
(`requests` or `cpu_load`: Wikipedia, Google, Alibaba).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.errors import TelemetryError
from plant.streams import component_keys

Floats = NDArray[np.float64]
HOUR_S = 3600.0


@dataclass(frozen=True, eq=False)
class Trace:
    """One value per job (n,): arrival and run time [s], cores, GPUs (a share of one counts), class or "" for unknown.

    gpus is -1 where the trace does not tell accelerators from processors.
    """

    name: str
    arrival_s: Floats
    run_s: Floats
    cores: Floats
    gpus: Floats
    job_class: tuple[str, ...]

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """What the luck of each job goes by (n,): its place in the trace."""
        return component_keys(f"{self.name}-{i}" for i in range(len(self.arrival_s)))


def read_trace(path: str | Path) -> Trace:
    """Read a job trace; raises TelemetryError when the file is missing, is no Parquet, or has neither layout."""
    file = Path(path)
    names = _columns_of(file)
    for columns, make in _LAYOUTS:
        if set(columns) <= set(names):
            return make(file.stem, _columns(file, columns))
    raise _unknown(file, names, [columns for columns, _ in _LAYOUTS])


def _resampled(name: str, t: dict[str, Any]) -> Trace:
    cores = t["cpus"].astype(np.float64)
    run_s = t["length"] * HOUR_S
    # Azure's machines carry no accelerators; of a GPU cluster (PAI) the table keeps only the processors
    gpus = np.full(len(cores), 0.0 if "azure" in name or "vm" in name else -1.0)
    return Trace(name, t["arrival_time"] * HOUR_S, run_s, cores, gpus, ("",) * len(cores))


# What a pod's quality of service and accelerators say about its class [assumed]: latency-sensitive pods serve people
_POD_CLASS = {("LS", True): "inference", ("LS", False): "web", ("Guaranteed", True): "inference",
              ("Guaranteed", False): "web", ("BE", True): "training", ("BE", False): "big_data",
              ("Burstable", True): "training", ("Burstable", False): "scientific"}  # fmt: skip


def _pods(name: str, t: dict[str, Any]) -> Trace:
    ran = ~np.isnan(t["scheduled_time"])
    begun = np.where(ran, t["scheduled_time"], 0.0)
    ran &= t["deletion_time"] > begun
    gpus = (t["num_gpu"] * t["gpu_milli"] / 1000.0)[ran]
    kinds = tuple(_POD_CLASS.get((q, bool(g > 0)), "") for q, g in zip(t["qos"][ran].tolist(), gpus, strict=True))
    return Trace(name, begun[ran], (t["deletion_time"] - begun)[ran], t["cpu_milli"][ran] / 1000.0, gpus, kinds)


_LAYOUTS: tuple[tuple[tuple[str, ...], Callable[[str, dict[str, Any]], Trace]], ...] = (
    (("arrival_time", "length", "cpus"), _resampled),
    (("scheduled_time", "deletion_time", "cpu_milli", "num_gpu", "gpu_milli", "qos"), _pods),
)


def read_rates(path: str | Path, step_s: float = 60.0) -> Floats:
    """Return a rate over time (steps,): requests per second in steps of step_s, or hourly values over their mean.

    Raises TelemetryError when the file is missing, is no Parquet, or has none of the columns time, requests, cpu_load.
    """
    file = Path(path)
    names = _columns_of(file)
    if "time" in names:
        at_s = _columns(file, ("time",))["time"].astype("datetime64[ns]").astype(np.int64) / 1e9
        steps = np.maximum(int((at_s.max() - at_s.min()) // step_s), 1)
        counts, _ = np.histogram(at_s - at_s.min(), bins=steps, range=(0.0, steps * step_s))
        return np.asarray(counts / step_s)
    for column in ("requests", "cpu_load"):
        if column in names:
            values = _columns(file, (column,))[column].astype(np.float64)
            return np.asarray(values / values.mean())
    raise _unknown(file, names, [("time",), ("requests",), ("cpu_load",)])


def read_swing(path: str | Path, step_s: float = 60.0) -> tuple[Floats, float]:
    """Return how requests swing around their mean (steps,), and the length of a step [s], as services take them.

    Traces of single requests are counted in steps of step_s, hourly ones keep their hours.
    """
    rates = read_rates(path, step_s)
    hourly = "time" not in _columns_of(Path(path))
    return np.asarray(rates / rates.mean()), HOUR_S if hourly else step_s


def _columns_of(file: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file():
        raise TelemetryError(str(file), "no such file", "a Parquet file", "name the trace's file")
    try:
        return [str(name) for name in pq.read_schema(file).names]
    except pa.ArrowInvalid as error:
        cure = "save the trace as Parquet, or write a job table like data/jobs/sample.csv"
        raise TelemetryError(file.name, str(error).splitlines()[0], "a Parquet file", cure) from None


def _columns(file: Path, names: tuple[str, ...]) -> dict[str, Any]:
    import pyarrow.parquet as pq

    table = pq.read_table(file, columns=list(names))
    return {name: table[name].to_numpy() for name in names}


def _unknown(file: Path, names: list[str], layouts: list[tuple[str, ...]]) -> TelemetryError:
    allowed = " or ".join("{" + ", ".join(one) + "}" for one in layouts)
    return TelemetryError(file.name, f"columns {', '.join(names)}", allowed, "rename the columns, or use another trace")
