"""The model of a `[[network]]` table: one leaf-spine fabric per hall, as a person writes it in the site file."""

from __future__ import annotations

from pydantic import Field

from plant.keys import PATH, NameRange, Part, count, number, text


class Fabric(Part):
    """The switches of one hall: racks hang on leaves, every leaf on every spine unless `uplinks` says otherwise."""

    hall: str = text("id of the hall, region/hall", pattern=PATH)
    leaves: NameRange = text("names of the leaf switches, a range such as 'leaf[01-24]', in the order of the racks")
    racks_per_leaf: int = count(1, 256, "racks on one leaf; the last leaf may have fewer", 1)
    spines: NameRange = text("names of the spine switches, a range such as 'spine[1-4]'")
    uplink_gbit_per_s: float = number("Gbit/s", 0.1, 12_800, "capacity of one link from a leaf to a spine")
    node_gbit_per_s: float = number("Gbit/s", 0.1, 12_800, "capacity of a node's own port")
    keep_frac: float = number(
        "fraction", 0, 1, "share of its paths a leaf must keep when a plan takes a link out (CorrOpt's rule)", 0.5
    )
    uplinks: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="leaves that hang on some spines only: leaf = [spines]"
    )
