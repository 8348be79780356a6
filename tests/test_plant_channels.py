"""The channel table and the classes of work: laws that hold for every row.

`python tests/test_plant_channels.py` writes docs/channels.md anew from the table.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant.channels import (
    CHANNELS,
    REASONS,
    SOURCES,
    Channel,
    channel,
    channels_of,
    check,
    check_many,
    named_by,
)
from plant.errors import ConfigError, TelemetryError
from plant.site import KINDS
from plant.workload import JOB_CLASSES, job_class, shed_order
from twin.telemetry.store import channel_ok

WANTED = tuple(
    """
node.power_kw node.inlet_c node.util_frac rack.inlet_c rack.outlet_c cooling_unit.supply_c cooling_unit.fan_frac
cooling_unit.running loop.supply_c loop.return_c loop.flow_frac loop.pressure_kpa chiller.running chiller.power_kw
ups.load_frac ups.battery_frac psu.power_in_kw psu.ok link.errors hall.hot_c feed.ok region.outdoor_c
region.carbon_kgco2_per_kwh
""".split()  # noqa: SIM905
)
ENDING = {
    "C": "_c", "kW": "_kw", "kPa": "_kpa", "fraction": "_frac", "kgCO2/kWh": "_kgco2_per_kwh", "V": "_v", "A": "_a",
    "Hz": "_hz", "MHz": "_mhz", "rpm": "_rpm", "s": "_s", "L/min": "_lpm",
}  # fmt: skip


def row_name(row: Channel) -> str:
    return f"{row.kind}.{row.name}"


@pytest.mark.parametrize("key", WANTED)
def test_what_the_twin_needs_can_be_measured(key: str) -> None:
    kind, name = key.split(".")
    assert channel(kind, name).key == (kind, name)


@pytest.mark.parametrize("row", CHANNELS, ids=row_name)
def test_every_row_keeps_the_rules(row: Channel) -> None:
    assert row.kind in KINDS
    assert re.fullmatch(r"[a-z][a-z0-9_]*", row.name)
    assert np.isfinite([row.low, row.high]).all()
    assert row.low < row.high
    assert 0 < row.cadence_s <= 3600
    assert row.meaning == row.meaning.strip() != ""
    assert row.typical is None or row.low <= row.typical[0] < row.typical[1] <= row.high
    assert channel_ok(row.name), "a store takes it"
    assert row.name.endswith(ENDING.get(row.unit, "")), "the name carries the unit"
    assert set(row.aliases) <= set(SOURCES)
    assert all(names and all(names) for names in row.aliases.values())
    assert hash(row) == hash(channel(row.kind, row.name))


def test_keys_are_unique_and_grouped_by_kind() -> None:
    keys = [row.key for row in CHANNELS]
    assert len(keys) == len(set(keys))
    kinds = [row.kind for row in CHANNELS]
    assert kinds == sorted(kinds, key=kinds.index)
    assert [row.name for row in channels_of("feed")] == ["ok", "power_kw", "voltage_v", "frequency_hz"]
    assert channels_of("unicorn") == ()


@pytest.mark.parametrize("row", CHANNELS, ids=row_name)
def test_bounds_are_allowed_and_what_lies_beyond_is_not(row: Channel) -> None:
    assert row.reason(row.low) is None
    assert row.reason(row.high) is None
    assert row.reason(np.nextafter(row.low, -np.inf)) == "below_range"
    assert row.reason(np.nextafter(row.high, np.inf)) == "above_range"
    for value in (np.nan, np.inf, -np.inf):
        assert row.reason(value) == "not_a_number"


@given(
    row=st.sampled_from(CHANNELS),
    values=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=0, max_size=20),
)
def test_many_values_are_judged_as_each_alone(row: Channel, values: list[float]) -> None:
    codes = check_many(row.kind, row.name, np.array(values, dtype=np.float64))
    assert [REASONS[code] or None for code in codes] == [check(row.kind, row.name, value) for value in values]


def test_an_unknown_channel_is_a_reason_in_bulk_and_an_error_by_name() -> None:
    assert check("rack", "smell", 1.0) == "unknown_channel"
    assert check_many("rack", "smell", np.zeros(3)).tolist() == [4, 4, 4]
    with pytest.raises(
        TelemetryError, match=r"channel rack\.smell: no such channel; channels of rack: inlet_c outlet_c"
    ):
        channel("rack", "smell")
    with pytest.raises(TelemetryError, match="kinds are region hall rack"):
        channel("unicorn", "smell")


def test_refusals_are_said_with_unit_bounds_and_probable_slip() -> None:
    assert channel("rack", "inlet_c").sentence(4120.0) == "4120 C is outside -20..90 C"
    assert "looks like kelvin" in channel("rack", "inlet_c").sentence(295.15)
    assert channel("node", "util_frac").sentence(55.0).endswith("looks like percent, that would be 0.55")
    assert "looks like watts, that would be 6.5 kW" in channel("node", "power_kw").sentence(6500.0)


def test_sources_find_their_channels() -> None:
    assert [row.key for row in named_by("dcgm", "DCGM_FI_DEV_GPU_TEMP")] == [("node", "gpu_c")]
    assert [row.key for row in named_by("nut", "ups.load")] == [("ups", "load_frac")]
    assert {row.kind for row in named_by("ipmi", "Inlet Temp")} == {"rack", "node"}
    assert named_by("dcgm", "nonsense") == ()
    assert all(any(source in row.aliases for row in CHANNELS) for source in SOURCES)


def test_shares_are_those_of_the_paper_and_sum_to_one() -> None:
    assert {each.name: each.share_frac for each in JOB_CLASSES} == {
        "training": 0.35,
        "inference": 0.25,
        "big_data": 0.20,
        "scientific": 0.15,
        "web": 0.05,
    }
    assert sum(each.share_frac for each in JOB_CLASSES) == pytest.approx(1.0)


def test_shedding_begins_with_what_can_wait() -> None:
    assert [each.name for each in shed_order()] == ["big_data", "scientific", "training", "inference", "web"]
    weights = [each.weight for each in shed_order()]
    assert weights == sorted(weights)


@pytest.mark.parametrize("each", JOB_CLASSES, ids=lambda each: each.name)
def test_every_class_keeps_the_rules(each: object) -> None:
    found = job_class(each.name)  # type: ignore[attr-defined]
    assert found is each
    assert 0.0 < found.cap_exponent < 1.0
    assert found.weight > 0
    assert found.restart_s > 0
    assert found.state_gb > 0
    assert found.checkpoint_cost_s <= found.checkpoint_interval_s
    assert (found.max_latency_ms is not None) == (found.locality == "high")


def test_unknown_class_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no such class; one of training inference"):
        job_class("gaming")


# --- the page of the table ----------------------------------------------------------------------

PAGE = Path(__file__).resolve().parent.parent / "docs" / "channels.md"


def as_page() -> str:
    head = [
        "# Channels",
        "",
        "Written by `python tests/test_plant_channels.py` from `plant/channeltable.py`; a test keeps it so. Readings",
        "outside the range are refused. Usual is where healthy values of any site lie; `foretwin map check` prefers",
        "the site's own ratings. Names are what sources call it, one of each kind of source.",
        "",
        "| channel | unit | range | usual | meaning | names |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *(_row(row) for row in CHANNELS)]) + "\n"


def _row(row: Channel) -> str:
    usual = "" if row.typical is None else f"{row.typical[0]:g} .. {row.typical[1]:g}"
    names = ", ".join(f"`{names[0]}`" for names in row.aliases.values())
    return f"| `{row.kind}.{row.name}` | {row.unit} | {row.low:g} .. {row.high:g} | {usual} | {row.meaning} | {names} |"


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_page(), "run: python tests/test_plant_channels.py"


if __name__ == "__main__":
    PAGE.write_text(as_page(), encoding="utf-8")
