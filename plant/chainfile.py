"""The models of a site file's power-chain tables: rack PDUs with breakers, generators, and what a voltage sag trips.

`plant/chainchecks.py` checks how they fit the rest of the site, `plant/chainbuild.py` compiles them.
"""

from __future__ import annotations

from pydantic import Field

from plant.keys import PATH, NameRange, Part, number, text


class Pdu(Part):
    """Rack PDUs of a group of racks: one on side A and one on side B, each behind a breaker of its own.

    Odd supplies of a node (psu1, psu3, ..) hang on side A, even ones on side B. Racks without PDUs hang on the UPS of
    their hall with both sides and without breakers.
    """

    hall: str = text("id of the hall, region/hall", pattern=PATH)
    racks: NameRange = text("names of the racks, a range such as 'r[01-96]'")
    breaker_kw: float = number("kW", 0.5, 2000, "rating of each breaker; a load that lasts stays below 80 % of it")
    a: str = text("id of the UPS, or of the feed, behind side A", pattern=PATH)
    b: str | None = text("id of the UPS, or of the feed, behind side B; absent: no side B", None, PATH)
    loss_frac: float = number("fraction", 0, 0.1, "loss of PDU and transformer over the load it carries", 0.01)
    reset_min: float = number("min", 0.1, 10080, "from a trip until a person has found the cause and closed it", 45.0)


class Generator(Part):
    """A standby generator that takes over the feeds it backs when their utility is lost.

    Times: notes/incidents.md B.2 (detect 0.5-1 s, delay 3-5, crank 2-10, load 5-10); start failure 0.5-1.5 %.
    """

    id: str = text("path, region/name", pattern=PATH)
    feeds: tuple[str, ...] = Field(min_length=1, description="ids of the feeds it backs")
    capacity_kw: float = number("kW", 1, 1e6, "rated power")
    detect_s: float = number("s", 0, 60, "from the loss of the utility until it is noticed", 1.0)
    delay_s: float = number("s", 0, 600, "wait before the start, so that short dips pass", 4.0)
    crank_s: float = number("s", 0, 600, "from the start order to rated speed", 6.0)
    load_s: float = number("s", 0, 600, "from rated speed until it carries the load", 7.0)
    start_failure_prob: float = number("fraction", 0, 1, "chance that it does not start when asked", 0.01)
    manual_start_min: float = number("min", 0.1, 10080, "until a person has started one that did not start", 40.0)
    back_min: float = number("min", 0, 1440, "it keeps the load so long after the utility is back", 10.0)


class Sag(Part):
    """What a voltage sag does to cooling machines; all values [assumed]: the incidents publish none."""

    hold_in_frac: float = number("fraction", 0, 1, "contactors and drives drop out below this share of voltage", 0.7)
    hold_s: float = number("s", 0, 60, "and only when it lasts longer than this", 0.05)
    manual_reset_prob: float = number("fraction", 0, 1, "chance that a tripped machine waits for a person", 0.3)
    manual_reset_min: tuple[float, float] = Field(
        (10.0, 60.0),
        description="when a person reaches it: shortest and longest time [min], uniform between",
        json_schema_extra={"unit": "min"},
    )
