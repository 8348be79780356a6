"""Alerts: many risks that share a cause become one alert on the component they hang on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from predict.risk import Risk

# A parent that is not itself in alarm is named when this many of its children are: one child may just be ill itself.
SHARED_FROM = 3
# An alert ends when its last member has been quiet this long [s]; a short dip does not make a second alert.
MERGE_S = 600.0


@dataclass(frozen=True)
class Alert:
    """One alert: the root component, whoever else is in alarm below it, since when, and why."""

    root: str
    since_ms: int
    last_ms: int
    p_fail: dict[int, float | None]
    reasons: tuple[str, ...]
    children: tuple[str, ...] = ()
    inferred: bool = False  # the root itself is not in alarm; its children point to it


def chain(component: str, parent: Mapping[str, str]) -> tuple[str, ...]:
    """Return the component and everything it depends on, nearest first."""
    names = [component]
    while (above := parent.get(names[-1])) is not None and above not in names:
        names.append(above)
    return tuple(names)


def roots(acting: Iterable[str], parent: Mapping[str, str]) -> dict[str, str]:
    """Return the root of each component in alarm: the highest that is in alarm itself, or that enough of them share."""
    lines = {name: chain(name, parent) for name in acting}
    shared = Counter(above for line in lines.values() for above in line[1:])
    blamed = {above for above, count in shared.items() if count >= SHARED_FROM and above not in lines}
    lonely = {above for above in blamed if not _branches(above, lines.values())}
    candidates = lines.keys() | (blamed - lonely)
    return {name: next(up for up in reversed(line) if up in candidates) for name, line in lines.items()}


def _branches(above: str, lines: Iterable[tuple[str, ...]]) -> bool:
    """Whether alarms reach `above` by more than one child; else the child is the better name for the cause."""
    return len({line[line.index(above) - 1] for line in lines if above in line[1:]}) > 1


class AlarmBoard:
    """The alerts that stand, updated by each round of risks."""

    def __init__(self, parent: Mapping[str, str]) -> None:
        self.parent = dict(parent)
        self.standing: dict[str, Alert] = {}

    def update(self, now_ms: int, risks: Iterable[Risk]) -> tuple[Alert, ...]:
        """Take all risks of one time; return the standing alerts, oldest first."""
        acting = {risk.component: risk for risk in risks if risk.act}
        groups: dict[str, list[str]] = {}
        for name, root in roots(acting, self.parent).items():
            groups.setdefault(root, []).append(name)
        for root, members in groups.items():
            self._raise(now_ms, root, members, acting)
        self.standing = {
            root: alert
            for root, alert in self.standing.items()
            if root in groups or now_ms - alert.last_ms < MERGE_S * 1000
        }
        return tuple(sorted(self.standing.values(), key=lambda alert: (alert.since_ms, alert.root)))

    def _raise(self, now_ms: int, root: str, members: list[str], acting: Mapping[str, Risk]) -> None:
        """Open or renew the alert of a root; alerts of components below it are taken over, with their age."""
        worst = acting.get(root) or max((acting[name] for name in members), key=_one_hour)
        alert = Alert(
            root,
            now_ms,
            now_ms,
            worst.p_fail,
            worst.reasons,
            children=tuple(sorted(name for name in members if name != root)),
            inferred=root not in acting,
        )
        swallowed = [old for old in self.standing if root in chain(old, self.parent)]
        since = min((self.standing.pop(old).since_ms for old in swallowed), default=now_ms)
        self.standing[root] = replace(alert, since_ms=since)


def _one_hour(risk: Risk) -> float:
    return risk.within(3600) or 0.0
