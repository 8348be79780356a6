"""Rehearsed plans side by side: do nothing first, then by rank; a column a plan, a row a measure. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from plant.actions import DO_NOTHING, Action
from plant.errors import PlanRejected
from recovery.approve import approvals_needed
from recovery.rows import PlanRow
from screens import words
from screens.look import Look
from screens.view import STATES

TIERS = ("0, no effect outside", "1, small and reversible", "2, moves or slows work", "3, loses work or a hall's feed")


@dataclass(frozen=True)
class Measure:
    """One number of a rehearsal: its heading, how to find it, its digits, and the factor to the unit on screen."""

    heading: str
    key: str
    digits: int = 0
    factor: float = 1.0
    in_costs: bool = True
    grows: bool = False
    """It grows with the time rehearsed, so that plans rehearsed for different spans cannot be ranked by it."""

    def of(self, rehearsal: dict[str, Any], part: str = "costs") -> float | None:
        """The number in the unit of the heading, None where the rehearsal does not say."""
        source = rehearsal.get(part) or {} if self.in_costs else rehearsal
        value = source.get(self.key)
        return value * self.factor if words.known(value) else None

    def text(self, rehearsal: dict[str, Any]) -> str:
        """Mean, and the 80 % interval in brackets where there is one."""
        mean = self.of(rehearsal)
        if mean is None and self is BACK and words.known(rehearsal.get("horizon_s")):
            return f"not within {words.number(rehearsal['horizon_s'] / 60)}"
        low, high = (self.of(rehearsal, part) if self.in_costs else None for part in ("costs_p10", "costs_p90"))
        said = words.number(mean, self.digits)
        if low is None or high is None or round(low, self.digits) == round(high, self.digits):
            return said
        return f"{said} ({words.number(low, self.digits)}–{words.number(high, self.digits)})"


WORSE = Measure("Worse than doing nothing, %", "p_worse_than_nothing", 0, 100.0, in_costs=False)
LOST = Measure("Lost service, min", "lost_service_min")
BACK = Measure("Time to recovery, min", "recovery_s", 0, 1 / 60, in_costs=False)
MEASURES = (
    LOST,
    Measure("Worst 5 % (CVaR95), min", "cvar95", in_costs=False),
    Measure("Peak inlet, °C", "peak_inlet_c", 1, in_costs=False),
    BACK,
    Measure("Lost GPU-hours, h", "lost_gpu_h"),
    Measure("Energy, kWh", "energy_kwh", grows=True),
    Measure("Carbon, kgCO₂", "carbon_kgco2", grows=True),
    Measure("Data moved, GB", "moved_gb"),
    Measure("Nodes stopped", "node_stops"),
    Measure("Answers late, min", "qos_late_min"),
    Measure("People paged", "people_paged", 1),
)


@dataclass(frozen=True)
class Candidate:
    """One column: a plan as it stands in the ledger, with what its rehearsal found."""

    row: PlanRow
    recommended: bool

    @property
    def rehearsal(self) -> dict[str, Any]:
        """What the rehearsal found; empty while it runs."""
        return self.row.rehearsal or {}

    @property
    def heading(self) -> str:
        """The name of the column."""
        return f"{words.label(self.row.label)} ★" if self.recommended else words.label(self.row.label)

    @property
    def against(self) -> tuple[str, ...]:
        """Why the gate does not let it through; empty if it does."""
        return tuple(str(reason) for reason in self.rehearsal.get("gate_reasons") or ())

    @property
    def steps(self) -> tuple[Action, ...]:
        """The typed steps; none where the stored text is damaged."""
        try:
            return self.row.plan.steps
        except PlanRejected:
            return ()


@dataclass(frozen=True)
class Comparison:
    """The columns in order, as a table of text, and which of them may still be decided."""

    candidates: tuple[Candidate, ...]
    now_ms: int | None

    @property
    def open(self) -> tuple[Candidate, ...]:
        """Those that wait for a decision and may be approved: rehearsed, in time, through the gate."""
        return tuple(
            one
            for one in self.candidates
            if one.row.state == "rehearsed" and not one.against and not self.expired(one.row)
        )

    @property
    def rejectable(self) -> tuple[Candidate, ...]:
        """Those that may still be rejected."""
        return tuple(one for one in self.candidates if one.row.state == "rehearsed")

    @property
    def recommended(self) -> Candidate | None:
        """The plan the program would choose."""
        return next((one for one in self.candidates if one.recommended), None)

    @property
    def decided(self) -> Candidate | None:
        """The plan that was approved, else the one last rejected, else None."""
        began = [one for one in self.candidates if one.row.state in APPROVED]
        rejected = [one for one in self.candidates if one.row.state == "rejected"]
        return (began or rejected or [None])[-1]

    def expired(self, row: PlanRow) -> bool:
        """Has its time run out?"""
        return self.now_ms is not None and self.now_ms >= row.expires_ms

    @property
    def table(self) -> pd.DataFrame:
        """Index: measures. Columns: plans. Cells: Markdown; the best number of a row is bold."""
        rows: dict[str, list[str]] = {
            "Rank": [_rank(one, len(self.candidates)) for one in self.candidates],
            WORSE.heading: _bold(self.candidates, WORSE, _worse),
        }
        for measure in MEASURES:
            rows[measure.heading] = _bold(self.candidates, measure, measure.text)
        rows["Step tier"] = [_tier(one.row.tier) for one in self.candidates]
        rows["Acts on"] = [words.safe(blast(one)) for one in self.candidates]
        rows["Steps"] = [_steps(one) for one in self.candidates]
        rows["Gate"] = [_gate(one) for one in self.candidates]
        rows["State"] = [words.label(STATES.get(one.row.state, one.row.state)) for one in self.candidates]
        rows["Expires"] = [self._expiry(one.row) for one in self.candidates]
        return pd.DataFrame.from_dict(rows, orient="index", columns=_unique(self.candidates))

    def _expiry(self, row: PlanRow) -> str:
        if self.now_ms is None or row.state not in ("proposed", "rehearsed", "approved"):
            return words.clock(row.expires_ms)
        left_s = (row.expires_ms - self.now_ms) / 1000
        return f"{words.clock(row.expires_ms)}, {f'in {words.minutes(left_s)}' if left_s > 0 else 'over'}"

    @property
    def caption(self) -> str:
        """Where the numbers come from: always said, because none of them was measured."""
        found = next((one.rehearsal for one in self.candidates if one.rehearsal), {})
        parts = [
            "Simulated: means over the twin's members, 10th to 90th percentile in brackets, bold the best of a row"
        ]
        members = sorted({one.rehearsal["members"] for one in self.candidates if one.rehearsal.get("members")})
        if members:
            spans = spans_s(self.candidates)
            shortest = f"{words.number(spans[0] / 60)} to " if len(spans) > 1 else ""
            ahead = f", {shortest}{words.minutes(spans[-1])} ahead" if spans else ""
            several = f"{members[0]} to {members[-1]}" if len(members) > 1 else f"{members[0]}"
            parts.append(f"{several} members{ahead}")
        if found.get("snapshot_hash"):
            parts.append(f"snapshot {str(found['snapshot_hash'])[:12]}")
        if any(one.rehearsal.get("in_sync") is False for one in self.candidates):
            parts.append("the twin did NOT follow the site when they were rehearsed")
        return words.safe("; ".join(parts)) + "."


APPROVED = ("approved", "executing", "verifying", "verified", "rolling_back", "rolled_back", "failed_needs_human")


def comparison(now: Look) -> Comparison:
    """The plans of the incident at hand, do nothing first, then by rank."""
    wanted = (now.alert or {}).get("recommended")
    ranked = sorted(now.plans, key=lambda row: (row.rank is None, row.rank or 0, row.label))
    best = next((row.id for row in ranked if row.label == wanted), None)
    if best is None:
        best = next((row.id for row in ranked if row.rank is not None), None)
    order = sorted(ranked, key=lambda row: row.label != DO_NOTHING)
    return Comparison(tuple(Candidate(row, row.id == best) for row in order), now.now_ms)


def spans_s(candidates: Sequence[Candidate]) -> list[float]:
    """The different lengths of time [s] over which the candidates were rehearsed, the shortest first."""
    found = (one.rehearsal.get("horizon_s") for one in candidates)
    return sorted({float(span) for span in found if words.known(span)})


def blast(one: Candidate) -> str:
    """What the plan touches, in words."""
    scopes = list(dict.fromkeys(name for step in one.steps for name in step.scope))
    return words.listed(scopes, 3) if scopes else "nothing"


def step_words(step: Action) -> str:
    """One step as a phrase."""
    scope = words.listed(step.scope, 2)
    phrase = {
        "cap_power": lambda: f"cap {scope} at {words.percent(step.get('cap_frac'))} of peak power",
        "cordon": lambda: f"no new jobs on {scope}",
        "drain_at_checkpoint": lambda: f"drain {scope} at checkpoints",
        "migrate": lambda: f"move the jobs of {scope} to {step.get('to_hall')}, {step.get('concurrent')} at a time",
        "requeue": lambda: f"requeue the jobs of {scope}",
        "start_standby": lambda: f"start standby {scope}",
        "transfer_feed": lambda: f"put {scope} on {step.get('to_feed')}",
        "set_cooling": lambda: f"set cooling of {scope}{_set_point(step)}",
        "disable_link": lambda: f"take {scope} out of service",
        "ordered_return": lambda: f"lift caps and cordons on {scope}",
    }[step.kind]()
    when, after = step.get("when"), step.get("after_s")
    wait = f"once {str(when).replace('_', ' is ')}, " if when else ""
    return f"{wait}{f'after {words.minutes(after)}, ' if after else ''}{phrase}"


def _set_point(step: Action) -> str:
    supply_c, fan = step.get("supply_c"), step.get("fan_frac")
    said = [f"{supply_c:.1f} °C supply"] if supply_c is not None else []
    return f" to {', '.join(said + ([f'{words.percent(fan)} fan'] if fan is not None else []))}"


def _steps(one: Candidate) -> str:
    if not one.steps:
        return "none" if one.row.label == DO_NOTHING else "unreadable"
    return "\n".join(f"{n}. {words.safe(step_words(step))}" for n, step in enumerate(one.steps, 1))


def _rank(one: Candidate, of: int) -> str:
    if one.row.rank is None:
        return "not rehearsed yet"
    return f"**{one.row.rank + 1} of {of}, recommended**" if one.recommended else f"{one.row.rank + 1} of {of}"


def _worse(rehearsal: dict[str, Any]) -> str:
    p, bound = WORSE.of(rehearsal), rehearsal.get("p_worse_bound")
    if p is None:
        return words.NONE
    said = words.percent(p / 100).removesuffix(" %")
    most = f" (at most {words.percent(bound).removesuffix(' %')})" if words.known(bound) else ""
    # "> 99" at the start of a cell would be read as a quotation
    return f"{said}{most}".replace("<", "\\<").replace(">", "\\>")


def _tier(tier: int) -> str:
    people = "" if approvals_needed(tier) == 1 else "; two people must approve"
    return (TIERS[tier] if 0 <= tier < len(TIERS) else str(tier)) + people


def _gate(one: Candidate) -> str:
    if one.row.rehearsal is None:
        return "not rehearsed yet"
    return "✕ " + "; ".join(words.safe(reason) for reason in one.against) if one.against else "passes"


def _bold(candidates: Sequence[Candidate], measure: Measure, text: Callable[[dict[str, Any]], str]) -> list[str]:
    """The texts of a row; the lowest that passes the gate is bold, unless all are equal."""
    itself = [measure is WORSE and one.row.label == DO_NOTHING for one in candidates]
    values = [None if skip else measure.of(one.rehearsal) for one, skip in zip(candidates, itself, strict=True)]
    shown = [None if value is None else round(value, measure.digits) for value in values]
    numbers = {v for v, one in zip(shown, candidates, strict=True) if v is not None and not one.against}
    comparable = not measure.grows or len(spans_s(candidates)) < 2
    best = min(numbers) if len(numbers) > 1 and comparable else None
    texts = [words.NONE if skip else text(one.rehearsal) for one, skip in zip(candidates, itself, strict=True)]
    return [
        f"**{said}**" if value is not None and value == best else said for said, value in zip(texts, shown, strict=True)
    ]


def _unique(candidates: Sequence[Candidate]) -> list[str]:
    """Headings that differ even where two plans bear the same name."""
    seen: dict[str, int] = {}
    names = []
    for one in candidates:
        heading = words.safe(one.heading)
        seen[heading] = seen.get(heading, 0) + 1
        names.append(heading if seen[heading] == 1 else f"{heading} ({seen[heading]})")
    return names
