"""The shell's front door: `foretwin VERB`. What each verb does is imported only when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

import typer

from plant.errors import ConfigError
from verbs import door_bench, door_chaos, door_data, door_loop, door_map, door_site, door_state, front

NAME = "foretwin"
WIDTH = 100  # of the help: the same in every terminal, and in docs/cli.md
DOORS = (door_loop, door_data, door_map, door_state, door_site, door_bench, door_chaos)

# Processes share the cores by themselves (site, worker, rehearsals): threads of BLAS that wait for each other in a loop
# took half of the demo's CPU time. Whoever sets the variable is heard; numpy and torch read it when they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

app = typer.Typer(
    name=NAME,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "terminal_width": WIDTH, "max_content_width": WIDTH},
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Digital twin and failure prediction for data centres.

    Exit codes: 0 good, 1 the answer is bad, 2 wrong use. State lies in FORETWIN_HOME, by default ./.foretwin.

    \b
    Example:
      foretwin demo
      foretwin replay alibaba-hk-2022-12-18 --seeds 3 --json
    """
    if version:
        from verbs import envelope

        print(envelope.version())
    elif context.invoked_subcommand is None:
        print(context.get_help())


for door in DOORS:
    door.register(app)


@cache
def command() -> Any:
    """The verbs as one command, put together once in a process."""
    return typer.main.get_command(app)


def answer(args: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    try:
        code = command().main(args=list(args), prog_name=NAME, standalone_mode=False)
    except Exception as error:
        # typer's own and click's usage errors have this method; everything else is a fault of ours
        if not hasattr(error, "format_message"):
            raise
        words = [word for word in args if not word.startswith("-")][:2]
        message = " ".join(error.format_message().split()).rstrip(".")
        path = getattr(getattr(error, "ctx", None), "command_path", NAME)
        fault = ConfigError(path, message or "wrong use", "", f"see {path} -h")
        return front.refuse(_verb(path) or " ".join(words), fault, as_json="--json" in args, debug=False)
    return code if isinstance(code, int) else front.GOOD


def _verb(path: str) -> str:
    return path.removeprefix(NAME).strip()


def main() -> None:
    """Run the command line of this process."""
    try:
        code = answer(sys.argv[1:])
    except KeyboardInterrupt:
        code = front.INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has gone: nothing to say and nobody to say it to
        sys.stderr.close()
        code = front.GOOD
    sys.exit(code)


if __name__ == "__main__":
    main()
