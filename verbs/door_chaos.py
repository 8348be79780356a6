"""The shell's chaos: faults made on purpose, against servers of its own."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from verbs import front
from verbs.ending import stop_cleanly
from verbs.front import Ask, Debug, Json, Seed


def register(app: typer.Typer) -> None:
    """Put the verbs of this module into the shell."""
    group = typer.Typer(
        help="Make faults on purpose, on servers of its own, and count what they cost.", rich_markup_mode=None
    )
    group.command("telemetry")(chaos_telemetry)
    app.add_typer(group, name="chaos")


def chaos_telemetry(
    injections: Annotated[
        int, typer.Option("--injections", min=1, max=10_000, help="Faults, a count; 50 take about 4 minutes.")
    ] = 50,
    keep: Annotated[
        str, typer.Option("--keep", help="Folder for what the run leaves behind.", show_default="nothing is kept")
    ] = "",
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Kill, pause, fill and restart a scratch InfluxDB at random during ingest; count lost and doubled readings.

    Needs influxd and nginx (make servers). As root the database has a file system of its own and is truly full.

    \b
    Example:
      foretwin chaos telemetry --injections 50 --seed 0 --json
    """
    ask = Ask("chaos telemetry", {"injections": injections, "keep": keep or None}, seed, json, debug)

    def work(verb: Any) -> Any:
        stop_cleanly()
        with front.bar("injections") as told:
            return verb.run(injections, seed, told, keep)

    return front.run(ask, "verbs.chaos_telemetry", work)
