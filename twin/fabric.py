"""What the network can carry now: a part of `Derived`, computed anew only when a link, a switch or a job changes.

Demand is summed in whole parts (plant/network.py), so that it may be kept up job by job and still equals, bit for bit,
what a restored run adds up from `State`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import network as N
from plant.site import Site
from twin.layout import Array, Ints, Rows, some_rows
from twin.state import State

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
        self.next_ms = np.zeros(m, dtype=np.int64)
        self.dirty = np.ones(m, dtype=bool)
        self.refresh()

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
            self.dirty[rows] = False

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

    def live_paths(self, rows: Ints) -> Ints:
        """Return how many live links each leaf has to live spines (len(rows), L)."""
        return np.bitwise_count(self.leaf_mask[rows]).astype(np.int64)


def moves_gb_per_s(fabric: Fabric, moving: Flags, source: Ints, target: Ints) -> Array:
    """Return what each moving job copies per second (m, jobs) [GB/s]; 0 where it does not move.

    source, target: halls (m, jobs). The jobs on the way between the same two halls share the links alike; a copy has
    a fixed number of TCP streams, which loss slows down (Mathis), and stops where no link or no live spine is left.
    """
    halls = fabric.hall_gb_per_s.shape[1]
    at = np.maximum(source, 0), np.maximum(target, 0)
    pair = np.where(moving, at[0] * halls + at[1], 0) + np.arange(len(moving))[:, None] * halls * halls
    count = np.bincount(pair.ravel(), moving.ravel(), len(moving) * halls * halls)
    share = fabric.hall_gb_per_s.ravel()[pair] / np.maximum(count[pair], 1.0)
    loss = fabric.hall_loss.ravel()[pair]
    if loss.any():
        share = np.minimum(share, N.TCP_STREAMS * N.tcp_gb_per_s(loss, fabric.hall_rtt_s[at]))
    return np.where(moving, share, 0.0)
