"""Services with replicas: what is offered to them, what they answer, and whether they answer in time.

A replica is a job of its own, so that losing a node takes one replica and not the service. Requests are shared alike by
the replicas that run: an M/M/c queue of all their servers at their mean speed (`plant/queueing.py`). A service delivers
the share of its requests that it can answer; answers later than its class promises count apart, as time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plant import queueing

if TYPE_CHECKING:
    from twin.derived import Derived
    from twin.layout import Rows

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
NEVER_MS = 2**62


@dataclass(frozen=True, slots=True)
class Services:
    """Services, one value each (S,): requests offered per second on average, mean time one takes a server [s],
    the limit [s] that all but tail_frac of the answers must keep.

    factor (S, P): the offered rate over its mean in each step of step_s, again and again, the first at Unix time 0
    (24 steps of an hour are a day in UTC).
    """

    names: tuple[str, ...]
    offered_per_s: Floats
    request_s: Floats
    limit_s: Floats
    tail_frac: Floats
    factor: Floats
    step_s: float = 3600.0

    def __len__(self) -> int:
        """Return the number of services."""
        return len(self.names)

    def offered(self, now_ms: int) -> Floats:
        """Return the requests offered per second at an instant (S,)."""
        return np.asarray(self.offered_per_s * self.swing(now_ms))

    def swing(self, now_ms: int) -> Floats:
        """Return the offered rate at an instant over its mean (S,)."""
        return np.asarray(self.factor[:, (now_ms // int(self.step_s * 1000)) % self.factor.shape[1]])

    def changes_ms(self, now_ms: int) -> int:
        """Return when the offered rates change next."""
        step_ms = int(self.step_s * 1000)
        return NEVER_MS if self.factor.shape[1] == 1 else (now_ms // step_ms + 1) * step_ms

    def digest(self) -> str:
        """Return a hash of the whole table."""
        h = hashlib.sha256(f"{self.names}{self.step_s}".encode())
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                h.update(f"{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
        return h.hexdigest()

    def joined(self, more: Services) -> Services:
        """Return one table with `more` after this one; a table of none takes the other's steps."""
        if not len(self) or not len(more):
            return more if not len(self) else self
        if self.factor.shape[1] != more.factor.shape[1] or self.step_s != more.step_s:
            raise ValueError("services whose rates change in different steps cannot stand in one table")
        mine = {f.name: (getattr(self, f.name), getattr(more, f.name)) for f in fields(self) if f.name != "step_s"}
        names = self.names + more.names
        arrays = {name: np.concatenate(pair) for name, pair in mine.items() if name != "names"}
        return Services(names=names, step_s=self.step_s, **arrays)


def make_services(
    names: list[str],
    *,
    offered_per_s: Floats,
    request_s: Floats,
    limit_s: Floats,
    tail_frac: Floats | float = 0.01,
    factor: Floats | None = None,
    step_s: float = 3600.0,
) -> Services:
    """Return a table of services; without factor the offered rates are steady."""
    n = len(names)
    swing = (
        np.ones((n, 1))
        if factor is None
        else np.broadcast_to(np.asarray(factor, dtype=np.float64), (n, np.shape(factor)[-1]))
    )
    return Services(
        tuple(names),
        np.asarray(offered_per_s, dtype=np.float64),
        np.asarray(request_s, dtype=np.float64),
        np.asarray(limit_s, dtype=np.float64),
        np.broadcast_to(np.asarray(tail_frac, dtype=np.float64), (n,)).copy(),
        np.ascontiguousarray(swing),
        step_s,
    )


NONE = make_services([], offered_per_s=np.zeros(0), request_s=np.zeros(0), limit_s=np.zeros(0))


class ServiceView:
    """What follows from a State about its services: the share each delivers and whether it answers late (M, S)."""

    def __init__(self, d: Derived) -> None:
        """Nothing is known yet; the first refresh computes every row."""
        t, m = d.state.jobs, d.state.members
        self.table, self.of_job, self.servers = t.services, t.service, t.servers.astype(np.float64)
        there = self.of_job >= 0
        self.all_servers = np.maximum(np.bincount(self.of_job[there], self.servers[there], len(self.table)), 1e-12)
        self.delivered_frac, self.late = np.ones((m, len(self.table))), np.zeros((m, len(self.table)), dtype=bool)
        # what the answers follow from: servers that run, the same with their speed, servers asked for, requests offered
        self._inputs = np.full((m, 4, len(self.table)), np.nan)
        self.any_late = self.any_short = False
        self.due_ms = 0

    @property
    def offered(self) -> Floats:
        """Requests per second that are asked of each service (M, S)."""
        return self._inputs[:, 3]

    def share(self, d: Derived, rows: Rows, asked: Flags, speed: Floats) -> Floats:
        """Return the share that live jobs give of what is demanded (rows, live): a replica's is that of its service."""
        of = self.of_job[d.live]
        self.due_ms = self.table.changes_ms(d.state.grid_ms)
        self._refresh(d, rows, of, asked, speed)
        if self.any_short:
            return np.where(of >= 0, self.delivered_frac[rows].take(np.maximum(of, 0), axis=1), speed)
        return np.where(of >= 0, 1.0, speed)

    def _refresh(self, d: Derived, rows: Rows, of: Ints, asked: Flags, speed: Floats) -> None:
        now = np.empty((len(speed), 4, len(self.table)))
        d.kernels.replica_sums(of, self.servers[d.live], speed, asked, now[:, :3])
        now[:, 3] = self.table.offered(d.state.grid_ms) * now[:, 2] / self.all_servers
        numbers = d.numbers(rows)
        changed = (self._inputs[numbers] != now).any(axis=(1, 2))
        if changed.any():
            self._inputs[numbers[changed]] = now[changed]
            self._judge(numbers[changed], now[changed])

    def _judge(self, rows: Ints, now: Floats) -> None:
        run, fast, offered, t = now[:, 0], now[:, 1], now[:, 3], self.table
        mu = fast / np.maximum(run, 1.0) / t.request_s
        self.delivered_frac[rows] = queueing.delivered_frac(run, offered, mu)
        self.late[rows] = queueing.late_frac(run.astype(np.int64), offered, mu, t.limit_s) > t.tail_frac
        self.any_late, self.any_short = bool(self.late.any()), bool((self.delivered_frac < 1.0).any())


def count_services(d: Derived, dt_s: float) -> None:
    """Add up the time in which services answered late, and the requests that were not answered, of one step."""
    view, s = d.services, d.state
    if view is not None and view.any_late:
        s.service_late_s[...] += view.late * dt_s
    if view is not None and view.any_short:
        s.requests_lost[...] += (1.0 - view.delivered_frac) * view.offered * dt_s


def late_min(late_s: Floats, weight: Floats) -> Floats:
    """Return late time as minutes of all services, by their weight (members,); 0 without services."""
    total = float(weight.sum())
    return np.asarray((late_s * weight).sum(axis=1) / (60.0 * total)) if total > 0.0 else np.zeros(len(late_s))
