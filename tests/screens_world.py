"""A small state folder for the tests of the screens, written by the real board, store, ledger and executor.

The story is the hall of data/sites/hall.toml losing the flow of one chilled-water loop; the figures are made up but of
a plausible size. `python tests/screens_world.py FOLDER STAGE` writes it, for a look with the eye.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from plant.actions import Action, Plan, do_nothing
from plant.site import Site, load_site
from recovery.execute import Executor, Facts, Patience
from recovery.ledger import Ledger
from recovery.plant_port import WorkOrderPlant
from scheduler.port import JobView
from scheduler.simulated import SimulatedScheduler
from twin.board import Board
from twin.telemetry.sqlite_store import SqliteStore
from twin.telemetry.store import Batch

ROOT = Path(__file__).resolve().parent.parent
LOOP, HOT, COOL = "hk/zone-c/loop", "hk/zone-c", "hk/zone-b"
NOW_MS = int(datetime(2022, 12, 18, 0, 49, 30, tzinfo=UTC).timestamp() * 1000)
LIFE_MS = 600_000
STAGES = ("quiet", "awaiting", "executing", "ended")

CAP = Action.of("cap_power", [HOT], cap_frac=0.6)
CORDON = Action.of("cordon", [HOT])
MIGRATE = Action.of("migrate", [HOT], to_hall=COOL, concurrent=8)
DRAIN = Action.of("drain_at_checkpoint", [HOT])
RETURN = Action.of("ordered_return", [HOT], when="cooling_back")

# label, steps, P(worse), bound, lost service min (mean, P10, P90), CVaR95, lost GPU-h, kWh, kgCO2, GB, stops, paged,
# peak °C, recovery s, what the gate holds against it
PLANS: tuple[tuple[Any, ...], ...] = (
    ("cap_and_migrate", (CAP, CORDON, MIGRATE, RETURN), 0.012, 0.031, (64, 41, 98), 131,
     212, 9_480, 6_257, 4_120, 0, 0.4, 31.6, 9_600, ()),
    ("cap", (CAP, RETURN), 0.02, 0.043, (118, 71, 190), 268, 388, 9_210, 6_079, 0, 9, 0.6, 36.2, 12_300, ()),
    ("migrate", (CORDON, MIGRATE, RETURN), 0.055, 0.091, (171, 92, 305), 402,
     240, 10_900, 7_194, 6_890, 41, 1.0, 39.8, 14_700, ()),
    ("do_nothing", (), 0.0, None, (612, 498, 744), 801, 1_730, 9_020, 5_953, 0, 546, 2.0, 44.1, None, ()),
    ("drain_at_checkpoint", (DRAIN, RETURN), 0.34, 0.41, (580, 402, 760), 822,
     1_410, 8_800, 5_808, 260, 388, 1.6, 43.0, 41_000,
     ("P(worse than doing nothing) is at most 41 %, allowed are 10 %",)),
)  # fmt: skip


# channel, usual level, (RMSE, persistence) now, then 10 min and 1 h ahead
SYNC: tuple[tuple[Any, ...], ...] = (
    ("region.power_kw", 1_700, (18.2, 22.4), ((22.1, 29.9), (47.3, 45.3))),
    ("hall.power_kw", 520, (6.0, 8.3), ((11.3, 11.3), (21.2, 18.9))),
    ("node.power_kw", 1.1, (0.034, 0.106), ((0.144, 0.154), (0.32, 0.33))),
    ("loop.supply_c", 11, (0.12, 0.16), ((0.15, 0.21), (0.13, 0.22))),
    ("loop.flow_frac", 1.0, (0.011, 0.014), ((0.0097, 0.0113), (0.011, 0.013))),
    ("hall.hot_c", 34, (0.15, 0.19), ((0.17, 0.18), (0.25, 0.22))),
    ("rack.inlet_c", 22, (0.11, 0.16), ((0.13, 0.17), (0.13, 0.17))),
    ("rack.outlet_c", 30, (0.15, 0.18), ((0.56, 0.64), (1.61, 1.64))),
    ("cooling_unit.fan_frac", 0.8, (0.009, 0.012), ((0.009, 0.011), (0.009, 0.012))),
    ("chiller.power_kw", 20, (0.3, 0.37), ((2.1, 0.55), (2.0, 0.81))),
)


@cache
def hall() -> Site:
    """The stage of the story."""
    return load_site(ROOT / "data" / "sites" / "hall.toml")


def plan_of(label: str, steps: tuple[Action, ...], now_ms: int) -> Plan:
    """A plan for the hot hall, good for ten minutes of site time."""
    if not steps:
        return do_nothing(LOOP, now_ms, now_ms + LIFE_MS, "9f31c2ab77d0e41c", "policy")
    return Plan(label, steps, LOOP, (), "9f31c2ab77d0e41c", "policy", now_ms, now_ms + LIFE_MS)


def rehearsal(row: tuple[Any, ...], rank: int) -> dict[str, Any]:
    """What the rehearsal of one row of PLANS has found."""
    label, _, p, bound, (lost, low, high), cvar, gpu_h, kwh, kg, gb, stops, paged, peak_c, back_s, against = row
    names = ("lost_service_min", "lost_gpu_h", "energy_kwh", "carbon_kgco2", "moved_gb", "node_stops", "people_paged")
    means = (lost, gpu_h, kwh, kg, gb, stops, paged)
    return {
        "label": label,
        "p_worse_than_nothing": p,
        "p_worse_bound": bound,
        "cvar95": cvar,
        "costs": dict(zip(names, means, strict=True)),
        "costs_p10": dict(zip(names, (low, *(0.8 * x for x in means[1:])), strict=True)),
        "costs_p90": dict(zip(names, (high, *(1.25 * x for x in means[1:])), strict=True)),
        "peak_inlet_c": peak_c,
        "recovery_s": back_s,
        "members": 256,
        "horizon_s": 43_200,
        "rank": rank,
        "gate_reasons": list(against),
        "snapshot_hash": "9f31c2ab77d0e41c",
        "simulated": True,
    }


@dataclass
class ScreenWorld:
    """A folder under `home` with everything the screens read; `wall_s` is the wall clock the worker last spoke at."""

    home: Path
    wall_s: float = 1_700_000_000.0
    now_ms: int = NOW_MS
    mode: str = "demo"
    autonomy: str = "propose"
    plans: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.board = Board(self.home / "telemetry.sqlite")
        self.ledger = Ledger(self.home / "ledger.sqlite")
        self.site = hall()

    def close(self) -> None:
        self.board.close()
        self.ledger.close()

    def post(self, **values: Any) -> None:
        """Put keys on the board."""
        self.board.put_all(values, self.now_ms)

    def status(self, **other: Any) -> None:
        """Post the worker's status, changed as asked."""
        usual = {
            "now_ms": self.now_ms,
            "site": "hall",
            "mode": self.mode,
            "incident": "alibaba-hk-2022-12-18",
            "tick": 212,
            "age_s": 12.0,
            "paused": None,
            "in_sync": True,
            "sync_reason": "",
            "clock": "running",
            "speed": 60,
            "autonomy": self.autonomy,
            "simulated": True,
            "worker_ms": round(self.wall_s * 1000),
        }
        self.post(status=usual | other)

    def risks(self, *, acting: bool) -> list[dict[str, Any]]:
        """A score for every watched component, in no particular order."""
        rng = np.random.default_rng(7)
        found = []
        for kind in ("loop", "chiller", "hall", "cooling_unit", "rack", "ups", "feed"):
            for name in self.site.components(kind):
                hour = float(rng.uniform(0.001, 0.04))
                if acting and name.startswith(HOT):
                    hour = {"loop": 0.94, "chiller": 0.66, "hall": 0.57, "rack": float(rng.uniform(0.12, 0.38))}.get(
                        kind, hour
                    )
                found.append(self.risk(name, kind, hour, act=acting and name == LOOP))
        silent = self.risk("hk/zone-b/r17", "rack", None)
        return [silent if risk["component"] == silent["component"] else risk for risk in found]

    def risk(self, name: str, kind: str, hour: float | None, act: bool = False) -> dict[str, Any]:
        """One risk by its probability within an hour."""
        horizons = (600, 3_600, 21_600, 86_400)
        p_fail = {str(h): None if hour is None else 1 - (1 - hour) ** (h / 3_600) for h in horizons}
        rate = 0.0 if not hour else -math.log(1 - hour)
        ttf = [-math.log(1 - q) / rate * 3_600 for q in (0.1, 0.5, 0.9)] if hour and hour > 0.3 else None
        reasons = {
            LOOP: ["flow 0.61 of nominal, 7.8 times its tolerance below", "supply 12.9 °C, 1.9 K above its reference"],
        }.get(name, ["follows its loop"] if act or (hour or 0) > 0.3 else [])
        return {
            "component": name,
            "kind": kind,
            "at_ms": self.now_ms,
            "p_fail": p_fail,
            "ttf_quantiles_s": ttf,
            "tier": "lstm" if hour and hour > 0.1 else "residual",
            "reasons": reasons,
            "model": "loop-lstm 3f2c",
            "age_s": None if hour is None else 12.0,
            "unknown": hour is None,
            "act": act,
        }

    def trend(self, *, falling: bool, hours: float = 6.0) -> dict[str, Any]:
        """Six hours of curves; `falling` lets the loop of the hot zone warm in the last half hour."""
        n = int(hours * 30)
        at = self.now_ms - 120_000 * np.arange(n)[::-1]
        left_min = (self.now_ms - at) / 60_000
        heat = np.clip(26 - left_min, 0, None) if falling else np.zeros(n)
        wave = 0.12 * np.sin(np.arange(n) / 9.0) + 0.05 * np.sin(np.arange(n) / 2.3)
        return {
            "minutes": [int(t) for t in at],
            "service_frac": [round(float(x), 4) for x in 1 - 0.0002 * np.abs(wave)],
            "loop_supply_c": {
                LOOP: [round(float(x), 2) for x in 11 + wave + 0.12 * heat],
                "hk/zone-b/loop": [round(float(x), 2) for x in 11 - wave],
            },
            "max_inlet_c": {
                HOT: [round(float(x), 2) for x in 22.4 + wave + 0.09 * heat],
                COOL: [round(float(x), 2) for x in 22.1 - wave],
            },
            "power_kw": [round(float(x), 1) for x in 1_120 + 14 * wave],
        }

    def readings(self) -> None:
        """Two hours of two channels of the loop in the store."""
        store = SqliteStore(self.home / "telemetry.sqlite")
        n = 240
        at = np.repeat(self.now_ms - 30_000 * np.arange(n)[::-1], 2)
        channel = np.array(["flow_frac", "supply_c"] * n, dtype=object)
        sag = np.clip((np.arange(n) - 190) / 50, 0, 1)
        value = np.stack([1 - 0.39 * sag, 11 + 1.9 * sag], axis=1).ravel()
        store.write(Batch(at, np.full(2 * n, LOOP, dtype=object), channel, value))
        store.close()

    def propose(self) -> None:
        """The five candidates of the alert, rehearsed, in the ledger."""
        for rank, row in enumerate(PLANS):
            plan = plan_of(row[0], row[1], self.now_ms)
            assert self.ledger.propose(plan, self.now_ms).ok
            assert self.ledger.rehearsed(plan.id, rehearsal(row, rank), rank, self.now_ms).ok
            self.plans[row[0]] = plan.id

    def alert(self, status: str = "awaiting_approval", **other: Any) -> dict[str, Any]:
        """The alert of the story."""
        return {
            "cause": LOOP,
            "kind": "loop",
            "since_ms": NOW_MS - 90_000,
            "children": [HOT, *(name for name in self.site.components("chiller") if name.startswith(HOT))],
            "p_fail": {"600": 0.37, "3600": 0.94},
            "ttf_s": 886.0,
            "plans": list(self.plans.values()),
            "recommended": "cap_and_migrate",
            "status": status,
        } | other

    def execute(self, turns: int, wait_s: float = 15.0) -> None:
        """Let the real executor carry the approved plan out against the simulated scheduler for some turns."""
        scheduler = SimulatedScheduler(lambda: self.now_ms, self.home / "scheduler.sqlite", move_s=14.0)
        for hall, count in ((HOT, 24), (COOL, 40)):
            scheduler.add_nodes(hall, [f"{hall}/r01/n{i:03d}" for i in range(1, count + 1)])
        for i in range(6):
            nodes = tuple(f"{HOT}/r01/n{n:03d}" for n in (2 * i + 1, 2 * i + 2))
            scheduler.add_job(JobView(f"job-{i + 1}", "batch", HOT, nodes, "running", 1))
        plant = WorkOrderPlant(self.ledger, lambda: self.now_ms)
        hands = Executor.start(
            self.ledger,
            scheduler,
            plant,
            self.home / "pause",
            "test",
            self.now_ms,
            None,
            Patience(30.0, 600.0, 7_200.0),
        )
        began_ms = self.now_ms
        for turn in range(turns):
            back = turn > turns // 2
            facts = Facts(
                age_s=lambda component: 12.0,
                triggered=lambda name, back=back: back and name == "cooling_back",
                service_ok_since_ms=began_ms,
                service_read_ms=self.now_ms,
            )
            hands.step(self.now_ms, facts)
            self.now_ms += round(wait_s * 1000)
            if not self.ledger.plans("approved", "executing", "verifying"):
                break
        scheduler.close()

    def sync(self, *, out: bool = False) -> dict[str, Any]:
        """How well the twin follows; `out`: the hot zone does not."""
        rows = []
        for channel, level, now, ahead in SYNC:
            for horizon_s, (rmse, plain) in zip((0, 600, 3600), (now, *ahead), strict=False):
                rows.append(
                    {
                        "channel": channel, "horizon_s": horizon_s, "rmse": rmse, "persistence_rmse": plain,
                        "mape": 0.8 * rmse / level, "persistence_mape": 0.8 * plain / level, "nmbe": 0.1 * rmse / level,
                        "cv_rmse": rmse / level, "coverage80": 0.93 - horizon_s / 40_000, "n": 2_573, "stale": 0,
                        "refused": 3 if channel == "rack.inlet_c" else 0,
                    }
                )  # fmt: skip
        since = self.now_ms - 540_000
        return {
            "rows": rows,
            "in_sync": not out,
            "halls": [
                {"hall": HOT, "channel": "rack.outlet_c", "level": 4.6 if out else 1.3, "out": out,
                 "since_ms": since if out else None},
                {"hall": COOL, "channel": "node.power_kw", "level": 0.7, "out": False, "since_ms": None},
            ],
            "refused": {"above_range": 12, "in_the_future": 1},
            "not_used": {"too_late": 34, "again": 2},
            "shut_out": [
                {"component": f"{COOL}/r07", "channel": "rack.inlet_c", "reason": "frozen",
                 "found": "21.4 for 31 min", "since_ms": since},
            ],
        }  # fmt: skip

    def outcome(self) -> dict[str, Any]:
        """The accounting of the end, as `demo --json` prints it."""
        parts = (0, 45, 9, 24, 180, 15, 420, 300)
        names = ("detect", "diagnose", "plan", "rehearse", "decide", "start", "act", "verify")
        return {
            "incident": "alibaba-hk-2022-12-18",
            "site": "hall",
            "t_first_alert_s": 1_230.0,
            "t_static_alert_s": 2_370.0,
            "t_first_stop_do_nothing_s": 3_990.0,
            "chosen": "cap_and_migrate",
            "outcome": "recovered",
            "lost_service_min": 58.4,
            "lost_service_min_do_nothing": 604.2,
            "mttr_s": float(sum(parts)),
            "mttr_do_nothing_s": 45_600.0,
            "parts": {f"{name}_s": float(part) for name, part in zip(names, parts, strict=True)},
            "simulated": True,
        }

    def tell(self, stage: str) -> ScreenWorld:
        """Write the story up to a stage: quiet, awaiting, executing or ended."""
        acting = stage != "quiet"
        self.readings()
        if acting:
            self.propose()
        if stage in ("executing", "ended"):
            best = self.plans["cap_and_migrate"]
            assert self.ledger.decide(
                best, "demo operator", "approve", "zone c loses its water", self.now_ms + 180_000
            ).ok
            self.now_ms += 180_000
            self.execute(4 if stage == "executing" else 40)
        states = {"quiet": "running", "awaiting": "waiting", "executing": "running", "ended": "ended"}
        self.status(clock=states[stage])
        words = {"awaiting": "awaiting_approval", "executing": "executing"}
        self.post(
            risks=self.risks(acting=stage in words),
            alert=self.alert(words[stage]) if stage in words else None,
            trend=self.trend(falling=stage in words),
            sync=self.sync(),
            outcome=self.outcome() if stage == "ended" else None,
        )
        return self


if __name__ == "__main__":
    ScreenWorld(Path(sys.argv[1]), wall_s=time.time()).tell(sys.argv[2]).close()
