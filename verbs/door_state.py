"""The shell's verbs of state: export, backup, restore."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from verbs import front
from verbs.door_data import StoreText
from verbs.front import Ask, Debug, Json, Seed

Force = Annotated[bool, typer.Option("--force", help="Replace the file when it is there.")]


def register(app: typer.Typer) -> None:
    """Put the verbs of this module into the shell."""
    for verb in (export, backup, restore):
        app.command(verb.__name__)(verb)


def export(
    parquet: Annotated[str, typer.Option("--parquet", help="File of readings to write; events go beside it.")],
    begin: Annotated[
        str | None, typer.Option("--from", help="First instant, ISO, UTC.", show_default="the oldest reading")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Instant to stop before, ISO, UTC.", show_default="the newest reading")
    ] = None,
    component: Annotated[str | None, typer.Option("--component", help="Only these: a shell pattern over ids.")] = None,
    channel: Annotated[str | None, typer.Option("--channel", help="Only this channel.")] = None,
    store: StoreText = "embedded",
    site: Annotated[
        str | None, typer.Option("--site", help="Site of the components: needed for InfluxDB, exact units.")
    ] = None,
    force: Force = False,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Write history as Parquet: time (UTC), component, channel, unit, value; events in FILE.events.parquet.

    Works while the worker runs. `foretwin ingest` reads it back.

    \b
    Example:
      foretwin export --parquet history.parquet --from 2026-11-19 --component 'east/*' --channel inlet_c
    """
    inputs = {
        "parquet": parquet, "from": begin, "to": end, "component": component, "channel": channel, "store": store,
        "site": site, "force": force,
    }  # fmt: skip
    ask = Ask("export", inputs, seed, json, debug)

    def work(verb: Any) -> Any:
        from plant.site import load_site
        from verbs.stores import open_store

        stage = None if site is None else load_site(site)
        with front.bar("export") as told:
            return verb.run(
                lambda: open_store(store, front.home(), stage, must_exist=True),
                parquet, begin, end, component, channel, stage, force, told,
            )  # fmt: skip

    return front.run(ask, "verbs.export", work, warm=("pyarrow.parquet", "verbs.stores"))


def backup(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Archive to write: .tar, .tar.gz or .tgz.")],
    force: Force = False,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Copy all state under FORETWIN_HOME as it stands at one instant, while the worker runs.

    \b
    Example:
      foretwin backup monday.tar
    """
    ask = Ask("backup", {"file": file, "force": force}, seed, json, debug)

    def work(verb: Any) -> Any:
        with front.bar("backup") as told:
            return verb.run(front.home(), file, force, told)

    return front.run(ask, "verbs.backup", work)


def restore(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Archive that foretwin backup wrote.")],
    wait_s: Annotated[
        float, typer.Option("--wait-s", min=1.0, max=3600.0, help="How long a running worker may take [s].")
    ] = 60.0,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Make a backup the state again; the old state is moved aside. A running worker takes it in between two ticks.

    \b
    Example:
      foretwin restore monday.tar
    """
    ask = Ask("restore", {"file": file, "wait_s": wait_s}, seed, json, debug)

    def work(verb: Any) -> Any:
        with front.bar("restore") as told:
            return verb.run(front.home(), file, told, wait_s)

    return front.run(ask, "verbs.restore", work)
