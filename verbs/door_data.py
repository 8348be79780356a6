"""The shell's verbs of telemetry and prediction: ingest, train, score, evaluate sync, jobs import."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from plant.errors import ConfigError
from verbs import front
from verbs.front import Ask, Debug, Json, Seed, Workers

Site = Annotated[str, typer.Option("--site", help="Site file, or the name of a shipped one.")]
StoreText = Annotated[
    str,
    typer.Option(
        "--store", help="embedded (a file under FORETWIN_HOME) or http://HOST:PORT/DATABASE of an InfluxDB; its token"
        " comes from FORETWIN_STORE__TOKEN."
    ),
]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Put the verbs of this module into the shell."""
    for verb in (ingest, train, score):
        app.command(verb.__name__)(verb)
    group = typer.Typer(
        help="Measure how good predictions are, against data that was held back.", rich_markup_mode=None
    )
    group.command("sync")(evaluate_sync)
    group.command("emulated")(evaluate_emulated)
    app.add_typer(group, name="evaluate")
    sync = typer.Typer(help="How well the twin follows its site.", rich_markup_mode=None)
    sync.command("report")(sync_report)
    app.add_typer(sync, name="sync")
    jobs = typer.Typer(help="Tables of jobs that the twin can run.", rich_markup_mode=None)
    jobs.command("import")(jobs_import)
    app.add_typer(jobs, name="jobs")


def ingest(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="CSV or Parquet table (long or wide), or line protocol (.lp).")
    ],
    mapping: Annotated[
        str | None, typer.Option("--mapping", help="Mapping file; left out, names and units are ours already.")
    ] = None,
    store: StoreText = "embedded",
    site: Annotated[
        str | None, typer.Option("--site", help="Judge components by this site; left out, every component is let in.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Bring readings into a store; each is judged, refused ones are counted with the reason.

    Times are UTC: ISO text, or Unix milliseconds unless the mapping says otherwise. Temperatures in C, powers in kW.

    \b
    Example:
      foretwin ingest week.parquet --mapping telegraf.toml --site hall
      foretwin ingest readings.csv --json
    """
    inputs = {"file": file, "mapping": mapping, "store": store, "site": site}
    ask = Ask("ingest", inputs, seed, json, debug)
    now_ms = int(datetime.now(UTC).timestamp() * 1000)

    def work(verb: Any) -> Any:
        from verbs.stores import open_store

        with front.bar("readings") as told:
            return verb.run(file, mapping, lambda stage: open_store(store, front.home(), stage), now_ms, site, told)

    return front.run(ask, "verbs.ingest", work, warm=("pyarrow.csv", "pyarrow.parquet", "verbs.stores"))


def train(
    site: Site = "hall",
    out: Annotated[
        str, typer.Option("--out", help="Folder of models.", show_default="models under FORETWIN_HOME")
    ] = "",
    members: Annotated[int, typer.Option("--members", min=2, max=100_000, help="Site lives to emulate, a count.")] = 96,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Train the failure predictor on emulated histories of a site; takes minutes. Simulated.

    \b
    Example:
      foretwin train --site hall --seed 0
    """
    ask = Ask("train", {"site": site, "out": out, "members": members}, seed, json, debug)
    trained_at = datetime.now(UTC).isoformat(timespec="seconds")
    folder = Path(out) if out else front.home() / "models"

    def work(verb: Any) -> Any:
        with front.bar("lives") as told:
            return verb.run(site, seed, folder, trained_at, members=members, told=told)

    return front.run(ask, "verbs.train", work, warm=("torch", "pytorch_lightning"))


def score(
    site: Site = "hall",
    store: StoreText = "embedded",
    at: Annotated[
        str, typer.Option("--at", help="Instant to score at, ISO, UTC.", show_default="the newest reading")
    ] = "",
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Tell which component will fail and when: P(fail within h), time to failure [s], reasons, most urgent first.

    \b
    Example:
      foretwin score --site hall --at 2022-12-18T00:30:00Z
    """
    ask = Ask("score", {"site": site, "store": store, "at": at or None}, seed, json, debug)

    def work(verb: Any) -> Any:
        from plant.site import load_site
        from verbs.stores import open_store

        at_ms, home = _instant_ms(at), front.home()
        models = (home / "models", verb.SHIPPED)
        opened = open_store(store, home, load_site(site), must_exist=True)
        try:
            return verb.run(site, opened, at_ms, models=models)
        finally:
            opened.close()

    return front.run(ask, "verbs.score", work)


def _instant_ms(text: str) -> int | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError("--at", f"'{text}'", "an ISO instant", "for example 2022-12-18T00:30:00Z") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def sync_report(seed: Seed = 0, json: Json = False, debug: Debug = False) -> int:
    """Tell how well the running (or last) worker's twin follows: a row per channel and horizon [s], halls, refusals.

    Horizon 0 is what was read against what had been predicted for that instant; 600 and 3600 are forecasts that met
    their readings. RMSE in the unit of the channel; the rest are fractions. Exit 1 when the twin is out of sync.

    \b
    Example:
      foretwin sync report
      foretwin sync report --json
    """
    ask = Ask("sync report", {}, seed, json, debug)
    return front.run(
        ask, "verbs.sync_report", lambda verb: verb.run(front.home()), good=lambda r: r.get("in_sync") is not False
    )


def evaluate_sync(
    path: Annotated[
        str,
        typer.Option(
            "--path",
            help="Folder with tasks, fragments, power; or servers, facility.",
            show_default="../shared/data/surf_week",
        ),
    ] = "",
    fit: Annotated[
        str | None,
        typer.Option("--fit", help="Window to fit on: days 1..2, 06:30..11:20, FROM..TO; UTC. Default: mapping."),
    ] = None,
    test: Annotated[
        str | None, typer.Option("--test", help="Window to report on, in the same words; default: the mapping's.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Run every job of the week through the engine; tens of seconds.")
    ] = False,
    workers: Workers = 2,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure how well the twin follows a real week (power) or hall (heat, outlets), open loop and ahead [fraction].

    \b
    Example:
      foretwin evaluate sync --path surf_week --fit 1..2 --test 3..5
      foretwin evaluate sync --path rise_pod --fit 06:30..11:20 --test 11:20..13:30
    """
    folder = path or str(shared_week())
    inputs = {"path": folder, "fit": fit, "test": test, "engine": "whole" if whole else "check", "workers": workers}
    ask = Ask("evaluate sync", inputs, seed, json, debug)

    def work(verb: Any) -> Any:
        return verb.run(folder, fit, test, seed, inputs["engine"], workers)

    return front.run(ask, "verbs.evaluate_sync", work, good=lambda results: results.get("in_sync") is not False)


def evaluate_emulated(
    site: Site = "hall",
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=1_000, help="Emulated sites, a count.")] = 3,
    hours: Annotated[float, typer.Option("--hours", min=1.0, max=24.0, help="Telemetry the twin hears [h].")] = 2.0,
    members: Annotated[int, typer.Option("--members", min=4, max=1_024, help="Members of each twin, a count.")] = 64,
    workers: Workers = 1,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure how a twin follows emulated sites with hidden parameters (+-20 %), gaps and outliers. Simulated.

    Inlets are forecast 10 min and 1 h ahead [K], beside persistence and a twin that is not corrected; parameters are
    compared with the hidden ones. --seed is the first hidden seed.

    
    Example:
      foretwin evaluate emulated --site hall --seeds 3 --hours 2
    """
    inputs = {"site": site, "seeds": seeds, "hours": hours, "members": members, "workers": workers}
    ask = Ask("evaluate emulated", inputs, seed, json, debug)

    def work(verb: Any) -> Any:
        with front.bar("stories") as told:
            return verb.run(**inputs, seed=seed, told=told)

    return front.run(ask, "verbs.evaluate_emulated", work)


def shared_week() -> Path:
    """Where the week of a real cluster lies when the shared data stand beside the checkout."""
    return Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "surf_week"


def jobs_import(
    trace: Annotated[str, typer.Argument(metavar="TRACE", help="Parquet file of a trace, known by its columns.")],
    site: Site = "hall",
    hours: Annotated[float, typer.Option("--hours", min=0.1, max=8_760.0, help="Length of the table [h].")] = 24.0,
    from_h: Annotated[
        float, typer.Option("--from-h", min=0.0, max=100_000.0, help="Where in the trace to begin [h].")
    ] = 0.0,
    busy_frac: Annotated[
        float, typer.Option("--busy-frac", min=0.01, max=2.0, help="Share of the nodes at work in the long run, 0..1.")
    ] = 0.65,
    grain_frac: Annotated[
        float, typer.Option("--grain-frac", min=0.01, max=1.0, help="Smallest share of a node that a job takes, 0..1.")
    ] = 0.25,
    out: Annotated[str, typer.Option("--out", help="Table to write (CSV).")] = "jobs.csv",
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Turn a real trace into a job table scaled to a site, as `bench twin --jobs` reads it.

    Known are the re-sampled traces of Alibaba PAI and Azure VM (arrival_time and length in hours, cpus) and Alibaba's
    pods of 2023 (scheduled_time, deletion_time, num_gpu, gpu_milli, cpu_milli, qos). Classes a trace does not name are
    drawn in the shares of C3O Table 2.

    \b
    Example:
      foretwin jobs import jobs_alibaba_pai_100k.parquet --site hall --hours 24 --out pai.csv
      foretwin bench twin --case hall --jobs pai.csv
    """
    inputs = {
        "trace": trace, "site": site, "hours": hours, "from_h": from_h, "busy_frac": busy_frac,
        "grain_frac": grain_frac, "out": out,
    }  # fmt: skip
    ask = Ask("jobs import", inputs, seed, json, debug)
    return front.run(ask, "verbs.jobs_import", lambda verb: verb.run(**inputs, seed=seed))
