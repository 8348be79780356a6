"""Fan-out: the same work on one core or many, with the backend as a setting; the answer never depends on either.

`each` runs calls through joblib; `run_blocks` runs the members of one State in blocks of rows and joins them. Rows are
independent, so every array of the joined State has the bits of the State run whole; its digest depends on the size of
the blocks only (entries that members wrote for themselves stand in the agenda block by block).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np

from plant.errors import ConfigError, SnapshotMismatch
from plant.site import Site
from twin.agenda import Agenda, Entry
from twin.dispatch import Dispatcher, first_fit
from twin.drivers import Drivers
from twin.engine import run
from twin.state import State

Backend = Literal["loky", "threading", "ray"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
BLOCK_ROWS = 32  # 16 to 64 rows cost the same per row


def each(
    act: Callable[..., Any], calls: Sequence[tuple[Any, ...]], workers: int = 1, backend: str = "loky"
) -> list[Any]:
    """Return act(*call) for every call, in order. loky: processes here; threading: threads here; ray: a cluster.

    Raises ConfigError for a backend that does not exist or is not installed; one worker or one call needs none.
    """
    return list(flow(act, calls, workers, backend))


def flow(
    act: Callable[..., Any], calls: Sequence[tuple[Any, ...]], workers: int = 1, backend: str = "loky"
) -> Iterator[Any]:
    """Yield act(*call) for every call, in order, each as soon as it and those before it are done."""
    check_backend(backend)
    if workers == 1 or len(calls) <= 1:
        for call in calls:
            yield act(*call)
        return
    import joblib

    how = "list" if backend == "ray" else "generator"
    yield from joblib.Parallel(n_jobs=workers, backend=backend, return_as=how)(
        joblib.delayed(act)(*call) for call in calls
    )


def check_backend(backend: str) -> None:
    """Make the backend ready; raises ConfigError when there is none of that name, or ray is not installed."""
    if backend not in BACKENDS:
        raise ConfigError(
            "loop.backend", f"'{backend}'", f"one of {' '.join(BACKENDS)}", "loky is the one for one machine"
        )
    if backend == "ray":
        try:
            from ray.util.joblib import register_ray
        except ImportError:
            cure = "pip install ray in the same environment, or take loky"
            raise ConfigError("loop.backend", "ray is not installed", "loky or threading", cure) from None
        register_ray()


def warm(workers: int, backend: str = "loky", calls_per_worker: int = 1) -> None:
    """Start the workers and let them import before they are needed: the first work then does not wait."""
    if workers > 1:
        each(_ready, [()] * (workers * calls_per_worker), workers, backend)


def _ready() -> str:
    from twin import engine, kernels

    kernels.kernels(kernels.DEFAULT)
    return engine.__name__


def run_blocks(
    state: State,
    site: Site,
    until_ms: int,
    *,
    workers: int = 1,
    backend: str = "loky",
    block_rows: int = BLOCK_ROWS,
    choose: Dispatcher = first_fit,
    drivers: Drivers | None = None,
) -> State:
    """Run each block of member rows to until_ms (Unix ms) and return them joined; `state` stays as it is.

    Raises SnapshotMismatch for a State with a calm step: its blocks would walk different grids.
    """
    if state.calm_step_ms:
        found, cure = f"a calm step of {state.calm_step_ms} ms", "set calm_step_ms to 0, or run the blocks as futures"
        raise SnapshotMismatch("state.calm_step_ms", found, "0 where rows are run in blocks", cure)
    rows = [list(range(at, min(at + block_rows, state.members))) for at in range(0, state.members, block_rows)]
    calls = [(state.rows(block), site, until_ms, choose, drivers) for block in rows]
    return join(each(_run, calls, workers, backend), rows)


def _run(state: State, site: Site, until_ms: int, choose: Dispatcher, drivers: Drivers | None) -> State:
    return run(state, site, until_ms, choose=choose, drivers=drivers)


def join(parts: Sequence[State], rows: Sequence[Sequence[int]]) -> State:
    """Return one State of blocks that ran apart to one instant; rows[k] are the member rows of parts[k]."""
    order = np.argsort(np.concatenate([np.asarray(block) for block in rows]), kind="stable")
    first = parts[0]
    arrays = {
        name: np.ascontiguousarray(np.concatenate([p.arrays[name] for p in parts])[order]) for name in first.arrays
    }
    whole = first.fork()
    whole.arrays.update(arrays)
    whole.agenda = join_agendas([p.agenda for p in parts], rows)
    return whole


def join_agendas(parts: Sequence[Agenda], rows: Sequence[Sequence[int]]) -> Agenda:
    """Return one agenda of several blocks: what concerns all members once, what members have of their own by block.

    Within each block the order of happening is kept: between two entries that all blocks share stand first the entries
    of the first block, then those of the second, and so on.
    """
    queues = [sorted(p.entries.values()) for p in parts]
    shared = [[i for i, e in enumerate(q) if e.rows is None] for q in queues]
    same = all(
        [_key(queues[0][i]) for i in shared[0]] == [_key(q[i]) for i in s] for q, s in zip(queues, shared, strict=True)
    )
    out = Agenda(next_seq=max(p.next_seq for p in parts))
    cuts = [[*s, len(q)] if same else [len(q)] for q, s in zip(queues, shared, strict=True)]
    at = [0] * len(parts)
    for k in range(len(cuts[0])):
        for b, queue in enumerate(queues):
            for entry in queue[at[b] : cuts[b][k]]:
                _write(out, entry, tuple(rows[b]) if entry.rows is None else tuple(rows[b][r] for r in entry.rows))
            at[b] = cuts[b][k] + 1
        if cuts[0][k] < len(queues[0]):
            _write(out, queues[0][cuts[0][k]], None)
    return out


def _key(entry: Entry) -> tuple[Any, ...]:
    return (entry.due_ms, entry.kind, entry.component, entry.phase, entry.data)


def _write(out: Agenda, entry: Entry, rows: tuple[int, ...] | None) -> None:
    out.add(entry.due_ms, entry.kind, entry.component, entry.phase, dict(entry.data), rows)
