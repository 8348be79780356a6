"""The shell's verbs about what exists and whether it is sound: site check, incidents, ledger verify, doctor."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from verbs import front
from verbs.front import Ask, Debug, Json, Seed


def register(app: typer.Typer) -> None:
    """Put the verbs of this module into the shell."""
    site = typer.Typer(help="What a site file describes.", rich_markup_mode=None)
    site.command("check")(site_check)
    site.command("explain")(site_explain)
    site.command("import")(site_import)
    incidents = typer.Typer(help="Incidents that can be replayed.", rich_markup_mode=None)
    for name, verb in (("list", incidents_list), ("show", incidents_show), ("check", incidents_check)):
        incidents.command(name)(verb)
    ledger = typer.Typer(help="The record of plans, decisions and steps.", rich_markup_mode=None)
    ledger.command("verify")(ledger_verify)
    for name, group in (("site", site), ("incidents", incidents), ("ledger", ledger)):
        app.add_typer(group, name=name)
    app.command("doctor")(doctor)


def site_check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Site file, or the name of a shipped one.")],
    snapshot: Annotated[
        Path | None, typer.Option("--snapshot", metavar="NPZ", help="Snapshot of a twin: does it belong to this site?")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Check a site file: all faults at once, or its counts, design power [kW] and PUE.

    \b
    Example:
      foretwin site check hall
      foretwin site check my-site.toml --json
      foretwin site check hall --snapshot .foretwin/snapshots/HASH.npz
    """
    asked = {"file": file} if snapshot is None else {"file": file, "snapshot": str(snapshot)}
    return front.run(
        Ask("site check", asked, seed, json, debug), "verbs.site_check", lambda verb: verb.run(file, snapshot)
    )


def site_explain(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Site file, or the name of a shipped one.")],
    component: Annotated[str, typer.Argument(metavar="[COMPONENT]", help="Id of a component; none: every kind.")] = "",
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Explain what the twin holds a component to be: parameters [in their units], what serves it, what hangs on it.

    \b
    Example:
      foretwin site explain hall hk/zone-c/loop
      foretwin site explain hall --json
    """
    ask = Ask("site explain", {"file": file, "component": component}, seed, json, debug)
    return front.run(ask, "verbs.site_explain", lambda verb: verb.run(file, component))


def site_import(
    file: Annotated[str, typer.Argument(metavar="LIST", help="scontrol show node, sinfo --json, slurm.conf, or CSV.")],
    out: Annotated[str, typer.Option("--out", help="Site file to write.", show_default="LIST.toml")] = "",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
    column: Annotated[
        str, typer.Option("--column", help="Column that names the node; its names may repeat (telemetry, Parquet).")
    ] = "",
    name: Annotated[str, typer.Option("--name", help="Name of the site.", show_default="that of the file")] = "",
    region: Annotated[str, typer.Option("--region", help="Name of its region, where the list has none.")] = "site",
    rack_from: Annotated[
        str,
        typer.Option(
            "--rack-from",
            help="Where a node's rack is read: feature:REGEX or name:REGEX, such as"
            " 'feature:rack(\\d+)'. Default: column or features called rack.",
        ),
    ] = "",
    hall_from: Annotated[str, typer.Option("--hall-from", help="Where its hall is read, in the same words.")] = "",
    nodes_per_rack: Annotated[
        int, typer.Option("--nodes-per-rack", min=0, max=256, help="Nodes to a rack where no rack is known; 0: 12 kW.")
    ] = 0,
    pue: Annotated[
        float | None,
        typer.Option("--pue", min=1.0, max=3.0, help="PUE of the site, a ratio.", show_default="as drafted"),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="PATTERN=TYPE: nodes whose name, type or feature matches are of a shipped type."),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Make a site file from a scheduler's node list or a table of nodes; what it does not say is assumed and printed.

    Powers in kW (or W where a column's name ends in w). Never writes over a file without --force.

    \b
    Example:
      foretwin site import nodes.txt --rack-from 'feature:rack(\\d+)' --pue 1.4
      foretwin site import inventory.csv --type 'hgx=dgx-h100' --out hall.toml
      foretwin site import sensors.parquet --column node
    """
    asked = {
        "file": file, "out": out, "force": force, "column": column, "name": name, "region": region,
        "rack_from": rack_from, "hall_from": hall_from, "nodes_per_rack": nodes_per_rack, "pue": pue,
        "types": tuple(types or ()),
    }  # fmt: skip
    return front.run(Ask("site import", asked, seed, json, debug), "verbs.site_import", lambda verb: verb.run(**asked))


def incidents_list(seed: Seed = 0, json: Json = False, debug: Debug = False) -> int:
    """List the shipped incidents.

    \b
    Example:
      foretwin incidents list
    """
    return front.run(Ask("incidents list", {}, seed, json, debug), "verbs.incidents", lambda verb: verb.list_all())


def incidents_show(
    name: Annotated[str, typer.Argument(metavar="ID", help="Id of a shipped incident, or a file.")],
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Show one incident: causes, repairs, assumed values, sources. Times in minutes from the first alarm [min].

    \b
    Example:
      foretwin incidents show alibaba-hk-2022-12-18
    """
    ask = Ask("incidents show", {"id": name}, seed, json, debug)
    return front.run(ask, "verbs.incidents", lambda verb: verb.show(name))


def incidents_check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Incident file, or the id of a shipped one.")],
    site: Annotated[
        str | None, typer.Option("--site", help="Site it plays on.", show_default="the one the file names")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Check an incident file and every component it names: all faults at once.

    \b
    Example:
      foretwin incidents check my-incident.toml --site hall
    """
    ask = Ask("incidents check", {"file": file, "site": site}, seed, json, debug)
    return front.run(ask, "verbs.incidents", lambda verb: verb.check(file, site))


def ledger_verify(
    bench: Annotated[
        int, typer.Option("--bench", min=0, max=10_000_000, help="Make and verify this many rows in a scratch file.")
    ] = 0,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Verify the audit chain of the ledger: a row that was changed, added or taken away shows.

    \b
    Example:
      foretwin ledger verify
      foretwin ledger verify --bench 100000 --json
    """
    ask = Ask("ledger verify", {"bench": bench}, seed, json, debug)
    return front.run(ask, "verbs.ledger_verify", lambda verb: verb.run(front.home(), bench))


def doctor(
    config: Annotated[str, typer.Option("--config", help="Settings file whose sources are tried.")] = "foretwin.toml",
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Check this machine, the state folder and each configured source; each finding comes with its cure.

    A source is asked once: does it answer, can it be read, which share of its samples does a rule take. Exit 1 if
    something needed is wrong.

    \b
    Example:
      foretwin doctor
    """
    ask, now_ms = Ask("doctor", {"config": config}, seed, json, debug), int(datetime.now(UTC).timestamp() * 1000)
    return front.run(ask, "verbs.doctor", lambda verb: verb.run(front.home(), config, now_ms))
