"""Synchronise: readings correct the live ensemble, channel by channel; residuals say how well it follows.

One call of `correct` is one story: sort what arrived, take states as facts, remember what is predicted, hold each
reading against the prediction of its own time, keep the ensemble wide enough, enter the heat in the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from plant.channels import channel as channel_of
from plant.site import Site
from twin.derived import Derived
from twin.flows import stored_heat_kj
from twin.state import State
from twin.sync.assimilate import Correction, Observed, mean_of
from twin.sync.evidence import Board
from twin.sync.flags import FLAGS, set_flags
from twin.sync.inflate import Widths, inflate
from twin.sync.innovations import Following
from twin.sync.lateness import Moment, Past, Round
from twin.sync.names import Key, Names
from twin.sync.operators import OPERATORS, Link, Operator
from twin.sync.parameters import BY_NAME
from twin.sync.sensorfaults import REASONS, Fault, Heard, Sensors
from twin.telemetry.store import Batch, Event

Array = NDArray[np.float64]
Places = NDArray[np.int64]

FIRST_SD = 5.0  # [K] of a temperature before its first reading: a twin at rest knows nothing of the site's present
FORGET_EVERY_MS = 60_000
UNSEEN_FRAC = 0.05  # spread of a prediction of which only the mean is kept, as a share of it
OUT, IN = "sensor_shut_out", "sensor_let_in"  # types of the events
DRAWS_KW = 1e-6  # a node that draws less says nothing about its scale


@dataclass(frozen=True)
class Asked:
    """Readings of one channel and step beside what was expected: members' predictions, None where only means are kept."""

    operator: Operator
    at: Places
    value: Array
    heard: Heard
    error_var: Array
    noise_var: Array
    predicted: Array | None

    def take(self, use: NDArray[np.bool_]) -> Asked:
        """Some of them; what was heard stays whole."""
        predicted = None if self.predicted is None else self.predicted[:, use]
        return replace(
            self, at=self.at[use], value=self.value[use], error_var=self.error_var[use],
            noise_var=self.noise_var[use], predicted=predicted,
        )  # fmt: skip


class Synchroniser:
    """Corrects one live State from batches of readings; knows which sensor is which array element."""

    def __init__(self, site: Site, operators: tuple[Operator, ...] = OPERATORS) -> None:
        """Number the sensors of the site."""
        self.site, self.operators = site, {o.key: o for o in operators}
        sensors = {o.key: o.ids(site) for o in operators}
        self.names = Names(sensors | {key: site.components(key[0]) for key in FLAGS})
        self.past, self.widths = Past(self.names), Widths(site)
        self.following = {o.key: Following(np.full(len(sensors[o.key]), np.nan)) for o in operators}
        self.group = {o.key: np.asarray(o.group(site), dtype=np.int64) for o in operators if o.group is not None}
        self.board = Board(site, self.names)
        self.sensors = Sensors(self.names, self.board)
        self.unit = {o.key: channel_of(*o.key).unit for o in operators}
        self.spoken: set[Key] = set()
        self._kept: dict[Key, tuple[Array, NDArray[np.bool_]]] = {}
        self._taken_ms = dict.fromkeys(self.operators, 0)
        self._forgot_ms = 0
        self.events: list[Event] = []

    @property
    def refused(self) -> int:
        """How many readings were refused."""
        return sum(self.past.refused.values())

    def correct(self, d: Derived, batch: Batch, now_ms: int) -> None:
        """Correct d.state by a batch of readings, in place; the energy ledger takes the increment."""
        moment = self.past.now(now_ms)
        rounds = self.past.sort(batch, now_ms)
        if not rounds and not self.spoken:
            return
        before = stored_heat_kj(self.site.hall_plenum_kj_per_k, d.state)
        if not self._forgot_ms:
            self.board.disturb(now_ms)  # a twin that has just begun may be anywhere itself
        if self._set_flags(d, rounds):
            self.board.disturb(now_ms)
            d.mark()
            d.mark_supply()
        d.refresh()  # nothing to do in a calm tick; a flag, a cap or a job that changed shows in power at once
        self.spoken |= {key for r in rounds for key in r.readings if key in self.operators}
        for key in self.spoken:
            self.past.note(moment, key, self._predict(d, self.operators[key]))
        touched = set[str]()
        for r in rounds:
            asked = [
                self._ask(d, o, r.moment, *r.readings[o.key]) for o in self.operators.values() if o.key in r.readings
            ]
            for a in asked:
                self.sensors.note(a.heard, r.moment.time_ms)
            for a in asked:
                touched |= self._hear(d, a, r.moment)
        touched |= self._take_kept(d, moment)
        self._forget(d.state, now_ms)
        d.state.heat_sync_kj[...] += stored_heat_kj(self.site.hall_plenum_kj_per_k, d.state) - before
        if touched & _OF_POWER:
            d.mark()
        elif touched:
            d.mark_air()

    def _set_flags(self, d: Derived, rounds: list[Round]) -> bool:
        """Take the newest state of each machine; an older one than is known says nothing."""
        heard: dict[Key, tuple[Array, NDArray[np.bool_]]] = {}
        for r in rounds:
            for key in FLAGS:
                if key not in r.readings:
                    continue
                at, value = r.readings[key]
                new = self.past.is_newest(key, at, r.moment.time_ms)
                n = self.names.size[key]
                values, present = heard.setdefault(key, (np.zeros(n), np.zeros(n, dtype=bool)))
                values[at[new]], present[at[new]] = value[new], True
        return bool(heard) and set_flags(self.site, d, heard)

    def _predict(self, d: Derived, o: Operator) -> Array:
        """What the members expect of all sensors of an operator (M, S); the mean alone of those of nodes."""
        predicted = o.predict(d)
        if o.kind == "node":
            return mean_of(predicted)
        return predicted + d.state.arrays[o.bias] if o.bias else predicted

    def _expected(self, d: Derived, o: Operator, moment: Moment, at: Places) -> Array:
        """What the members expected of some sensors at a moment (M, at)."""
        then = self.past.recall(o.key, moment)
        if then.ndim == 2:
            return then[:, at]
        now = o.predict(d)[:, at]
        return np.asarray(now + (then[at] - mean_of(now)))

    def _ask(self, d: Derived, o: Operator, moment: Moment, at: Places, value: Array) -> Asked:
        """Hold readings against what was expected of them at their time."""
        if o.every_ms:
            mean = self.past.recall(o.key, moment)[at]
            variance = (UNSEEN_FRAC * mean) ** 2
            predicted = None
        else:
            predicted = self._expected(d, o, moment, at)
            mean = mean_of(predicted)
            variance = np.einsum("mc,mc->c", predicted - mean, predicted - mean) / max(len(predicted) - 1, 1)
        sensor = at + self.names.first[o.key]
        known = np.isfinite(self.following[o.key].last[at])
        noise_var = np.where(known | (not o.at_rest), o.noise_sd, FIRST_SD) ** 2
        error_var = o.error_sd**2 + (o.error_frac * mean) ** 2 + self.sensors.rounding_var(sensor)
        jump_var = o.jump_sd**2 + (o.jump_frac * mean) ** 2
        bias = np.zeros(len(at)) if not o.bias else mean_of(d.state.arrays[o.bias][:, at]) / BY_NAME[o.bias].prior_sd
        heard = Heard(sensor, value, mean, variance + noise_var + error_var, jump_var, self.unit[o.key], bias)
        return Asked(o, at, value, heard, error_var, noise_var, predicted)

    def _hear(self, d: Derived, a: Asked, moment: Moment) -> set[str]:
        """Take in the readings of one channel and step that may be used, or keep them until their turn."""
        use, weight = self.sensors.judge(a.heard, moment.time_ms)
        for fault in self.sensors.take_news():
            self._announce(d.state, a.operator, fault)
        if not use.all():
            a = a.take(use)
        if not len(a.at):
            return set()
        key = a.operator.key
        if not a.operator.every_ms:
            assert a.predicted is not None
            return self._apply(
                d, a.operator, moment, a.at, a.value, a.predicted, a.error_var * weight[use], a.noise_var
            )
        n = self.names.size[key]
        excess, kept = self._kept.setdefault(key, (np.zeros(n), np.zeros(n, dtype=bool)))
        excess[a.at], kept[a.at] = a.value - a.heard.mean[use], True
        return set()

    def _take_kept(self, d: Derived, moment: Moment) -> set[str]:
        """Take in together what was kept of slow channels: what they said against the twin at their time."""
        touched = set[str]()
        for key, (excess, kept) in self._kept.items():
            o = self.operators[key]
            if not kept.any() or moment.time_ms - self._taken_ms[key] < o.every_ms:
                continue
            at = np.flatnonzero(kept)
            predicted = o.predict(d)[:, at]
            mean = mean_of(predicted)
            if o.kind == "node":  # a node that draws nothing says nothing about its scale
                draws = mean > DRAWS_KW
                at, predicted, mean = at[draws], predicted[:, draws], mean[draws]
            if len(at):
                error_var = o.error_sd**2 + (o.error_frac * mean) ** 2
                noise_var = np.full(len(at), o.noise_sd**2)
                touched |= self._apply(
                    d, o, moment, at, np.maximum(mean + excess[at], 0.0), predicted, error_var, noise_var
                )
            kept[...], self._taken_ms[key] = False, moment.time_ms
        return touched

    def _apply(
        self, d: Derived, o: Operator, moment: Moment, at: Places, value: Array, predicted: Array, error_var: Array,
        noise_var: Array,
    ) -> set[str]:  # fmt: skip
        """Correct by one channel, only the components that spoke: slow channels take turns."""
        following = self.following[o.key]
        known = np.isfinite(following.last[at])
        newest = self.past.is_newest(o.key, at, moment.time_ms)
        sensors = Correction.of(predicted, Observed(value, np.ones(len(at), dtype=bool), error_var, noise_var))
        following.note(at, value, sensors.difference, sensors.variance + error_var + o.noise_sd**2, known)
        places, correction = at, sensors
        if o.key in self.group:
            places, correction = _together(predicted, value, error_var, noise_var, self.group[o.key][at])
        correction = correction._replace(noise_gain=_where(newest, correction.noise_gain, o.key in self.group))
        touched = self._correct_arrays(d.state, o, places, correction)
        self._correct_past(o, moment, at, places, correction)
        self._begin(d, o, at[~known])
        return touched

    def _correct_arrays(self, s: State, o: Operator, places: Places, correction: Correction) -> set[str]:
        for link in o.own:
            new = s.arrays[link.array][:, places]
            correction.apply(new)
            correction.push(new, 1.0 if link.per_unit is None else link.per_unit(self.site)[places])
            s.arrays[link.array][:, places] = new
        for link in (*o.linked, *([Link(o.bias)] if o.bias else [])):
            at, moved = self._behind(link, places, correction)
            if len(at):
                self._move(s, link.array, at, moved)
        return {link.array for link in (*o.own, *o.linked)} | ({o.bias} if o.bias else set())

    def _behind(self, link: Link, places: Places, correction: Correction) -> tuple[Places, Correction]:
        """The components of a linked array, and for each the correction of the sensor behind it."""
        if link.via is None:
            return places, correction
        via = np.asarray(link.via(self.site))
        where = np.full(int(max(via.max(initial=0), places.max())) + 1, -1)
        where[places] = np.arange(len(places))
        at = np.flatnonzero(where[via] >= 0)
        return at, correction.take(where[via[at]])

    def _move(self, s: State, name: str, at: Places, correction: Correction) -> None:
        """Move a parameter (or a quantity that is linked to another) of some components."""
        array = s.arrays[name]
        p = BY_NAME.get(name)
        new = np.log(np.maximum(array[:, at], 1e-12)) if p is not None and p.log else array[:, at]
        correction.apply(new, doubtful=True)
        if p is None:
            array[:, at] = new
        else:
            self.widths.take_in(array, name, at, new)

    def _correct_past(self, o: Operator, moment: Moment, at: Places, places: Places, correction: Correction) -> None:
        """Correct what was remembered of the same sensors, as it goes together with what is believed now."""
        if len(places) != len(at) or o.key in self.group:
            where = np.full(int(places.max()) + 1, -1)
            where[places] = np.arange(len(places))
            correction = correction.take(where[self.group[o.key][at]])
        kept = self.past.kept[o.key]
        if kept.ndim < 3:
            return
        new = kept[:, :, at]
        correction.apply(new)
        if o.own:
            later = self.past.since(moment)
            new[later] += correction.noise_gain * correction.difference
        kept[:, :, at] = new

    def _begin(self, d: Derived, o: Operator, new_at: Places) -> None:
        """What nobody measures stands where it must have stood for long when a sensor speaks for the first time."""
        s = d.state
        if o.key == ("hall", "hot_c"):  # walls and steel have had the air of this hall for hours
            s.hall_structure_c[:, new_at] = s.hall_hot_c[:, new_at]
        elif o.key == ("rack", "outlet_c"):
            # the twin at rest has the equipment at idle; minutes of warming up would be blamed on the rack's flow
            excess_k = d.rack_kw[:, new_at] / s.rack_ua_kw_per_k[:, new_at]
            s.rack_mass_c[:, new_at] = s.rack_air_c[:, new_at] + excess_k

    def _forget(self, s: State, now_ms: int) -> None:
        """Once a minute parameters become a little less certain, much less where a sensor is shut out."""
        if not self._forgot_ms:
            self._forgot_ms = now_ms
        if now_ms - self._forgot_ms >= FORGET_EVERY_MS:
            self.widths.forget(s, now_ms - self._forgot_ms, self._doubtful(s))
            self._forgot_ms = now_ms

    def _doubtful(self, s: State) -> dict[str, NDArray[np.bool_]]:
        """The parameters behind sensors that are shut out, by name."""
        found: dict[str, NDArray[np.bool_]] = {}
        for g in np.flatnonzero(self.sensors.out).tolist():
            o = self.operators[self.names.keys[int(self.names.key_of[g])]]
            i = g - self.names.first[o.key]
            i = int(self.group[o.key][i]) if o.key in self.group else i
            for link in (*o.linked, *([Link(o.bias)] if o.bias else [])):
                if link.array in BY_NAME:
                    mask = found.setdefault(link.array, np.zeros(s.arrays[link.array].shape[1], dtype=bool))
                    mask |= (np.arange(len(mask)) if link.via is None else np.asarray(link.via(self.site))) == i
        return found

    def _announce(self, s: State, o: Operator, fault: Fault) -> None:
        """Write the event of a sensor that was shut out or let in; what it said of its own error counts no more."""
        component = self.names.ids[fault.sensor]
        what, text = (OUT, f"{fault.reason}: {fault.found}") if fault.reason else (IN, "behaves again")
        self.events.append(Event(fault.time_ms, component, what, o.channel, text))
        if fault.reason and o.bias:
            i = fault.sensor - self.names.first[o.key]
            bias = np.zeros((s.members, 1))
            inflate(bias, BY_NAME[o.bias].prior_sd)
            s.arrays[o.bias][:, i] = bias[:, 0]

    def take_events(self) -> list[Event]:
        """Return the events since the last call: sensors shut out and let in again."""
        events, self.events = self.events, []
        return events

    def remember(self, events: Sequence[Event]) -> None:
        """Begin with the sensors shut out that were so when the events ended: what a restarted worker reads first."""
        numbers = {
            (c, self.names.keys[k][1]): g
            for g, (c, k) in enumerate(zip(self.names.ids, self.names.key_of, strict=True))
        }
        for event in sorted(events, key=lambda e: e.time_ms):
            g = numbers.get((event.component, event.code))
            if g is None or event.type not in (OUT, IN):
                continue
            reason, _, found = event.text.partition(": ")
            if event.type == OUT and reason in REASONS:
                self.sensors.shut(g, event.time_ms, reason, found)
            elif event.type == IN:
                self.sensors.let_in(g, event.time_ms)
        self.sensors.take_news()

    def shut_out(self) -> list[dict[str, object]]:
        """Return the sensors that are shut out now: component, channel, why, since when."""
        return [
            {
                "component": self.names.ids[g],
                "channel": self.names.keys[int(self.names.key_of[g])][1],
                "reason": REASONS[self.sensors.why[g]],
                "found": self.sensors.found.get(g, ""),
                "since_ms": int(self.sensors.since_ms[g]),
            }
            for g in np.flatnonzero(self.sensors.out).tolist()
        ]

    def bias_k(self, kind: str, channel: str, state: State) -> Array:
        """Return what the members take for the error of each sensor of a channel, in the mean (C,) [K]."""
        o = self.operators[kind, channel]
        return np.asarray(state.arrays[o.bias].mean(axis=0)) if o.bias else np.zeros(self.names.size[o.key])

    def report(self) -> list[dict[str, object]]:
        """Return one row per channel that was heard: statistics of its innovations."""
        rows: list[dict[str, object]] = []
        for (kind, channel), f in self.following.items():
            if f.n:
                rows.append({"channel": f"{kind}.{channel}", **f.row()})
        return rows

    def in_sync(self) -> tuple[bool, str]:
        """Tell whether the twin follows, and if not which channel ran away."""
        for (kind, channel), f in self.following.items():
            if f.lost():
                return False, f"{kind}.{channel}: residual {f.residual2**0.5:.2f}, expected {f.expected2**0.5:.2f}"
        return True, ""


_OF_POWER = {"node_power_scale", "rack_idle_scale", "rack_bend_scale", "rack_psu_loss_scale"}


def _where(newest: NDArray[np.bool_], gain: Array, grouped: bool) -> Array:
    """The push of model noise belongs to the newest reading of a sensor alone."""
    return gain if grouped or newest.all() else np.where(newest, gain, 0.0)


def _together(
    predicted: Array, value: Array, error_var: Array, noise_var: Array, group: Places
) -> tuple[Places, Correction]:
    """Return groups that spoke and the correction by the mean of each: n sensors have 1/n of the error variance."""
    places, of = np.unique(group, return_inverse=True)
    n = np.bincount(of).astype(np.float64)
    mean = np.stack([np.bincount(of, row, len(places)) for row in predicted]) / n
    seen = Observed(
        np.bincount(of, value) / n,
        np.ones(len(places), dtype=bool),
        np.bincount(of, np.broadcast_to(error_var, value.shape)) / n**2,
        np.bincount(of, np.broadcast_to(noise_var, value.shape)) / n,
    )
    return places, Correction.of(mean, seen)
