"""Site files: what a good one compiles to, and that the shipped ones are what they say."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from plant.errors import SiteFileError
from plant.pue import design_pue
from plant.site import KINDS, Site, load_site
from plant.sitebuild import file_hash, read_site_file
from twin.engine import Engine
from twin.ensemble import make_state
from twin.jobs import ENDLESS_WORK_S, make_jobs

ROOT = Path(__file__).resolve().parent.parent
TINY = (ROOT / "data/sites/tiny.toml").read_text()


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
            (204.3, 100.9),
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
    file.write_text(changed((hall, '[[hall]]\nid = "b"\n')))
    with pytest.raises(SiteFileError, match=r"hall\[0\]\.region: missing"):
        load_site(file)
