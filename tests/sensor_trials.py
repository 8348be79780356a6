"""How failed sensors are found, measured: emulated sites, sensors that fail in every way, and hours in which none does.

    PYTHONPATH=.:tests python tests/sensor_trials.py --site hall --seed 200 --seeds 2

A site lives through a story (`verbs/trial_story.py`: noise, errors of sensors, 5 % gaps, 2 % late, 2 % plain wrong
readings). A twin follows it for an hour; then copies of it go on, each hearing some sensors that fail. Simulated.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from plant.site import Site, load_site
from recovery.livetwin import LiveTwin
from scheduler.emulated import EmulatedScheduler
from twin.state import State
from twin.sync.shutouts import OUT
from twin.telemetry.admit import Gate
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.store import Batch
from verbs.trial_run import TICK_MS, TWIN_SEED
from verbs.trial_story import START_MS, Story

Key = tuple[str, str]
INLET, OUTLET, HOT, NODE = ("rack", "inlet_c"), ("rack", "outlet_c"), ("hall", "hot_c"), ("node", "power_kw")
TRUTH = {INLET: "rack_inlet_c", OUTLET: "rack_air_c", HOT: "hall_hot_c"}


class Fault:
    """One way to fail: what is said instead of a reading, hours after it began."""

    def __init__(self, change: Callable[[float, float, np.random.Generator], float]) -> None:
        self.change = change

    def begin(self) -> Callable[[float, float, np.random.Generator], float]:
        """A fresh one, that remembers nothing."""
        return self.change


class Frozen(Fault):
    """Says for ever what it said first."""

    def __init__(self) -> None:
        pass

    def begin(self) -> Callable[[float, float, np.random.Generator], float]:
        first: list[float] = []

        def say(hours: float, value: float, rng: np.random.Generator) -> float:
            first.append(value)
            return first[0]

        return say


def drift(k_per_h: float) -> Fault:
    return Fault(lambda h, v, rng: v + k_per_h * h)


def relative_drift(frac_per_h: float) -> Fault:
    return Fault(lambda h, v, rng: v * (1.0 + frac_per_h * h))


FAHRENHEIT = Fault(lambda h, v, rng: 1.8 * v + 32.0)
KELVIN = Fault(lambda h, v, rng: v + 273.15)
TENFOLD = Fault(lambda h, v, rng: 10.0 * v)
SPIKING = Fault(lambda h, v, rng: v + (12.0 if rng.random() < 0.6 else 0.0))
JUMPED = Fault(lambda h, v, rng: v + 5.0)

FAULTS: dict[tuple[str, Key], Fault] = {}
for key in (INLET, OUTLET, HOT):
    FAULTS |= {(f"drift {k:+g} K/h", key): drift(k) for k in (2.0, -2.0, 4.0, -4.0)}
    FAULTS |= {("frozen", key): Frozen(), ("spiking", key): SPIKING, ("jump +5 K", key): JUMPED}
    FAULTS |= {("F", key): FAHRENHEIT, ("K", key): KELVIN, ("x10", key): TENFOLD}
FAULTS |= {(f"drift {100 * x:+g} %/h", NODE): relative_drift(x) for x in (0.1, -0.1)}


@dataclass
class Case:
    """One sensor that fails, and what became of it."""

    kind: str
    key: Key
    at: int
    component: str
    say: Callable[[float, float, np.random.Generator], float]
    before: float = 0.0
    """How far the estimate was from the truth, in the mean of the ten minutes before the fault [K, or a share]."""
    found_min: float | None = None
    reason: str = ""
    refused: int = 0
    moved: list[float] = field(default_factory=list)
    """How far the estimate has gone from there, every five minutes: truth less `before` taken off."""
    sd: list[float] = field(default_factory=list)
    flow: list[float] = field(default_factory=list)
    """ln(learned flow / true flow) of the rack."""

    def row(self) -> dict[str, object]:
        """What is kept."""
        until = len(self.moved) if self.found_min is None else int(self.found_min // 5) + 1
        return {
            "kind": self.kind, "key": ".".join(self.key), "component": self.component, "found_min": self.found_min,
            "reason": self.reason, "refused": self.refused,
            "moved": max(map(abs, self.moved[:until]), default=0.0), "end": self.moved[-1], "sd_end": self.sd[-1],
            "flow_moved": max((abs(f - self.flow[0]) for f in self.flow[:until]), default=0.0) if self.flow else None,
            "flow_end": self.flow[-1] - self.flow[0] if self.flow else None,
        }  # fmt: skip


def estimate(site: Site, key: Key, at: int, s: State) -> tuple[float, float]:
    """Mean and spread over the members of what a sensor measures; a node's power is its factor."""
    if key == NODE:
        values = np.log(s.node_power_scale[:, at])
    else:
        values = s.arrays[TRUTH[key]][:, at]
    return float(values.mean()), float(values.std(ddof=1))


class Copy:
    """A twin that hears some sensors fail."""

    def __init__(self, site: Site, twin: LiveTwin, cases: list[Case], seed: int) -> None:
        self.site, self.twin, self.cases, self.gate = site, twin, cases, gate_of(site)
        self.rng, self.lost, self.errors = (
            np.random.default_rng(seed),
            list[str](),
            {id(c): list[float]() for c in cases},
        )

    def hear(self, batch: Batch, now_ms: int, hours: float) -> None:
        """One tick; hours: since the faults began, negative before."""
        value = batch.value.copy()
        for case in self.cases if hours >= 0.0 else ():
            for i in np.flatnonzero((batch.channel == case.key[1]) & (batch.component == case.component)):
                value[i] = case.say(hours, value[i], self.rng)
        good, bad = self.gate.admit(Batch(batch.time_ms, batch.component, batch.channel, value), now_ms)
        for refusal in bad if hours >= 0.0 else ():
            for case in self.cases:
                case.refused += (refusal.component, refusal.channel) == (case.component, case.key[1])
        self.twin.correct(good, now_ms)
        for event in self.twin.sync.shutouts.take_events():
            if event.type == OUT:
                self._count(event.component, event.code, event.text, hours)

    def _count(self, component: str, channel: str, text: str, hours: float) -> None:
        for case in self.cases:
            if (component, channel) == (case.component, case.key[1]) and hours >= 0.0:
                if case.found_min is None:
                    case.found_min, case.reason = 60.0 * hours, text.split(":")[0]
                return
        self.lost.append(f"{60.0 * hours:.0f} min {component} {channel} {text}")

    def look(self, truth: State, hours: float) -> None:
        """Compare with the truth: every minute before the fault, every five after."""
        s = self.twin.state
        for case in self.cases:
            mean, sd = estimate(self.site, case.key, case.at, s)
            true, _ = (np.log(truth.node_power_scale[0, case.at]), 0.0) if case.key == NODE else (
                float(truth.arrays[TRUTH[case.key]][0, case.at]), 0.0)  # fmt: skip
            if hours < 0.0:
                self.errors[id(case)].append(mean - true)
                case.before = float(np.mean(self.errors[id(case)][-10:]))
                continue
            case.moved.append(mean - true - case.before)
            case.sd.append(sd)
            if case.key in (INLET, OUTLET):
                flow = s.rack_flow_kw_per_k[:, case.at].mean() / truth.rack_flow_kw_per_k[0, case.at]
                case.flow.append(float(np.log(flow)))


def gate_of(site: Site) -> Gate:
    return Gate({c: kind for kind in site.kinds for c in site.components(kind)})


def copy_of(twin: LiveTwin) -> LiveTwin:
    """A second twin that knows what the first one knows."""
    new = LiveTwin(twin.site, twin.state.now_ms, twin.state.members, 0, state=twin.state.fork())
    memo: dict[int, object] = {id(twin.site): twin.site}
    for name in ("sync", "divergence", "activity", "_jobs_version", "_jobs_ms", "_nodes_ms"):
        setattr(new, name, copy.deepcopy(getattr(twin, name), memo))
    return new


def plan(site: Site, seed: int, wanted: Sequence[tuple[str, Key]], per_twin: int) -> list[list[Case]]:
    """Which sensors fail in which copy: so many in one twin, never two in a rack; hall air in a copy of its own."""
    rng = np.random.default_rng(seed)
    copies: list[list[Case]] = []
    small = [w for w in wanted if w[1] != HOT]
    rng.shuffle(small)  # type: ignore[arg-type]
    for begin in range(0, len(small), per_twin):
        group = [tuple(w) for w in small[begin : begin + per_twin]]
        racks = _spread(site, rng, len(group))
        copies.append([_case(site, kind, tuple(key), racks[i], rng) for i, (kind, key) in enumerate(group)])
    halls = [w for w in wanted if w[1] == HOT]
    n = len(site.hall_ids)
    for begin in range(0, len(halls), n):
        group = halls[begin : begin + n]
        copies.append([_case(site, kind, key, h, rng) for h, (kind, key) in enumerate(group)])
    return copies


def _spread(site: Site, rng: np.random.Generator, n: int) -> list[int]:
    """Racks that fail: halls take turns."""
    of = [rng.permutation(np.flatnonzero(site.rack_hall == h)) for h in range(len(site.hall_ids))]
    return [int(of[i % len(of)][i // len(of)]) for i in range(n)]


def _case(site: Site, kind: str, key: Key, rack: int, rng: np.random.Generator) -> Case:
    at = int(rng.choice(np.flatnonzero(site.node_rack == rack))) if key == NODE else rack
    return Case(kind, key, at, site.components(key[0])[at], FAULTS[kind, key].begin())


def trial(
    site: Site, seed: int, wanted: Sequence[tuple[str, Key]], *, eventful: bool, members: int, per_twin: int,
    begin_h: float = 1.0, hours: float = 2.0, clean: bool = True,
) -> dict[str, object]:  # fmt: skip
    """One seed: the failed sensors' rows, who else was lost, and who was shut out by a twin that heard no fault."""
    story = Story(site, seed, begin_h + hours, eventful)
    store = MemoryStore()
    emulator = story.emulator(store)
    scheduler = EmulatedScheduler(emulator.request)
    cursor, changes = store.tail_end(), story.setpoints()
    cases = plan(site, seed, wanted, per_twin)
    first = Copy(site, LiveTwin(site, START_MS, members, TWIN_SEED + seed), [c for group in cases for c in group], seed)
    copies = [first]
    begin_ms = START_MS + int(begin_h * 3.6e6)
    for now_ms in range(START_MS + TICK_MS, begin_ms + int(hours * 3.6e6) + 1, TICK_MS):
        while changes and changes[0].at_ms < now_ms:
            story.command(emulator, changes.pop(0))
        if now_ms == begin_ms:
            copies = [] if not clean else [first]
            for group in cases:
                one = Copy(site, copy_of(first.twin), group, seed)
                one.errors = {id(c): first.errors[id(c)] for c in group}
                copies.append(one)
            first.cases = []
        version = emulator.advance(now_ms)["jobs_version"]
        batch, cursor = store.tail(cursor)
        events = store.events(now_ms - TICK_MS + 1, now_ms + 1)
        after_h = (now_ms - begin_ms) / 3.6e6
        for one in copies:
            one.twin.advance(now_ms)
            one.twin.follow(scheduler, now_ms, version)
            one.twin.hear(events)
            one.hear(batch, now_ms, after_h)
            if (now_ms - begin_ms) % (60_000 if after_h < 0 else 300_000) == 0:
                one.look(emulator.engine.state, after_h)
    rows = [{"seed": seed, "site": site.name, "story": story.name, **c.row()} for group in cases for c in group]
    heard = sum(first.twin.sync.names.size[k] for k in first.twin.sync.spoken)
    lost = [f"{seed} {text}" for one in copies if one is not first for text in one.lost]
    return {
        "seed": seed, "story": story.name, "rows": rows, "lost": lost, "copies": len(cases),
        "false": [f"{seed} {text}" for text in first.lost], "sensors": heard,
        "hours": begin_h + (hours if clean else 0.0), "in_sync": [one.twin.in_sync()[0] for one in copies],
    }  # fmt: skip


def table(rows: list[dict[str, object]]) -> list[str]:
    """Lines: kind, channel, n, found, delay, how far the estimate went."""
    out = []
    for kind, key in dict.fromkeys((str(r["kind"]), str(r["key"])) for r in rows):
        some = [r for r in rows if (r["kind"], r["key"]) == (kind, key)]
        found = [r for r in some if r["found_min"] is not None]
        door = sum(1 for r in some if r["refused"] and r["found_min"] is None)
        delay = [float(r["found_min"]) for r in found]  # type: ignore[arg-type]
        moved = [float(r["moved"]) for r in some]  # type: ignore[arg-type]
        end = [abs(float(r["end"])) for r in some]  # type: ignore[arg-type]
        z = [abs(float(r["end"])) / max(float(r["sd_end"]), 1e-9) for r in some]  # type: ignore[arg-type]
        flow = [abs(float(r["flow_moved"])) for r in some if r["flow_moved"] is not None]  # type: ignore[arg-type]
        flow_end = [abs(float(r["flow_end"])) for r in some if r["flow_end"] is not None]  # type: ignore[arg-type]
        names = sorted({str(r["reason"]) for r in found})
        out.append(
            f"{kind:14s} {key:13s} n {len(some):3d} found {len(found):3d} door {door:2d} "
            f"delay {np.median(delay) if delay else np.nan:5.1f}/{max(delay, default=np.nan):5.1f} min "
            f"moved {np.median(moved):.2f}/{max(moved):.2f} "
            f"end {np.median(end):.2f}/{max(end):.2f} z {np.median(z):.1f} "
            f"flow {np.median(flow) if flow else np.nan:.3f}/{max(flow, default=np.nan):.3f} "
            f"end {np.median(flow_end) if flow_end else np.nan:.3f} {','.join(names)}"
        )
    return out


def main() -> None:
    """Run and print."""
    ask = argparse.ArgumentParser()
    ask.add_argument("--site", default="tiny")
    ask.add_argument("--seed", type=int, default=200)
    ask.add_argument("--seeds", type=int, default=1)
    ask.add_argument("--members", type=int, default=32)
    ask.add_argument("--per-twin", type=int, default=0)
    ask.add_argument("--hours", type=float, default=2.0)
    ask.add_argument("--begin", type=float, default=1.0)
    ask.add_argument("--eventful", action="store_true")
    ask.add_argument("--kinds", default="", help="comma separated beginnings of 'kind.channel: fault', none: clean")
    ask.add_argument("--no-clean", action="store_true")
    ask.add_argument("--out", default="")
    a = ask.parse_args()
    site = load_site(a.site)
    per_twin = a.per_twin or (len(site.hall_ids) if len(site.rack_ids) < 20 else 24)
    names = {f"{'.'.join(key)}: {kind}": (kind, key) for kind, key in FAULTS}
    kinds = [w for name, w in names.items() if any(name.startswith(k) for k in a.kinds.split(","))]
    wanted = [] if a.kinds == "none" else kinds
    rows, false, lost, hours, copies = [], [], [], 0.0, 0
    for seed in range(a.seed, a.seed + a.seeds):
        got = trial(site, seed, wanted, eventful=a.eventful, members=a.members, per_twin=per_twin, hours=a.hours,
                    begin_h=a.begin, clean=not a.no_clean)  # fmt: skip
        rows += got["rows"]
        false += got["false"]
        lost += got["lost"]
        copies += int(got["copies"])
        hours += float(got["hours"]) * int(got["sensors"])
        print(seed, got["in_sync"], flush=True)
    print(*table(rows), sep="\n")
    print(f"clean: {len(false)} shut out in {hours:.0f} sensor-hours", *false, sep="\n  ")
    print(f"beside failed ones: {len(lost)} in {copies} twins", *lost, sep="\n  ")
    if a.out:
        with open(a.out, "w") as out:
            json.dump({"rows": rows, "false": false, "lost": lost, "sensor_hours": hours, "copies": copies}, out)


if __name__ == "__main__":
    main()
