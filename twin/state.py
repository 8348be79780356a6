"""`State`: all that the twin remembers. Arrays (members, components), the agenda, the job table, a few numbers.

It holds no SimPy object; a fork is a copy of arrays and of one dictionary, and continues bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plant.errors import SnapshotMismatch
from plant.site import Site
from twin.agenda import Agenda
from twin.jobs import Jobs

Array = NDArray[Any]
NUMBERS = ("now_ms", "grid_ms", "step_ms", "calm_step_ms", "seed")
CALM_K = 0.1  # a longer step is allowed only while no temperature moved more than this in the last one


class State:
    """The memory of one ensemble of a site; `state.rack_air_c` is its array of that name (see twin/fields.py)."""

    # the arrays are the instance's dictionary and all else has a slot: reading an array is a plain attribute
    __slots__ = (
        "__dict__", "agenda", "backend", "calm_step_ms", "grid_ms", "jobs", "now_ms", "seed", "site_hash", "step_ms",
    )  # fmt: skip

    def __init__(
        self,
        arrays: dict[str, Array],
        agenda: Agenda,
        jobs: Jobs,
        *,
        now_ms: int,
        grid_ms: int,
        step_ms: int,
        seed: int,
        site_hash: str,
        calm_step_ms: int = 0,
        backend: str = "numpy",
    ) -> None:
        """Take over the parts as they are; now_ms and grid_ms (last grid point) are Unix milliseconds.

        calm_step_ms: the step while nothing moves, 0 for none (the live twin has none).
        """
        self.__dict__ = arrays
        self.agenda = agenda
        self.jobs = jobs
        self.now_ms = now_ms
        self.grid_ms = grid_ms
        self.step_ms = step_ms
        self.calm_step_ms = calm_step_ms
        self.seed = seed
        self.site_hash = site_hash
        self.backend = backend

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Array:
            """Return the array of that name."""
            ...

    @property
    def arrays(self) -> dict[str, Array]:
        """Return the arrays by name."""
        return self.__dict__

    @property
    def members(self) -> int:
        """Return the number of member rows."""
        return len(self.arrays["member"])

    @property
    def next_grid_ms(self) -> int:
        """The next grid point: one step on, or one calm step while no temperature moves."""
        calm = self.calm_step_ms > self.step_ms and bool((self.temp_moved_k <= CALM_K).all())
        return self.grid_ms + (self.calm_step_ms if calm else self.step_ms)

    def fork(self) -> State:
        """Return an independent copy that will continue exactly as this one."""
        return self._with({name: a.copy() for name, a in self.arrays.items()}, self.agenda.copy())

    def rows(self, index: Sequence[int]) -> State:
        """Return a copy made of some member rows, in that order; a row may be taken more than once."""
        take = np.asarray(index, dtype=np.intp)
        return self._with(
            {name: np.ascontiguousarray(a[take]) for name, a in self.arrays.items()},
            self.agenda.restrict([int(i) for i in index]),
        )

    def _with(self, arrays: dict[str, Array], agenda: Agenda) -> State:
        return State(
            arrays,
            agenda,
            self.jobs,
            now_ms=self.now_ms,
            grid_ms=self.grid_ms,
            step_ms=self.step_ms,
            calm_step_ms=self.calm_step_ms,
            seed=self.seed,
            site_hash=self.site_hash,
            backend=self.backend,
        )

    def digest(self) -> str:
        """Return the content hash: equal digests mean equal bits."""
        h = hashlib.sha256(self.jobs.digest().encode())
        h.update(repr([getattr(self, n) for n in (*NUMBERS, "site_hash", "backend")]).encode())
        h.update(repr((self.agenda.next_seq, sorted(self.agenda.entries.values()))).encode())
        for name in sorted(self.arrays):
            a = self.arrays[name]
            h.update(f"{name}{a.dtype.str}{a.shape}".encode())
            h.update(np.ascontiguousarray(a).data)
        return h.hexdigest()

    def check(self, site: Site) -> None:
        """Raise SnapshotMismatch with every fault unless this is a sound state of that site (twin/statecheck.py)."""
        from twin.statecheck import faults_of

        faults = faults_of(self, site)
        if faults:
            raise SnapshotMismatch(faults=faults)


def axis_shape(site: Site, jobs: Jobs, axis: str) -> tuple[int, ...]:
    """Return the shape of an array behind its member axis: () for one number per member."""
    if axis == "":
        return ()
    if axis == "job":
        return (len(jobs),)
    if axis == "part":
        return (len(site.faults.kinds) * max(site.faults.spares, 0),)
    if axis == "service":
        return (len(jobs.services),)
    if axis == "slot":
        return (int(jobs.slot_start[-1]),)
    if axis == "gpu_node":
        return (len(site.gpus.node),)
    return (len(site.components(axis)),)
