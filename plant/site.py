"""The site: what exists, compiled from a site file into arrays indexed by component.

A `Site` never changes. Ids are paths `region/hall/...`; the index of a component is its row in the arrays of its kind.
Models of the file: `plant/sitefile.py`; checks: `plant/sitechecks.py`; compiling: `plant/sitebuild.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plant.chain import PowerChain
from plant.coolingplant import CoolingPlant
from plant.errors import SiteFileError
from plant.faults import FaultLaws
from plant.network import Network
from plant.power import Curve
from plant.references import did_you_mean

if TYPE_CHECKING:
    from plant.gpubuild import Gpus

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Site:
    """Everything that exists on a site. Arrays are C-contiguous, float64 / int32 / bool and not writeable.

    Shapes: G regions, H halls, R racks, N nodes, C cooling units, L loops, K chillers, U UPS, F feeds, E links.
    """

    name: str
    hash: str
    design_util_frac: float

    region_ids: tuple[str, ...]
    region_carbon_kgco2_per_kwh: Floats
    region_outdoor_c: Floats
    region_pue: Floats
    """Stated PUE, nan where none is stated."""
    other_kw_frac: Floats
    """Load outside the modelled chain as a fraction of IT power, (G,): lighting, transformers, towers, humidity."""

    hall_ids: tuple[str, ...]
    hall_region: Ints
    hall_loop: Ints
    hall_ups: Ints
    hall_supply_c: Floats
    hall_plenum_kj_per_k: Floats
    hall_wall_kw_per_k: Floats
    hall_design_kw: Floats
    """IT power at the design utilisation, (H,)."""

    rack_ids: tuple[str, ...]
    rack_hall: Ints
    rack_start: Ints
    """(R+1,): nodes of rack r are rack_start[r] .. rack_start[r+1]-1."""
    rack_design_kw: Floats
    rack_air_kj_per_k: Floats
    rack_mass_kj_per_k: Floats
    rack_ua_kw_per_k: Floats
    rack_flow_kw_per_k: Floats
    rack_recirc_frac: Floats

    node_ids: tuple[str, ...]
    node_rack: Ints
    node_hall: Ints
    node_type: Ints
    node_type_ids: tuple[str, ...]
    node_idle_kw: Floats
    node_peak_kw: Floats
    node_concave_frac: Floats
    node_gpus: Ints
    node_cores: Ints
    node_inlet_offset_k: Floats
    node_stop_c: Floats
    node_mass_kj_per_k: Floats
    node_psu_rated_kw: Floats
    psu_per_node: Ints
    psu_needed_per_node: Ints
    node_curves: tuple[Curve, ...]
    """Power laws of node types that have one of their own; see plant/power.py."""
    gpus: Gpus
    """Accelerators and fans of the nodes that have such tables; see plant/gpubuild.py."""

    unit_ids: tuple[str, ...]
    unit_hall: Ints
    unit_flow_kw_per_k: Floats
    unit_effectiveness_frac: Floats
    unit_fan_kw: Floats

    loop_ids: tuple[str, ...]
    loop_water_kj_per_k: Floats
    """Water plus metal."""
    loop_supply_c: Floats
    loop_pump_kw: Floats

    chiller_ids: tuple[str, ...]
    chiller_loop: Ints
    chiller_capacity_kw: Floats
    chiller_cop: Floats
    """At 25 C outdoors."""
    chiller_cop_per_k: Floats
    """COP lost for each kelvin above 25 C, a positive number; see plant/pue.py cop_at."""
    chiller_standby: Flags
    chiller_restart_s: Floats

    ups_ids: tuple[str, ...]
    ups_rated_kw: Floats
    ups_modules: Ints
    ups_needed: Ints
    ups_loss0: Floats
    ups_loss1: Floats
    ups_loss2: Floats
    ups_battery_kwh: Floats
    ups_feed: Flags
    """(U, F): feed f can supply UPS u."""
    chain: PowerChain
    """From feeds and generators to the two sides of a rack; see plant/chain.py."""

    feed_ids: tuple[str, ...]
    feed_capacity_kw: Floats

    link_ids: tuple[str, ...]
    link_halls: Ints
    """(E, 2) hall indices."""
    link_latency_ms: Floats
    link_gb_per_s: Floats
    """(H, H) bandwidth between halls in GB/s, symmetric, 0 where there is no link and on the diagonal."""
    link_each_gb_per_s: Floats
    """(E,) bandwidth of each link in each direction."""

    network: Network
    faults: FaultLaws
    """Leaf-spine fabrics inside the halls."""

    cooling: CoolingPlant
    """Pumps, chiller control, free cooling, CDUs, recirculation, structure, staff."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """All component kinds, from the outside in."""
        return KINDS

    @property
    def pump_ids(self) -> tuple[str, ...]:
        """Ids of the pumps; none where the file lists none."""
        return self.cooling.pump_ids

    @property
    def cdu_ids(self) -> tuple[str, ...]:
        """Ids of the coolant distribution units."""
        return self.cooling.cdu_ids

    @cached_property
    def psu_ids(self) -> tuple[str, ...]:
        """One id `<node>/psu<k>` for each power supply, in node order; sum(psu_per_node) of them."""
        pairs = zip(self.node_ids, self.psu_per_node.tolist(), strict=True)
        return tuple(f"{node}/psu{k}" for node, n in pairs for k in range(1, n + 1))

    def components(self, kind: str) -> tuple[str, ...]:
        """Ids of all components of a kind, in index order. Raises SiteFileError on an unknown kind."""
        if kind not in KINDS:
            raise SiteFileError(f"site {self.name}", f"'{kind}' is no component kind", f"one of {' '.join(KINDS)}")
        if kind == "link":  # between halls first, then from leaves to spines
            return (*self.link_ids, *self.network.uplink_ids)
        if kind == "switch":
            return self.network.switch_ids
        owner = self.chain if kind in ("pdu", "generator") else self
        ids: tuple[str, ...] = getattr(owner, _IDS.get(kind, f"{kind}_ids"))
        return ids

    def index(self, kind: str, component: str) -> int:
        """Row of a component in the arrays of its kind. Raises SiteFileError with the nearest id when there is none."""
        row = self._rows(kind).get(component)
        if row is None:
            raise SiteFileError(
                f"site {self.name}", f"no {kind} '{component}'", cure=did_you_mean(component, self.components(kind))
            )
        return row

    def kind_of(self, component: str) -> str | None:
        """The kind of a component id, or None when the site has no such component."""
        return next((kind for kind in KINDS if component in self._rows(kind)), None)

    def counts(self) -> dict[str, int]:
        """Number of components by kind."""
        return {kind: len(self.components(kind)) for kind in KINDS}

    def _rows(self, kind: str) -> Mapping[str, int]:
        if kind not in self._row_cache:
            self._row_cache[kind] = {component: i for i, component in enumerate(self.components(kind))}
        return self._row_cache[kind]

    @cached_property
    def _row_cache(self) -> dict[str, Mapping[str, int]]:
        return {}


KINDS = (
    "region", "hall", "rack", "node", "cooling_unit", "loop", "chiller", "pump", "cdu", "ups", "feed", "psu", "switch",
    "link", "pdu", "generator",
)  # fmt: skip
_IDS = {"cooling_unit": "unit_ids"}


def load_site(path: str | Path) -> Site:
    """Read, check and compile a site file, given as a path or as the name of a shipped one (`tiny`, `hall`, `c3o`).

    Raises SiteFileError with every fault at once.
    """
    from plant.files import shipped
    from plant.sitebuild import compile_site, read_site_file

    file = shipped("sites", path)
    return compile_site(read_site_file(file), str(file))
