"""`foretwin replay`: incidents under policies, over many seeds, each seed under every policy and in a quiet stretch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plant.errors import ConfigError
from plant.incident import load_incident
from plant.site import load_site
from predict import registry
from recovery import mttr
from recovery.loop import Settings
from twin import fanout
from verbs import replay_sensitivity, replay_stops
from verbs.livework import MODELS
from verbs.replay_run import Case, Measured, play_foretwin, play_none, seconds

POLICIES = ("none", "foretwin")
NOT_YET = ("manual", "static", "slurm", "remediator", "c3o", "published", "oracle")
HUMAN_S = mttr.HUMAN_S
STRATA = {
    "loop": "facility", "chiller": "facility", "cooling_unit": "facility", "feed": "facility", "link": "network",
    "switch": "network",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """One replay to play: incident file, seed, policy name, quiet stretch or not."""

    incident: str
    seed: int
    policy: str
    quiet: bool = False


def run(
    ids: Sequence[str],
    seeds: int = 20,
    policies: Sequence[str] = POLICIES,
    human_s: float = 120.0,
    quiet: int = 0,
    seed: int = 0,
    workers: int = 2,
    say: Callable[[str], None] = print,
    *,
    finalists: int = 32,
    sensitivity: bool = False,
) -> dict[str, Any]:
    """Return the `results` of contracts.md; every figure comes from simulation.

    human_s: decision time of policy `foretwin`; `foretwin_0s`, `foretwin_2m`, `foretwin_5m` state their own. quiet: so
    many quiet stretches of equal length are watched as well and their alerts counted. sensitivity: also say how the
    first stop moves with each assumed constant. Raises ConfigError for an
    unknown policy.
    """
    names = [check_policy(name) for name in policies]
    for each in ids:
        load_incident(each)
    asked = [Asked(i, seed + k, name) for i in ids for k in range(seeds) for name in names]
    ours = next((name for name in names if name.startswith("foretwin")), None)
    if ours is not None:
        asked += [Asked(i, seed + k, ours, quiet=True) for i in ids for k in range(quiet)]
    say(f"{len(asked)} replays of {', '.join(ids)} (simulated), {seeds} seeds, policies {', '.join(names)}")
    played = []
    for n, one in enumerate(fanout.flow(play, [(a, human_s, finalists) for a in asked], workers), 1):
        played.append(one)
        if n % 5 == 0 or n == len(asked):
            say(f"{n} of {len(asked)}")
    results = report(asked, played, names, seed)
    if "none" in names:
        more = [(i, seed + k) for i in ids for k in range(seeds, max(seeds, replay_stops.WORLDS))]
        further = dict(zip(more, fanout.each(stop_of, more, workers), strict=True))
        _first_stops(results, asked, played, further)
    if sensitivity:
        results["sensitivity"] = replay_sensitivity.run(ids, seed, workers, say)
    return results


def stop_of(incident: str, seed: int) -> replay_stops.FirstStop:
    """Play one world in this process until its first forced stop."""
    site = load_site(load_incident(incident).site)
    return replay_stops.first_stop(site, load_incident(incident, site), seed)


def _first_stops(
    results: dict[str, Any],
    asked: list[Asked],
    played: list[Measured],
    further: dict[tuple[str, int], replay_stops.FirstStop],
) -> None:
    """Add `first_stops`, a row for each incident, and let policy `none` speak for all of its worlds."""
    found: dict[str, list[replay_stops.FirstStop]] = {}
    for a, m in zip(asked, played, strict=True):
        if a.policy == "none" and not a.quiet:
            site = load_site(load_incident(a.incident).site)
            case = Case(site, load_incident(a.incident, site), a.seed)
            found.setdefault(a.incident, []).append(replay_stops.of_instant(case, m.truth["first_stop_ms"]))
    for (name, _), one in further.items():
        found[name].append(one)
    results["first_stops"] = [replay_stops.row(load_incident(name), stops) for name, stops in found.items()]
    every = [one.after_fault_s for stops in found.values() for one in stops]
    nobody = next(p for p in results["policies"] if p["name"] == "none")
    nobody["t_first_stop_s"] = replay_stops.quantile_s(every, 0.5)
    nobody["t_first_stop_worlds"] = len(every)


def check_policy(name: str) -> str:
    """Return the policy's name; raises ConfigError when there is none, or none yet."""
    known = (*POLICIES, *HUMAN_S)
    if name not in known:
        cure = "it is planned, not built" if name in NOT_YET else ""
        raise ConfigError(f"policy {name}", "no such policy", f"one of {' '.join(known)}", cure)
    return name


def play(asked: Asked, human_s: float, finalists: int) -> Measured:
    """Play one replay in this process."""
    incident = load_incident(asked.incident)
    site = load_site(incident.site)
    case = Case(site, load_incident(asked.incident, site), asked.seed, asked.quiet)
    if asked.policy == "none":
        return play_none(case)
    model = registry.newest(MODELS)
    settings = Settings(finalists=finalists, seed=asked.seed)
    measured = play_foretwin(case, model, settings, HUMAN_S.get(asked.policy, human_s))
    measured.policy = asked.policy
    return measured


def report(asked: list[Asked], played: list[Measured], names: list[str], seed: int) -> dict[str, Any]:
    """Return policies, alerts and paired differences."""
    rng = np.random.default_rng(seed)
    acted = [(a, m) for a, m in zip(asked, played, strict=True) if not a.quiet]
    by_policy = {name: [(a, m) for a, m in acted if a.policy == name] for name in names}
    nothing = {(a.incident, a.seed): m for a, m in by_policy.get("none", [])}
    results: dict[str, Any] = {
        "simulated": True,
        "policies": [_policy(name, rows, rng) for name, rows in by_policy.items()],
        "alerts": _alerts(asked, played, nothing),
        "paired": [p for name, rows in by_policy.items() if name != "none" for p in _paired(name, rows, nothing, rng)],
        "oracle_gap_closed": None,
        "oracle_gap_closed_reason": "the oracle policy is not built yet",
        "forecast_coverage80": None,
        "forecast_coverage80_reason": "forecasts are not scored against outcomes yet",
    }
    return results | _headline(results["alerts"], by_policy, nothing)


def _policy(name: str, rows: list[tuple[Asked, Measured]], rng: np.random.Generator) -> dict[str, Any]:
    found = [m.recovery() for _, m in rows]
    s = mttr.summarise(found, rng)
    stops = [seconds(m, m.truth["first_stop_ms"]) if m.truth["first_stop_ms"] >= 0 else None for _, m in rows]
    return {
        "name": name,
        "stratum": "facility",
        "half": "all",
        "n": s.n,
        "lost_service_min_mean": float(np.mean([m.truth["lost_service_min"] for _, m in rows])),
        "lost_gpu_h_mean": float(np.mean([m.truth["lost_gpu_h"] for _, m in rows])),
        "mttr_mean_s": s.mean_s,
        "mttr_median_s": s.median_s,
        "mttr_p90_s": s.p90_s,
        "ci95": list(s.ci95) if s.ci95 else None,
        "averted": s.averted,
        "recovered": s.recovered,
        "unresolved": s.unresolved,
        "parts": dict(s.parts) if s.parts else None,
        "t_first_stop_s": replay_stops.quantile_s(stops, 0.5),
        "unneeded_per_1000_node_days": None,
        "unneeded_reason": "counted from quiet replays as alerts; plans need a person here",
        "ettr": None,
        "ettr_reason": "not measured yet",
    }


def _alerts(
    asked: list[Asked], played: list[Measured], nothing: dict[tuple[str, int], Measured]
) -> list[dict[str, Any]]:
    """One row per seed: first right alert, the static one in the same world with nobody acting, quiet false alerts."""
    quiet = {(a.incident, a.seed): m for a, m in zip(asked, played, strict=True) if a.quiet}
    rows = []
    for a, m in zip(asked, played, strict=True):
        if a.quiet or a.policy == "none":
            continue
        base, still = nothing.get((a.incident, a.seed)), quiet.get((a.incident, a.seed))
        rows.append(
            {
                "incident": a.incident,
                "seed": a.seed,
                "policy": a.policy,
                "t_first_alert_s": seconds(m, m.alert_ms),
                "component": next((root for at, root in m.alerts if at == m.alert_ms), None),
                "t_static_alert_s": seconds(base, base.static_ms) if base else None,
                "alerts": len(m.alerts),
                "quiet_false_alerts": len(still.alerts) if still else None,
            }
        )
    return rows


def _paired(
    name: str, rows: list[tuple[Asked, Measured]], nothing: dict[tuple[str, int], Measured], rng: np.random.Generator
) -> list[dict[str, Any]]:
    pairs = [(m, nothing[a.incident, a.seed]) for a, m in rows if (a.incident, a.seed) in nothing]
    if not pairs:
        return []
    out = []
    lost = [(m.truth["lost_service_min"], b.truth["lost_service_min"]) for m, b in pairs]
    times = [(m.recovery().mttr_s, b.recovery().mttr_s) for m, b in pairs]
    both = [(x, y) for x, y in times if x is not None and y is not None]
    for measure, values in (("lost_service_min", lost), ("mttr_s", both)):
        if values:
            p = mttr.paired([x for x, _ in values], [y for _, y in values], rng)
            row = {"policy": name, "versus": "none", "stratum": "facility", "half": "all", "measure": measure}
            out.append(
                {**row, "diff_mean": p.diff_mean, "ci95": list(p.ci95), "sign_p": p.sign_p, "n": p.n}
                | {"better_frac": float(np.mean([x < y for x, y in values]))}
            )
    return out


def _headline(
    alerts: list[dict[str, Any]],
    by_policy: dict[str, list[tuple[Asked, Measured]]],
    nothing: dict[tuple[str, int], Measured],
) -> dict[str, Any]:
    """What a reader asks first: how much earlier than the static alert, how often, how many false alerts."""
    leads = [
        a["t_static_alert_s"] - a["t_first_alert_s"]
        for a in alerts
        if a["t_static_alert_s"] is not None and a["t_first_alert_s"] is not None
    ]
    missed = sum(a["t_first_alert_s"] is None for a in alerts)
    still = [a["quiet_false_alerts"] for a in alerts if a["quiet_false_alerts"] is not None]
    return {
        "alert_lead_s": {
            "median": float(np.median(leads)) if leads else None,
            "p10": float(np.quantile(leads, 0.1)) if leads else None,
            "min": min(leads, default=None),
            "before_static_frac": float(np.mean([x > 0 for x in leads] + [False] * missed)) if alerts else None,
            "n": len(alerts),
            "missed": missed,
        },
        "quiet_replays": len(still),
        "quiet_false_alerts": sum(still) if still else None,
    }
