"""Site files with mistakes: each gets one clear line, all come at once, nothing else ever escapes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant.errors import Fault, SiteFileError
from plant.site import load_site

TINY = (Path(__file__).resolve().parent.parent / "data/sites/tiny.toml").read_text()


def faults_of(tmp_path: Path, text: str) -> list[str]:
    """The lines a site file of this text is refused with."""
    file = tmp_path / "site.toml"
    file.write_text(text)
    with pytest.raises(SiteFileError) as refusal:
        load_site(file)
    lines = str(refusal.value).splitlines()
    assert len(lines) == len(refusal.value.faults), "one line each"
    return lines


def changed(*pairs: tuple[str, str]) -> str:
    """The tiny site with the first occurrence of each text replaced."""
    text = TINY
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


BAD: dict[str, tuple[str, tuple[str, ...]]] = {
    "empty": ("", ("site.toml: is empty; at least name region",)),
    "only comments": ("# nothing\n", ("site.toml: is empty",)),
    "syntax": (changed(('id = "lab"', "id = lab")), ("site.toml line 7: syntax error at column 6", "`id = lab`")),
    "unclosed": (TINY + "\nname = [", ("syntax error",)),
    "key twice": (
        changed(("outdoor_c = 15.0", "outdoor_c = 15.0\noutdoor_c = 16.0")),
        ("site.toml line 10", "outdoor_c"),
    ),
    "unknown key": (
        changed(("restart_min = 8.0", "restrat_min = 8.0")),
        ("loop[0].chillers.restrat_min: unknown key", "did you mean 'restart_min'?"),
    ),
    "unknown table": (TINY + '\n[[flywheel]]\nid = "g"\n', ("flywheel: unknown key",)),
    "key in watts": (
        changed(("peak_kw = 0.8", "peak_w = 800")),
        ("node_type[0].peak_w: unknown key", "did you mean 'peak_kw'? values are kW"),
    ),
    "key in words": (
        changed(("idle_kw = 0.25", "idle_watts = 250")),
        ("node_type[0].idle_watts: unknown key", "did you mean 'idle_kw'? values are kW"),
    ),
    "value in watts": (
        changed(("peak_kw = 4.0", "peak_kw = 6500")),
        ("node_type[1].peak_kw: is 6500 kW", "0.05..200 kW", "looks like watts: write 6.5"),
    ),
    "value in kelvin": (
        changed(("outdoor_c = 15.0", "outdoor_c = 288.15")),
        ("region[0].outdoor_c: is 288.15 C", "-30..50 C", "looks like kelvin: write 15"),
    ),
    "value in grams": (
        changed(("carbon_kgco2_per_kwh = 0.4", "carbon_kgco2_per_kwh = 400")),
        ("is 400 kgCO2/kWh", "looks like grams: write 0.4"),
    ),
    "value in percent": (
        changed(('name = "tiny"', 'name = "tiny"\ndesign_util_frac = 80.0')),
        ("design_util_frac: is 80", "looks like percent: write 0.8"),
    ),
    "missing": (
        changed(("peak_kw = 4.0\n", "")),
        ("node_type[1].peak_kw: missing", "a number, 0.05..200 kW", "add peak_kw"),
    ),
    "number in quotes": (
        changed(("peak_kw = 4.0", 'peak_kw = "4.0"')),
        ("peak_kw: is text '4.0'", "write 4.0 without quotes"),
    ),
    "unit in value": (changed(("peak_kw = 4.0", 'peak_kw = "4 kW"')), ("peak_kw: is text '4 kW'", "without unit")),
    "true for a number": (changed(("psus = 2", "psus = true")), ("psus: is true", "a whole number, 1..16")),
    "fraction for a count": (
        changed(("psus = 2", "psus = 2.5")),
        ("node_type[0].psus", "2.5", "a whole number, 1..16"),
    ),
    "number for a name": (changed(('hall = "lab/a"', "hall = 3")), ("rack[0].hall: is a whole number 3", "text")),
    "table for a list": (
        changed(("[[link]]", "[link]")),
        ("link: is a table", "a list", "write [[link]] instead of [link]"),
    ),
    "nan": (changed(("outdoor_c = 15.0", "outdoor_c = nan")), ("region[0].outdoor_c: is nan", "finite")),
    "inf": (changed(("battery_kwh = 8.0", "battery_kwh = inf")), ("ups[0].battery_kwh: is inf",)),
    "minus inf": (changed(("pump_kw = 1.0", "pump_kw = -inf")), ("loop[0].pump_kw: is -inf",)),
    "zero capacity": (changed(("capacity_kw = 21.5", "capacity_kw = 0")), ("capacity_kw: is 0 kW", "1..20000 kW")),
    "negative": (changed(("fan_kw = 2.0", "fan_kw = -2.0")), ("cooling_unit[0].fan_kw: is -2 kW", "0..200 kW")),
    "pue below one": (changed(("pue = 1.55", "pue = 0.9")), ("region[0].pue: is 0.9", "1..3")),
    "pue below the chain": (
        changed(("pue = 1.55", "pue = 1.05")),
        ("region[0].pue: states 1.050", "alone give 1.28", "raise pue"),
    ),
    "bad range": (
        changed(('ids = "r[01-02]"', 'ids = "r[02-01]"')),
        ("rack[0].ids: 'r[02-01]' runs backwards", "[01-02]"),
    ),
    "bad name": (changed(('id = "lab"', 'id = "la b"')), ("region[0].id: is 'la b'", "text like zone-c")),
    "unknown hall": (
        changed(('hall = "lab/a"', 'hall = "lab/aa"')),
        ("rack[0].hall: no hall 'lab/aa'", "one of lab/a lab/b", "did you mean"),
    ),
    "unknown node type": (
        changed(('node_type = "cpu"', 'node_type = "cpus"')),
        ("rack[0].node_type: no node_type 'cpus'", "did you mean 'cpu'?"),
    ),
    "unknown loop": (
        changed(('loop = "lab/a/loop"', 'loop = "lab/a/lop"')),
        ("region[0].hall[0].loop: no loop 'lab/a/lop'", "did you mean 'lab/a/loop'?"),
    ),
    "unknown feed": (changed(('"lab/feed-a", ', '"lab/feed-z", ')), ("ups[0].feeds[0]: no feed 'lab/feed-z'",)),
    "unknown region": (
        changed(('id = "lab/feed-a"', 'id = "lba/feed-a"')),
        ("feed[0].id: no region 'lba'", "did you mean 'lab'?"),
    ),
    "link to itself": (
        changed(('["lab/a", "lab/b"]', '["lab/a", "lab/a"]')),
        ("link[0].between: joins 'lab/a' with itself",),
    ),
    "link of three": (changed(('["lab/a", "lab/b"]', '["lab/a", "lab/b", "lab/a"]')), ("link[0].between",)),
    "duplicate hall": (
        changed(('id = "b"\nloop', 'id = "a"\nloop')),
        ("region[0].hall[1].id: hall 'lab/a' is already at region[0].hall[0].id",),
    ),
    "duplicate type": (
        changed(('id = "gpu"', 'id = "cpu"')),
        ("node_type[1].id: node_type 'cpu' is already at node_type[0].id",),
    ),
    "overlapping racks": (
        changed(('ids = "r[03-04]"', 'ids = "r[02-03]"')),
        ("rack[1].ids: r02 already stands in rack[0] of lab/a",),
    ),
    "overlapping nodes": (
        changed(('nodes = "n[09-16]"', 'nodes = "n[08-15]"')),
        ("rack[1].nodes: n08 already stands in rack[0]",),
    ),
    "nodes do not fill the racks": (
        changed(('nodes = "n[01-08]"', 'nodes = "n[01-07]"')),
        ("rack[0].nodes: 'n[01-07]' names 7 nodes for 2 racks of 4", "8 nodes"),
    ),
    "chiller names": (
        changed(('ids = "ch[1-3]"', 'ids = "ch[1-2]"')),
        ("loop[0].chillers: 'ch[1-2]' names 2 chillers for 2 running + 1 standby",),
    ),
    "psu redundancy": (
        changed(('psu_redundancy = "2+2"', 'psu_redundancy = "4+2"')),
        ("node_type[1].psu_redundancy: '4+2' is 4 needed + 2 spare = 6, but psus is 4",),
    ),
    "psu redundancy text": (
        changed(('psu_redundancy = "2+2"', 'psu_redundancy = "n+1"')),
        ("psu_redundancy: is 'n+1'", "'1+1' or '4+2'"),
    ),
    "psu too small": (
        changed(("psu_rated_kw = 2.2", "psu_rated_kw = 1.0")),
        ("node_type[1].psu_rated_kw: 2 needed x 1 kW carry less than peak_kw 4 kW", "at least 2 kW"),
    ),
    "ups redundancy": (changed(("needed = 2", "needed = 4")), ("ups[0].needed: 4 modules needed, 3 installed",)),
    "all units spare": (changed(("spare = 1", "spare = 2")), ("cooling_unit[0].spare: 2 spare of 2 units", "0..1")),
    "idle above peak": (
        changed(("idle_kw = 0.8", "idle_kw = 5.0")),
        ("node_type[1].idle_kw: is 5 kW", "below peak_kw 4 kW"),
    ),
    "unused loop": (
        changed(('loop = "lab/b/loop"', 'loop = "lab/a/loop"')),
        ("loop[1]: loop 'lab/b/loop' is used by nothing",),
    ),
    "hall without racks": (
        TINY.replace('hall = "lab/b"\nids = "r', 'hall = "lab/a"\nids = "s'),
        ("hall 'lab/b' has no rack",),
    ),
    "chillers too small": (
        changed(("capacity_kw = 21.5", "capacity_kw = 15.0")),
        ("loop[0].chillers: 2 running x 15 kW = 30 kW", "design heat of 36 kW"),
    ),
    "ups too small": (
        changed(("module_kw = 20.0", "module_kw = 10.0")),
        ("ups[0]: 2 needed x 10 kW = 20 kW", "design load of 35 kW"),
    ),
    "too little air": (
        changed(("fan_kw = 2.0", "fan_kw = 2.0\nflow_kw_per_k = 1.0")),
        ("cooling units of 'lab/a' move 1.0 kW/K", "2.8 kW/K"),
    ),
    "water too warm": (
        changed(("supply_c = 11.0", "supply_c = 21.0")),
        ("region[0].hall[0].supply_c: coils of 'lab/a' give", "with water of 21 C"),
    ),
    "plenum too small": (
        changed(('id = "a"', 'id = "a"\nplenum_kj_per_k = 20.0')),
        ("plenum_kj_per_k: is 20 kJ/K", "at least 177 kJ/K"),
    ),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_site_file_gets_one_clear_line(name: str, tmp_path: Path) -> None:
    text, parts = BAD[name]
    lines = faults_of(tmp_path, text)
    assert any(all(part in line for part in parts) for line in lines), f"wanted {parts}, got\n" + "\n".join(lines)
    assert all(line.startswith("site.toml") for line in lines)


# one mistake in a name that other parts refer to is several faults
SEVERAL = {"duplicate hall", "duplicate type", "hall without racks", "unknown region"}


@pytest.mark.parametrize("name", [name for name in BAD if name not in SEVERAL])
def test_one_mistake_gives_no_second_line(name: str, tmp_path: Path) -> None:
    """A mistake is not reported again in another check's words."""
    assert len(faults_of(tmp_path, BAD[name][0])) == 1


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    """Shape, unit, reference and redundancy in one answer, each once."""
    lines = faults_of(
        tmp_path,
        changed(
            ("outdoor_c = 15.0", "outdoor_c = nan"),
            ("peak_kw = 0.8", "peak_w = 800"),
            ("peak_kw = 4.0", "peak_kw = 6500"),
            ("needed = 2", "needed = 5"),
            ('"lab/feed-a", ', '"lab/feed-z", '),
            ('hall = "lab/b"', 'hall = "lab/bb"'),
        ),
    )
    text = "\n".join(lines)
    for part in ("is nan", "peak_w", "6500", "5 modules needed", "feed-z", "lab/bb"):
        assert text.count(part) == 1, text
    assert len(lines) == 6


VALUES = (
    "0",
    "-1",
    "1e400",
    "nan",
    "true",
    '""',
    '"x"',
    '"r[1-"',
    "[]",
    "[[]]",
    "{}",
    "{ ids = 1 }",
    "1979-05-27",
    '["a", 1]',
)


@given(
    edits=st.lists(
        st.tuples(st.integers(0, TINY.count("\n") - 1), st.sampled_from(("drop", "twice", *VALUES))),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_is_written_is_a_site_or_a_site_file_error(
    edits: list[tuple[int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No mistake in a file reaches the user as another exception."""
    lines = TINY.splitlines()
    for at, edit in edits:
        key, equals, _ = lines[at].partition(" = ")
        if edit == "drop":
            lines[at] = ""
        elif edit == "twice":
            lines[at] = f"{lines[at]}\n{lines[at]}"
        elif equals:
            lines[at] = f"{key} = {edit}"
    file = tmp_path_factory.getbasetemp() / "edited.toml"
    file.write_text("\n".join(lines))
    faults: tuple[Fault, ...] = ()
    try:
        load_site(file)
    except SiteFileError as error:
        faults = error.faults
    assert all(fault.where and fault.found for fault in faults)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "near.toml").write_text(TINY)
    with pytest.raises(SiteFileError, match=r"missing\.toml: no such file; there are near\.toml"):
        load_site(tmp_path / "missing.toml")
    with pytest.raises(SiteFileError, match="is a directory; a TOML file"):
        load_site(tmp_path)
    with pytest.raises(SiteFileError, match=r"no such file; shipped are c3o .*hall .*tiny"):
        load_site("tyni")
    (tmp_path / "latin.toml").write_bytes(b'name = "tiny"\nnote = "K\xe4lte"\n')
    with pytest.raises(SiteFileError, match=r"latin\.toml line 2: byte 0xe4 is not UTF-8"):
        load_site(tmp_path / "latin.toml")
