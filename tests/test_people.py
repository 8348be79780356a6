"""What verbs make of their results for people: lines that fit a screen, numbers with units, no raw instants."""

from __future__ import annotations

import pytest

from plant.errors import ConfigError
from plant.site import load_site
from twin.telemetry.mapping import load_mapping
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.store import Batch
from verbs import backup, export, ingest, map_explain, map_suggest, score, settings, site_import, sync_report, table
from verbs.doctor_sources import checks
from verbs.feeding import check
from verbs.settings_sources import SourceTable

LINE = "upsd,ups_name={name} time_left_ns=9800000000000i"
WIDTH = 100
NOW_MS = 1_795_000_000_000


def test_explain_says_place_and_values_with_their_units():
    site = load_site("tiny")
    (line,) = map_explain.for_people(map_explain.run(LINE.format(name=site.ups_ids[0]), [], "telegraf", "tiny"))[
        "items"
    ]
    assert line["becomes"] == f"{site.ups_ids[0]} runtime_s"
    assert (line["before"], line["after"]) == ("9.8e+12 ns", "9800 s")


def test_explain_says_of_a_stranger_and_of_what_no_rule_takes_why():
    (line,) = map_explain.for_people(map_explain.run(LINE.format(name="odd"), [], "telegraf", "tiny"))["items"]
    assert line["becomes"] == "odd runtime_s, no component of the site"
    (line,) = map_explain.for_people(map_explain.run("odd,host=a thing=1", [], "telegraf", None))["items"]
    assert (line["rule"], line["becomes"]) == ("none", "no rule takes it")


def test_explain_claims_no_unit_where_a_rule_has_scale_and_offset():
    line = "cpu,cpu=cpu-total,host=a usage_idle=40"
    (item,) = map_explain.run(line, [], "telegraf", None)["items"]
    assert (item["unit_before"], item["value_after"]) == ("", pytest.approx(0.6))


POSTED = {
    "in_sync": False, "sync_reason": "x", "at": "t", "site": "tiny", "simulated": False, "age_s": 1.0,
    "rows": [
        {"channel": "rack.inlet_c", "horizon_s": 600, "n": 3, "rmse": 0.1234, "persistence_rmse": None, "mape": 0.01,
         "nmbe": -0.002, "cv_rmse": 0.012, "coverage80": 0.8},
        {"channel": "node.power_kw", "horizon_s": 0, "n": 3, "rmse": 0.05, "persistence_rmse": 0.1, "mape": None,
         "nmbe": None, "cv_rmse": None, "coverage80": None},
    ],
    "halls": [{"hall": "lab/a", "channel": "rack.inlet_c", "level": 4.0, "out": True, "since_ms": 1_671_323_760_000}],
    "shut_out": [{"component": "lab/a/r01", "channel": "rack.inlet_c", "reason": "stuck", "found": "x",
                  "since_ms": 1_671_323_760_000}],
    "sources": [{"name": "bus", "kind": "influx", "state": "ok", "age_s": None, "readings": 4, "refused": 0,
                 "unmatched": 0, "waiting": 0, "last_error": "gone", "last_error_ms": 1_671_323_760_000}],
}  # fmt: skip


def test_the_sync_report_has_units_and_instants_and_fits(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    shown = sync_report.for_people(POSTED)
    first, second = shown["rows"]
    assert (first["ahead"], first["rmse"], first["last held"], first["nmbe"]) == ("10 min", "0.123 K", "-", "-0.20 %")
    assert (second["ahead"], second["rmse"], second["mape"]) == ("now", "0.05 kW", "-")
    assert shown["halls"][0]["state"] == "out of sync since 2022-12-18T00:36:00Z"
    assert shown["shut_out"][0]["since"] == "2022-12-18T00:36:00Z"
    assert shown["sources"][0]["last error"] == "2022-12-18T00:36:00Z gone"
    table.show(shown)
    out = capsys.readouterr().out
    assert "node.power_kw" in out
    assert max(map(len, out.splitlines())) <= WIDTH


def test_a_backup_counts_the_blocks_of_a_spool_in_one_row():
    items = [{"name": "ledger.sqlite", "mb": 1.0}, *({"name": f"spool/{n}.sent", "mb": 0.5} for n in range(99))]
    assert backup.for_people({"ok": True, "items": items})["items"] == [
        {"name": "ledger.sqlite", "files": 1, "MB": 1.0},
        {"name": "spool/", "files": 99, "MB": 49.5},
    ]


def test_files_of_windows_with_their_mark_are_read(tmp_path):
    mapping, config = tmp_path / "m.toml", tmp_path / "s.toml"
    mapping.write_bytes(b'\xef\xbb\xbf[hosts]\r\n"web" = "lab/a/r01/n01"\r\n')
    assert load_mapping(mapping).matchers == []
    config.write_bytes(b'\xef\xbb\xbf[site]\r\nfile = "tiny"\r\n')
    assert settings.load(config).site.file == "tiny"


def test_a_shipped_mapping_may_be_named_as_files_name_it():
    assert len(load_mapping("builtin:telegraf").matchers) == len(load_mapping("telegraf").matchers) > 0
    with pytest.raises(ConfigError, match=r"shipped are .* telegraf"):
        load_mapping("telegrafx")


def test_a_variable_for_a_source_that_is_not_there_is_told_as_such(tmp_path, monkeypatch):
    config = tmp_path / "s.toml"
    config.write_text("[sources.bus]\nkind = 'nut'\nurl = '127.0.0.1:1'\n")
    monkeypatch.setenv("FORETWIN_SOURCES__OLD__TOKEN", "sesame")
    with pytest.raises(ConfigError) as told:
        settings.load(config)
    assert "environment: FORETWIN_SOURCES__OLD__TOKEN speaks of no source of s.toml" in str(told.value)
    assert "sesame" not in str(told.value)
    monkeypatch.delenv("FORETWIN_SOURCES__OLD__TOKEN")
    monkeypatch.setenv("FORETWIN_SOURCES__NEW__KIND", "nut")
    monkeypatch.setenv("FORETWIN_SOURCES__NEW__URL", "127.0.0.1:1")
    assert set(settings.load(config).sources.tables) == {"bus", "new"}


def test_doctor_names_the_components_that_the_site_lacks(tmp_path):
    (tmp_path / "in.csv").write_text("time,component,channel,value\n2026-11-19T00:00:00Z,lab/x,inlet_c,22\n")
    table = SourceTable(kind="csv", path=str(tmp_path / "in.csv"))
    ok, found, cure = check("tab", table, load_site("tiny"), NOW_MS)
    assert not ok
    assert "1 unknown_component" in found
    assert "[hosts]" in cure
    assert "lab/x" in cure


def test_an_export_without_a_row_says_what_it_may_have_missed(tmp_path):
    store = MemoryStore()
    arguments = (None, None, "nobody*", None, None, False)
    assert "holds nothing" in export.run(lambda: store, str(tmp_path / "a.parquet"), *arguments)["empty_because"]
    store.write(Batch.from_rows([(NOW_MS, "lab/a/r01", "inlet_c", 22.0)]))
    told = export.run(lambda: store, str(tmp_path / "b.parquet"), *arguments)
    assert told["empty_because"] == "nothing fits --from --to --component; the store holds 1 series"
    assert "empty_because" not in export.run(lambda: store, str(tmp_path / "c.parquet"), *[None] * 5, False)


def test_a_score_is_one_line_with_units(tmp_path):
    store = MemoryStore()
    store.write(Batch.from_rows([(NOW_MS, "lab/a/r01", "inlet_c", 22.0)]))
    told = score.for_people(score.run("tiny", store, models=()))
    line = next(row for row in told["risks"] if row["component"] == "lab/a/r01")
    assert set(line) == {"component", "P(fail in 1 h)", "median time to it", "act", "newest", "why"}
    assert line["newest"] == "0 s old"
    known = {
        "component": "a", "p_fail": {"3600": 0.1234}, "ttf_quantiles_s": [60.0, 600.0, 900.0], "act": True,
        "age_s": None, "reasons": ["x", "y"],
    }  # fmt: skip
    (line,) = score.for_people({"risks": [known]})["risks"]
    assert (line["P(fail in 1 h)"], line["median time to it"], line["why"]) == ("12 %", "10 min", "x; y")
    (line,) = score.for_people({"risks": [known | {"p_fail": {"3600": None}, "ttf_quantiles_s": None}]})["risks"]
    assert (line["P(fail in 1 h)"], line["median time to it"]) == ("unknown", "-")


def test_ingest_says_which_rows_it_could_not_read(tmp_path):
    (tmp_path / "t.lp").write_text("rubbish\nmem,host=a-r01-n01 available_percent=50 1795000000000000000\n")
    got = ingest.run(str(tmp_path / "t.lp"), "telegraf", lambda _: MemoryStore(), NOW_MS, "tiny")
    assert got["refused_by_reason"] == {"unreadable_row": 1}
    assert got["unreadable_rows"][0]["row"].startswith("t.lp line 1: ")


def test_a_region_that_is_no_name_is_refused_once(tmp_path):
    (tmp_path / "n.csv").write_text("hostname\nn1\n")
    with pytest.raises(ConfigError, match=r"--region: 'x y'.*for example x-y") as told:
        site_import.run(str(tmp_path / "n.csv"), region="x y", out=str(tmp_path / "o.toml"))
    assert len(told.value.faults) == 1
    assert not (tmp_path / "o.toml").exists()


def test_doctor_says_every_fault_of_the_settings_once_and_every_cure(tmp_path):
    config = tmp_path / "s.toml"
    config.write_text("[sources.bus]\nkind = 'nut'\nurl = '127.0.0.1:1'\ninterval_s = -5\nurll = 'x'\n")
    ok, found, cure = checks(config, NOW_MS)["settings"]()
    assert not ok
    assert "is -5 s" in found
    assert "urll: unknown key" in found
    assert "1..3600 s" in cure
    assert "did you mean 'url'?" in cure
    assert "did you mean" not in found


def test_what_a_shipped_rule_knows_is_proposed_as_its_file(tmp_path):
    rows = [LINE.format(name="ups-a"), "cpu,cpu=cpu-total,host=a usage_idle=40", "rack_box,rack=r1 inlet_temp=22"]
    (tmp_path / "t.lp").write_text("\n".join(f"{row} 1795000000000000000" for row in rows))
    (tmp_path / "m.toml").write_text('[hosts]\na = "lab/a/r01/n01"\n')
    got = map_suggest.run([str(tmp_path / "t.lp")], str(tmp_path / "m.toml"), "tiny")
    assert (got["include"], got["include_takes"], got["unmatched"]) == (["builtin:telegraf"], 2, 3)
    assert [one["channel"] for one in got["items"]] == ["rack.inlet_c"]
    (tmp_path / "new.toml").write_text(map_suggest.as_text(got))
    assert len(load_mapping(tmp_path / "new.toml").matchers) > 50
