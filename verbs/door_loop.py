"""The shell's verbs of the loop: demo, run, replay, rehearse, approve, reject, pause, resume."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from plant.errors import ConfigError
from verbs import front
from verbs.front import Ask, Backend, Debug, Json, Seed, Workers

INCIDENT = "alibaba-hk-2022-12-18"
Site = Annotated[str, typer.Option("--site", help="Site file, or the name of a shipped one.")]
Incident = Annotated[str, typer.Option("--incident", help="Incident file, or the id of a shipped one.")]
Members = Annotated[int, typer.Option("--members", min=1, max=100_000, help="Members that screen every plan, a count.")]
Finalists = Annotated[
    int,
    typer.Option("--finalists", min=1, max=100_000, help="Members that the best plans and do_nothing get, a count."),
]
HumanS = Annotated[float, typer.Option("--human-s", min=0.0, max=86_400.0, help="Time a person takes to decide [s].")]
Who = Annotated[str, typer.Option("--who", help="Who decides; the account's name if left out.", show_default="account")]
PlanId = Annotated[str, typer.Argument(metavar="PLAN", help="Id of the plan, as the screen and the ledger show it.")]


def register(app: typer.Typer) -> None:
    """Put the verbs of this module into the shell."""
    for verb in (demo, run, replay, rehearse, approve, reject, pause, resume):
        app.command(verb.__name__)(verb)


def demo(
    incident: Incident = INCIDENT,
    site: Site = "hall",
    speed: Annotated[str, typer.Option("--speed", help="Site seconds per second of yours, or max.")] = "60",
    headless: Annotated[bool, typer.Option("--headless", help="No screen; as fast as it goes.")] = False,
    auto_approve: Annotated[
        bool, typer.Option("--auto-approve", help="Approve the best plan after --human-s.")
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not stop the clock for a person.")] = False,
    human_s: HumanS = 120.0,
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="Port of the screen.")] = 8501,
    finalists: Finalists = 32,
    workers: Workers = 2,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Show an emulated site, its worker and the screen while a real incident unfolds.

    \b
    Example:
      foretwin demo
      foretwin demo --headless --auto-approve --json
    """
    inputs = {
        "incident": incident, "site": site, "speed": speed, "headless": headless, "auto_approve": auto_approve,
        "no_wait": no_wait, "human_s": human_s, "port": port, "finalists": finalists, "workers": workers,
    }  # fmt: skip
    ask = Ask("demo", inputs, seed, json, debug)
    return front.run(
        ask,
        "verbs.demo",
        lambda verb: verb.run(front.home(), **{**inputs, "speed": _speed(speed)}, seed=seed, say=front.say),
        good=lambda results: results.get("outcome") != "unresolved",
    )


def _speed(text: str) -> float | None:
    """Site seconds per wall second; None is as fast as it goes."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.01 <= speed <= 1e6:
        raise ConfigError("--speed", f"'{text}'", "a number from 0.01 to 1000000, or max", "for example --speed 60")
    return speed


def run(
    site: Annotated[
        str, typer.Option("--site", help="Site file, or the name of a shipped one.", show_default="[site] file")
    ] = "",
    config: Annotated[str, typer.Option("--config", help="Settings file.")] = "foretwin.toml",
    once: Annotated[bool, typer.Option("--once", help="One tick of the loop, then stop.")] = False,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Run the worker: ingest, sync, score, propose, rehearse, execute what was approved, verify.

    One tick every 15 s of wall-clock time, until interrupted. Settings come from --config (data/foretwin.example.toml
    shows them), FORETWIN_SECTION__KEY in the environment overrides a key.

    \b
    Example:
      foretwin run --site hall --once
    """
    ask = Ask("run", {"site": site, "config": config, "once": once}, seed, json, debug)
    return front.run(ask, "verbs.run", lambda verb: verb.run(front.home(), site, config, once, front.say, seed))


def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Incidents by id or file.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every shipped incident.")] = False,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=10_000, help="Possible worlds of each, a count.")] = 3,
    policy: Annotated[str, typer.Option("--policy", help="Policies, separated by commas.")] = "none,foretwin",
    human_s: HumanS = 120.0,
    quiet: Annotated[
        int, typer.Option("--quiet", min=0, max=10_000, help="Quiet stretches of equal length, a count.")
    ] = 0,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="How the first stop [s] moves with each assumed constant.")
    ] = False,
    workers: Workers = 2,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Replay incidents under policies: time to recover, lost service minutes, alerts. Simulated.

    \b
    Example:
      foretwin replay alibaba-hk-2022-12-18 --seeds 20 --policy none,foretwin
      foretwin replay --all --policy none --sensitivity --json
    """
    policies = [name.strip() for name in policy.split(",") if name.strip()]
    inputs = {"ids": ids or [], "all": all_, "seeds": seeds, "policies": policies, "human_s": human_s, "quiet": quiet}
    ask = Ask("replay", {**inputs, "sensitivity": sensitivity, "workers": workers}, seed, json, debug)

    def work(verb: Any) -> Any:
        chosen = _every_incident() if all_ else ids or [INCIDENT]
        return verb.run(chosen, seeds, policies, human_s, quiet, seed, workers, front.say, sensitivity=sensitivity)

    return front.run(ask, "verbs.replay", work)


def _every_incident() -> list[str]:
    from plant.files import DATA

    return sorted(file.stem for file in (DATA / "incidents").glob("*.toml"))


def rehearse(
    site: Site = "hall",
    incident: Incident = INCIDENT,
    at: Annotated[
        float, typer.Option("--at", help="Instant of the snapshot, minutes from the first alarm [min].")
    ] = 0.0,
    members: Members = 32,
    finalists: Finalists = 256,
    workers: Workers = 2,
    backend: Backend = "loky",
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Rehearse every candidate plan at one instant of an incident and rank them against doing nothing. Simulated.

    \b
    Example:
      foretwin rehearse --site hall --incident alibaba-hk-2022-12-18 --at 0
    """
    inputs = {"site": site, "incident": incident, "at_min": at, "members": members, "finalists": finalists}
    ask = Ask("rehearse", {**inputs, "workers": workers, "backend": backend}, seed, json, debug)
    return front.run(
        ask,
        "verbs.rehearse",
        lambda verb: verb.run(site, incident, at, members, finalists, seed, workers, backend, front.say),
        good=has_safe_plan,
    )


def has_safe_plan(results: Mapping[str, Any]) -> bool:
    """Is there a candidate beside doing nothing that the gate lets through?"""
    rows = results.get("candidates") or ()
    return any(row.get("label") != "do_nothing" and not row.get("gate_reasons") for row in rows)


def approve(
    plan: PlanId,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the ledger.")],
    who: Who = "",
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Approve a rehearsed plan; the worker then carries it out.

    \b
    Example:
      foretwin approve 3f9a0c5d1e2b4a67 --who grace --reason "saves most in every member"
    """
    return _decide("approve", plan, who, reason, seed, json, debug)


def reject(
    plan: PlanId,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the ledger.")],
    who: Who = "",
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Reject a plan.

    \b
    Example:
      foretwin reject 3f9a0c5d1e2b4a67 --who grace --reason "chiller crew is on site"
    """
    return _decide("reject", plan, who, reason, seed, json, debug)


def _decide(what: str, plan: str, who: str, reason: str, seed: int, json: bool, debug: bool) -> int:
    wall_ms = int(datetime.now(UTC).timestamp() * 1000)
    ask = Ask(what, {"plan": plan, "who": who, "reason": reason}, seed, json, debug)
    return front.run(ask, "verbs.decide", lambda verb: verb.run(front.home(), plan, what, who, reason, wall_ms))


def pause(
    reason: Annotated[str, typer.Option("--reason", help="Why; the screen shows it.")] = "paused from the shell",
    who: Who = "",
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Stop the start of every new step, at once; works with every database down. What runs is finished or undone.

    \b
    Example:
      foretwin pause --reason "electricians in hall B"
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    ask = Ask("pause", {"who": who, "reason": reason}, seed, json, debug)
    return front.run(ask, "verbs.pausing", lambda verb: verb.pause(front.home(), who, reason, at))


def resume(seed: Seed = 0, json: Json = False, debug: Debug = False) -> int:
    """Take the pause away.

    \b
    Example:
      foretwin resume
    """
    ask = Ask("resume", {}, seed, json, debug)
    return front.run(ask, "verbs.pausing", lambda verb: verb.resume(front.home()))
