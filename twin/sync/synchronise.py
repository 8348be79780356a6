"""Synchronise: readings correct the live ensemble, channel by channel; residuals say how well it follows.

One call of `correct` is one story: sort what arrived, take states as facts, remember what is predicted, hold each
reading against the prediction of its own time, keep the ensemble wide enough, enter the heat in the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.columns import Parts
from twin.derived import Derived
from twin.flows import stored_heat_kj
from twin.state import State
from twin.sync.asked import Asked, Errors, Expected, correction, together
from twin.sync.assimilate import columns, mean_of, put
from twin.sync.confirm import Confirm, unseen_frac
from twin.sync.events import adopt_events
from twin.sync.evidence import Board
from twin.sync.firstheard import begin
from twin.sync.flags import FLAGS, RUNNING, Machines
from twin.sync.inflate import Widths
from twin.sync.innovations import Following
from twin.sync.lateness import Moment, Past, Round, Said
from twin.sync.names import Key, Names
from twin.sync.nodefacts import METER, OK
from twin.sync.operators import OPERATORS, Link, Operator
from twin.sync.parameters import BY_NAME
from twin.sync.sensorfaults import Sensors
from twin.sync.sharedair import INLET, SHARING, SharedAir, agreed_weight
from twin.sync.shutouts import ShutOuts
from twin.sync.trends import Trends
from twin.telemetry.store import Batch, Event

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
        self.names = Names(sensors | {key: site.components(key[0]) for key in (*FLAGS, OK)})
        self.machines = Machines(site, self.names)
        self.past, self.widths = Past(self.names), Widths(site)
        self.last = np.full(self.names.count, np.nan)
        """Newest reading of each sensor that was used, by its number."""
        self.following = {key: Following(self.last[self.names.of(key)]) for key in self.operators}
        self.group = {o.key: np.asarray(o.group(site), dtype=np.int64) for o in operators if o.group is not None}
        self.whose = {o.key: np.asarray(o.share(site), dtype=np.int64) for o in operators if o.share is not None}
        self.behind = {o.key: (*o.linked, *([Link(o.bias)] if o.bias else [])) for o in operators}
        self.touches = {o.key: {link.array for link in (*o.own, *self.behind[o.key])} for o in operators}
        self.each = np.arange(max(self.names.size.values()))
        self.board = Board(site, self.names)
        self.sensors = Sensors(self.names, self.board)
        self.shutouts = ShutOuts(site, self.names, self.sensors, self.operators)
        self.air = SharedAir(site, self.names)
        self.errors = Errors(self.names, self.operators, FIRST_SD)
        self.trends = Trends(site, self.names)
        self.spoken: set[Key] = set()
        self._kept: dict[Key, tuple[Array, NDArray[np.bool_]]] = {}
        self.confirm = Confirm()
        self._taken_ms = dict.fromkeys(self.operators, 0)
        self._forgot_ms = 0

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
        phase = d.state.node_phase[0].copy()
        if self.machines.hear(d, rounds, self.past, self.shutouts.of(METER), now_ms):
            if self.machines.moved:
                self.board.disturb(now_ms)
            self.board.disturb_nodes(np.flatnonzero(d.state.node_phase[0] != phase), now_ms)
            d.mark()
            d.mark_supply()
        d.refresh()  # nothing to do in a calm tick; a flag, a cap or a job that changed shows in power at once
        self.spoken |= {key for r in rounds for key in r if key in self.operators}
        for key in self.spoken:
            self.past.note(moment, key, self._predict(d, self.operators[key]))
        touched = set[str]()
        self.trends.tell(self.sensors, d, now_ms)
        for r in rounds:
            touched |= self._hear_round(d, r, now_ms)
        touched |= self._take_kept(d, moment)
        self._forget(d, now_ms)
        d.state.heat_sync_kj[...] += stored_heat_kj(self.site.hall_plenum_kj_per_k, d.state) - before
        if touched & _OF_POWER:
            d.mark_power()
        if touched - _OF_POWER:
            d.mark_air()

    def hear(self, d: Derived, events: Sequence[Event], now_ms: int) -> None:
        """Take what the site announces of nodes and chillers; events are told once, before the readings of the tick."""
        adopt_events(d.state, self.site, events, self.past.told_ms(RUNNING))
        phase = d.state.node_phase[0].copy()
        news = self.machines.nodes.announced(d, events, self.past, now_ms)
        if news:
            self.board.disturb_nodes(np.flatnonzero(d.state.node_phase[0] != phase), now_ms)
        if self.machines.nodes.silent(d, now_ms) or news:
            d.mark()

    def _predict(self, d: Derived, o: Operator) -> Array:
        """What the members expect of all sensors of an operator (M, S); the mean alone of those of nodes."""
        predicted = o.predict(d)
        if o.kind == "node" or o.every_ms:
            return mean_of(predicted)
        return predicted + d.state.arrays[o.bias] if o.bias else predicted

    def _expect(self, d: Derived, o: Operator, said: Said) -> Expected:
        """What was expected of readings of one operator at their time; those that nobody can tell are left out."""
        predicted = None
        if self.past.kept[o.key].ndim == 2:
            mean = self.past.recall(o.key, said.at, said.slot)
            variance = (unseen_frac(d.state, o.key, said.at) * mean) ** 2
        else:
            predicted, mean, variance = self.past.recall_members(o.key, said.at, said.slot, d.kernels)
        told = np.isfinite(mean)
        if not told.all():
            said, mean, variance = said.take(told), mean[told], variance[told]
            predicted = None if predicted is None else predicted.compress(told, axis=1)
        return Expected(o, said, predicted, mean, variance)

    def _hear_round(self, d: Derived, r: Round, now_ms: int) -> set[str]:
        """Hold all readings of a round against what was expected of them, judge them together, take in what is good."""
        found = [self._expect(d, o, r[key]) for key, o in self.operators.items() if key in r]
        if not found:
            return set()
        asked, heard = self.errors.ask(found, self.last, self.sensors)
        absurd, first = self.sensors.absurd(heard, now_ms), 0
        for a in asked:
            last = first + len(a.at)
            if a.operator.key == INLET:
                # inlets that all slip into another unit at once share no air
                trusted = ~(self.sensors.out[a.at + self.names.first[INLET]] | absurd[first:last])
                self.air.hear(a.at[trusted], (a.value - a.mean)[trusted], now_ms)
            first = last
        heard = replace(heard, shared=self.air.shared(heard.sensor))
        self.trends.hear(heard)
        self.sensors.note(heard, now_ms)
        use, weight = self.sensors.judge(heard, now_ms)
        self.shutouts.announce(d.state, self.sensors.take_news())
        self.shutouts.loosen(d.state)
        touched, i = set[str](), 0
        for a in asked:
            k = i + len(a.at)
            touched |= self._hear(d, a, use[i:k], weight[i:k])
            i = k
        return touched

    def _hear(self, d: Derived, a: Asked, use: NDArray[np.bool_], weight: Array) -> set[str]:
        """Take in the readings of one channel and step that may be used, or keep them until their turn."""
        key = a.operator.key
        if key in self.group:
            weight = agreed_weight(a, self.group[key][a.at], weight)
        elif key in SHARING:
            a = self.air.less_common(a)
        if not use.all():
            a, weight = a.take(use), weight[use]
        if not len(a.at):
            return set()
        if not a.operator.every_ms:
            assert a.predicted is not None
            return self._apply(d, a.operator, a.time_ms, a.at, a.value, a.predicted, a.error_var * weight, a.noise_var)
        n = self.names.size[key]
        excess, kept = self._kept.setdefault(key, (np.zeros(n), np.zeros(n, dtype=bool)))
        sure = self.confirm.sure(key, n, a.at, a.value, weight > 1.0)
        excess[a.at[sure]], kept[a.at[sure]] = (a.value - a.mean)[sure], True
        return set()

    def _take_kept(self, d: Derived, moment: Moment) -> set[str]:
        """Take in together what was kept of slow channels: what they said against the twin at their time."""
        touched = set[str]()
        for key, (excess, kept) in self._kept.items():
            o = self.operators[key]
            if not kept.any() or moment.time_ms - self._taken_ms[key] < o.every_ms:
                continue
            at = np.flatnonzero(kept)
            predicted = columns(o.predict(d), at)
            mean = mean_of(predicted)
            # what nobody can tell now, and a node that draws nothing, says nothing about its parameters
            told = mean > DRAWS_KW if o.kind == "node" else np.isfinite(mean)
            if not told.all():
                at, predicted, mean = at[told], predicted.compress(told, axis=1), mean[told]
            if len(at):
                error_var = o.error_sd**2 + (o.error_frac * mean) ** 2
                noise_var = np.full(len(at), o.noise_sd**2)
                value = np.maximum(mean + excess[at], 0.0)
                touched |= self._share(d, o, at, value, predicted, error_var)
                time_ms = np.full(len(at), moment.time_ms)
                touched |= self._apply(d, o, time_ms, at, value, predicted, error_var, noise_var)
            kept[...], self._taken_ms[key] = False, moment.time_ms
        return touched

    def _share(self, d: Derived, o: Operator, at: Places, value: Array, predicted: Array, error_var: Array) -> set[str]:
        """Move what several sensors have in common by the mean of theirs; what is predicted for each goes with it."""
        if o.share is None:
            return set()
        group = self.whose[o.key][at]
        places, of, parts = together(predicted, value, error_var, np.zeros(len(at)), group, d.kernels)
        for link in o.shared:
            self._move(d, link.array, *self._behind(link, places), parts)
        d.kernels.sync_own(predicted, self.each[: len(at)], of, *parts, np.zeros(len(at)))
        return {link.array for link in o.shared}

    def _apply(
        self, d: Derived, o: Operator, time_ms: Places, at: Places, value: Array, predicted: Array, error_var: Array,
        noise_var: Array,
    ) -> set[str]:  # fmt: skip
        """Correct by one channel, only the components that spoke: slow channels take turns."""
        following = self.following[o.key]
        first = at[~np.isfinite(following.last[at])]
        newest = self.past.is_newest(o.key, at, time_ms)
        parts = correction(predicted, value, error_var, noise_var, d.kernels)
        following.note(at, value, parts.difference, parts.variance + error_var + o.noise_sd**2, d.kernels)
        if not (o.own or o.linked or o.bias):
            return set()
        places, of = at, self.each[: len(at)]
        if o.key in self.group:
            group = self.group[o.key][at]
            places, of, parts = together(predicted, value, error_var, noise_var, group, d.kernels)
        elif not newest.all():  # the push of model noise belongs to the newest reading of a sensor alone
            parts.push[~newest] = 0.0
        touched = self._correct_arrays(d, o, places, parts, self.past.moments[-1].time_ms)
        kept = self.past.kept[o.key]
        if kept.ndim == 3:  # what was remembered of the same sensors goes together with what is believed now
            push = parts.push[of] if o.own else np.zeros(len(at))
            d.kernels.sync_past(kept, self.past.time_ms, at, of, time_ms, *parts, push)
        begin(d, o.key, first)
        return touched

    def _correct_arrays(self, d: Derived, o: Operator, places: Places, parts: Parts, time_ms: int) -> set[str]:
        for link in o.own:
            push = parts.push if link.per_unit is None else parts.push * link.per_unit(self.site)[places]
            d.kernels.sync_own(d.state.arrays[link.array], places, self.each[: len(places)], *parts, push)
        moved: dict[str, Array] = {}
        pulled = np.zeros(len(places))
        for link in self.behind[o.key]:
            at, source = self._behind(link, places)
            if not len(at):
                continue
            step, effect = self._move(d, link.array, at, source, parts)
            if o.drift_k > 0.0 and link.via is None:
                moved[link.array], pulled = step, pulled + step * effect
        if moved:
            self.shutouts.pulled(o, places, moved, pulled, time_ms)
        return self.touches[o.key]

    def _behind(self, link: Link, places: Places) -> tuple[Places, Places]:
        """The components of a linked array, and for each the place of the reading behind it."""
        if link.via is None:
            return places, self.each[: len(places)]
        via = np.asarray(link.via(self.site), dtype=np.int64)
        where = np.full(int(max(via.max(initial=0), places.max())) + 1, -1)
        where[places] = np.arange(len(places))
        at = np.flatnonzero(where[via] >= 0)
        return at, where[via[at]]

    def _move(self, d: Derived, name: str, at: Places, source: Places, parts: Parts) -> tuple[Array, Array]:
        """Move a parameter (or a quantity that is linked to another) of some components.

        Return its mean step (at,), and what one unit of it changes in what is predicted.
        """
        array = d.state.arrays[name]
        if name in BY_NAME:
            return self.widths.move(array, name, at, source, parts, d.kernels)
        old = columns(array, at)
        new, moved = np.empty_like(old), np.empty((2, len(at)))
        d.kernels.sync_linked(old, source, *parts, new, moved)
        put(array, at, new)
        return moved[0], moved[1]

    def _forget(self, d: Derived, now_ms: int) -> None:
        """Once a minute parameters become a little less certain, much less where a sensor is shut out."""
        if not self._forgot_ms:
            self._forgot_ms = now_ms
        if now_ms - self._forgot_ms >= FORGET_EVERY_MS:
            self.widths.forget(d.state, now_ms - self._forgot_ms, self.shutouts.doubtful(d.state), d.kernels)
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
                out = self.shutouts.count((kind, channel))
                rows.append({"channel": f"{kind}.{channel}", **f.row(), "shut_out": out})
        return rows

    @property
    def out(self) -> NDArray[np.bool_]:
        """By sensor number: whether it is shut out."""
        return self.sensors.out

    def scaled(self, key: Key) -> Array:
        """Return the newest innovation of each sensor of a channel over its expected size, NaN where it has none.

        Readings that are held back or shut out are among them.
        """
        at = self.names.of(key)
        return np.where(self.board.heard_ms[at] > 0, self.board.scaled[at], np.nan)


_OF_POWER = {"node_power_scale", "rack_idle_scale", "rack_bend_scale", "rack_psu_loss_scale"}
