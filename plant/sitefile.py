"""The models of a site file: what a person writes in TOML, with unit, bounds and meaning of every key.

Nothing is computed here. `plant/sitechecks.py` checks that the parts fit each other, `plant/site.py` compiles them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from plant.chainfile import Generator, Pdu, Sag
from plant.coolingfile import (
    Cdu,
    ChillerControl,
    Compressor,
    FreeCooling,
    PlantStaff,
    Pump,
    Recirculation,
    Structure,
)
from plant.faultfile import FaultsTable
from plant.gpufile import FanTable, GpuTable
from plant.keys import ID, PATH, NameRange, Part, count, number, text
from plant.networkfile import Fabric


class Hall(Part):
    """One room with its own air: racks, cooling units, one chilled-water loop, one UPS."""

    id: str = text("short name inside the region", pattern=ID)
    region: str | None = text("region this hall stands in; only for a top-level [[hall]]", None, ID)
    loop: str = text("id of the chilled-water loop that serves it", pattern=PATH)
    ups: str = text("id of the UPS that feeds it", pattern=PATH)
    supply_c: float = number("C", 10, 32, "supply-air set-point of the cooling units", 22.0)
    plenum_kj_per_k: float | None = number(
        "kJ/K", 1, 1e7, "hot-side air plus structure; absent: 60 s of air flow", None
    )
    wall_kw_per_k: float | None = number("kW/K", 0, 1e3, "heat loss to outdoors; absent: design power / 500 K", None)


class Region(Part):
    """One place on the grid: its carbon intensity, weather and stated PUE."""

    id: str = text("short name", pattern=ID)
    carbon_kgco2_per_kwh: float = number("kgCO2/kWh", 0, 2, "mean carbon intensity of the grid")
    outdoor_c: float = number("C", -30, 50, "mean outdoor dry-bulb temperature")
    weather: str | None = text("CSV file of time,outdoor_c beside the site file; absent: outdoor_c always", None)
    pue: float | None = number("ratio", 1, 3, "stated PUE, a target the twin meets at design load", None)
    hall: tuple[Hall, ...] = Field((), description="halls of this region")


class NodeType(Part):
    """One kind of server. Where `like` names a shipped type, the keys written here override those of that type."""

    id: str = text("name used by racks", pattern=ID)
    like: str | None = text("type of data/node_types that it starts from, or a file beside the site file", None)
    idle_kw: float = number("kW", 0.01, 100, "power at no load, behind the power supplies")
    peak_kw: float = number("kW", 0.05, 200, "power at full load, behind the power supplies")
    concave_frac: float = number("fraction", 0, 2, "share of the square-root term in power over utilisation", 0.3)
    power_curve: tuple[tuple[float, float], ...] = Field(
        (), description="measured law instead: [utilisation, share of peak - idle] from [0, 0] to [1, 1]"
    )
    wake_cores: tuple[int, ...] = Field((), description="law in steps instead: busy cores at which a package wakes")
    wake_frac: tuple[float, ...] = Field((), description="share of peak - idle that each of them adds")
    gpus: int = count(0, 64, "accelerators")
    cores: int = count(1, 2048, "CPU cores")
    psus: int = count(1, 16, "power supplies")
    psu_rated_kw: float = number("kW", 0, 50, "rated output of one power supply; 0: node power is metered at the wall")
    psu_redundancy: str = text(
        "needed + spare power supplies, for example '1+1' or '4+2'", "1+1", r"^\d{1,2}\+\d{1,2}$"
    )
    psu_curve: Literal["platinum", "titanium"] = Field("platinum", description="80 PLUS table of its power supplies")
    psu_boot: int | None = count(1, 16, "supplies it needs to start; absent: those needed at peak", None)
    psu_brake: bool = Field(False, description="slows down to what its supplies carry instead of losing power")
    mass_kj_per_k: float = number("kJ/K", 1, 1000, "heat capacity of its metal: 11.1 per 2U server", 11.1)
    stop_c: float = number("C", 30, 70, "inlet temperature at which it shuts itself down", 42.0)
    gpu: GpuTable | None = Field(None, description="heat of its accelerators; absent: not modelled")
    fans: FanTable | None = Field(None, description="fans of its own; absent: constant air flow")


class Rack(Part):
    """A group of equal racks."""

    hall: str = text("id of the hall, region/hall", pattern=PATH)
    ids: NameRange = text("names, a range such as 'r[01-96]'")
    nodes: NameRange = text("names of all their nodes, a range such as 'n[001-576]'")
    nodes_per_rack: int = count(1, 256, "nodes in each rack")
    node_type: str = text("id of the node type", pattern=ID)
    recirc_frac: float = number("fraction", 0, 0.5, "share of inlet air that is its own hot air", 0.05)
    air_kj_per_k: float = number("kJ/K", 5, 40, "air around one rack: 18 open aisle, 9 contained", 18.0)
    air_rise_k: float = number("K", 5, 25, "air temperature rise through the servers at design power", 12.0)
    inlet_spread_k: float = number("K", 0, 10, "inlet difference between the top and the bottom node", 1.5)


class CoolingUnit(Part):
    """A group of equal computer-room air handlers."""

    hall: str = text("id of the hall, region/hall", pattern=PATH)
    ids: NameRange = text("names, a range such as 'crah[01-10]'")
    spare: int = count(0, 100, "units beyond those needed at design load; all run, each slower", 1)
    flow_kw_per_k: float | None = number(
        "kW/K", 0.1, 1000, "air flow times heat capacity at full speed; absent: sized", None
    )
    effectiveness_frac: float = number("fraction", 0.05, 1, "coil effectiveness", 0.75)
    fan_kw: float = number("kW", 0, 200, "fan power at full speed; cube law below")
    capacity_kw: float | None = number("kW", 0.5, 1000, "heat its coil can take at most; absent: no limit", None)
    compressor: Compressor | None = Field(None, description="present: a CRAC, which cools by its own compressor")
    restart_s: float = number("s", 0, 600, "from power back to full air flow", 30.0)


class Chillers(Part):
    """The chillers of one loop, running ones first, standby ones last."""

    ids: NameRange = text("names, a range such as 'ch[1-8]'")
    running: int = count(1, 100, "chillers in service")
    standby: int = count(0, 100, "chillers that start when one in service stops", 0)
    capacity_kw: float = number("kW", 1, 20000, "heat one chiller can remove")
    cop: float = number("ratio", 1, 60, "heat removed per electricity at 25 C outdoors; free cooling is a high COP")
    cop_per_k: float = number("1/K", 0, 2, "COP lost for each kelvin outdoors above 25 C", 0.1)
    restart_min: float = number("min", 0, 240, "from start order to full capacity", 10.0)


class Loop(Part):
    """A chilled-water loop with its buffer, pumps and chillers."""

    id: str = text("path, region/name or region/hall/name", pattern=PATH)
    water_m3: float = number("m3", 0.05, 5000, "water in buffer tank and pipes")
    metal_kj_per_k: float = number("kJ/K", 0, 1e6, "pipes, coils and vessels", 0.0)
    supply_c: float = number("C", 4, 30, "supply-water set-point")
    pump_kw: float = number("kW", 0, 2000, "all pumps together at full flow")
    chillers: Chillers


class Ups(Part):
    """A UPS of equal modules. Loss over installed rating: loss0 + loss1 x + loss2 x^2, x = load over rating."""

    id: str = text("path, region/name or region/hall/name", pattern=PATH)
    module_kw: float = number("kW", 1, 5000, "rated output of one module")
    modules: int = count(1, 100, "installed modules")
    needed: int = count(1, 100, "modules that must work at design load")
    loss0: float = number("fraction", 0, 0.1, "loss at no load", 0.0133)
    loss1: float = number("fraction", 0, 0.1, "loss in proportion to load", 0.0064)
    loss2: float = number("fraction", 0, 0.1, "loss with the square of load", 0.0108)
    battery_kwh: float = number("kWh", 0, 1e5, "usable energy of all batteries together")
    charge_kw: float | None = number(
        "kW", 0, 1e5, "input power of recharging; absent: a tenth of the installed rating", None
    )
    stage_load_frac: float | None = number(
        "fraction", 0.1, 1, "modules sleep while those awake stay below this load; absent: all run", None
    )
    feeds: tuple[str, ...] = Field((), description="ids of the feeds that can supply it, the preferred one first")


class Feed(Part):
    """A utility feed."""

    id: str = text("path, region/name", pattern=PATH)
    capacity_kw: float = number("kW", 1, 1e6, "rated power")
    trip_kw: float | None = number(
        "kW", 1, 1e6, "setting of its main breaker, which an overload trips; absent: it holds", None
    )
    reset_min: float = number("min", 0.1, 10080, "from such a trip until a person has closed it", 60.0)
    behind: str | None = text("id of the feed it hangs behind, such as a substation shared by two", None, PATH)


class Link(Part):
    """A network link between two halls."""

    id: str = text("path, region/name", pattern=PATH)
    between: tuple[str, str] = Field(description="ids of the two halls", json_schema_extra={"unit": "text"})
    gbit_per_s: float = number("Gbit/s", 0.01, 1e6, "usable bandwidth in each direction")
    latency_ms: float = number("ms", 0, 1000, "one-way delay", 1.0)


class SiteFile(Part):
    """A whole site, as written."""

    name: str = text("name of the site", pattern=ID)
    note: str | None = text("where the numbers come from", None)
    design_util_frac: float = number(
        "fraction", 0.1, 1, "utilisation at which air flow, chillers and PUE are sized", 0.8
    )
    region: tuple[Region, ...] = Field(min_length=1, description="regions")
    hall: tuple[Hall, ...] = Field((), description="halls written outside their region, with region = ...")
    node_type: tuple[NodeType, ...] = Field(min_length=1, description="kinds of server")
    rack: tuple[Rack, ...] = Field(min_length=1, description="groups of racks")
    cooling_unit: tuple[CoolingUnit, ...] = Field(min_length=1, description="groups of cooling units")
    loop: tuple[Loop, ...] = Field(min_length=1, description="chilled-water loops")
    ups: tuple[Ups, ...] = Field(min_length=1, description="UPS systems")
    feed: tuple[Feed, ...] = Field((), description="utility feeds")
    pdu: tuple[Pdu, ...] = Field((), description="rack PDUs and their breakers")
    generator: tuple[Generator, ...] = Field((), description="standby generators")
    sag: Sag = Field(default_factory=Sag, description="what a voltage sag trips")
    link: tuple[Link, ...] = Field((), description="links between halls")
    network: tuple[Fabric, ...] = Field((), description="leaf-spine fabrics, one for every hall or none")
    chiller_control: tuple[ChillerControl, ...] = Field((), description="staging and protection of chillers, by loop")
    pump: tuple[Pump, ...] = Field((), description="groups of pumps")
    free_cooling: tuple[FreeCooling, ...] = Field((), description="free cooling, by loop")
    cdu: tuple[Cdu, ...] = Field((), description="coolant distribution units of liquid-cooled racks")
    recirculation: tuple[Recirculation, ...] = Field((), description="hot air drawn in from neighbouring racks")
    structure: tuple[Structure, ...] = Field((), description="walls, floor and steel of halls as heat stores")
    plant_staff: tuple[PlantStaff, ...] = Field((), description="people who restart plant by hand")
    faults: FaultsTable = Field(default_factory=FaultsTable, description="how nodes fail, and who repairs them")

    def halls(self) -> tuple[tuple[str, Hall], ...]:
        """Every hall with its id region/hall, in the order of the file: nested ones first."""
        nested = [(f"{region.id}/{hall.id}", hall) for region in self.region for hall in region.hall]
        return (*nested, *((f"{hall.region}/{hall.id}", hall) for hall in self.hall))
