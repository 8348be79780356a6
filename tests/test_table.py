"""Tables for people: the user's words stand as they are, nothing is cut, empty cells say why."""

from __future__ import annotations

import pytest

from verbs import table


@pytest.fixture
def shown(capsys, monkeypatch):
    def of(results):
        monkeypatch.setenv("COLUMNS", "100")
        table.show(results)
        return capsys.readouterr().out

    return of


def test_brackets_and_colons_of_users_are_no_markup(shown):
    out = shown({"wrong": ["add [hosts]", "[/x] [red]a"], "items": [{"name": ":fire: [bold]n1"}]})
    assert "add [hosts]" in out
    assert "[/x] [red]a" in out
    assert ":fire: [bold]n1" in out


def test_a_long_title_over_a_narrow_table_stays_whole(shown):
    assert "unknown_components\n" in shown({"unknown_components": [{"c": 1}]})


def test_an_empty_cell_says_why_and_an_empty_list_that_it_is(shown):
    out = shown({"left": [], "rows": [{"m": None, "m_reason": "one sample"}, {"m": 2.0}]})
    assert "none" in out.splitlines()[0]
    assert "one sample" in out
    assert "m_reason" not in out


def test_what_is_left_out_is_counted(shown):
    assert "60 of 70 rows, 1 of 1 columns; --json has all" in shown({"rows": [{"n": n} for n in range(70)]})
