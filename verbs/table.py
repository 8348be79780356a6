"""Results as a person reads them: plain facts first, then a table for each list of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_ROWS = 60
MOST_COLUMNS = 9


def show(results: Mapping[str, Any]) -> None:
    """Print results on stdout; nested parts are cut to what a screen holds, `--json` has all of it."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for key, value in results.items():
        if not _is_rows(value):
            facts.add_row(key, _cell(value))
    console.print(facts)
    for key, value in results.items():
        if _is_rows(value):
            console.print(_table(key, value, Table))


def _table(title: str, rows: Sequence[Mapping[str, Any]], table_class: Any) -> Any:
    columns = [name for name in dict.fromkeys(name for row in rows for name in row) if not _is_rows_of(rows, name)]
    table = table_class(title=title, title_justify="left", box=None, pad_edge=False)
    for name in columns[:MOST_COLUMNS]:
        table.add_column(name, overflow="fold")
    for row in rows[:MOST_ROWS]:
        table.add_row(*(_cell(row.get(name)) for name in columns[:MOST_COLUMNS]))
    if len(rows) > MOST_ROWS or len(columns) > MOST_COLUMNS:
        table.caption = f"{min(len(rows), MOST_ROWS)} of {len(rows)} rows; --json has every row and column"
    return table


def _is_rows(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _is_rows_of(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(_is_rows(row.get(name)) for row in rows)


def _cell(value: Any) -> str:
    """A value as short text.

    >>> _cell({"a": 0.123456, "b": [1, 2]}), _cell(None), _cell(True)
    ('a=0.1235 b=1, 2', '-', 'yes')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.0f}"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_cell(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_cell(one) for one in value)
    return str(value)
