"""Machines that exist: node count and total power of the shipped site files against published figures."""

from __future__ import annotations

import numpy as np
import pytest

from plant.pue import design_pue
from plant.site import Site, load_site

# RAPS: 25 distribution units of 8.473 kW, on top of the nodes
FRONTIER_CDU_KW = 25 * 8.47347


@pytest.fixture(scope="module")
def frontier() -> Site:
    return load_site("frontier")


def test_frontier_has_the_nodes_and_cabinets_that_raps_simulates(frontier: Site) -> None:
    assert len(frontier.node_ids) == 9_600
    assert len(frontier.rack_ids) == 75
    assert (np.diff(frontier.rack_start) == 128).all()
    assert len(frontier.unit_ids) == 25, "distribution units of three cabinets"
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
