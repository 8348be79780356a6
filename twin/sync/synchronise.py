"""Synchronise: readings correct the live ensemble, channel by channel; residuals say how well it follows.

One call of `correct` is one story: sort what arrived, take states as facts, remember what is predicted, hold each
reading against the prediction of its own time, keep the ensemble wide enough, enter the heat in the ledger.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.derived import Derived
from twin.flows import stored_heat_kj
from twin.state import State
from twin.sync.assimilate import Correction, Observed
from twin.sync.flags import FLAGS, set_flags
from twin.sync.inflate import Widths
from twin.sync.innovations import Following
from twin.sync.lateness import Moment, Past, Round
from twin.sync.names import Key, Names
from twin.sync.operators import OPERATORS, Link, Operator
from twin.sync.parameters import BY_NAME
from twin.telemetry.store import Batch

Array = NDArray[np.float64]
Places = NDArray[np.int64]

FIRST_SD = 5.0  # [K] of a temperature before its first reading: a twin at rest knows nothing of the site's present
FORGET_EVERY_MS = 60_000
DRAWS_KW = 1e-6  # a node that draws less says nothing about its scale


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
        self.spoken: set[Key] = set()
        self._kept: dict[Key, tuple[Array, NDArray[np.bool_]]] = {}
        self._taken_ms = dict.fromkeys(self.operators, 0)
        self._forgot_ms = 0

    @property
    def refused(self) -> int:
        """How many readings were refused."""
        return sum(self.past.refused.values())

    def correct(self, d: Derived, batch: Batch, now_ms: int) -> None:
        """Correct d.state by a batch of readings, in place; the energy ledger takes the increment."""
        moment = self.past.note(now_ms, {})
        rounds = self.past.sort(batch, now_ms)
        if not rounds and not self.spoken:
            return
        before = stored_heat_kj(self.site.hall_plenum_kj_per_k, d.state)
        if self._set_flags(d, rounds):
            d.mark()
            d.mark_supply()
        d.refresh()  # nothing to do in a calm tick; a flag, a cap or a job that changed shows in power at once
        self.spoken |= {key for r in rounds for key in r.readings if key in self.operators}
        self.past.note(now_ms, {key: self._predict(d, self.operators[key]) for key in self.spoken})
        touched = set[str]()
        for r in rounds:
            for key, o in self.operators.items():
                if key in r.readings:
                    touched |= self._hear(d, o, r.moment, *r.readings[key])
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
            return np.asarray(predicted.mean(axis=0))
        return predicted + d.state.arrays[o.bias] if o.bias else predicted.copy()

    def _expected(self, d: Derived, o: Operator, moment: Moment, at: Places) -> Array:
        """What the members expected of some sensors at a moment (M, at)."""
        then = moment.predicted.get(o.key)
        if then is None:  # nobody listened to this channel then
            then = self.past.moments[-1].predicted[o.key]
        if then.ndim == 2:
            return then[:, at]
        now = o.predict(d)[:, at]
        return np.asarray(now + (then[at] - now.mean(axis=0)))

    def _hear(self, d: Derived, o: Operator, moment: Moment, at: Places, value: Array) -> set[str]:
        """Take in the readings of one channel and step, or keep them until their turn; return the arrays moved."""
        if not o.every_ms:
            return self._apply(d, o, moment, at, value)
        n = self.names.size[o.key]
        excess, kept = self._kept.setdefault(o.key, (np.zeros(n), np.zeros(n, dtype=bool)))
        then = moment.predicted.get(o.key, self.past.moments[-1].predicted[o.key])
        excess[at], kept[at] = value - then[at], True
        return set()

    def _take_kept(self, d: Derived, moment: Moment) -> set[str]:
        """Take in together what was kept of slow channels: what they said against the twin at their time."""
        touched = set[str]()
        for key, (excess, kept) in self._kept.items():
            o = self.operators[key]
            if kept.any() and moment.time_ms - self._taken_ms[key] >= o.every_ms:
                at = np.flatnonzero(kept)
                touched |= self._apply(d, o, moment, at, np.maximum(moment.predicted[key][at] + excess[at], 0.0))
                kept[...], self._taken_ms[key] = False, moment.time_ms
        return touched

    def _apply(self, d: Derived, o: Operator, moment: Moment, at: Places, value: Array) -> set[str]:
        """Correct by one channel, only the components that spoke: slow channels take turns."""
        predicted = self._expected(d, o, moment, at)
        mean = predicted.mean(axis=0)
        if o.key == ("node", "power_kw"):
            draws = mean > DRAWS_KW
            at, value, predicted, mean = at[draws], value[draws], predicted[:, draws], mean[draws]
        if not len(at):
            return set()
        following = self.following[o.key]
        known = np.isfinite(following.last[at])
        noise_var = np.where(known | (not o.at_rest), o.noise_sd, FIRST_SD) ** 2
        error_var = o.error_sd**2 + (o.error_frac * mean) ** 2
        newest = self.past.is_newest(o.key, at, moment.time_ms)
        sensors = Correction.of(predicted, Observed(value, np.ones(len(at), dtype=bool), error_var, noise_var))
        expected = sensors.variance + error_var + o.noise_sd**2
        following.note(at, value, sensors.difference, expected, known)
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
        for then in self.past.moments:
            held = then.predicted.get(o.key)
            if held is None or held.ndim < 2:
                continue
            new = held[:, at]
            correction.apply(new)
            if o.own and then.time_ms >= moment.time_ms:
                correction.push(new)
            held[:, at] = new

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
        """Once a minute parameters become a little less certain."""
        if not self._forgot_ms:
            self._forgot_ms = now_ms
        if now_ms - self._forgot_ms >= FORGET_EVERY_MS:
            self.widths.forget(s, now_ms - self._forgot_ms, {})
            self._forgot_ms = now_ms

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
