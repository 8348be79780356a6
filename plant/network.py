"""The network inside halls: leaf-spine fabrics compiled into arrays, and how their links carry traffic.

A node hangs on one leaf; a path between two leaves of a hall runs over any spine that both reach (equal-cost
multipath, no second hop up), so the links of a leaf are all its routes and nothing is searched for while the twin
runs. Between halls the path leaves over any live spine, the hall's border, and takes the site's links.
Constants: notes/incidents.md B.6 and C; `[assumed]` where no source gives a number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Flags = NDArray[np.bool_]
Masks = NDArray[np.uint64]
Phases = NDArray[np.int8]

UP, DOWN, FLAPPING, LOSSY, DISABLED = range(5)
"""Phases of links and switches: a grey switch is LOSSY; only links flap; DISABLED was taken out by a plan."""

NEVER_MS = 2**62
MOST_SPINES = 63  # the spines that a leaf reaches are one 64-bit mask

# A flap lasts seconds (MegaScale, notes B.6): 5 s in each minute of a flapping spell [assumed]
FLAP_DOWN_FRAC = 5.0 / 60.0

# RoCE goes back N packets at each loss: 100 Gbit/s x 10 us round trip / 4 KiB = 30 packets on the way [assumed]
RDMA_WINDOW_PACKETS = 30.0
TCP_SEGMENT_BITS = 8960 * 8.0  # jumbo frames [assumed]
TCP_CONSTANT = 1.2247448713915890  # sqrt(3/2): Mathis et al. 1997, one acknowledgement a segment
TCP_STREAMS = 8  # streams of one migration [assumed]
HALL_RTT_S = 100e-6  # round trip inside a hall [assumed]
GB_PER_GBIT = 0.125


# Kept of each leaf's uplinks for copies of state however busy gangs are [assumed], so that a move always ends
COPIES_FRAC = 0.05
# and of the links between halls: gangs and copies share them alike
COPIES_BETWEEN_FRAC = 0.5


@dataclass(frozen=True, eq=False)
class Network:
    """The fabrics of a site; all sizes are 0 where the site file has no [[network]].

    Shapes: L leaves, S spines, U uplinks (sorted by leaf), R racks, N nodes. Switches are the leaves, then the spines.
    """

    leaf_ids: tuple[str, ...]
    spine_ids: tuple[str, ...]
    uplink_ids: tuple[str, ...]
    leaf_hall: Ints
    spine_hall: Ints
    rack_leaf: Ints
    node_leaf: Ints
    node_gb_per_s: Floats
    uplink_leaf: Ints
    uplink_spine: Ints
    uplink_gb_per_s: Floats
    uplink_bit: Masks
    """The spine's bit in its hall's masks, (U,)."""
    leaf_start: Ints
    """(L+1,): uplinks of leaf l are leaf_start[l] .. leaf_start[l+1]-1."""
    leaf_keep: Ints
    """Live paths below which no plan may take a link of this leaf out, (L,)."""

    @property
    def present(self) -> bool:
        """Tell whether the site has a network at all."""
        return len(self.leaf_ids) > 0

    @property
    def switch_ids(self) -> tuple[str, ...]:
        """Ids of the leaves, then of the spines."""
        return (*self.leaf_ids, *self.spine_ids)


def uplink_share(
    net: Network, link_phase: Phases, link_loss: Floats, switch_phase: Phases, switch_loss: Floats
) -> tuple[Floats, Floats]:
    """Return what is left of each uplink and the share of frames it loses, both (m, U).

    link_*: (m, U); switch_*: (m, L+S). A link is gone with its own port, its leaf or its spine; a grey switch adds
    its loss to every link it has; a flapping link is away a fixed share of the time.
    """
    leaf, spine = net.uplink_leaf, net.uplink_spine + len(net.leaf_ids)
    lost = _gone(switch_phase)
    share = np.where(lost.take(leaf, axis=1) | lost.take(spine, axis=1), 0.0, link_share(link_phase))
    gone = share == 0.0
    kept = (1.0 - link_loss) * (1.0 - switch_loss.take(leaf, axis=1)) * (1.0 - switch_loss.take(spine, axis=1))
    return share, np.where(gone, 0.0, 1.0 - kept)


def link_share(phase: Phases) -> Floats:
    """Return the share of a link's capacity that its phase leaves."""
    return np.where(_gone(phase), 0.0, np.where(phase == FLAPPING, 1.0 - FLAP_DOWN_FRAC, 1.0))


def _gone(phase: Phases) -> Flags:
    return np.asarray((phase == DOWN) | (phase == DISABLED))


def rdma_goodput_frac(loss_frac: Floats) -> Floats:
    """Return the share of a link's capacity that go-back-N leaves at a loss of frames: (1-p) / (1 + (N-1) p).

    Each lost frame is sent again with the whole window behind it. 1 without loss, falls with loss, 0 at loss 1.
    """
    return np.asarray((1.0 - loss_frac) / (1.0 + (RDMA_WINDOW_PACKETS - 1.0) * loss_frac))


def tcp_gb_per_s(loss_frac: Floats, rtt_s: Floats) -> Floats:
    """Return what one TCP stream carries at a loss and a round trip [GB/s]: segment / rtt x sqrt(3/2) / sqrt(p).

    Mathis, Semke, Mahdavi, Ott 1997. Infinite without loss: then the link is the limit.
    """
    with np.errstate(divide="ignore"):
        gbit = TCP_SEGMENT_BITS * 1e-9 / rtt_s * TCP_CONSTANT / np.sqrt(loss_frac)
    return np.asarray(gbit * GB_PER_GBIT)


def leaf_capacity(net: Network, share: Floats, loss: Floats) -> tuple[Floats, Floats, Floats, Masks]:
    """Return of each leaf: capacity up [GB/s], what a gang gets of it [GB/s], worst loss, spines it reaches (m, L).

    Flows are hashed over the live links in equal parts and a collective waits for its slowest flow, so a gang gets
    all links at the goodput of the worst one; with frames lost by one link of many it is better off without it.
    COPIES_FRAC is kept from it.
    """
    begin = net.leaf_start[:-1]
    live = share > 0.0
    capacity = np.add.reduceat(share * net.uplink_gb_per_s, begin, axis=1)
    worst = np.where(live, rdma_goodput_frac(loss) * np.where(share < 1.0, share, 1.0), 1.0)
    links = np.add.reduceat(np.where(live, net.uplink_gb_per_s, 0.0), begin, axis=1)
    gang = (1.0 - COPIES_FRAC) * links * np.minimum.reduceat(worst, begin, axis=1)
    mask = np.bitwise_or.reduceat(np.where(live, net.uplink_bit, np.uint64(0)), begin, axis=1)
    return capacity, gang, np.maximum.reduceat(loss, begin, axis=1), mask


def carried_frac(capacity_gb_per_s: Floats, demand_gb_per_s: Floats) -> Floats:
    """Return the share of the demand that a link carries: all who use it are slowed alike; 0 without capacity."""
    wanted = np.maximum(demand_gb_per_s, 1e-300)
    return np.asarray(np.where(capacity_gb_per_s > 0.0, np.minimum(1.0, capacity_gb_per_s / wanted), 0.0))


def copies_gb_per_s(link_gb_per_s: Floats, gangs_gb_per_s: Floats) -> Floats:
    """Return what copies together may take of a link between halls: what gangs leave of it, their part at least."""
    return np.asarray(np.maximum(link_gb_per_s - gangs_gb_per_s, COPIES_BETWEEN_FRAC * link_gb_per_s))


def may_disable(live_paths: NDArray[np.int64], keep: NDArray[np.int64] | int) -> Flags:
    """CorrOpt's rule: a link of a leaf may be taken out only while the leaf keeps its least number of paths.

    Source: CorrOpt (SIGCOMM 2017) in notes/incidents.md B.6 and D.1: disable and reroute if the leaf keeps k paths.
    """
    return np.asarray(live_paths - 1 >= keep)
