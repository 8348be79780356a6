"""docs/sync.md: its tables of operators and parameters are those of the code, its numbers too.

To write them: PYTHONPATH=. python tests/test_docs_sync.py
"""

from __future__ import annotations

from pathlib import Path

from twin.sync import evidence, inflate, lateness, sensorfaults
from twin.sync.operators import OPERATORS, Operator
from twin.sync.parameters import PARAMETERS, Parameter

PAGE = Path(__file__).parent.parent / "docs" / "sync.md"
NOTHING = "-"


def number(value: float) -> str:
    return f"{value:g}" if value else NOTHING


def error(o: Operator) -> str:
    parts = [number(o.error_sd)] if o.error_sd else []
    return " + ".join([*parts, *([f"{100 * o.error_frac:g} %"] if o.error_frac else [])])


def jump(o: Operator) -> str:
    return " + ".join([number(o.jump_sd), *([f"{100 * o.jump_frac:g} %"] if o.jump_frac else [])])


def names(arrays: list[str]) -> str:
    return " ".join(f"`{name}`" for name in arrays) or NOTHING


def operators() -> list[str]:
    rows = ["| channel | own | linked | error | noise | jump | pull |", "|---|---|---|---|---|---|---|"]
    for o in OPERATORS:
        linked = [link.array for link in (*o.linked, *o.shared)] + ([o.bias] if o.bias else [])
        said = [f"`{o.kind}.{o.channel}`", names([link.array for link in o.own]), names(linked), error(o),
                number(o.noise_sd), jump(o), number(o.drift_k)]  # fmt: skip
        rows.append(f"| {' | '.join(said)} |")
    return rows


def bound(p: Parameter) -> str:
    return f"{p.low:g} to {p.high:g}" + (" × own" if p.of_site else "")


def parameters() -> list[str]:
    rows = [
        "| array | prior | in its logarithm | bounds | step | floor | forgets [h] |",
        "|---|---|---|---|---|---|---|",
    ]
    for p in PARAMETERS:
        said = [f"`{p.name}`", f"{p.prior_sd:g}", "yes" if p.log else "no", bound(p), f"{p.step:g}", f"{p.floor:g}",
                f"{p.forget_h:g}"]  # fmt: skip
        rows.append(f"| {' | '.join(said)} |")
    return rows


def written(page: str) -> str:
    """The page with its tables as they should be."""
    for name, rows in (("operators", operators()), ("parameters", parameters())):
        begin = f"<!-- {name}: written by tests/test_docs_sync.py -->\n"
        head, rest = page.split(begin)
        page = head + begin + "\n".join(rows) + "\n" + rest[rest.index("<!-- end -->") :]
    return page


def test_the_tables_are_those_of_the_code():
    page = PAGE.read_text()
    assert page == written(page), "run PYTHONPATH=. python tests/test_docs_sync.py"


def test_the_numbers_are_those_of_the_code():
    page = " ".join(PAGE.read_text().split())
    f = sensorfaults
    for text in (
        f"Older than {lateness.LATE_MS // 1000} s: refused (`{lateness.TOO_LATE}`)",
        f"refused (`{lateness.AGAIN}`)",
        f"beyond {f.GROSS} of all these together",
        f"beyond {f.TRIM:g} standard deviations",
        f"at least {100 * f.MOVES_NOISY:g} % of its readings, now {f.SAME_NOISY + 1} times the same",
        f"{f.ODD_READINGS} gross readings in a row",
        f"beyond {f.DRIFT_MOST} for {f.DRIFT_READINGS} readings",
        f"time constant {f.PULL_MS // 3_600_000} h",
        f"gross for {f.ODD_MS // 60_000} min",
        f"for {evidence.DISTURBED_MS // 60_000} minutes nobody is called",
        f"after {f.GOOD} good readings in a row over {f.GOOD_MS // 60_000} minutes",
        f"running mean of $z$ below {f.GOOD_DRIFT}",
        f"{inflate.DOUBT:g} times faster",
    ):
        assert text in page, text


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
