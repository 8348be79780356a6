"""The jobs of a real trace, scaled to the size of a site.

What a trace does not say (class, utilisation, accelerators) is drawn by the job's place in it, so that the same row of
a trace always becomes the same job: classes in the shares of C3O Table 2, utilisation as the class usually has.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plant.jobsample import SampleJob
from plant.site import Site
from plant.streams import uniform
from plant.workload import job_class
from twin.emulated_jobs import ACTIVITY, CPU_CLASSES, GPU_CLASSES
from twin.tracefile import HOUR_S, Trace

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MIN_RUN_S = 60.0
EDGE_FRAC = 0.02  # the first and the last share of the arrivals: a trace's ragged edges
BUSY_FRAC = 0.65
GRAIN_FRAC = (
    0.25  # a trace's one-core jobs, ten thousand at a time, would say nothing more about heat and loss [assumed]
)


class Sizes(NamedTuple):
    """What each job of a trace takes of a site (n,): nodes, share of each, accelerators, whether it needs them."""

    width: Floats
    share_frac: Floats
    gpus: Floats
    beside_gpus: Flags


class Piece(NamedTuple):
    """One job inside a window: arrival and run time [s], its row in the trace, which window."""

    at_s: float
    run_s: float
    row: int
    window: int


def site_jobs(
    trace: Trace,
    site: Site,
    *,
    hours: float = 24.0,
    from_h: float = 0.0,
    busy_frac: float = BUSY_FRAC,
    grain_frac: float = GRAIN_FRAC,
    seed: int = 0,
) -> tuple[SampleJob, ...]:
    """Return the jobs of `hours` of a trace in order of arrival, as many as keep busy_frac of the site's nodes at work.

    from_h counts from where the trace's ragged start ends. Jobs that run at that instant arrive at once with what they
    still have to do. A site larger than the trace's gets further windows of the same length laid over the first (each
    its own jobs), a smaller one every n-th job by luck; nodes with and without accelerators are scaled apart.
    grain_frac: the smallest share of a node that is given away; a smaller job takes that much.
    """
    sizes = _sizes(trace, site, grain_frac, seed)
    start, end = np.quantile(trace.arrival_s, [EDGE_FRAC, 1.0 - EDGE_FRAC])
    span_s = max(float(end - start), 1.0)
    inside = (trace.arrival_s >= start) & (trace.arrival_s < end)
    load = np.where(inside, sizes.width * sizes.share_frac * trace.run_s, 0.0) / span_s
    chosen: list[Piece] = []
    for is_gpu in (False, True):
        nodes = int(((site.node_gpus > 0) == is_gpu).sum())
        group = sizes.beside_gpus == is_gpu
        mean_nodes = float(load[group].sum())
        if nodes and mean_nodes > 0.0:
            times = busy_frac * nodes / mean_nodes
            chosen += _windows(trace, group, start + from_h * HOUR_S, hours * HOUR_S, span_s, times, seed)
    kinds, use = _kinds(trace, sizes, seed), 0.85 + 0.3 * uniform(seed, "trace use", 0, trace.keys)
    return tuple(_job(trace, sizes, kinds, use, piece) for piece in sorted(chosen))


def _sizes(trace: Trace, site: Site, grain_frac: float, seed: int) -> Sizes:
    """Fit every job to the nodes of the site; one wider than all of them takes them all."""
    has_gpus = int(site.node_gpus.max(initial=0)) > 0
    luck = uniform(seed, "trace accelerator", 0, trace.keys)
    mixed = sum(job_class(n).share_frac for n in GPU_CLASSES)
    beside = np.where(trace.gpus < 0.0, luck < mixed, trace.gpus > 0.0) & has_gpus
    per_node = float(site.node_gpus.max(initial=1))
    cores = np.where(beside, _cores(site, True), _cores(site, False))
    # a job known by its processors alone takes the accelerators that belong to them
    need = np.where(beside & (trace.gpus > 0.0), trace.gpus / max(per_node, 1.0), trace.cores / cores)
    widths = np.minimum(np.maximum(np.ceil(need), 1.0), _most(site, beside))
    shares = np.clip(need / widths, grain_frac, 1.0)
    gpus = np.where(beside, np.maximum(np.ceil(widths * shares * per_node - 1e-9), 1.0), 0.0)
    return Sizes(widths, shares, np.minimum(gpus, widths * per_node), beside)


def _cores(site: Site, with_gpus: bool) -> float:
    of = site.node_cores[(site.node_gpus > 0) == with_gpus]
    return float(np.median(of if len(of) else site.node_cores))


def _most(site: Site, beside: Flags) -> Floats:
    gpu_nodes = max(int((site.node_gpus > 0).sum()), 1)
    cpu_nodes = max(int((site.node_gpus == 0).sum()), 1)
    return np.where(beside, float(gpu_nodes), float(cpu_nodes))


def _windows(
    trace: Trace, group: Flags, from_s: float, length_s: float, span_s: float, times: float, seed: int
) -> list[Piece]:
    """Return the jobs of a group in `times` windows laid over each other; the last one is thinned."""
    out: list[Piece] = []
    first_s = float(np.quantile(trace.arrival_s, EDGE_FRAC))
    index = np.flatnonzero(group)
    luck = uniform(seed, "trace thinning", 0, trace.keys)[index]
    for copy in range(int(np.ceil(times))):
        begin = first_s + (from_s - first_s + copy * length_s) % span_s
        at, ends = trace.arrival_s[index] - begin, trace.arrival_s[index] + trace.run_s[index] - begin
        there = (ends > MIN_RUN_S) & (at < length_s) & (luck < times - copy)
        begun = np.maximum(at[there], 0.0)
        left = np.maximum(ends[there] - begun, MIN_RUN_S)
        rows = zip(begun.tolist(), left.tolist(), index[there].tolist(), strict=True)
        out += [Piece(at_s, run_s, row, copy) for at_s, run_s, row in rows]
    return out


def _job(trace: Trace, sizes: Sizes, kinds: tuple[str, ...], use: Floats, piece: Piece) -> SampleJob:
    i = piece.row
    return SampleJob(
        id=f"{trace.name}-{i}" + (f"-{piece.window}" if piece.window else ""),
        job_class=kinds[i],
        arrival_s=round(piece.at_s, 3),
        run_s=round(piece.run_s, 3),
        width_nodes=int(sizes.width[i]),
        share_frac=round(float(sizes.share_frac[i]), 6),
        gpus=int(sizes.gpus[i]),
        activity_frac=round(min(ACTIVITY[kinds[i]] * float(use[i]), 1.0), 3),
    )


def _kinds(trace: Trace, sizes: Sizes, seed: int) -> tuple[str, ...]:
    """Return each job's class: what the trace says, else drawn by the shares of C3O Table 2 among those that fit."""
    luck = uniform(seed, "trace class", 0, trace.keys)
    drawn = []
    for names in (CPU_CLASSES, GPU_CLASSES):
        shares = np.cumsum([job_class(n).share_frac for n in names])
        drawn.append(np.array(names)[np.searchsorted(shares, luck * shares[-1], side="right")])
    mine = np.where(sizes.beside_gpus, drawn[1], drawn[0]).tolist()
    return tuple(told or own for told, own in zip(trace.job_class, mine, strict=True))
