"""`foretwin site explain`: every number of a component, what serves it, what hangs on it."""

from __future__ import annotations

import re

import power_site
import pytest

from plant.errors import SiteFileError
from plant.site import KINDS, load_site
from plant.wiring import reach, served_by, serves
from verbs import site_explain

SITE = load_site("hall")


def test_a_chiller_reaches_its_hall_and_every_node_in_it():
    found = reach(SITE, "chiller", 0)
    assert len(found["hall"]) == 1
    assert len(found["node"]) == int((SITE.rack_hall[SITE.node_rack] == 0).sum())


@pytest.mark.parametrize("kind", [k for k in KINDS if SITE.components(k)])
def test_who_serves_and_who_is_served_agree(kind):
    for to, name in serves(SITE, kind, 0):
        assert (kind, SITE.components(kind)[0]) in served_by(SITE, to, SITE.index(to, name))


def test_a_loop_says_its_ride_through_in_closed_form():
    said = site_explain.run("hall", "hk/zone-c/loop")
    kw = SITE.rack_design_kw[SITE.rack_hall == 0].sum()
    assert said["ride_through_min"] == pytest.approx(SITE.loop_water_kj_per_k[0] * 10.0 / kw / 60.0)
    assert said["hangs_on_it"]["node"] == 576


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Sites that have every kind of component and every table between them."""
    chain = tmp_path_factory.mktemp("sites") / "chain.toml"
    chain.write_text(power_site.text(), encoding="utf-8")
    return ["hall", "fabric", "liquid", "c3o", str(chain)]


def test_every_parameter_that_is_printed_has_a_meaning(files):
    shown, kinds = [], set()
    for file in files:
        said = site_explain.run(file)
        shown += said["parameters"]
        for first in said["items"]:
            kinds.add(first["kind"])
            shown += site_explain.run(file, first["first"])["items"]
    assert kinds == set(KINDS)
    assert {"node_peak_kw", "gpus.slow_c", "generator_wait_s", "loop_stage_up_k", "node_gb_per_s"} <= {
        row["name"] for row in shown
    }
    assert not sorted({row["name"] for row in shown if not row["meaning"]})


def test_a_node_tells_its_accelerators_and_says_nothing_twice():
    site = load_site("selene")
    rows = site_explain.run("selene", site.node_ids[-1])["items"]
    names = [row["name"] for row in rows]
    assert len(names) == len(set(names))
    found = {row["name"]: row for row in rows}
    assert (found["gpus.slow_c"]["value"], found["gpus.slow_c"]["unit"]) == (85.0, "C")
    assert found["gpus.chip_k_per_kw"]["unit"] == "K/kW"
    bare = load_site("tiny")
    assert not [r for r in site_explain.run("tiny", bare.node_ids[0])["items"] if r["name"].startswith("gpus.")]


def test_the_equations_of_every_kind_stand_under_a_heading_of_the_page():
    page = (site_explain.DOCS / "twin.md").read_text(encoding="utf-8")
    headings = [re.sub(r"[^\w -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
                for line in page.splitlines() if line.startswith("#")]  # fmt: skip
    assert set(site_explain.EQUATIONS) == set(KINDS)
    for kind in KINDS:
        assert headings.count(site_explain.EQUATIONS[kind]) == 1, kind
    assert site_explain.run("hall", SITE.chiller_ids[0])["equations"] == "docs/twin.md#chillers"
    assert set(re.findall(r"\]\(#([\w-]+)\)", page)) <= set(headings), "the table of contents points nowhere"


def test_the_whole_site_lists_every_kind_that_is_there():
    kinds = {row["kind"]: row["count"] for row in site_explain.run("hall")["items"]}
    assert kinds == {kind: n for kind, n in SITE.counts().items() if n}


def test_an_unknown_component_is_refused_with_the_nearest():
    with pytest.raises(SiteFileError, match="did you mean"):
        site_explain.run("hall", "hk/zone-c/lop")


def test_a_spine_reaches_every_rack_of_its_hall_and_a_link_says_what_it_carries():
    site = load_site("fabric")
    spine = site.index("switch", "lab/b/spine2")
    assert len(reach(site, "switch", spine)["rack"]) == 22
    assert served_by(site, "switch", site.index("switch", "lab/b/leaf03")) == [
        ("link", f"lab/b/leaf03/spine{i}") for i in range(1, 5)
    ]
    rows = {row["name"]: row["value"] for row in site_explain.run("fabric", "lab/b/leaf03/spine2")["items"]}
    assert rows["link_each_gb_per_s"] == 25.0
    rows = {row["name"]: row["value"] for row in site_explain.run("fabric", "lab/b/leaf03")["items"]}
    assert rows["switch_gb_per_s"] == 100.0
