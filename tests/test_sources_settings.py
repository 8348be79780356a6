"""The sources of foretwin.toml: layers, secrets, faults in words; the readers and the checks they lead to."""

from __future__ import annotations

import os

import pytest
from servers import free_ports

from plant.errors import ConfigError
from verbs.doctor_sources import checks
from verbs.settings import load
from verbs.source_kinds import opened

INFLUX = '[sources.i]\nkind = "influx"\nurl = "http://h"\ndatabase = "d"\n'
NUT = '[sources.ups]\nkind = "nut"\nurl = "h:3493"\n'


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("FORETWIN_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def told(tmp_path, text):
    file = tmp_path / "x.toml"
    file.write_text(text)
    return load(file)


def test_each_table_is_a_source_and_the_rest_of_the_section_stays(tmp_path):
    text = f'[sources]\nhistory_h = 2.0\n{NUT}[sources.files]\nkind = "lines"\npath = "x"\n'
    sources = told(tmp_path, text).sources
    assert (sources.history_h, sorted(sources.tables)) == (2.0, ["files", "ups"])
    assert sources.tables["ups"].server() == ("h", 3493)
    assert sources.tables["ups"].interval_s == 15.0


def test_the_environment_goes_over_the_file_and_may_name_a_source_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("FORETWIN_SOURCES__UPS__INTERVAL_S", "5")
    monkeypatch.setenv("FORETWIN_SOURCES__UPS__UNITS", '["a", "b"]')
    monkeypatch.setenv("FORETWIN_SOURCES__MORE__KIND", "csv")
    monkeypatch.setenv("FORETWIN_SOURCES__MORE__PATH", "y.csv")
    monkeypatch.setenv("FORETWIN_SOURCES__HISTORY_H", "4")
    sources = told(tmp_path, NUT).sources
    assert (sources.tables["ups"].interval_s, sources.tables["ups"].units) == (5.0, ("a", "b"))
    assert sources.tables["more"].path == "y.csv"
    assert sources.history_h == 4.0


def test_ranges_of_addresses():
    from verbs.settings_sources import SourceTable

    table = SourceTable(kind="prometheus", url="http://n[01-03]:[9100,9400]/metrics")
    assert len(table.urls()) == 6
    assert table.urls()[0] == "http://n01:9100/metrics"
    assert SourceTable(kind="prometheus", url="http://[::1]:9100/m").urls() == ["http://[::1]:9100/m"]


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ('[sources.ups]\nkind = "nutt"\nurl = "h"', "sources.ups.kind", "did you mean 'nut'"),
        ('[sources.ups]\nurl = "h"', "sources.ups.kind", "missing"),
        ('[sources.ups]\nkind = "nut"', "sources.ups.url", "needed for kind nut"),
        ('[sources.ups]\nkind = "nut"\nurl = "h"\npath = "x"', "sources.ups.path", "no key of kind nut"),
        ('[sources.ups]\nkind = "nut"\nurl = "h"\nintervall_s = 3', "sources.ups.intervall_s", "'interval_s'"),
        ('[sources.ups]\nkind = "nut"\nurl = "h"\ninterval_s = 0.1', "sources.ups.interval_s", "1..3600 s"),
        ('[sources.ups]\nkind = "nut"\nurl = "http://h"', "sources.ups.url", "HOST:PORT"),
        ('[sources.ups]\nkind = "nut"\nurl = "h:99999"', "sources.ups.url", "out of range"),
        ('[sources.Ups]\nkind = "nut"\nurl = "h"', "sources.Ups", "a-z 0-9 _"),
        ('[sources.a__b]\nkind = "nut"\nurl = "h"', "sources.a__b", "a-z 0-9 _"),
        ('[sources.p]\nkind = "prometheus"\nurl = "http://n[3-1]/m"', "sources.p.url", ""),
        ('[sources.p]\nkind = "prometheus"\nurl = "http://n[1-9999999]/m"', "sources.p.url", "more than"),
        ('[sources.p]\nkind = "prometheus"\nurl = "http://a:b@h/m"', "sources.p.url", "a secret in it"),
        ('[sources.i]\nkind = "influx"\nurl = "http://h:8086/x"\ndatabase = "d"', "sources.i.url", "http(s)://HOST:PORT"),
        (f'{INFLUX}token = "hush"', "i.token", "FORETWIN_SOURCES__I__TOKEN"),
        (f'{INFLUX}token_file = "no"', "i.token_file", "cannot be read"),
        ("[sources]\nups = 3", "sources.ups", "unknown key"),
    ],
)  # fmt: skip
def test_each_fault_is_one_line_with_its_place(tmp_path, text, where, words):
    with pytest.raises(ConfigError) as error:
        told(tmp_path, text)
    assert f"x.toml: sources.{where.removeprefix('sources.')}" in str(error.value)
    assert words in str(error.value)
    assert "hush" not in str(error.value)


def test_all_faults_of_all_sources_come_with_those_of_the_rest(tmp_path, monkeypatch):
    monkeypatch.setenv("FORETWIN_SOURCES__UPS__TIMEOUT_S", "soon")
    with pytest.raises(ConfigError) as error:
        told(tmp_path, NUT + '[sources.x]\nkind = "csv"\n[loop]\ntick_s = 1\n')
    assert sorted(fault.where for fault in error.value.faults) == [
        "FORETWIN_SOURCES__UPS__TIMEOUT_S",
        "x.toml: loop.tick_s",
        "x.toml: sources.x.path",
    ]


def test_secrets_come_from_environment_or_a_file_that_only_its_owner_reads(tmp_path, monkeypatch):
    secret = tmp_path / "token"
    secret.write_text("hush\n")
    secret.chmod(0o644)
    text = f'[sources.i]\nkind = "influx"\nurl = "http://h:1"\ndatabase = "d"\ntoken_file = "{secret}"\n'
    with pytest.raises(ConfigError, match="mode 0644"):
        told(tmp_path, text)
    secret.chmod(0o600)
    assert told(tmp_path, text).sources.tables["i"].secret() == "hush"
    monkeypatch.setenv("FORETWIN_SOURCES__I__TOKEN", "other")
    found = told(tmp_path, text)
    assert found.sources.tables["i"].secret() == "other"
    assert "other" not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        NUT,
        '[sources.ups]\nkind = "influx"\nurl = "http://h:1"\ndatabase = "d"\n',
        '[sources.ups]\nkind = "prometheus"\nurl = "http://h:1/metrics"\n',
        '[sources.ups]\nkind = "lines"\npath = "x"\n',
        '[sources.ups]\nkind = "csv"\npath = "x"\n',
        '[sources.ups]\nkind = "parquet"\npath = "x"\n',
    ],
)
def test_every_kind_opens_and_asks_nothing_yet(tmp_path, text):
    from twin.telemetry.mapping import load_mapping

    table = told(tmp_path, text).sources.tables["ups"]
    source = opened("ups", table, load_mapping(None))
    assert (source.name, source.kind) == ("ups", table.kind)
    source.close()


def test_doctor_tries_each_source_and_says_what_is_wrong(tmp_path):
    lines = tmp_path / "a.lp"
    lines.write_text("m,component=lab/a/r01 inlet_c=22 1800000000000000000\nm,other=1 x=2 1800000000000000000\nbad\n")
    ours = tmp_path / "ours.toml"
    ours.write_text('[[rule]]\nmatch = "m.inlet_c"\ncomponent = "{tag:component}"\nchannel = "inlet_c"\n')
    (tmp_path / "foretwin.toml").write_text(
        f'[site]\nfile = "tiny"\n[sources.good]\nkind = "lines"\npath = "{lines}"\nmapping = "{ours}"\n'
        f'[sources.dead]\nkind = "nut"\nurl = "127.0.0.1:{free_ports(1)[0]}"\nmapping = "{ours}"\n'
        f'[sources.gone]\nkind = "csv"\npath = "{tmp_path}/none"\n'
    )
    found = {name: check() for name, check in checks("foretwin.toml", 1_800_000_001_000).items()}
    assert found["source good"][0]
    assert (
        "2 samples, 50% mapped, 1 readings good, 0 refused, 1 rows unreadable (a.lp line 3" in found["source good"][1]
    )
    assert not found["source dead"][0]
    assert "Connection refused" in found["source dead"][1]
    assert "No such file" in found["source gone"][1]


def test_doctor_without_sources_or_with_faulty_settings(tmp_path):
    assert checks("foretwin.toml", 0) == {}
    (tmp_path / "foretwin.toml").write_text("[loop]\ntick_s = 1\n")
    ok, found, _ = checks("foretwin.toml", 0)["settings"]()
    assert not ok
    assert "tick_s" in found
