"""Sensors that fail: frozen, drifting, spiking, of another unit or off by a jump. They are shut out, and let in again.

Each reading is judged by its innovation (what was read less what the members predict, over its expected size) and by
what the sensor said before. A gross one is held back; it takes several, and nobody else who says the same, to shut a
sensor out. Rules and times: docs/sync.md. What the twin hears is judged here, alarms are not: they see every reading.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.sync.evidence import Board
from twin.sync.heard import Heard
from twin.sync.names import Key, Names

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

GROSS = 4.5  # sigmas, a sudden change of the plant included: a reading beyond is held back
DISTURBED = 9.0  # the variance of what the plant may do at once grows so much after a machine starts or stops
ODD_READINGS, ODD_MS = 3, 300_000  # so many gross ones in a row over so long a time are no spike
SPIKES_KEEP, SPIKES_MOST = 0.85, 0.5  # running share of gross readings: above it the sensor spikes
SAME_NOISY, MOVES_NOISY, HEARD_NOISY = 8, 0.9, 30  # a sensor that always changed stands still
DRIFT_KEEP, DRIFT_MOST, DRIFT_READINGS = 0.9, 1.25, 10  # running mean of scaled innovations
DRIFT_FLOOR = 0.25  # a running mean is judged as if what is expected were known no better than this share of the pull
SPIKES_SOME = 0.25  # a drift with such a share of gross readings is made of spikes
ABSURD = 20.0  # sigmas, a sudden change included: so far no neighbour excuses a reading
SETTLED_READINGS, SETTLED = 40, 0.5  # nobody drifts who was never followed well
PULL_MS = 3 * 3_600_000  # how far a sensor has pulled parameters is forgotten with this time constant
LEAST_PEERS = 4  # so many sensors of one channel in a hall tell what pulls them all
SAME_FROZEN = 10  # a drift without any change is a frozen sensor
GOOD, GOOD_SIGMAS, GOOD_DRIFT, GOOD_MS = 10, 3.0, 0.75, 600_000  # so many good ones over so long let it in again
FOLLOWS_FRAC = 0.3  # an outlet follows its inlet at once by two thirds or so, then slowly: this much stays unsure
TRIM = 3.0  # beyond so many sigmas a reading counts with less weight, unless the one before said the same

# What the plant may change at once for one sensor alone: the air flow of its rack. The air takes minutes, for metal is
# warm; a sensor that jumps is there with its first reading.
STEPPED: tuple[Key, ...] = (("rack", "outlet_c"),)
STEP_MS = 1_800_000  # the plant does not do so twice in so long
AT_ONCE, AT_ONCE_SIGMAS = 0.92, 7.5  # share of the whole change in its first reading; of changes larger than this

STUCK, DRIFTING, SPIKING, UNIT, JUMPED = "frozen", "drifting", "spiking", "other unit", "off by a jump"
REASONS = ("", STUCK, DRIFTING, SPIKING, UNIT, JUMPED)

# How a reading looks that came in another unit, by the unit of its channel: name and what gives the right value back.
SLIPS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "C": (("F", 5.0 / 9.0, -160.0 / 9.0), ("kelvin", 1.0, -273.15), ("tenths of C", 0.1, 0.0), ("tens of C", 10.0, 0.0),
          ("C taken for F", 1.8, 32.0)),
    "kW": (("W", 1e-3, 0.0), ("MW", 1e3, 0.0), ("hundreds of W", 0.1, 0.0), ("tens of W", 0.01, 0.0)),
    "fraction": (("percent", 0.01, 0.0), ("hundredths of percent", 1e-4, 0.0), ("a fraction of percent", 100.0, 0.0)),
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """A sensor that was shut out (`reason`), or let in again (no reason)."""

    sensor: int
    time_ms: int
    reason: str
    found: str


class Sensors:
    """What is remembered of every sensor, by its number."""

    def __init__(self, names: Names, board: Board) -> None:
        """All are trusted at first."""
        n = names.count
        self.board, self.channel = board, names.key_of
        self.last, self.step = np.full(n, np.nan), np.full(n, np.inf)
        self.moves, self.drift, self.alone, self.spikes, self.first_odd, self.pull = np.zeros((6, n))
        self.count, self.same, self.odd, self.far, self.good, self.run = np.zeros((6, n), dtype=np.int64)
        self.odd_ms, self.since_ms, self.good_ms, self.pull_ms, self.step_ms = np.zeros((5, n), dtype=np.int64)
        self.slow = np.zeros(n)
        """How far each has drifted on a line [K], 0 for not (`twin.sync.trends`)."""
        self.settled, self.out, self.held, self.rising = np.zeros((4, n), dtype=bool)
        """held: in doubt, its readings move nothing and nobody is told; rising: may be drifting, for 20 min so far."""
        self.may_step = np.zeros(n, dtype=bool)
        for key in STEPPED:
            if key in names.first:
                self.may_step[names.of(key)] = True
        self.changed, self.begun, self.begun_pull = np.zeros((3, n))
        """The first reading of those that surprise, less what was predicted, and the pull then; 0 for none."""
        self.stepped: list[int] = []
        self.why = np.zeros(n, dtype=np.int8)
        self.found: dict[int, str] = {}
        self.news: list[Fault] = []

    def judge(self, heard: Heard, time_ms: int) -> tuple[Flags, Array]:
        """Return which readings may be used, and by how much the error variance of each grows (1 as it is).

        Call `note` for all channels of the step before.
        """
        at = heard.sensor
        difference = heard.value - heard.mean
        scaled = difference / np.sqrt(heard.var)
        calm = ~self.board.restless(at, time_ms)
        most_var = np.where(calm, heard.jump_var, DISTURBED * heard.jump_var)
        gross = np.abs(difference) > GROSS * np.sqrt(heard.var + most_var)
        agreed = np.zeros(len(at), dtype=bool)
        doubted = gross | self.out[at]
        may_drift = heard.drift_k > 0.0
        slow, pulls = self.slow[at], self._pulls(at, heard.drift_k) & ~self.may_step[at]
        doubted |= may_drift & ((self.far[at] >= DRIFT_READINGS) | (slow != 0.0) | pulls)
        if doubted.any():
            some = np.flatnonzero(doubted)
            way = np.where(slow[some] != 0.0, slow[some], self.drift[at[some]])
            sign = np.sign(np.where(gross[some], difference[some], way))
            agreed[some] = self.board.agree(at[some], sign, time_ms, self.out, self.drift)
        odd = gross & ~(agreed & ~self.absurd(heard, time_ms))
        self._count_odd(at, heard, odd, time_ms)
        for i in np.flatnonzero(doubted | self._stands_still(at)).tolist():
            self._doubt(heard, i, time_ms, agreed=bool(agreed[i]), calm=bool(calm[i]), gross=bool(gross[i]))
        held_back = odd & (calm | (self.odd[at] < ODD_READINGS))
        use = ~(self.out[at] | self.held[at] | held_back)
        return use, self._weight(at, scaled, use)

    def absurd(self, heard: Heard, time_ms: int) -> Flags:
        """Tell which readings are so far from what was predicted that no plant does it, whatever others say."""
        restless = self.board.restless(heard.sensor, time_ms)
        most_var = np.where(restless, DISTURBED * heard.jump_var, heard.jump_var)
        return np.asarray(np.abs(heard.value - heard.mean) > ABSURD * np.sqrt(heard.var + most_var))

    def note(self, heard: Heard, time_ms: int) -> None:
        """Remember what some sensors said, and put it on the board."""
        at, value = heard.sensor, heard.value
        scaled = (value - heard.mean) / np.sqrt(heard.var)
        again = np.isfinite(self.last[at])
        change = np.abs(value - np.where(again, self.last[at], value))
        self.changed[at] = change
        moved = change > 0.0
        self.same[at] = np.where(moved | ~again, 0, self.same[at] + 1)
        keep = np.minimum(0.98, self.count[at] / (self.count[at] + 1.0))
        # a sensor that stands still is not asked how often it moves
        standing = self.same[at] > 1
        self.moves[at] = np.where(again & ~standing, keep * self.moves[at] + (1.0 - keep) * moved, self.moves[at])
        self.step[at] = np.where(moved, np.minimum(self.step[at], change), self.step[at])
        floored = heard.var + (DRIFT_FLOOR * heard.drift_k) ** 2
        slow = np.clip((value - heard.mean) / np.sqrt(floored), -GROSS, GROSS)
        self.drift[at] = DRIFT_KEEP * self.drift[at] + (1.0 - DRIFT_KEEP) * slow
        shared = heard.in_common()
        own = (value - heard.mean - shared) / np.sqrt(floored + (FOLLOWS_FRAC * shared) ** 2)
        self.alone[at] = DRIFT_KEEP * self.alone[at] + (1.0 - DRIFT_KEEP) * np.clip(own, -GROSS, GROSS)
        surprising = np.abs(scaled) > TRIM
        first = surprising & (self.begun[at] == 0.0)
        self.begun[at] = np.where(surprising, np.where(first, value - heard.mean, self.begun[at]), 0.0)
        self.run[at] = np.where(surprising, self.run[at] + 1, 0)
        self.begun_pull[at] = np.where(first, self.pull[at], self.begun_pull[at])
        self.count[at] += 1
        self.last[at] = value
        quiet = (self.count[at] >= SETTLED_READINGS) & (np.abs(self.drift[at]) < SETTLED)
        self.settled[at] |= quiet
        # what a whole hall says is no sensor's: it has to be far from what was predicted, and from its hall
        far = self.settled[at] & (np.minimum(np.abs(self.drift[at]), np.abs(self.alone[at])) > DRIFT_MOST)
        far &= self.drift[at] * self.alone[at] > 0.0
        self.far[at] = np.where(far, self.far[at] + 1, 0)
        self.board.post(at, scaled, time_ms)

    def pulled(self, sensor: Ints, by: Array, time_ms: int) -> Array:
        """Note how far sensors have just pulled what is learned, in their unit; return the share left of before."""
        keep = np.exp(-np.maximum(time_ms - self.pull_ms[sensor], 0) / PULL_MS)
        self.pull[sensor] = np.where(self.settled[sensor], keep * self.pull[sensor] + by, 0.0)
        self.pull_ms[sensor] = time_ms
        return np.where(self.settled[sensor], keep, 0.0)

    def _pulls(self, at: Ints, drift_k: Array) -> Flags:
        """Tell which sensors have pulled what is learned too far, and still pull that way, others of their hall not."""
        way = np.sign(self.drift[at])
        far = self.settled[at] & (self.pull[at] * way > drift_k) & (np.abs(self.drift[at]) > GOOD_DRIFT)
        for i in np.flatnonzero(far).tolist():
            g = int(at[i])
            peers = at[(self.channel[at] == self.channel[g]) & (self.board.hall[at] == self.board.hall[g])]
            if self.board.hall[g] >= 0 and len(peers) >= LEAST_PEERS:
                far[i] = (self.pull[g] - np.median(self.pull[peers])) * way[i] > drift_k[i]
        return np.asarray(far)

    def rounding_var(self, sensor: Ints) -> Array:
        """Return the error variance that follows from the smallest step of each sensor."""
        step = self.step[sensor]
        return np.where((self.count[sensor] > 20) & np.isfinite(step), step * step / 12.0, 0.0)

    def take_news(self) -> list[Fault]:
        """Return who was shut out or let in since the last call."""
        news, self.news = self.news, []
        return news

    def shut(self, sensor: int, time_ms: int, reason: str, found: str) -> None:
        """Shut a sensor out."""
        self.out[sensor], self.why[sensor], self.since_ms[sensor] = True, REASONS.index(reason), time_ms
        self.good[sensor] = 0
        self.found[sensor] = found
        self.news.append(Fault(sensor, time_ms, reason, found))

    def let_in(self, sensor: int, time_ms: int) -> None:
        """Trust a sensor again, without a past."""
        self.out[sensor], self.why[sensor] = False, 0
        self.drift[sensor] = self.alone[sensor] = self.spikes[sensor] = self.pull[sensor] = 0.0
        self.odd[sensor] = self.far[sensor] = self.count[sensor] = 0
        self.settled[sensor] = False
        self.found.pop(sensor, None)
        self.news.append(Fault(sensor, time_ms, "", ""))

    def _count_odd(self, at: Ints, heard: Heard, odd: Flags, time_ms: int) -> None:
        first = odd & (self.odd[at] == 0)
        self.odd_ms[at[first]], self.first_odd[at[first]] = time_ms, heard.value[first]
        self.odd[at] = np.where(odd, self.odd[at] + 1, 0)
        self.spikes[at] = SPIKES_KEEP * self.spikes[at] + (1.0 - SPIKES_KEEP) * odd

    def _stands_still(self, at: Ints) -> Flags:
        """A sensor that changed with nearly every reading says the same again and again."""
        noisy = (self.count[at] >= HEARD_NOISY) & (self.moves[at] >= MOVES_NOISY)
        return np.asarray(noisy & (self.same[at] >= SAME_NOISY) & (self.last[at] != 0.0))

    def _doubt(self, heard: Heard, i: int, time_ms: int, *, agreed: bool, calm: bool, gross: bool) -> None:
        """Look closely at one sensor: shut it out, let it in, or leave it."""
        g = int(heard.sensor[i])
        if self.out[g]:
            self._probe(heard, i, time_ms, agreed=agreed)
            return
        said = f"{heard.value[i]:.4g} where {heard.mean[i]:.4g} was expected"
        if self.same[g] >= SAME_NOISY and bool(self._stands_still(heard.sensor[i : i + 1])[0]):
            self.shut(g, time_ms, STUCK, f"{heard.value[i]:.4g} for {self.same[g] + 1} readings")
        elif self.odd[g] >= ODD_READINGS and (slip := _slip(heard, i, float(self.first_odd[g]))):
            self.shut(g, time_ms, UNIT, f"{said}; reads like {slip}")
        elif agreed or (
            calm and self.run[g] >= DRIFT_READINGS and not self.slow[g] and self._steps(heard, i, time_ms, gross=gross)
        ):
            return
        elif calm and self.spikes[g] > SPIKES_MOST and self._scattered(heard, i):
            self.shut(g, time_ms, SPIKING, said)
        elif calm and self.odd[g] >= ODD_READINGS and time_ms - self.odd_ms[g] >= ODD_MS:
            if self._steps(heard, i, time_ms, gross=True):
                return
            self.shut(g, time_ms, STUCK if self.same[g] >= SAME_FROZEN else JUMPED, said)
        elif (calm or self.slow[g]) and not gross and heard.drift_k[i] > 0.0:
            self._drifts(heard, i, time_ms, said)

    def _drifts(self, heard: Heard, i: int, time_ms: int, said: str) -> None:
        """A sensor has been off for long: shut it out, unless the plant may have changed for it alone."""
        g = int(heard.sensor[i])
        spikes = self.spikes[g] > SPIKES_SOME
        reason = STUCK if self.same[g] >= SAME_FROZEN else SPIKING if spikes else DRIFTING
        found = f"{said}; has pulled what is learned by {self.pull[g]:+.2g}"
        if self.slow[g]:
            found = f"{said}; has gone {self.slow[g]:+.2g} K on a line"
        elif reason == DRIFTING and self._steps(heard, i, time_ms, gross=False):
            return
        elif reason == DRIFTING and self.may_step[g]:
            reason = JUMPED
        self.shut(g, time_ms, reason, found)

    def _at_once(self, heard: Heard, i: int) -> bool:
        """Tell whether a large change was whole in its first reading."""
        g = int(heard.sensor[i])
        whole = heard.value[i] - heard.mean[i] + self.pull[g] - self.begun_pull[g]
        large = abs(whole) > AT_ONCE_SIGMAS * float(np.sqrt(heard.var[i]))
        return bool(large and self.begun[g] * np.sign(whole) >= AT_ONCE * abs(whole))

    def _steps(self, heard: Heard, i: int, time_ms: int, *, gross: bool) -> bool:
        """Tell whether the plant has changed behind a sensor: what is learned from it is to be learned anew.

        Until that has been learned nothing is said; a reading that stays gross is no plant's.
        """
        g = int(heard.sensor[i])
        if not self.may_step[g]:
            return False
        if self.rising[g] or (self.step_ms[g] and time_ms - self.step_ms[g] < STEP_MS):
            return not gross
        if self._at_once(heard, i):
            return False
        self.stepped.append(g)
        self.step_ms[g] = time_ms
        self.far[g] = self.odd[g] = self.run[g] = 0
        self.drift[g] = self.alone[g] = self.spikes[g] = self.begun[g] = 0.0
        return True

    def take_stepped(self) -> list[int]:
        """Return the sensors behind which the plant has changed since the last call."""
        stepped, self.stepped = self.stepped, []
        return stepped

    def _scattered(self, heard: Heard, i: int) -> bool:
        """Gross readings differ from each other as much as from what is expected."""
        g = heard.sensor[i]
        spread, var = abs(float(heard.value[i] - self.first_odd[g])), heard.var[i]
        if self.may_step[g]:  # the air of a rack with less flow goes on rising
            spread, var = self.changed[g], var + heard.jump_var[i]
        return bool(self.odd[g] < ODD_READINGS or spread > GROSS * float(np.sqrt(var)))

    def _probe(self, heard: Heard, i: int, time_ms: int, *, agreed: bool) -> None:
        """A sensor that is shut out is listened to: it comes in again when it behaves, or when others say the same."""
        g = int(heard.sensor[i])
        near = abs(heard.value[i] - heard.mean[i]) <= GOOD_SIGMAS * float(np.sqrt(heard.var[i]))
        near = near and abs(self.drift[g]) < GOOD_DRIFT and self.slow[g] == 0.0
        frozen = self.same[g] >= SAME_FROZEN if REASONS[self.why[g]] == STUCK else False
        also = agreed and REASONS[self.why[g]] in (JUMPED, DRIFTING)
        if frozen or not (near or also):
            self.good[g] = 0
            return
        if self.good[g] == 0:
            self.good_ms[g] = time_ms
        self.good[g] += 1
        if self.good[g] >= GOOD and time_ms - self.good_ms[g] >= GOOD_MS:
            self.let_in(g, time_ms)

    def _weight(self, at: Ints, scaled: Array, use: Flags) -> Array:
        """A surprising reading counts less, the more the further it is, unless the sensor has been drifting there."""
        far = use & (np.abs(scaled) > TRIM) & (np.abs(self.drift[at]) < 0.25 * np.abs(scaled))
        return np.where(far, (scaled / TRIM) ** 2, 1.0)


def _slip(heard: Heard, i: int, first: float) -> str:
    """The unit that a gross reading and the first one in its row would be right in, or nothing; 0 is no unit's."""
    sd = float(np.sqrt(heard.var[i] + heard.jump_var[i]))
    said = (float(heard.value[i]), first)
    for name, scale, offset in SLIPS.get(heard.unit_of(i), ()):
        if all(v != 0.0 and abs(v * scale + offset - heard.mean[i]) <= GOOD_SIGMAS * sd for v in said):
            return name
    return ""
