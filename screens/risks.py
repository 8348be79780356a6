"""The fleet as a ranked table (C3O Table 5, live), who needs action, and the cells of the heat map. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from screens import words
from screens.following import HEADINGS, Channel
from screens.look import Look
from screens.view import MARKS, STATES, chance

Band = Literal["act", "watch", "unknown", "healthy"]
ORDER: tuple[Band, ...] = ("act", "watch", "unknown", "healthy")
WATCH_FRAC = 0.40
"""From here a component is watched with its standby ready (the C3O board's second band)."""
MOST_ROWS = 300
"""Rows of the table: a page that refreshes must stay light, and nobody reads the ten-thousandth healthy node."""
COLUMNS = ("Component", "Kind", "Risk", "Within", "Time to failure", "Recommended action", "Status")


@dataclass(frozen=True)
class Scored:
    """One component with what is said about it; `p` is P(fail within `horizon_s`), None when unknown."""

    component: str
    kind: str
    p: float | None
    horizon_s: int | None
    band: Band
    action: str
    status: str
    raw: dict[str, Any]

    @property
    def time_to_failure(self) -> str:
        """Median and 80 % interval in minutes, in words."""
        return "unknown" if self.band == "unknown" else words.time_to_failure(self.raw.get("ttf_quantiles_s"))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the model says so."""
        return tuple(str(reason) for reason in self.raw.get("reasons") or ())


@dataclass(frozen=True)
class Fleet:
    """Everything the fleet page shows. `why_not` says why the scores may not be acted on, '' if they may."""

    scored: tuple[Scored, ...]
    tiles: tuple[tuple[str, str, str], ...]
    why_not: str
    last_action: str

    @property
    def needing(self) -> tuple[Scored, ...]:
        """The components to act on, the worst first."""
        return tuple(one for one in self.scored if one.band == "act")

    @property
    def table(self) -> pd.DataFrame:
        """Table 5: a row per component, the worst first, at most MOST_ROWS; Risk in percent, missing when unknown."""
        rows = [
            (
                one.component,
                words.kind(one.kind),
                None if one.p is None else 100 * one.p,
                words.NONE if one.horizon_s is None else words.horizon(one.horizon_s),
                one.time_to_failure,
                one.action,
                one.status,
            )
            for one in self.scored[:MOST_ROWS]
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"Risk": "float64"})

    def of(self, component: str) -> Scored | None:
        """One component, or None where nobody has heard of it."""
        return next((one for one in self.scored if one.component == component), None)

    def like(self, component: str) -> list[str]:
        """Known ids that look like this one, the nearest first."""
        return difflib.get_close_matches(component, [one.component for one in self.scored], n=3, cutoff=0.4)


def fleet(now: Look) -> Fleet:
    """The fleet page of one look."""
    scored = sorted((_scored(risk, now) for risk in now.risks), key=lambda one: (ORDER.index(one.band), -(one.p or 0)))
    why_not = ""
    if now.dead:
        why_not = "The worker is silent: these scores are the last known and not to be acted on."
    elif now.freshness == "stale" and not now.ended:
        why_not = "Telemetry is stale: these scores are the last known and not to be acted on."
    return Fleet(tuple(scored), _tiles(now, scored), why_not, _last_action(now))


def _scored(risk: dict[str, Any], now: Look) -> Scored:
    p, at = chance(risk)
    act = bool(risk.get("act"))
    band: Band = "unknown" if p is None else "act" if act else "watch" if p >= WATCH_FRAC else "healthy"
    name = str(risk.get("component"))
    action, status = _advice(name, band, now)
    return Scored(name, str(risk.get("kind", "")), p, at, band, action, status, risk)


def _advice(component: str, band: Band, now: Look) -> tuple[str, str]:
    alert = now.alert or {}
    at_hand = component == alert.get("cause") or component in (alert.get("children") or ())
    if alert and at_hand and band != "unknown":
        state = STATES.get(str(alert.get("status")), str(alert.get("status") or "alarm"))
        action = words.label(str(alert["recommended"])) if alert.get("recommended") else "Rehearsing plans"
        behind = action if component == alert.get("cause") else f"Follows {alert.get('cause')}"
        own = MARKS.get(band, "") if component != alert.get("cause") else MARKS["act"]
        return behind, f"{own} {words.label(state)}".strip()
    return {
        "act": ("Rehearse plans", f"{MARKS['act']} Needs action"),
        "watch": ("Keep the standby ready", f"{MARKS['watch']} Monitoring"),
        "unknown": ("Check its telemetry", f"{MARKS['note']} Unknown"),
        "healthy": ("None", "Healthy"),
    }[band]


def _tiles(now: Look, scored: Sequence[Scored]) -> tuple[tuple[str, str, str], ...]:
    """(heading, value, remark) of the figures on top."""
    unknown = [one.component for one in scored if one.band == "unknown"]
    acting = [one for one in scored if one.band == "act"]
    waiting = [row for row in now.plans if row.state == "rehearsed"]
    oldest = min((row.expires_ms for row in waiting), default=None)
    left = None if oldest is None or now.now_ms is None else (oldest - now.now_ms) / 1000
    rows = (now.sync or {}).get("rows") or []
    return (
        ("Need action", f"{len(acting)}", f"of {len(scored)} components scored"),
        (
            "Decisions waiting",
            "1" if waiting else "0",
            f"{words.count(len(waiting), 'plan')}, the first expires in {words.minutes(max(0, left))}"
            if left is not None
            else "nothing waits for you",
        ),
        (
            "Without a score",
            f"{len(unknown)}",
            words.listed(unknown, 2) if unknown else "every component has fresh readings",
        ),
        ("Twin error", *_sync_words(rows)),
    )


def _sync_words(rows: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """(worst channel relative to persistence, the remark)."""
    ratios = [
        (row["rmse"] / row["persistence_rmse"], row)
        for row in rows
        if words.known(row.get("rmse")) and words.known(row.get("persistence_rmse")) and row["persistence_rmse"] > 0
    ]
    if not ratios:
        return words.NONE, "not measured yet"
    ratio, row = max(ratios, key=lambda pair: pair[0])
    channel = Channel(str(row.get("channel")), {0: row})
    name, ahead = channel.label.split(",")[0], HEADINGS.get(row.get("horizon_s") or 0, "ahead").lower()
    return f"{channel.error(0)} {channel.unit}".strip(), f"{name} {ahead}, RMSE; {ratio:.2g} × that of persistence"


def _last_action(now: Look) -> str:
    """The newest call that left for the site, with its time, or ''."""
    calls = [step for steps in now.record.steps.values() for step in steps if step.intent_ms is not None]
    if not calls:
        return ""
    last = max(calls, key=lambda step: step.receipt_ms or step.intent_ms or 0)
    what = "undo: " if last.purpose == "undo" else ""
    at = words.clock(last.receipt_ms or last.intent_ms)
    return f"Last recovery action: {what}{words.label(last.call.verb).lower()}, {last.status}, {at}"
