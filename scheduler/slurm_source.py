"""Utilisation of nodes from Slurm's profile plugin, as a source of telemetry: tasks added up by node and interval.

A node with accelerators is left out: what its CPUs do says little of what it does. So is one that Slurm does not know.
"""

from __future__ import annotations

from collections.abc import Iterable

from plant.errors import SourceUnavailable, StoreUnavailable
from scheduler.slurm_commands import Commands
from scheduler.slurm_nodes import nodes_of
from scheduler.slurm_profile import SlurmProfile
from twin.telemetry.samples import Gathered, Read, Series
from twin.telemetry.sources import Mark

MEASUREMENT, FIELD = "slurm_profile", "util_frac"
HISTORY_MS = 600_000
WINDOW_MS = 3_600_000
NODES_EVERY_MS = 3_600_000


class SlurmProfileSource:
    """`profile` says what tasks use, `commands` how many CPUs a node has; each interval of each node is told once.

    A node whose last task ended is told once more, as idle; then it is silent, as one that is down would be.
    """

    kind = "slurm_profile"

    def __init__(
        self,
        name: str,
        profile: SlurmProfile,
        commands: Commands,
        *,
        history_ms: int = HISTORY_MS,
        ask_interval: bool = False,
    ) -> None:
        """ask_interval: the interval of samples is as Slurm's configuration says."""
        self.name, self._ask_interval = name, ask_interval
        self._profile, self._commands, self._history_ms = profile, commands, history_ms
        self._until_ms: int | None = None
        self._busy: set[str] = set()
        self._cpus: dict[str, int] = {}
        self._nodes_ms = -NODES_EVERY_MS

    def poll(self, now_ms: int) -> Read:
        """The intervals that are complete since the last call, at most an hour of them; times are their ends."""
        self._know_nodes(now_ms)
        edge_ms, bin_ms = self._profile.edge_ms(now_ms), self._profile.bin_ms
        oldest_ms = edge_ms - max(self._history_ms // bin_ms, 1) * bin_ms
        begin_ms = oldest_ms if self._until_ms is None else max(self._until_ms, oldest_ms)
        begin_ms = begin_ms // bin_ms * bin_ms
        end_ms = min(edge_ms, begin_ms + max(WINDOW_MS // bin_ms, 1) * bin_ms)
        if end_ms <= begin_ms:
            return Gathered().read()
        try:
            places = self._profile.between(begin_ms, end_ms)
        except StoreUnavailable as error:
            raise SourceUnavailable(error.where, error.found, error.allowed, error.cure) from error
        except (ValueError, KeyError, TypeError) as error:
            raise SourceUnavailable(self.name, "the answer is no InfluxDB's", cure="correct the address") from error
        by_bin: dict[int, dict[str, float]] = {}
        for (_, host), bins in places.items():
            for at_ms, busy in bins.items():
                nodes = by_bin.setdefault(at_ms, {})
                nodes[host] = nodes.get(host, 0.0) + busy
        gathered = Gathered()
        for at_ms in range(begin_ms, end_ms, bin_ms):
            self._say(gathered, at_ms + bin_ms, by_bin.get(at_ms, {}))
        self._until_ms = end_ms
        return gathered.read(more=end_ms < edge_ms)

    def _say(self, gathered: Gathered, at_ms: int, busy: dict[str, float]) -> None:
        """One interval: nodes that were busy, and those that fell silent in it."""
        for host in sorted(self._known({*busy, *self._busy})):
            slot = gathered.slot(Series.of(MEASUREMENT, FIELD, {"host": host}))
            gathered.add(slot, at_ms, min(busy.get(host, 0.0) / self._cpus[host], 1.0))
        self._busy = set(busy)

    def _known(self, hosts: Iterable[str]) -> list[str]:
        return [host for host in hosts if host in self._cpus]

    def _know_nodes(self, now_ms: int) -> None:
        """Ask now and then how many CPUs each node has, and how often its tasks are looked at."""
        if now_ms - self._nodes_ms < NODES_EVERY_MS:
            return
        try:
            nodes = nodes_of(self._commands.nodes())
            if self._ask_interval:
                self._profile.sampled(self._commands.profile_every_s())
        except (ValueError, TypeError) as error:
            raise SourceUnavailable("slurm", f"an answer nobody understands: {error}", "nodes") from error
        self._cpus = {node.name: node.cpus for node in nodes if node.cpus and not node.gpus}
        self._nodes_ms = now_ms

    def mark(self) -> Mark:
        """The end of the last interval that was told, and who was busy in it."""
        return {} if self._until_ms is None else {"until_ms": self._until_ms, "busy": sorted(self._busy)}

    def resume(self, mark: Mark) -> None:
        """Go on behind a mark."""
        until_ms, busy = mark.get("until_ms"), mark.get("busy")
        self._until_ms = until_ms if isinstance(until_ms, int) else None
        self._busy = {str(host) for host in busy} if isinstance(busy, list) else set()

    def close(self) -> None:
        """Let go of the connections."""
        self._profile.close()
