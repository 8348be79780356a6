"""Results as a person reads them: plain facts first, then a table for each list of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_ROWS = 60
MOST_COLUMNS = 9
WHY = "_reason"


def show(results: Mapping[str, Any]) -> None:
    """Print results on stdout; nested parts are cut to what a screen holds, `--json` has all of it."""
    from rich.console import Console
    from rich.table import Table

    # Words are the user's: [hosts] is a table of a file and :n1: a name, neither a colour nor a picture.
    console = Console(highlight=False, markup=False, emoji=False)
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for key, value in results.items():
        if not _is_rows(value):
            facts.add_row(key, _cell(value))
    console.print(facts)
    for key, value in results.items():
        if _is_rows(value):
            console.print(key, style="italic")
            console.print(_table(value, Table))
            if left_out := _left_out(value):
                console.print(left_out, style="dim italic")


def _table(rows: Sequence[Mapping[str, Any]], table_class: Any) -> Any:
    columns = _columns(rows)[:MOST_COLUMNS]
    table = table_class(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows[:MOST_ROWS]:
        table.add_row(*(_cell(row.get(name), row.get(f"{name}{WHY}")) for name in columns))
    return table


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the columns; why a cell is empty stands in that cell, rows inside rows are left to --json."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [n for n in names if not _is_rows_of(rows, n) and not (n.endswith(WHY) and n.removesuffix(WHY) in names)]


def _left_out(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = _columns(rows)
    if len(rows) <= MOST_ROWS and len(columns) <= MOST_COLUMNS:
        return ""
    shown = f"{min(len(rows), MOST_ROWS)} of {len(rows)} rows, {min(len(columns), MOST_COLUMNS)} of {len(columns)}"
    return f"{shown} columns; --json has all"


def _is_rows(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _is_rows_of(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(_is_rows(row.get(name)) for row in rows)


def _cell(value: Any, reason: str | None = None) -> str:
    """A value as short text; `reason` stands for one that is missing.

    >>> _cell({"a": 0.123456, "b": [1, 2]}), _cell(None), _cell(True), _cell([])
    ('a=0.1235 b=1, 2', '-', 'yes', 'none')
    >>> _cell(None, "one sample"), _cell({"600": None, "1200": None})
    ('one sample', '-')
    """
    if value is None:
        return reason or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.0f}"
    if isinstance(value, Mapping | list | tuple) and not value:
        return "none"
    if isinstance(value, Mapping):
        if all(one is None for one in value.values()):
            return "-"
        return " ".join(f"{key}={_cell(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_cell(one) for one in value)
    return str(value)
