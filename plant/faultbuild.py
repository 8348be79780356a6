"""Compiles a fault file into `FaultLaws` for a site's node types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from plant.faultfile import WITHOUT_PART, FaultFile, FaultsTable, Kind
from plant.faults import FaultLaws

Array = NDArray[np.float64]
YEAR_S, DAY_S, HOUR_S = 365.25 * 86_400.0, 86_400.0, 3600.0


def compile_faults(
    table: FaultsTable, file: FaultFile, type_gpus: Sequence[int], without: Sequence[str] = ()
) -> FaultLaws:
    """Return the laws of a site: its [faults] table, the file that it names, the GPUs of each node type.

    without: kinds that something else models.
    """
    kinds = [k for k in file.kind if k.id not in without]
    pairs = [(1.0 / k.doubles_per_k if k.doubles_per_k else 0.0, k.load_doublings) for k in kinds]
    classes = sorted(set(pairs))
    share, median_s, sigma = _stages(kinds)
    return FaultLaws(
        name=file.name,
        kinds=tuple(k.id for k in kinds),
        kind_class=np.array([classes.index(pair) for pair in pairs], dtype=np.int64),
        doublings_per_k=_column(c[0] for c in classes),
        load_doublings=_column(c[1] for c in classes),
        type_rate_per_s=_rates(kinds, type_gpus),
        wear_shape=_column(k.wear_shape for k in kinds),
        beta=_column(k.beta for k in kinds),
        struck_mean=_column(k.struck_mean for k in kinds),
        needs_part=np.array([k.id not in WITHOUT_PART for k in kinds]),
        warning_none_frac=_column(k.warning.none_frac for k in kinds),
        lead_median_s=_column(k.warning.lead_median_h * HOUR_S for k in kinds),
        lead_sigma=_column(k.warning.lead_sigma for k in kinds),
        steepness=_column(k.warning.steepness for k in kinds),
        stage_share=share,
        stage_median_s=median_s,
        stage_sigma=sigma,
        lemon_frac=file.repeat.lemon_frac,
        lemon_factor=file.repeat.lemon_factor,
        p_cure=file.repeat.p_cure,
        p_repair_fails=file.repeat.p_repair_fails,
        return_median_s=file.repeat.return_median_h * HOUR_S,
        return_sigma=file.repeat.return_sigma,
        inlet_c=file.reference.inlet_c,
        load_frac=file.reference.load_frac,
        reference_age_s=file.reference.age_d * DAY_S,
        age_s=(table.age_d or file.reference.age_d) * DAY_S,
        crews=-1 if table.crews is None else table.crews,
        spares=-1 if table.spares is None else table.spares,
        standbys=table.standbys,
        restock_s=table.restock_d * DAY_S,
    )


def _column(values: Iterable[float]) -> Array:
    column = np.array(list(values), dtype=np.float64)
    column.flags.writeable = False
    return column


def _rates(kinds: list[Kind], type_gpus: Sequence[int]) -> Array:
    """First faults per second of one node of each type; a node without GPUs has no faults of GPUs."""
    rows = [[k.rate_per_y / YEAR_S * (gpus if k.per_gpu else 1) for k in kinds] for gpus in type_gpus]
    return np.array(rows, dtype=np.float64).reshape(len(type_gpus), len(kinds))


def _stages(kinds: list[Kind]) -> tuple[Array, Array, Array]:
    """Mixtures of repair times as rectangles (K, S): cumulative shares, medians [s], sigmas.

    Short mixtures repeat their last stage, which nothing reaches: its share stays at 1.
    """
    width = max(len(k.repair) for k in kinds)
    rows = [[*k.repair, *[k.repair[-1]] * (width - len(k.repair))] for k in kinds]
    share = np.ones((len(kinds), width))
    for i, k in enumerate(kinds):
        share[i, : len(k.repair) - 1] = np.cumsum([stage.share for stage in k.repair[:-1]])
    median_s = np.array([[stage.median_h * HOUR_S for stage in row] for row in rows])
    return share, median_s, np.array([[stage.sigma for stage in row] for row in rows])
