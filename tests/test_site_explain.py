"""`foretwin site explain`: every number of a component, what serves it, what hangs on it."""

from __future__ import annotations

from dataclasses import fields

import pytest

from plant.errors import SiteFileError
from plant.site import KINDS, Site, load_site
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


def test_every_parameter_of_a_node_has_a_meaning():
    rows = site_explain.run("hall", SITE.node_ids[0])["items"]
    assert {"node_peak_kw", "node_idle_kw"} <= {row["name"] for row in rows}
    silent = {row["name"] for row in rows if not row["meaning"]} & {f.name for f in fields(Site)}
    assert not silent


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
