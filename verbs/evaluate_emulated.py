"""`foretwin evaluate emulated`: a twin follows emulated sites whose parameters are hidden. All of it is simulated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from plant.site import load_site
from twin.fanout import flow
from verbs.trial_excited import EXCITED_FRAC, excited, observer
from verbs.trial_learned import Learned, learned, table
from verbs.trial_rows import TRANSIENT_K, Windows, rows, windows
from verbs.trial_run import HORIZONS_MIN, followers, play
from verbs.trial_story import SENSORS, Story

# What following has to show (forecasts 10 min ahead; ratios to persistence and to the prior).
TRANSIENT_MOST, CALM_MOST, BAND_MOST, INSIDE_LEAST, ERROR_MOST = 0.5, 1.05, 0.5, 0.85, 0.5
TELEMETRY_AFTER_H = 1.0  # the site goes on unheard, so that the last forecasts can be judged

Told = Callable[[int, int], object]
Outcome = tuple[int, str, dict[int, dict[str, Windows]], dict[str, dict[str, Learned]], int]


def run(
    site: str,
    seeds: int,
    hours: float,
    members: int,
    seed: int = 0,
    workers: int = 1,
    told: Told = lambda done, of: None,
) -> dict[str, Any]:
    """Return the `results` object of the verb. Raises ConfigError for a site that does not exist.

    seeds: emulated sites, hidden seeds `seed`, `seed` + 1, ...; hours: telemetry [h]; members: of each twin.
    """
    load_site(site)
    calls = [(site, number, hours, members, moved) for number in range(seed, seed + seeds) for moved in (True, False)]
    outcomes: list[Outcome] = []
    for outcome in flow(one, calls, workers):
        outcomes.append(outcome)
        told(len(outcomes), len(calls))
    return _results(outcomes, site, seeds, hours, members, seed)


def one(site: str, number: int, hours: float, members: int, eventful: bool) -> Outcome:
    """Play one story of one hidden seed and return what is kept of it."""
    built = load_site(site)
    story = Story(built, number, hours + TELEMETRY_AFTER_H, eventful)
    twins = followers(built, number, members)
    seen = observer(built, number) if eventful else None
    trial = play(story, twins | ({"observer": seen} if seen else {}), hours)
    said = {m * 60: {who: windows(trial, who, m * 60) for who in twins} for m in HORIZONS_MIN}
    knows = {who: learned(trial, who, excited(built, seen)) for who in ("with", "without")} if seen else {}
    return number, story.name, said, knows, trial.refused


def _results(outcomes: list[Outcome], site: str, seeds: int, hours: float, members: int, seed: int) -> dict[str, Any]:
    pooled = partial(_rows, outcomes, seed)
    all_rows = [row for minute in HORIZONS_MIN for row in pooled(minute * 60)]
    known = [knows for *_, knows, _ in outcomes if knows]
    parameters = [row for who in ("with", "without") for row in table([k[who] for k in known], who)]
    bars = _bars(all_rows, parameters)
    return {
        "simulated": True, "dataset": f"emulated {site}", "task": "follow", "model": "live twin, corrected by readings",
        "baseline": "last reading held; the same twin without correction",
        "split": f"{seeds} hidden seeds from {seed}, {hours:g} h of telemetry, forecasts from its 20th minute on",
        "members": members, "readings_refused": sum(o[-1] for o in outcomes),
        "quality": {"gap_frac": SENSORS.gap_frac, "outlier_frac": SENSORS.outlier_frac, "noise_k": SENSORS.temp_k,
                    "bias_k": SENSORS.bias_k, "hidden_frac": 0.2},
        "rules": {"transient_k": TRANSIENT_K, "excited_at_most": EXCITED_FRAC,
                  "causes": "known: nothing unannounced begins in the rack's hall within the horizon"},
        "rows": all_rows, "parameters": parameters, "bars": bars, "ok": all(b["met"] for b in bars),
    }  # fmt: skip


def _rows(outcomes: list[Outcome], seed: int, horizon_s: int) -> list[dict[str, Any]]:
    return rows([(number, name, said[horizon_s]) for number, name, said, _, _ in outcomes], horizon_s, seed)


def _bars(all_rows: list[dict[str, Any]], parameters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say what was asked for and what was found, for the corrected twin; the other's figures stand beside it."""
    out = []
    for kind, most in (("transient", TRANSIENT_MOST), ("calm", CALM_MOST)):
        for against in ("ratio", "ratio_reading"):
            found, beside = (
                next((r.get(against) for r in all_rows if r["correction"] == who and r["windows"] == kind
                      and r["causes"] == "known" and r["horizon_s"] == HORIZONS_MIN[0] * 60), None)
                for who in ("with", "without")
            )  # fmt: skip
            judged = "truth" if against == "ratio" else "readings"
            out.append(_bar(f"inlet error over persistence, {kind}, against {judged}", most, found, beside))
    for row in parameters:
        if row["correction"] != "with" or not row["excited"]:
            continue
        beside = next(p for p in parameters if p["parameter"] == row["parameter"] and p["correction"] == "without")
        name = row["parameter"]
        out.append(_bar(f"{name}: band over prior", BAND_MOST, row["band_ratio"], beside["band_ratio"]))
        out.append(_bar(f"{name}: truth inside", INSIDE_LEAST, row["truth_inside"], beside["truth_inside"], least=True))
        out.append(_bar(f"{name}: error over prior's", ERROR_MOST, row["error_ratio"], beside["error_ratio"]))
    return out


def _bar(what: str, limit: float, found: float | None, beside: float | None, least: bool = False) -> dict[str, Any]:
    met = found is not None and (found >= limit if least else found <= limit)
    return {"what": what, "limit": limit, "found": found, "without": beside, "met": met}
