"""The shell's verbs about mappings: map check, map suggest, map explain."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from verbs import front
from verbs.front import Ask, Debug, Json, Seed

Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="Line protocol (.lp), CSV or Parquet.")]
MappingFile = Annotated[
    str | None, typer.Option("--mapping", help="Mapping file, or the name of a shipped one; left out, names are ours.")
]
SiteFile = Annotated[
    str | None, typer.Option("--site", help="Site whose components and ratings judge; left out, usual values do.")
]


def register(app: typer.Typer) -> None:
    """Put the verbs of this module into the shell."""
    group = typer.Typer(help="What the names and units of a source mean, checked.", rich_markup_mode=None)
    group.command("check")(check)
    group.command("suggest")(suggest)
    group.command("explain")(explain)
    app.add_typer(group, name="map")


def check(
    files: Files,
    mapping: MappingFile = None,
    site: SiteFile = None,
    since: Annotated[
        str,
        typer.Option("--since", help="Only what is younger: 30min, 1h, 7d, or an instant.", show_default="everything"),
    ] = "",
    min_coverage: Annotated[
        float, typer.Option("--min-coverage", min=0.0, max=1.0, help="Share of samples that rules must take, 0..1.")
    ] = 0.95,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Tell what a mapping covers, and which units, clocks and names are probably wrong, with the cure.

    Exit 1 when the coverage is below --min-coverage or anything is probably wrong. Temperatures in C, powers in kW.

    \b
    Example:
      foretwin map check telegraf.lp --mapping site.toml --site hall --since 1h
    """
    inputs = {"files": files, "mapping": mapping, "site": site, "since": since or None, "min_coverage": min_coverage}
    now_ms = int(datetime.now(UTC).timestamp() * 1000)

    def work(verb: Any) -> Any:
        return verb.run(files, mapping, site, now_ms, since, min_coverage, every_series=json)

    ask = Ask("map check", inputs, seed, json, debug)
    return front.run(ask, "verbs.map_check", work, warm=("pyarrow.csv", "pyarrow.parquet"))


def suggest(
    files: Files,
    mapping: MappingFile = None,
    site: SiteFile = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Propose rules, as TOML, for series that no rule takes; nothing is written. Likeness of names is a fraction 0..1.

    \b
    Example:
      foretwin map suggest telegraf.lp --mapping site.toml --site hall
    """
    ask = Ask("map suggest", {"files": files, "mapping": mapping, "site": site}, seed, json, debug)

    def work(verb: Any) -> Any:
        results = verb.run(files, mapping, site)
        if json:
            return results
        typer.echo(verb.as_text(results))  # plain, to be copied into a mapping file
        return {key: value for key, value in results.items() if key != "items"}

    return front.run(ask, "verbs.map_suggest", work, warm=("pyarrow.csv", "pyarrow.parquet"))


def explain(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name or pattern of series in FILE; without FILE a line of protocol.")
    ],
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE...]", help="Line protocol, CSV, Parquet.")] = None,
    mapping: MappingFile = None,
    site: SiteFile = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Say which rule took a series, what it became, and its value before and after, with units.

    \b
    Example:
      foretwin map explain upsd.time_left_ns telegraf.lp --mapping site.toml --site hall
      foretwin map explain 'upsd,ups_name=ups time_left_ns=9800000000000i' --mapping telegraf
    """
    inputs = {"name": name, "files": files or [], "mapping": mapping, "site": site}
    ask = Ask("map explain", inputs, seed, json, debug)
    warm = ("pyarrow.csv", "pyarrow.parquet")
    return front.run(ask, "verbs.map_explain", lambda verb: verb.run(name, files or [], mapping, site), warm=warm)
