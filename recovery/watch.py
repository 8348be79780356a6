"""Watch the risks: which alerts stand, which of them calls for plans, and what the telemetry knows about ages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from plant.site import Site
from predict.alarms import AlarmBoard, Alert
from predict.risk import Risk
from predict.score import Scorer
from twin.telemetry.store import Batch

GONE_MS = 10 * 60_000
SAY_EVERY_MS = 60_000  # risks are put into words when somebody starts or stops to act, else once a minute
NOT_PLANNED = ("node", "psu", "ups", "feed", "region", "link")  # no candidates of ours help these yet


@dataclass
class Watch:
    """Scores every component each tick and keeps the alerts that stand."""

    site: Site
    scorer: Scorer
    risks: list[Risk] = field(default_factory=list)
    alerts: tuple[Alert, ...] = ()
    newest_ms: dict[str, int] = field(default_factory=dict)
    ended_ms: dict[str, int] = field(default_factory=dict)
    doubted: dict[str, str] = field(default_factory=dict)
    """What is said of components whose sensors the twin has shut out."""

    def __post_init__(self) -> None:
        """Group alerts by the scorer's own topology."""
        self.board = AlarmBoard(self.scorer.parent)
        self._acting, self._said_ms = b"", 0

    def take(self, batch: Batch) -> None:
        """Take readings into the windows and remember their ages."""
        self.scorer.update(batch)
        self.newest_ms.update(zip(batch.component.tolist(), batch.time_ms.tolist(), strict=True))

    def look(self, now_ms: int) -> tuple[Alert, ...]:
        """Score and return the alerts that stand, oldest first."""
        scores = self.scorer.score_arrays(now_ms)
        acting = scores.act.tobytes()
        if acting != self._acting or now_ms - self._said_ms >= SAY_EVERY_MS:
            self._acting, self._said_ms = acting, now_ms
            self.risks = [self._with_doubts(risk) for risk in self.scorer.risks(scores)]
            before = {alert.root for alert in self.alerts}
            self.alerts = self.board.update(now_ms, self.risks)
            for root in before - {alert.root for alert in self.alerts}:
                self.ended_ms[root] = now_ms
        return self.alerts

    def _with_doubts(self, risk: Risk) -> Risk:
        doubt = self.doubted.get(risk.component)
        return replace(risk, reasons=(*risk.reasons, doubt)) if doubt else risk

    def to_plan_for(self) -> Alert | None:
        """Return the oldest alert on something that plans exist for."""
        return next((a for a in self.alerts if self.site.kind_of(a.root) not in NOT_PLANNED), None)

    def risk_of(self, alert: Alert) -> Risk:
        """Return the risk that speaks for an alert: its root's, or its worst child's when the root is only inferred."""
        names = {alert.root, *alert.children}
        said = [risk for risk in self.risks if risk.component in names]
        return max(said, key=lambda r: (r.component == alert.root and not r.unknown, r.within(3600) or 0.0))

    def age_s(self, component: str, now_ms: int) -> float | None:
        """Return the age of the newest reading that speaks for a component [s], None when there is none."""
        newest = self.newest_ms.get(component)
        return None if newest is None else max(0.0, (now_ms - newest) / 1000.0)

    def worst_age_s(self, now_ms: int) -> float | None:
        """Return the age of the newest reading of all [s]: when this grows, the whole feed has stopped."""
        return None if not self.newest_ms else max(0.0, (now_ms - max(self.newest_ms.values())) / 1000.0)

    def gone(self, root: str, now_ms: int) -> bool:
        """Tell whether the alert of a root has been over for a while."""
        standing = any(alert.root == root for alert in self.alerts)
        return not standing and now_ms - self.ended_ms.get(root, now_ms) >= GONE_MS

    def as_json(self) -> list[dict[str, Any]]:
        """Return all risks, the worst first, as the board posts them."""
        order = sorted(self.risks, key=lambda r: (not r.act, -(r.within(3600) or 0.0), r.component))
        return [risk.as_dict() for risk in order]
