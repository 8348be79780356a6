"""Machines that exist: node count and total power of shipped node types and sites against published figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plant.errors import SiteFileError
from plant.gpubuild import design_fan_kw, law_peak_kw
from plant.nodetypes import load_node_type, shipped_types
from plant.power import psu_input_kw
from plant.pue import design_pue
from plant.site import Site, load_site
from plant.sitefile import NodeType

ROOT = Path(__file__).resolve().parent.parent
TINY = (ROOT / "data/sites/tiny.toml").read_text(encoding="utf-8")
# RAPS: 25 distribution units of 8.473 kW, on top of the nodes
FRONTIER_CDU_KW = 25 * 8.47347


@pytest.fixture(scope="module")
def frontier() -> Site:
    return load_site("frontier")


def wall_kw(kind: NodeType, output_kw: float) -> float:
    """Power at the wall, all supplies healthy."""
    return float(psu_input_kw(np.array(output_kw), np.array(kind.psu_rated_kw), np.array(float(kind.psus))))


@pytest.mark.parametrize(
    ("name", "gpus", "peak_kw", "idle_low_kw", "idle_high_kw"),
    [
        ("dgx-a100", 8, 6.5, 1.3, 1.6),  # V, and M for idle: notes/incidents.md B.5
        ("dgx-h100", 8, 10.2, 1.8, 2.2),  # V2, M
        ("cpu-2s", 0, 0.85, 0.45, 0.522),  # AcmeTrace, CPU servers: 99.9 % at 0.828 kW, 5 % at 0.522 kW
        ("pcie-8", 8, 4.55, 0.85, 1.2),  # [assumed], as written
        ("frontier", 8, 2.958, 0.7, 0.8),  # RAPS, from its parts
    ],
)
def test_a_node_type_draws_what_is_published(
    name: str, gpus: int, peak_kw: float, idle_low_kw: float, idle_high_kw: float
) -> None:
    kind = load_node_type(name)
    assert kind.gpus == gpus
    assert wall_kw(kind, kind.peak_kw) == pytest.approx(peak_kw, rel=0.03)
    assert idle_low_kw <= wall_kw(kind, kind.idle_kw) <= idle_high_kw


def test_all_shipped_types_are_tested() -> None:
    assert set(shipped_types()) == {"dgx-a100", "dgx-h100", "cpu-2s", "frontier", "pcie-8"}


def test_frontier_has_the_nodes_and_cabinets_that_raps_simulates(frontier: Site) -> None:
    assert len(frontier.node_ids) == 9_600
    assert len(frontier.rack_ids) == 75
    assert (np.diff(frontier.rack_start) == 128).all()
    assert frontier.node_gpus.sum() == 8 * 9_600


def test_frontier_draws_what_is_published(frontier: Site) -> None:
    """8 to 30 MW: Sun et al., Scientific Data 11:1077, 2024. The parts of RAPS's file give the same within 0.1 %."""
    idle_kw = frontier.node_idle_kw.sum() + FRONTIER_CDU_KW
    peak_kw = frontier.node_peak_kw.sum() + FRONTIER_CDU_KW
    assert 0.9 * 8_000 <= idle_kw <= 8_000
    assert 0.95 * 30_000 <= peak_kw <= 30_000
    for kw, gpu_w, cpu_w in ((idle_kw, 88, 90), (peak_kw, 560, 280)):
        node_w = (cpu_w + 4 * gpu_w + 74.26 + 4 * 20 + 30 + 13) / 0.98
        chassis_w = (16 * node_w + 4 * 250 + 4 * 17) / 0.96
        assert kw == pytest.approx(9_600 / 16 * chassis_w / 1000 + FRONTIER_CDU_KW, rel=1e-3)


def test_frontier_meets_its_pue(frontier: Site) -> None:
    met = design_pue(vars(frontier), 0).pue + frontier.other_kw_frac[0]
    assert met == pytest.approx(1.03, rel=1e-9)
    assert frontier.other_kw_frac[0] >= 0.0


def test_selene_has_its_nodes_and_draws_what_top500_says() -> None:
    """280 systems; 1,344 kW at Linpack: 4.8 kW each, as the 560 of the next list (2,646 kW) and AcmeTrace's busiest."""
    site, kind = load_site("selene"), load_node_type("dgx-a100")
    assert len(site.node_ids) == 280
    assert site.node_gpus.sum() == 2_240
    peak_kw, idle_kw = (280 * wall_kw(kind, kw) for kw in (kind.peak_kw, kind.idle_kw))
    assert peak_kw == pytest.approx(280 * 6.5, rel=0.01)
    linpack = (27.58e6 / 20.5) / 1000.0
    assert linpack == pytest.approx(1_344, rel=2e-3)
    assert linpack / 280 == pytest.approx(2_646 / 560, rel=0.02)
    assert 0.6 < (linpack - idle_kw) / (peak_kw - idle_kw) < 0.8, "Linpack is heavy work, below the rating"
    # the site's own arrays count fans by their level: at full work and full fans they give the peak again
    fans_kw = site.gpus.fan_extra_kw(np.full((1, 280), 4, dtype=np.int8))[0]
    assert site.node_peak_kw + fans_kw == pytest.approx(np.full(280, kind.peak_kw), rel=1e-12)


def test_design_power_counts_the_fans_at_their_design_speed() -> None:
    kind = load_node_type("dgx-h100")
    assert kind.fans is not None
    assert law_peak_kw(kind) + kind.fans.kw * (1.0 - 0.4**3) == pytest.approx(kind.peak_kw)
    assert design_fan_kw(kind) == pytest.approx(kind.fans.kw * (0.65**3 - 0.4**3))


def test_a_type_is_overridden_key_by_key(tmp_path: Path) -> None:
    old = TINY[TINY.index('id = "gpu"') : TINY.index("[[rack]]")]
    mine = 'id = "gpu"\nlike = "dgx-h100"\nstop_c = 36.0\ngpu = { slow_c = 83.0 }\n\n'
    path = tmp_path / "mine.toml"
    path.write_text(TINY.replace(old, mine).replace("capacity_kw = 21.5", "capacity_kw = 90.0")
                    .replace("module_kw = 20.0", "module_kw = 90.0"))  # fmt: skip
    site = load_site(path)
    h100 = site.node_gpus == 8
    assert set(site.node_stop_c[h100]) == {36.0}
    assert set(site.gpus.slow_c) == {83.0}
    assert set(site.gpus.stop_c) == {92.0}
    assert set(site.node_idle_kw[h100]) == {1.52}
    assert site.gpus.node.tolist() == np.flatnonzero(h100).tolist()


def test_a_type_may_stand_beside_the_site_file(tmp_path: Path) -> None:
    (tmp_path / "box.toml").write_text((ROOT / "data/node_types/cpu-2s.toml").read_text(encoding="utf-8"))
    text = TINY[: TINY.index("[[node_type]]")] + '[[node_type]]\nid = "cpu"\nlike = "box.toml"\nidle_kw = 0.2\n\n'
    rest = TINY[TINY.index("[[node_type]]") + 13 :]
    (tmp_path / "site.toml").write_text(text + rest[rest.index("[[node_type]]") :])
    assert load_site(tmp_path / "site.toml").node_idle_kw[0] == 0.2


def test_a_type_that_does_not_exist_names_those_that_do(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(TINY.replace('id = "gpu"', 'id = "gpu"\nlike = "dgx-h1000"', 1))
    with pytest.raises(SiteFileError, match="shipped are cpu-2s dgx-a100 dgx-h100 frontier pcie-8"):
        load_site(path)


GPU = (
    "gpu = { idle_kw = 0.05, peak_kw = 0.3, chip_k_per_kw = 60.0 %s}\n"
    "fans = { kw = 0.2, above_c = [50.0, 60.0], speed_frac = [0.4, 0.6, 1.0] }\n"
)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("peak_kw = 0.3", "peak_kw = 0.6", "8 accelerators at peak draw 4.8 kW"),
        ("idle_kw = 0.05", "idle_kw = 0.2", "8 accelerators at idle draw 1.6 kW"),
        ("60.0 }", "60.0, slow_c = 95.0 }", "slow_c < hard_c < stop_c"),
        ("60.0 }", "10.0, mem_above_idle_k = 12.0 }", "memory that warms with power"),
        ("[50.0, 60.0]", "[60.0, 50.0]", "2 rising temperatures"),
        ("[50.0, 60.0]", "[50.0, 86.0]", "below gpu.slow_c 85 C"),
        ("[0.4, 0.6, 1.0]", "[0.4, 0.6, 0.9]", "rising from at least 0.08 to 1"),
        ("kw = 0.2,", "kw = 4.0,", "below peak_kw - idle_kw"),
        ("fans =", "wake_cores = [8, 200]\nwake_frac = [0.5, 0.5]\nfans =", "rising numbers of cores, 1..96"),
        ("fans =", "wake_cores = [8, 20]\nwake_frac = [0.5, 0.4]\nfans =", "2 shares of at least 0 that add up to 1"),
        ("fans =", "power_curve = [[0.0, 0.0], [0.5, 0.7], [1.0, 0.6]]\nfans =", "share never falls"),
        ("slow_cc", "slow_cc", ""),
    ],
)
def test_a_type_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    table = (GPU % "").replace(" }", " }")
    path = tmp_path / "site.toml"
    good = TINY.replace('id = "gpu"\n', f'id = "gpu"\n{table}', 1)
    path.write_text(good)
    assert len(load_site(path).gpus.node) == 16
    if not said:
        path.write_text(good.replace("60.0 }", "60.0, slow_cc = 80.0 }"))
        with pytest.raises(SiteFileError, match="slow_c'"):
            load_site(path)
        return
    assert old in good
    path.write_text(good.replace(old, new, 1))
    with pytest.raises(SiteFileError) as refused:
        load_site(path)
    assert said in str(refused.value)
