"""What the worker posts on the board for the screens: status, risks, alert, trends, sync."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from recovery.loop import Worker
from twin.board import Board
from twin.telemetry.store import WritesBack

SCORES = "forecast"  # topic of the board's history: how forecasts did, by channel and horizon
TREND_EVERY_MS = 60_000
TREND_POINTS = 720


@dataclass
class Trend:
    """Decimated history of what the fleet screen draws."""

    minutes: deque[int] = field(default_factory=lambda: deque(maxlen=TREND_POINTS))
    columns: dict[str, deque[float]] = field(default_factory=dict)

    def note(self, worker: Worker, now_ms: int) -> None:
        """Take one point each site minute."""
        if self.minutes and now_ms - self.minutes[-1] < TREND_EVERY_MS:
            return
        s, d, site = worker.twin.state, worker.twin.engine.derived, worker.w.site
        self.minutes.append(now_ms)
        self._add("service_frac", float(s.service_frac.mean()))
        self._add("power_kw", float(d.hall_kw.sum(axis=1).mean()))
        for i, loop in enumerate(site.loop_ids):
            self._add(f"loop_supply_c/{loop}", float(s.loop_supply_c[:, i].mean()))
        inlet = s.rack_inlet_c.mean(axis=0)
        for h, hall in enumerate(site.hall_ids):
            self._add(f"max_inlet_c/{hall}", float(inlet[site.rack_hall == h].max()))

    def _add(self, name: str, value: float) -> None:
        self.columns.setdefault(name, deque(maxlen=TREND_POINTS)).append(round(value, 4))

    def as_json(self) -> dict[str, Any]:
        """Return the trend in the shape that screens read."""
        out: dict[str, Any] = {"minutes": list(self.minutes)}
        for name, values in self.columns.items():
            head, _, component = name.partition("/")
            if component:
                out.setdefault(head, {})[component] = list(values)
            else:
                out[head] = list(values)
        return out


@dataclass
class Poster:
    """Posts the worker's view; `fixed` are the parts of the status that do not change.

    back: a store that keeps risks and sync for dashboards, or None.
    """

    board: Board
    fixed: dict[str, Any]
    trend: Trend = field(default_factory=Trend)
    back: WritesBack | None = None
    _back_risks: Any = field(default=None, init=False)

    def status(self, worker: Worker, now_ms: int, wall_ms: int, clock: str) -> dict[str, Any]:
        """Return the status posting."""
        in_sync, reason = worker.twin.in_sync()
        paused = worker.w.pause_path
        return {
            **self.fixed,
            "now_ms": now_ms,
            "worker_ms": wall_ms,
            "clock": clock,
            "age_s": worker.watch.worst_age_s(now_ms),
            "in_sync": in_sync,
            "sync_reason": reason,
            "paused": {"who": "", "why": paused.read_text().strip()} if paused.exists() else None,
        }

    def post(self, worker: Worker, now_ms: int, wall_ms: int, clock: str) -> None:
        """Post everything at once."""
        self.trend.note(worker, now_ms)
        self.board.put_all(
            {
                "status": self.status(worker, now_ms, wall_ms, clock),
                "risks": worker.watch.as_json(),
                "alert": worker.alert_json(),
                "trend": self.trend.as_json(),
                "sync": sync_posting(worker),
            },
            now_ms,
        )

        self._keep_scores(worker)
        self._write_back(worker, now_ms)

    def _keep_scores(self, worker: Worker) -> None:
        """Remember how each forecast did: the report of the last day outlives this process."""
        rows = dict[int, list[tuple[str, Any]]]()
        for of_ms, name, sums in worker.twin.lookout.take_news():
            rows.setdefault(of_ms, []).append((name, sums))
        for of_ms, told in rows.items():
            self.board.add_history(SCORES, of_ms, told)

    def _write_back(self, worker: Worker, now_ms: int) -> None:
        """Give risks and sync to the store; risks only when they have been put into words anew."""
        if self.back is None:
            return
        in_sync, _ = worker.twin.in_sync()
        rows, age_s = worker.twin.sync_report(worker.refused), worker.watch.worst_age_s(now_ms)
        self.back.write_sync(now_ms, rows, in_sync=in_sync, age_s=age_s)
        if worker.watch.risks is not self._back_risks:
            self._back_risks = worker.watch.risks
            self.back.write_risks(now_ms, [risk.as_dict() for risk in worker.watch.risks])

    def beat(self, worker: Worker, now_ms: int, wall_ms: int, clock: str) -> None:
        """Say that the worker lives, nothing else."""
        self.board.put_json("status", self.status(worker, now_ms, wall_ms, clock), now_ms)


def sync_posting(worker: Worker) -> dict[str, Any]:
    """Return how well the twin follows: rows by channel and horizon, halls, what was refused and shut out."""
    twin = worker.twin
    in_sync, why = twin.in_sync()
    return {
        "rows": [_finite(row) for row in twin.sync_report(worker.refused)],
        "in_sync": in_sync,
        "sync_reason": why,
        "halls": [asdict(hall) for hall in twin.divergence.halls()],
        "refused": worker.w.store.refused(),
        "not_used": dict(twin.sync.past.refused),
        "shut_out": twin.sync.shutouts.rows(),
    }


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {k: (None if isinstance(v, float) and not np.isfinite(v) else v) for k, v in row.items()}
