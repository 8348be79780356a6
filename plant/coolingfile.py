"""The cooling tables of a site file: what a person writes about pumps, chiller control, free cooling, liquid racks.

All of them are optional; a site file without them behaves as a plant without these parts. Compiled by
`plant/coolingbuild.py`.
"""

from __future__ import annotations

from pydantic import Field

from plant.keys import ID, PATH, NameRange, Part, count, number, text


class Compressor(Part):
    """The compressor of a CRAC: it cools by itself (DX) and gives its heat to the outdoors, not to a water loop."""

    capacity_kw: float = number("kW", 0.5, 500, "sensible heat it can take at 24 C return air")
    cop: float = number("ratio", 1, 20, "heat removed per electricity at 25 C outdoors", 3.0)
    cop_per_k: float = number("1/K", 0, 1, "COP lost for each kelvin outdoors above 25 C", 0.06)


class ChillerControl(Part):
    """How the chillers of one loop are staged, protected and restarted."""

    loop: str = text("id of the loop", pattern=PATH)
    stage_up_frac: float = number("fraction", 0.3, 1.2, "load over running capacity that calls one more", 0.95)
    stage_up_k: float = number("K", 0.2, 10, "supply water above its set-point that calls one more", 1.5)
    stage_up_min: float = number("min", 0, 60, "how long either must last", 5.0)
    stage_down_frac: float = number("fraction", 0, 0.95, "load on one chiller fewer below which one stops", 0.75)
    stage_down_min: float = number("min", 1, 240, "how long that must last", 20.0)
    part_load: tuple[float, float, float] = Field(
        (0.222903, 0.313387, 0.463710),
        description="c0 c1 c2 of power over full-load power at load share x: c0 + c1 x + c2 x^2, sum 1",
        json_schema_extra={"unit": "fraction", "low": -2, "high": 2},
    )
    design_outdoor_c: float = number("C", 10, 55, "outdoor temperature up to which it has full capacity", 35.0)
    derate_per_k: float = number("1/K", 0, 0.1, "capacity lost for each kelvin above that", 0.015)
    capacity_per_k: float = number(
        "1/K", 0, 0.1, "capacity gained for each kelvin of supply water above the set-point", 0.0
    )
    capacity_most_frac: float = number("fraction", 1, 2, "capacity over nominal at most, however warm the water", 1.2)
    condenser_k: float = number("K", 1, 40, "condensing above outdoor temperature at full load", 17.0)
    condensing_trip_c: float = number("C", 40, 90, "condensing temperature at which high pressure stops it", 62.0)
    low_flow_frac: float = number("fraction", 0, 0.7, "share of nominal water flow below which it trips", 0.4)
    quick_start_min: float | None = number("min", 0.5, 60, "restart after a trip; absent: restart_min", None)
    lockout_frac: float = number("fraction", 0, 1, "share of trips that wait for a person to reset them", 0.0)


class Pump(Part):
    """A group of equal pumps of one loop, running ones first, standby ones last."""

    loop: str = text("id of the loop", pattern=PATH)
    ids: NameRange = text("names, a range such as 'p[1-3]'")
    running: int = count(1, 50, "pumps in service; together they move the nominal flow")
    standby: int = count(0, 50, "pumps that start when one in service stops", 0)
    start_s: float = number("s", 0, 600, "from start order to full flow", 15.0)
    follow_chillers: bool = Field(
        False,
        description="a pump runs only while a chiller gives it the run signal",
        json_schema_extra={"unit": "flag"},
    )


class FreeCooling(Part):
    """A heat exchanger between a loop's return water and the outdoors, before the chillers."""

    loop: str = text("id of the loop", pattern=PATH)
    capacity_kw: float = number("kW", 1, 1e5, "heat it takes at most")
    approach_k: float = number("K", 0.5, 15, "how near water comes to the outdoor temperature", 4.0)
    range_k: float = number("K", 1, 20, "how much warmer the return water must be for all of it", 6.0)
    fan_kw: float = number("kW", 0, 2000, "fans and pumps at full capacity; cube law below", 0.0)


class Cdu(Part):
    """A coolant distribution unit: direct-to-chip water of some racks, cooled by a loop through a heat exchanger."""

    hall: str = text("id of the hall, region/hall", pattern=PATH)
    id: str = text("short name inside the hall", pattern=ID)
    racks: NameRange = text("names of the racks it serves, a range such as 'r[01-08]'")
    loop: str = text("id of the loop that takes its heat", pattern=PATH)
    liquid_frac: float = number("fraction", 0.05, 0.98, "share of rack heat that goes to the coolant at design", 0.75)
    supply_c: float = number("C", 15, 50, "set-point of the coolant", 32.0)
    plate_k: float = number("K", 2, 60, "equipment above coolant at design power", 22.0)
    approach_k: float = number("K", 1, 20, "coolant above the loop's water at design power, valve fully open", 6.0)
    water_m3: float = number("m3", 0.01, 50, "coolant in the unit, pipes and plates", 0.3)
    pump_kw: float = number("kW", 0, 100, "pump power", 2.0)
    restart_s: float = number("s", 0, 600, "from power back to full flow", 20.0)
    stop_c: float = number("C", 50, 110, "equipment temperature at which its nodes stop themselves", 85.0)


class Recirculation(Part):
    """Hot air of one rack that its neighbour draws in."""

    hall: str = text("id of the hall, region/hall", pattern=PATH)
    from_racks: NameRange = text("racks whose outlet air strays, a range")
    to_racks: NameRange = text("racks that draw it in, one for each of from_racks")
    frac: float = number("fraction", 0, 0.5, "share of the inlet air of each of to_racks")


class Structure(Part):
    """Walls, floor and steel of a hall as a heat store beside its air: the slow tail of a crisis."""

    hall: str = text("id of the hall, region/hall", pattern=PATH)
    mass_kj_per_k: float = number("kJ/K", 1, 1e8, "heat capacity that the air reaches within the hour")
    ua_kw_per_k: float = number("kW/K", 0.001, 1e4, "conductance between it and the hot-side air")


class PlantStaff(Part):
    """People who reset and restart plant by hand."""

    region: str = text("region they look after", pattern=ID)
    count: int = count(1, 1000, "how many restarts they can make at a time")
    restart_min: float = number("min", 0.5, 240, "hands-on time of one reset, the way there included", 15.0)
