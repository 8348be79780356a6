"""How every verb of the shell answers: import, run on the clock, print a table or one JSON object, give an exit code.

Exit codes: 0 good, 1 the answer is bad, 2 wrong use. stdout carries the answer, stderr everything else.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from plant.errors import ConfigError, ForetwinError
from verbs import envelope

GOOD, BAD, WRONG, INTERRUPTED = 0, 1, 2, 130

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random draw, a whole number.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Workers = Annotated[int, typer.Option("--workers", min=1, max=256, help="Worker processes, a count.")]
Backend = Annotated[
    str, typer.Option("--backend", help="How the workers are spread: loky (processes), threading, ray (a cluster).")
]
Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Ask:
    """One call of a verb: its words, what it was given, and how to answer."""

    command: str
    inputs: Mapping[str, Any]
    seed: int = 0
    as_json: bool = False
    debug: bool = False


def home() -> Path:
    """The folder of all state: FORETWIN_HOME, or .foretwin where the program was started."""
    return Path(os.environ.get("FORETWIN_HOME") or ".foretwin")


def say(line: str) -> None:
    """Print a line for people, on stderr."""
    print(line, file=sys.stderr, flush=True)


def is_good(results: Mapping[str, Any]) -> bool:
    """The usual verdict: good unless `ok` says otherwise."""
    return results.get("ok") is not False


def run(
    ask: Ask,
    module: str,
    work: Callable[[Any], dict[str, Any]],
    *,
    warm: Sequence[str] = (),
    good: Callable[[Mapping[str, Any]], bool] = is_good,
) -> int:
    """Import `module` (and `warm` ones), run `work` on it, print; returns the exit code.

    Imports come before the clock starts, so that `cpu_s` is work and `setup_cpu_s` the rest.
    """
    try:
        with stdout_kept(ask.as_json):
            from verbs.meter import Meter

            loaded = importlib.import_module(module)
            for name in warm:
                importlib.import_module(name)
            meter = Meter()
            results = work(loaded)
            cost = meter.read()
    except ForetwinError as error:
        return refuse(ask.command, error, as_json=ask.as_json, debug=ask.debug)
    except OSError as error:
        # a full disk, a folder without permission: the user's to cure, not a fault of the program
        where = str(error.filename or ask.command)
        fault = ConfigError(where, error.strerror or str(error), "", "check path, permissions and free space")
        return refuse(ask.command, fault, as_json=ask.as_json, debug=ask.debug)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    full = {**results, **{key: value for key, value in cost.items() if key not in results}}
    show(ask, full, getattr(loaded, "for_people", dict))
    return GOOD if good(results) else BAD


def show(ask: Ask, results: Mapping[str, Any], for_people: Callable[[Any], dict[str, Any]] = dict) -> None:
    """Print results as one JSON object, or as tables; `for_people` makes of them what the tables hold."""
    if ask.as_json:
        print(envelope.text(envelope.answer(ask.command, ask.seed, ask.inputs, results)), flush=True)
        return
    from verbs import table

    table.show(envelope.finite(for_people(results)))


def refuse(command: str, error: ForetwinError, *, as_json: bool, debug: bool) -> int:
    """Say what is wrong, one line per fault on stderr, and under --json as the refusal envelope on stdout."""
    if debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    for fault in error.faults:
        say(str(fault))
    if as_json:
        print(envelope.text(envelope.refusal(command, error)), flush=True)
    return WRONG


@contextmanager
def stdout_kept(keep: bool) -> Iterator[None]:
    """While a verb runs under --json, send what anyone prints on stdout, child processes included, to stderr."""
    if not keep:
        yield
        return
    sys.stdout.flush()
    saved = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


@contextmanager
def bar(label: str) -> Iterator[Told]:
    """A progress bar on stderr, told (done, of); silent where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)
