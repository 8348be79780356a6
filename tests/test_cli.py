"""The shell: help with examples, one JSON object, refusals in one line, exit codes, the keys of the contracts.

`python tests/test_cli.py` writes docs/cli.md anew from the help.
"""

from __future__ import annotations

import json
import math
import os
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cli  # noqa: E402
from plant.actions import Action, Plan  # noqa: E402
from plant.errors import ConfigError, Fault, SiteFileError  # noqa: E402
from recovery.ledger import Ledger  # noqa: E402
from twin.board import Board  # noqa: E402
from twin.telemetry.sqlite_store import SqliteStore  # noqa: E402
from verbs import door_loop, envelope, front  # noqa: E402

VERBS = (
    "demo", "run", "replay", "rehearse", "approve", "reject", "pause", "resume", "ingest", "train", "score",
    "map check", "map suggest", "map explain", "evaluate sync", "evaluate emulated", "site check", "site explain",
    "site import", "incidents list",
    "incidents show", "incidents check",
    "ledger verify", "doctor", "bench twin", "bench fork", "bench rehearse", "bench reliability",
    "bench network", "bench growth", "bench ingest", "bench sync", "chaos telemetry", "jobs import", "export",
    "backup", "restore",
    "sync report",
)  # fmt: skip
T0_MS = 1_671_321_360_000
LIFE_MS = 600_000


# --- help -------------------------------------------------------------------------------------


def all_helps() -> dict[str, str]:
    """Verb -> its help, from one process: the whole page in well under a second."""
    code = (
        "import sys, json, io, contextlib, cli\n"
        "out = {}\n"
        "for verb in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as text:\n"
        "        cli.answer([*verb.split(), '-h'])\n"
        "    out[verb] = text.getvalue()\n"
        "print(json.dumps(out))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(["", *VERBS])], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    return all_helps()


def as_page(helps: dict[str, str]) -> str:
    parts = [
        "# The command\n",
        "Written by `python tests/test_cli.py` from the help of each verb; a test keeps it so.\n",
    ]
    for verb, text in helps.items():
        title = f"foretwin {verb}".strip()
        parts.append(f"## {title}\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_and_units(helps, verb):
    text = helps[verb]
    usage, _, rest = text.partition("\n\n")
    assert usage.startswith(f"Usage: foretwin {verb}")
    assert rest.strip().split("\n")[0].strip(), "a summary"
    assert f"Example:\n    foretwin {verb}" in text
    for option in ("--json", "--seed", "--debug", "-h, --help"):
        assert option in text
    for option, line in re.findall(r"^  (--[a-z-]+) (?:<\w+ ?\w*>)?(.*(?:\n {20,}.*)*)", text, re.MULTILINE):
        if option.endswith("-s"):
            assert "[s]" in line, f"{option} names no unit"


@pytest.mark.parametrize("verb", VERBS)
def test_every_number_shows_its_default_or_must_be_given(helps, verb):
    joined = re.sub(r"\n {8,}", " ", helps[verb])
    for line in joined.splitlines():
        if re.match(r"  --[a-z-]+ <(int|float)", line):
            assert "default:" in line or "required" in line, line


def test_both_help_flags_say_the_same(helps):
    done = subprocess.run([sys.executable, "-m", "cli", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == helps[""]


def test_the_list_of_verbs_here_is_the_list_of_the_program():
    import typer

    def walk(command, path=()):
        if not hasattr(command, "commands"):
            return [" ".join(path)]
        return [verb for name, one in command.commands.items() for verb in walk(one, (*path, name))]

    assert sorted(walk(typer.main.get_command(cli.app))) == sorted(VERBS)


def test_the_page_is_the_help(helps):
    page = ROOT / "docs" / "cli.md"
    assert page.read_text(encoding="utf-8") == as_page(helps), "run: python tests/test_cli.py"


# --- one JSON object --------------------------------------------------------------------------


class Said:
    """What one command line printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict:
        assert len(self.out.splitlines()) == 1, self.out

        def refuse(word):
            raise AssertionError(f"{word} in JSON")

        found = json.loads(self.out, parse_constant=refuse)
        assert isinstance(found, dict)
        return found

    @property
    def results(self) -> dict:
        assert self.code in (0, 1), self.err
        assert self.json.keys() == {"command", "version", "seed", "inputs", "results"}
        return self.json["results"]


@pytest.fixture
def shell(tmp_path, monkeypatch, capfd):
    """Runs a command line in this process; state lies in a folder of the test."""
    monkeypatch.setenv("FORETWIN_HOME", str(tmp_path / "home"))

    def run(*args: str) -> Said:
        capfd.readouterr()
        code = cli.answer(list(args))
        found = capfd.readouterr()
        return Said(code, found.out, found.err)

    run.home = tmp_path / "home"
    return run


COPY = {
    "ingest": "readings_accepted readings_refused refused_by_reason components first_at last_at",
    "score": "risks",
    "bench twin": "nodes members sim_s step_s jobs_in jobs_done cpu_s wall_s peak_rss_mb sim_s_per_cpu_s"
    " energy_balance_rel",
    "bench fork": "nodes members fork_ms state_bytes bit_identical",
    "bench growth": "rows worst_ratio",
    "chaos": "injections passed failed violations",
    "bench network": "ratio",
    "bench sync": "nodes channels members update_ms",
    "bench rehearse": "case plans members horizon_s step_s nodes workers wall_s cpu_s",
    "evaluate sync": "rows in_sync",
    "ledger verify": "rows ok first_bad_row wall_s",
    "doctor": "checks",
}
RISK = "component at p_fail ttf_quantiles_s tier reasons age_s unknown act"
CHECK = "name ok found cure"


def test_the_copy_of_the_keys_is_that_of_the_contracts():
    page = ROOT.parent / "shared" / "contracts.md"
    if not page.is_file():
        pytest.skip("the shared data sets are not beside this checkout (../shared/data)")
    rows = [line.split("|")[1:3] for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    for verb, keys in COPY.items():
        row = next(second for first, second in rows if f"`{verb}" in first.replace("`evaluate NAME", ""))
        words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", row))))
        assert set(keys.split()) <= words, verb


def readings_file(folder: Path, text: str, name: str = "readings.csv") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


GOOD_ROWS = "\n".join(
    [
        "time,component,channel,value",
        "2022-12-18T00:00:00Z,lab/a/loop,supply_c,11.0",
        "2022-12-18T00:00:15+00:00,lab/a/loop,supply_c,11.5",
        "2022-12-18T00:00:30,lab/a/loop,flow_frac,0.9",
    ]
)


def test_ingest_counts_what_it_took_and_what_it_refused(shell, tmp_path):
    rows = GOOD_ROWS + "\nnever,lab/a/loop,supply_c,11\n2022-12-18T00:01:00Z,lab/a/loop,supply_c,many\n"
    rows += "2022-12-18T00:01:00Z,lab/a/loop,supply_c,295.15\n2022-12-18T00:01:00Z,lab/a/loop,nonsense,1\n"
    found = shell("ingest", readings_file(tmp_path, rows), "--json").results
    assert found.keys() >= set(COPY["ingest"].split())
    assert found["readings_accepted"] == 3
    assert found["refused_by_reason"] == {
        "above_range": 1, "unknown_channel": 1, "unreadable_time": 1, "unreadable_value": 1,
    }  # fmt: skip
    assert found["readings_refused"] == 4
    assert (found["first_at"], found["last_at"]) == ("2022-12-18T00:00:00+00:00", "2022-12-18T00:00:30+00:00")
    store = SqliteStore(shell.home / "telemetry.sqlite", read_only=True)
    assert store.read(["lab/a/loop"], ["supply_c"], 0, 2**60).value.tolist() == [11.0, 11.5]
    store.close()


MAPPING = """
[source.file]
time = "ts"
component = "host"
channel = "metric"
value = "reading"
time_unit = "s"
[[rule]]
match = "*/ignore*"
channel = "inlet_c"
drop = true
[[rule]]
match = "*/temp_k"
component = "lab/a/{component}"
channel = "inlet_c"
unit = "K"
drop = [0.0]
[[rule]]
match = "*/power"
component = "lab/a/{component}"
channel = "power_kw"
unit = "W"
[[rule]]
match = "*/state"
component = "lab/a/{component}"
channel = "ok"
enum = { up = 1.0, down = 0.0 }
"""


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_mapping_turns_names_and_units_into_ours(shell, tmp_path, kind):
    import pyarrow as pa
    from pyarrow import csv, parquet

    at_s = T0_MS // 1000
    rows = [
        ("temp_k", "295.15"),
        ("temp_k", "0"),
        ("power", "1500"),
        ("state", "down"),
        ("ignore_me", "1"),
        ("odd", "1"),
    ]
    table = pa.table({
        "ts": [at_s + n for n in range(len(rows))], "host": ["r1/n1"] * len(rows),
        "metric": [row[0] for row in rows], "reading": [row[1] for row in rows],
    })  # fmt: skip
    file = tmp_path / f"week.{kind}"
    (csv.write_csv if kind == "csv" else parquet.write_table)(table, file)
    mapping = readings_file(tmp_path, MAPPING, "mapping.toml")
    found = shell("ingest", str(file), "--mapping", mapping, "--json").results
    assert (found["readings_accepted"], found["dropped"], found["unmatched"]) == (3, 2, ["r1/n1/odd"])
    assert found["refused_by_reason"] == {"unmatched_name": 1}
    store = SqliteStore(shell.home / "telemetry.sqlite", read_only=True)
    got = {(c, k): round(v, 6) for _, c, k, v in store.read(None, None, 0, 2**60).rows()}
    store.close()
    assert got == {
        ("lab/a/r1/n1", "inlet_c"): 22.0, ("lab/a/r1/n1", "power_kw"): 1.5, ("lab/a/r1/n1", "ok"): 0.0,
    }  # fmt: skip


def test_rows_no_rule_takes_are_kept_aside_with_their_reason(shell, tmp_path):
    text = (
        '[source.f]\ntags = ["unit"]\n[[rule]]\nmatch = "*/t"\nwhen = { unit = "K" }\nchannel = "inlet_c"\nunit = "K"\n'
    )
    said = enumerate([("t", "K"), ("t", "F"), ("x", "K")])
    lines = [f"2022-12-18T00:00:0{n}Z,r1,{name},295.15,{unit}" for n, (name, unit) in said]
    rows = "\n".join(["time,component,channel,value,unit", *lines])
    mapping = readings_file(tmp_path, text, "m.toml")
    found = shell("ingest", readings_file(tmp_path, rows), "--mapping", mapping, "--json").results
    assert (found["readings_accepted"], found["refused_by_reason"]) == (1, {"unmatched_name": 1, "wrong_unit": 1})
    store = SqliteStore(shell.home / "telemetry.sqlite", read_only=True)
    assert {(r.component, r.channel, r.reason) for r in store.refusals()} == {
        ("r1", "t", "wrong_unit"), ("r1", "x", "unmatched_name"),
    }  # fmt: skip
    store.close()


def test_map_check_tells_a_wrong_unit_with_its_cure_and_exits_1(shell, tmp_path):
    rows = [f"2022-12-18T00:0{n}:00Z,lab/a/r01,inlet_c,{71 + n % 3}" for n in range(9)]
    file = readings_file(tmp_path, "\n".join(["time,component,channel,value", *rows]))
    said = shell("map", "check", file, "--site", "tiny", "--json")
    assert said.code == 1
    (item,) = said.results["items"]
    assert "Fahrenheit" in item["looks_like"]
    assert 'unit = "F"' in item["cure"]
    assert shell("map", "check", file, "--site", "tiny").code == 1
    good = readings_file(tmp_path, "time,component,channel,value\n2022-12-18T00:00:00Z,lab/a/r01,inlet_c,22\n", "g.csv")
    assert shell("map", "check", good, "--site", "tiny", "--json").results["ok"] is True
    assert not shell.home.exists(), "a check leaves nothing behind"


def test_map_explain_and_suggest_answer(shell, tmp_path):
    line = "upsd,ups_name=lab/a/ups time_left_ns=9800000000000i"
    (item,) = shell("map", "explain", line, "--mapping", "telegraf", "--site", "tiny", "--json").results["items"]
    assert (item["rule"], item["component"], item["value_after"]) == ("ups-runtime", "lab/a/ups", 9800.0)
    file = readings_file(tmp_path, "crah,device=a-crah1 supply_air_temp_celsius=18 1671321360000000000\n", "t.lp")
    nothing = readings_file(tmp_path, '[[rule]]\nmatch = "none.none"\nchannel = "ok"\n', "m.toml")
    said = shell("map", "suggest", file, "--mapping", nothing, "--site", "tiny")
    assert 'channel = "supply_c"' in said.out
    assert "[[rule]]" in said.out, "to be copied as it stands"


def test_a_store_that_took_nothing_is_a_bad_answer(shell, tmp_path):
    rows = "time,component,channel,value\n2022-12-18T00:00:00Z,lab/a/loop,supply_c,nan\n"
    said = shell("ingest", readings_file(tmp_path, rows), "--json")
    assert said.code == 1
    assert said.results["first_at"] is None
    assert said.results["refused_by_reason"] == {"not_a_number": 1}


def test_components_of_another_site_are_refused(shell, tmp_path):
    said = shell("ingest", readings_file(tmp_path, GOOD_ROWS), "--site", "hall", "--json")
    assert said.code == 1
    assert said.results["refused_by_reason"] == {"unknown_component": 3}


def test_score_reads_what_ingest_wrote(shell, tmp_path):
    from plant.site import load_site

    loop = load_site("tiny").loop_ids[0]
    rows = [f"{T0_MS + 15_000 * n},{loop},supply_c,11.0" for n in range(60)]
    shell("ingest", readings_file(tmp_path, "\n".join(["time,component,channel,value", *rows])), "--json")
    said = shell("score", "--site", "tiny", "--json")
    assert said.results["risks"]
    assert said.results["risks"][0].keys() >= set(RISK.split())
    assert said.json["inputs"] == {"site": "tiny", "store": "embedded", "at": None}


def test_doctor_says_what_is_needed_and_what_is_wished(shell):
    found = shell("doctor", "--json").results
    assert all(row.keys() >= set(CHECK.split()) for row in found["checks"])
    assert found["ok"], [row for row in found["checks"] if not row["ok"]]


def test_doctor_sees_a_damaged_ledger(shell):
    shell.home.mkdir()
    (shell.home / "ledger.sqlite").write_bytes(b"no database, but long enough to be taken for one" * 40)
    said = shell("doctor", "--json")
    assert said.code == 1
    row = next(row for row in said.results["checks"] if row["name"] == "ledger")
    assert not row["ok"]
    assert row["cure"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that nobody can write to")
def test_doctor_sees_a_home_that_cannot_be_written(monkeypatch, capfd):
    monkeypatch.setenv("FORETWIN_HOME", "/proc/foretwin")
    assert cli.answer(["doctor", "--json"]) == 1
    rows = {row["name"]: row for row in json.loads(capfd.readouterr().out)["results"]["checks"]}
    assert not rows["home writable"]["ok"]


def test_site_and_incident_checks_describe_what_is_sound(shell):
    site = shell("site", "check", "hall", "--json").results
    assert site["ok"]
    assert site["counts"]["node"] == 936
    assert site["items"][0]["pue"] == pytest.approx(site["items"][0]["pue_stated"])
    assert site["design_kw"] > 0
    assert shell("incidents", "list", "--json").results["items"][0]["id"] == "alibaba-hk-2022-12-18"
    assert shell("incidents", "check", "alibaba-hk-2022-12-18", "--json").results["ok"]
    shown = shell("incidents", "show", "alibaba-hk-2022-12-18", "--json").results
    assert shown["outcome_for_comparison_only"]
    assert shown["sources"]


def test_ledger_verify_finds_the_row_that_was_changed(shell):
    shell.home.mkdir()
    ledger = Ledger(shell.home / "ledger.sqlite")
    for n in range(5):
        ledger.note("p", "note", f"word {'abcde'[n]}", T0_MS + n)
    ledger.close()
    assert shell("ledger", "verify", "--json").results["rows"] == 5
    with sqlite3.connect(shell.home / "ledger.sqlite") as db:
        db.execute("DROP TRIGGER audit_keep")
        db.execute("UPDATE audit SET detail = 'other' WHERE seq = 3")
    db.close()
    said = shell("ledger", "verify", "--json")
    assert said.code == 1
    assert said.results["first_bad_row"] == 3
    bench = shell("ledger", "verify", "--bench", "200", "--json").results
    assert bench.keys() >= set(COPY["ledger verify"].split())
    assert bench["rows"] == 200


def test_stdout_holds_one_object_even_when_a_child_prints(capfd):
    with front.stdout_kept(True):
        print("from us")
        os.system("echo from a child")
    print("the answer")
    found = capfd.readouterr()
    assert found.out == "the answer\n"
    assert "from us" in found.err
    assert "from a child" in found.err


def test_numbers_that_are_none_come_as_null_with_a_reason():
    found = envelope.finite(
        {"a": math.nan, "b": math.inf, "c": [1.0, -math.inf], "d": np.float64("nan"), "e": np.arange(2), "f": Path("x"),
         "g": math.nan, "g_reason": "never lost", "h": {"i": math.nan}}
    )  # fmt: skip
    assert found == {
        "a": None, "a_reason": "not a number", "b": None, "b_reason": "infinite", "c": [1.0, None],
        "c_reason": "infinite", "d": None, "d_reason": "not a number", "e": [0, 1], "f": "x", "g": None,
        "g_reason": "never lost", "h": {"i": None, "i_reason": "not a number"},
    }  # fmt: skip
    envelope.text(found)


def test_without_json_a_person_reads_a_table(shell):
    said = shell("site", "check", "tiny")
    assert said.code == 0
    assert "design_kw" in said.out
    assert "node=32" in said.out


# --- refusals ---------------------------------------------------------------------------------

WRONG = {
    "unknown verb": ["nonsense"],
    "unknown option": ["doctor", "--nonsense"],
    "missing argument": ["site", "check"],
    "missing verb": ["bench"],
    "no number": ["bench", "twin", "--members", "many"],
    "number out of range": ["bench", "twin", "--members", "0"],
    "negative seed": ["doctor", "--seed", "-1"],
    "unknown case": ["bench", "twin", "--case", "nonsense"],
    "no such site": ["site", "check", "nowhere.toml"],
    "no such incident": ["incidents", "check", "nowhere"],
    "no such readings": ["ingest", "nowhere.csv"],
    "nothing to map": ["map", "check", "nowhere.lp"],
    "no such span": ["map", "check", str(ROOT / "tests" / "data" / "telegraf" / "ups.lp"), "--since", "long ago"],
    "no such mapping": ["map", "suggest", str(ROOT / "tests" / "data" / "telegraf" / "ups.lp"), "--mapping", "nowhere"],
    "no such series": ["map", "explain", "zebra", str(ROOT / "tests" / "data" / "telegraf" / "ups.lp")],
    "no line to explain": ["map", "explain", "zebra"],
    "store of no kind": ["score", "--store", "postgres://x/y"],
    "store with a secret": ["score", "--store", "http://me:secret@host:1/db"],
    "no telemetry": ["score", "--site", "tiny"],
    "no instant": ["score", "--at", "yesterday"],
    "no such week": ["evaluate", "sync", "--path", "nowhere"],
    "no ledger": ["ledger", "verify"],
    "nothing to approve": ["approve", "abc", "--reason", "why not"],
    "no reason": ["approve", "abc"],
    "speed of no kind": ["demo", "--headless", "--speed", "fast"],
    "speed not a number": ["demo", "--headless", "--speed", "nan"],
    "no such incident to rehearse": ["rehearse", "--incident", "nowhere"],
    "no such incident to replay": ["replay", "nowhere"],
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_one_line_and_exit_2(shell, name):
    said = shell(*WRONG[name])
    assert said.code == 2, said.err
    assert said.out == ""
    assert len(said.err.splitlines()) == 1, said.err
    assert "Traceback" not in said.err
    under_json = shell(*WRONG[name], "--json")
    assert under_json.code == 2
    assert under_json.json.keys() == {"command", "version", "error"}
    assert under_json.json["error"].keys() >= {"where", "found", "allowed", "cure"}
    assert under_json.json["error"]["found"]
    assert not shell.home.exists(), "a refusal leaves nothing behind"


def test_every_fault_of_a_file_has_its_line(shell, tmp_path):
    text = (ROOT / "data" / "sites" / "tiny.toml").read_text(encoding="utf-8")
    bad = tmp_path / "bad.toml"
    bad.write_text(text.replace("peak_kw", "peak_w").replace('name = "tiny"', 'name = "tiny"\nnonsense = 1'))
    said = shell("site", "check", str(bad), "--json")
    assert said.code == 2
    assert len(said.err.splitlines()) == len(said.json["error"]["faults"]) >= 2
    assert "nonsense" in said.err
    assert "peak_kw" in said.err


def test_debug_adds_the_traceback(shell):
    said = shell("site", "check", "nowhere.toml", "--debug")
    assert said.code == 2
    assert "Traceback" in said.err


BAD_MAPPINGS = {
    "unknown key": '[[rule]]\nmatch = "*"\nchanel = "inlet_c"\n',
    "unknown channel": '[[rule]]\nmatch = "*"\nchannel = "inlett_c"\n',
    "unit that does not fit": '[[rule]]\nmatch = "*"\nchannel = "inlet_c"\nunit = "W"\n',
    "factor against the unit": '[[rule]]\nmatch = "*"\nchannel = "power_kw"\nunit = "W"\nscale = 1000.0\n',
    "syntax": "[[rule]\n",
    "not finite": '[[rule]]\nmatch = "*"\nchannel = "power_kw"\nscale = nan\n',
}


@pytest.mark.parametrize("name", BAD_MAPPINGS)
def test_a_mapping_that_cannot_be_meant_is_refused(shell, tmp_path, name):
    mapping = readings_file(tmp_path, BAD_MAPPINGS[name], "mapping.toml")
    said = shell("ingest", readings_file(tmp_path, GOOD_ROWS), "--mapping", mapping)
    assert said.code == 2, said.out
    assert len(said.err.splitlines()) == 1
    assert not shell.home.exists()


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", 'time,component,channel,value\n"unclosed', "\x00\x01"])
def test_a_file_without_readings_is_refused(shell, tmp_path, text):
    said = shell("ingest", readings_file(tmp_path, text))
    assert said.code == 2, said.out
    assert len(said.err.splitlines()) == 1
    assert not shell.home.exists()


def test_a_refusal_keeps_all_its_faults():
    error = SiteFileError(faults=[Fault("a", "b", "c", "d"), Fault("e", "f")])
    assert envelope.refusal("site check", error)["error"]["faults"][1]["where"] == "e"
    assert "faults" not in envelope.refusal("x", ConfigError("a", "b"))["error"]


# --- plans and the pause switch ---------------------------------------------------------------


@pytest.fixture
def waiting(shell):
    """A rehearsed plan that waits in the ledger of the shell's home; the site's clock stands in 2022."""
    shell.home.mkdir()
    cap = Action.of("cap_power", ["lab/a"], cap_frac=0.6)
    plan = Plan(
        label="cap", steps=(cap,), cause="lab/a/loop", evidence=(), snapshot_hash="s", policy_hash="p",
        created_ms=T0_MS, expires_ms=T0_MS + LIFE_MS,
    )  # fmt: skip
    ledger = Ledger(shell.home / "ledger.sqlite")
    assert ledger.propose(plan, T0_MS).ok
    assert ledger.rehearsed(plan.id, {"gate_reasons": []}, 0, T0_MS).ok
    ledger.close()
    return plan.id


def post_clock(home: Path, now_ms: int) -> None:
    board = Board(home / "telemetry.sqlite")
    board.put_json("status", {"now_ms": now_ms, "autonomy": "propose"}, now_ms)
    board.close()


def test_a_plan_is_approved_at_the_sites_own_time(shell, waiting):
    post_clock(shell.home, T0_MS + 60_000)
    item = shell("approve", waiting, "--who", "grace", "--reason", "saves most", "--json").results["items"][0]
    assert (item["state"], item["at_ms"]) == ("approved", T0_MS + 60_000)
    again = shell("approve", waiting, "--who", "grace", "--reason", "saves most", "--json")
    assert again.code == 2
    assert "already decided" in again.json["error"]["found"]


def test_a_plan_is_rejected_and_the_reason_kept(shell, waiting):
    post_clock(shell.home, T0_MS + 60_000)
    item = shell("reject", waiting, "--who", "grace", "--reason", "crew on site", "--json").results["items"][0]
    assert item["state"] == "rejected"
    ledger = Ledger(shell.home / "ledger.sqlite")
    assert ledger.decisions(waiting)[0].reason == "crew on site"
    ledger.close()


def test_an_expired_plan_is_refused_by_the_wall_clock_where_no_site_clock_is_posted(shell, waiting):
    said = shell("approve", waiting, "--who", "grace", "--reason", "late", "--json")
    assert said.code == 2
    assert "expired" in said.err


@pytest.mark.parametrize(("who", "reason"), [("foretwin", "own plan"), ("grace", " ")])
def test_who_may_not_decide_is_told_why(shell, waiting, who, reason):
    post_clock(shell.home, T0_MS + 60_000)
    said = shell("approve", waiting, "--who", who, "--reason", reason)
    assert said.code == 2
    assert said.err.startswith(f"approve {waiting}: ")


def test_an_unknown_plan_names_those_that_wait(shell, waiting):
    said = shell("approve", "nonsense", "--reason", "why not")
    assert said.code == 2
    assert waiting in said.err


def test_what_the_gate_holds_back_no_word_lets_through(shell, waiting):
    post_clock(shell.home, T0_MS + 60_000)
    with sqlite3.connect(shell.home / "ledger.sqlite") as db:
        db.execute("UPDATE plans SET rehearsal = ?", (json.dumps({"gate_reasons": ["worse than nothing"]}),))
    db.close()
    said = shell("approve", waiting, "--who", "grace", "--reason", "I insist")
    assert said.code == 2
    assert "worse than nothing" in said.err
    assert shell("reject", waiting, "--who", "grace", "--reason", "fine").code == 0


def test_pause_takes_less_than_a_second_and_needs_no_database(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"ruined")
    (tmp_path / "telemetry.sqlite").write_bytes(b"ruined")
    env = {**os.environ, "FORETWIN_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "cli", "pause", "--reason", "smoke", "--json"]
    # the best of three, and one that is quick enough is enough; a machine with twice the work that it can do at once
    # would be judged, not the command, which is then judged by the time it did work
    busy = os.getloadavg()[0] > 2 * (os.cpu_count() or 1)
    took_s, tries = float("inf"), 0
    while took_s >= 1.0 and tries < 3:
        (tmp_path / "pause").unlink(missing_ok=True)
        began_s, before = time.perf_counter(), os.times()
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
        wall_s, after, tries = time.perf_counter() - began_s, os.times(), tries + 1
        cpu_s = after.children_user - before.children_user + after.children_system - before.children_system
        took_s = cpu_s if busy else wall_s
        assert done.returncode == 0, done.stderr
        assert "smoke" in (tmp_path / "pause").read_text()
    assert took_s < 1.0
    assert json.loads(done.stdout)["results"]["ok"]


def test_pause_and_resume_say_what_they_did(shell):
    assert shell("pause", "--who", "ada", "--reason", "first", "--json").code == 0
    second = shell("pause", "--who", "bob", "--reason", "second", "--json").results
    assert "first" in second["items"][0]
    assert shell("resume", "--json").results["was_paused"] is True
    assert shell("resume", "--json").results["was_paused"] is False


# --- verdicts ---------------------------------------------------------------------------------


def test_the_answer_is_bad_when_no_plan_is_safe():
    nothing, gated, free = {"label": "do_nothing"}, {"label": "cap", "gate_reasons": ["worse"]}, {"label": "cap"}
    assert not door_loop.has_safe_plan({"candidates": [nothing, gated]})
    assert door_loop.has_safe_plan({"candidates": [nothing, free]})


def test_importing_the_shell_is_light():
    heavy = ("torch", "pytorch_lightning", "pandas", "streamlit", "scipy", "sklearn", "numpy", "pydantic", "rich")
    code = f"import sys, cli; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


if __name__ == "__main__":
    (ROOT / "docs" / "cli.md").write_text(as_page(all_helps()), encoding="utf-8")
