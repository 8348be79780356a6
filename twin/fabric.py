"""What the network can carry now: a part of `Derived`, computed anew only when a link, a switch or a job changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plant import network as N
from plant.site import Site
from twin.jobs import MOVING, RUNNING
from twin.layout import Array, Ints, Rows, some_rows
from twin.state import State

if TYPE_CHECKING:
    from twin.derived import Derived

Flags = NDArray[np.bool_]


class Fabric:
    """Capacities of leaves and of links between halls, per member row, with their dirty flags.

    Shapes: m rows, L leaves, H halls. Without a [[network]] only the links between halls are looked at.
    """

    def __init__(self, site: Site, state: State) -> None:
        """Everything is dirty at first."""
        m, net, halls = state.members, site.network, len(site.hall_ids)
        leaves = len(net.leaf_ids)
        self.site, self.state, self.net = site, state, net
        self.leaf_gb_per_s, self.gang_gb_per_s, self.leaf_loss = (np.zeros((m, leaves)) for _ in range(3))
        self.leaf_mask = np.zeros((m, leaves), dtype=np.uint64)
        self.hall_gb_per_s, self.hall_loss = np.zeros((m, halls, halls)), np.zeros((m, halls, halls))
        self.hall_rtt_s = np.full((halls, halls), N.HALL_RTT_S)
        for (a, b), delay_ms in zip(site.link_halls.tolist(), site.link_latency_ms.tolist(), strict=True):
            for one, other in ((a, b), (b, a)):
                self.hall_rtt_s[one, other] = max(self.hall_rtt_s[one, other], N.HALL_RTT_S + 2e-3 * delay_ms)
        self.hall_leaf = np.searchsorted(net.leaf_hall, np.arange(halls if net.present else 0))
        self.port_gb_per_s = float(net.node_gb_per_s.min(initial=np.inf))
        self.leaf_asked, self.hall_asked = np.zeros((m, leaves)), np.zeros((m, halls, halls))
        self.leaf_share, self.hall_share = np.ones((m, leaves)), np.ones((m, halls, halls))
        bits = net.uplink_bit.tolist()
        self.full_mask = np.array(
            [sum(bits[a:b]) for a, b in zip(net.leaf_start[:-1].tolist(), net.leaf_start[1:].tolist(), strict=True)],
            dtype=np.uint64,
        )
        # one hall, whole nodes: a leaf is asked for no more than all of its nodes want, and no copy asks what is left
        self.roomy = halls == 1 and float(state.jobs.share_frac.min(initial=1.0)) >= 1.0
        self.most_wanted = float(state.jobs.net_gb_per_s.max(initial=0.0))
        self.most_nodes = int(np.bincount(net.node_leaf, minlength=1).max()) if net.present else 0
        self.traffic_dirty = np.ones(m, dtype=bool)
        self.whole, self.tight = np.ones(m, dtype=bool), np.zeros(m, dtype=bool)
        # somebody waits for the network, or did at the last step
        self.watch: Flags = np.asarray((state.job_stall_ms >= 0).any(axis=1))
        self.fit(0)
        self.next_ms = np.zeros(m, dtype=np.int64)
        self.dirty = np.ones(m, dtype=bool)
        self.refresh()

    def fit(self, live: int) -> None:
        """Make room for the jobs that are there now."""
        m = self.state.members
        self.job_share, self.stalled = np.ones((m, live)), np.zeros((m, live), dtype=bool)
        self.traffic_dirty[...] = True

    def mark(self, rows: Rows | None = None) -> None:
        """Say that links or switches of some member rows changed."""
        self.dirty[slice(None) if rows is None else rows] = True

    def refresh(self) -> None:
        """Compute again the rows whose links or switches changed."""
        if self.dirty.any():
            rows = some_rows(self.dirty)
            self._between_halls(rows)
            if self.net.present:
                self._leaves(rows)
            self._next(rows)
            self.dirty[rows], self.traffic_dirty[rows] = False, True

    def _leaves(self, rows: Rows) -> None:
        s, first = self.state, len(self.site.link_ids)
        share, loss = N.uplink_share(
            self.net,
            s.link_phase[rows, first:],
            s.link_loss_frac[rows, first:],
            s.switch_phase[rows],
            s.switch_loss_frac[rows],
        )
        parts = N.leaf_capacity(self.net, share, loss)
        self.leaf_gb_per_s[rows], self.gang_gb_per_s[rows], self.leaf_loss[rows], self.leaf_mask[rows] = parts
        # every leaf reaches every spine it is wired to: no two can be apart, and a gang is slowed by load alone
        self.whole[rows] = (self.leaf_mask[rows] == self.full_mask).all(axis=1)

    def _between_halls(self, rows: Rows) -> None:
        """Links between halls add up; their loss is the worst that a stream may meet there; a hall needs a spine."""
        s, site = self.state, self.site
        phase, loss = s.link_phase[rows], s.link_loss_frac[rows]
        m, halls = len(phase), len(site.hall_ids)
        out, lost = np.zeros((m, halls, halls)), np.zeros((m, halls, halls))
        for e, (a, b) in enumerate(site.link_halls.tolist()):
            share = N.link_share(phase[:, e])
            carries = np.where(share > 0.0, loss[:, e], 0.0)
            for one, other in ((a, b), (b, a)):
                out[:, one, other] += share * site.link_each_gb_per_s[e]
                lost[:, one, other] = np.maximum(lost[:, one, other], carries)
        if self.net.present:
            border = self._border(rows)
            out *= (border[:, :, None] & border[:, None, :]).astype(np.float64)
        self.hall_gb_per_s[rows], self.hall_loss[rows] = out, lost

    def _border(self, rows: Rows) -> Flags:
        """Return which halls have a live spine (m, H)."""
        phase = self.state.switch_phase[rows][:, len(self.net.leaf_ids) :]
        live = N.link_share(phase) > 0.0
        halls = len(self.site.hall_ids)
        return np.stack([live[:, self.net.spine_hall == h].any(axis=1) for h in range(halls)], axis=1)

    def _next(self, rows: Rows) -> None:
        """When the next link or switch changes its phase by itself (m,)."""
        s = self.state
        both = np.concatenate([s.link_until_ms[rows], s.switch_until_ms[rows]], axis=1)
        self.next_ms[rows] = both.min(axis=1, initial=N.NEVER_MS)

    def closed_nodes(self) -> Flags:
        """Return which nodes take no new job (m, N): cordoned, kept warm, or on a leaf that is cut off."""
        cordon: Flags = self.state.node_cordon
        if self.site.faults.standbys:
            cordon = cordon | self.state.node_standby
        if not self.net.present or self.whole.all():
            return cordon
        cut = self.leaf_mask == 0
        return np.asarray(cordon | cut.take(self.net.node_leaf, axis=1)) if cut.any() else cordon

    def live_paths(self, rows: Ints) -> Ints:
        """Return how many live links each leaf has to live spines (len(rows), L)."""
        return np.bitwise_count(self.leaf_mask[rows]).astype(np.int64)


def refresh_traffic(d: Derived, rows: Rows) -> None:
    """Compute what gangs ask of leaves and of links between halls, and what each running job gets of it (rows, live).

    Called when jobs, links or switches of these rows changed, never by the clock.
    """
    f, s, t = d.fabric, d.state, d.state.jobs
    at = d.numbers(rows)
    at = at[f.traffic_dirty[at]]
    if not len(at) or not len(d.live):
        return
    rows = slice(None) if len(at) == s.members else at
    want = t.net_gb_per_s[d.live]
    if f.roomy and f.whole[at].all() and f.most_wanted * f.most_nodes <= f.gang_gb_per_s[at].min():
        f.job_share[rows], f.stalled[rows], f.traffic_dirty[rows], f.tight[rows] = 1.0, False, False, False
        _hold_to_port(f, rows, want)
        return
    d.kernels.traffic(
        at, d.live, s.job_phase, d.slot_start, s.slot_node, f.net.node_leaf, f.net.leaf_hall, want,
        f.gang_gb_per_s, f.leaf_asked, f.hall_asked, f.tight,
    )  # fmt: skip
    f.job_share[rows], f.stalled[rows], f.traffic_dirty[rows] = 1.0, False, False
    short = f.tight[at] | ~f.whole[at]
    if s.job_ahead.any():  # copies of jobs that work on take their part too
        short |= s.job_ahead[at].take(d.live, axis=1).any(axis=1)
    slow = at[short]
    if len(slow):
        _slowed(d, slow, want)
    _hold_to_port(f, rows, want)


def _hold_to_port(f: Fabric, rows: Rows, want: Array) -> None:
    """A gang that wants more than the port of a node carries gets what the port carries."""
    if want.max() > f.port_gb_per_s:
        f.job_share[rows] = np.minimum(f.job_share[rows], N.carried_frac(np.asarray(f.port_gb_per_s), want))


def _slowed(d: Derived, rows: Ints, want: Array) -> None:
    """Compute the shares of rows in which something is short: capacity, a path, or a link between halls."""
    f, s = d.fabric, d.state
    f.leaf_share[rows] = N.carried_frac(f.gang_gb_per_s[rows], f.leaf_asked[rows])
    if f.hall_asked[rows].any():  # else no gang spans halls and nobody reads the share
        free = f.hall_gb_per_s[rows] - _taken_by_copies(d, rows)
        f.hall_share[rows] = N.carried_frac(free * N.rdma_goodput_frac(f.hall_loss[rows]), f.hall_asked[rows])
    d.kernels.carried(
        rows, d.live, s.job_phase, d.slot_start, s.slot_node, f.net.node_leaf, f.net.leaf_hall, want,
        f.leaf_share, f.leaf_mask, f.hall_share, f.job_share,
    )  # fmt: skip
    standing = (d.live_phase[rows] == RUNNING) & (f.job_share[rows] <= 0.0)
    f.stalled[rows] = standing
    f.watch[rows] |= standing.any(axis=1)


def _taken_by_copies(d: Derived, rows: Ints) -> Array:
    """Return what copies under way may take of the links between halls (len(rows), H, H) [GB/s]."""
    f, s = d.fabric, d.state
    link = f.hall_gb_per_s[rows]
    at, column = np.nonzero((d.live_phase[rows] == MOVING) | s.job_ahead.take(d.live, axis=1)[rows])
    taken = np.zeros(link.shape)
    if len(at):
        job = d.live[column]
        a, b = np.maximum(s.job_hall[rows[at], job], 0), np.maximum(s.job_target[rows[at], job], 0)
        taken[at, a, b] = N.copies_gb_per_s(link, f.hall_asked[rows])[at, a, b]
    return taken


def moves_gb_per_s(fabric: Fabric, moving: Flags, source: Ints, target: Ints, width: Ints) -> Array:
    """Return what each moving job copies per second (m, jobs) [GB/s]; 0 where it does not move.

    source, target: halls (m, jobs); width: nodes of each job (jobs,). Copies share alike what gangs leave of the links
    between two halls, half of them at least, and of the uplinks inside, where COPIES_FRAC is kept from gangs.
    A copy has a fixed number of TCP streams, which loss slows down (Mathis), and no more than the ports of its nodes;
    it stops where no link or no live spine is left.
    """
    halls = fabric.hall_gb_per_s.shape[1]
    at = np.maximum(source, 0), np.maximum(target, 0)
    row = np.arange(len(moving))[:, None]
    pair = np.where(moving, at[0] * halls + at[1], 0) + row * halls * halls
    count = np.bincount(pair.ravel(), moving.ravel(), len(moving) * halls * halls)[pair]
    link, gangs = fabric.hall_gb_per_s.ravel()[pair], fabric.hall_asked.ravel()[pair]
    share = N.copies_gb_per_s(link, gangs) / np.maximum(count, 1.0)
    loss = fabric.hall_loss.ravel()[pair]
    if loss.any():
        share = np.minimum(share, N.TCP_STREAMS * N.tcp_gb_per_s(loss, fabric.hall_rtt_s[at]))
    if fabric.net.present:
        left = _left_in_halls(fabric)
        ends = np.stack([_count_by_hall(moving, hall, halls) for hall in at])
        for end, hall in zip(ends, at, strict=True):
            share = np.minimum(share, left[row, hall] / np.maximum(end[row, hall], 1.0))
        share = np.minimum(share, width * fabric.port_gb_per_s)
    return np.where(moving, share, 0.0)


def _count_by_hall(moving: Flags, hall: Ints, halls: int) -> Array:
    """Return how many copies begin or end in each hall (m, H)."""
    flat = np.where(moving, hall, 0) + np.arange(len(moving))[:, None] * halls
    return np.asarray(np.bincount(flat.ravel(), moving.ravel(), len(moving) * halls), np.float64).reshape(-1, halls)


def _left_in_halls(f: Fabric) -> Array:
    """Return what gangs leave of each hall's uplinks (m, H) [GB/s]."""
    capacity = np.add.reduceat(f.leaf_gb_per_s, f.hall_leaf, axis=1)
    return np.asarray(capacity - np.add.reduceat(np.minimum(f.leaf_asked, f.gang_gb_per_s), f.hall_leaf, axis=1))
