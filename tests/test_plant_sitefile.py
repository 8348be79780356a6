"""Site files: what a good one compiles to, and the one clear line each mistake gets."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant.errors import Fault, ForetwinError, SiteFileError
from plant.pue import design_pue
from plant.ranges import collapse, expand, expand_path
from plant.site import KINDS, Site, load_site
from plant.sitebuild import file_hash, read_site_file
from twin.engine import Engine
from twin.ensemble import make_state
from twin.jobs import ENDLESS_WORK_S, make_jobs

ROOT = Path(__file__).resolve().parent.parent
TINY = (ROOT / "data/sites/tiny.toml").read_text()


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


@pytest.mark.parametrize(
    ("name", "counts", "design_kw", "pue"),
    [
        ("tiny", {"hall": 2, "rack": 8, "node": 32, "cooling_unit": 4, "chiller": 6, "psu": 96}, (35.4, 35.4), (1.55,)),
        (
            "hall",
            {"hall": 2, "rack": 156, "node": 936, "cooling_unit": 22, "chiller": 12, "psu": 2436},
            (1124.5, 700.8),
            (1.55,),
        ),
        (
            "c3o",
            {"hall": 2, "rack": 18, "node": 72, "cooling_unit": 9, "chiller": 6, "psu": 368},
            (225.8, 100.9),
            (1.67, 1.22),
        ),
    ],
)
def test_shipped_site_has_its_size_and_meets_its_pue(
    name: str, counts: dict[str, int], design_kw: tuple[float, ...], pue: tuple[float, ...]
) -> None:
    site = load_site(name)
    assert {kind: site.counts()[kind] for kind in counts} == counts
    assert site.hall_design_kw.round(1).tolist() == list(design_kw)
    for i, target in enumerate(pue):
        met = design_pue(vars(site), i).pue + site.other_kw_frac[i]
        assert met == pytest.approx(target, rel=0.03)
        assert site.other_kw_frac[i] >= 0.0


@pytest.mark.parametrize("name", ["tiny", "c3o"])
def test_running_twin_meets_the_stated_pue(name: str) -> None:
    """The engine settles where the site file computed its steady state, every node at design utilisation."""
    site = load_site(name)
    n = len(site.node_ids)
    busy = np.full(n, site.design_util_frac)
    jobs = make_jobs(
        [f"j{i}" for i in range(n)],
        arrival_ms=np.zeros(n, dtype=np.int64),
        work_s=np.full(n, ENDLESS_WORK_S),
        activity_frac=busy,
    )
    engine = Engine(make_state(site, 0, jobs=jobs), site)
    engine.run(2 * 3_600_000)
    it_kw = np.bincount(site.hall_region, weights=engine.derived.hall_kw[0])
    assert engine.derived.facility_kw[0] / it_kw == pytest.approx(site.region_pue, rel=0.01)


def test_hall_is_the_stage_of_the_incident() -> None:
    site = load_site("hall")
    zone_c = site.index("hall", "hk/zone-c")
    loop = site.hall_loop[zone_c]
    assert (site.rack_hall == zone_c).sum() == 96
    mine = site.chiller_loop == loop
    assert (mine & site.chiller_standby).sum() == (mine & ~site.chiller_standby).sum() == 4
    heat_kj_per_k = (
        site.loop_water_kj_per_k[loop]
        + site.hall_plenum_kj_per_k[zone_c]
        + (site.rack_mass_kj_per_k + site.rack_air_kj_per_k)[site.rack_hall == zone_c].sum()
    )
    typical_kw = 0.65 * site.hall_design_kw[zone_c]
    assert 0.6 <= 60.0 * typical_kw / heat_kj_per_k <= 0.8, "K/min without any chiller"
    assert site.link_gb_per_s[0, 1] == site.link_gb_per_s[1, 0] == 50.0


def test_c3o_corrects_the_accelerator_counts() -> None:
    site = load_site("c3o")
    gpus = np.bincount(site.node_hall, weights=site.node_gpus)
    assert gpus.tolist() == [320, 256]
    assert site.region_carbon_kgco2_per_kwh.tolist() == [0.78, 0.21]


@pytest.mark.parametrize("name", ["tiny", "hall", "c3o"])
def test_arrays_keep_the_contract(name: str) -> None:
    site = load_site(name)
    for key, value in vars(site).items():
        if isinstance(value, np.ndarray):
            assert value.flags.c_contiguous, key
            assert not value.flags.writeable, key
            assert value.dtype in (np.float64, np.int32, np.bool_), key
    for grouped in (site.node_rack, site.rack_hall, site.unit_hall, site.chiller_loop):
        assert (np.diff(grouped) >= 0).all(), "components of one group stand together"
    assert site.rack_start[0] == 0
    assert site.rack_start[-1] == len(site.node_ids)
    flow = np.bincount(site.rack_hall, weights=site.rack_flow_kw_per_k, minlength=len(site.hall_ids))
    assert (site.hall_plenum_kj_per_k >= 60.0 * flow * (1 - 1e-12)).all()
    rise = site.rack_design_kw / site.rack_flow_kw_per_k
    assert rise == pytest.approx(np.full(len(rise), 12.0))
    ids = [component for kind in KINDS for component in site.components(kind)]
    assert len(ids) == len(set(ids)), "an id names one thing"


def test_index_and_kind_find_every_component() -> None:
    site = load_site("tiny")
    for kind in site.kinds:
        for i, component in enumerate(site.components(kind)):
            assert site.index(kind, component) == i
            assert site.kind_of(component) == kind
    assert site.kind_of("lab/nowhere") is None
    assert site.psu_ids[0] == "lab/a/r01/n01/psu1"
    with pytest.raises(SiteFileError, match="did you mean 'lab/a/r01'"):
        site.index("rack", "lab/a/r1")
    with pytest.raises(SiteFileError, match="no component kind"):
        site.components("racks")


def test_order_of_groups_in_the_file_does_not_break_the_arrays(tmp_path: Path) -> None:
    """A rack of hall a written after those of hall b still stands with hall a."""
    text = TINY + '\n[[rack]]\nhall = "lab/a"\nids = "r05"\nnodes = "n[17-20]"\nnodes_per_rack = 4\nnode_type = "cpu"\n'
    file = tmp_path / "site.toml"
    file.write_text(text)
    site = load_site(file)
    assert (np.diff(site.rack_hall) >= 0).all()
    assert site.rack_hall[site.index("rack", "lab/a/r05")] == 0


def test_hash_follows_content_not_comments(tmp_path: Path) -> None:
    plain, commented, other = (tmp_path / f"{x}.toml" for x in "abc")
    plain.write_text(TINY)
    commented.write_text("# a remark\n" + TINY.replace("peak_kw = 4.0", "peak_kw = 4"))
    other.write_text(changed(("outdoor_c = 15.0", "outdoor_c = 16.0")))
    hashes = [file_hash(read_site_file(file)) for file in (plain, commented, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[0] == load_site("tiny").hash


def test_site_survives_pickling_to_a_worker() -> None:
    site = load_site("tiny")
    again: Site = pickle.loads(pickle.dumps(site))
    assert again.hash == site.hash
    assert again.node_ids == site.node_ids


def test_top_level_hall_names_its_region(tmp_path: Path) -> None:
    hall = '[[region.hall]]\nid = "b"\n'
    file = tmp_path / "site.toml"
    file.write_text(changed((hall, '[[hall]]\nid = "b"\nregion = "lab"\n')))
    assert load_site(file).hall_ids == ("lab/a", "lab/b")
    assert any(
        "hall[0].region: missing" in line for line in faults_of(tmp_path, changed((hall, '[[hall]]\nid = "b"\n')))
    )


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
    "unknown table": (TINY + '\n[[generator]]\nid = "g"\n', ("generator: unknown key",)),
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
    with pytest.raises(SiteFileError, match="no such file; shipped are c3o hall tiny"):
        load_site("tyni")
    (tmp_path / "latin.toml").write_bytes(b'name = "tiny"\nnote = "K\xe4lte"\n')
    with pytest.raises(SiteFileError, match=r"latin\.toml line 2: byte 0xe4 is not UTF-8"):
        load_site(tmp_path / "latin.toml")


def test_errors_are_a_family_with_parts() -> None:
    error = SiteFileError("hall.toml: rack[0]", "no hall 'x'", "one of a b", "did you mean 'a'?")
    assert isinstance(error, ForetwinError)
    assert str(error) == "hall.toml: rack[0]: no hall 'x'; one of a b; did you mean 'a'?"
    assert error.as_dict() == {
        "where": "hall.toml: rack[0]",
        "found": "no hall 'x'",
        "allowed": "one of a b",
        "cure": "did you mean 'a'?",
    }
    several = SiteFileError(faults=[Fault("a", "1"), Fault("b", "2\n3")])
    assert str(several) == "a: 1\nb: 2 3"
    assert len(several.as_dict()["faults"]) == 2  # type: ignore[arg-type]
    again = pickle.loads(pickle.dumps(several))
    assert isinstance(again, SiteFileError)
    assert again.faults == several.faults


@given(
    prefix=st.from_regex(r"[a-z][a-z-]{0,5}", fullmatch=True),
    numbers=st.sets(st.integers(0, 9999), min_size=1, max_size=60),
    width=st.integers(4, 6),
)
def test_collapse_and_expand_are_inverse(prefix: str, numbers: set[int], width: int) -> None:
    names = [f"{prefix}{number:0{width}d}" for number in sorted(numbers)]
    assert list(expand(collapse(names))) == names


@given(low=st.integers(0, 500), size=st.integers(1, 500), width=st.integers(1, 6))
def test_a_range_has_as_many_names_as_it_says(low: int, size: int, width: int) -> None:
    names = expand(f"n[{low:0{width}d}-{low + size - 1}]")
    assert len(names) == len(set(names)) == size
    assert [int(name[1:]) for name in names] == list(range(low, low + size))


def test_ranges_in_paths_and_pieces() -> None:
    assert expand("r[1-2]-n[1-2]") == ("r1-n1", "r1-n2", "r2-n1", "r2-n2")
    assert expand("plain") == ("plain",)
    assert expand("n[001-002,010]") == ("n001", "n002", "n010")
    assert expand_path("a/b[1-2]/c") == ("a/b1/c", "a/b2/c")
    for bad in ("", "n[", "n[a-b]", "n[3-1]", "n[1-2,2]", "n[1-99999999]", "a b", "n[]"):
        with pytest.raises(ValueError):
            expand(bad)
