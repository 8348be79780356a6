"""What the strip on top of every page says: site time, where the numbers come from, how fresh, and what is wrong.

Pure: a Look goes in, words come out. Marks carry the priority beside the colour: ■ first, ▲ second, ◆ third.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from screens import words
from screens.look import Look

Level = Literal["act", "watch", "note"]
MARKS: dict[Level, str] = {"act": "■", "watch": "▲", "note": "◆"}
CLOCKS = {
    "running": "running",
    "waiting": "stands still until a plan is decided",
    "slowed": "slowed: one turn of the loop takes longer than its tick",
    "ended": "ended",
}
FIRST_STEPS = """foretwin demo    # an emulated site with an incident unfolding
foretwin run     # the worker on your own site"""


@dataclass(frozen=True)
class Badge:
    """A short word about where the numbers come from; `wrong` badges are not grey."""

    text: str
    wrong: bool = False


@dataclass(frozen=True)
class Banner:
    """One line that must not be missed, with its priority."""

    level: Level
    text: str
    to_plans: bool = False

    @property
    def mark(self) -> str:
        """The shape that says the priority without colour."""
        return MARKS[self.level]


@dataclass(frozen=True)
class Strip:
    """The frame of every page. `started` is False before the first word of a worker."""

    site: str
    at: str
    clock: str
    badges: tuple[Badge, ...]
    banners: tuple[Banner, ...]
    started: bool


def strip(now: Look) -> Strip:
    """The frame for one look."""
    status = now.status or {}
    return Strip(
        site=str(status.get("site") or "no site yet"),
        at=words.instant(now.now_ms),
        clock=_clock(now),
        badges=_badges(now),
        banners=tuple(_banners(now)),
        started=now.status is not None,
    )


def _clock(now: Look) -> str:
    status = now.status or {}
    state = CLOCKS.get(str(status.get("clock")), "")
    speed = status.get("speed")
    if status.get("clock") == "running" and now.mode == "demo":
        state = "as fast as it can" if speed == "max" else f"{words.number(speed)} × as fast as real time"
    return f"clock {state}" if state else ""


def _badges(now: Look) -> tuple[Badge, ...]:
    if now.status is None:
        return ()
    badges = []
    if now.mode == "demo":
        badges.append(Badge("DEMO DATA"))
    elif now.mode != "live":
        badges.append(Badge("SOURCE UNKNOWN", wrong=True))
    if now.status.get("simulated"):
        badges.append(Badge("SIMULATED"))
    fresh = now.freshness
    if now.dead:
        badges.append(Badge("telemetry not followed", wrong=True))
    else:
        badges.append(Badge(f"telemetry {fresh}, {words.age(now.age_s)}", wrong=fresh != "live" and not now.ended))
    badges += _sources(now)
    if now.status.get("in_sync") is not None:
        badges.append(Badge("twin in sync" if now.status["in_sync"] else "twin NOT in sync", not now.status["in_sync"]))
    badges.append(Badge(f"autonomy: {words.label(str(now.status.get('autonomy') or 'unknown')).lower()}"))
    return tuple(badges)


def _sources(now: Look) -> list[Badge]:
    """One badge for all sources of telemetry while every one is well, else one naming those that are not."""
    if not now.sources or now.dead:
        return []
    wrong = [one for one in now.sources if one.get("state") not in ("ok", "starting", "catching up")]
    if not wrong:
        oldest = max((one["age_s"] for one in now.sources if words.known(one.get("age_s"))), default=None)
        return [Badge(f"{words.count(len(now.sources), 'source')}, oldest {words.age(oldest)}")]
    said = words.listed([f"{one.get('name')} {one.get('state')}" for one in wrong])
    return [Badge(f"{len(wrong)} of {words.count(len(now.sources), 'source')}: {said}", wrong=True)]


def _banners(now: Look) -> list[Banner]:
    banners = [Banner("watch", trouble) for trouble in now.troubles]
    status = now.status or {}
    if now.dead:
        silent = "an unknown time" if now.silent_s is None else words.minutes(now.silent_s)
        banners.append(Banner("act", f"The worker has been silent for {silent}: nothing here is updated any more."))
    elif now.freshness == "stale" and now.status is not None and not now.ended:
        banners.append(Banner("watch", f"Telemetry is stale, {words.age(now.age_s)}: scores may not be acted on."))
    paused = status.get("paused")
    if paused:
        who, why = str(paused.get("who", "")).strip() or "somebody", str(paused.get("why", "")).strip()
        banners.append(
            Banner("watch", f"Paused by {who}{': ' + why if why else ''}. No new step starts until resumed.")
        )
    if status.get("in_sync") is False:
        why = str(status.get("sync_reason") or "no reason given")
        banners.append(Banner("watch", f"The twin does not follow the site: {why}."))
    alarm = alarm_line(now)
    return [*banners[:3], *([alarm] if alarm else [])]


def alarm_line(now: Look) -> Banner | None:
    """The one root alarm of the site in a sentence, or None."""
    alert = now.alert
    if not alert:
        return None
    parts = [f"{alert.get('cause')} ({words.kind(str(alert.get('kind', '')))}) needs action"]
    p, horizon_s = chance(alert)
    if p is not None:
        parts.append(f"{words.percent(p)} to fail" + (f" within {words.horizon(horizon_s)}" if horizon_s else ""))
    if words.known(alert.get("ttf_s")):
        parts.append(f"about {words.minutes(alert['ttf_s'])} left")
    since = f"since {words.clock(alert.get('since_ms'))}"
    children = alert.get("children") or ()
    behind = f"; {words.count(len(children), 'component')} behind it" if children else ""
    state = STATES.get(str(alert.get("status")), words.label(str(alert.get("status") or "")).lower())
    return Banner("act", f"{', '.join(parts)}, {since}{behind}. Now {state}.", to_plans=bool(alert.get("plans")))


HORIZON_S = 3_600


def chance(scored: dict[str, Any], horizon_s: int = HORIZON_S) -> tuple[float | None, int | None]:
    """(P(fail), its horizon [s]) at the shortest horizon listed that reaches `horizon_s`, else at the longest."""
    p_fail = scored.get("p_fail")
    if scored.get("unknown") or not p_fail:
        return None, None
    if not isinstance(p_fail, dict):
        return (float(p_fail), None) if words.known(p_fail) else (None, None)
    horizons = sorted(int(one) for one in p_fail)
    at = next((one for one in horizons if one >= horizon_s), horizons[-1])
    p = p_fail[str(at)]
    return (float(p), at) if words.known(p) else (None, None)


STATES = {
    "planning": "being planned for",
    "awaiting_approval": "awaiting approval",
    "rehearsed": "awaiting approval",
    "proposed": "being rehearsed",
    "approved": "approved, about to start",
    "executing": "executing",
    "verifying": "executed, being verified",
    "verified": "executed and verified",
    "rejected": "rejected",
    "expired": "expired undecided",
    "rolling_back": "being taken back",
    "rolled_back": "taken back",
    "failed_needs_human": "failed, a person is needed",
    "superseded": "replaced by the approved plan",
    "stale": "outdated",
    "cancelled": "cancelled",
}
"""States of a plan as people say them."""
