"""The shell's benchmarks: twin, fork, rehearse, reliability, network, growth, ingest, sync."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from verbs import front
from verbs.front import Ask, Backend, Debug, Json, Seed, Workers

Members = Annotated[int, typer.Option("--members", min=1, max=100_000, help="Members of the ensemble, a count.")]


def register(app: typer.Typer) -> None:
    """Put the verbs of this module into the shell."""
    group = typer.Typer(help="Measure speed; CPU seconds stand beside wall seconds.", rich_markup_mode=None)
    for name, verb in (
        ("twin", bench_twin),
        ("fork", bench_fork),
        ("rehearse", bench_rehearse),
        ("reliability", bench_reliability),
        ("network", bench_network),
        ("growth", bench_growth),
        ("ingest", bench_ingest),
        ("sync", bench_sync),
    ):
        group.command(name)(verb)
    app.add_typer(group, name="bench")


def bench_twin(
    case: Annotated[
        str, typer.Option("--case", help="small hall frontier-day (9,600 nodes, 24 h, 15 s) frontier-hour-1s.")
    ] = "hall",
    jobs: Annotated[
        str,
        typer.Option(
            "--jobs",
            help="Job table (CSV) or trace (Parquet) to run in place of the case's.",
            show_default="the case's",
        ),
    ] = "",
    requests: Annotated[
        str,
        typer.Option(
            "--requests", help="Trace of request rates (Parquet) that services follow.", show_default="steady"
        ),
    ] = "",
    members: Members = 1,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure how fast the twin lives: simulated seconds per CPU second, peak memory [MB], energy balance.

    \b
    Example:
      foretwin bench twin --case hall --json
      foretwin bench twin --case hall --jobs jobs.csv
    """
    ask = Ask(
        "bench twin",
        {"case": case, "jobs": jobs or None, "requests": requests or None, "members": members},
        seed,
        json,
        debug,
    )

    def work(verb: Any) -> Any:
        with front.bar("simulated time") as told:
            return verb.run(case, members, seed, told, jobs, requests)

    return front.run(ask, "verbs.bench_twin", work)


def bench_fork(members: Members = 1, seed: Seed = 0, json: Json = False, debug: Debug = False) -> int:
    """Measure a fork of a live twin of 9,600 nodes [ms], and that it continues bit for bit.

    \b
    Example:
      foretwin bench fork --members 32
    """
    ask = Ask("bench fork", {"members": members}, seed, json, debug)
    return front.run(ask, "verbs.bench_fork", lambda verb: verb.run(members=members, seed=seed))


def bench_rehearse(
    case: Annotated[str, typer.Option("--case", help="loop (a hall loses its cooling) or blackout.")] = "loop",
    members: Members = 32,
    workers: Workers = 2,
    backend: Backend = "loky",
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure a rehearsal: 8 plans, 1,002 nodes, half an hour at 10 s steps; the best wall time of three [s].

    \b
    Example:
      foretwin bench rehearse --case blackout --members 32 --workers 2
    """
    inputs = {"case": case, "members": members, "workers": workers, "backend": backend}
    ask = Ask("bench rehearse", inputs, seed, json, debug)
    return front.run(
        ask, "verbs.bench_rehearse", lambda verb: verb.run(members, workers, seed, backend=backend, case=case)
    )


def bench_reliability(
    case: Annotated[
        str, typer.Option("--case", help="airesim-short, airesim-default, airesim-short-weibull, or a case file.")
    ] = "airesim-short",
    members: Annotated[int, typer.Option("--members", min=2, max=100_000, help="Histories, a count.")] = 100,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Live a gang job on failing servers: time to train [min], failures, CPU [s] per history, beside a peer's.

    \b
    Example:
      foretwin bench reliability --case airesim-short --members 100
    """
    ask = Ask("bench reliability", {"case": case, "members": members}, seed, json, debug)
    return front.run(ask, "verbs.bench_reliability", lambda verb: verb.run(case, members, seed))


def bench_network(
    hours: Annotated[int, typer.Option("--hours", min=1, max=240, help="How long the site lives, hours.")] = 12,
    tries: Annotated[int, typer.Option("--tries", min=1, max=100, help="Runs of each kind, a count.")] = 5,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure what the network costs: the same 792 nodes and jobs with and without it, CPU seconds [ratio].

    \b
    Example:
      foretwin bench network --json
    """
    ask = Ask("bench network", {"hours": hours, "tries": tries}, seed, json, debug)

    def work(verb: Any) -> Any:
        with front.bar("runs") as told:
            return verb.run(seed, hours * 3600, tries, told)

    return front.run(ask, "verbs.bench_network", work)


def bench_growth(
    tries: Annotated[int, typer.Option("--tries", min=1, max=100, help="Runs of each size, a count.")] = 3,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure the cost of a node's step [ns] on made-up sites of 100, 1,000, 10,000 and 100,000 nodes.

    \b
    Example:
      foretwin bench growth --json
    """
    ask = Ask("bench growth", {"tries": tries}, seed, json, debug)

    def work(verb: Any) -> Any:
        with front.bar("sizes") as told:
            return verb.run(seed, tries=tries, told=told)

    return front.run(ask, "verbs.bench_growth", work)


def bench_ingest(
    store: Annotated[str, typer.Option("--store", help="embedded, or influx (needs a server).")] = "embedded",
    components: Annotated[
        int, typer.Option("--components", min=10, max=1_000_000, help="Components with five channels each, a count.")
    ] = 10_000,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, max=10_000, help="How often all of them are read, a count.")
    ] = 8,
    tries: Annotated[
        int, typer.Option("--tries", min=1, max=100, help="Runs of store and bare client, a count (influx).")
    ] = 3,
    url: Annotated[
        str,
        typer.Option(
            "--url",
            help="An InfluxDB, http://HOST:PORT/DATABASE; the points of site bench stay there.",
            show_default="a scratch one, where influxd and nginx are installed",
        ),
    ] = "",
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure telemetry from raw samples through mapping and gate into a store [readings/s], and newest values [ms].

    With influx also the store beside the bare client that writes the same points [ratio].

    \b
    Example:
      foretwin bench ingest --store embedded
      foretwin bench ingest --store influx --json
    """
    inputs = {"store": store, "components": components, "rounds": rounds, "tries": tries, "url": url or None}
    ask = Ask("bench ingest", inputs, seed, json, debug)

    def work(verb: Any) -> Any:
        with front.bar("rounds") as told:
            return verb.run(store, components, rounds, tries, url, seed, told)

    return front.run(ask, "verbs.bench_ingest", work)


def bench_sync(
    members: Members = 32,
    nodes: Annotated[int, typer.Option("--nodes", min=100, max=100_000, help="Nodes of the site, a count.")] = 1_000,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure a correction of the live twin [ms]: five channels of every node, from names to corrected members.

    \b
    Example:
      foretwin bench sync --members 32
    """
    ask = Ask("bench sync", {"members": members, "nodes": nodes}, seed, json, debug)

    def work(verb: Any) -> Any:
        with front.bar("rounds") as told:
            return verb.run(members, seed, nodes, told=told)

    return front.run(ask, "verbs.bench_sync", work)
