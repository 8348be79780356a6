"""The tables of a fault file (data/faults/*.toml): how the parts of a node fail, warn and are repaired."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from plant.errors import ConfigError, Fault
from plant.files import load_toml, shipped
from plant.keys import Part, count, number, text

FOLDER = "faults"
KINDS = (
    *("gpu", "gpu_memory", "cpu", "memory", "board", "disk", "psu", "fan", "nic", "link", "software", "facility"),
    "unexplained",
)
"""Kinds of fault that take a node out of service, from its dearest part to what nobody explained."""
WITHOUT_PART = ("software", "facility", "unexplained")
"""Kinds whose repair takes no part from the shelf [assumed]."""


class Warning_(Part):
    """What shows before the fault: for how long, how steep, and how often nothing does."""

    none_frac: float = number("fraction", 0, 1, "share of faults without any warning")
    lead_median_h: float = number("h", 1e-4, 1e4, "median time from the first sign to the fault", 1.0)
    lead_sigma: float = number("ratio", 0, 4, "sigma of the logarithm of that time", 1.0)
    steepness: float = number("ratio", 0, 20, "0: signs grow linearly; above: exponentially, late", 3.0)


class Stage(Part):
    """One component of a repair-time mixture: lognormal."""

    share: float = number("fraction", 0, 1, "share of repairs of this length")
    median_h: float = number("h", 1e-4, 1e5, "median time until the node is back in service")
    sigma: float = number("ratio", 0, 5, "sigma of its logarithm")


class Kind(Part):
    """One kind of fault."""

    id: str = text("one of the known kinds", pattern="^(" + "|".join(KINDS) + ")$")
    rate_per_y: float = number("1/y", 0, 1e3, "first faults of an average node, or of one GPU with per_gpu")
    per_gpu: bool = Field(False, description="the rate is that of one GPU", json_schema_extra={"unit": "flag"})
    doubles_per_k: float | None = number("K", 1, 100, "inlet warming that doubles the hazard; absent: none does", None)
    load_doublings: float = number("ratio", 0, 10, "doublings of the hazard from idle to full load", 0.0)
    wear_shape: float = number("ratio", 0.3, 5, "Weibull shape over the age of the fleet; 1: no wear", 1.0)
    beta: float = number("fraction", 0, 1, "share of first faults whose cause strikes neighbours too", 0.0)
    struck_mean: float = number("count", 0, 256, "how many more nodes of the rack such a cause strikes on average", 0.0)
    warning: Warning_
    repair: tuple[Stage, ...] = Field(min_length=1, max_length=3, description="mixture of repair times")
    source: str = text("where the figures come from")


class Repeat(Part):
    """Why some nodes fail again and again: lemons, and repairs that only seem to have worked."""

    lemon_frac: float = number("fraction", 0, 0.5, "share of lemons among nodes")
    lemon_factor: float = number("ratio", 1, 1000, "hazard of a lemon over that of a good node")
    p_cure: float = number("fraction", 0, 1, "probability that a repair that works turns a lemon good")
    p_repair_fails: float = number("fraction", 0, 0.95, "probability that a repair leaves the cause in place, unseen")
    return_median_h: float = number("h", 1e-4, 1e4, "median time until the fault is back after such a repair")
    return_sigma: float = number("ratio", 0, 5, "sigma of its logarithm")


class Reference(Part):
    """The conditions under which the rates hold."""

    inlet_c: float = number("C", 5, 45, "inlet temperature")
    load_frac: float = number("fraction", 0, 1, "load")
    age_d: float = number("d", 1, 1e4, "age of the fleet")


class FaultFile(Part):
    """One table of fault kinds."""

    name: str = text("name for people")
    source: str = text("data behind the figures")
    reference: Reference
    repeat: Repeat
    kind: tuple[Kind, ...] = Field(min_length=1, description="kinds of fault")


class FaultsTable(Part):
    """The table [faults] of a site file: which fault file holds, and who repairs with what."""

    table: str = text("name of a shipped fault file, or path of one", "ai-cluster")
    crews: int | None = count(1, 10_000, "repairs that may go on at once; absent: no limit", None)
    spares: int | None = count(0, 1_000_000, "spare parts of each kind on the shelf; absent: no limit", None)
    standbys: int = count(0, 1000, "nodes of each type that each hall keeps warm for jobs whose node fails", 0)
    restock_d: float = number("d", 0.01, 1000, "days until a part that was taken is replaced", 14.0)
    age_d: float | None = number("d", 1, 1e4, "age of the fleet at the start; absent: the table's reference", None)


def load_faults(name: str | Path) -> FaultFile:
    """Read a fault file by path or shipped name; raises ConfigError with every fault."""
    return load_toml(shipped(FOLDER, name), FaultFile, ConfigError, [_shares, _once], FOLDER)


def _shares(file: FaultFile) -> list[Fault]:
    """The shares of every repair mixture must add up to one."""
    sums = [(i, k.id, sum(stage.share for stage in k.repair)) for i, k in enumerate(file.kind)]
    return [
        Fault(f"kind[{i}].repair", f"shares of '{name}' add up to {total:g}", "1", "correct the shares")
        for i, name, total in sums
        if abs(total - 1.0) > 1e-6
    ]


def _once(file: FaultFile) -> list[Fault]:
    """Each kind may stand in the table once."""
    ids = [k.id for k in file.kind]
    return [
        Fault(f"kind[{i}].id", f"'{name}' stands here again", "each kind once", "join the two")
        for i, name in enumerate(ids)
        if name in ids[:i]
    ]
