"""Histories of one gang job on servers that fail and are repaired, where nobody asks for power, heat or air.

The flows of the twin need a grid; without them nothing happens between two happenings, so a history jumps from one to
the next. All members are advanced together, one stop of the job per pass. Laws and random streams are the twin's own
(`plant/faults.py`, `plant/repair.py`, `plant/streams.py`): one threshold per life, the first of many failures from the
summed hazard.

Servers of one kind (good or lemon) that do the same thing are exchangeable, so a member is a handful of counts, not a
list of 4,360 servers: which of them failed is one draw over kinds, and who is chosen by host selection is a draw of
lots. Whether an idle server is a lemon is drawn when it is first needed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plant import faults, lots, streams
from plant.reliabilityfile import ReliabilityCase

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

NEVER_MS = np.int64(2**62)
BLOCK = 256  # stops whose luck is drawn at once
MS_PER_MIN, MS_PER_D = 60_000, 86_400_000


class Histories(NamedTuple):
    """What came of each member (members,)."""

    training_min: Array
    failures: Ints
    manual_repairs: Ints
    host_selections: Ints
    spares_moved: Ints


class Luck(NamedTuple):
    """Random numbers of a block of stops, each (stops, members)."""

    life: Array  # unit exponential: hazard until the first server fails
    culprit: Array
    auto_life: Array
    manual_life: Array
    escalates: Array
    cause_stays: Array
    standby: Array
    selection: Array


PURPOSES = (
    *("gang life", "gang culprit", "repair auto", "repair manual", "repair escalates", "repair cause stays"),
    *("standby kind", "host selection"),
)
EXPONENTIAL = {"gang life", "repair auto", "repair manual"}


def draw_luck(seed: int, member: Ints, first: int) -> Luck:
    """Draw the luck of stops first..first+BLOCK-1: a pure function of (seed, purpose, member id, stop)."""
    key = streams.component_key("gang")
    stop = np.arange(first, first + BLOCK)[:, None]
    drawn = (
        (streams.exponential if purpose in EXPONENTIAL else streams.uniform)(seed, purpose, member[None, :], key, stop)
        for purpose in PURPOSES
    )
    return Luck(*drawn)


class Pool:
    """Where the servers of each member are; all arrays start with the members that are still at work.

    active_bad: lemons in the gang. bag_*: servers of the pool outside the gang since the last host selection, of which
    bag_standbys are warm and none is known to be a lemon yet. back_*: repaired since then and warm, in order, one bit
    each. idle_*: repaired since then and not warm. spare_*: not fetched yet. repair_end_ms, repair_bad (members,
    slots): servers under repair, NEVER_MS in an empty slot.
    """

    def __init__(self, case: ReliabilityCase, seed: int, members: int) -> None:
        """Spread the lemons over gang, pool and spares by lot."""
        self.case, self.seed = case, seed
        self.member = np.arange(members, dtype=np.int64)
        servers = case.pool.working + case.pool.spares
        lemons = self._same(int(servers * case.failures.lemon_frac))
        self.spare_n = self._same(case.pool.spares)
        self.spare_bad = lots.marked_in_handful(self._same(servers), lemons, self.spare_n, self._lot("spare lemons"))
        self.now_ms = self._same(round(case.job.host_selection_min * MS_PER_MIN))
        self.left_ms = self._same(round(case.job.compute_d * MS_PER_D))
        self.active_bad, self.bag_n, self.bag_bad, self.bag_standbys = (self._same(0) for _ in range(4))
        self.back_n, self.back_bits, self.idle_n, self.idle_bad = (self._same(0) for _ in range(4))
        self.failures, self.manual, self.selections, self.moved = (self._same(0) for _ in range(4))
        self.repair_end_ms = np.full((members, 64), NEVER_MS)
        self.repair_bad = np.zeros((members, 64), dtype=bool)
        self.next_back_ms = self._same(int(NEVER_MS))
        self._choose(self.member, self._same(case.pool.working), lemons - self.spare_bad, self._lot("first selection"))

    def _same(self, value: int) -> Ints:
        return np.full(len(self.member), value, dtype=np.int64)

    def _lot(self, purpose: str) -> Array:
        return streams.uniform(self.seed, purpose, self.member, streams.component_key("gang"))

    def keep(self, stay: Flags) -> None:
        """Forget members whose job is done."""
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(self, name, value[stay])

    def run(self, row: Ints, ran_ms: Ints) -> None:
        """Let the job of these members run for a while."""
        self.now_ms[row] += ran_ms
        self.left_ms[row] -= ran_ms

    def fail(self, bad: Flags, luck: Luck, at: int) -> None:
        """One server of each gang fails: it goes to repair, the job reloads its checkpoint."""
        path = self.case.repair.path()
        self.failures += 1
        self.active_bad -= bad
        manual = path.goes_manual(luck.escalates[at])
        self.manual += manual
        length_ms = np.rint(path.length_s(manual, luck.auto_life[at], luck.manual_life[at]) * 1000.0).astype(np.int64)
        self._send_to_repair(self.now_ms + length_ms, bad & path.leaves_cause(manual, luck.cause_stays[at]))
        self.now_ms += round(self.case.job.recovery_min * MS_PER_MIN)
        self.come_back(np.arange(len(self.member)))

    def _send_to_repair(self, end_ms: Ints, bad: Flags) -> None:
        row = np.arange(len(self.member))
        slot = self.repair_end_ms.argmax(axis=1)
        if (self.repair_end_ms[row, slot] != NEVER_MS).any():
            width = self.repair_end_ms.shape[1]
            slot = np.where(self.repair_end_ms[row, slot] == NEVER_MS, slot, width)
            self.repair_end_ms = np.pad(self.repair_end_ms, ((0, 0), (0, width)), constant_values=NEVER_MS)
            self.repair_bad = np.pad(self.repair_bad, ((0, 0), (0, width)))
        self.repair_end_ms[row, slot], self.repair_bad[row, slot] = end_ms, bad
        np.minimum(self.next_back_ms, end_ms, out=self.next_back_ms)

    def come_back(self, rows: Ints) -> None:
        """Repaired servers return in the order of their times: warm while fewer than the standbys are, else idle."""
        while len(rows := rows[self.next_back_ms[rows] <= self.now_ms[rows]]):
            slot = self.repair_end_ms[rows].argmin(axis=1)
            bad = self.repair_bad[rows, slot].astype(np.int64)
            self.repair_end_ms[rows, slot] = NEVER_MS
            self.next_back_ms[rows] = self.repair_end_ms[rows].min(axis=1)
            warm = self.bag_standbys[rows] + self.back_n[rows] < self.case.pool.standbys
            self.back_bits[rows] |= np.where(warm, bad << self.back_n[rows], 0)
            self.back_n[rows] += warm
            self.idle_n[rows] += ~warm
            self.idle_bad[rows] += np.where(warm, 0, bad)

    def replace(self, luck: Luck, at: int) -> None:
        """Put a standby into the place of the failed server; where none is left, choose the gang anew."""
        from_bag = self.bag_standbys > 0
        from_back = ~from_bag & (self.back_n > 0)
        revealed = luck.standby[at] * self.bag_n < self.bag_bad
        bad = np.where(from_bag, revealed, from_back & (self.back_bits & 1 == 1))
        self.active_bad += bad
        self.bag_bad -= from_bag & revealed
        self.bag_n -= from_bag
        self.bag_standbys -= from_bag
        self.back_bits >>= from_back
        self.back_n -= from_back
        without = np.flatnonzero(~(from_bag | from_back))
        if len(without):
            self._select(without, luck.selection[at, without])

    def _select(self, rows: Ints, u: Array) -> None:
        """Host selection: fetch spares or wait for repairs where too few servers are idle, then choose by lot."""
        job, pool = self.case.job, self.case.pool
        short = rows[job.servers - 1 + self.bag_n[rows] + self.back_n[rows] + self.idle_n[rows] < job.servers]
        while len(short):
            self._fetch_or_wait(short)
            there = job.servers - 1 + self.bag_n[short] + self.back_n[short] + self.idle_n[short]
            short = short[there < job.servers + pool.standbys]
        count = job.servers - 1 + self.bag_n[rows] + self.back_n[rows] + self.idle_n[rows]
        bad = self.active_bad[rows] + self.bag_bad[rows] + self.idle_bad[rows] + np.bitwise_count(self.back_bits[rows])
        self._choose(rows, count, bad.astype(np.int64), u)
        self.now_ms[rows] += round(job.host_selection_min * MS_PER_MIN)

    def _fetch_or_wait(self, rows: Ints) -> None:
        """Bring one spare where there is one, else wait for the next repair."""
        fetch = rows[self.spare_n[rows] > 0]
        wait = rows[self.spare_n[rows] == 0]
        if len(wait):
            self.now_ms[wait] = np.maximum(self.now_ms[wait], self.next_back_ms[wait])
        if len(fetch):
            self.now_ms[fetch] += round(self.case.pool.spare_move_min * MS_PER_MIN)
            key = streams.component_key("gang")
            u = streams.uniform(self.seed, "spare kind", self.member[fetch], key, self.spare_n[fetch])
            bad = u * self.spare_n[fetch] < self.spare_bad[fetch]
            self.spare_n[fetch] -= 1
            self.spare_bad[fetch] -= bad
            self.bag_n[fetch] += 1
            self.bag_bad[fetch] += bad
            self.moved[fetch] += 1
        self.come_back(rows)

    def _choose(self, rows: Ints, count: Ints, bad: Ints, u: Array) -> None:
        """Draw a gang from `count` servers; up to the standbys of the others are kept warm."""
        out = count - self.case.job.servers
        out_bad = lots.marked_in_handful(count, bad, out, u)
        self.bag_n[rows], self.bag_bad[rows] = out, out_bad
        self.active_bad[rows] = bad - out_bad
        self.bag_standbys[rows] = np.minimum(out, self.case.pool.standbys)
        for name in ("back_n", "back_bits", "idle_n", "idle_bad"):
            getattr(self, name)[rows] = 0
        self.selections[rows] += 1


def simulate(case: ReliabilityCase, members: int, seed: int = 0) -> Histories:
    """Live the case once per member and return what came of each."""
    pool = Pool(case, seed, members)
    good, lemon = _weights(case)
    shape, servers = case.failures.weibull_shape, case.job.servers
    out = Histories(np.zeros(members), *(np.zeros(members, dtype=np.int64) for _ in range(4)))
    stop = 0
    while len(pool.member):
        if stop % BLOCK == 0:
            luck = draw_luck(seed, pool.member, stop)
        at = stop % BLOCK
        bad_weight = pool.active_bad * lemon
        weight = (servers - pool.active_bad) * good + bad_weight
        ran_ms = np.rint(faults.first_failure_s(luck.life[at], weight, shape) * 1000.0)
        done = ran_ms >= pool.left_ms
        if done.any():
            _note(out, pool, np.flatnonzero(done))
            stay = ~done
            pool.keep(stay)
            luck = Luck(*(each[:, stay] for each in luck))
            weight, bad_weight, ran_ms = weight[stay], bad_weight[stay], ran_ms[stay]
            if not len(pool.member):
                break
        pool.now_ms += ran_ms.astype(np.int64)
        pool.left_ms -= ran_ms.astype(np.int64)
        pool.fail(luck.culprit[at] * weight < bad_weight, luck, at)
        pool.replace(luck, at)
        stop += 1
    return out


def _weights(case: ReliabilityCase) -> tuple[float, float]:
    """Hazard weights of a good server and of a lemon [s^-shape]."""
    table = case.failures
    good = faults.hazard_weight(table.rate_per_d / 86_400.0, table.weibull_shape)
    both = faults.hazard_weight((table.rate_per_d + table.lemon_extra_per_d) / 86_400.0, table.weibull_shape)
    return good, both


def _note(out: Histories, pool: Pool, rows: Ints) -> None:
    """Write down members whose job is done."""
    at = pool.member[rows]
    out.training_min[at] = (pool.now_ms[rows] + pool.left_ms[rows]) / MS_PER_MIN
    out.failures[at], out.manual_repairs[at] = pool.failures[rows], pool.manual[rows]
    out.host_selections[at], out.spares_moved[at] = pool.selections[rows], pool.moved[rows]
